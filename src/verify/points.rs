//! The points ledger of one account: entries added up, and held against their transactions.

use jiff::civil::Date;

use super::accounts::History;
use super::findings::Kind;
use super::sql::{AdjustmentRow, EntryRow, SwipeRow};
use crate::domain::account::State;
use crate::domain::ledger::{DEBT, EntryKind, Lot, Lots};
use crate::domain::swipe;

/// What the entries so far have led to.
#[derive(Default)]
pub(super) struct Points {
    lots: Lots,
    total: i128,
    transferred: i128,
    entries: u64,
    latest_expired: Option<Date>,
    /// Whether a payment was owed while there were points that could not pay.
    owed_beside_points: bool,
}

impl Points {
    /// Adds entries. Whether a payment was owed although there were points that could pay:
    /// lots that had run out were written off before.
    pub(super) fn apply(&mut self, entries: &[EntryRow]) -> bool {
        let mut owed_wrongly = false;
        for entry in entries {
            let (points, key) = (entry.points, entry.lot());
            if entry.kind == EntryKind::Redeem as i16 && key == DEBT {
                self.owed_beside_points |= self.lots.iter().any(|lot| lot.points > 0);
                let day = entry.business_date;
                let could_pay = |lot: Lot| lot.points > 0 && lot.key.available_from <= day;
                owed_wrongly |= self.lots.iter().any(could_pay);
            }
            self.lots.replay_entry(points, key);
            self.total += i128::from(points);
            self.entries += 1;
            match EntryKind::from_code(entry.kind) {
                Some(EntryKind::Transfer) => self.transferred += i128::from(points),
                Some(EntryKind::Expire) => {
                    self.latest_expired = self.latest_expired.max(Some(key.expires_on));
                }
                _ => {}
            }
        }
        owed_wrongly
    }

    pub(super) fn lots(&self) -> &Lots {
        &self.lots
    }

    pub(super) fn total(&self) -> i128 {
        self.total
    }

    /// Σ of the transfer entries.
    pub(super) fn transferred(&self) -> i128 {
        self.transferred
    }

    /// The latest last day among the lots that were written off.
    pub(super) fn latest_expired(&self) -> Option<Date> {
        self.latest_expired
    }

    /// Whether a payment was owed while there were points that could not pay. Only so a debt
    /// comes to stand beside points.
    pub(super) fn owed_beside_points(&self) -> bool {
        self.owed_beside_points
    }

    /// Whether there was no entry at all.
    pub(super) fn is_untouched(&self) -> bool {
        self.entries == 0
    }
}

/// The entries of one version: numbered without a gap, of kinds and dates that its transaction
/// can have, and adding up to what it says that it did.
pub(super) fn check_entries(
    history: &mut History<'_>,
    version: i64,
    swipe: Option<(swipe::Kind, &SwipeRow)>,
    entries: &[EntryRow],
) {
    use EntryKind::{Adjust, Earn, Expire, Redeem, ReverseEarn, ReverseRedeem, Transfer};
    history.ledger.counts.entries += entries.len() as u64;
    let numbered = entries.iter().zip(0..).all(|(entry, number)| entry.entry_no == number);
    let numbers = || entries.iter().map(|entry| entry.entry_no.to_string()).collect::<Vec<_>>();
    if !numbered {
        history.require(false, Kind::EntryGap, version, numbers().join(", "));
    }
    let allowed: &[EntryKind] = match swipe {
        None => &[Expire, Adjust, Transfer],
        Some((swipe::Kind::Sale, _)) => &[Expire, Redeem, Earn, ReverseEarn],
        // A void on an account that has been merged hands on what it leaves.
        Some((swipe::Kind::Void, _)) => &[Expire, ReverseEarn, ReverseRedeem, Transfer],
        Some(_) => &[],
    };
    let (mut earned, mut given, mut taken, mut spent) = (0_i128, 0_i128, 0_i128, 0_i128);
    for entry in entries {
        let points = i128::from(entry.points);
        let kind = EntryKind::from_code(entry.kind);
        let dated = swipe.is_none_or(|(_, row)| row.name.business_date == entry.business_date);
        let signed = match kind {
            Some(Earn | ReverseRedeem) => entry.points > 0,
            Some(Expire | Redeem) => entry.points < 0,
            _ => true,
        };
        match kind {
            Some(Earn) => earned += points,
            Some(ReverseEarn) if points > 0 => given += points,
            Some(ReverseEarn) => taken -= points,
            Some(Redeem | ReverseRedeem) => spent -= points,
            _ => {}
        }
        if kind == Some(Redeem) {
            check_spent(history, version, entry);
        }
        let expected = kind.is_some_and(|kind| allowed.contains(&kind)) && dated && signed;
        if !expected {
            let EntryRow { entry_no, points, business_date, .. } = entry;
            let detail = format!("entry {entry_no}: {kind:?} of {points} on {business_date}");
            history.require(false, Kind::EntryUnexpected, version, detail);
        }
    }
    // A void gives back by the same kind of entry by which it takes.
    if let Some((_, row)) = swipe {
        let holds = i128::from(row.earned_points) == earned + given
            && i128::from(row.reversed_points) == taken
            && i128::from(row.spent_points) == spent;
        history.require(
            holds,
            Kind::PointsDiffer,
            version,
            format_args!(
                "it says {} earned, {} reversed and {} spent, its entries {}, {taken} and {spent}",
                row.earned_points,
                row.reversed_points,
                row.spent_points,
                earned + given,
            ),
        );
    }
}

/// What people corrected at a version is what its entries did. Opening points of an imported
/// account are such entries too; they stand at the first version and nobody adjusted them.
pub(super) fn check_adjustments(
    history: &mut History<'_>,
    version: i64,
    entries: &[EntryRow],
    adjustments: &[AdjustmentRow],
) {
    history.ledger.counts.adjustments += adjustments.len() as u64;
    let mut booked = entries.iter().filter(|entry| entry.kind == EntryKind::Adjust as i16);
    let adjusted: i128 = booked.clone().map(|entry| i128::from(entry.points)).sum();
    let holds = match adjustments {
        [] => version == 1 || booked.next().is_none(),
        [one] => {
            let dated = booked.all(|entry| entry.business_date == one.business_date);
            adjusted == i128::from(one.points) && dated
        }
        _ => false,
    };
    let said: Vec<i64> = adjustments.iter().map(|adjustment| adjustment.points).collect();
    let detail = format_args!("adjusted by {said:?}, its entries by {adjusted}");
    history.require(holds, Kind::AdjustmentDiffers, version, detail);
}

/// Points that paid could do so on that day. The clock of the account lies nowhere before the
/// latest date that its rows have shown, and nowhere after where it stands in the end; where a
/// link may have moved it without a trace, only the latter can be asked.
fn check_spent(history: &mut History<'_>, version: i64, entry: &EntryRow) {
    let EntryRow { points, lot_available, lot_expires, .. } = *entry;
    let (seen, end) = (history.latest, history.row.as_ref().map(|row| row.clock));
    let unlinked = matches!(history.state, Some(State::Provisional | State::Blocked));
    let latest_clock = if unlinked { seen } else { end };
    let holds = latest_clock.is_none_or(|clock| lot_available <= clock)
        && seen.is_none_or(|clock| lot_expires >= clock);
    history.require(
        holds,
        Kind::SpentWrongly,
        version,
        format_args!("{points} points from {lot_available} to {lot_expires}"),
    );
}
