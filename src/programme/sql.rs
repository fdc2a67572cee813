//! Every statement about programmes as such. What changes them runs in one transaction under the
//! lock of the row in `chain`, like an import: epochs are numbered one after another, and
//! replicas see the new reference version with the epoch. So does its line in the audit trail.
//! Epochs and programmes that are there are never changed.

use deadpool_postgres::Object;
use jiff::Timestamp;
use jiff::civil::Date;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Transaction};

use super::{By, Draft, Drafted, Published, Version};
use crate::commit::NameKey;
use crate::db::DbError;
use crate::db::pool::Dedicated;
use crate::domain::programme::Level;
use crate::office::{Trace, audit_in, settle_in};
use crate::receipt::to_bytes;

const LOCK_CHAIN: &str = "\
-- programme::begin
SELECT 1 FROM chain FOR UPDATE";

const LATEST: &str = "\
-- programme::latest
SELECT e.epoch, e.starts_on, e.programme_no, p.rules::text AS rules
FROM epoch e JOIN programme p USING (programme_no)
ORDER BY e.epoch DESC LIMIT 1";

/// The programme that was in force before the newest one.
const PREVIOUS: &str = "\
-- programme::previous
SELECT programme_no FROM epoch
WHERE programme_no <> (SELECT programme_no FROM epoch ORDER BY epoch DESC LIMIT 1)
ORDER BY epoch DESC LIMIT 1";

const CREATE_PROGRAMME: &str = "\
-- programme::create_programme
INSERT INTO programme (programme_no, rules)
SELECT max(programme_no) + 1, $1::text::jsonb FROM programme
RETURNING programme_no";

const CREATE_EPOCH: &str = "\
-- programme::create_epoch
INSERT INTO epoch (epoch, starts_on, programme_no, created_at, note, user_no)
SELECT max(epoch) + 1, $1::date, $2::integer, $3::timestamptz, $4::text, $5::integer FROM epoch
RETURNING epoch";

const BUMP_REFERENCE_VERSION: &str = "\
-- programme::bump_reference_version
UPDATE chain SET reference_version = reference_version + 1";

const VERSIONS: &str = "\
-- programme::versions
SELECT e.epoch, e.starts_on, e.programme_no, e.created_at, e.note, e.user_no, u.email
FROM epoch AS e LEFT JOIN app_user AS u USING (user_no) ORDER BY e.epoch";

/// Programmes that were never in force, the newest first, with who drafted each.
const DRAFTS: &str = "\
-- programme::drafts
SELECT p.programme_no, p.drafted_at, p.drafted_by, u.email
FROM programme AS p LEFT JOIN app_user AS u ON u.user_no = p.drafted_by
WHERE NOT EXISTS (SELECT FROM epoch AS e WHERE e.programme_no = p.programme_no)
ORDER BY p.programme_no DESC LIMIT 100";

const NOTE_DRAFT: &str = "\
-- programme::note_draft
UPDATE programme SET drafted_at = $2::timestamptz, drafted_by = $3::integer
WHERE programme_no = $1::integer";

const RULES: &str = "\
-- programme::rules
SELECT rules::text AS rules FROM programme WHERE programme_no = $1::integer";

/// Which of these names nothing has, by their place in the arrays.
const UNKNOWN_NAMES: &str = "\
-- programme::unknown_names
SELECT n FROM unnest($1::smallint[], $2::text[]) WITH ORDINALITY AS i (level, name, n)
WHERE NOT CASE level
    WHEN 5 THEN EXISTS (SELECT 1 FROM product WHERE sku = i.name)
    WHEN 6 THEN EXISTS (SELECT 1 FROM store WHERE store_id = i.name)
    ELSE EXISTS (SELECT 1 FROM taxon t WHERE t.level = i.level AND t.name = i.name)
END
ORDER BY n";

const FIND_SWIPE: &str = "\
-- programme::find_swipe
SELECT s.account_id, s.kind, s.epoch, e.programme_no, s.occurred_at, s.earned_points, s.record,
    k.void_version
FROM swipe_key k
JOIN swipe s ON s.bucket = (k.account_id & 255)::smallint AND s.account_id = k.account_id
    AND s.version = k.version AND s.business_date = k.business_date
