//! Which rule gave which points: a recorded swipe decided again from its record and its epoch.
//!
//! Nothing is read but what the swipe left behind, and nothing of the account: so returns, which
//! depend on it, are shown as they were recorded. Must never write.

use std::fmt;

use jiff::civil::Date;
use serde::Serialize;

use super::{ProgrammeError, Programmes, sql};
use crate::catalogue::{self, Snapshot};
use crate::commit::NameKey;
use crate::domain::basket::{self, LineKind, Redemption};
use crate::domain::boost::{self, Boost, Boosted};
use crate::domain::name::SwipeName;
use crate::domain::offer::Basket;
use crate::domain::product::Product;
use crate::domain::programme::caps::{Cut, EarnedBefore};
use crate::domain::programme::earning::own_caps::OwnCut;
use crate::domain::programme::earning::{self, Explained, Occasion, Sold};
use crate::domain::record::{self, Record, RecordedLine};
use crate::domain::swipe::{Before, Kind};
use crate::error::Error;

/// Why there is no explanation.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// No such till.
    #[error("no workstation is known as {store_id}/{workstation_id}")]
    NoSuchWorkstation {
        /// Id of the store.
        store_id: String,
        /// Id of the workstation.
        workstation_id: String,
    },
    /// No such sale.
    #[error("no sale is recorded under {0}")]
    NoSuchSwipe(SwipeName),
    /// The database failed.
    #[error(transparent)]
    Programme(#[from] ProgrammeError),
    /// What is stored cannot be read.
    #[error(transparent)]
    Stored(#[from] Error),
}

/// What a swipe earned, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// Its name.
    pub swipe: String,
    /// The programme by which it was decided.
    pub programme_no: i32,
    /// The epoch in which that was in force.
    pub epoch: i32,
    /// Why it earns nothing at all, whatever was bought.
    pub earns_nothing: Option<&'static str>,
    /// Whether it was taken back since, and its points with it.
    pub voided: bool,
    /// What it earns, decided again.
    pub earned: i64,
    /// What it earned when it was recorded.
    pub recorded: i64,
    /// Whether sum and lines of both are the same.
    pub agrees: bool,
    /// The tier that the customer held before; none below the lowest.
    pub tier: Option<String>,
    /// What the till gave discounts for; what is left earns.
    pub given: Vec<Discount>,
    /// What coupons added, on top of the rules.
    pub coupons: Vec<Coupon>,
    /// What caps of single rules took off.
    pub capped_rules: Vec<CappedRule>,
    /// The cap of the whole that left less than the rules give; none where none did.
    pub capped: Option<Capped>,
    /// Its lines.
    pub lines: Vec<Line>,
}

/// What the till gave a discount for: a coupon, or an offer that needs none.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Discount {
    /// The coupon's code, as the till sent it.
    pub coupon: Option<String>,
    /// The offer's name, as the till sent it.
    pub offer: Option<String>,
    /// What it gave, in minor units.
    pub discount_minor: i64,
}

/// A coupon that gave points.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Coupon {
    /// Its code, as the till sent it.
    pub coupon: String,
    /// What people call its offer.
    pub offer: String,
    /// What it gave.
    pub points: i64,
}

/// What the cap of a rule left of what it gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CappedRule {
    /// The rule.
    pub rule: String,
    /// What it would give without its cap, in thousandths of a point.
    pub due_thousandths: i64,
    /// What it gives, in points; 0 where it stands back for others, which give more.
    pub given: i64,
}

impl From<OwnCut<'_>> for CappedRule {
    fn from(OwnCut { rule, due_thousandths, given }: OwnCut<'_>) -> Self {
        Self { rule: rule.to_owned(), due_thousandths, given }
    }
}

/// What a cap left of a swipe's points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Capped {
    /// As rules name it.
    pub by: &'static str,
    /// What the rules give.
    pub due: i64,
    /// What the account had earned before on the day of the swipe, where days are capped.
    pub earned_on_day: i64,
    /// What it had earned before within the period, where one is capped.
    pub earned_in_period: i64,
}

