//! A swipe as it is remembered: what the till said, with each article's place in the
//! hierarchy and its points as they were decided, in one compact value.
//!
//! Enough to answer what a return takes back, to fold the profile again, and to decide the
//! swipe anew; the amounts of money that reports sum up stand in columns of their own.

use super::basket::{
    self, Adjustment, AdjustmentKind, EntryMethod, Ground, LineKind, Redemption, SoldOn, Swipe,
};
use super::boost::Boosted;
use super::codec::{DecodeError, Reader, Writer};
use super::name::SwipeName;
use super::product::{Product, Taxa};
use super::programme::caps::EarnedBefore;
use super::programme::tiers::TIER_NO_END;
use super::quantity::Quantity;
use super::swipe::{Before, Decision};
use super::tally::CountedOn;

/// What is remembered of a swipe besides its columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The card that was presented.
    pub card: Option<String>,
    /// How it was read.
    pub entry_method: Option<EntryMethod>,
    /// Who served.
    pub operator_id: Option<String>,
    /// Stored at the till and sent later.
    pub offline: bool,
    /// The lines with what was decided on them.
    pub lines: Vec<RecordedLine>,
    /// What else moved the total.
    pub adjustments: Vec<Adjustment>,
    /// What the till gave discounts for.
    pub redemptions: Vec<Redemption>,
    /// Points that the till took as payment.
    pub points_spent: i64,
    /// What it gave for those, in minor units.
    pub points_value_minor: i64,
    /// Whether the programme says another value for them.
    pub value_differs: bool,
    /// What the account had before, of what decides about what is earned.
    pub before: Before,
    /// What coupons added to what was earned.
    pub boosted: Vec<Boosted>,
}

impl Record {
    /// The articles sold, as they were resolved then: what a profile learns.
    pub fn sold(&self) -> Vec<Product> {
        let sold = self.lines.iter().filter(|line| line.kind == LineKind::Sale);
        sold.map(|line| line.product).collect()
    }

    /// How many coupons the till took.
    pub fn coupons(&self) -> usize {
        basket::coupons_among(&self.redemptions)
    }
}

/// A line with what was known and decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedLine {
    /// Number of the line.
    pub line: u16,
    /// Sold, or taken back.
    pub kind: LineKind,
    /// The article as it was resolved then.
    pub product: Product,
    /// The article as the till named it, where no catalogue had it; otherwise the number
    /// in `product` says which it was.
    pub unknown_sku: Option<String>,
    /// How much of it.
    pub quantity: Quantity,
    /// Before discounts, in minor units.
    pub amount_minor: i64,
    /// Taken off by the till, in minor units.
    pub discount_minor: i64,
    /// Points earned (sale) or taken back (return) on this line, ≥ 0.
    pub points: i64,
    /// What a return takes off what counted towards tiers, in minor units; 0 for a sale.
    pub qualifying_minor: i64,
    /// Where a return takes its points off what caps count; nowhere for a sale.
    pub counted_on: CountedOn,
}

const ENCODING: u8 = 1;

const HAS_ENTRY: u8 = 1;
const OFFLINE: u8 = 2;
const POINTS: u8 = 4;
const VALUE_DIFFERS: u8 = 8;
const TIER: u8 = 16;
const BOOSTED: u8 = 32;
const EARNED: u8 = 64;
const MORE: u8 = 128;

/// In the further byte that [`MORE`] tells of: each redemption says what it names.
const GROUNDS: u8 = 1;

const COUPON: u8 = 0;
const OFFER: u8 = 1;

const RETURN: u8 = 1;
const SOLD_ON: u8 = 2;
const NO_POINTS: u8 = 4;
const SENSITIVE: u8 = 8;
const QUALIFYING: u8 = 16;
const NO_DISCOUNT: u8 = 32;
const AGE_RESTRICTED: u8 = 64;
const COUNTED: u8 = 128;

const DAY: u8 = 1;
const PERIOD: u8 = 2;

