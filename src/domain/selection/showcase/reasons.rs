//! Why a customer gets a coupon: the reason, the numbers behind it, and what is said of them.
//!
//! Customers read a neutral sentence, people of the back office an exact one. Neither names an
//! article, so neither can name a sensitive one; and no offer holds one.

use super::super::super::pack::{Pack, Unit};
use super::super::offers::{Common, Larger, Own};
use super::seats::Slot;

/// A gap of this share of the usual one is due again.
const DUE: f32 = 0.9;
/// Bought in so many baskets it is a favourite.
const FAVOURITE: f32 = 5.0;
/// Bought so often it was bought regularly.
const REGULAR: f32 = 3.0;
/// After so many of its usual gaps it was given up.
const GIVEN_UP: f32 = 2.0;
/// What is bought once in so many days is not bought regularly enough to buy more of it at once.
const QUARTER_DAYS: f32 = 91.0;

/// Why a customer gets a coupon. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum Reason {
    /// Somebody gave it; nothing was chosen.
    Given = 0,
    /// Bought regularly, and about time again by the next visit.
    DueAgain = 1,
    /// Bought often.
    Favourite = 2,
    /// Bought before.
    BoughtBefore = 3,
    /// Never bought, but the brand is, of this very type.
    BrandYouBuy = 4,
    /// Never bought, but others of the type are.
    KindYouBuy = 5,
    /// Never bought, but others of the brand are.
    BrandYouLike = 6,
    /// Bought regularly, and not for more than twice the usual gap.
    WinBack = 7,
    /// A manager wants it given.
    Recommended = 8,
    /// A larger pack than those of its type that are bought regularly.
    LargerPack = 9,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Given,
        Self::DueAgain,
        Self::Favourite,
        Self::BoughtBefore,
        Self::BrandYouBuy,
        Self::KindYouBuy,
        Self::BrandYouLike,
        Self::WinBack,
        Self::Recommended,
        Self::LargerPack,
    ];

    /// The reason that a stored number stands for.
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as i16 == code)
    }

    /// How programs know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::DueAgain => "due-again",
            Self::Favourite => "favourite",
            Self::BoughtBefore => "bought-before",
            Self::BrandYouBuy => "brand-you-buy",
            Self::KindYouBuy => "kind-you-buy",
            Self::BrandYouLike => "brand-you-like",
            Self::WinBack => "win-back",
            Self::Recommended => "recommended",
            Self::LargerPack => "larger-pack",
        }
    }

    /// What the receipt says. Says nothing that somebody who reads over the customer's shoulder
    /// should not know: no numbers, no articles, no dates.
    pub fn text(self) -> &'static str {
        match self {
            Self::Given => "A coupon for you.",
            Self::DueAgain | Self::Favourite => "A favourite of yours is on offer.",
            Self::BoughtBefore | Self::WinBack => "You have bought this before.",
            Self::BrandYouBuy | Self::BrandYouLike => "From a brand that you like.",
            Self::KindYouBuy => "Something new that may suit you.",
            Self::Recommended => "An offer that we recommend.",
            Self::LargerPack => "A larger pack that may suit you.",
        }
    }

    /// By what the account's purchases have in common with the offer; none when nothing has.
    pub(super) fn of(common: &Common, overdue: f32, days_since: f32) -> Option<Self> {
        let own = &common.own;
        if is_given_up(own, days_since) {
            Some(Self::WinBack)
        } else if own.count > 0.0 && own.gap_days > 0.0 && overdue >= DUE {
            Some(Self::DueAgain)
        } else if own.count >= FAVOURITE {
            Some(Self::Favourite)
        } else if own.count > 0.0 {
            Some(Self::BoughtBefore)
        } else if common.by_kind > 0.0 {
            Some(Self::BrandYouBuy)
        } else if common.by_type > 0.0 {
            Some(Self::KindYouBuy)
        } else if common.by_brand > 0.0 {
            Some(Self::BrandYouLike)
        } else {
            None
        }
    }

    /// The slot that it speaks for.
    pub fn slot(self) -> Slot {
        match self {
            Self::Given => Slot::None,
            Self::Recommended => Slot::Push,
            Self::WinBack => Slot::WinBack,
            Self::LargerPack => Slot::UpSell,
            Self::DueAgain | Self::Favourite | Self::BoughtBefore => Slot::Repeat,
            Self::BrandYouBuy | Self::KindYouBuy | Self::BrandYouLike => Slot::Explore,
        }
    }
}

