//! The judge: compares what the tills wrote down with what the database holds.
//!
//! It runs when the faults are over. Each request of the journal was answered "done" (2xx),
//! answered "not done" (4xx), or not answered. Done must be there once, with the very bytes that
//! were answered; not done must not be there; not answered may be there once or not at all.
//!
//! It must never ask the service what is right: points are what the tills worked out for
//! themselves, sums are PostgreSQL's. The service's own audit, `tillside verify`, runs after it,
//! and sees what tills cannot: lots, profiles, counters.

mod cases;
mod people;
mod sql;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use tokio::process::Command;

use self::cases::{Case, Cases};
use crate::error::HarnessError;
use crate::journal::{self, Hash};
use crate::world::World;
use crate::world::postgres::Postgres;

/// Findings of each fault that are told in words; the rest is counted. One fault that was found a
/// hundred times must not keep another from being named.
const TOLD_MAX: u64 = 10;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// It was acknowledged, and is not there.
    Lost,
    /// It is there more than once, or was newly recorded twice.
    Doubled,
    /// A repetition got other bytes, or other bytes are stored than were answered.
    Changed,
    /// It was refused and is there, or nobody sent it.
    Unasked,
    /// A request that must be done was refused, or one that must be refused was done.
    Misjudged,
    /// Points or counts are not what follows from the transactions.
    Miscounted,
    /// `tillside verify` found something.
    Unverified,
    /// A request was not answered although everything was mended.
    Stuck,
}

/// The judgement.
#[derive(Debug, Default, Serialize)]
pub struct Verdict {
    /// Requests of the journal.
    pub requests: u64,
    /// Those that were answered with 2xx.
    pub acked: u64,
    /// Further answers 2xx to those.
    pub replays: u64,
    /// Requests that were refused, as they must be.
    pub refused: u64,
    /// Requests that were never answered.
    pub unanswered: u64,
    /// Cards that were enrolled by themselves, by what was acknowledged.
    pub enrolled: u64,
    /// Cards that were put on the account of another card.
    pub linked: u64,
    /// Accounts that were merged into others by that.
    pub merged: u64,
    /// Corrections of points that were acknowledged.
    pub adjusted: u64,
    /// Accounts of which points ran out.
    pub expired: u64,
    /// From how many tills points came to the card that was used at most of them.
    pub tills_of_busiest_card: usize,
    /// How often each fault was found.
    pub faults: HashMap<Fault, u64>,
    /// The first of each fault, in words, in the order in which they were found.
    pub told: Vec<String>,
}

impl Verdict {
    /// Whether nothing is wrong.
    pub fn holds(&self) -> bool {
        self.faults.is_empty()
    }

    /// How often a fault was found.
    pub fn count(&self, fault: Fault) -> u64 {
        self.faults.get(&fault).copied().unwrap_or(0)
    }

    /// Adds what somebody else has found.
    pub fn find(&mut self, fault: Fault, what: impl fmt::Display) {
        let count = self.faults.entry(fault).or_default();
        *count += 1;
        if *count <= TOLD_MAX {
            self.told.push(format!("{fault}: {what}"));
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::Changed => "changed",
            Self::Unasked => "unasked",
            Self::Misjudged => "misjudged",
            Self::Miscounted => "miscounted",
            Self::Unverified => "unverified",
            Self::Stuck => "stuck",
        })
    }
}

/// Judges what has happened in a world so far.
///
/// # Errors
/// When the journal or the database cannot be read: then there is no verdict.
pub async fn judge(world: &World) -> Result<Verdict, HarnessError> {
    let mut verdict = Verdict::default();
    let mut cases = Cases::default();
    let reading = journal::read(&world.journal(), |line| cases.add(line, &mut verdict));
    reading.map_err(HarnessError::doing("reading the journal"))?;
    compare(&mut cases, &world.postgres, &mut verdict).await?;
    verdict.tills_of_busiest_card = cases.tills_of_busiest_card();
    verify(&world.binary, &world.config, &mut verdict).await?;
    Ok(verdict)
}