/// Encodes what is remembered of a swipe. `products` has the article of each line.
///
/// What only programmes with tiers or caps, offers of points and offers without coupons know has
/// flags of its own. A version of the service that does not know those cannot load such a programme
/// or offer either; but a till may name an offer that there is not, and such a record it misreads.
pub fn encode(swipe: &Swipe, products: &[Product], decided: &Decision) -> Vec<u8> {
    let mut out = Writer::new(ENCODING);
    let points = swipe.points_spent != 0 || swipe.points_value_minor != 0;
    let has_grounds = swipe.redemptions.iter().any(|redemption| redemption.offer().is_some());
    out.byte(
        if swipe.entry_method.is_some() { HAS_ENTRY } else { 0 }
            | if swipe.offline { OFFLINE } else { 0 }
            | if points { POINTS } else { 0 }
            | if decided.value_differs { VALUE_DIFFERS } else { 0 }
            | if decided.before.tier_no > 0 { TIER } else { 0 }
            | if decided.boosted.is_empty() { 0 } else { BOOSTED }
            | if decided.before.earned == EarnedBefore::default() { 0 } else { EARNED }
            | if has_grounds { MORE } else { 0 },
    );
    if has_grounds {
        out.byte(GROUNDS);
    }
    if decided.before.tier_no > 0 {
        out.byte(decided.before.tier_no);
    }
    if decided.before.earned != EarnedBefore::default() {
        out.signed(decided.before.earned.on_day);
        out.signed(decided.before.earned.in_period);
    }
    if let Some(method) = swipe.entry_method {
        out.byte(method as u8);
    }
    out.optional_text(swipe.card.as_deref());
    out.optional_text(swipe.operator_id.as_deref());
    out.unsigned(swipe.lines.len() as u64);
    let lines = swipe.lines.iter().zip(products).zip(&decided.line_points).enumerate();
    for (at, ((line, product), points)) in lines {
        let qualifying_minor = decided.line_qualifying.get(at).copied().unwrap_or(0);
        let counted_on = decided.line_counted_on.get(at).copied().unwrap_or_default();
        let sold_on = match &line.kind {
            LineKind::Return { sold_on } => sold_on.as_ref(),
            LineKind::Sale => None,
        };
        let is_return = matches!(line.kind, LineKind::Return { .. });
        out.byte(
            if is_return { RETURN } else { 0 }
                | if sold_on.is_some() { SOLD_ON } else { 0 }
                | if product.no_points { NO_POINTS } else { 0 }
                | if product.sensitive { SENSITIVE } else { 0 }
                | if qualifying_minor != 0 { QUALIFYING } else { 0 }
                | if product.no_discount { NO_DISCOUNT } else { 0 }
                | if product.age_restricted { AGE_RESTRICTED } else { 0 }
                | if counted_on == CountedOn::default() { 0 } else { COUNTED },
        );
        out.unsigned(u64::from(line.line));
        out.unsigned(u64::from(product.product_no));
        if product.product_no == 0 {
            out.text(&line.sku);
        }
        out.unsigned(u64::from(product.taxa.department_no));
        out.unsigned(u64::from(product.taxa.category_no));
        out.unsigned(u64::from(product.taxa.type_no));
        out.unsigned(u64::from(product.taxa.brand_no));
        out.signed(line.quantity.thousandths());
        out.signed(line.amount_minor);
        out.signed(line.discount_minor);
        out.signed(*points);
        if qualifying_minor != 0 {
            out.signed(qualifying_minor);
        }
        encode_counted(&mut out, counted_on);
        if let Some(sold_on) = sold_on {
            out.text(&sold_on.swipe.to_string());
            out.unsigned(u64::from(sold_on.line));
        }
    }
    out.unsigned(swipe.adjustments.len() as u64);
    for adjustment in &swipe.adjustments {
        out.byte(adjustment.kind as u8);
        out.signed(adjustment.amount_minor);
    }
    encode_redemptions(&mut out, &swipe.redemptions, has_grounds);
    if points {
        out.signed(swipe.points_spent);
        out.signed(swipe.points_value_minor);
    }
    if !decided.boosted.is_empty() {
        out.unsigned(decided.boosted.len() as u64);
    }
    for Boosted { redemption, offer_no, points } in &decided.boosted {
        out.unsigned(*redemption as u64);
        out.signed(i64::from(*offer_no));
        out.signed(*points);
    }
    out.finish()
}

/// What each names stands before it only where the flags say so.
fn encode_redemptions(out: &mut Writer, redemptions: &[Redemption], has_grounds: bool) {
    out.unsigned(redemptions.len() as u64);
    for redemption in redemptions {
        let (kind, text) = match &redemption.ground {
            Ground::Coupon(code) => (COUPON, code),
            Ground::Offer(name) => (OFFER, name),
        };
        if has_grounds {
            out.byte(kind);
        }
        out.text(text);
        out.signed(redemption.discount_minor);
    }
}

/// Nothing for a line that counts nowhere, which its flags tell.
fn encode_counted(out: &mut Writer, CountedOn { day, period }: CountedOn) {
    if day.is_none() && period.is_none() {
        return;
    }
    out.byte(if day.is_some() { DAY } else { 0 } | if period.is_some() { PERIOD } else { 0 });
    for day in [day, period].into_iter().flatten() {
        out.signed(day.into());
    }
}

