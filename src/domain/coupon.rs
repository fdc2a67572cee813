//! A coupon: its code, how it stands, and what becomes of one that a till has taken.
//!
//! Owns the form of codes and the precedence of outcomes. Draws no code by itself and looks at
//! no clock: random bits and the business date are facts that others bring.

use std::fmt;

use jiff::civil::{Date, date};

use super::basket::{Ground, Redemption};
use super::bucket;
use super::offer::{Basket, Earlier, Offer};
use super::selection::showcase::Reason;

/// The code of a coupon: the bucket of its account in the high 8 bits, so that a code leads to
/// its row by itself, and 56 random ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(i64);

/// Crockford's base 32 (<https://www.crockford.com/base32.html>): no I, L, O and U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Characters that carry the number: 65 bits for 64.
const DIGITS: usize = 13;

impl Code {
    /// The code of these random bits in this bucket; bits beyond 56 are left out.
    pub fn new(bucket: u8, random: u64) -> Self {
        let number = u64::from(bucket) << 56 | random & ((1 << 56) - 1);
        Self(number.cast_signed())
    }

    /// The code under which is kept what a recorded redemption used: the coupon's own, or that of
    /// the use ([`Code::of_use`]).
    pub fn of_redemption(
        redemption: &Redemption,
        account_id: i64,
        version: i64,
        place: usize,
    ) -> Self {
        let own = match &redemption.ground {
            Ground::Coupon(text) => Self::parse(text),
            Ground::Offer(_) => None,
        };
        own.unwrap_or_else(|| Self::of_use(account_id, version, place))
    }

    /// The code under which the use of a shared code or of an automatic offer is kept: made of the
    /// account and the version that used it, and of its place among the redemptions. Nobody can
    /// redeem it, so it may be guessed.
    pub fn of_use(account_id: i64, version: i64, redemption: usize) -> Self {
        // splitmix64 (Steele, Lea, Flood 2014), each number folded into what those before made.
        let mixed = [account_id.cast_unsigned(), version.cast_unsigned(), redemption as u64]
            .into_iter()
            .fold(0_u64, |sum, number| {
                let mut bits = (sum ^ number).wrapping_add(0x9e37_79b9_7f4a_7c15);
                bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
                bits ^ bits >> 31
            });
        Self::new(bucket::of_account(account_id), mixed)
    }

    /// The code that a stored number stands for.
    pub fn from_number(number: i64) -> Self {
        Self(number)
    }

    /// As it is stored.
    pub fn number(self) -> i64 {
        self.0
    }

    /// Where its row lies.
    pub fn bucket(self) -> u8 {
        self.0.to_be_bytes()[0]
    }

    /// Reads what is printed, in capitals or not, with hyphens or not, and with the letters
    /// that Crockford's alphabet leaves out taken for the digits that they look like. `None`
    /// when it is no code: of another length, or mistyped.
    pub fn parse(text: &str) -> Option<Self> {
        let mut digits = text.bytes().filter(|byte| *byte != b'-').map(|byte| {
            let byte = match byte.to_ascii_uppercase() {
                b'O' => b'0',
                b'I' | b'L' => b'1',
                other => other,
            };
            ALPHABET.iter().zip(0_u8..).find(|(letter, _)| **letter == byte).map(|(_, at)| at)
        });
        let mut number: u128 = 0;
        let mut sum = 0;
        for _ in 0..DIGITS {
            let digit = digits.next()??;
            number = number << 5 | u128::from(digit);
            sum = times_alpha(sum) ^ digit;
        }
        let checks = digits.next()?? == times_alpha(sum) && digits.next().is_none();
        let number = u64::try_from(number).ok()?;
        checks.then_some(Self(number.cast_signed()))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sum = 0;
        for place in (0..DIGITS).rev() {
            let digit = (u128::from(self.0.cast_unsigned()) >> (place * 5) & 31).to_le_bytes()[0];
            sum = times_alpha(sum) ^ digit;
            write!(f, "{}", char::from(ALPHABET[usize::from(digit)]))?;
        }
        write!(f, "{}", char::from(ALPHABET[usize::from(times_alpha(sum))]))
    }
}

/// A digit times α in GF(2⁵), where α⁵ = α² + 1. The check character makes Σ digitᵢ·αⁱ zero:
/// the one check symbol of a Reed–Solomon code over that field (Reed and Solomon 1960). The
/// powers differ for every place, so no mistyped character and no two that changed places go
/// unnoticed; Crockford's own check symbol, modulo 37, needs five characters more than 32.
fn times_alpha(digit: u8) -> u8 {
    let carried = if digit & 16 == 0 { 0 } else { 0b10_0101 };
    digit << 1 ^ carried
}

/// How a coupon stands. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum State {
    /// Given to its account; can be redeemed between its dates.
    Issued = 0,
    /// A till has taken it.
    Redeemed = 1,
    /// Taken back by people.
    Revoked = 2,
}

