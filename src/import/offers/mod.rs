//! The file of offers: what its columns are, and the offers that it defines.
//!
//! Each column is one field of a definition, so a row becomes what `POST /v1/offers` takes and is
//! judged by the same code. Names are not resolved here: whoever writes offers knows the
//! catalogue. Must never give a field a meaning of its own, nor change an offer that exists.
//!
//! | phase | round trips |
//! |---|---|
//! | read and check the file | 0 |
//! | begin, lock, the catalogue, offers that are known | 10 or so |
//! | for each 500 new ones: offers, lines of the audit trail | 2 |
//! | bump, commit | 2 |

mod sql;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{ImportError, Importer, begin, sound};
use crate::domain::offer::{Definition, Offer, OfferError};
use crate::domain::payment_card::{self, Field};
use crate::import::cells::Cells;
use crate::import::findings::{Findings, Place};
use crate::import::table::{Column, Table, TableError};

/// A column, and the field of a definition that it is.
struct OfferColumn {
    column: Column,
    /// JSON pointer (RFC 6901) into a definition.
    pointer: &'static str,
    kind: Kind,
}

/// What a cell becomes.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Number,
    Flag,
    Date,
    List,
    /// For each store an amount, `0367=400;0406=200`: a budget of this kind.
    PerStore(&'static str),
}

const fn field(
    name: &'static str,
    pointer: &'static str,
    kind: Kind,
    meaning: &'static str,
) -> OfferColumn {
    let required =
        matches!(name.as_bytes(), b"offer" | b"headline" | b"reward" | b"party" | b"share_percent");
    OfferColumn { column: Column { name, required, meaning }, pointer, kind }
}

const FIELDS: &[OfferColumn] = &[
    field("offer", "/offer", Kind::Text, "names it for ever: 1 to 64 of a-z 0-9 -"),
    field("headline", "/headline", Kind::Text, "what customers read"),
    field("delivery", "/delivery", Kind::Text, "how it comes to customers; empty: personal"),
    field("reward", "/reward/kind", Kind::Text, "what it gives, such as percent-off"),
    field("percent", "/reward/percent", Kind::Number, "of percent-off, 1 to 100"),
    field("amount_minor", "/reward/amount_minor", Kind::Number, "of amount-off"),
    field("price_minor", "/reward/price_minor", Kind::Number, "of fixed-price"),
    field("of", "/reward/of", Kind::Number, "of cheapest-free, 2 to 100"),
    field("points", "/reward/points", Kind::Number, "of points-bonus"),
    field("times_percent", "/reward/times_percent", Kind::Number, "of points-multiplier"),
    field("departments", "/scope/departments", Kind::List, "what it is for, with semicolons"),
    field("categories", "/scope/categories", Kind::List, "the same"),
    field("types", "/scope/types", Kind::List, "the same"),
    field("brands", "/scope/brands", Kind::List, "the same"),
    field("skus", "/scope/skus", Kind::List, "the same; all five empty: for everything"),
    field("except_departments", "/except/departments", Kind::List, "what of that it is not for"),
    field("except_categories", "/except/categories", Kind::List, "the same"),
    field("except_types", "/except/types", Kind::List, "the same"),
    field("except_brands", "/except/brands", Kind::List, "the same"),
    field("except_skus", "/except/skus", Kind::List, "the same"),
    field("minimum_basket_minor", "/minimum_basket_minor", Kind::Number, "of the whole basket"),
    field("minimum_quantity", "/minimum_quantity", Kind::Number, "of what it is for"),
    field("stores", "/stores", Kind::List, "where it counts, with semicolons; empty: everywhere"),
    field("weekdays", "/weekdays", Kind::List, "mon to sun, with semicolons; empty: all of them"),
    field("limit_per_account", "/limits/per_account", Kind::Number, "uses that count, in all"),
    field("limit_per_day", "/limits/per_day", Kind::Number, "the same, of an account on a day"),
    field("limit_per_swipe", "/limits/per_swipe", Kind::Number, "the same, in a transaction"),
    field("stacking_group", "/stacking/group", Kind::Text, "of its offers one counts at a time"),
    field("stacking_priority", "/stacking/priority", Kind::Number, "the highest counts"),
    field("shared_code", "/shared_code/code", Kind::Text, "of shared-code, such as WELCOME10"),
    field("max_uses", "/shared_code/max_uses", Kind::Number, "how often that counts in all"),
    field("since", "/since", Kind::Date, "first day, YYYY-MM-DD; empty: it has begun"),
    field("until", "/until", Kind::Date, "last day; empty: it has no end"),
    field("at_the_till", "/at_the_till", Kind::Flag, "true: the till gives it to whom it fits"),
    field("valid_days", "/valid_days", Kind::Number, "days that a coupon counts, 1 to 3660"),
    field("discount_max_minor", "/discount_max_minor", Kind::Number, "the most that it gives"),
    field("party", "/funding/party", Kind::Text, "who shares in the costs"),
    field("share_percent", "/funding/share_percent", Kind::Number, "their share, 0 to 100"),
    field("budget_coupons", "/budget/coupons", Kind::Number, "most coupons that are issued"),
    field("budget_value_minor", "/budget/value_minor", Kind::Number, "most that tills give"),
    field("each_store_coupons", "/budget/each_store/coupons", Kind::Number, "in each store"),
    field("each_store_value_minor", "/budget/each_store/value_minor", Kind::Number, "the same"),
    field("stores_coupons", "/budget/stores", Kind::PerStore("coupons"), "0367=400;0406=200"),
    field("stores_value_minor", "/budget/stores", Kind::PerStore("value_minor"), "the same"),
    field("pacing", "/budget/pacing", Kind::Text, "even or none: over its days; empty: even"),
    field("push", "/push", Kind::Number, "1 first to 9 last: tills give it before others"),
    field("goodwill", "/goodwill", Kind::Flag, "true: also to customers who are held out"),
];

