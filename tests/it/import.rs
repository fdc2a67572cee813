//! Imports against PostgreSQL: what comes in, what a second import leaves alone, what is
//! refused as a whole.

use std::io::Write as _;

use jiff::Timestamp;
use jiff::civil::{Date, date};
use tempfile::NamedTempFile;
use tillside::commit::Desk;
use tillside::config::Commit;
use tillside::domain::bucket;
use tillside::domain::card::CardFormat;
use tillside::domain::ledger::{LotKey, Lots, NEVER};
use tillside::import::coupons::{CouponsOutcome, read_coupons};
use tillside::import::offers::{OffersOutcome, read_offers};
use tillside::import::{self, ImportError, Importer};
use tokio_postgres::Client;

use crate::support::database::TestDatabase;

const ON: Date = date(2026, 3, 14);

struct Chain {
    database: TestDatabase,
    client: Client,
    importer: Importer,
}

impl Chain {
    /// A migrated database with a programme and the first epoch.
    async fn create() -> Self {
        let database = TestDatabase::create().await;
        let client = database.client().await;
        let sql = r#"INSERT INTO programme (programme_no, rules) VALUES
                       (1, '{"earn": {"points": 1, "per_minor": 100}}') ON CONFLICT DO NOTHING;
                   INSERT INTO epoch (epoch, starts_on, programme_no, created_at, note)
                       VALUES (1, NULL, 1, '2026-01-01Z', 'first') ON CONFLICT DO NOTHING"#;
        client.batch_execute(sql).await.expect("seeded");
        let now: Timestamp = "2026-03-14T12:00:00Z".parse().expect("a timestamp");
        let importer = Importer::connect(&database.settings(), now).await.expect("connected");
        Self { database, client, importer }
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
        let read = import::read_accounts(file.path(), &format(), ON, |_| ()).expect("sound");
        self.importer.accounts(&read, ON, |_| ()).await
    }

    async fn offers(&mut self, csv: &str) -> Result<OffersOutcome, ImportError> {
        let file = file(csv);
        let read = read_offers(file.path(), |_| ()).expect("sound");
        self.importer.offers(&read, |_| ()).await
    }

    async fn coupons(&mut self, csv: &str, name: &str) -> Result<CouponsOutcome, ImportError> {
        let file = file(csv);
        let read = read_coupons(file.path(), &format(), ON, |_| ()).expect("sound");
        let checked = self.importer.check_coupons(&read, name).await?;
        let mut desk = Desk::new(&Commit::default(), &self.database.settings());
        let now = "2026-03-14T12:00:00Z".parse().expect("a timestamp");
        let outcome = checked.hand_out(&mut desk, now, |_| ()).await;
        desk.give_back().await.expect("the database answers");
        outcome
    }
}

