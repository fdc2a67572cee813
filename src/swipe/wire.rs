//! What stands in JSON, and how it becomes what the domain knows.
//!
//! Wire types are a contract: fields are only ever added. Domain types never appear in JSON.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::catalogue::Workstation;
use crate::domain::basket::{
    Adjustment, AdjustmentKind, EntryMethod, Ground, Line, LineKind, Redemption, SoldOn, Swipe,
};
use crate::domain::card::CardFormat;
use crate::domain::name::{self, SEQUENCE_MAX, SwipeName};
use crate::domain::quantity::Quantity;
use crate::http::body::{check_card, objects, optional_object};
use crate::http::problem::{FieldError, Problem, Slug};

/// One retail transaction.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Swipe)]
pub struct SwipeIn<'a> {
    /// ARTS RetailStoreID; the store of the key that signs.
    #[serde(borrow)]
    #[schema(example = "0367")]
    pub store_id: Cow<'a, str>,
    /// ARTS WorkstationID; the workstation of the key that signs.
    #[serde(borrow)]
    #[schema(example = "03")]
    pub workstation_id: Cow<'a, str>,
    /// The store's trading day.
    #[serde(borrow)]
    #[schema(format = Date, example = "2026-03-14")]
    pub business_date: Cow<'a, str>,
    /// The workstation's counter; with the three above it names the transaction for ever.
    #[schema(minimum = 0, maximum = 9007199254740991_i64, example = 31198)]
    pub sequence_number: i64,
    /// RFC 3339 with an offset; within one day before and two days after the business date.
    #[serde(borrow)]
    #[schema(format = DateTime, example = "2026-03-14T11:53:26-05:00")]
    pub occurred_at: Cow<'a, str>,
    /// ISO 4217; the chain's one currency.
    #[serde(borrow)]
    #[schema(example = "USD")]
    pub currency: Cow<'a, str>,
    /// The card that was presented. Without one the basket counts for the store only.
    #[serde(borrow, default)]
    #[schema(example = "2990000000019")]
    pub card: Option<Cow<'a, str>>,
    /// How the card was read: scanned, keyed, swiped, contactless or looked-up.
    #[serde(borrow, default)]
    #[schema(example = "scanned")]
    pub entry_method: Option<Cow<'a, str>>,
    /// Who served.
    #[serde(borrow, default)]
    #[schema(max_length = 32, example = "17")]
    pub operator_id: Option<Cow<'a, str>>,
    /// Practice: recorded, but earns nothing.
    #[serde(default)]
    pub training: bool,
    /// Stored at the till and sent later; a retry may differ in it.
    #[serde(default)]
    pub offline: bool,
    /// What was sold and taken back.
    #[serde(borrow, default, deserialize_with = "objects")]
    #[schema(min_items = 1, max_items = 500)]
    pub lines: Vec<LineIn<'a>>,
    /// What else moved the total; earns nothing.
    #[serde(borrow, default, deserialize_with = "objects")]
    #[schema(max_items = 100)]
    pub adjustments: Vec<AdjustmentIn<'a>>,
    /// Lines less discounts, returns counted negative, and adjustments add up to it.
    #[schema(example = 117)]
    pub total_minor: i64,
    /// What the till gave discounts for: coupons, and offers that everybody with a card gets.
    #[serde(borrow, default, deserialize_with = "objects")]
    #[schema(max_items = 100)]
    pub redemptions: Vec<RedemptionIn<'a>>,
    /// Points that the till took as payment. A tender: it moves neither the total nor what the
    /// basket earns. Points that were not there are owed; `points.short` on the receipt says so.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1000000000000_i64, example = 100)]
    pub points_spent: i64,
    /// What the till gave for those, in minor units; 0 without them. Recorded as it is, also
    /// where the programme says another value.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1000000000000_i64, example = 100)]
    pub points_value_minor: i64,
}

