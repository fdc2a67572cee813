//! Every statement of an import. One import is one transaction, under the lock of the row in
//! `chain`: imports never overlap, and replicas see the new reference version with the data.
//!
//! House accounts are created here, with their workstations: besides `commit` and
//! `accounts::sql` the one place that writes account-owned rows, and it only ever creates.

use std::pin::Pin;

use jiff::Timestamp;
use jiff::civil::Date;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Row, Transaction};

use super::catalogue::{Given, ProductRecord};
use super::stores::StoreRecord;
use crate::db::DbError;
use crate::db::pool::Dedicated;
use crate::domain::account::CLOCK_START;
use crate::domain::bucket;
use crate::domain::ledger::Lots;

/// Numbers that one value of the sequence stands for.
const NUMBERS_IN_BLOCK: usize = 256;

/// `account.state` of what belongs to a workstation.
const HOUSE: i16 = 2;

/// An import under way. Dropped without [`Import::finish`] it leaves nothing behind.
pub(super) struct Import<'a>(pub(super) Transaction<'a>);

/// How many rows a statement added and how many it changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) added: u64,
    pub(super) changed: u64,
}

/// Where the newest epoch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LatestEpoch {
    pub(super) epoch: i32,
    pub(super) starts_on: Option<Date>,
    /// Whether no product has a version yet.
    pub(super) catalogue_is_empty: bool,
}

const LOCK_CHAIN: &str = "\
-- import::Import::begin
SELECT 1 FROM chain FOR UPDATE";

const BUMP_REFERENCE_VERSION: &str = "\
-- import::Import::bump_reference_version
UPDATE chain SET reference_version = reference_version + 1";

// The joined rows are those from before the statement: what is not among them was added.
const WRITE_STORES: &str = "\
-- import::Import::write_stores
WITH written AS (
    INSERT INTO store (store_id, name, time_zone)
    SELECT * FROM unnest(
        $1::text[] /* store_id */, $2::text[] /* name */, $3::text[] /* time_zone */)
    ON CONFLICT (store_id) DO UPDATE SET name = excluded.name, time_zone = excluded.time_zone
    WHERE (store.name, store.time_zone) IS DISTINCT FROM (excluded.name, excluded.time_zone)
    RETURNING store_id
)
SELECT count(*) FILTER (WHERE store.store_id IS NULL) AS added, count(store.store_id) AS changed
FROM written LEFT JOIN store USING (store_id)";

const MISSING_WORKSTATIONS: &str = "\
-- import::Import::missing_workstations
SELECT i.store_id, i.workstation_id
FROM unnest($1::text[] /* store_id */, $2::text[] /* workstation_id */) i (store_id, workstation_id)
WHERE NOT EXISTS (
    SELECT 1 FROM workstation w
    WHERE w.store_id = i.store_id AND w.workstation_id = i.workstation_id)
ORDER BY 1, 2";

const WRITE_WORKSTATIONS: &str = "\
-- import::Import::write_workstations
INSERT INTO workstation (store_id, workstation_id, house_account)
SELECT * FROM unnest(
    $1::text[] /* store_id */, $2::text[] /* workstation_id */, $3::bigint[] /* house_account */)";

const WRITE_HOUSE_ACCOUNTS: &str = "\
-- import::Import::write_workstations
INSERT INTO account (account_id, version, total_points, sales_minor, baskets, clock, bucket, state,
    lots, next_expiry)
SELECT account_id, 0, 0, 0, 0, $2::date /* clock */, account_id & 255,
    $3::smallint /* state */, $4::bytea /* lots */, NULL
FROM unnest($1::bigint[] /* account_id */) i (account_id)";

const TAKE_BLOCKS: &str = "\
-- import::Import::account_numbers
SELECT nextval('account_number_block') FROM generate_series(1, $1::bigint /* blocks */)";

const LATEST_EPOCH: &str = "\
-- import::Import::latest_epoch
SELECT epoch, starts_on, NOT EXISTS (SELECT 1 FROM product_version) AS catalogue_is_empty
FROM epoch ORDER BY epoch DESC LIMIT 1";

const CREATE_EPOCH: &str = "\
-- import::Import::create_epoch
INSERT INTO epoch (epoch, starts_on, programme_no, created_at, note)
SELECT epoch + 1, $1::date /* starts_on */, programme_no, $2::timestamptz /* created_at */,
    $3::text /* note */
FROM epoch ORDER BY epoch DESC LIMIT 1
RETURNING epoch";

const CREATE_PRODUCT_TABLE: &str = "\
-- import::Import::stage_products
CREATE TEMPORARY TABLE import_product (
    sku text NOT NULL, name text NOT NULL, department text, category text, type text, brand text,
    package_size text, price_minor bigint, cost_minor bigint,
    no_points boolean NOT NULL, no_discount boolean NOT NULL, sensitive boolean NOT NULL
) ON COMMIT DROP";

