//! Statements about users, tokens, the audit trail and answers that are kept. One change is one
//! transaction, with its line in the audit trail and the answer to it.

use deadpool_postgres::{Object, Transaction};
use jiff::Timestamp;
use tokio_postgres::{GenericClient, Row};

use super::once::Claim;
use super::page::Page;
use super::token::{TokenScope, TokenStatus};
use super::user::{NewUser, UserStatus, Who};
use super::wire::{AuditOut, StoreOut, TerminalOut};
use super::{Actor, Role, Trace};
use crate::db::DbError;
use crate::db::pool::Pool;

const ACTOR: &str = "
-- office::actor
SELECT u.user_no, u.role, u.stores, t.scope
FROM api_token AS t JOIN app_user AS u USING (user_no)
WHERE t.token_hash = $1 AND t.revoked_at IS NULL AND t.expires_at > $2 AND u.disabled_at IS NULL";

const AUDIT: &str = "
-- office::audit
INSERT INTO audit (at, user_no, action, object, fields) VALUES ($1, $2, $3, $4, $5)";

const STORES_THAT_EXIST: &str = "
-- office::stores_that_exist
SELECT count(*) FROM store WHERE store_id = ANY($1)";

const INSERT_USER: &str = "
-- office::insert_user
INSERT INTO app_user (email, name, role, stores, created_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (lower(email)) DO NOTHING
RETURNING user_no, email, name, role, stores, created_at, disabled_at";

/// Locked, so that nobody is given a token while being disabled.
const FIND_USER: &str = "
-- office::find_user
SELECT user_no FROM app_user
WHERE (user_no = $1 OR lower(email) = lower($2)) AND disabled_at IS NULL FOR UPDATE";

const DISABLE_USER: &str = "
-- office::disable_user
UPDATE app_user SET disabled_at = $2 WHERE user_no = $1
RETURNING user_no, email, name, role, stores, created_at, disabled_at";

const INSERT_TOKEN: &str = "
-- office::insert_token
WITH made AS (
    INSERT INTO api_token (token_hash, user_no, name, scope, last_four, created_at, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING *
)
SELECT t.*, u.email FROM made AS t JOIN app_user AS u USING (user_no)";

const REVOKE_TOKEN: &str = "
-- office::revoke_token
WITH ended AS (
    UPDATE api_token SET revoked_at = $2 WHERE token_no = $1 AND revoked_at IS NULL RETURNING *
)
SELECT t.*, u.email FROM ended AS t JOIN app_user AS u USING (user_no)";

const LIST_USERS: &str = "
-- office::list_users
SELECT user_no, email, name, role, stores, created_at, disabled_at
FROM app_user WHERE user_no < $1::bigint ORDER BY user_no DESC LIMIT $2";

const LIST_TOKENS: &str = "
-- office::list_tokens
SELECT t.*, u.email FROM api_token AS t JOIN app_user AS u USING (user_no)
WHERE t.token_no < $1::bigint ORDER BY t.token_no DESC LIMIT $2";

const LIST_AUDIT: &str = "
-- office::list_audit
SELECT a.audit_no, a.at, a.user_no, u.email, a.action, a.object, a.fields
FROM audit AS a LEFT JOIN app_user AS u USING (user_no)
WHERE a.audit_no < $1 ORDER BY a.audit_no DESC LIMIT $2";

const LIST_STORES: &str = "
-- office::list_stores
SELECT store_no, store_id, name, time_zone FROM store
WHERE store_no < $1::bigint AND ($3::text[] IS NULL OR store_id = ANY($3))
ORDER BY store_no DESC LIMIT $2";

const LIST_TERMINALS: &str = "
-- office::list_terminals
SELECT w.workstation_no, w.store_id, w.workstation_id,
       (SELECT count(*) FROM quarantine AS q WHERE q.workstation_no = w.workstation_no) AS kept,
       ARRAY(SELECT k.key_no FROM terminal_key AS k
             WHERE k.workstation_no = w.workstation_no AND k.revoked_at IS NULL
               AND (k.retires_at IS NULL OR k.retires_at > $4)
             ORDER BY k.key_no) AS keys
FROM workstation AS w
WHERE w.workstation_no < $1::bigint AND ($3::text[] IS NULL OR w.store_id = ANY($3))
ORDER BY w.workstation_no DESC LIMIT $2";

/// Claims a key for a request: when nobody has it, or whoever has it began so long ago that it
/// can only have been cut off. Forgets at the same time some of what has outlived its time, and
/// waits for nobody who does the same.
const CLAIM: &str = "
-- office::claim
WITH forgotten AS (
    DELETE FROM idempotency WHERE (user_no, key_hash) IN (
        SELECT user_no, key_hash FROM idempotency
        WHERE began_at < $5 AND (user_no, key_hash) <> ($1, $2)
        ORDER BY began_at LIMIT 100 FOR UPDATE SKIP LOCKED)
)
INSERT INTO idempotency AS i (user_no, key_hash, request_hash, began_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (user_no, key_hash) DO UPDATE
SET request_hash = excluded.request_hash, began_at = excluded.began_at, status = NULL,
    answer = NULL, plan = CASE WHEN i.began_at < $5 THEN NULL ELSE i.plan END
WHERE i.began_at < $5
   OR (i.status IS NULL AND i.began_at < $6 AND i.request_hash = excluded.request_hash)
RETURNING 1";

const CLAIMED: &str = "
-- office::claimed
SELECT request_hash, status, answer FROM idempotency WHERE user_no = $1 AND key_hash = $2";

const SETTLE: &str = "
-- office::settle
UPDATE idempotency SET status = $3, answer = $4, plan = NULL
WHERE user_no = $1 AND key_hash = $2";

/// Gives a key back. What may have begun by its plan is kept with it, as if it had been cut off.
const UNCLAIM: &str = "
-- office::unclaim
WITH gone AS (
    DELETE FROM idempotency
    WHERE user_no = $1 AND key_hash = $2 AND status IS NULL AND plan IS NULL
)
UPDATE idempotency SET began_at = least(began_at, $3)
WHERE user_no = $1 AND key_hash = $2 AND status IS NULL AND plan IS NOT NULL";

const PLAN: &str = "
-- office::plan
UPDATE idempotency SET plan = coalesce(plan, $3) WHERE user_no = $1 AND key_hash = $2
RETURNING plan";

/// What a change is answered with, should it be asked for again.
pub type Settle<'a, T> = (&'a Claim, u16, &'a (dyn Fn(&T) -> Vec<u8> + Sync));

/// A token to be stored.
pub(super) struct TokenRow<'a> {
    pub(super) user_no: i32,
    pub(super) hash: &'a [u8],
    pub(super) name: &'a str,
    pub(super) scope: TokenScope,
    pub(super) last_four: &'a str,
    pub(super) expires_at: Timestamp,
}

/// A change under way. Dropped without `commit` it did not happen.
pub(super) struct Change<'a> {
    transaction: Transaction<'a>,
    by: Option<i32>,
    now: Timestamp,
}

impl<'a> Change<'a> {
    pub(super) async fn begin(
        client: &'a mut Object,
        by: Option<i32>,
        now: Timestamp,
    ) -> Result<Self, DbError> {
        Ok(Self { transaction: client.transaction().await?, by, now })
    }

    pub(super) async fn stores_exist(&self, stores: &[String]) -> Result<bool, DbError> {
        let row = self.transaction.query_one(STORES_THAT_EXIST, &[&stores]).await?;
        Ok(usize::try_from(row.get::<_, i64>(0)) == Ok(stores.len()))
    }

    /// None when the address is taken.
    pub(super) async fn insert_user(&self, user: &NewUser) -> Result<Option<UserStatus>, DbError> {
        let NewUser { email, name, role, stores } = user;
        let row = self
            .transaction
            .query_opt(INSERT_USER, &[email, name, &role.name(), stores, &self.now])
            .await?;
        Ok(row.map(|row| user_status(&row)))
    }

    /// Finds and locks a user who is not disabled.
    pub(super) async fn user(&self, who: Who<'_>) -> Result<Option<i32>, DbError> {
        let (number, email) = match who {
            Who::Number(number) => (Some(number), None),
            Who::Email(email) => (None, Some(email)),
        };
        let row = self.transaction.query_opt(FIND_USER, &[&number, &email]).await?;
        Ok(row.map(|row| row.get(0)))
    }

    pub(super) async fn disable_user(&self, user_no: i32) -> Result<UserStatus, DbError> {
        let row = self.transaction.query_one(DISABLE_USER, &[&user_no, &self.now]).await?;
        Ok(user_status(&row))
    }

    pub(super) async fn insert_token(&self, token: &TokenRow<'_>) -> Result<TokenStatus, DbError> {
        let TokenRow { user_no, hash, name, scope, last_four, expires_at } = token;
        let row = self
            .transaction
            .query_one(
                INSERT_TOKEN,
                &[hash, user_no, name, &scope.name(), last_four, &self.now, expires_at],
            )
            .await?;
        Ok(token_status(&row))
    }

    /// None when there is none that is alive.
    pub(super) async fn revoke_token(&self, number: i32) -> Result<Option<TokenStatus>, DbError> {
        let row = self.transaction.query_opt(REVOKE_TOKEN, &[&number, &self.now]).await?;
        Ok(row.map(|row| token_status(&row)))
    }

    pub(super) async fn trace(
        &self,
        action: &str,
        object: &str,
        fields: &[&str],
    ) -> Result<(), DbError> {
        let trace = Trace { user_no: self.by, action, object, fields };
        audit_in(&*self.transaction, &trace, self.now).await
    }

    pub(super) async fn commit<T>(
        self,
        settle: Option<Settle<'_, T>>,
        done: &T,
    ) -> Result<(), DbError> {
        if let Some((claim, status, answer)) = settle {
            settle_in(&*self.transaction, claim, status, &answer(done)).await?;
        }
        Ok(self.transaction.commit().await?)
    }
}

/// Writes a line of the audit trail inside a transaction of the caller's.
///
/// # Errors
/// When the database cannot.
pub async fn audit_in(
    client: &impl GenericClient,
    trace: &Trace<'_>,
    now: Timestamp,
) -> Result<(), DbError> {
    let Trace { user_no, action, object, fields } = trace;
    client.execute(AUDIT, &[&now, user_no, action, object, fields]).await?;
    Ok(())
}

pub(super) async fn actor_of(
    pool: &Pool,
    hash: Vec<u8>,
    now: Timestamp,
) -> Result<Option<Actor>, DbError> {
    let row = pool.ask(move |client| {
        Box::pin(async move {
            let statement = client.prepare_cached(ACTOR).await?;
            Ok(client.query_opt(&statement, &[&hash, &now]).await?)
        })
    });
    let Some(row) = row.await? else { return Ok(None) };
    let Some(role) = Role::from_name(row.get("role")) else { return Ok(None) };
    let stores = (role == Role::Manager).then(|| row.get("stores"));
    let scope = TokenScope::from_name(row.get("scope"));
    Ok(Some(Actor { user_no: row.get("user_no"), role, stores, scope }))
}

/// Users, the newest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn list_users(pool: &Pool, page: &Page) -> Result<Vec<UserStatus>, DbError> {
    let rows = pool.get().await?.query(LIST_USERS, &[&page.before, &page.wanted()]).await?;
    Ok(rows.iter().map(user_status).collect())
}

