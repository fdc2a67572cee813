//! What a pass must know before it decides: rows of the database as values of the domain.
//!
//! Each function is one statement, or says how many, and nothing is decided here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::batch::KeyRow;
use super::{Connection, NameKey, Shared, coupon_facts};
use crate::accounts::Hot;
use crate::catalogue::Snapshot;
use crate::db::DbError;
use crate::domain::account::{Account, CLOCK_START, State};
use crate::domain::basket::LineKind;
use crate::domain::bucket;
use crate::domain::consent::Profiling;
use crate::domain::ledger::{Entry, EntryKind, LotKey, Lots};
use crate::domain::profile::{self, Profile, Visit};
use crate::domain::record::{self, Record};
use crate::domain::swipe::SoldLine;
use crate::domain::tally::Tally;
use crate::error::Error;

/// A recorded name.
#[derive(Clone, Debug)]
pub(super) struct NameFact {
    pub(super) account_id: i64,
    /// Version at which the sale was recorded; 0 when only a void came.
    pub(super) version: i64,
    /// Version at which it was voided; 0 when it was not.
    pub(super) void_version: i64,
    pub(super) content: Vec<u8>,
}

/// A recorded swipe.
#[derive(Clone, Debug)]
pub(super) struct SwipeFact {
    pub(super) kind: i16,
    pub(super) epoch: i32,
    pub(super) total_minor: i64,
    record: Vec<u8>,
    pub(super) receipt: Vec<u8>,
}

impl SwipeFact {
    /// What is remembered of it.
    pub(super) fn record(&self) -> Result<Record, Error> {
        record::decode(&self.record).map_err(|error| Error::Damaged(format!("record: {error}")))
    }
}

/// Sold lines by swipe and line number.
pub(super) type SoldLines = HashMap<(NameKey, u16), SoldLine>;

/// Where a swipe is stored.
pub(super) type Place = (i64, i64, Date);

/// Finds cards, and gives those never seen a provisional account. Returns for each card its
/// account and whether it was opened just now. One statement, again where another replica is
/// opening one of them, and one for each block of account numbers.
pub(super) async fn resolve_cards(
    connection: &Connection,
    shared: &Shared,
    cards: &[&str],
    now: Timestamp,
) -> Result<HashMap<String, (i64, bool)>, Error> {
    let mut resolved = HashMap::with_capacity(cards.len());
    // A card that another replica is creating this moment comes back in the second round.
    while resolved.len() < cards.len() {
        let mut wanted: Vec<&str> =
            cards.iter().copied().filter(|card| !resolved.contains_key(*card)).collect();
        wanted.sort_unstable_by_key(|card| (bucket::of_card(card), *card));
        wanted.dedup();
        if wanted.is_empty() {
            break;
        }
        let buckets: Vec<i16> =
            wanted.iter().map(|card| i16::from(bucket::of_card(card))).collect();
        let mut new_ids = Vec::with_capacity(wanted.len());
        for _ in &wanted {
            new_ids.push(new_account_id(connection, shared).await?);
        }
        let new_buckets: Vec<i16> =
            new_ids.iter().map(|id| i16::from(bucket::of_account(*id))).collect();
        let lots = Lots::default().encode();
        let rows = connection
            .dedicated
            .client()
            .query(
                &connection.statements.resolve_cards,
                &[&buckets, &wanted, &new_buckets, &new_ids, &now, &CLOCK_START, &lots],
            )
            .await
            .map_err(DbError::from)?;
        for row in rows {
            resolved.insert(row.get("card"), (row.get("account_id"), row.get("opened")));
        }
    }
    Ok(resolved)
}

/// An id that no account has: from the block in hand, or from a new one.
pub(super) async fn new_account_id(connection: &Connection, shared: &Shared) -> Result<i64, Error> {
    loop {
        let in_hand = shared.numbers.lock().expect("nothing panics while holding it").pop();
        if let Some(number) = in_hand {
            // Neighbouring numbers fall into neighbouring buckets: all are filled evenly.
            return Ok(bucket::account_id(number, number.to_le_bytes()[0]));
        }
        let statement = &connection.statements.next_numbers;
        let row = connection.dedicated.client().query_one(statement, &[]).await;
        let block: i64 = row.map_err(DbError::from)?.get(0);
        let numbers = (block * 256..(block + 1) * 256).rev();
        shared.numbers.lock().expect("nothing panics while holding it").extend(numbers);
    }
}

/// Cards as they point now; those that nobody has seen are left out.
pub(super) async fn find_cards(
    connection: &Connection,
    cards: &[&str],
) -> Result<HashMap<String, i64>, Error> {
    let buckets: Vec<i16> = cards.iter().map(|card| i16::from(bucket::of_card(card))).collect();
    let statement = &connection.statements.find_cards;
    let rows = connection.dedicated.client().query(statement, &[&buckets, &cards]).await;
    let rows = rows.map_err(DbError::from)?;
    Ok(rows.iter().map(|row| (row.get("card"), row.get("account_id"))).collect())
}