async fn compare(
    cases: &mut Cases,
    postgres: &Postgres,
    verdict: &mut Verdict,
) -> Result<(), HarnessError> {
    let client = postgres.connect().await?;
    sql::rows(&client, |row| compare_row(cases, &row, verdict)).await?;
    sql::names(&client, |named| {
        let case = cases.named(&named.name);
        let agrees = case.is_some_and(|case| {
            (case.sale.rows > 0, case.void.rows > 0) == (named.is_recorded, named.is_voided)
        });
        if !agrees {
            let what = format!("{}: the name is taken, but not by a row of it", named.name);
            verdict.find(Fault::Unasked, what);
        }
        if let Some(case) = cases.named_mut(&named.name) {
            case.names += 1;
        }
    })
    .await?;
    for (name, case) in cases.iter() {
        case.judge(name, verdict);
    }

    let mut cards = HashMap::new();
    sql::cards(&client, |card, found| {
        cards.insert(card, found);
    })
    .await?;
    // What follows for each account: from the transactions of its cards, and from corrections.
    let mut expected: HashMap<i64, Standing> = HashMap::new();
    for (card, standing) in cases.standings() {
        match cards.get(&card) {
            Some(found) => expected.entry(found.account_id).or_default().add(standing),
            None if standing.baskets == 0 => {}
            None => {
                let what = format!("card {card}: has {} baskets and no account", standing.baskets);
                verdict.find(Fault::Lost, what);
            }
        }
    }
    sql::adjustments(&client, |row| {
        let points = cases.people.adjusted(&row, &cards, verdict);
        expected.entry(row.account_id).or_default().points += points;
    })
    .await?;
    sql::accounts(&client, |found| {
        let wanted = expected.remove(&found.account_id).unwrap_or_default();
        compare_account(&found, &wanted, verdict);
    })
    .await?;
    cases.people.judge(&cards, verdict);
    Ok(())
}

fn compare_account(found: &sql::Account, wanted: &Standing, verdict: &mut Verdict) {
    let account_id = found.account_id;
    verdict.merged += u64::try_from(found.merged).unwrap_or(0);
    verdict.expired += u64::from(found.expired != 0);
    let points = wanted.points - wanted.run_out;
    if (found.total_points, found.booked) != (points, points) {
        let (total, booked) = (found.total_points, found.booked);
        let what = format!(
            "account {account_id}: {points} points follow from what was asked for; it says \
             {total}, its entries add up to {booked}"
        );
        verdict.find(Fault::Miscounted, what);
    }
    if found.expired != -wanted.run_out {
        let (run_out, expired) = (wanted.run_out, -found.expired);
        let what = format!("account {account_id}: {run_out} points ran out, {expired} are gone");
        verdict.find(Fault::Miscounted, what);
    }
    let counted = (found.sales_minor, found.baskets);
    if counted != (wanted.sales_minor, wanted.baskets) {
        let what = format!(
            "account {account_id}: {} baskets of {} follow from its transactions; it says {} of {}",
            wanted.baskets, wanted.sales_minor, counted.1, counted.0
        );
        verdict.find(Fault::Miscounted, what);
    }
    if found.state == people::MERGED || found.left_behind != 0 {
        let what = format!("account {account_id}: what was merged into it has points or heirs");
        verdict.find(Fault::Miscounted, what);
    }
    let members = i64::from(found.state == people::ENROLLED);
    if found.members != members {
        let what =
            format!("account {account_id}: {} members stand on it, not {members}", found.members);
        let fault = if found.members < members { Fault::Lost } else { Fault::Doubled };
        verdict.find(fault, what);
    }
}

/// What the oracle reads of a receipt.
#[derive(Deserialize)]
struct Receipt {
    swipe: String,
    points: Points,
}

#[derive(Deserialize)]
struct Points {
    earned: i64,
    spent: i64,
    reversed: i64,
    balance: Option<i64>,
}

fn compare_row(cases: &mut Cases, row: &sql::Recorded, verdict: &mut Verdict) {
    let name = &row.name;
    let is_void = row.kind > 2;
    let what = if is_void { "the void of" } else { "the sale" };
    let Some(case) = cases.named_mut(name) else {
        return verdict.find(Fault::Unasked, format!("{what} {name}: nobody sent it"));
    };
    let points = case.points;
    let voided_first = case.count_row(row.kind);
    let Ok(bytes) = tillside::receipt::decompress(&row.receipt) else {
        return verdict.find(Fault::Changed, format!("{what} {name}: its receipt is damaged"));
    };
    let request = if is_void { &case.void } else { &case.sale };
    if request.answer.is_some_and(|answer| answer != Hash::of(&bytes)) {
        let text = format!("{what} {name}: the stored receipt is not the one that was answered");
        verdict.find(Fault::Changed, text);
    }
    let Ok(receipt) = serde_json::from_slice::<Receipt>(&bytes) else {
        return verdict.find(Fault::Changed, format!("{what} {name}: its receipt is no receipt"));
    };
    if receipt.swipe != *name {
        let text = format!("{what} {name}: its receipt is of {}", receipt.swipe);
        verdict.find(Fault::Changed, text);
    }
    let Points { earned, spent, reversed, balance } = receipt.points;
    // The void of a sale of an account that was merged says what the heir has, as of a version of
    // the heir that the row does not name.
    let is_of_heir = is_void && row.is_merged;
    if !is_of_heir && balance.is_some_and(|balance| balance != row.balance) {
        let text = format!(
            "{what} {name}: its receipt says a balance of {}; the entries up to it add up to {}",
            balance.unwrap_or_default(),
            row.balance
        );
        verdict.find(Fault::Miscounted, text);
    }
    let said = earned - spent - reversed;
    if is_void {
        // A void that came before its sale has nothing to undo.
        let undone = if row.kind == 3 { -points } else { 0 };
        if row.points != undone {
            let text = format!("{what} {name}: books {}, and has to undo {points}", row.points);
            verdict.find(Fault::Miscounted, text);
        }
    } else {
        let expected = if voided_first { 0 } else { points };
        if said != expected || row.points != expected {
            let text = format!(
                "{what} {name}: worth {expected} points by what was sold; its receipt says \
                 {said}, its entries {}",
                row.points
            );
            verdict.find(Fault::Miscounted, text);
        }
    }
}