const ALL: [Column; FIELDS.len()] = {
    let mut all = [FIELDS[0].column; FIELDS.len()];
    let mut at = 0;
    while at < FIELDS.len() {
        all[at] = FIELDS[at].column;
        at += 1;
    }
    all
};

/// The columns of a file of offers.
pub const COLUMNS: &[Column] = &ALL;

/// An offer as a file defines it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferRecord {
    /// Where it stands.
    pub place: Place,
    /// What it says. Within its limits; whether its names exist is not known yet.
    pub definition: Definition,
}

/// Offers that one statement writes: their lists of articles may be long.
const OFFERS_IN_STATEMENT: usize = 500;

/// Reads and checks a file of offers ([`COLUMNS`]).
///
/// # Errors
/// [`ImportError::Table`] and [`ImportError::Rows`].
pub fn read_offers(
    path: &Path,
    progress: impl FnMut(u64),
) -> Result<Vec<OfferRecord>, ImportError> {
    let mut findings = Findings::default();
    let offers = read(Table::open(path, COLUMNS)?, &mut findings, progress)?;
    sound(findings, offers)
}

impl Importer {
    /// Adds the offers whose names are new. An offer that exists is never changed: where the
    /// file says of it what is stored, or what was stored before it was ended, it is left alone.
    ///
    /// # Errors
    /// When nothing was written; [`ImportError::Rows`] names the offers that name what there is
    /// not, or that exist and say something else.
    pub async fn offers(
        &mut self,
        offers: &[OfferRecord],
        mut progress: impl FnMut(u64),
    ) -> Result<OffersOutcome, ImportError> {
        let now = self.now;
        let import = begin(&mut self.connection).await?;
        let snapshot = import.snapshot().await?;
        let known = import.known_offers(offers).await?;
        let mut findings = Findings::default();
        let mut fresh: Vec<&Definition> = Vec::new();
        for offer in offers {
            if let Some(stored) = known.get(&offer.definition.offer) {
                if !is_as_before(stored, &offer.definition) {
                    let problem = "an offer of this name says something else; offers are never \
                                   changed: end that one, and give this one a name of its own";
                    findings.add(offer.place, "offer", problem);
                }
            } else if let Err(error) = snapshot.compile(0, offer.definition.clone()) {
                refuse(&mut findings, offer, &error);
            } else {
                fresh.push(&offer.definition);
            }
        }
        let fresh = sound(findings, fresh)?;
        for chunk in fresh.chunks(OFFERS_IN_STATEMENT) {
            import.write_offers(chunk, now).await?;
            progress(chunk.len() as u64);
        }
        if !fresh.is_empty() {
            import.bump_reference_version().await?;
        }
        import.finish().await?;
        Ok(OffersOutcome { offers: offers.len() as u64, offers_added: fresh.len() as u64 })
    }
}