/// One article, sold or taken back.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Line)]
pub struct LineIn<'a> {
    /// Number of the line, unique in its swipe.
    #[schema(minimum = 1, maximum = 65535)]
    pub line: u16,
    /// `sale` or `return`.
    #[serde(borrow, default)]
    #[schema(default = "sale", example = "sale")]
    pub kind: Option<Cow<'a, str>>,
    /// The article; one that no catalogue has earns the base rate.
    #[serde(borrow)]
    #[schema(max_length = 32, example = "1095275")]
    pub sku: Cow<'a, str>,
    /// A decimal with at most three places, 0 to 999999.999.
    #[serde(borrow)]
    #[schema(example = "0.420")]
    pub quantity: Cow<'a, str>,
    /// Before discounts, in minor units.
    #[schema(minimum = 0, maximum = 1000000000000_i64)]
    pub amount_minor: i64,
    /// What the till took off, in minor units.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1000000000000_i64)]
    pub discount_minor: i64,
    /// For a return: the line that it was sold on, where the till knows it.
    #[serde(borrow, default, deserialize_with = "optional_object")]
    pub returns: Option<ReturnsIn<'a>>,
}

/// A line of an earlier swipe.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Returns)]
pub struct ReturnsIn<'a> {
    /// Name of the earlier swipe.
    #[serde(borrow)]
    #[schema(example = "0367/01/2026-03-10/55821")]
    pub swipe: Cow<'a, str>,
    /// Its line.
    #[schema(minimum = 1, maximum = 65535)]
    pub line: u16,
}

/// Moves the total without being an article.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Adjustment)]
pub struct AdjustmentIn<'a> {
    /// `tax`, `deposit`, `rounding` or `tender-coupon`.
    #[serde(borrow)]
    #[schema(example = "tax")]
    pub kind: Cow<'a, str>,
    /// Signed, in minor units.
    #[schema(example = 9)]
    pub amount_minor: i64,
}

/// A coupon that the till took, or an offer that everybody with a card gets: exactly one of them.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Redemption)]
pub struct RedemptionIn<'a> {
    /// The coupon's code, as scanned.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 64, example = "7K2M9QXA4TRB3W")]
    pub coupon: Option<Cow<'a, str>>,
    /// The offer's name, as `GET /v1/member-prices` tells it; once for all that it gives in the
    /// transaction.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 64, example = "member-milk")]
    pub offer: Option<Cow<'a, str>>,
    /// What the till gave for it, in minor units.
    #[schema(minimum = 0, example = 40)]
    pub discount_minor: i64,
}

/// What a swipe is judged by besides itself.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The chain's one currency.
    pub currency: &'a str,
    /// What a card looks like.
    pub cards: &'a CardFormat,
    /// The oldest and the newest business date that is taken; none: any.
    pub window: Option<(Date, Date)>,
    /// Whether it is only read, to be looked for among what is recorded: under other rules it may
    /// have been sound. What must be known to tell one transaction from another is required all
    /// the same, and no payment card is taken.
    pub only_read: bool,
}

