//! The receipt: the answer to a swipe as bytes, and those bytes as they are stored.
//!
//! A receipt is built once, when its swipe is decided, and never again: a retry gets the
//! stored bytes. Stored form: one byte that names the dictionary, then a zstd frame.

use bytes::Bytes;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::account::{Account, State};
use crate::domain::basket::Redemption;
use crate::domain::coupon::{Code, Outcome};
use crate::domain::offer::{Definition, Reward};
use crate::domain::programme::Programme;
use crate::domain::programme::tiers::TierStanding;
use crate::domain::selection::showcase::Reason;
use crate::domain::standing::Standing;
use crate::error::Error;

/// What a till gets for a swipe.
#[derive(Debug, Serialize, ToSchema)]
pub struct Receipt<'a> {
    /// Name of the swipe: store/workstation/business date/sequence number.
    #[schema(example = "0367/03/2026-03-14/31198")]
    pub swipe: &'a str,
    /// The account; null without a card, or while nobody has enrolled it.
    #[schema(example = "acc_000000000A1KV")]
    pub account: Option<String>,
    /// When the service recorded it, by its own clock.
    #[schema(value_type = String, format = DateTime)]
    pub recorded_at: Timestamp,
    /// Points of this swipe and of the account after it.
    pub points: Points,
    /// The account's tier; null without an account, and while the programme has no tiers.
    pub tier: Option<Tier>,
    /// What became of each redemption that the till told of, in the till's order.
    pub redemptions: Vec<RedemptionOutcome<'a>>,
    /// Coupons for the customer to take home.
    pub coupons: Vec<CouponOut<'a>>,
    /// Sentences to print.
    pub messages: Vec<String>,
}

/// Points of a swipe and of its account. Without an account the last four are null.
#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
pub struct Points {
    /// Earned by this transaction.
    pub earned: i64,
    /// Of the balance, what cannot be spent yet.
    pub pending: i64,
    /// Paid with in this transaction; negative on a void, which gives them back.
    pub spent: i64,
    /// Of those, what was not there and is owed now; absent when all of them were.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(required = false)]
    pub short: i64,
    /// Taken back by this transaction for what was returned.
    pub reversed: i64,
    /// All points after due expiries, pending ones included; negative when some are owed.
    pub balance: Option<i64>,
    /// Points that could pay now.
    pub spendable: Option<i64>,
    /// The next points to expire.
    pub next_expiry: Option<NextExpiry>,
}

/// Points that expire together.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct NextExpiry {
    /// How many.
    pub points: i64,
    /// The last day on which they can be spent.
    #[schema(value_type = String, format = Date)]
    pub on: Date,
}

/// How an account stands with the tiers of the programme.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Tier {
    /// The tier that is held; null below the lowest.
    #[schema(example = "Silver")]
    pub name: Option<String>,
    /// What is still to be spent this month for the next tier, in minor units; null at the top.
    #[schema(example = 12050)]
    pub to_next_minor: Option<i64>,
}

impl Tier {
    /// How an account stands on a business date, or at its clock when that is later.
    pub fn of_account(programme: &Programme, account: &Account, on: Date) -> Option<Self> {
        let standing = programme.tier_standing(&account.tally, account.clock.max(on));
        let TierStanding { name, to_next_minor } =
            standing.filter(|_| account.state != State::House)?;
        Some(Self { name: name.map(str::to_owned), to_next_minor })
    }
}

/// What became of a coupon that the till took, or of an offer that needs none.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct RedemptionOutcome<'a> {
    /// The coupon's code, as the till sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "7K2M9QXA4TRB3W")]
    pub coupon: Option<&'a str>,
    /// Where it is no coupon: the offer's name, as the till sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "member-milk")]
    pub offer: Option<&'a str>,
    /// `redeemed`; or redeemed although the till should not have given for it what it gave:
    /// `over-value` for more than it is worth, `over-limit` more of them than the offer allows,
    /// `not-combinable` beside an offer of its group. Otherwise why it does not count: `unknown`,
    /// `not-yours` (an offer also where no card was presented, or a blocked one), `revoked`,
    /// `already-redeemed`, `not-yet-valid`, `expired`, `wrong-day`, `wrong-store`,
    /// `not-in-basket`, `below-minimum` or `limit-reached`.
    #[schema(example = "unknown")]
    pub outcome: &'static str,
    /// What the till gave for it, in minor units.
    pub discount_minor: i64,
}

impl<'a> RedemptionOutcome<'a> {
    /// What became of a redemption.
    pub fn new(redemption: &'a Redemption, outcome: Outcome) -> Self {
        Self {
            coupon: redemption.coupon(),
            offer: redemption.offer(),
            outcome: outcome.name(),
            discount_minor: redemption.discount_minor,
        }
    }
}

