//! Imports against PostgreSQL: what comes in, what a second import leaves alone, what is
//! refused as a whole.

use std::io::Write as _;

use jiff::Timestamp;
use jiff::civil::{Date, date};
use tempfile::NamedTempFile;
use tillside::domain::bucket;
use tillside::domain::card::CardFormat;
use tillside::domain::ledger::{LotKey, Lots, NEVER};
use tillside::import::{self, ImportError, Importer};
use tokio_postgres::Client;

use crate::support::database::TestDatabase;

const ON: Date = date(2026, 3, 14);

struct Chain {
    _database: TestDatabase,
    client: Client,
    importer: Importer,
}

impl Chain {
    /// A migrated database with a programme and the first epoch.
    async fn create() -> Self {
        let database = TestDatabase::create().await;
        let client = database.client().await;
        let sql = "INSERT INTO programme (programme_no, rules) VALUES (1, '{}')
                       ON CONFLICT DO NOTHING;
                   INSERT INTO epoch (epoch, starts_on, programme_no, created_at, note)
                       VALUES (1, NULL, 1, '2026-01-01Z', 'first') ON CONFLICT DO NOTHING";
        client.batch_execute(sql).await.expect("seeded");
        let now: Timestamp = "2026-03-14T12:00:00Z".parse().expect("a timestamp");
        let importer = Importer::connect(&database.settings(), now).await.expect("connected");
        Self { _database: database, client, importer }
    }

    async fn number(&self, sql: &str) -> i64 {
        self.client.query_one(sql, &[]).await.expect(sql).get(0)
    }

    async fn reference_version(&self) -> i64 {
        self.number("SELECT reference_version FROM chain").await
    }

    async fn catalogue(
        &mut self,
        csv: &str,
        starts_on: Date,
    ) -> Result<import::CatalogueOutcome, ImportError> {
        let file = file(csv);
        let read = import::read_catalogue(file.path(), |_| ()).expect("sound");
        self.importer.catalogue(&read, starts_on, "test", |_| ()).await
    }

    async fn accounts(&mut self, csv: &str) -> Result<import::AccountsOutcome, ImportError> {
        let file = file(csv);
        let format = CardFormat {
            length_min: 13,
            length_max: 13,
            letters: false,
            check_digit: true,
            prefixes: vec!["299".into()],
        };
        let read = import::read_accounts(file.path(), &format, ON, |_| ()).expect("sound");
        self.importer.accounts(&read, ON, |_| ()).await
    }
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_bytes()).expect("written");
    file
}

#[tokio::test]
async fn stores_come_with_workstations_and_their_house_accounts() {
    let mut chain = Chain::create().await;
    let version = chain.reference_version().await;
    let csv = file("store_id,name,workstations\n0367,Main Street,01;02\n0368,Harbour,01\n");
    let stores = import::read_stores(csv.path(), "America/New_York", |_| ()).expect("sound");
    let first = chain.importer.stores(&stores).await.expect("imported");
    assert_eq!((first.stores_added, first.stores_changed, first.workstations_added), (2, 0, 3));
    assert_eq!(chain.reference_version().await, version + 1);

    let again = chain.importer.stores(&stores).await.expect("imported");
    assert!(!again.has_changed());
    assert_eq!(chain.reference_version().await, version + 1);

    let csv = file("store_id,name,workstations\n0368,Old Harbour,01;03\n");
    let stores = import::read_stores(csv.path(), "America/New_York", |_| ()).expect("sound");
    let third = chain.importer.stores(&stores).await.expect("imported");
    assert_eq!((third.stores_added, third.stores_changed, third.workstations_added), (0, 1, 1));
    assert_eq!(chain.number("SELECT count(*) FROM store").await, 2);

    let sql = "SELECT store_id, workstation_id, house_account, state, version, lots, a.bucket
               FROM workstation w JOIN account a ON a.account_id = w.house_account";
    let rows = chain.client.query(sql, &[]).await.expect("workstations");
    assert_eq!(rows.len(), 4);
    for row in rows {
        let bucket = bucket::of_workstation(row.get(0), row.get(1));
        assert_eq!(bucket::of_account(row.get(2)), bucket);
        assert_eq!((row.get::<_, i16>(3), row.get::<_, i64>(4)), (2, 0));
        assert_eq!(Lots::decode(row.get(5)), Ok(Lots::default()));
        assert_eq!(row.get::<_, i16>(6), i16::from(bucket));
    }
}

