//! How rows get into PostgreSQL fast: a COPY for each table and month, all at the same time, into
//! tables that were emptied in the same transaction, so that their rows are frozen at once; and
//! the keys afterwards. Everything is logged and flushed as it always is.

use std::collections::HashMap;

use bytes::Bytes;
use futures_util::SinkExt as _;
use jiff::ToSpan as _;
use jiff::civil::Date;
use tillside::db::schema::ensure_partitions;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::{JoinHandle, JoinSet};
use tokio_postgres::{Client, NoTls};

use crate::error::HarnessError;

/// Months of the past.
pub(super) const MONTHS: usize = 12;

/// Places of the tables. The last one is a table for each month.
pub(super) const ACCOUNT: usize = 0;
pub(super) const CARD: usize = 1;
pub(super) const KEY: usize = 2;
pub(super) const ENTRY: usize = 3;
pub(super) const PROFILE: usize = 4;
pub(super) const SWIPE: usize = 5;

/// A table and the columns that are given, in the order of its rows.
pub(super) struct Table {
    pub(super) name: &'static str,
    columns: &'static str,
    /// Whether it can be emptied: house accounts stand beside those of customers.
    is_emptied: bool,
}

pub(super) const TABLES: [Table; 6] = [
    Table {
        name: "account",
        columns: "account_id, version, total_points, sales_minor, baskets, clock, bucket, state, \
                  lots, next_expiry, tail_since, tail_version, tally",
        is_emptied: false,
    },
    Table { name: "card", columns: "account_id, linked_at, bucket, card", is_emptied: true },
    Table {
        name: "swipe_key",
        columns: "sequence_number, account_id, version, void_version, business_date, \
                  workstation_no, bucket, content_hash",
        is_emptied: true,
    },
    Table {
        name: "entry",
        columns: "account_id, version, points, lot_available, lot_expires, business_date, bucket, \
                  entry_no, kind",
        is_emptied: true,
    },
    Table {
        name: "profile",
        columns: "account_id, version, bucket, encoding, data",
        is_emptied: true,
    },
    Table {
        name: "swipe",
        columns: "account_id, version, sequence_number, total_minor, earned_points, \
                  reversed_points, occurred_at, recorded_at, business_date, workstation_no, \
                  epoch, bucket, kind, record, receipt, spent_points",
        is_emptied: true,
    },
];

/// Keys that are built once everything is there, the slowest first. Both loads and queries find
/// them under the names that they had.
const KEYS: [(&str, &str, &str); 5] = [
    ("swipe", "swipe_pkey", "bucket, account_id, version, business_date"),
    ("swipe_key", "swipe_key_pkey", "bucket, workstation_no, business_date, sequence_number"),
    ("entry", "entry_pkey", "bucket, account_id, version, entry_no"),
    ("card", "card_pkey", "bucket, card"),
    ("profile", "profile_pkey", "bucket, account_id"),
];

/// Pieces that wait for PostgreSQL, for each table.
const WAITING_MAX: usize = 4;

/// The header of a binary COPY: signature, flags, length of the extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: &[u8] = &[0xff, 0xff];

/// A load under way.
pub(super) struct Loader {
    url: String,
    client: Client,
    first_day: Date,
}

/// Where rows go, in the order of the tables.
pub(super) struct Sinks {
    senders: Vec<Sender<Bytes>>,
    copies: Vec<JoinHandle<Result<u64, HarnessError>>>,
}

