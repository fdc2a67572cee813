//! The statements that create accounts in bulk.
//!
//! Besides `commit` the one place that writes rows of customers' accounts, and it only ever
//! creates: accounts that no card led to before, complete with their first entries. It must
//! never change an account that exists.

use jiff::Timestamp;
use jiff::civil::Date;
use tokio_postgres::types::Type;

use super::MemberRecord;
use crate::db::DbError;
use crate::domain::bucket;
use crate::domain::ledger::{Entry, Lots};
use crate::import::sql::{Copy, Import};

/// `account.state` of a customer who enrolled.
const ENROLLED: i16 = 1;

/// The version at which opening points are booked; an account without any begins at 0.
const FIRST_CHANGE: i64 = 1;

/// A card of a file that the directory knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::import) struct KnownCard {
    pub(in crate::import) card: String,
    pub(in crate::import) account_id: i64,
    pub(in crate::import) is_provisional: bool,
}

/// An account to be created.
#[derive(Debug)]
pub(in crate::import) struct NewAccount<'a> {
    pub(in crate::import) account_id: i64,
    pub(in crate::import) cards: &'a [String],
    pub(in crate::import) members: &'a [MemberRecord],
    pub(in crate::import) lots: Lots,
    pub(in crate::import) entries: Vec<Entry>,
}

const KNOWN_CARDS: &str = "\
-- import::accounts::known_cards
SELECT c.card, c.account_id, coalesce(a.state = 0, false) AS is_provisional
FROM unnest($1::smallint[] /* bucket */, $2::text[] /* card */) i (bucket, card)
JOIN card c ON c.bucket = i.bucket AND c.card = i.card
LEFT JOIN account a ON a.bucket = (c.account_id & 255)::smallint AND a.account_id = c.account_id";

const COPY_ACCOUNTS: &str = "\
COPY account (account_id, version, total_points, sales_minor, baskets, clock, bucket, state, lots,
    next_expiry) FROM STDIN BINARY";
const COPY_CARDS: &str = "COPY card (account_id, linked_at, bucket, card) FROM STDIN BINARY";
const COPY_MEMBERS: &str = "\
COPY member (bucket, account_id, member_no, given_name, family_name, birthday, email, phone,
    consents, joined_on) FROM STDIN BINARY";
const COPY_ENTRIES: &str = "\
COPY entry (account_id, version, points, lot_available, lot_expires, business_date, bucket,
    entry_no, kind) FROM STDIN BINARY";

impl Import<'_> {
    /// Those of the cards that lead to an account already.
    pub(in crate::import) async fn known_cards(
        &self,
        cards: &[&str],
    ) -> Result<Vec<KnownCard>, DbError> {
        let buckets: Vec<i16> = cards.iter().map(|card| bucket::of_card(card).into()).collect();
        let rows = self
            .0
            .query_typed(KNOWN_CARDS, &[(&buckets, Type::INT2_ARRAY), (&cards, Type::TEXT_ARRAY)])
            .await?;
        rows.iter()
            .map(|row| {
                Ok(KnownCard {
                    card: row.try_get("card")?,
                    account_id: row.try_get("account_id")?,
                    is_provisional: row.try_get("is_provisional")?,
                })
            })
            .collect()
    }

    /// Creates accounts with their cards, members and first entries.
    pub(in crate::import) async fn write_accounts(
        &self,
        accounts: &[NewAccount<'_>],
        clock: Date,
        linked_at: Timestamp,
        mut progress: impl FnMut(u64),
    ) -> Result<(), DbError> {
        let types = [
            Type::INT8,
            Type::INT8,
            Type::INT8,
            Type::INT8,
            Type::INT4,
            Type::DATE,
            Type::INT2,
            Type::INT2,
            Type::BYTEA,
            Type::DATE,
        ];
        let mut rows = Copy::begin(&self.0, COPY_ACCOUNTS, &types).await?;
        for account in accounts {
            let id = account.account_id;
            let (bucket, lots) = (bucket_of(id), account.lots.encode());
            let total = account.lots.total();
            let version = if account.entries.is_empty() { 0 } else { FIRST_CHANGE };
            let next_expiry = account.lots.first_expiry();
            rows.write(&[
                &id,
                &version,
                &total,
                &0i64,
                &0i32,
                &clock,
                &bucket,
                &ENROLLED,
                &lots,
                &next_expiry,
            ])
            .await?;
            progress(1);
        }
        rows.finish().await?;

        let types = [Type::INT8, Type::TIMESTAMPTZ, Type::INT2, Type::TEXT];
        let mut rows = Copy::begin(&self.0, COPY_CARDS, &types).await?;
        for account in accounts {
            for card in account.cards {
                let bucket = i16::from(bucket::of_card(card));
                rows.write(&[&account.account_id, &linked_at, &bucket, card]).await?;
            }
        }
        rows.finish().await?;

        self.write_members(accounts).await?;

        let types = [
            Type::INT8,
            Type::INT8,
            Type::INT8,
            Type::DATE,
            Type::DATE,
            Type::DATE,
            Type::INT2,
            Type::INT2,
            Type::INT2,
        ];
        let mut rows = Copy::begin(&self.0, COPY_ENTRIES, &types).await?;
        for account in accounts {
            let id = account.account_id;
            for (number, entry) in (0i16..).zip(&account.entries) {
                let (available, expires) = (entry.lot.available_from, entry.lot.expires_on);
                let (bucket, kind) = (bucket_of(id), entry.kind as i16);
                rows.write(&[
                    &id,
                    &FIRST_CHANGE,
                    &entry.points,
                    &available,
                    &expires,
                    &clock,
                    &bucket,
                    &number,
                    &kind,
                ])
                .await?;
            }
        }
        rows.finish().await
    }

    async fn write_members(&self, accounts: &[NewAccount<'_>]) -> Result<(), DbError> {
        let types = [
            Type::INT2,
            Type::INT8,
            Type::INT2,
            Type::TEXT,
            Type::TEXT,
            Type::DATE,
            Type::TEXT,
            Type::TEXT,
            Type::TEXT_ARRAY,
            Type::DATE,
        ];
        let mut rows = Copy::begin(&self.0, COPY_MEMBERS, &types).await?;
        for account in accounts {
            let id = account.account_id;
            for (number, member) in (1i16..).zip(account.members) {
                rows.write(&[
                    &bucket_of(id),
                    &id,
                    &number,
                    &member.given_name,
                    &member.family_name,
                    &member.birthday,
                    &member.email,
                    &member.phone,
                    &member.consents,
                    &member.joined_on,
                ])
                .await?;
            }
        }
        rows.finish().await
    }
}

fn bucket_of(account_id: i64) -> i16 {
    bucket::of_account(account_id).into()
}