impl State {
    /// The state that a stored number stands for.
    pub fn from_code(code: i16) -> Option<Self> {
        [Self::Issued, Self::Redeemed, Self::Revoked]
            .into_iter()
            .find(|state| *state as i16 == code)
    }

    /// How people and programs know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Redeemed => "redeemed",
            Self::Revoked => "revoked",
        }
    }
}

/// A coupon as a decision needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coupon {
    /// Its code.
    pub code: Code,
    /// The account that it was issued to.
    pub account_id: i64,
    /// Whose it is: the account that it was issued to, or the one that this was merged into.
    pub holder: i64,
    /// What it is for.
    pub offer_no: i32,
    /// Why it was given; none of a reason that this version does not know.
    pub reason: Option<Reason>,
    /// How it stands.
    pub state: State,
    /// Version of the account that issued it.
    pub issued_version: i64,
    /// Version of the account that changed it last; 0 since it was issued.
    pub changed_version: i64,
    /// That account: the one that held it then.
    pub changed_by: i64,
    /// The first business date on which it counts.
    pub valid_from: Date,
    /// The last one.
    pub valid_until: Date,
    /// What the till gave for it when it was redeemed, in minor units.
    pub value_minor: i64,
    /// Whether that did not fit into the budgets of its offer.
    pub over_budget: bool,
    /// Whether it was more than its offer allows.
    pub over_limit: bool,
    /// The pool that it is a code of.
    pub pool: Option<OfPool>,
}

/// The pool of codes that a coupon is one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfPool {
    /// Its number.
    pub pool_no: i32,
    /// Whether people have taken the pool back: then a void opens its codes no more.
    pub is_revoked: bool,
}

impl Coupon {
    /// A coupon that people issue to an account at this moment.
    pub fn issued(
        code: Code,
        account_id: i64,
        version: i64,
        offer_no: i32,
        (valid_from, valid_until): (Date, Date),
    ) -> Self {
        Self {
            code,
            account_id,
            holder: account_id,
            offer_no,
            reason: Some(Reason::Given),
            state: State::Issued,
            issued_version: version,
            changed_version: 0,
            changed_by: account_id,
            valid_from,
            valid_until,
            value_minor: 0,
            over_budget: false,
            over_limit: false,
            pool: None,
        }
    }

    /// Whether it is a code of a pool that nobody has used yet: whoever uses it has it.
    pub fn is_unbound(&self) -> bool {
        is_nobody(self.holder)
    }

    /// Whether it is one use of a shared code or of an automatic offer: made and used by one
    /// version of one account. An heir's version may have the same number and says nothing.
    pub fn is_use(&self) -> bool {
        self.is_made_by(self.changed_by, self.changed_version)
    }

    /// Whether this version of an account made it.
    pub fn is_made_by(&self, account_id: i64, version: i64) -> bool {
        version > 0 && (self.account_id, self.issued_version) == (account_id, version)
    }
}

/// Whether an id stands for no account: codes of a pool are issued to the bucket that they lie
/// in, and no account has a number that small.
pub fn is_nobody(account_id: i64) -> bool {
    (0..256).contains(&account_id)
}

/// A coupon that was redeemed within the limits of its offer, as they count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Its code.
    pub code: Code,
    /// The business date of the transaction.
    pub on: Date,
}

/// For so many days after its last one a coupon bears on what its account is given.
pub const REMEMBERED_DAYS: i32 = 84;

/// The one day of a use of an automatic offer or of a shared code, as it is stored: it bears on
/// nothing that its account is given, and a customer who comes often has hundreds of them. So it
/// lies before all days that are kept in mind. Older versions stored uses of shared codes on the
/// days of their offers.
pub const USE_DAY: Date = date(1970, 1, 1);

/// So many coupons of an offer that ran out unused within [`REMEMBERED_DAYS`], and none that was
/// used, and the offer is not given for a while: until the oldest of them is forgotten.
pub const IGNORED_MOST: usize = 3;

/// What an account keeps in mind of a coupon: of one that it can redeem, and of one that was used
/// or has run out, for [`REMEMBERED_DAYS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// Its code.
    pub code: Code,
    /// What it is for.
    pub offer_no: i32,
    /// The first business date on which it counts.
    pub valid_from: Date,
    /// The last one.
    pub valid_until: Date,
    /// Whether a till has taken it.
    pub is_used: bool,
    /// Why it was given; none of a reason that this version does not know, as a newer one's.
    pub reason: Option<Reason>,
}

impl Open {
    /// Whether a till chose it; else people gave it.
    pub fn is_chosen(&self) -> bool {
        self.reason != Some(Reason::Given)
    }
}