impl SwipeIn<'_> {
    /// The command that this message is.
    ///
    /// # Errors
    /// Of `payment-card-data-refused`, `card-invalid`, `timestamp-out-of-range` and
    /// `validation-failed` the first that applies, with a pointer for each finding.
    #[expect(clippy::too_many_lines, reason = "straight through the fields of one message")]
    pub fn into_swipe(
        self,
        workstation: &Workstation,
        rules: &Rules<'_>,
    ) -> Result<Swipe, Problem> {
        let mut wrong = Vec::new();
        let mut invalid = |pointer: String, detail: &'static str| {
            wrong.push(FieldError { pointer, detail: detail.into() });
        };

        let business_date = name::parse_date(&self.business_date);
        let occurred_at = parse_timestamp(&self.occurred_at);
        let mut late = Vec::new();
        let mut out_of_range = |pointer: &str, detail: &'static str| {
            late.push(FieldError { pointer: pointer.to_owned(), detail: detail.into() });
        };
        match business_date {
            None => out_of_range("/business_date", "a date YYYY-MM-DD is required"),
            Some(date)
                if !rules.only_read
                    && rules
                        .window
                        .is_some_and(|(oldest, newest)| date < oldest || newest < date) =>
            {
                out_of_range("/business_date", "this business date is too old or too far ahead");
            }
            Some(_) => {}
        }
        match (occurred_at, business_date) {
            (None, _) => {
                out_of_range("/occurred_at", "a time as in RFC 3339 with an offset is required")
            }
            (Some(at), Some(date)) if !rules.only_read && !is_near(at, date, workstation) => {
                out_of_range(
                    "/occurred_at",
                    "must lie within one day before and two days after the business date",
                )
            }
            _ => {}
        }

        if !(0..=SEQUENCE_MAX).contains(&self.sequence_number) {
            invalid("/sequence_number".into(), "must lie within 0 and 9007199254740991");
        }
        if self.currency != rules.currency {
            invalid("/currency".into(), "this chain has another currency");
        }
        let entry_method = match self.entry_method.as_deref() {
            None => None,
            Some(text) => {
                let method = by_name(&EntryMethod::NAMES, text);
                if method.is_none() {
                    let detail = "scanned, keyed, swiped, contactless or looked-up is required";
                    invalid("/entry_method".into(), detail);
                }
                method
            }
        };
        let mut lines = Vec::with_capacity(self.lines.len());
        for (at, line) in self.lines.into_iter().enumerate() {
            let place = |field: &str| format!("/lines/{at}/{field}");
            let quantity = line.quantity.parse::<Quantity>();
            if quantity.is_err() {
                let detail = "a decimal from 0 to 999999.999 with at most three places is required";
                invalid(place("quantity"), detail);
            }
            let kind = match (line.kind.as_deref().unwrap_or("sale"), &line.returns) {
                ("sale", None) => LineKind::Sale,
                ("return", None) => LineKind::Return { sold_on: None },
                ("return", Some(returns)) => {
                    let swipe: Option<SwipeName> = returns.swipe.parse().ok();
                    if swipe.is_none() || returns.line == 0 {
                        invalid(
                            place("returns"),
                            "a swipe's name and a line's number are required",
                        );
                    }
                    let sold_on = swipe.map(|swipe| SoldOn { swipe, line: returns.line });
                    LineKind::Return { sold_on }
                }
                ("sale", Some(_)) => {
                    invalid(place("returns"), "only a return can name the line that it returns");
                    LineKind::Sale
                }
                _ => {
                    invalid(place("kind"), "sale or return is required");
                    LineKind::Sale
                }
            };
            lines.push(Line {
                line: line.line,
                kind,
                sku: line.sku.into_owned(),
                quantity: quantity.unwrap_or_default(),
                amount_minor: line.amount_minor,
                discount_minor: line.discount_minor,
            });
        }
        let mut adjustments = Vec::with_capacity(self.adjustments.len());
        for (at, adjustment) in self.adjustments.iter().enumerate() {
            let AdjustmentIn { kind, amount_minor } = adjustment;
            match by_name(&AdjustmentKind::NAMES, kind) {
                Some(kind) => adjustments.push(Adjustment { kind, amount_minor: *amount_minor }),
                None => invalid(
                    format!("/adjustments/{at}/kind"),
                    "tax, deposit, rounding or tender-coupon is required",
                ),
            }
        }
        let mut redemptions = Vec::with_capacity(self.redemptions.len());
        for (at, redemption) in self.redemptions.into_iter().enumerate() {
            let RedemptionIn { coupon, offer, discount_minor } = redemption;
            let ground = match (coupon, offer) {
                (Some(code), None) => Ground::Coupon(code.into_owned()),
                (None, Some(name)) => Ground::Offer(name.into_owned()),
                (coupon, _) => {
                    let field = if coupon.is_some() { "offer" } else { "coupon" };
                    let detail = "exactly one of coupon and offer is required";
                    invalid(format!("/redemptions/{at}/{field}"), detail);
                    continue;
                }
            };
            redemptions.push(Redemption { ground, discount_minor });
        }
        let swipe = Swipe {
            name: SwipeName {
                store_id: self.store_id.into_owned(),
                workstation_id: self.workstation_id.into_owned(),
                business_date: business_date.unwrap_or_default(),
                sequence_number: self.sequence_number,
            },
            occurred_at: occurred_at.unwrap_or_default(),
            card: self.card.map(Cow::into_owned),
            entry_method,
            operator_id: self.operator_id.map(Cow::into_owned),
            training: self.training,
            offline: self.offline,
            lines,
            adjustments,
            total_minor: self.total_minor,
            redemptions,
            points_spent: self.points_spent,
            points_value_minor: self.points_value_minor,
        };

        if swipe.holds_payment_card() {
            return Err(Problem::new(Slug::PaymentCardDataRefused));
        }
        if let Some(card) = swipe.card.as_ref().filter(|_| !rules.only_read) {
            check_card(card, "/card", rules.cards)?;
        }
        if !late.is_empty() {
            return Err(Problem::invalid(Slug::TimestampOutOfRange, late));
        }
        // Findings on the sum would only repeat what is wrong with a part.
        let judged = wrong.is_empty() && !rules.only_read;
        let findings = if judged { swipe.findings() } else { Vec::new() };
        wrong.extend(
            findings.into_iter().map(|finding| FieldError {
                pointer: finding.pointer,
                detail: finding.detail.into(),
            }),
        );
        if wrong.is_empty() {
            Ok(swipe)
        } else {
            Err(Problem::invalid(Slug::ValidationFailed, wrong))
        }
    }
}