/// Whether it was bought regularly, and is no more.
pub(super) fn is_given_up(own: &Own, days_since: f32) -> bool {
    own.count >= REGULAR && own.gap_days > 0.0 && days_since > GIVEN_UP * own.gap_days.max(1.0)
}

/// Whether what is smaller is bought regularly, and still is. Three kinds in one basket are no
/// regular purchase of their type.
pub(super) fn is_bought_regularly(larger: &Larger, days_since: f32) -> bool {
    let own = &larger.own;
    let has_gap = own.gap_days > 0.0 && own.gap_days <= QUARTER_DAYS;
    let is_regular = own.count >= REGULAR && f32::from(larger.baskets) >= REGULAR;
    is_regular && has_gap && !is_given_up(own, days_since)
}

/// How many bytes [`Evidence::encode`] writes.
pub const EVIDENCE_BYTES: usize = 13;
const ENCODING: u8 = 1;
/// The first of those with sizes, one for each unit.
const ENCODING_SIZES: u8 = 2;

/// Sizes of packs, in the same unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// What is bought.
    pub usual: Pack,
    /// The smallest that the offer is for.
    pub offered: Pack,
}

/// The numbers behind a choice, as they were at that moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Baskets that held each of the offer's articles, added up. With [`Evidence::sizes`] this
    /// and the two next are about the articles of the usual size instead.
    pub bought: u16,
    /// The usual gap between them in days; 0 when none is known.
    pub gap_days: u16,
    /// Days since one was last bought; 0 when none was.
    pub days_since: u16,
    /// How much is bought of what made it kin, in tenths of a basket, older ones weighing less;
    /// 0 for what was bought itself.
    pub kin: u16,
    /// Its place among all offers by score, from 1.
    pub rank: u16,
    /// Its score in hundredths: the logarithm of the odds that it is redeemed.
    pub score: i16,
    /// Of an offer for a larger pack.
    pub sizes: Option<Sizes>,
}

impl Evidence {
    pub(super) fn new(
        reason: Option<Reason>,
        common: &Common,
        days_since: f32,
        rank: usize,
        score: f32,
    ) -> Self {
        let kin = match reason {
            Some(Reason::BrandYouBuy) => common.by_kind,
            Some(Reason::KindYouBuy) => common.by_type,
            Some(Reason::BrandYouLike) => common.by_brand,
            _ => 0.0,
        };
        let is_own = common.own.count > 0.0;
        Self {
            bought: whole(common.own.count),
            gap_days: whole(common.own.gap_days),
            days_since: if is_own { whole(days_since) } else { 0 },
            kin: whole(kin * 10.0),
            rank: u16::try_from(rank).unwrap_or(u16::MAX),
            score: hundredths(score),
            sizes: None,
        }
    }

    /// Of an offer for a larger pack.
    pub(super) fn of_larger(larger: &Larger, days_since: f32, rank: usize, score: f32) -> Self {
        let Larger { own, usual, offered, .. } = *larger;
        let sizes = Some(Sizes { usual, offered });
        let own = Common { own, ..Common::default() };
        Self { sizes, ..Self::new(None, &own, days_since, rank, score) }
    }

    /// As it is stored, always as long.
    pub fn encode(&self) -> [u8; EVIDENCE_BYTES] {
        let Self { bought, gap_days, days_since, kin, rank, score, sizes } = *self;
        let score = score.cast_unsigned();
        let (encoding, numbers) = match sizes {
            None => (ENCODING, [bought, gap_days, days_since, kin, rank, score]),
            // What is bought regularly is so within the days that a byte holds.
            Some(Sizes { usual, offered }) => {
                let byte = |days: u16| u8::try_from(days).unwrap_or(u8::MAX);
                let days = u16::from_be_bytes([byte(gap_days), byte(days_since)]);
                let encoding = ENCODING_SIZES + usual.unit as u8;
                (encoding, [bought, days, usual.amount, offered.amount, rank, score])
            }
        };
        let mut bytes = [encoding; EVIDENCE_BYTES];
        for (place, number) in bytes[1..].chunks_exact_mut(2).zip(numbers) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    /// Reads [`Evidence::encode`] back; none when it is not that.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; EVIDENCE_BYTES] = bytes.try_into().ok()?;
        let at = |nth: usize| u16::from_be_bytes([bytes[1 + 2 * nth], bytes[2 + 2 * nth]]);
        let (bought, rank, score) = (at(0), at(4), at(5).cast_signed());
        if bytes[0] == ENCODING {
            let (gap_days, days_since, kin) = (at(1), at(2), at(3));
            return Some(Self { bought, gap_days, days_since, kin, rank, score, sizes: None });
        }
        let unit = Unit::from_code(bytes[0].checked_sub(ENCODING_SIZES)?)?;
        let pack = |amount| Pack { unit, amount };
        let sizes = Some(Sizes { usual: pack(at(2)), offered: pack(at(3)) });
        let [gap_days, days_since] = at(1).to_be_bytes().map(u16::from);
        Some(Self { bought, gap_days, days_since, kin: 0, rank, score, sizes })
    }
}