/// What became of a coupon that a till took, in order of precedence: the first that holds is
/// the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No such coupon was issued.
    Unknown,
    /// It is another account's, or nobody is known to have it.
    NotYours,
    /// It was taken back.
    Revoked,
    /// It was redeemed before, in this transaction or another.
    AlreadyRedeemed,
    /// Its first day lies ahead.
    NotYetValid,
    /// Its last day is past.
    Expired,
    /// It counts on other days of the week.
    WrongDay,
    /// It counts in other stores.
    WrongStore,
    /// Nothing that was sold is what it is for.
    NotInBasket,
    /// Less was bought than it asks for.
    BelowMinimum,
    /// As many count as the offer allows, or an offer that excludes it; the till gave nothing.
    LimitReached,
    /// Redeemed, but as many counted already as the offer allows.
    OverLimit,
    /// Redeemed, but beside an offer of its group, of which only one counts in a transaction.
    NotCombinable,
    /// Redeemed, but the till gave more for it than it is worth.
    OverValue,
    /// Redeemed.
    Redeemed,
}

impl Outcome {
    /// All of them, in order of precedence.
    pub const ALL: [Self; 15] = [
        Self::Unknown,
        Self::NotYours,
        Self::Revoked,
        Self::AlreadyRedeemed,
        Self::NotYetValid,
        Self::Expired,
        Self::WrongDay,
        Self::WrongStore,
        Self::NotInBasket,
        Self::BelowMinimum,
        Self::LimitReached,
        Self::OverLimit,
        Self::NotCombinable,
        Self::OverValue,
        Self::Redeemed,
    ];

    /// As receipts say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::NotYours => "not-yours",
            Self::Revoked => "revoked",
            Self::AlreadyRedeemed => "already-redeemed",
            Self::NotYetValid => "not-yet-valid",
            Self::Expired => "expired",
            Self::WrongDay => "wrong-day",
            Self::WrongStore => "wrong-store",
            Self::NotInBasket => "not-in-basket",
            Self::BelowMinimum => "below-minimum",
            Self::LimitReached => "limit-reached",
            Self::OverLimit => "over-limit",
            Self::NotCombinable => "not-combinable",
            Self::OverValue => "over-value",
            Self::Redeemed => "redeemed",
        }
    }

    /// Whether it uses the coupon up.
    pub fn uses(self) -> bool {
        self.counts() || self.is_over_limit()
    }

    /// Whether it is within what its offer allows: it gives its points, and excludes others.
    pub fn counts(self) -> bool {
        matches!(self, Self::Redeemed | Self::OverValue)
    }

    /// Whether it was redeemed beyond what its offer allows.
    pub fn is_over_limit(self) -> bool {
        matches!(self, Self::OverLimit | Self::NotCombinable)
    }
}

/// What becomes of a coupon that a till took for `discount_minor` from the customer who has
/// `account_id`; none where nobody is known to have bought. The sale happened, so nothing is
/// refused; what does not count is an outcome. Beyond a limit a coupon is used up where the till
/// gave something for it, which is marked; where it gave nothing, as for points, the customer
/// keeps it.
///
/// An offer that is not known here, such as one made within the last second, cannot say what
/// the coupon is worth: it is redeemed, and anything that was given for it is over its value.
pub fn decide(
    coupon: Option<&Coupon>,
    offer: Option<&Offer>,
    account_id: Option<i64>,
    basket: &Basket<'_>,
    earlier: &Earlier,
    discount_minor: i64,
) -> Outcome {
    let Some(coupon) = coupon else { return Outcome::Unknown };
    if account_id.is_none_or(|by| coupon.holder != by && !coupon.is_unbound()) {
        return Outcome::NotYours;
    }
    match coupon.state {
        State::Revoked => return Outcome::Revoked,
        State::Redeemed => return Outcome::AlreadyRedeemed,
        State::Issued => {}
    }
    if basket.business_date < coupon.valid_from {
        return Outcome::NotYetValid;
    }
    if basket.business_date > coupon.valid_until {
        return Outcome::Expired;
    }
    let gave = discount_minor > 0;
    let worth_minor = match offer {
        None => 0,
        Some(it) if !it.counts_on(basket.business_date) => return Outcome::WrongDay,
        Some(it) if !it.counts_in(basket.store_no) => return Outcome::WrongStore,
        Some(it) if !it.is_for(basket) => return Outcome::NotInBasket,
        Some(it) if !it.has_enough(basket) => return Outcome::BelowMinimum,
        Some(it) => match (it.is_within_limits(earlier), earlier.of_group) {
            (true, false) => (it.worth_minor(basket) - earlier.given_minor).max(0),
            _ if !gave => return Outcome::LimitReached,
            (false, _) => return Outcome::OverLimit,
            (true, true) => return Outcome::NotCombinable,
        },
    };
    if discount_minor > worth_minor { Outcome::OverValue } else { Outcome::Redeemed }
}