JOIN epoch e USING (epoch)
WHERE k.bucket = $1::smallint AND k.workstation_no = $2::integer AND k.business_date = $3::date
    AND k.sequence_number = $4::bigint";

/// What statements about programmes go over.
#[derive(Debug)]
pub(super) enum Connection {
    /// Of a command.
    Own(Dedicated),
    /// Of the service.
    Pooled(Object),
}

impl Connection {
    pub(super) fn client(&self) -> &Client {
        match self {
            Self::Own(dedicated) => dedicated.client(),
            Self::Pooled(object) => object,
        }
    }

    fn client_mut(&mut self) -> &mut Client {
        match self {
            Self::Own(dedicated) => dedicated.client_mut(),
            Self::Pooled(object) => object,
        }
    }
}

/// Where the newest epoch stands.
pub(super) struct Latest {
    pub(super) starts_on: Option<Date>,
    pub(super) programme_no: i32,
    pub(super) epoch: i32,
    /// As JSON.
    pub(super) rules: String,
}

/// A change under way. Dropped without [`Change::finish`] it leaves nothing behind.
pub(super) struct Change<'a>(Transaction<'a>);

impl<'a> Change<'a> {
    /// Begins, alone. `None` when the database has no chain.
    pub(super) async fn begin(connection: &'a mut Connection) -> Result<Option<Self>, DbError> {
        let transaction = connection.client_mut().transaction().await?;
        let chain = transaction.query_typed_opt(LOCK_CHAIN, &[]).await?;
        Ok(chain.map(|_| Self(transaction)))
    }

    /// The newest epoch; `None` when there is none.
    pub(super) async fn latest(&self) -> Result<Option<Latest>, DbError> {
        let row = self.0.query_typed_opt(LATEST, &[]).await?;
        Ok(row.map(|row| Latest {
            starts_on: row.get("starts_on"),
            programme_no: row.get("programme_no"),
            epoch: row.get("epoch"),
            rules: row.get("rules"),
        }))
    }

    /// See [`PREVIOUS`]; `None` when there never was another one.
    pub(super) async fn previous(&self) -> Result<Option<i32>, DbError> {
        let row = self.0.query_typed_opt(PREVIOUS, &[]).await?;
        Ok(row.map(|row| row.get("programme_no")))
    }

    /// A further programme with these rules, in JSON.
    pub(super) async fn create_programme(&self, rules: &str) -> Result<i32, DbError> {
        let row = self.0.query_typed_one(CREATE_PROGRAMME, &[(&rules, Type::TEXT)]).await?;
        Ok(row.get("programme_no"))
    }

    /// The rules of a programme, in JSON; `None` when there is none.
    pub(super) async fn rules(&self, programme_no: i32) -> Result<Option<String>, DbError> {
        let row = self.0.query_typed_opt(RULES, &[(&programme_no, Type::INT4)]).await?;
        Ok(row.map(|row| row.get("rules")))
    }

    /// Leaves a programme as it is, without an epoch, with a line in the audit trail, and makes
    /// it last.
    pub(super) async fn keep(self, programme_no: i32, by: &By) -> Result<Drafted, DbError> {
        let drafted = Drafted { programme_no };
        self.0
            .query_typed(
                NOTE_DRAFT,
                &[
                    (&programme_no, Type::INT4),
                    (&by.now, Type::TIMESTAMPTZ),
                    (&by.user_no(), Type::INT4),
                ],
            )
            .await?;
        let object = format!("programme:{programme_no}");
        let (user_no, action) = (by.user_no(), "programme.draft");
        let trace = Trace { user_no, action, object: &object, fields: &["rules"] };
        audit_in(&self.0, &trace, by.now).await?;
        if let Some((_, claim)) = &by.user {
            settle_in(&self.0, claim, 201, &to_bytes(&drafted)).await?;
        }
        self.0.commit().await?;
        Ok(drafted)
    }

