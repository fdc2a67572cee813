//! The two scripts. Names come from a counter of each client on a workstation of its own, the
//! version from the account's row; everything else is a literal of the sample, so that a
//! statement carries fewer bytes than a real client's would.

use super::sample::Sample;

/// How the rows of a swipe are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// BEGIN, a prepared statement for each table, COMMIT.
    Txn,
    /// One prepared statement.
    Stmt,
}

/// Chooses account and name. Buckets of names are spread as those of real workstations are.
const CHOOSE: &str = r"\set seq :seq + 1
\set number random(:first_number, :last_number)
\set account :number * 256 + (:number & 255)
\set bucket :number & 255
\set workstation :first_workstation + :client_id
\set name_bucket (:client_id * 37) & 255
";

const KEY_COLUMNS: &str = "bucket, workstation_no, business_date, sequence_number, account_id, \
                           version, void_version, content_hash";
const SWIPE_COLUMNS: &str = "bucket, account_id, version, business_date, workstation_no, \
                             sequence_number, kind, epoch, occurred_at, recorded_at, \
                             total_minor, earned_points, reversed_points, spent_points, record, \
                             receipt";
const ENTRY_COLUMNS: &str = "bucket, account_id, version, entry_no, kind, points, lot_available, \
                             lot_expires, business_date";
const LEARN: &str = "ON CONFLICT (bucket, account_id) DO UPDATE
SET version = excluded.version, encoding = excluded.encoding, data = excluded.data";

impl Script {
    /// The script, as `pgbench` reads it.
    pub fn text(self, sample: &Sample) -> String {
        let Sample { business_date, content_hash, epoch, total_minor, earned_points, .. } = sample;
        let Sample { record, receipt, lot_available, lot_expires, lots, .. } = sample;
        let Sample { next_expiry, tally, encoding, profile, .. } = sample;
        let update = format!(
            "UPDATE account SET version = version + 1, total_points = total_points + \
             {earned_points}, sales_minor = sales_minor + {total_minor}, baskets = baskets + 1, \
             clock = {business_date}, lots = {lots}, next_expiry = {next_expiry}, \
             tail_since = {business_date}, tail_version = version + 1, tally = {tally}\n\
             WHERE bucket = :bucket AND account_id = :account"
        );
        let key = |version: &str| {
            format!(
                ":name_bucket::smallint, :workstation::integer, {business_date}::date, \
                 :seq::bigint, :account::bigint, {version}, 0, {content_hash}::bytea"
            )
        };
        let swipe = |version: &str| {
            format!(
                ":bucket::smallint, :account::bigint, {version}, {business_date}::date, \
                 :workstation::integer, :seq::bigint, 0::smallint, {epoch}, now(), now(), \
                 {total_minor}, {earned_points}, 0, 0, {record}::bytea, {receipt}::bytea"
            )
        };
        let entry = |version: &str| {
            format!(
                ":bucket::smallint, :account::bigint, {version}, 0::smallint, 1::smallint, \
                 {earned_points}, {lot_available}::date, {lot_expires}::date, \
                 {business_date}::date"
            )
        };
        let learnt = |version: &str| {
            format!(
                ":bucket::smallint, :account::bigint, {version}, {encoding}::smallint, \
                 {profile}::bytea"
            )
        };
        match self {
            Self::Txn => {
                let version = ":version::bigint";
                format!(
                    "{CHOOSE}BEGIN;\n\
                     {update} RETURNING version \\gset\n\
                     INSERT INTO swipe_key ({KEY_COLUMNS}) VALUES ({});\n\
                     INSERT INTO swipe ({SWIPE_COLUMNS}) VALUES ({});\n\
                     INSERT INTO entry ({ENTRY_COLUMNS}) VALUES ({});\n\
                     \\if :version % 16 = 0\n\
                     INSERT INTO profile (bucket, account_id, version, encoding, data) \
                     VALUES ({}) {LEARN};\n\
                     \\endif\n\
                     COMMIT;\n",
                    key(version),
                    swipe(version),
                    entry(version),
                    learnt(version),
                )
            }
            Self::Stmt => {
                let version = "version";
                format!(
                    "{CHOOSE}WITH moved AS (\n{update} RETURNING version\n\
                     ), claimed AS (\n\
                     INSERT INTO swipe_key ({KEY_COLUMNS}) SELECT {} FROM moved\n\
                     ), swiped AS (\n\
                     INSERT INTO swipe ({SWIPE_COLUMNS}) SELECT {} FROM moved\n\
                     ), booked AS (\n\
                     INSERT INTO entry ({ENTRY_COLUMNS}) SELECT {} FROM moved\n\
                     ), learnt AS (\n\
                     INSERT INTO profile (bucket, account_id, version, encoding, data)\n\
                     SELECT {} FROM moved WHERE version % 16 = 0\n{LEARN}\n\
                     ) SELECT version FROM moved;\n",
                    key(version),
                    swipe(version),
                    entry(version),
                    learnt(version),
                )
            }
        }
    }
}