/// Tokens, the newest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn list_tokens(pool: &Pool, page: &Page) -> Result<Vec<TokenStatus>, DbError> {
    let rows = pool.get().await?.query(LIST_TOKENS, &[&page.before, &page.wanted()]).await?;
    Ok(rows.iter().map(token_status).collect())
}

/// The audit trail, the newest first.
pub(super) async fn list_audit(pool: &Pool, page: &Page) -> Result<Vec<AuditOut>, DbError> {
    let rows = pool.get().await?.query(LIST_AUDIT, &[&page.before, &page.wanted()]).await?;
    let line = |row: &Row| AuditOut {
        audit: row.get("audit_no"),
        at: row.get("at"),
        user: row.get("user_no"),
        email: row.get("email"),
        action: row.get("action"),
        object: row.get("object"),
        fields: row.get("fields"),
    };
    Ok(rows.iter().map(line).collect())
}

/// Stores with their numbers, the newest first; of these only, when some are named.
pub(super) async fn list_stores(
    pool: &Pool,
    page: &Page,
    stores: Option<&[String]>,
) -> Result<Vec<(i32, StoreOut)>, DbError> {
    let client = pool.get().await?;
    let rows = client.query(LIST_STORES, &[&page.before, &page.wanted(), &stores]).await?;
    let store = |row: &Row| {
        let [store_id, name, time_zone] = ["store_id", "name", "time_zone"].map(|it| row.get(it));
        (row.get("store_no"), StoreOut { store_id, name, time_zone })
    };
    Ok(rows.iter().map(store).collect())
}