/// The service's own audit, as a person would run it.
async fn verify(binary: &Path, config: &Path, verdict: &mut Verdict) -> Result<(), HarnessError> {
    let mut command = Command::new(binary);
    command.arg("--config").arg(config).arg("verify").stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await;
    let output = output.map_err(HarnessError::doing("running tillside verify"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        verdict.find(Fault::Unverified, format!("tillside verify ({}):\n{said}", output.status));
    }
    Ok(())
}

/// What the journal says of a card, or of an account with all of its cards.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    points: i64,
    /// Those of the points that have run out by the end.
    run_out: i64,
    sales_minor: i64,
    baskets: i64,
}

impl Standing {
    fn add(&mut self, other: Self) {
        self.points += other.points;
        self.run_out += other.run_out;
        self.sales_minor += other.sales_minor;
        self.baskets += other.baskets;
    }
}

impl Cases {
    /// What follows for each card from what is there.
    fn standings(&self) -> HashMap<String, Standing> {
        let mut standings: HashMap<String, Standing> = HashMap::new();
        for (_, case) in self.iter() {
            let Some(card) = case.card.and_then(|card| self.card(card)) else { continue };
            if case.counts() {
                let standing = standings.entry(card.to_owned()).or_default();
                standing.points += case.points;
                standing.run_out += if case.has_run_out { case.points } else { 0 };
                standing.sales_minor += case.total_minor;
                standing.baskets += 1;
            }
        }
        standings
    }

    fn tills_of_busiest_card(&self) -> usize {
        let mut tills: HashMap<u32, HashSet<&str>> = HashMap::new();
        for (name, case) in self.iter().filter(|(_, case)| case.counts()) {
            // Store and workstation; the business date comes third.
            let till = name.match_indices('/').nth(1).map_or(name, |(end, _)| &name[..end]);
            if let Some(card) = case.card {
                tills.entry(card).or_default().insert(till);
            }
        }
        tills.values().map(HashSet::len).max().unwrap_or(0)
    }
}

impl Case {
    fn judge(&self, name: &str, verdict: &mut Verdict) {
        for (request, what) in [(&self.sale, "the sale"), (&self.void, "the void of")] {
            if request.is_done() && request.rows == 0 {
                let text = format!("{what} {name}: was acknowledged, and is not there");
                verdict.find(Fault::Lost, text);
            }
            if request.rows > 1 {
                let text = format!("{what} {name}: is there {} times", request.rows);
                verdict.find(Fault::Doubled, text);
            }
            if request.created > 1 {
                let text = format!("{what} {name}: was newly recorded {} times", request.created);
                verdict.find(Fault::Doubled, text);
            }
            if let Some(status) = request.refused {
                verdict.find(Fault::Misjudged, format!("{what} {name}: was refused with {status}"));
                if request.rows > 0 && !request.is_done() {
                    let text = format!("{what} {name}: was refused, and is there");
                    verdict.find(Fault::Unasked, text);
                }
            }
            if request.sent && !request.is_done() && request.refused.is_none() {
                verdict.unanswered += 1;
                verdict.find(Fault::Stuck, format!("{what} {name}: was never answered"));
            }
            if request.rows > 0 && !request.sent {
                verdict.find(Fault::Unasked, format!("{what} {name}: nobody sent it"));
            }
        }
        if self.names != u32::from(self.sale.rows + self.void.rows > 0) {
            let text = format!("{name}: the name is there {} times", self.names);
            let fault = if self.names == 0 { Fault::Lost } else { Fault::Doubled };
            verdict.find(fault, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_findings_each_fault_is_named() {
        let mut verdict = Verdict::default();
        for account in 0..1_000 {
            verdict.find(Fault::Doubled, format_args!("account {account}"));
        }
        verdict.find(Fault::Lost, "a card");
        assert_eq!(verdict.count(Fault::Doubled), 1_000);
        assert_eq!(verdict.told.first().map(String::as_str), Some("doubled: account 0"));
        assert_eq!(verdict.told.last().map(String::as_str), Some("lost: a card"));
        assert_eq!(verdict.told.len() as u64, TOLD_MAX + 1);
    }
}