/// Whether a stored offer is what a file says, or was it until somebody ended it.
fn is_as_before(stored: &Definition, file: &Definition) -> bool {
    let ended = |until| file.until.is_none_or(|of_file| until < of_file);
    let before = match stored.until {
        // Ending moves the first day as well, where that lay ahead.
        Some(until) if ended(until) => {
            Definition { since: file.since, until: file.until, ..stored.clone() }
        }
        _ => stored.clone(),
    };
    before == *file
}

/// What an import of offers did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct OffersOutcome {
    /// In the file.
    pub offers: u64,
    /// Of these, new.
    pub offers_added: u64,
}

impl fmt::Display for OffersOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offers, offers_added } = self;
        if *offers_added == 0 {
            return write!(f, "{offers} offers: nothing changed, they are all known");
        }
        write!(f, "{offers} offers: {offers_added} added, {} known already", offers - offers_added)
    }
}

/// Reads a table of offers.
///
/// # Errors
/// When the file is not such a table; what is wrong with rows stands in the findings.
pub fn read(
    table: Table,
    findings: &mut Findings,
    mut progress: impl FnMut(u64),
) -> Result<Vec<OfferRecord>, TableError> {
    let mut offers: Vec<OfferRecord> = Vec::new();
    let mut seen: HashMap<String, Place> = HashMap::new();
    table.for_each(|row| {
        progress(1);
        let mut cells = Cells::new(row, findings);
        let Some(definition) = record(&mut cells) else { return };
        let place = cells.place();
        match seen.insert(definition.offer.clone(), place) {
            None => offers.push(OfferRecord { place, definition }),
            Some(first) => cells.refuse("offer", &format!("stands in {first} already")),
        }
    })?;
    Ok(offers)
}

/// Notes what is wrong with a definition at its place in the file.
fn refuse(findings: &mut Findings, offer: &OfferRecord, error: &OfferError) {
    let column = column_of(&error.pointer(&offer.definition));
    findings.add(offer.place, column, problem_of(error));
}

fn problem_of(error: &OfferError) -> String {
    match error {
        OfferError::NoSuchName(_, name) => {
            format!("nothing in the catalogue or among the stores is named {name:?}")
        }
        error => error.to_string(),
    }
}

/// The definition that a row is; `None` when something is wrong with it, which is noted.
fn record(cells: &mut Cells<'_>) -> Option<Definition> {
    let mut whole = json!({ "delivery": "personal" });
    let mut is_sound = true;
    for OfferColumn { column, pointer, kind } in FIELDS {
        if !cells.is_set(column.name) {
            if column.required {
                cells.refuse(column.name, "must not be empty");
                is_sound = false;
            }
            continue;
        }
        match value(cells, column.name, *kind) {
            Some(value) => put(&mut whole, pointer, value),
            None => is_sound = false,
        }
    }
    if !is_sound {
        return None;
    }
    let definition: Definition = match serde_path_to_error::deserialize(whole) {
        Ok(definition) => definition,
        Err(error) => {
            let path: String = error.path().iter().map(|step| format!("/{step}")).collect();
            cells.refuse(column_of(&path), &in_words(&error.into_inner().to_string()));
            return None;
        }
    };
    // Any name will do: which there are is known to whoever writes offers.
    match Offer::compile(0, definition.clone(), |_, _| Some(1)) {
        Ok(_) => Some(definition),
        Err(error) => {
            cells.refuse(column_of(&error.pointer(&definition)), &problem_of(&error));
            None
        }
    }
}