/// Terminals with their numbers, the newest first; those of these stores, when some are named.
pub(super) async fn list_terminals(
    pool: &Pool,
    page: &Page,
    stores: Option<&[String]>,
    now: Timestamp,
) -> Result<Vec<(i32, TerminalOut)>, DbError> {
    let client = pool.get().await?;
    let rows = client.query(LIST_TERMINALS, &[&page.before, &page.wanted(), &stores, &now]).await?;
    let terminal = |row: &Row| {
        let [store_id, workstation_id]: [String; 2] =
            ["store_id", "workstation_id"].map(|it| row.get(it));
        let numbers: Vec<i32> = row.get("keys");
        let keyid = |number: &i32| format!("{store_id}/{workstation_id}.{number}");
        let keys = numbers.iter().map(keyid).collect();
        let quarantined = row.get("kept");
        let terminal = TerminalOut {
            store_id: store_id.clone(),
            workstation_id: workstation_id.clone(),
            keys,
            quarantined,
        };
        (row.get("workstation_no"), terminal)
    };
    Ok(rows.iter().map(terminal).collect())
}

/// What stands under a key: the hash of its request, and the answer once there is one.
pub(super) type Standing = (Vec<u8>, Option<(u16, Vec<u8>)>);

/// Claims a key; otherwise what stands under it.
pub(super) async fn claim(
    pool: &Pool,
    claim: &Claim,
    request_hash: &[u8],
    now: Timestamp,
    forget: Timestamp,
    cut_off: Timestamp,
) -> Result<Option<Standing>, DbError> {
    let Claim { user_no, key_hash } = claim;
    let client = pool.get().await?;
    let claimed = client
        .query_opt(CLAIM, &[user_no, key_hash, &request_hash, &now, &forget, &cut_off])
        .await?;
    if claimed.is_some() {
        return Ok(None);
    }
    let row = client.query_opt(CLAIMED, &[user_no, key_hash]).await?;
    // Given up between the two statements: as if it were still under way.
    let Some(row) = row else { return Ok(Some((request_hash.to_vec(), None))) };
    let status: Option<i16> = row.get("status");
    let status = status.and_then(|status| u16::try_from(status).ok());
    let answer = row.get::<_, Option<Vec<u8>>>("answer");
    Ok(Some((row.get("request_hash"), status.zip(answer))))
}