/// A line of a swipe.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// Its number.
    pub line: u16,
    /// The article.
    pub sku: String,
    /// Whether it was brought back: then its points are what was taken, as recorded.
    pub returned: bool,
    /// What it cost less discounts, in minor units.
    pub net_minor: i64,
    /// How much of it.
    pub quantity: String,
    /// Whether the article is excluded from earning.
    pub excluded: bool,
    /// What it earns, decided again.
    pub points: i64,
    /// What it earned when it was recorded.
    pub recorded: i64,
    /// Where the points come from.
    pub parts: Vec<Part>,
}

/// A part of what a line earned, before fractions are dropped and the caps.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// The rule that gives it, or `coupon` with the code of one; none: the base rate.
    pub rule: Option<String>,
    /// How much, in thousandths of a point.
    pub thousandths: i64,
}

/// Explains the swipe with a name.
///
/// # Errors
/// [`ExplainError`].
pub async fn explain(
    programmes: &Programmes,
    name: &SwipeName,
) -> Result<Explanation, ExplainError> {
    let client = programmes.connection.client();
    let snapshot = catalogue::load_for_audit(client).await?;
    let SwipeName { store_id, workstation_id, business_date, .. } = name;
    let workstation = snapshot.workstation(store_id, workstation_id).ok_or_else(|| {
        let (store_id, workstation_id) = (store_id.clone(), workstation_id.clone());
        ExplainError::NoSuchWorkstation { store_id, workstation_id }
    })?;
    let found = sql::find_swipe(client, &NameKey::new(workstation, name)).await;
    let found = found.map_err(ProgrammeError::from)?;
    let found = found.ok_or_else(|| ExplainError::NoSuchSwipe(name.clone()))?;
    let damaged = |what: String| Error::Damaged(format!("swipe {name}: {what}"));
    let epoch = snapshot.epoch(found.epoch);
    let epoch = epoch.ok_or_else(|| damaged(format!("there is no epoch {}", found.epoch)))?;
    let record = record::decode(&found.record).map_err(|error| damaged(error.to_string()))?;

    let earns_nothing = match Kind::from_code(found.kind) {
        Some(Kind::Training) => Some("it was training"),
        Some(Kind::SaleAfterVoid) => Some("it was voided before it arrived"),
        _ if found.account_id == workstation.house_account => Some("no card was presented"),
        _ => None,
    };
    let place = workstation.place();
    let (business_date, occurred_at) = (*business_date, found.occurred_at);
    let Before { tier_no, earned: before } = record.before;
    let occasion = Occasion { business_date, occurred_at, place, tier_no, earned: before };
    let sold = record.lines.iter().enumerate().filter(|(_, line)| line.kind == LineKind::Sale);
    let sold = sold.map(|(at, line)| Sold {
        at,
        product: line.product,
        net_minor: line.amount_minor - line.discount_minor,
        quantity: line.quantity,
    });
    let mut points = vec![0; record.lines.len()];
    let Explained { earned: by_rules, parts, own_cuts, cut } = match earns_nothing {
        None => epoch.programme.explain(&occasion, sold, &mut points),
        Some(_) => Explained { earned: 0, parts: Vec::new(), own_cuts: Vec::new(), cut: None },
    };
    let capped = cut.map(|Cut { cap, due }| {
        let EarnedBefore { on_day: earned_on_day, in_period: earned_in_period } = before;
        Capped { by: cap.name(), due, earned_on_day, earned_in_period }
    });
    let sku_of = |product_no: u32| {
        let mut skus = snapshot.skus().filter(|(number, _)| *number == product_no);
        skus.next().map_or_else(String::new, |(_, sku)| sku.to_owned())
    };
    let Given { earned: by_coupons, coupons, shares } =
        Given::again(&snapshot, &record, business_date, place.store_no, &mut points);
    let earned = by_rules + by_coupons;
    let lines: Vec<Line> = (0..)
        .zip(&record.lines)
        .zip(points)
        .map(|((at, line), points)| {
            let returned = line.kind != LineKind::Sale;
            let of_line = parts.iter().filter(|part| part.at == at && part.thousandths != 0);
            let shares = shares.iter().filter(|(of, _)| *of == at).map(|(_, it)| it.clone());
            let part = |part: &earning::Part<'_>| Part {
                rule: part.rule.map(str::to_owned),
                thousandths: part.thousandths,
            };
            Line {
                line: line.line,
                sku: line.unknown_sku.clone().unwrap_or_else(|| sku_of(line.product.product_no)),
                returned,
                net_minor: line.amount_minor - line.discount_minor,
                quantity: line.quantity.to_string(),
                excluded: !epoch.programme.earns(&line.product),
                points: if returned { line.points } else { points },
                recorded: line.points,
                parts: of_line.map(part).chain(shares).collect(),
            }
        })
        .collect();
    let agrees = earned == found.earned && lines.iter().all(|line| line.points == line.recorded);
    Ok(Explanation {
        swipe: name.to_string(),
        programme_no: found.programme_no,
        epoch: found.epoch,
        earns_nothing,
        voided: found.voided,
        earned,
        recorded: found.earned,
        agrees,
        tier: epoch.programme.tier_name(tier_no).map(str::to_owned),
        given: record.redemptions.iter().map(discount).collect(),
        coupons,
        capped_rules: own_cuts.into_iter().map(CappedRule::from).collect(),
        capped,
        lines,
    })
}