/// A point in time as RFC 3339 writes it, with an offset. What its grammar allows but no clock
/// shows (a second 60), and what only ISO 8601 allows, is refused.
fn parse_timestamp(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let digits = |range: std::ops::Range<usize>| {
        bytes.get(range).is_some_and(|part| part.iter().all(u8::is_ascii_digit))
    };
    let at = |place: usize, byte: u8| bytes.get(place) == Some(&byte);
    let date = digits(0..4) && at(4, b'-') && digits(5..7) && at(7, b'-') && digits(8..10);
    let time = digits(11..13) && at(13, b':') && digits(14..16) && at(16, b':') && digits(17..19);
    let second: u8 = text.get(17..19)?.parse().ok()?;
    let rest = text.get(19..)?;
    let fraction = rest
        .strip_prefix('.')
        .map_or(0, |rest| 1 + rest.bytes().take_while(u8::is_ascii_digit).count());
    let offset = rest.get(fraction..)?.as_bytes();
    let zoned = match offset {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', hour @ .., b':', m1, m2] => {
            matches!(hour, [b'0' | b'1', b'0'..=b'9'] | [b'2', b'0'..=b'3'])
                && matches!((m1, m2), (b'0'..=b'5', b'0'..=b'9'))
        }
        _ => false,
    };
    let shaped = date && matches!(bytes.get(10), Some(b'T' | b't')) && time && second < 60 && zoned;
    if !shaped || fraction == 1 || fraction > 10 {
        return None;
    }
    // The database keeps microseconds. What is cut here is neither content nor stored, so that
    // the content can be proved from what is stored.
    let parsed: Timestamp = text.parse().ok()?;
    Timestamp::from_microsecond(parsed.as_microsecond()).ok()
}

/// Whether a time lies near a business date, by the store's own calendar.
fn is_near(at: Timestamp, business_date: Date, workstation: &Workstation) -> bool {
    let day = workstation.time_zone.to_datetime(at).date();
    let apart = (day - business_date).get_days();
    (-1..=2).contains(&apart)
}

fn by_name<T: Copy>(names: &[(&str, T)], text: &str) -> Option<T> {
    names.iter().find(|(name, _)| *name == text).map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_rfc_3339_writes_them_and_in_no_other_way() {
        for text in [
            "2026-03-14T11:53:26-05:00",
            "2026-03-14T11:53:26Z",
            "2026-03-14t11:53:26.123456789+05:30",
        ] {
            assert!(parse_timestamp(text).is_some(), "{text}");
        }
        let long = parse_timestamp("2026-03-14T11:53:26.1234567Z");
        assert_eq!(long, "2026-03-14T11:53:26.123456Z".parse().ok());
        for text in [
            "",
            "2026-03-14T11:53:26",
            "2026-03-14 11:53:26Z",
            "2026-03-14T11:53:60Z",
            "2026-03-14T24:00:00Z",
            "2026-03-14T11:53Z",
            "2026-03-14T11:53:26.Z",
            "2026-03-14T11:53:26+0500",
            "2026-03-14T11:53:26+24:00",
            "2026-03-14T11:53:26+05:60",
            "2026-03-14T11:53:26-05:00[America/New_York]",
            "20260314T115326Z",
            "2026-02-30T11:53:26Z",
            "１２26-03-14T11:53:26Z",
        ] {
            assert!(parse_timestamp(text).is_none(), "{text}");
        }
    }
}
