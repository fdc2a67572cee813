//! Names and transactions: each leads to the other, and both agree on what happened.

use super::accounts::History;
use super::findings::Kind;
use super::sql::{NameRow, SwipeRow};
use crate::domain::{content, swipe};

/// A sale whose void is still to come.
pub(super) struct OpenVoid {
    kind: i16,
    epoch: i32,
    total_minor: i64,
    earned_points: i64,
    reversed_points: i64,
    spent_points: i64,
}

/// The names and the transactions of one version. Returns for each transaction the hash of
/// the content that its name was given, if it is a sale that has one.
pub(super) fn check(
    history: &mut History<'_>,
    version: i64,
    mut names: Vec<NameRow>,
    swipes: &[SwipeRow],
) -> Vec<Option<Vec<u8>>> {
    for name in &names {
        check_name(history, version, name);
    }
    let mut hashes = Vec::with_capacity(swipes.len());
    for row in swipes {
        let found = names.iter().position(|name| name.name == row.name);
        let Some(name) = found.map(|at| names.swap_remove(at)) else {
            let detail = format!("kind {}, {}", row.kind, spelled(history, row));
            history.require(false, Kind::SwipeWithoutName, version, detail);
            hashes.push(None);
            continue;
        };
        check_kind(history, version, &name, row);
        if !name.is_void && name.void_version > name.version {
            let sale = OpenVoid {
                kind: row.kind,
                epoch: row.epoch,
                total_minor: row.total_minor,
                earned_points: row.earned_points,
                reversed_points: row.reversed_points,
                spent_points: row.spent_points,
            };
            history.open_voids.insert(name.void_version, sale);
        }
        let is_known = !name.is_void && content::is_known(&name.content_hash);
        hashes.push(is_known.then_some(name.content_hash));
    }
    for name in names {
        let what = if name.is_void { "void" } else { "sale" };
        let spelled = match history.ledger.reference.swipe_name(&name.name) {
            Some(name) => name.to_string(),
            None => format!("{:?}", name.name),
        };
        let detail = format!("{spelled}: its {what} should stand here");
        history.require(false, Kind::NameWithoutSwipe, version, detail);
    }
    hashes
}

/// The name by itself: its workstation, its bucket, its hash.
fn check_name(history: &mut History<'_>, version: i64, row: &NameRow) {
    let known = content::is_known(&row.content_hash);
    let hash_is_right = if row.version == 0 { row.content_hash.is_empty() } else { known };
    let length = row.content_hash.len();
    history.require(
        hash_is_right,
        Kind::HashMalformed,
        version,
        format_args!("{length} bytes, beginning {:?}", row.content_hash.first()),
    );
    let workstation_no = row.name.workstation_no;
    match history.ledger.reference.workstation(workstation_no).map(|it| i16::from(it.bucket)) {
        None => history.require(
            false,
            Kind::WorkstationUnknown,
            version,
            format_args!("the name is of workstation {workstation_no}"),
        ),
        Some(right) => history.require(
            row.bucket == right,
            Kind::BucketWrong,
            version,
            format_args!("the name lies in bucket {} instead of {right}", row.bucket),
        ),
    }
}

/// What the name says that a row is: a void comes after its sale, or leaves a tombstone.
fn check_kind(history: &mut History<'_>, version: i64, name: &NameRow, row: &SwipeRow) {
    use swipe::Kind::{Sale, SaleAfterVoid, Tombstone, Training, Void};
    let void_first =
        name.void_version != 0 && (name.version == 0 || name.void_version < name.version);
    let allowed: &[swipe::Kind] = match (name.is_void, void_first) {
        (true, true) => &[Tombstone],
        (true, false) => &[Void],
        (false, true) => &[SaleAfterVoid],
        (false, false) => &[Sale, Training],
    };
    let kind = swipe::Kind::from_code(row.kind);
    history.require(
        kind.is_some_and(|kind| allowed.contains(&kind)),
        Kind::NameDiffers,
        version,
        format_args!("it is stored as {kind:?}, its name allows {allowed:?}"),
    );
    if kind == Some(Void) {
        check_void(history, version, row);
    }
}

/// A void undoes its sale to the point and to the cent; and the sale no longer counts.
fn check_void(history: &mut History<'_>, version: i64, row: &SwipeRow) {
    let Some(sale) = history.open_voids.remove(&version) else {
        return history.require(false, Kind::VoidDiffers, version, "its sale is not there");
    };
    let undone = row.total_minor == -sale.total_minor
        && row.epoch == sale.epoch
        && row.reversed_points == sale.earned_points
        && row.earned_points == sale.reversed_points
        && row.spent_points == -sale.spent_points;
    history.require(
        undone,
        Kind::VoidDiffers,
        version,
        format_args!(
            "the sale of {} earned {}, took {} back and spent {}; its void of {} gave {}, took {} \
             and spent {}",
            sale.total_minor,
            sale.earned_points,
            sale.reversed_points,
            sale.spent_points,
            row.total_minor,
            row.earned_points,
            row.reversed_points,
            row.spent_points,
        ),
    );
    if sale.kind == swipe::Kind::Sale as i16 {
        history.sales_minor -= i128::from(sale.total_minor);
        history.baskets -= 1;
    }
}

fn spelled(history: &History<'_>, row: &SwipeRow) -> String {
    match history.ledger.reference.swipe_name(&row.name) {
        Some(name) => name.to_string(),
        None => format!("{:?}", row.name),
    }
}
