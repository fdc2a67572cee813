//! Exports for marketing: accounts with their points, visits and habits, as a file. One snapshot
//! for the whole file, a page of it in memory at a time, while tills go on. Never holds a
//! member's values nor anything inferred from sensitive articles; no cell of a CSV can be taken
//! for a formula.

pub mod http;

use std::collections::HashMap;

use bytes::Bytes;
use jiff::civil::Date;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::domain::account::{Account, State};
use crate::domain::consent::ProfilingPolicy;
use crate::domain::record;
use crate::domain::segment::Segment;
use crate::domain::standing;
use crate::error::Error;
use crate::http::file::{Format, harmless, send};
use crate::receipt::account_text;
use crate::segment::{AccountRow, AsOf, Snapshot, Window};

/// Accounts in memory at a time.
const PAGE: i64 = 200;
/// Categories that are named of an account.
const CATEGORIES_MAX: usize = 3;

/// What a file is written by.
struct Basis {
    as_of: AsOf,
    /// Of whom it may be told what they buy.
    profiling: ProfilingPolicy,
}

/// An account in the file.
#[derive(Serialize)]
struct Line {
    account: String,
    state: &'static str,
    points: i64,
    spendable: i64,
    pending: i64,
    tier: Option<String>,
    baskets: i32,
    sales_minor: i64,
    visits_30d: i64,
    spend_30d_minor: i64,
    visits_90d: i64,
    spend_90d_minor: i64,
    visits_365d: i64,
    spend_365d_minor: i64,
    last_visit: Option<Date>,
    top_categories: Vec<String>,
    consents: Vec<String>,
}

/// The columns, in the order of [`Line`].
const COLUMNS: [&str; 17] = [
    "account",
    "state",
    "points",
    "spendable",
    "pending",
    "tier",
    "baskets",
    "sales_minor",
    "visits_30d",
    "spend_30d_minor",
    "visits_90d",
    "spend_90d_minor",
    "visits_365d",
    "spend_365d_minor",
    "last_visit",
    "top_categories",
    "consents",
];

/// Writes the file page by page; whether it is whole. Ends early when nobody reads (any more),
/// and when the database fails.
async fn write(
    mut snapshot: Snapshot,
    segment: &Segment,
    format: Format,
    basis: &Basis,
    to: &mpsc::Sender<Bytes>,
) -> bool {
    let mut chunk = format.head(&COLUMNS);
    loop {
        if !send(to, chunk).await {
            return false;
        }
        let page = match snapshot.page(PAGE, basis.as_of.today).await {
            Ok(rows) if rows.is_empty() => return true,
            Ok(rows) => rows_as_bytes(rows, &snapshot.categories, segment, format, basis),
            Err(error) => Err(error),
        };
        match page {
            Ok(page) => chunk = page,
            Err(error) => {
                tracing::error!(%error, "an export was cut");
                return false;
            }
        }
    }
}

fn rows_as_bytes(
    rows: Vec<Result<AccountRow, Error>>,
    categories: &HashMap<u32, String>,
    segment: &Segment,
    format: Format,
    basis: &Basis,
) -> Result<Bytes, Error> {
    let mut lines = Vec::with_capacity(rows.len());
    for row in rows {
        // What is damaged cuts the file: one that lacks an account would not tell.
        let row = row?;
        if row.is_in(segment, &basis.as_of) {
            lines.push(line(row, categories, basis)?);
        }
    }
    Ok(format.lines(lines, |line| cells(line).into()))
}

fn line(row: AccountRow, categories: &HashMap<u32, String>, basis: &Basis) -> Result<Line, Error> {
    let Basis { as_of, profiling: policy } = basis;
    let tier = row.tier(as_of);
    let AccountRow { account, windows, last_visit, consents, profiling, records } = row;
    let Account { account_id, state, baskets, sales_minor, .. } = account;
    let standing = standing::of(&account, as_of.today);
    let [month, quarter, year] = windows;
    let Window { visits: visits_30d, spend_minor: spend_30d_minor } = month;
    let Window { visits: visits_90d, spend_minor: spend_90d_minor } = quarter;
    let Window { visits: visits_365d, spend_minor: spend_365d_minor } = year;
    let top_categories = match profiling.is_allowed(*policy) {
        true => top_categories(account_id, &records, categories)?,
        false => Vec::new(),
    };
    Ok(Line {
        account: account_text(account_id),
        state: if state == State::Enrolled { "enrolled" } else { "provisional" },
        points: standing.balance,
        spendable: standing.spendable,
        pending: standing.pending,
        tier,
        baskets,
        sales_minor,
        visits_30d,
        spend_30d_minor,
        visits_90d,
        spend_90d_minor,
        visits_365d,
        spend_365d_minor,
        last_visit,
        top_categories,
        consents,
    })
}

/// The categories that stood in the most of these baskets. Sensitive articles do not count, so
/// nothing can be read from them.
fn top_categories(
    account_id: i64,
    records: &[Vec<u8>],
    categories: &HashMap<u32, String>,
) -> Result<Vec<String>, Error> {
    let mut baskets: HashMap<u32, usize> = HashMap::new();
    for bytes in records {
        let record = record::decode(bytes)
            .map_err(|error| Error::Damaged(format!("account {account_id}: {error}")))?;
        let sold = record.sold().into_iter().filter(|product| !product.sensitive);
        let mut numbers: Vec<u32> = sold.map(|product| product.taxa.category_no).collect();
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            *baskets.entry(number).or_default() += 1;
        }
    }
    let named = |(number, count): (u32, usize)| Some((count, categories.get(&number)?));
    let mut found: Vec<(usize, &String)> = baskets.into_iter().filter_map(named).collect();
    found.sort_unstable_by(|(a, name_a), (b, name_b)| b.cmp(a).then(name_a.cmp(name_b)));
    Ok(found.into_iter().take(CATEGORIES_MAX).map(|(_, name)| name.clone()).collect())
}

/// The cells of a line. Numbers and dates are the service's own and stay as they are.
fn cells(line: Line) -> [String; COLUMNS.len()] {
    let number = |number: i64| number.to_string();
    [
        harmless(line.account),
        harmless(line.state.to_owned()),
        number(line.points),
        number(line.spendable),
        number(line.pending),
        harmless(line.tier.unwrap_or_default()),
        line.baskets.to_string(),
        number(line.sales_minor),
        number(line.visits_30d),
        number(line.spend_30d_minor),
        number(line.visits_90d),
        number(line.spend_90d_minor),
        number(line.visits_365d),
        number(line.spend_365d_minor),
        line.last_visit.map_or_else(String::new, |day| day.to_string()),
        harmless(line.top_categories.join("; ")),
        harmless(line.consents.join("; ")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_cell_for_each_column_and_the_names_of_both_formats_agree() {
        let line = Line {
            account: account_text(1),
            state: "enrolled",
            points: -5,
            spendable: 0,
            pending: 0,
            tier: Some("Gold".to_owned()),
            baskets: 1,
            sales_minor: 2,
            visits_30d: 3,
            spend_30d_minor: 4,
            visits_90d: 5,
            spend_90d_minor: 6,
            visits_365d: 7,
            spend_365d_minor: 8,
            last_visit: None,
            top_categories: vec!["=x".into()],
            consents: vec![],
        };
        let json = serde_json::to_string(&line).expect("JSON");
        let at = COLUMNS.map(|name| json.find(&format!("\"{name}\":")).expect(name));
        assert!(at.is_sorted(), "{json}");
        let cells = cells(line);
        assert_eq!((&*cells[2], &*cells[15]), ("-5", "'=x"));
    }
}