const COPY_PRODUCTS: &str = "\
COPY import_product (sku, name, department, category, type, brand, package_size, price_minor,
    cost_minor, no_points, no_discount, sensitive) FROM STDIN BINARY";

const ANALYZE_PRODUCTS: &str = "\
-- import::Import::stage_products
ANALYZE import_product";

const WRITE_TAXA: &str = "\
-- import::Import::write_new_products
INSERT INTO taxon (level, name)
SELECT level, name FROM (
    SELECT 1::smallint, department FROM import_product
    UNION SELECT 2, category FROM import_product
    UNION SELECT 3, type FROM import_product
    UNION SELECT 4, brand FROM import_product
    EXCEPT SELECT level, name FROM taxon
) i (level, name)
WHERE name IS NOT NULL
ORDER BY level, name";

const WRITE_PRODUCTS: &str = "\
-- import::Import::write_new_products
INSERT INTO product (sku)
SELECT sku FROM import_product EXCEPT SELECT sku FROM product ORDER BY sku";

const CREATE_CHANGE_TABLE: &str = "\
-- import::Import::stage_changes
CREATE TEMPORARY TABLE import_change (
    product_no integer NOT NULL, is_new boolean NOT NULL, name text NOT NULL,
    department_no integer, category_no integer, type_no integer, brand_no integer,
    package_size text, price_minor bigint, cost_minor bigint,
    no_points boolean NOT NULL, no_discount boolean NOT NULL, sensitive boolean NOT NULL
) ON COMMIT DROP";

// A column that the file does not have keeps what is in force.
const STAGE_CHANGES: &str = "\
-- import::Import::stage_changes
WITH given AS (
    SELECT $1::boolean AS department, $2::boolean AS category, $3::boolean AS type,
        $4::boolean AS brand, $5::boolean AS package_size, $6::boolean AS price_minor,
        $7::boolean AS cost_minor, $8::boolean AS no_points, $9::boolean AS no_discount,
        $10::boolean AS sensitive
), staged AS (
INSERT INTO import_change
SELECT p.product_no, old.product_no IS NULL AS is_new, new.*
FROM given CROSS JOIN import_product i
JOIN product p USING (sku)
LEFT JOIN taxon d ON d.level = 1 AND d.name = i.department
LEFT JOIN taxon c ON c.level = 2 AND c.name = i.category
LEFT JOIN taxon t ON t.level = 3 AND t.name = i.type
LEFT JOIN taxon b ON b.level = 4 AND b.name = i.brand
LEFT JOIN LATERAL (
    SELECT * FROM product_version v WHERE v.product_no = p.product_no
    ORDER BY v.since_epoch DESC LIMIT 1
) old ON true
CROSS JOIN LATERAL (
    SELECT
        i.name,
        CASE WHEN given.department THEN d.taxon_no ELSE old.department_no END AS department_no,
        CASE WHEN given.category THEN c.taxon_no ELSE old.category_no END AS category_no,
        CASE WHEN given.type THEN t.taxon_no ELSE old.type_no END AS type_no,
        CASE WHEN given.brand THEN b.taxon_no ELSE old.brand_no END AS brand_no,
        CASE WHEN given.package_size THEN i.package_size ELSE old.package_size END AS package_size,
        CASE WHEN given.price_minor THEN i.price_minor ELSE old.price_minor END AS price_minor,
        CASE WHEN given.cost_minor THEN i.cost_minor ELSE old.cost_minor END AS cost_minor,
        CASE WHEN given.no_points THEN i.no_points
            ELSE coalesce(old.no_points, false) END AS no_points,
        CASE WHEN given.no_discount THEN i.no_discount
            ELSE coalesce(old.no_discount, false) END AS no_discount,
        CASE WHEN given.sensitive THEN i.sensitive
            ELSE coalesce(old.sensitive, false) END AS sensitive
) new
WHERE old.product_no IS NULL
   OR (new.name, new.department_no, new.category_no, new.type_no, new.brand_no, new.package_size,
       new.price_minor, new.cost_minor, new.no_points, new.no_discount, new.sensitive)
      IS DISTINCT FROM
      (old.name, old.department_no, old.category_no, old.type_no, old.brand_no, old.package_size,
       old.price_minor, old.cost_minor, old.no_points, old.no_discount, old.sensitive)
RETURNING is_new
)
SELECT count(*) FILTER (WHERE is_new) AS added, count(*) FILTER (WHERE NOT is_new) AS changed
FROM staged";

const WRITE_VERSIONS: &str = "\
-- import::Import::write_product_versions
INSERT INTO product_version (product_no, since_epoch, name, department_no, category_no, type_no,
    brand_no, package_size, price_minor, cost_minor, no_points, no_discount, sensitive)