/// What a cell becomes; `None` when it cannot be used, which is noted.
fn value(cells: &mut Cells<'_>, column: &str, kind: Kind) -> Option<Value> {
    const LIST: &str = "each must have at most 200 characters and be no payment-card number";
    let is_name = |part: &str| {
        part.chars().count() <= 200
            && !part.chars().any(char::is_control)
            && !payment_card::found_in(part, Field::Sku)
    };
    match kind {
        Kind::Text => cells.text(column, 200, Field::Sku).map(Value::from),
        Kind::Number => cells.number(column, 0).map(Value::from),
        Kind::Flag => cells.flag(column).map(Value::from),
        Kind::Date => cells.date(column).map(|date| Value::from(date.to_string())),
        Kind::List => {
            let parts = cells.list(column, is_name, LIST);
            (!parts.is_empty()).then(|| Value::from(parts))
        }
        Kind::PerStore(counts) => {
            let pair = |part: &str| {
                let (store, amount) = part.split_once('=')?;
                Some((store.trim().to_owned(), amount.trim().parse::<u32>().ok()?))
            };
            let remedy = "each must be a store and an amount, such as 0367=400";
            let parts = cells.list(column, |part| pair(part).is_some(), remedy);
            let amounts = parts.iter().filter_map(|part| pair(part));
            let stores: Map<String, Value> =
                amounts.map(|(store, amount)| (store, json!({ counts: amount }))).collect();
            (!stores.is_empty()).then_some(Value::Object(stores))
        }
    }
}

/// Puts a value where the pointer says; tables that meet there become one.
fn put(whole: &mut Value, pointer: &str, value: Value) {
    let mut at = whole;
    for step in pointer.split('/').skip(1) {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        at = &mut at[step];
    }
    match (at, value) {
        (Value::Object(there), Value::Object(further)) => {
            for (key, value) in further {
                put(there.entry(key).or_insert(Value::Null), "", value);
            }
        }
        (at, value) => *at = value,
    }
}

/// The column in which what a pointer names stands.
fn column_of(pointer: &str) -> &'static str {
    let is_below = |long: &str, short: &str| {
        long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let found = FIELDS
        .iter()
        .find(|field| is_below(pointer, field.pointer))
        .or_else(|| FIELDS.iter().find(|field| is_below(field.pointer, pointer)));
    found.map_or("offer", |field| field.column.name)
}