impl Loader {
    /// Makes room for the twelve months, and takes the keys away.
    pub(super) async fn begin(url: &str, first_day: Date) -> Result<Self, HarnessError> {
        let client = connect(url).await?;
        let last_day = first_day.saturating_add(11.months());
        let made = ensure_partitions(&client, first_day, last_day).await;
        made.map_err(HarnessError::doing("making partitions"))?;
        for (table, key, _) in KEYS {
            run(&client, &format!("ALTER TABLE {table} DROP CONSTRAINT {key}")).await?;
        }
        run(&client, "DROP INDEX card_account").await?;
        Ok(Self { url: url.to_owned(), client, first_day })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Begins a COPY into every table.
    pub(super) async fn open_sinks(&self) -> Result<Sinks, HarnessError> {
        let mut sinks = Sinks { senders: Vec::new(), copies: Vec::new() };
        for table in &TABLES[..SWIPE] {
            sinks.open(&self.url, table.name, table).await?;
        }
        let months = (0..12).map(|month| self.first_day.saturating_add(month.months()));
        for month in months {
            let partition = format!("swipe_{:04}_{:02}", month.year(), month.month());
            sinks.open(&self.url, &partition, &TABLES[SWIPE]).await?;
        }
        Ok(sinks)
    }

    /// Builds the keys, two at a time, brings the planner's statistics up to date, and has
    /// everything written. Numbers of accounts go on behind `next_number`.
    pub(super) async fn finish(self, next_number: u64) -> Result<(), HarnessError> {
        let build = |(table, key, columns): &(&str, &str, &str)| {
            let add = format!("ALTER TABLE {table} ADD CONSTRAINT {key} PRIMARY KEY ({columns})");
            format!("SET maintenance_work_mem = '512MB'; {add}; VACUUM (ANALYZE) {table}")
        };
        let mut work: Vec<String> = KEYS.iter().map(build).collect();
        work.push("CREATE INDEX card_account ON card (account_id)".to_owned());
        work.push("VACUUM (ANALYZE, FREEZE) account".to_owned());
        let mut work = work.into_iter();
        let mut under_way = JoinSet::new();
        loop {
            while under_way.len() < 2
                && let Some(statements) = work.next()
            {
                let url = self.url.clone();
                under_way.spawn(async move {
                    let client = connect(&url).await?;
                    // VACUUM cannot run in the one transaction that a message with several
                    // statements would be.
                    for statement in statements.split("; ") {
                        run(&client, statement).await?;
                    }
                    Ok::<_, HarnessError>(())
                });
            }
            match under_way.join_next().await {
                Some(done) => done.map_err(HarnessError::doing("building keys"))??,
                None => break,
            }
        }
        let blocks = next_number / 256 + 1;
        run(&self.client, &format!("SELECT setval('account_number_block', {blocks})")).await?;
        run(&self.client, "CHECKPOINT").await
    }
}

impl Sinks {
    /// A way in for each table.
    pub(super) fn senders(&self) -> Vec<Sender<Bytes>> {
        self.senders.clone()
    }

    /// Ends all of them; the number of rows. The folders' ways must be gone by now.
    pub(super) async fn finish(self) -> Result<u64, HarnessError> {
        drop(self.senders);
        let mut rows = 0;
        for copy in self.copies {
            rows += copy.await.map_err(HarnessError::doing("copying rows"))??;
        }
        Ok(rows)
    }

    async fn open(&mut self, url: &str, name: &str, table: &Table) -> Result<(), HarnessError> {
        let client = connect(url).await?;
        let mut freeze = "";
        run(&client, "BEGIN").await?;
        if table.is_emptied {
            run(&client, &format!("TRUNCATE {name}")).await?;
            freeze = ", FREEZE";
        }
        let statement =
            format!("COPY {name} ({}) FROM STDIN WITH (FORMAT binary{freeze})", table.columns);
        let (sender, pieces) = channel(WAITING_MAX);
        self.senders.push(sender);
        self.copies.push(tokio::spawn(copy(client, statement, pieces)));
        Ok(())
    }
}

async fn copy(
    client: Client,
    statement: String,
    mut pieces: Receiver<Bytes>,
) -> Result<u64, HarnessError> {
    let doing = || HarnessError::doing(format!("running {statement}"));
    let sink = client.copy_in(&statement).await.map_err(doing())?;
    let mut sink = std::pin::pin!(sink);
    sink.send(Bytes::from_static(HEADER)).await.map_err(doing())?;
    while let Some(piece) = pieces.recv().await {
        sink.send(piece).await.map_err(doing())?;
    }
    sink.send(Bytes::from_static(TRAILER)).await.map_err(doing())?;
    let rows = sink.finish().await.map_err(doing())?;
    run(&client, "COMMIT").await?;
    Ok(rows)
}

/// What the shop needs to know of its articles: number and place, by how tills name them.
pub(super) async fn products(client: &Client) -> Result<HashMap<String, [i32; 5]>, HarnessError> {
    let sql = "SELECT p.sku, p.product_no, v.department_no, v.category_no, v.type_no, v.brand_no
               FROM product p JOIN product_version v USING (product_no)";
    let rows = client.query(sql, &[]).await.map_err(HarnessError::doing("reading articles"))?;
    let product =
        |row: &tokio_postgres::Row| (row.get(0), std::array::from_fn(|column| row.get(column + 1)));
    Ok(rows.iter().map(product).collect())
}

pub(crate) async fn connect(url: &str) -> Result<Client, HarnessError> {
    let connected = tokio_postgres::connect(url, NoTls).await;
    let (client, connection) = connected.map_err(HarnessError::doing("connecting"))?;
    tokio::spawn(connection);
    Ok(client)
}

pub(crate) async fn run(client: &Client, sql: &str) -> Result<(), HarnessError> {
    client.batch_execute(sql).await.map_err(HarnessError::doing(format!("running {sql}")))
}
