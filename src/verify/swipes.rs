//! One transaction: what is remembered of it is what the till signed, keeps the rules of the
//! message, lies where it belongs, and earns by its programme what was booked.

use super::accounts::History;
use super::findings::Kind;
use super::sql::SwipeRow;
use crate::catalogue::Workstation;
use crate::domain::account::{Account, State};
use crate::domain::basket::{Line, LineKind, Swipe};
use crate::domain::boost::Boost;
use crate::domain::content;
use crate::domain::offer::Basket;
use crate::domain::product::Product;
use crate::domain::record::{self, Record};
use crate::domain::selection::showcase::Noted;
use crate::domain::swipe::{self, Facts};

/// A transaction by itself, and as a part of its account's history.
pub(super) fn check(
    history: &mut History<'_>,
    version: i64,
    kind: swipe::Kind,
    row: &SwipeRow,
    content_hash: Option<&[u8]>,
) {
    check_reference(history, version, row);
    let of_house = match kind {
        swipe::Kind::Training | swipe::Kind::SaleAfterVoid | swipe::Kind::Tombstone => Some(true),
        swipe::Kind::Sale | swipe::Kind::Void => None,
    };
    check_place(history, version, row, of_house);
    let noted = row.decision.as_deref().map(Noted::decode).transpose();
    if let Err(error) = noted {
        let detail = format_args!("its choice of coupons: {error}");
        history.require(false, Kind::RecordDamaged, version, detail);
    }
    if matches!(kind, swipe::Kind::Void | swipe::Kind::Tombstone) {
        let empty = row.record.is_empty() && row.decision.is_none();
        history.require(empty, Kind::RecordDamaged, version, "a void with a record");
        return;
    }
    let record = match record::decode(&row.record) {
        Ok(record) => record,
        Err(error) => return history.require(false, Kind::RecordDamaged, version, error),
    };
    if kind == swipe::Kind::Sale {
        check_place(history, version, row, Some(record.card.is_none()));
        if !history.is_house() {
            history.learn(row, &record);
            let epoch = history.ledger.reference.snapshot.epoch(row.epoch);
            if let Some(epoch) = epoch.filter(|_| !history.is_voided) {
                let date = row.name.business_date;
                let counted = swipe::counted_by(&record, date, &epoch.programme);
                history.counting.add(&counted);
            }
        }
    }
    check_lines(history, version, row, &record);
    let counts = kind == swipe::Kind::Sale && !history.is_house();
    let spent = if counts { record.points_spent } else { 0 };
    let detail = format_args!("the till took {spent} points, it says {}", row.spent_points);
    history.require(row.spent_points == spent, Kind::PointsDiffer, version, detail);
    let Some(mut swipe) = rebuilt(history, row, &record) else {
        let known = history.ledger.reference.workstation(row.name.workstation_no).is_some();
        let detail = "one of its articles is not there";
        return history.require(!known, Kind::RecordDamaged, version, detail);
    };
    for finding in swipe.findings() {
        let detail = format!("{}: {}", finding.pointer, finding.detail);
        history.require(false, Kind::RecordImpossible, version, detail);
    }
    check_programme(history, version, row, &record, &swipe);
    if let Some(content_hash) = content_hash {
        check_content(history, version, kind, &mut swipe, content_hash);
    }
}

/// What is stored is what was signed: its content has the hash that stands under its name.
/// Whether a sale that came after its void was practice is not kept; either is right then.
fn check_content(
    history: &mut History<'_>,
    version: i64,
    kind: swipe::Kind,
    swipe: &mut Swipe,
    content_hash: &[u8],
) {
    let mut same = content::matches(content_hash, swipe);
    if kind == swipe::Kind::SaleAfterVoid {
        swipe.training = true;
        same |= content::matches(content_hash, swipe);
    }
    history.require(same, Kind::ContentDiffers, version, &swipe.name);
}

/// Epoch and workstation are there.
fn check_reference(history: &mut History<'_>, version: i64, row: &SwipeRow) {
    let reference = &history.ledger.reference;
    let epoch = reference.snapshot.epoch(row.epoch);
    let has_begun = epoch.is_some_and(|epoch| epoch.has_begun(row.name.business_date));
    let workstation_no = row.name.workstation_no;
    let is_known = reference.workstation(workstation_no).is_some();
    let detail = format_args!("epoch {} on {}", row.epoch, row.name.business_date);
    history.require(has_begun, Kind::EpochUnknown, version, detail);
    let detail = format_args!("the transaction is of workstation {workstation_no}");
    history.require(is_known, Kind::WorkstationUnknown, version, detail);
}

/// A house account takes what belongs to no customer, from its own workstation; and nothing
/// of that kind lies anywhere else. `of_house`: what the transaction itself says, if it does.
fn check_place(history: &mut History<'_>, version: i64, row: &SwipeRow, of_house: Option<bool>) {
    let is_house = history.is_house();
    if history.row.is_some() && of_house.is_some_and(|of_house| of_house != is_house) {
        let detail = if is_house { "a customer's" } else { "a workstation's" };
        history.require(false, Kind::SwipeMisplaced, version, detail);
    }
    let workstation = history.ledger.reference.workstation(row.name.workstation_no);
    if let Some(house_account) = workstation.map(|it| it.house_account).filter(|_| is_house) {
        let own = house_account == history.account_id;
        history.require(own, Kind::SwipeMisplaced, version, "of another workstation");
    }
}