fn discount(redemption: &Redemption) -> Discount {
    Discount {
        coupon: redemption.coupon().map(str::to_owned),
        offer: redemption.offer().map(str::to_owned),
        discount_minor: redemption.discount_minor,
    }
}

/// What coupons gave.
struct Given {
    earned: i64,
    coupons: Vec<Coupon>,
    /// Lines, counted from 0, with what each has of it.
    shares: Vec<(usize, Part)>,
}

impl Given {
    /// Gives it again, to lines that have what the rules give.
    fn again(
        snapshot: &Snapshot,
        record: &Record,
        business_date: Date,
        store_no: u32,
        line_points: &mut [i64],
    ) -> Self {
        let lines: Vec<basket::Line> = record.lines.iter().map(as_line).collect();
        let products: Vec<Product> = record.lines.iter().map(|line| line.product).collect();
        let basket = Basket { business_date, store_no, lines: &lines, products: &products };
        let boost = |it: &Boosted| snapshot.offer(it.offer_no)?.boost(&basket, it.redemption);
        let boosts: Vec<Boost> = record.boosted.iter().filter_map(boost).collect();
        let code_of = |redemption: usize| {
            let coupon = record.redemptions.get(redemption).and_then(|it| it.coupon());
            coupon.unwrap_or_default().to_owned()
        };
        let name_of = |offer_no| snapshot.offer(offer_no).map(|it| it.definition.offer.clone());
        let mut shares = Vec::new();
        let net_minor = |at: usize| lines[at].net_minor();
        let boosted = boost::apply(&boosts, net_minor, line_points, |number, at, points| {
            let rule = Some(format!("coupon {}", code_of(boosts[number].redemption)));
            shares.push((at, Part { rule, thousandths: points * 1_000 }));
        });
        let coupon = |it: &Boosted| Coupon {
            coupon: code_of(it.redemption),
            offer: name_of(it.offer_no).unwrap_or_default(),
            points: it.points,
        };
        let earned = boosted.iter().map(|it| it.points).sum();
        Self { earned, coupons: boosted.iter().map(coupon).collect(), shares }
    }
}

