//! Coupons for cards, from a file or from recorded campaigns: what the columns are, and how they
//! are issued.
//!
//! Everything is checked before the first coupon is issued. Then each account is a transaction of
//! its own, or several when it gets many: one for all would hold accounts that tills want. Who is
//! cut off begins again: under its name a handout gives an account one coupon of an offer. Must
//! never write a coupon itself: `commit` does.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use super::cells::Cells;
use super::findings::{Findings, Place};
use super::table::{Column, Table, TableError};
use super::{CARDS_IN_QUERY, ImportError, Importer, begin, sound};
use crate::catalogue::Snapshot;
use crate::commit::{Desk, Given, HANDOUT_COUPONS_MAX, HandedOut, Handout, Whose};
use crate::domain::card::CardFormat;
use crate::domain::payment_card::Field;

/// The columns of a file of coupons.
pub const COLUMNS: &[Column] = &[
    Column { name: "card", required: true, meaning: "a card of whose it will be" },
    Column { name: "offer", required: true, meaning: "what the offer is called" },
    Column {
        name: "from",
        required: false,
        meaning: "first day on which it counts, YYYY-MM-DD; empty: today",
    },
];

/// A coupon as a file asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CouponRecord {
    /// Where it stands.
    pub place: Place,
    /// A card of whose it will be.
    pub card: String,
    /// What people call the offer.
    pub offer: String,
    /// The first day on which it counts.
    pub from: Date,
}

/// Coupons that can be issued: their cards are in use, and their offers live on their days.
#[derive(Debug)]
pub struct Checked {
    snapshot: Snapshot,
    handouts: Vec<Handout>,
}

/// Reads and checks a file of coupons ([`COLUMNS`]); `today` is the business date of the import.
///
/// # Errors
/// [`ImportError::Table`] and [`ImportError::Rows`].
pub fn read_coupons(
    path: &Path,
    format: &CardFormat,
    today: Date,
    progress: impl FnMut(u64),
) -> Result<Vec<CouponRecord>, ImportError> {
    let mut findings = Findings::default();
    let table = Table::open(path, COLUMNS)?;
    let coupons = read(table, format, today, &mut findings, progress)?;
    sound(findings, coupons)
}

/// Reads a table of coupons.
///
/// # Errors
/// When the file is not such a table; what is wrong with rows stands in the findings.
pub fn read(
    table: Table,
    format: &CardFormat,
    today: Date,
    findings: &mut Findings,
    mut progress: impl FnMut(u64),
) -> Result<Vec<CouponRecord>, TableError> {
    let mut coupons: Vec<CouponRecord> = Vec::new();
    let mut seen: HashMap<(String, String), Place> = HashMap::new();
    table.for_each(|row| {
        progress(1);
        let mut cells = Cells::new(row, findings);
        if !cells.is_set("card") {
            cells.refuse("card", "must not be empty");
        }
        let is_card = |card: &str| format.admits(card);
        let card = cells.admitted("card", is_card, "is not a card by the chain's format");
        let offer = cells.required("offer", 64, Field::Sku);
        let is_dated = cells.is_set("from");
        let from = cells.date("from").or((!is_dated).then_some(today));
        let (Some(card), Some(offer), Some(from)) = (card, offer, from) else { return };
        let place = cells.place();
        match seen.insert((card.clone(), offer.clone()), place) {
            None => coupons.push(CouponRecord { place, card, offer, from }),
            Some(first) => {
                let problem = format!("the card has a coupon of this offer in {first} already");
                cells.refuse("offer", &problem);
            }
        }
    })?;
    Ok(coupons)
}

impl Importer {
    /// Checks coupons against the offers and the cards that there are. `name` is that of the
    /// handout. Writes nothing.
    ///
    /// # Errors
    /// [`ImportError::Rows`] names the coupons that cannot be issued.
    pub async fn check_coupons(
        &mut self,
        coupons: &[CouponRecord],
        name: &str,
    ) -> Result<Checked, ImportError> {
        let import = begin(&mut self.connection).await?;
        let snapshot = import.snapshot().await?;
        let mut by_card: BTreeMap<&str, Vec<&CouponRecord>> = BTreeMap::new();
        for coupon in coupons {
            by_card.entry(&coupon.card).or_default().push(coupon);
        }
        let cards: Vec<&str> = by_card.keys().copied().collect();
        let mut known = HashMap::new();
        for chunk in cards.chunks(CARDS_IN_QUERY) {
            let found = import.known_cards(chunk).await?;
            known.extend(found.into_iter().map(|card| (card.card, card.account_id)));
        }
        import.finish().await?;

        let mut findings = Findings::default();
        for CouponRecord { place, card, offer, from } in coupons {
            if !known.contains_key(card) {
                let problem = "nobody has used or enrolled this card";
                findings.add(*place, "card", problem);
            }
            match snapshot.offer_named(offer) {
                None => findings.add(*place, "offer", "there is no such offer; import it first"),
                Some(offer) if offer.validity(*from).is_none() => {
                    findings.add(*place, "from", "the offer is over on this day, or has not begun");
                }
                Some(_) => {}
            }
        }
        let mut handouts = Vec::new();
        for (card, coupons) in by_card {
            for chunk in coupons.chunks(HANDOUT_COUPONS_MAX) {
                handouts.push(Handout {
                    whose: Whose::Card(card.to_owned()),
                    coupons: chunk.iter().map(|it| (it.offer.clone(), it.from)).collect(),
                    name: name.to_owned(),
                    by: None,
                    while_issued: None,
                });
            }
        }
        sound(findings, Checked { snapshot, handouts })
    }
}