#[tokio::test]
async fn only_products_that_differ_get_a_version_in_a_new_epoch() {
    let mut chain = Chain::create().await;
    let csv = "sku,name,department,type,price_minor,no_points\n\
               1,Yoghurt,DAIRY,YOGURT,99,\n2,Fee,,,,true\n";
    let first = chain.catalogue(csv, ON).await.expect("imported");
    assert_eq!((first.products_added, first.products_changed, first.epoch), (2, 0, 1));
    assert_eq!(first.starts_on, None);
    let version = chain.reference_version().await;

    let again = chain.catalogue(csv, ON).await.expect("imported");
    assert!(!again.has_changed());
    assert_eq!(chain.reference_version().await, version);
    assert_eq!(chain.number("SELECT count(*) FROM epoch").await, 1);

    // Only a price: the levels that the file has no columns for stay.
    let prices = "sku,name,price_minor\n1,Yoghurt,109\n2,Fee,\n3,Bread,250\n";
    let second = chain.catalogue(prices, ON).await.expect("imported");
    assert_eq!((second.products_added, second.products_changed, second.epoch), (1, 1, 2));
    assert_eq!(second.starts_on, Some(ON));
    assert_eq!(chain.reference_version().await, version + 1);
    let sql = "SELECT d.name, t.name, v.price_minor, v.no_points FROM product_version v
               JOIN product p USING (product_no) JOIN taxon d ON d.taxon_no = v.department_no
               JOIN taxon t ON t.taxon_no = v.type_no WHERE p.sku = '1' AND v.since_epoch = 2";
    let row = chain.client.query_one(sql, &[]).await.expect("the new version");
    assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), ("DAIRY", "YOGURT"));
    assert_eq!((row.get::<_, i64>(2), row.get::<_, bool>(3)), (109, false));

    // An empty cell of a column that the file has empties the value.
    let emptied = "sku,name,department\n1,Yoghurt,\n";
    assert!(matches!(
        chain.catalogue(emptied, date(2026, 3, 13)).await,
        Err(ImportError::StartsTooEarly { latest, .. }) if latest == ON
    ));
    assert_eq!(chain.number("SELECT max(epoch)::bigint FROM epoch").await, 2, "rolled back");
    let third = chain.catalogue(emptied, ON).await.expect("imported");
    assert_eq!((third.products_changed, third.epoch), (1, 3));
    let sql = "SELECT count(*) FROM product_version WHERE since_epoch = 3 AND department_no IS NULL
               AND type_no IS NOT NULL AND price_minor = 109";
    assert_eq!(chain.number(sql).await, 1);
}

#[tokio::test]
async fn accounts_come_with_cards_members_and_opening_points() {
    let mut chain = Chain::create().await;
    let csv = "account,card,given_name,consents,points,expires_on\n\
               a,2990000000019,Ada,email;post,100,2026-06-30\n\
               a,2990000000026,,,25,\n\
               b,2990000000033,,,,\n";
    let first = chain.accounts(csv).await.expect("imported");
    assert_eq!((first.accounts_added, first.cards_added, first.members_added), (2, 3, 1));
    assert_eq!(first.points_added, 125);

    let sql = "SELECT a.account_id, a.version, a.total_points, a.state, a.clock, a.lots, a.bucket
               FROM account a JOIN card c USING (account_id) WHERE c.card = '2990000000019'";
    let row = chain.client.query_one(sql, &[]).await.expect("the account");
    let id: i64 = row.get(0);
    assert_eq!(bucket::of_account(id), bucket::of_number(id >> 8));
    assert_eq!((row.get::<_, i64>(1), row.get::<_, i64>(2)), (1, 125));
    assert_eq!((row.get::<_, i16>(3), row.get::<_, Date>(4)), (1, ON));
    assert_eq!(row.get::<_, i16>(6), i16::from(bucket::of_account(id)));
    let sql = "SELECT points, lot_available, lot_expires, kind, entry_no, version FROM entry
               WHERE account_id = $1 ORDER BY entry_no";
    let entries = chain.client.query(sql, &[&id]).await.expect("entries");
    let booked = entries.iter().map(|row| {
        assert_eq!((row.get::<_, i16>(3), row.get::<_, i64>(5)), (6, 1));
        let key = LotKey { available_from: row.get(1), expires_on: row.get(2) };
        (row.get::<_, i64>(0), key)
    });
    let lots = Lots::replay(booked);
    assert_eq!(Lots::decode(row.get(5)), Ok(lots.clone()));
    assert_eq!((lots.spendable(ON), lots.spendable(date(2026, 7, 1))), (125, 25));
    assert_eq!(lots.iter().last().map(|lot| lot.key.expires_on), Some(NEVER));
    let sql = "SELECT version + total_points FROM account a JOIN card c USING (account_id)
               WHERE c.card = '2990000000033'";
    assert_eq!(chain.number(sql).await, 0, "nothing was booked, nothing has changed");

    let again = chain.accounts(csv).await.expect("imported");
    assert_eq!(again.accounts_added, 0);
    assert_eq!(chain.number("SELECT count(*) FROM account").await, 2);
}

#[tokio::test]
async fn accounts_that_do_not_fit_are_refused_and_nothing_is_written() {
    let mut chain = Chain::create().await;
    chain.accounts("account,card\na,2990000000019\nb,2990000000026\n").await.expect("imported");
    let sql = "UPDATE account SET state = 0 WHERE account_id = (
                   SELECT account_id FROM card WHERE card = '2990000000026')";
    chain.client.batch_execute(sql).await.expect("made provisional");
    let refused = chain
        .accounts(
            "account,card\n\
             new,2990000000033\n\
             both,2990000000019\n\
             both,2990000000026\n\
             more,2990000000040\n\
             used,2990000000057\n",
        )
        .await;
    let Err(ImportError::Rows(findings)) = refused else { panic!("{refused:?}") };
    assert_eq!(
        findings.to_string(),
        "line 3, column card: the account's cards lead to different accounts"
    );
    let refused =
        chain.accounts("account,card\nx,2990000000026\ny,2990000000019\ny,2990000000064\n").await;
    let Err(ImportError::Rows(findings)) = refused else { panic!("{refused:?}") };
    assert_eq!(findings.count(), 2);
    assert_eq!(chain.number("SELECT count(*) FROM account").await, 2);
    assert_eq!(chain.number("SELECT count(*) FROM card").await, 2);
}

#[tokio::test]
async fn a_database_that_was_never_migrated_says_so() {
    let database = TestDatabase::create_empty().await;
    let mut importer =
        Importer::connect(&database.settings(), Timestamp::UNIX_EPOCH).await.expect("connected");
    assert!(matches!(importer.stores(&[]).await, Err(ImportError::NotMigrated)));
}