SELECT product_no, $1::integer /* since_epoch */, name, department_no, category_no, type_no,
    brand_no, package_size, price_minor, cost_minor, no_points, no_discount, sensitive
FROM import_change ORDER BY product_no";

impl<'a> Import<'a> {
    /// Begins, alone: another import, and whatever else changes reference data, waits.
    /// `None` when the database has no chain.
    pub(super) async fn begin(connection: &'a mut Dedicated) -> Result<Option<Self>, DbError> {
        let transaction = connection.client_mut().transaction().await?;
        let chain = transaction.query_typed_opt(LOCK_CHAIN, &[]).await?;
        Ok(chain.map(|_| Self(transaction)))
    }

    /// Makes everything last.
    pub(super) async fn finish(self) -> Result<(), DbError> {
        Ok(self.0.commit().await?)
    }

    /// Tells every replica to look again. Part of each import that changed reference data.
    pub(super) async fn bump_reference_version(&self) -> Result<(), DbError> {
        let rows = self.0.execute_typed(BUMP_REFERENCE_VERSION, &[]).await?;
        assert_eq!(rows, 1, "the chain's one row is locked by this transaction");
        Ok(())
    }

    /// Adds stores and corrects their names and time zones.
    pub(super) async fn write_stores(&self, stores: &[StoreRecord]) -> Result<Written, DbError> {
        let ids: Vec<&str> = stores.iter().map(|store| store.store_id.as_str()).collect();
        let names: Vec<&str> = stores.iter().map(|store| store.name.as_str()).collect();
        let zones: Vec<&str> = stores.iter().map(|store| store.time_zone.as_str()).collect();
        let texts = Type::TEXT_ARRAY;
        let row = self
            .0
            .query_typed_one(
                WRITE_STORES,
                &[(&ids, texts.clone()), (&names, texts.clone()), (&zones, texts)],
            )
            .await?;
        written(&row)
    }