impl Checked {
    /// How many transactions it takes to issue them.
    pub fn handouts(&self) -> usize {
        self.handouts.len()
    }

    /// Issues them. `progress` hears of each transaction.
    ///
    /// # Errors
    /// When the database fails; what was issued until then stays, and the same coupons under the
    /// same name go on where they were cut off.
    pub async fn hand_out(
        &self,
        desk: &mut Desk,
        now: Timestamp,
        mut progress: impl FnMut(u64),
    ) -> Result<CouponsOutcome, ImportError> {
        let mut outcome = CouponsOutcome::default();
        for handout in &self.handouts {
            let asked = handout.coupons.len() as u64;
            outcome.coupons += asked;
            match desk.hand_out(&self.snapshot, handout, now).await? {
                HandedOut::Done(Given { issued, before, not_live, budget_spent }) => {
                    outcome.issued += issued as u64;
                    outcome.issued_before += before as u64;
                    // Ended since it was looked at.
                    outcome.not_live += not_live as u64;
                    outcome.budget_spent += budget_spent as u64;
                }
                HandedOut::NoSuchAccount
                | HandedOut::NoCustomer
                | HandedOut::Blocked
                | HandedOut::Stopped => {
                    outcome.blocked += asked;
                }
            }
            progress(1);
        }
        Ok(outcome)
    }
}

/// What an import of coupons did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CouponsOutcome {
    /// Asked for.
    pub coupons: u64,
    /// Issued now.
    pub issued: u64,
    /// Issued before, under the same name.
    pub issued_before: u64,
    /// Of offers that were ended meanwhile.
    pub not_live: u64,
    /// Of offers whose budgets are spent, or in the hands of tills.
    pub budget_spent: u64,
    /// For cards that are blocked.
    pub blocked: u64,
}

impl fmt::Display for CouponsOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { coupons, issued, issued_before, .. } = self;
        write!(f, "{coupons} coupons: {issued} issued, {issued_before} issued before")?;
        for (count, why) in [
            (self.not_live, "not, since their offers were ended"),
            (self.budget_spent, "not, since nothing is left of budgets that tills do not hold"),
            (self.blocked, "not, since their cards are blocked"),
        ] {
            if count > 0 {
                write!(f, ", {count} {why}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use jiff::civil::date;

    use super::*;

    #[test]
    fn coupons_are_read_and_every_bad_cell_is_named() {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        let text = "card,offer,from\n\
                    2990000000019,yoghurt-50,2026-04-01\n\
                    2990000000026,yoghurt-50,\n\
                    2990000000019,yoghurt-50,\n\
                    2990000000018,yoghurt-50,\n\
                    2990000000026,,soon\n\
                    ,bread,\n";
        file.write_all(text.as_bytes()).expect("written");
        let format = CardFormat {
            length_min: 13,
            length_max: 13,
            letters: false,
            check_digit: true,
            prefixes: vec!["299".into()],
        };
        let mut findings = Findings::default();
        let table = Table::open(file.path(), COLUMNS).expect("a table");
        let coupons =
            read(table, &format, date(2026, 3, 14), &mut findings, |_| ()).expect("readable");
        let found: Vec<(&str, &str, Date)> =
            coupons.iter().map(|it| (&*it.card, &*it.offer, it.from)).collect();
        assert_eq!(
            found,
            [
                ("2990000000019", "yoghurt-50", date(2026, 4, 1)),
                ("2990000000026", "yoghurt-50", date(2026, 3, 14))
            ]
        );
        assert_eq!(
            findings.to_string(),
            "line 4, column offer: the card has a coupon of this offer in line 2 already\n\
             line 5, column card: is not a card by the chain's format\n\
             line 6, column offer: must not be empty\n\
             line 6, column from: must be a date written YYYY-MM-DD\n\
             line 7, column card: must not be empty"
        );
    }
}
