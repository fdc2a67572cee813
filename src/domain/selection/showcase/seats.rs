//! Who sits where on a receipt: the places that coupons take, which kind each place prefers, and
//! the share of new things that is drawn by lot.
//!
//! Draws nothing at random by itself: the lot follows from the name of the swipe, so that a
//! replay, a retry and another replica draw the same.

use super::super::super::name::SwipeName;

/// What a coupon is there for. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum Slot {
    /// People gave it; it took no place on a receipt.
    None = 0,
    /// A manager wants it given.
    Push = 1,
    /// Bought regularly once, and not for long now.
    WinBack = 2,
    /// Bought before.
    Repeat = 3,
    /// Never bought, but kin to what is.
    Explore = 4,
    /// Never bought, but smaller packs of the same type are, regularly.
    UpSell = 5,
}

impl Slot {
    /// Those that the till fills.
    pub const CHOSEN: [Self; 5] =
        [Self::Push, Self::WinBack, Self::Repeat, Self::Explore, Self::UpSell];

    /// The slot that a stored number stands for.
    pub fn from_code(code: i16) -> Option<Self> {
        [Self::None].into_iter().chain(Self::CHOSEN).find(|slot| *slot as i16 == code)
    }

    /// How programs and metrics know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Push => "push",
            Self::WinBack => "win-back",
            Self::Repeat => "repeat",
            Self::Explore => "explore",
            Self::UpSell => "up-sell",
        }
    }
}

/// The places of a receipt in their order, and for each whom it is offered to first: the first
/// kind that has somebody takes it.
///
/// | place | first | then | then | then | last |
/// |---|---|---|---|---|---|
/// | 1 | push | win-back | repeat | up-sell | explore |
/// | 2 | up-sell | explore | repeat | win-back | push |
/// | 3 | repeat | win-back | explore | up-sell | push |
/// | 4 | repeat | explore | up-sell | win-back | push |
///
/// So what managers push comes first, once; one thing that was given up is called back where
/// nothing is pushed; from two coupons on one is for something new, since by their scores alone
/// nearly all would be for what is bought anyway; and the rest is what is likeliest used. Of what
/// is new a larger pack goes first where there is one place for it: few offers are one for a
/// customer, and of those few each rests while it is held, so that the others get their turns.
/// From the third place on the others go first.
pub(super) const PLACES: [[Slot; 5]; 4] = [
    [Slot::Push, Slot::WinBack, Slot::Repeat, Slot::UpSell, Slot::Explore],
    [Slot::UpSell, Slot::Explore, Slot::Repeat, Slot::WinBack, Slot::Push],
    [Slot::Repeat, Slot::WinBack, Slot::Explore, Slot::UpSell, Slot::Push],
    [Slot::Repeat, Slot::Explore, Slot::UpSell, Slot::WinBack, Slot::Push],
];

/// Certainty, in millionths.
pub const CERTAIN_PPM: u32 = 1_000_000;

/// So many of the likeliest new things take part in a draw.
pub(super) const DRAWN_AMONG: usize = 5;

/// The lot of one swipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lot(u64);

impl Lot {
    /// The lot that a name draws.
    pub fn of(name: &SwipeName) -> Self {
        let SwipeName { store_id, workstation_id, business_date, sequence_number } = name;
        let mut state = 0x7469_6c6c_7369_6465;
        // Neither id can hold a slash, so no two names are one text.
        for byte in store_id.bytes().chain([b'/']).chain(workstation_id.bytes()) {
            state = mixed(state ^ u64::from(byte));
        }
        let ymd = [business_date.year(), business_date.month().into(), business_date.day().into()];
        for number in ymd.map(i64::from).into_iter().chain([*sequence_number]) {
            state = mixed(state ^ number.cast_unsigned());
        }
        Self(state)
    }

    /// A number below `below` for a place, and which of several for the same place it is.
    fn number(self, place: usize, nth: u64, below: u64) -> u64 {
        let drawn = mixed(self.0 ^ mixed((place as u64) << 8 | nth));
        // The high half of the product: below the bound, and as evenly as 64 bits allow.
        let product = u128::from(drawn) * u128::from(below);
        u64::try_from(product >> 64).expect("the high half of 128 bits")
    }

    /// Which of `count` new things a place takes, the likeliest being 0, and with what
    /// probability it is that one, in millionths: the likeliest, but in `explore_ppm` of a
    /// million swipes any of them alike.
    pub(super) fn draw(self, place: usize, count: usize, explore_ppm: u32) -> (usize, u32) {
        let explore_ppm = explore_ppm.min(CERTAIN_PPM);
        let among = u32::try_from(count.clamp(1, DRAWN_AMONG)).expect("a few");
        let each = explore_ppm / among;
        let likeliest = CERTAIN_PPM - each * (among - 1);
        let drawn = self.number(place, 0, CERTAIN_PPM.into());
        // Places of `each` millionths for all but the likeliest, which has the rest.
        let at = usize::try_from(drawn / u64::from(each.max(1))).unwrap_or(usize::MAX) + 1;
        if each > 0 && at < among as usize { (at, each) } else { (0, likeliest) }
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014): every bit of the result depends on
/// every bit of the number.
pub(super) fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