/// What serde says, without the value that it found.
fn in_words(said: &str) -> String {
    match said.split_once(", expected ") {
        // Anything else that is no such number was refused before.
        Some((_, "u8" | "u16" | "i64")) => "is too large".to_owned(),
        Some((found, expected)) if !found.starts_with("unknown field") => {
            format!("must be {expected}")
        }
        _ => said.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn parse(text: &str) -> (Vec<OfferRecord>, String) {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(text.as_bytes()).expect("written");
        let table = Table::open(file.path(), COLUMNS).expect("a table");
        let mut findings = Findings::default();
        let offers = read(table, &mut findings, |_| ()).expect("readable");
        (offers, findings.to_string())
    }

    #[test]
    fn a_row_is_the_definition_that_people_would_write() {
        let (offers, findings) = parse(
            "offer,headline,reward,percent,categories,except_brands,stores,since,until,\
             at_the_till,valid_days,party,share_percent,budget_coupons,each_store_coupons,\
             stores_coupons,stores_value_minor,weekdays,limit_per_day,stacking_group,push\n\
             yoghurt-50,50 % off yoghurt,percent-off,50,YOGHURT;QUARK,National,0367,2026-01-01,\
             2026-12-31,yes,14,dairy,60,10000,200,0367=400;0406=9,0406=500,mon;tue,2,spring,3\n",
        );
        assert_eq!(findings, "");
        let whole = json!({
            "offer": "yoghurt-50", "headline": "50 % off yoghurt", "delivery": "personal",
            "reward": { "kind": "percent-off", "percent": 50 },
            "scope": { "categories": ["YOGHURT", "QUARK"] }, "except": { "brands": ["National"] },
            "stores": ["0367"], "since": "2026-01-01", "until": "2026-12-31",
            "at_the_till": true, "valid_days": 14,
            "funding": { "party": "dairy", "share_percent": 60 },
            "budget": { "coupons": 10000, "each_store": { "coupons": 200 }, "stores": {
                "0367": { "coupons": 400 }, "0406": { "coupons": 9, "value_minor": 500 } } },
            "weekdays": ["mon", "tue"], "limits": { "per_day": 2 },
            "stacking": { "group": "spring" }, "push": 3,
        });
        let definition = serde_json::from_value(whole).expect("as the API takes it");
        assert_eq!(offers, [OfferRecord { place: Place::Line(2), definition }]);
    }

    #[test]
    fn what_a_row_leaves_out_a_definition_leaves_out() {
        let (offers, findings) = parse(
            "offer,headline,reward,amount_minor,skus,valid_days,party,share_percent\n\
             forty,40 off,amount-off,40,,7,chain,100\n",
        );
        assert_eq!(findings, "");
        let definition = serde_json::to_value(&offers[0].definition).expect("plain values");
        assert_eq!(
            definition,
            json!({
                "offer": "forty", "headline": "40 off", "delivery": "personal", "valid_days": 7,
                "reward": { "kind": "amount-off", "amount_minor": 40 },
                "funding": { "party": "chain", "share_percent": 100 },
            })
        );
    }

    #[test]
    fn an_offer_that_was_ended_is_still_the_one_of_the_file() {
        let (offers, findings) = parse(
            "offer,headline,reward,amount_minor,since,until,valid_days,party,share_percent\n\
             a,A,amount-off,40,2026-05-01,2026-05-31,7,chain,100\n\
             b,B,amount-off,40,2026-05-01,,7,chain,100\n",
        );
        assert_eq!(findings, "");
        let day = |text: &str| Some(text.parse().expect("a date"));
        for OfferRecord { definition: file, .. } in &offers {
            let stored = |since, until| Definition { since, until, ..file.clone() };
            assert!(is_as_before(file, file));
            assert!(is_as_before(&stored(file.since, day("2026-05-09")), file));
            assert!(is_as_before(&stored(day("2026-04-02"), day("2026-04-02")), file));
            let longer = stored(file.since, day("2026-06-01"));
            assert_eq!(is_as_before(&longer, file), file.until.is_none());
            let other = Definition { valid_days: 8, ..stored(file.since, day("2026-05-09")) };
            assert!(!is_as_before(&other, file));
        }
    }

    #[test]
    fn every_bad_cell_is_named_with_its_remedy() {
        let (_, findings) = parse(
            "offer,headline,reward,percent,amount_minor,since,until,valid_days,party,\
             share_percent,stores_coupons\n\
             a,A,percent-off,0,,,,7,chain,100,\n\
             a-2,A,per-cent,5,,,,7,chain,100,\n\
             b,B,percent-off,5,40,,,7,chain,100,\n\
             c,C,amount-off,,,,,7,chain,100,\n\
             d,D,percent-off,5,,2026-05-01,2026-04-30,7,chain,100,\n\
             e,E,percent-off,5,,,,7,chain,200,0367=x\n\
             f,F,percent-off,5,,,,7,chain,300,\n\
             Big,G,percent-off,5,,,,7,chain,100,\n\
             ok,H,percent-off,5,,,,7,chain,100,\n\
             ok,H,percent-off,5,,,,7,chain,100,\n\
             ,4111 1111 1111 1111,percent-off,5,,,,,chain,100,\n\
             g,I,percent-off,5,,,,,chain,100,\n",
        );
        assert_eq!(
            findings,
            "line 2, column percent: reward.percent must lie within 1 to 100\n\
             line 3, column reward: must be one of `percent-off`, `amount-off`, `fixed-price`, \
             `cheapest-free`, `points-bonus`, `points-multiplier`\n\
             line 4, column reward: unknown field `amount_minor`, expected `percent`\n\
             line 5, column reward: missing field `amount_minor`\n\
             line 6, column until: until must not be before since\n\
             line 7, column stores_coupons: each must be a store and an amount, such as 0367=400\n\
             line 8, column share_percent: is too large\n\
             line 9, column offer: offer must be 1 to 64 of a to z, 0 to 9 and hyphens\n\
             line 11, column offer: stands in line 10 already\n\
             line 12, column offer: must not be empty\n\
             line 12, column headline: holds what looks like a payment-card number; take it out\n\
             line 13, column valid_days: valid_days must lie within 1 to 3660"
        );
    }
}