/// A coupon that a customer can redeem.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = OpenCoupon)]
pub struct CouponOut<'a> {
    /// Its code.
    #[schema(example = "07K2M9QXA4TRB3")]
    pub coupon: String,
    /// What people call its offer.
    #[schema(example = "yoghurt-half")]
    pub offer: &'a str,
    /// What customers read.
    #[schema(example = "50 % off yoghurt")]
    pub headline: &'a str,
    /// What it gives.
    #[schema(value_type = Object)]
    pub reward: Reward,
    /// The first business date on which it counts.
    #[schema(value_type = String, format = Date)]
    pub valid_from: Date,
    /// The last one.
    #[schema(value_type = String, format = Date)]
    pub valid_until: Date,
    /// How it is printed, to be scanned.
    pub barcode: Barcode,
    /// Why the customer gets it.
    pub reason: ReasonOut,
}

/// A barcode to be printed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Barcode {
    /// `code128`: ISO/IEC 15417, which holds capitals and digits.
    #[schema(example = "code128")]
    pub symbology: &'static str,
    /// What it encodes.
    pub text: String,
}

/// Why a customer gets a coupon.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = CouponReason)]
pub struct ReasonOut {
    /// For programs: `given`, `due-again`, `favourite`, `bought-before`, `win-back`,
    /// `brand-you-buy`, `kind-you-buy`, `brand-you-like`, `larger-pack` or `recommended`.
    #[schema(example = "due-again")]
    pub code: &'static str,
    /// For the customer: neutral, without the numbers behind it.
    #[schema(example = "A favourite of yours is on offer.")]
    pub text: &'static str,
}

impl<'a> CouponOut<'a> {
    /// A coupon as customers get it.
    pub fn new(
        code: Code,
        definition: &'a Definition,
        (valid_from, valid_until): (Date, Date),
        reason: Reason,
    ) -> Self {
        let coupon = code.to_string();
        Self {
            offer: &definition.offer,
            headline: &definition.headline,
            reward: definition.reward,
            valid_from,
            valid_until,
            barcode: Barcode { symbology: "code128", text: coupon.clone() },
            reason: ReasonOut { code: reason.name(), text: reason.text() },
            coupon,
        }
    }
}

/// The codes of the coupons that a stored receipt of a sale brought.
///
/// # Errors
/// When the stored bytes are damaged.
pub fn coupons_on(stored: &[u8]) -> Result<Vec<Code>, Error> {
    #[derive(Deserialize)]
    struct Brought<'a> {
        #[serde(borrow, default)]
        coupons: Vec<Named<'a>>,
    }
    #[derive(Deserialize)]
    struct Named<'a> {
        coupon: &'a str,
    }
    let answer = decompress(stored)?;
    let brought: Brought<'_> = serde_json::from_slice(&answer)
        .map_err(|error| Error::Damaged(format!("receipt: {error}")))?;
    Ok(brought.coupons.iter().filter_map(|it| Code::parse(it.coupon)).collect())
}

/// What a till gets for a void.
#[derive(Debug, Serialize, ToSchema)]
pub struct VoidReceipt<'a> {
    /// Name of the swipe that was undone.
    #[schema(example = "0367/03/2026-03-14/31198")]
    pub swipe: &'a str,
    /// Its account; null when it had none, or was not known yet.
    #[schema(example = "acc_000000000A1KV")]
    pub account: Option<String>,
    /// When the service recorded the void, by its own clock.
    #[schema(value_type = String, format = DateTime)]
    pub voided_at: Timestamp,
    /// Points taken back (`reversed`), given back (`earned`) and, where points had paid, given
    /// back too (`spent`, negative); and the account after it.
    pub points: Points,
    /// Sentences to print.
    pub messages: Vec<String>,
}