    /// Which workstations of these stores do not exist yet.
    pub(super) async fn missing_workstations(
        &self,
        stores: &[StoreRecord],
    ) -> Result<Vec<(String, String)>, DbError> {
        let pairs = stores.iter().flat_map(|store| {
            store.workstations.iter().map(|id| (store.store_id.as_str(), id.as_str()))
        });
        let (stores, ids): (Vec<&str>, Vec<&str>) = pairs.unzip();
        let rows = self
            .0
            .query_typed(
                MISSING_WORKSTATIONS,
                &[(&stores, Type::TEXT_ARRAY), (&ids, Type::TEXT_ARRAY)],
            )
            .await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    /// Creates workstations, each with its house account.
    pub(super) async fn write_workstations(
        &self,
        workstations: &[(String, String)],
    ) -> Result<(), DbError> {
        let numbers = self.account_numbers(workstations.len()).await?;
        let house_accounts: Vec<i64> = workstations
            .iter()
            .zip(numbers)
            .map(|((store_id, id), number)| {
                bucket::account_id(number, bucket::of_workstation(store_id, id))
            })
            .collect();
        let (stores, ids): (Vec<&str>, Vec<&str>) =
            workstations.iter().map(|(store_id, id)| (store_id.as_str(), id.as_str())).unzip();
        let lots = Lots::default().encode();
        let accounts = self
            .0
            .execute_typed(
                WRITE_HOUSE_ACCOUNTS,
                &[
                    (&house_accounts, Type::INT8_ARRAY),
                    (&CLOCK_START, Type::DATE),
                    (&HOUSE, Type::INT2),
                    (&lots, Type::BYTEA),
                ],
            )
            .await?;
        let rows = self
            .0
            .execute_typed(
                WRITE_WORKSTATIONS,
                &[
                    (&stores, Type::TEXT_ARRAY),
                    (&ids, Type::TEXT_ARRAY),
                    (&house_accounts, Type::INT8_ARRAY),
                ],
            )
            .await?;
        let expected = workstations.len() as u64;
        assert_eq!((accounts, rows), (expected, expected), "plain inserts write every row");
        Ok(())
    }

    /// Numbers that no account has or will have. Those left over in a block are lost.
    pub(super) async fn account_numbers(&self, count: usize) -> Result<Vec<i64>, DbError> {
        let blocks = i64::try_from(count.div_ceil(NUMBERS_IN_BLOCK)).unwrap_or(i64::MAX);
        let rows = self.0.query_typed(TAKE_BLOCKS, &[(&blocks, Type::INT8)]).await?;
        let mut numbers = Vec::with_capacity(rows.len() * NUMBERS_IN_BLOCK);
        for row in rows {
            let first = row.try_get::<_, i64>(0)? * NUMBERS_IN_BLOCK as i64;
            numbers.extend(first..first + NUMBERS_IN_BLOCK as i64);
        }
        numbers.truncate(count);
        Ok(numbers)
    }

    /// The newest epoch; `None` when the database was never migrated.
    pub(super) async fn latest_epoch(&self) -> Result<Option<LatestEpoch>, DbError> {
        let Some(row) = self.0.query_typed_opt(LATEST_EPOCH, &[]).await? else { return Ok(None) };
        Ok(Some(LatestEpoch {
            epoch: row.try_get("epoch")?,
            starts_on: row.try_get("starts_on")?,
            catalogue_is_empty: row.try_get("catalogue_is_empty")?,
        }))
    }

    /// Begins a new epoch under the programme that is in force in the newest one.
    pub(super) async fn create_epoch(
        &self,
        starts_on: Date,
        created_at: Timestamp,
        note: &str,
    ) -> Result<i32, DbError> {
        let row = self
            .0
            .query_typed_one(
                CREATE_EPOCH,
                &[(&starts_on, Type::DATE), (&created_at, Type::TIMESTAMPTZ), (&note, Type::TEXT)],
            )
            .await?;
        Ok(row.try_get(0)?)
    }

    /// Brings the products of a file to the server.
    pub(super) async fn stage_products(
        &self,
        products: &[ProductRecord],
        mut progress: impl FnMut(u64),
    ) -> Result<(), DbError> {
        self.0.batch_execute(CREATE_PRODUCT_TABLE).await?;
        let types =
            [[Type::TEXT; 7].as_slice(), [Type::INT8; 2].as_slice(), [Type::BOOL; 3].as_slice()];
        let mut rows = Copy::begin(&self.0, COPY_PRODUCTS, &types.concat()).await?;
        for product in products {
            let ProductRecord { sku, name, department, category, kind, brand, .. } = product;
            let values: [&(dyn ToSql + Sync); 12] = [
                sku,
                name,
                department,
                category,
                kind,
                brand,
                &product.package_size,
                &product.price_minor,
                &product.cost_minor,
                &product.no_points,
                &product.no_discount,
                &product.sensitive,
            ];
            rows.write(&values).await?;
            progress(1);
        }
        rows.finish().await?;
        Ok(self.0.batch_execute(ANALYZE_PRODUCTS).await?)
    }

    /// Adds the articles and names of levels that are new. They mean nothing without versions.
    pub(super) async fn write_new_products(&self) -> Result<(), DbError> {
        self.0.execute_typed(WRITE_TAXA, &[]).await?;
        self.0.execute_typed(WRITE_PRODUCTS, &[]).await?;
        Ok(())
    }

    /// Finds the products that differ from what is in force in the newest epoch.
    pub(super) async fn stage_changes(&self, given: Given) -> Result<Written, DbError> {
        self.0.batch_execute(CREATE_CHANGE_TABLE).await?;
        let flags = [
            given.department,
            given.category,
            given.kind,
            given.brand,
            given.package_size,
            given.price,
            given.cost,
            given.no_points,
            given.no_discount,
            given.sensitive,
        ];
        let parameters: Vec<(&(dyn ToSql + Sync), Type)> =
            flags.iter().map(|flag| (flag as &(dyn ToSql + Sync), Type::BOOL)).collect();
        written(&self.0.query_typed_one(STAGE_CHANGES, &parameters).await?)
    }

    /// Writes what differs as it holds from an epoch on.
    pub(super) async fn write_product_versions(&self, epoch: i32) -> Result<u64, DbError> {
        Ok(self.0.execute_typed(WRITE_VERSIONS, &[(&epoch, Type::INT4)]).await?)
    }
}

/// Rows on their way into a table, counted.
pub(super) struct Copy {
    writer: Pin<Box<BinaryCopyInWriter>>,
    rows: usize,
}

impl Copy {
    pub(super) async fn begin(
        transaction: &Transaction<'_>,
        statement: &str,
        types: &[Type],
    ) -> Result<Self, DbError> {
        let sink = transaction.copy_in(statement).await?;
        Ok(Self { writer: Box::pin(BinaryCopyInWriter::new(sink, types)), rows: 0 })
    }

    pub(super) async fn write(&mut self, values: &[&(dyn ToSql + Sync)]) -> Result<(), DbError> {
        self.rows += 1;
        Ok(self.writer.as_mut().write(values).await?)
    }

    pub(super) async fn finish(mut self) -> Result<(), DbError> {
        let copied = self.writer.as_mut().finish().await?;
        assert_eq!(copied, self.rows as u64, "COPY takes every row or fails");
        Ok(())
    }
}

/// Reads a row of two counts.
fn written(row: &Row) -> Result<Written, DbError> {
    let count = |name: &str| row.try_get::<_, i64>(name).map(i64::unsigned_abs);
    Ok(Written { added: count("added")?, changed: count("changed")? })
}