pub(super) async fn settle(
    pool: &Pool,
    claim: &Claim,
    status: u16,
    answer: &[u8],
) -> Result<(), DbError> {
    settle_in(&**pool.get().await?, claim, status, answer).await
}

/// Keeps the answer to a creation inside a transaction of the caller's.
///
/// # Errors
/// When the database cannot.
pub async fn settle_in(
    client: &impl GenericClient,
    claim: &Claim,
    status: u16,
    answer: &[u8],
) -> Result<(), DbError> {
    let status = i16::try_from(status).expect("statuses have three digits");
    client.execute(SETTLE, &[&claim.user_no, &claim.key_hash, &status, &answer]).await?;
    Ok(())
}

/// See [`UNCLAIM`].
pub(super) async fn unclaim(pool: &Pool, claim: &Claim, cut_off: Timestamp) -> Result<(), DbError> {
    pool.get().await?.execute(UNCLAIM, &[&claim.user_no, &claim.key_hash, &cut_off]).await?;
    Ok(())
}

/// The plan under a key: the one that stands there, or else this one, if any.
pub(super) async fn plan(
    pool: &Pool,
    claim: &Claim,
    plan: Option<&[u8]>,
) -> Result<Option<Vec<u8>>, DbError> {
    let client = pool.get().await?;
    let row = client.query_opt(PLAN, &[&claim.user_no, &claim.key_hash, &plan]).await?;
    Ok(row.and_then(|row| row.get(0)))
}

fn user_status(row: &Row) -> UserStatus {
    UserStatus {
        user: row.get("user_no"),
        email: row.get("email"),
        name: row.get("name"),
        role: Role::from_name(row.get("role")).expect("the table checks it"),
        stores: row.get("stores"),
        created_at: row.get("created_at"),
        disabled_at: row.get("disabled_at"),
    }
}

fn token_status(row: &Row) -> TokenStatus {
    TokenStatus {
        token: row.get("token_no"),
        user: row.get("user_no"),
        email: row.get("email"),
        name: row.get("name"),
        scope: TokenScope::from_name(row.get("scope")),
        last_four: row.get("last_four"),
        created_at: row.get("created_at"),
        expires_at: row.get("expires_at"),
        revoked_at: row.get("revoked_at"),
    }
}