impl Points {
    /// How an account's points stand, beside what its latest change did.
    pub fn of_account(standing: &Standing) -> Self {
        Self {
            pending: standing.pending,
            balance: Some(standing.balance),
            spendable: Some(standing.spendable),
            next_expiry: standing.next_expiry.map(|(points, on)| NextExpiry { points, on }),
            ..Self::default()
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(points: &i64) -> bool {
    *points == 0
}

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The id of an account as it is shown: `acc_` and 13 characters of Crockford's base 32.
pub fn account_text(account_id: i64) -> String {
    let mut text = String::from("acc_");
    for digit in (0..13).rev() {
        let at = (account_id.cast_unsigned() >> (digit * 5)) & 31;
        text.push(char::from(ALPHABET[usize::try_from(at).expect("five bits")]));
    }
    text
}

/// Reads [`account_text`] back.
pub fn account_id(text: &str) -> Option<i64> {
    let digits = text.strip_prefix("acc_").filter(|digits| digits.len() == 13)?;
    let digit = |digit: u8| ALPHABET.iter().position(|of| *of == digit);
    let number =
        digits.bytes().try_fold(0_u128, |number, it| Some(number << 5 | digit(it)? as u128));
    i64::try_from(number?).ok()
}

/// The bytes of an answer: what is sent and what is stored.
pub fn to_bytes<T: Serialize>(answer: &T) -> Bytes {
    let bytes =
        serde_json::to_vec(answer).expect("answers have no maps with keys that are not text");
    Bytes::from(bytes)
}

/// Dictionaries by number. A stored receipt names the one it needs, so none is ever removed
/// or changed; new ones are added at the end.
const DICTIONARIES: [&[u8]; 1] = [include_bytes!("receipt_dictionary_0.json")];
/// The dictionary of new receipts.
const NEWEST: usize = DICTIONARIES.len() - 1;
/// Higher levels cost more microseconds than they save bytes on texts this short.
const LEVEL: i32 = 1;
/// No answer is longer; a longer one is damage.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// Turns receipts into their stored form. Keeps its working memory from one to the next.
pub struct Compressor(zstd::bulk::Compressor<'static>);

impl Compressor {
    /// With the newest dictionary.
    pub fn new() -> Self {
        let compressor = zstd::bulk::Compressor::with_dictionary(LEVEL, DICTIONARIES[NEWEST]);
        Self(compressor.expect("the built-in dictionary is valid"))
    }

    /// The stored form of an answer.
    pub fn compress(&mut self, answer: &[u8]) -> Vec<u8> {
        let frame = self.0.compress(answer).expect("compression into a growing buffer cannot fail");
        let mut stored = Vec::with_capacity(frame.len() + 1);
        stored.push(u8::try_from(NEWEST).expect("far fewer than 256 dictionaries"));
        stored.extend_from_slice(&frame);
        stored
    }
}

impl Default for Compressor {
    fn default() -> Self {
        Self::new()
    }
}

/// The answer that was stored.
///
/// # Errors
/// When the stored bytes are damaged or need a dictionary that this version does not have.
pub fn decompress(stored: &[u8]) -> Result<Bytes, Error> {
    Decompressor::default().decompress(stored)
}

/// Turns stored receipts back into answers. Keeps its working memory from one to the next.
#[derive(Default)]
pub struct Decompressor([Option<zstd::bulk::Decompressor<'static>>; DICTIONARIES.len()]);

impl Decompressor {
    /// The answer that was stored.
    ///
    /// # Errors
    /// As [`decompress`].
    pub fn decompress(&mut self, stored: &[u8]) -> Result<Bytes, Error> {
        let damaged = |what: &str| Error::Damaged(format!("receipt: {what}"));
        let (number, frame) = stored.split_first().ok_or_else(|| damaged("nothing stored"))?;
        let number = usize::from(*number);
        let dictionary = DICTIONARIES.get(number).ok_or_else(|| damaged("unknown dictionary"))?;
        let decompressor = self.0[number].get_or_insert_with(|| {
            zstd::bulk::Decompressor::with_dictionary(dictionary)
                .expect("the built-in dictionaries are valid")
        });
        let answer = decompressor.decompress(frame, BYTES_MAX);
        Ok(Bytes::from(answer.map_err(|error| damaged(&error.to_string()))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_receipt_comes_back_byte_for_byte() {
        let mut compressor = Compressor::new();
        for answer in [&b""[..], b"{}", include_bytes!("receipt_dictionary_0.json")] {
            let stored = compressor.compress(answer);
            assert_eq!(decompress(&stored).expect("just stored"), answer);
        }
        assert!(decompress(&[]).is_err());
        assert!(decompress(&[200, 1, 2]).is_err());
        assert!(decompress(&[0, 1, 2]).is_err());
    }

    #[test]
    fn accounts_are_shown_with_thirteen_characters() {
        assert_eq!(account_text(0), "acc_0000000000000");
        assert_eq!(account_text(i64::MAX), "acc_7ZZZZZZZZZZZZ");
        for account_id_of in [0, 1, 65_877, i64::MAX] {
            assert_eq!(account_id(&account_text(account_id_of)), Some(account_id_of));
        }
        for text in ["", "acc_", "acc_8000000000000", "acc_000000000000U", "0000000000000"] {
            assert_eq!(account_id(text), None, "{text}");
        }
    }
}