/// Reads [`encode`] back.
///
/// # Errors
/// When the bytes are not a complete encoding that this version knows.
pub fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
    let mut from = Reader::new(bytes, ENCODING)?;
    let flags = from.byte()?;
    let more = if flags & MORE == 0 { 0 } else { from.byte()? };
    if more & !GROUNDS != 0 {
        return Err(DecodeError::Damaged);
    }
    let tier_no = if flags & TIER == 0 { 0 } else { from.byte()? };
    if tier_no >= TIER_NO_END {
        return Err(DecodeError::Damaged);
    }
    let earned = match flags & EARNED {
        0 => EarnedBefore::default(),
        _ => EarnedBefore { on_day: from.signed()?, in_period: from.signed()? },
    };
    let entry_method = match flags & HAS_ENTRY {
        0 => None,
        _ => Some(named(&EntryMethod::NAMES, |method| method as u8, from.byte()?)?),
    };
    let card = from.optional_text()?.map(str::to_owned);
    let operator_id = from.optional_text()?.map(str::to_owned);
    let count = from.length(9)?;
    let mut lines = Vec::with_capacity(count);
    for _ in 0..count {
        lines.push(decode_line(&mut from)?);
    }
    let count = from.length(2)?;
    let mut adjustments = Vec::with_capacity(count);
    for _ in 0..count {
        let kind = named(&AdjustmentKind::NAMES, |kind| kind as u8, from.byte()?)?;
        adjustments.push(Adjustment { kind, amount_minor: from.signed()? });
    }
    let count = from.length(2)?;
    let mut redemptions = Vec::with_capacity(count);
    for _ in 0..count {
        let kind = if more & GROUNDS == 0 { COUPON } else { from.byte()? };
        let text = from.text()?.to_owned();
        let ground = match kind {
            COUPON => Ground::Coupon(text),
            OFFER => Ground::Offer(text),
            _ => return Err(DecodeError::Damaged),
        };
        redemptions.push(Redemption { ground, discount_minor: from.signed()? });
    }
    let (points_spent, points_value_minor) = match flags & POINTS {
        0 => (0, 0),
        _ => (from.signed()?, from.signed()?),
    };
    let count = if flags & BOOSTED == 0 { 0 } else { from.length(3)? };
    let mut boosted = Vec::with_capacity(count);
    for _ in 0..count {
        let redemption = from.small()?;
        let offer_no = i32::try_from(from.signed()?).map_err(|_| DecodeError::Damaged)?;
        boosted.push(Boosted { redemption, offer_no, points: from.signed()? });
    }
    from.end()?;
    let offline = flags & OFFLINE != 0;
    Ok(Record {
        card,
        entry_method,
        operator_id,
        offline,
        lines,
        adjustments,
        redemptions,
        points_spent,
        points_value_minor,
        value_differs: flags & VALUE_DIFFERS != 0,
        before: Before { tier_no, earned },
        boosted,
    })
}

fn decode_line(from: &mut Reader<'_>) -> Result<RecordedLine, DecodeError> {
    let flags = from.byte()?;
    let line = from.small()?;
    let product_no = from.small()?;
    let unknown_sku = if product_no == 0 { Some(from.text()?.to_owned()) } else { None };
    let taxa = Taxa {
        department_no: from.small()?,
        category_no: from.small()?,
        type_no: from.small()?,
        brand_no: from.small()?,
    };
    let quantity = Quantity::from_thousandths(from.signed()?).map_err(|_| DecodeError::Damaged)?;
    let amount_minor = from.signed()?;
    let discount_minor = from.signed()?;
    let points = from.signed()?;
    let qualifying_minor = if flags & QUALIFYING == 0 { 0 } else { from.signed()? };
    let counted = if flags & COUNTED == 0 { 0 } else { from.byte()? };
    let mut day = |bit: u8| match counted & bit {
        0 => Ok(None),
        _ => i32::try_from(from.signed()?).map(Some).map_err(|_| DecodeError::Damaged),
    };
    let counted_on = CountedOn { day: day(DAY)?, period: day(PERIOD)? };
    let sold_on = if flags & SOLD_ON == 0 {
        None
    } else {
        let swipe: SwipeName = from.text()?.parse().map_err(|_| DecodeError::Damaged)?;
        Some(SoldOn { swipe, line: from.small()? })
    };
    let kind = if flags & RETURN == 0 { LineKind::Sale } else { LineKind::Return { sold_on } };
    let product = Product {
        product_no,
        taxa,
        no_points: flags & NO_POINTS != 0,
        sensitive: flags & SENSITIVE != 0,
        no_discount: flags & NO_DISCOUNT != 0,
        age_restricted: flags & AGE_RESTRICTED != 0,
        ..Product::default()
    };
    Ok(RecordedLine {
        line,
        kind,
        product,
        unknown_sku,
        quantity,
        amount_minor,
        discount_minor,
        points,
        qualifying_minor,
        counted_on,
    })
}