fn format() -> CardFormat {
    CardFormat {
        length_min: 13,
        length_max: 13,
        letters: false,
        check_digit: true,
        prefixes: vec!["299".into()],
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

/// A chain with a store and two articles.
async fn chain_with_articles() -> Chain {
    let mut chain = Chain::create().await;
    let csv = file("store_id,name,workstations\n0367,Main Street,01\n");
    let stores = import::read_stores(csv.path(), "America/New_York", |_| ()).expect("sound");
    chain.importer.stores(&stores).await.expect("imported");
    let csv = "sku,name,category\n1,Yoghurt,YOGURT\n2,Bread,BREAD\n";
    chain.catalogue(csv, ON).await.expect("imported");
    chain
}

const OFFERS: &str = "offer,headline,reward,percent,amount_minor,categories,skus,stores,until,valid_days,party,\
     share_percent,budget_coupons\n\
     yoghurt,Half off yoghurt,percent-off,50,,YOGURT,,0367,2026-12-31,7,dairy,60,\n\
     bread,40 off bread,amount-off,,40,,2,,,7,chain,100,1\n";

#[tokio::test]
async fn offers_come_in_once_and_are_never_changed() {
    let mut chain = chain_with_articles().await;
    let version = chain.reference_version().await;
    let first = chain.offers(OFFERS).await.expect("imported");
    assert_eq!(first, OffersOutcome { offers: 2, offers_added: 2 });
    assert_eq!(chain.reference_version().await, version + 1);
    let stored = "SELECT definition::text FROM offer WHERE offer_id = 'yoghurt'";
    let text: String = chain.client.query_one(stored, &[]).await.expect(stored).get(0);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON"),
        serde_json::json!({
            "offer": "yoghurt", "headline": "Half off yoghurt", "delivery": "personal",
            "reward": { "kind": "percent-off", "percent": 50 },
            "scope": { "departments": [], "categories": ["YOGURT"], "types": [], "brands": [],
                       "skus": [] },
            "stores": ["0367"], "until": "2026-12-31", "valid_days": 7,
            "funding": { "party": "dairy", "share_percent": 60 },
        })
    );
    let traced = "SELECT count(*) FROM audit WHERE action = 'offer.add' AND user_no IS NULL
                  AND object IN ('offer:yoghurt', 'offer:bread')";
    assert_eq!(chain.number(traced).await, 2);

    // Also when one was ended meanwhile, by whoever ends offers.
    let end = "UPDATE offer SET definition = definition || '{\"until\": \"2026-03-20\"}'";
    chain.client.batch_execute(end).await.expect(end);
    let again = chain.offers(OFFERS).await.expect("imported");
    assert_eq!(again, OffersOutcome { offers: 2, offers_added: 0 });
    assert_eq!(chain.reference_version().await, version + 1);
    assert_eq!(chain.number("SELECT count(*) FROM audit WHERE action = 'offer.add'").await, 2);

    // One that says something else, and one that is new: neither comes in.
    let other = OFFERS.replace("bread,40 off", "bread,50 off").replace("yoghurt,", "quark,");
    let refused = chain.offers(&other).await;
    let Err(ImportError::Rows(findings)) = refused else { panic!("{refused:?}") };
    let expected = "line 3, column offer: an offer of this name says something else; offers are \
                    never changed: end that one, and give this one a name of its own";
    assert_eq!(findings.to_string(), expected);
    assert_eq!(chain.number("SELECT count(*) FROM offer").await, 2);
}

#[tokio::test]
async fn offers_that_name_what_there_is_not_are_refused_with_their_place() {
    let mut chain = chain_with_articles().await;
    let refused = chain
        .offers(
            "offer,headline,reward,percent,categories,except_skus,stores,valid_days,party,\
             share_percent\n\
             a,A,percent-off,5,YOGURT,1,0367,7,chain,100\n\
             b,B,percent-off,5,YOGURT;QUARK,,,7,chain,100\n\
             c,C,percent-off,5,,9,,7,chain,100\n\
             d,D,percent-off,5,,,0999,7,chain,100\n",
        )
        .await;
    let Err(ImportError::Rows(findings)) = refused else { panic!("{refused:?}") };
    let nothing = "nothing in the catalogue or among the stores is named";
    assert_eq!(
        findings.to_string(),
        format!(
            "line 3, column categories: {nothing} \"QUARK\"\n\
             line 4, column except_skus: {nothing} \"9\"\n\
             line 5, column stores: {nothing} \"0999\""
        )
    );
    assert_eq!(chain.number("SELECT count(*) FROM offer").await, 0);
}

#[tokio::test]
async fn coupons_are_issued_once_under_a_name_and_within_budgets() {
    let mut chain = chain_with_articles().await;
    chain.offers(OFFERS).await.expect("imported");
    chain.accounts("account,card\na,2990000000019\nb,2990000000026\n").await.expect("imported");
    let csv = "card,offer,from\n\
               2990000000019,yoghurt,2026-12-28\n\
               2990000000019,bread,\n\
               2990000000026,bread,\n\
               2990000000026,yoghurt,\n";
    let first = chain.coupons(csv, "import:spring").await.expect("imported");
    let expected = CouponsOutcome { coupons: 4, issued: 3, budget_spent: 1, ..Default::default() };
    assert_eq!(first, expected);
    // No coupon outlives its offer, and each has its line in the audit trail.
    let sql = "SELECT count(*) FROM coupon JOIN offer USING (offer_no)
               WHERE actor = 'import:spring' AND (offer_id, valid_from, valid_until) IN
                   (('yoghurt', '2026-12-28', '2026-12-31'),
                    ('yoghurt', '2026-03-14', '2026-03-20'),
                    ('bread', '2026-03-14', '2026-03-20'))";
    assert_eq!(chain.number(sql).await, 3);
    assert_eq!(chain.number("SELECT count(*) FROM audit WHERE action = 'coupon.issue'").await, 3);
    let versions = "SELECT sum(version)::bigint FROM account JOIN card USING (account_id)";
    assert_eq!(chain.number(versions).await, 2, "a version for each account");

    let again = chain.coupons(csv, "import:spring").await.expect("imported");
    let expected = CouponsOutcome { issued: 0, issued_before: 3, ..expected };
    assert_eq!(again, expected);
    assert_eq!(chain.number("SELECT count(*) FROM coupon").await, 3);
    let autumn = chain.coupons("card,offer\n2990000000019,yoghurt\n", "import:autumn").await;
    assert_eq!(autumn.expect("imported").issued, 1, "another name is another handout");
    assert_eq!(chain.number("SELECT count(*) FROM coupon").await, 4);
}

#[tokio::test]
async fn coupons_that_cannot_be_issued_are_named_before_any_is() {
    let mut chain = chain_with_articles().await;
    chain.offers(OFFERS).await.expect("imported");
    chain.accounts("account,card\na,2990000000019\n").await.expect("imported");
    let csv = "card,offer,from\n\
               2990000000019,bread,\n\
               2990000000026,bread,\n\
               2990000000019,cake,\n\
               2990000000019,yoghurt,2027-01-01\n";
    let refused = chain.coupons(csv, "import:spring").await;
    let Err(ImportError::Rows(findings)) = refused else { panic!("{refused:?}") };
    assert_eq!(
        findings.to_string(),
        "line 3, column card: nobody has used or enrolled this card\n\
         line 4, column offer: there is no such offer; import it first\n\
         line 5, column from: the offer is over on this day, or has not begun"
    );
    assert_eq!(chain.number("SELECT count(*) FROM coupon").await, 0);
}

#[tokio::test]
async fn a_database_that_was_never_migrated_says_so() {
    let database = TestDatabase::create_empty().await;
    let mut importer =
        Importer::connect(&database.settings(), Timestamp::UNIX_EPOCH).await.expect("connected");
    assert!(matches!(importer.stores(&[]).await, Err(ImportError::NotMigrated)));
}