/// What is recorded under each name.
pub(super) async fn find_names(
    connection: &Connection,
    names: &[&NameKey],
) -> Result<Vec<Option<NameFact>>, Error> {
    let buckets: Vec<i16> = names.iter().map(|name| i16::from(name.bucket)).collect();
    let workstations: Vec<i32> = names.iter().map(|name| name.workstation_no).collect();
    let dates: Vec<Date> = names.iter().map(|name| name.business_date).collect();
    let sequences: Vec<i64> = names.iter().map(|name| name.sequence_number).collect();
    let statement = &connection.statements.find_names;
    let rows = connection
        .dedicated
        .client()
        .query(statement, &[&buckets, &workstations, &dates, &sequences])
        .await
        .map_err(DbError::from)?;
    by_place(&rows, names.len(), |row| {
        Ok(NameFact {
            account_id: row.get("account_id"),
            version: row.get("version"),
            void_version: row.get("void_version"),
            content: row.get("content_hash"),
        })
    })
}

/// The swipes stored in these places.
pub(super) async fn load_swipes(
    connection: &Connection,
    places: &[Place],
) -> Result<Vec<Option<SwipeFact>>, Error> {
    let (buckets, account_ids, versions) = columns_of(places);
    let dates: Vec<Date> = places.iter().map(|place| place.2).collect();
    let statement = &connection.statements.load_swipes;
    let rows = connection
        .dedicated
        .client()
        .query(statement, &[&buckets, &account_ids, &versions, &dates])
        .await
        .map_err(DbError::from)?;
    by_place(&rows, places.len(), |row| {
        Ok(SwipeFact {
            kind: row.get("kind"),
            epoch: row.get("epoch"),
            total_minor: row.get("total_minor"),
            record: row.get("record"),
            receipt: row.get("receipt"),
        })
    })
}

/// What the lines of recorded sales earned; names that are not recorded have none. Two
/// statements, none when nothing is wanted.
pub(super) async fn sold_lines(
    connection: &Connection,
    snapshot: &Snapshot,
    wanted: &[NameKey],
) -> Result<SoldLines, Error> {
    let mut lines = SoldLines::default();
    if wanted.is_empty() {
        return Ok(lines);
    }
    let names = find_names(connection, &wanted.iter().collect::<Vec<_>>()).await?;
    let known: Vec<(&NameKey, NameFact)> = wanted
        .iter()
        .zip(names)
        .filter_map(|(name, fact)| Some((name, fact.filter(|fact| fact.version > 0)?)))
        .collect();
    let places: Vec<Place> = known
        .iter()
        .map(|(name, fact)| (fact.account_id, fact.version, name.business_date))
        .collect();
    let swipes = load_swipes(connection, &places).await?;
    for ((name, fact), swipe) in known.into_iter().zip(swipes) {
        let Some(swipe) = swipe else { continue };
        let Some(epoch) = snapshot.epoch(swipe.epoch) else { continue };
        let lot = epoch.programme.lot_of(name.business_date);
        let workstation = snapshot.workstation_no(name.workstation_no);
        let of_house = workstation.is_some_and(|it| it.house_account == fact.account_id);
        let stands = fact.void_version == 0;
        for line in swipe.record()?.lines {
            if line.kind == LineKind::Sale {
                let net_minor = line.amount_minor - line.discount_minor;
                let qualifying = epoch.programme.qualifying_minor(&line.product, net_minor);
                let sold = SoldLine {
                    points: if stands { line.points } else { 0 },
                    quantity: line.quantity,
                    lot,
                    qualifying_minor: if stands && !of_house { qualifying } else { 0 },
                    counted_on: epoch.programme.counted_on(name.business_date),
                };
                lines.insert((name.clone(), line.line), sold);
            }
        }
    }
    Ok(lines)
}

/// What the swipes in these places did to the points, expiries left out.
pub(super) async fn load_entries(
    connection: &Connection,
    places: &[Place],
) -> Result<Vec<Vec<Entry>>, Error> {
    let (buckets, account_ids, versions) = columns_of(places);
    let statement = &connection.statements.load_entries;
    let rows = connection
        .dedicated
        .client()
        .query(statement, &[&buckets, &account_ids, &versions])
        .await
        .map_err(DbError::from)?;
    let mut entries = vec![Vec::new(); places.len()];
    for row in &rows {
        let lot =
            LotKey { available_from: row.get("lot_available"), expires_on: row.get("lot_expires") };
        let code: i16 = row.get("kind");
        let kind = EntryKind::from_code(code)
            .ok_or_else(|| Error::Damaged(format!("entry of kind {code}")))?;
        entries[place_of(row)].push(Entry { kind, points: row.get("points"), lot });
    }
    Ok(entries)
}