/// A line as the till sent it, as far as offers look at it.
fn as_line(line: &RecordedLine) -> basket::Line {
    basket::Line {
        line: line.line,
        kind: line.kind.clone(),
        sku: String::new(),
        quantity: line.quantity,
        amount_minor: line.amount_minor,
        discount_minor: line.discount_minor,
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { swipe, programme_no, epoch, earned, recorded, .. } = self;
        writeln!(f, "{swipe}: programme {programme_no}, epoch {epoch}")?;
        if let Some(why) = self.earns_nothing {
            writeln!(f, "It earns nothing: {why}.")?;
        }
        if self.voided {
            writeln!(f, "It was voided later; this is what the sale had earned.")?;
        }
        if let Some(tier) = &self.tier {
            writeln!(f, "The customer held {tier} before.")?;
        }
        let [sku, net, quantity, points] = ["article", "minor units", "quantity", "points"];
        writeln!(f, "line  {sku:<14} {net:>11} {quantity:>10} {points:>7}  from")?;
        for line in &self.lines {
            let sign = if line.returned { "-" } else { "" };
            let net = format!("{sign}{}", line.net_minor);
            let points = format!("{sign}{}", line.points);
            let from = line.from(self.earns_nothing.is_some());
            let Line { line, sku, quantity, .. } = line;
            writeln!(f, "{line:>4}  {sku:<14} {net:>11} {quantity:>10} {points:>7}  {from}")?;
        }
        for CappedRule { rule, due_thousandths, given } in &self.capped_rules {
            let due = Thousandths(*due_thousandths);
            match given {
                0 => {
                    let why = "others give more than its cap leaves of";
                    writeln!(f, "{rule} stands back: {why} {due}.")?;
                }
                given => writeln!(f, "cap_per_swipe of {rule} leaves {given} of {due} points.")?,
            }
        }
        if let Some(Capped { by, due, earned_on_day, earned_in_period }) = self.capped {
            let by_coupons: i64 = self.coupons.iter().map(|coupon| coupon.points).sum();
            write!(f, "{by} leaves {} of {due} points", earned - by_coupons)?;
            match by {
                "cap_per_day" => writeln!(f, ": {earned_on_day} were earned on this day before.")?,
                "cap_per_account" => {
                    writeln!(f, ": {earned_in_period} were earned in its period before.")?;
                }
                _ => writeln!(f, ".")?,
            }
        }
        for Discount { coupon, offer, discount_minor } in &self.given {
            match (coupon, offer) {
                (Some(coupon), _) => write!(f, "For coupon {coupon}")?,
                (None, offer) => write!(f, "For {}", offer.as_deref().unwrap_or_default())?,
            }
            writeln!(f, " the till gave {discount_minor} minor units, which earn nothing.")?;
        }
        for Coupon { coupon, offer, points } in &self.coupons {
            writeln!(f, "Coupon {coupon} of {offer} gave {points} of them.")?;
        }
        write!(f, "Earned {earned}; recorded {recorded}: ")?;
        f.write_str(if self.agrees { "they agree." } else { "THEY DIFFER." })
    }
}

impl Line {
    /// Where its points come from, in words.
    fn from(&self, earns_nothing: bool) -> String {
        let mut words: Vec<String> = match () {
            () if self.returned => vec!["returned; as recorded".to_owned()],
            () if earns_nothing => Vec::new(),
            () if self.excluded && self.parts.is_empty() => vec!["excluded".to_owned()],
            () => self.parts.iter().map(Part::to_string).collect(),
        };
        if self.points != self.recorded {
            words.push(format!("recorded {}", self.recorded));
        }
        words.join(" + ")
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.rule.as_deref().unwrap_or("base rate");
        write!(f, "{name} {}", Thousandths(self.thousandths))
    }
}

/// Thousandths of a point as people write them.
struct Thousandths(i64);

impl fmt::Display for Thousandths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 1_000, self.0 % 1_000) {
            (whole, 0) => write!(f, "{whole}"),
            (whole, places) => write!(f, "{whole}.{places:03}"),
        }
    }
}