/// The points of the lines are those of the transaction.
fn check_lines(history: &mut History<'_>, version: i64, row: &SwipeRow, record: &Record) {
    let (mut earned, mut reversed, mut negative) = (0_i128, 0_i128, false);
    for line in &record.lines {
        let points = i128::from(line.points);
        negative |= points < 0;
        match line.kind {
            LineKind::Sale => earned += points,
            LineKind::Return { .. } => reversed += points,
        }
    }
    let holds = earned == i128::from(row.earned_points)
        && reversed == i128::from(row.reversed_points)
        && !negative;
    history.require(
        holds,
        Kind::LinePointsDiffer,
        version,
        format_args!(
            "it says {} earned and {} reversed, its lines {earned} and {reversed}",
            row.earned_points, row.reversed_points,
        ),
    );
}

/// The transaction decided anew, by the programme of its epoch and the articles as they were.
/// Lines that return a line of an earlier sale depend on what was known of that sale then: with
/// such lines only what was sold is decided anew, and so where a programme lets returns off what
/// is not there: how much that was depends on the account.
fn check_programme(
    history: &mut History<'_>,
    version: i64,
    row: &SwipeRow,
    record: &Record,
    swipe: &Swipe,
) {
    let reference = &history.ledger.reference;
    let Some(epoch) = reference.snapshot.epoch(row.epoch) else { return };
    let products: Vec<Product> = record.lines.iter().map(|line| line.product).collect();
    let returned = vec![None; products.len()];
    let programme = &epoch.programme;
    let place = reference.workstation(row.name.workstation_no).map(Workstation::place);
    let place = place.unwrap_or_default();
    let facts = Facts { programme, products: &products, returned: &returned, place };
    // What coupons gave is decided again from their offers: of which it was, the record says.
    let basket = Basket {
        business_date: row.name.business_date,
        store_no: place.store_no,
        lines: &swipe.lines,
        products: &products,
    };
    let offer = |offer_no| reference.snapshot.offer(offer_no);
    let boosts = record.boosted.iter();
    let boosts: Vec<Boost> =
        boosts.filter_map(|it| offer(it.offer_no)?.boost(&basket, it.redemption)).collect();
    let decision = if history.is_house() {
        swipe::decide_for_house(&Account::new(0, State::House), swipe, true)
    } else {
        let nobody = Account::new(0, State::Enrolled);
        swipe::decide_from(&nobody, record.before, swipe, &facts, &boosts)
    };
    let names_a_sale = |kind: &LineKind| matches!(kind, LineKind::Return { sold_on: Some(_) });
    let all_decided =
        !programme.lets_off() && !record.lines.iter().any(|line| names_a_sale(&line.kind));
    let detail = format_args!("coupons gave {:?}", record.boosted);
    let boosted = decision.boosted == record.boosted;
    history.require(boosted, Kind::ProgrammeDiffers, version, detail);
    let noted = record.value_differs;
    let detail = format_args!("{} for {} points", record.points_value_minor, record.points_spent);
    history.require(decision.value_differs == noted, Kind::ProgrammeDiffers, version, detail);
    for (line, points) in record.lines.iter().zip(&decision.line_points) {
        if (all_decided || line.kind == LineKind::Sale) && line.points != *points {
            let detail = format!("line {}: {} booked, {points} due", line.line, line.points);
            history.require(false, Kind::ProgrammeDiffers, version, detail);
        }
    }
}

/// The command as the till sent it; none when an article or the workstation is not there.
fn rebuilt(history: &mut History<'_>, row: &SwipeRow, record: &Record) -> Option<Swipe> {
    let reference = &history.ledger.reference;
    let name = reference.swipe_name(&row.name)?;
    let line = |line: &record::RecordedLine| {
        let sku = match &line.unknown_sku {
            Some(sku) => sku.clone(),
            None => reference.sku(line.product.product_no)?.to_owned(),
        };
        Some(Line {
            line: line.line,
            kind: line.kind.clone(),
            sku,
            quantity: line.quantity,
            amount_minor: line.amount_minor,
            discount_minor: line.discount_minor,
        })
    };
    Some(Swipe {
        name,
        occurred_at: row.occurred_at,
        card: record.card.clone(),
        entry_method: record.entry_method,
        operator_id: record.operator_id.clone(),
        training: row.kind == swipe::Kind::Training as i16,
        offline: record.offline,
        lines: record.lines.iter().map(line).collect::<Option<_>>()?,
        adjustments: record.adjustments.clone(),
        total_minor: row.total_minor,
        redemptions: record.redemptions.clone(),
        points_spent: record.points_spent,
        points_value_minor: record.points_value_minor,
    })
}