/// Changes names whose sale was voided, or came after its void.
pub(super) async fn rekey(connection: &Connection, rows: &[KeyRow]) -> Result<(), Error> {
    let buckets: Vec<i16> = rows.iter().map(|row| i16::from(row.name.bucket)).collect();
    let workstations: Vec<i32> = rows.iter().map(|row| row.name.workstation_no).collect();
    let dates: Vec<Date> = rows.iter().map(|row| row.name.business_date).collect();
    let sequences: Vec<i64> = rows.iter().map(|row| row.name.sequence_number).collect();
    let versions: Vec<i64> = rows.iter().map(|row| row.version).collect();
    let void_versions: Vec<i64> = rows.iter().map(|row| row.void_version).collect();
    let contents: Vec<&[u8]> = rows.iter().map(|row| row.content.as_slice()).collect();
    let parameters: [&(dyn ToSql + Sync); 7] =
        [&buckets, &workstations, &dates, &sequences, &versions, &void_versions, &contents];
    let statement = &connection.statements.rekey;
    let changed = connection.dedicated.client().execute(statement, &parameters).await;
    if changed.map_err(DbError::from)? == rows.len() as u64 {
        return Ok(());
    }
    Err(Error::Damaged("a recorded name is gone".to_owned()))
}

/// Which of these accounts have been merged, and into which.
pub(super) async fn find_heirs(
    connection: &Connection,
    account_ids: &[i64],
) -> Result<HashMap<i64, i64>, Error> {
    let buckets = buckets_of(account_ids);
    let statement = &connection.statements.find_heirs;
    let client = connection.dedicated.client();
    let rows = client.query(statement, &[&buckets, &account_ids]).await.map_err(DbError::from)?;
    Ok(rows.iter().map(|row| (row.get("account_id"), row.get("merged_into"))).collect())
}

/// Locks accounts until the transaction ends.
pub(super) async fn lock_accounts(
    connection: &Connection,
    account_ids: &[i64],
) -> Result<(), Error> {
    let buckets = buckets_of(account_ids);
    let statement = &connection.statements.lock_accounts;
    let rows = connection.dedicated.client().query(statement, &[&buckets, &account_ids]).await;
    rows.map_err(DbError::from)?;
    Ok(())
}

/// Locks those accounts that nobody else has locked until the transaction ends. Returns them.
pub(super) async fn lock_free_accounts(
    connection: &Connection,
    account_ids: &[i64],
) -> Result<HashSet<i64>, Error> {
    let buckets = buckets_of(account_ids);
    let statement = &connection.statements.lock_free_accounts;
    let rows = connection.dedicated.client().query(statement, &[&buckets, &account_ids]).await;
    Ok(rows.map_err(DbError::from)?.iter().map(|row| row.get("account_id")).collect())
}

/// An account to be loaded.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) account_id: i64,
    /// Cards that may point at it.
    pub(super) cards: Vec<Box<str>>,
}

/// Accounts as they are now, with their profiles folded up to now, and with those of the cards
/// that point at them in the same snapshot.
pub(super) async fn load_accounts(
    connection: &Connection,
    snapshot: &Snapshot,
    wanted: &[Wanted],
) -> Result<Vec<Arc<Hot>>, Error> {
    let mut loaded = Vec::with_capacity(wanted.len());
    let mut unreadable: HashSet<i64> = HashSet::new();
    for row in account_rows(connection, wanted, false).await? {
        match hot_of(&row, snapshot)? {
            Some(hot) => loaded.push(Arc::new(hot)),
            None => {
                unreadable.insert(row.get("account_id"));
            }
        }
    }
    let mut to_rebuild = wanted.to_vec();
    to_rebuild.retain(|wanted| unreadable.contains(&wanted.account_id));
    if !to_rebuild.is_empty() {
        // A checkpoint that is damaged or in an encoding that we do not know: a sale is not
        // refused for that, the swipes have it all.
        for row in account_rows(connection, &to_rebuild, true).await? {
            let hot = hot_of(&row, snapshot)?;
            loaded.push(Arc::new(hot.expect("without a checkpoint every encoding is known")));
        }
    }
    Ok(loaded)
}