/// Rounded, and at most what 16 bits hold.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
fn whole(number: f32) -> u16 {
    (number + 0.5) as u16
}

#[expect(clippy::cast_possible_truncation, reason = "it saturates")]
fn hundredths(score: f32) -> i16 {
    (score * 100.0) as i16
}

/// Why a coupon was chosen, with all that is stored of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Why {
    /// The reason.
    pub reason: Reason,
    /// What it is there for.
    pub slot: Slot,
    /// With which probability it was this one, in millionths, given what stands before it on the
    /// receipt; 0 where nothing was chosen.
    pub propensity_ppm: u32,
    /// The numbers.
    pub evidence: Evidence,
}

impl Why {
    /// Of a coupon that people give.
    pub const GIVEN: Self = Self {
        reason: Reason::Given,
        slot: Slot::None,
        propensity_ppm: 0,
        evidence: Evidence {
            bought: 0,
            gap_days: 0,
            days_since: 0,
            kin: 0,
            rank: 0,
            score: 0,
            sizes: None,
        },
    };

    /// What is stored of a coupon, read back; none when it is not that. Without evidence nothing
    /// was chosen, or before it was kept.
    pub fn of_stored(
        reason: i16,
        slot: i16,
        propensity_ppm: Option<i32>,
        evidence: Option<&[u8]>,
    ) -> Option<Self> {
        Some(Self {
            reason: Reason::from_code(reason)?,
            slot: Slot::from_code(slot)?,
            propensity_ppm: u32::try_from(propensity_ppm.unwrap_or_default()).ok()?,
            evidence: evidence.map_or(Some(Evidence::default()), Evidence::decode)?,
        })
    }

    /// One exact sentence for the back office.
    pub fn sentence(&self) -> String {
        let Self { reason, evidence, .. } = self;
        let Evidence { bought, gap_days, days_since, kin, rank, score, sizes } = evidence;
        let times = match bought {
            1 => "bought once".to_owned(),
            bought => format!("bought {bought} times"),
        };
        let every = match gap_days {
            0 => String::new(),
            days => format!(", usually every {days} days"),
        };
        let last = format!("{times}{every}, last {days_since} days before");
        let kin = format!("{}.{}", kin / 10, kin % 10);
        let because = match reason {
            Reason::Given => return "People gave it.".to_owned(),
            _ if *rank == 0 => return "Given before the numbers behind it were kept.".to_owned(),
            Reason::DueAgain => format!("Due again by the next visit: {last}"),
            Reason::Favourite => format!("A favourite: {last}"),
            Reason::BoughtBefore => format!("Bought before: {last}"),
            Reason::WinBack => format!("Bought regularly and given up: {last}"),
            Reason::LargerPack => match sizes {
                Some(Sizes { usual, offered }) => {
                    format!("A larger pack: with {usual} {last}; the offer has {offered}")
                }
                None => "A larger pack".to_owned(),
            },
            Reason::BrandYouBuy => {
                format!("Never bought, but {kin} baskets weigh for its brand in its type")
            }
            Reason::KindYouBuy => format!("Never bought, but {kin} baskets weigh for its type"),
            Reason::BrandYouLike => format!("Never bought, but {kin} baskets weigh for its brand"),
            Reason::Recommended if *bought > 0 => format!("Pushed by a manager; {last}"),
            Reason::Recommended => "Pushed by a manager; no purchase of it counted".to_owned(),
        };
        let sign = if *score < 0 { "-" } else { "" };
        let (whole, places) = (score.unsigned_abs() / 100, score.unsigned_abs() % 100);
        format!("{because}. Rank {rank} of all offers, score {sign}{whole}.{places:02}.")
    }
}