    /// A further epoch under a programme; tells every replica, leaves a line in the audit trail,
    /// and makes it last.
    pub(super) async fn finish(
        self,
        action: &str,
        programme_no: i32,
        starts_on: Date,
        note: &str,
        by: &By,
    ) -> Result<Published, DbError> {
        let (user_no, now) = (by.user_no(), by.now);
        let row = self
            .0
            .query_typed_one(
                CREATE_EPOCH,
                &[
                    (&starts_on, Type::DATE),
                    (&programme_no, Type::INT4),
                    (&now, Type::TIMESTAMPTZ),
                    (&note, Type::TEXT),
                    (&user_no, Type::INT4),
                ],
            )
            .await?;
        let published = Published { programme_no, epoch: row.get("epoch"), starts_on };
        self.0.execute_typed(BUMP_REFERENCE_VERSION, &[]).await?;
        let object = format!("programme:{programme_no}");
        let trace = Trace { user_no, action, object: &object, fields: &["starts_on", "note"] };
        audit_in(&self.0, &trace, now).await?;
        if let Some((_, claim)) = &by.user {
            settle_in(&self.0, claim, 201, &to_bytes(&published)).await?;
        }
        self.0.commit().await?;
        Ok(published)
    }
}

/// Every epoch, oldest first.
pub(super) async fn versions(client: &Client) -> Result<Vec<Version>, DbError> {
    let rows = client.query_typed(VERSIONS, &[]).await?;
    let version = |row: &tokio_postgres::Row| Version {
        epoch: row.get("epoch"),
        starts_on: row.get("starts_on"),
        programme_no: row.get("programme_no"),
        created_at: row.get("created_at"),
        note: row.get("note"),
        user: row.get("user_no"),
        email: row.get("email"),
    };
    Ok(rows.iter().map(version).collect())
}

/// See [`DRAFTS`].
pub(super) async fn drafts(client: &Client) -> Result<Vec<Draft>, DbError> {
    let rows = client.query_typed(DRAFTS, &[]).await?;
    let draft = |row: &tokio_postgres::Row| Draft {
        programme_no: row.get("programme_no"),
        drafted_at: row.get("drafted_at"),
        user: row.get("drafted_by"),
        email: row.get("email"),
    };
    Ok(rows.iter().map(draft).collect())
}

/// The rules of a programme, in JSON.
pub(super) async fn rules(client: &Client, programme_no: i32) -> Result<Option<String>, DbError> {
    let row = client.query_typed_opt(RULES, &[(&programme_no, Type::INT4)]).await?;
    Ok(row.map(|row| row.get("rules")))
}

/// The places of those names that no catalogue and no store has.
pub(super) async fn unknown_names(
    client: &Client,
    names: &[(Level, String, &str)],
) -> Result<Vec<usize>, DbError> {
    let levels: Vec<i16> = names.iter().map(|(level, _, _)| *level as i16).collect();
    let names: Vec<&str> = names.iter().map(|(_, _, name)| *name).collect();
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
        [(&levels, Type::INT2_ARRAY), (&names, Type::TEXT_ARRAY)];
    let rows = client.query_typed(UNKNOWN_NAMES, &parameters).await?;
    let place = |row: &tokio_postgres::Row| {
        usize::try_from(row.get::<_, i64>("n") - 1).expect("WITH ORDINALITY counts from 1")
    };
    Ok(rows.iter().map(place).collect())
}

/// A recorded sale as an explanation needs it.
pub(super) struct Recorded {
    pub(super) account_id: i64,
    pub(super) kind: i16,
    pub(super) epoch: i32,
    pub(super) programme_no: i32,
    pub(super) occurred_at: Timestamp,
    pub(super) earned: i64,
    pub(super) record: Vec<u8>,
    pub(super) voided: bool,
}

/// The sale that is recorded under a name.
pub(super) async fn find_swipe(
    client: &Client,
    name: &NameKey,
) -> Result<Option<Recorded>, DbError> {
    let row = client
        .query_typed_opt(
            FIND_SWIPE,
            &[
                (&i16::from(name.bucket), Type::INT2),
                (&name.workstation_no, Type::INT4),
                (&name.business_date, Type::DATE),
                (&name.sequence_number, Type::INT8),
            ],
        )
        .await?;
    Ok(row.map(|row| Recorded {
        account_id: row.get("account_id"),
        kind: row.get("kind"),
        epoch: row.get("epoch"),
        programme_no: row.get("programme_no"),
        occurred_at: row.get("occurred_at"),
        earned: row.get("earned_points"),
        record: row.get("record"),
        voided: row.get::<_, i64>("void_version") > 0,
    }))
}