async fn account_rows(
    connection: &Connection,
    wanted: &[Wanted],
    rebuild: bool,
) -> Result<Vec<Row>, Error> {
    let account_ids: Vec<i64> = wanted.iter().map(|wanted| wanted.account_id).collect();
    let buckets = buckets_of(&account_ids);
    let cards: Vec<&str> =
        wanted.iter().flat_map(|wanted| &wanted.cards).map(|card| &**card).collect();
    let card_buckets: Vec<i16> =
        cards.iter().map(|card| i16::from(bucket::of_card(card))).collect();
    let (mut first, mut last) = (Vec::new(), Vec::new());
    let mut end = 0;
    for wanted in wanted {
        first.push(end + 1);
        end += i32::try_from(wanted.cards.len()).expect("a batch is small");
        last.push(end);
    }
    let statement = &connection.statements.load_accounts;
    let parameters: [&(dyn ToSql + Sync); 7] = [
        &buckets,      // $1
        &account_ids,  // $2
        &rebuild,      // $3
        &first,        // $4
        &last,         // $5
        &card_buckets, // $6
        &cards,        // $7
    ];
    let rows = connection.dedicated.client().query(statement, &parameters).await;
    Ok(rows.map_err(DbError::from)?)
}

/// An account from its row; `None` when its profile must be folded from the beginning.
fn hot_of(row: &Row, snapshot: &Snapshot) -> Result<Option<Hot>, Error> {
    let account_id: i64 = row.get("account_id");
    let damaged = |what: String| Error::Damaged(format!("account {account_id}: {what}"));
    let code: i16 = row.get("state");
    let state = State::from_code(code).ok_or_else(|| damaged(format!("state {code}")))?;
    let lots = Lots::decode(row.get("lots")).map_err(|error| damaged(error.to_string()))?;
    let account = Account {
        account_id,
        version: row.get("version"),
        state,
        clock: row.get("clock"),
        lots,
        sales_minor: row.get("sales_minor"),
        baskets: row.get("baskets"),
        tally: Tally::decode(row.get("tally")).map_err(|error| damaged(error.to_string()))?,
    };
    let mut profile = match row.get::<_, Option<i16>>("encoding") {
        None => Profile::default(),
        Some(encoding) if encoding == i16::from(profile::ENCODING) => {
            match Profile::decode(row.get("data")) {
                Ok(profile) => profile,
                Err(error) => {
                    tracing::error!(account_id, %error, "a checkpoint is damaged");
                    return Ok(None);
                }
            }
        }
        Some(_) => return Ok(None),
    };
    let mut tail_since = Date::MAX;
    let dates = row.get::<_, Option<Vec<Date>>>("business_dates").unwrap_or_default();
    let occurred = row.get::<_, Option<Vec<Timestamp>>>("occurred").unwrap_or_default();
    let workstations = row.get::<_, Option<Vec<i32>>>("workstations").unwrap_or_default();
    let totals = row.get::<_, Option<Vec<i64>>>("totals").unwrap_or_default();
    let records = row.get::<_, Option<Vec<&[u8]>>>("records").unwrap_or_default();
    let swipes = dates.into_iter().zip(occurred).zip(workstations).zip(totals).zip(records);
    for ((((business_date, occurred_at), workstation_no), total_minor), bytes) in swipes {
        let record = record::decode(bytes).map_err(|error| damaged(error.to_string()))?;
        let (sold, redemptions) = (record.sold(), record.coupons());
        let visit = snapshot.visit(workstation_no, business_date, occurred_at);
        profile.learn(&Visit { total_minor, redemptions, sold: &sold, ..visit });
        tail_since = tail_since.min(business_date);
    }
    let cards = row.get::<_, Option<Vec<&str>>>("cards").unwrap_or_default();
    let cards = cards.into_iter().map(Box::from).collect();
    let profile = profile.encode().into();
    let open = coupon_facts::open_of(row);
    let profiling = Profiling::from_code(row.get("profiling"));
    Ok(Some(Hot { account, cards, profile, open, profiling, tail_since }))
}

fn columns_of(places: &[Place]) -> (Vec<i16>, Vec<i64>, Vec<i64>) {
    let account_ids: Vec<i64> = places.iter().map(|place| place.0).collect();
    let versions = places.iter().map(|place| place.1).collect();
    (buckets_of(&account_ids), account_ids, versions)
}

fn buckets_of(account_ids: &[i64]) -> Vec<i16> {
    account_ids.iter().map(|id| i16::from(bucket::of_account(*id))).collect()
}

/// Rows put where their ordinality says; places without a row stay empty.
fn by_place<T: Clone>(
    rows: &[Row],
    places: usize,
    value: impl Fn(&Row) -> Result<T, Error>,
) -> Result<Vec<Option<T>>, Error> {
    let mut values = vec![None; places];
    for row in rows {
        values[place_of(row)] = Some(value(row)?);
    }
    Ok(values)
}

fn place_of(row: &Row) -> usize {
    let ordinality: i64 = row.get("n");
    usize::try_from(ordinality - 1).expect("WITH ORDINALITY counts from 1")
}