/// The variant that a stored byte stands for, found among those that have a name.
fn named<T: Copy>(names: &[(&str, T)], code: impl Fn(T) -> u8, byte: u8) -> Result<T, DecodeError> {
    names
        .iter()
        .map(|(_, variant)| *variant)
        .find(|variant| code(*variant) == byte)
        .ok_or(DecodeError::Damaged)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::domain::account::{Account, State};
    use crate::domain::basket::Line;

    #[test]
    fn a_record_reads_back_as_it_was_written_and_damage_is_noticed() {
        let sold_on =
            SoldOn { swipe: "0367/01/2026-03-10/55821".parse().expect("a name"), line: 4 };
        let quantity = Quantity::from_thousandths(420).expect("in range");
        let line = |number, kind, sku: &str| Line {
            line: number,
            kind,
            sku: sku.into(),
            quantity,
            amount_minor: 398,
            discount_minor: 40,
        };
        let swipe = Swipe {
            name: SwipeName {
                store_id: "0367".into(),
                workstation_id: "03".into(),
                business_date: date(2026, 3, 14),
                sequence_number: 1,
            },
            occurred_at: jiff::Timestamp::UNIX_EPOCH,
            card: Some("2990000000019".into()),
            entry_method: Some(EntryMethod::Contactless),
            operator_id: Some("17".into()),
            training: false,
            offline: true,
            lines: vec![
                line(1, LineKind::Sale, "1095275"),
                line(2, LineKind::Return { sold_on: Some(sold_on) }, "nowhere"),
                line(3, LineKind::Return { sold_on: None }, "1095275"),
            ],
            adjustments: vec![Adjustment { kind: AdjustmentKind::Rounding, amount_minor: -2 }],
            total_minor: -360,
            redemptions: vec![
                Redemption { ground: Ground::Coupon("7K2M".into()), discount_minor: 40 },
                Redemption { ground: Ground::Offer("member-milk".into()), discount_minor: 80 },
            ],
            points_spent: 30,
            points_value_minor: 25,
        };
        let known = Product {
            product_no: 70_000,
            taxa: Taxa { department_no: 1, category_no: 200, type_no: 3_000, brand_no: 2 },
            no_points: true,
            sensitive: true,
            no_discount: true,
            age_restricted: true,
            ..Product::default()
        };
        let decided = [(known, 3), (Product::default(), 2), (known, 0)];
        let (products, line_points): (Vec<_>, Vec<_>) = decided.into_iter().unzip();
        let earned = EarnedBefore { on_day: 250, in_period: 0 };
        let before = Before { tier_no: 2, earned };
        let counted_on = CountedOn { day: Some(20_522), period: Some(20_454) };
        let by_period = CountedOn { day: None, ..counted_on };
        let decision = Decision {
            line_points,
            line_qualifying: vec![0, 358, 0],
            line_counted_on: vec![CountedOn::default(), counted_on, by_period],
            value_differs: true,
            before,
            boosted: vec![Boosted { redemption: 0, offer_no: 7, points: 50 }],
            ..Decision::without_points(Account::new(256, State::Enrolled), Vec::new())
        };
        let bytes = encode(&swipe, &products, &decision);
        let record = decode(&bytes).expect("what was just written");
        assert_eq!(record.card, swipe.card);
        assert_eq!(record.entry_method, swipe.entry_method);
        assert_eq!(record.operator_id, swipe.operator_id);
        assert!(record.offline);
        assert_eq!(record.adjustments, swipe.adjustments);
        assert_eq!(record.redemptions, swipe.redemptions);
        assert_eq!((record.points_spent, record.points_value_minor), (30, 25));
        assert_eq!((record.value_differs, record.before), (true, before));
        assert_eq!(record.boosted, decision.boosted);
        let taken: Vec<i64> = record.lines.iter().map(|line| line.qualifying_minor).collect();
        assert_eq!(taken, decision.line_qualifying);
        let counted: Vec<CountedOn> = record.lines.iter().map(|line| line.counted_on).collect();
        assert_eq!(counted, decision.line_counted_on);
        for ((line, (product, points)), back) in swipe.lines.iter().zip(decided).zip(&record.lines)
        {
            assert_eq!((back.line, &back.kind), (line.line, &line.kind));
            assert_eq!((back.product, back.points), (product, points));
            assert_eq!((back.quantity, back.amount_minor), (line.quantity, line.amount_minor));
            assert_eq!(
                back.unknown_sku.as_deref(),
                (product.product_no == 0).then_some(&*line.sku)
            );
        }
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end]).is_err(), "cut at {end}");
        }
    }
}
