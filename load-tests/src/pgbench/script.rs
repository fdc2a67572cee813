//! The two scripts. Names and coupons' codes come from a counter of each client on a workstation of
//! its own, the version from the account's row; everything else is a literal of the sample, so
//! that a statement carries fewer bytes than a real client's would. As often as the service's
//! customers did lately, whoever comes redeems a coupon, the one that this client gave last, and
//! gets one.

use super::sample::{Coupon, Sample};

/// How the rows of a swipe are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// BEGIN, a prepared statement for each table, COMMIT.
    Txn,
    /// One prepared statement.
    Stmt,
}

/// Chooses account and name. Buckets of names are spread as those of real workstations are. Which
/// swipes have coupons follows from their number, in steps that fill a thousand evenly, so that a
/// short run has its share of them as a long one has.
const CHOOSE: &str = r"\set seq :seq + 1
\set number random(:first_number, :last_number)
\set account :number * 256 + (:number & 255)
\set bucket :number & 255
\set workstation :first_workstation + :client_id
\set name_bucket (:client_id * 37) & 255
\set luck ((:seq + :client_id * 59) * 617) % 1000
\set code (:bucket << 56) | (:client_id << 40) | (:seq & 1099511627775)
";

const KEY_COLUMNS: &str = "bucket, workstation_no, business_date, sequence_number, account_id, \
                           version, void_version, content_hash";
const SWIPE_COLUMNS: &str = "bucket, account_id, version, business_date, workstation_no, \
                             sequence_number, kind, epoch, occurred_at, recorded_at, \
                             total_minor, earned_points, reversed_points, spent_points, record, \
                             receipt, decision";
const ENTRY_COLUMNS: &str = "bucket, account_id, version, entry_no, kind, points, lot_available, \
                             lot_expires, business_date";
const PROFILE_COLUMNS: &str = "bucket, account_id, version, encoding, data";
const COUPON_COLUMNS: &str = "bucket, code, account_id, issued_version, offer_no, issued_at, \
                              valid_from, valid_until, actor, reason, slot, propensity, evidence";
/// The coupon at hand, by its key.
const HELD: &str = "bucket = (:held::bigint >> 56 & 255)::smallint AND code = :held::bigint";
/// The coupon is at hand from now on.
const KEEP: &str = "\\set held :code\n";
const LEARN: &str = "ON CONFLICT (bucket, account_id) DO UPDATE
SET version = excluded.version, encoding = excluded.encoding, data = excluded.data";

/// What is written for a swipe, each as values in the order of its columns or as an assignment.
struct Values {
    account: String,
    key: String,
    swipe: String,
    entry: String,
    profile: String,
    redeemed: String,
    coupon: String,
}

impl Values {
    /// `version`: how the script calls the version that the account moves to.
    fn of(sample: &Sample, version: &str) -> Self {
        let Sample { business_date, content_hash, epoch, total_minor, earned_points, .. } = sample;
        let Sample { record, receipt, decision, lot_available, lot_expires, lots, .. } = sample;
        let Sample { next_expiry, tally, encoding, profile, coupon, .. } = sample;
        let Coupon { offer_no, valid_until, actor, reason, value_minor, .. } = coupon;
        let either = |with: &str, without: &str| {
            format!(
                "CASE WHEN :luck::integer < :redeemed::integer THEN {with}::bytea ELSE {without}::bytea END"
            )
        };
        let (record, receipt) = (either(&coupon.record, record), either(&coupon.receipt, receipt));
        let decision = either(&coupon.decision, decision);
        let Coupon { slot, propensity, evidence, .. } = coupon;
        Self {
            account: format!(
                "version = version + 1, total_points = total_points + {earned_points}, \
                 sales_minor = sales_minor + {total_minor}, baskets = baskets + 1, \
                 clock = {business_date}, lots = {lots}, next_expiry = {next_expiry}, \
                 tail_since = {business_date}, tail_version = version + 1, tally = {tally}"
            ),
            key: format!(
                ":name_bucket::smallint, :workstation::integer, {business_date}::date, \
                 :seq::bigint, :account::bigint, {version}, 0, {content_hash}::bytea"
            ),
            swipe: format!(
                ":bucket::smallint, :account::bigint, {version}, {business_date}::date, \
                 :workstation::integer, :seq::bigint, 0::smallint, {epoch}, now(), now(), \
                 {total_minor}, {earned_points}, 0, 0, {record}, {receipt}, {decision}"
            ),
            entry: format!(
                ":bucket::smallint, :account::bigint, {version}, 0::smallint, 1::smallint, \
                 {earned_points}, {lot_available}::date, {lot_expires}::date, \
                 {business_date}::date"
            ),
            profile: format!(
                ":bucket::smallint, :account::bigint, {version}, {encoding}::smallint, \
                 {profile}::bytea"
            ),
            redeemed: format!(
                "state = 1, changed_version = {version}, redeemed_on = {business_date}, \
                 over_value = false, value_minor = {value_minor}, over_budget = false"
            ),
            coupon: format!(
                ":bucket::smallint, :code::bigint, :account::bigint, {version}, {offer_no}, \
                 now(), {business_date}::date, {valid_until}::date, {actor}, {reason}::smallint, \
                 {slot}::smallint, {propensity}, {evidence}::bytea"
            ),
        }
    }
}

impl Script {
    /// The script, as `pgbench` reads it.
    pub fn text(self, sample: &Sample) -> String {
        let version = match self {
            Self::Txn => ":version::bigint",
            Self::Stmt => "version",
        };
        let values = Values::of(sample, version);
        let Values { account, key, swipe, entry, profile, redeemed, coupon } = values;
        let account = format!(
            "UPDATE account SET {account}\n\
             WHERE bucket = :bucket AND account_id = :account RETURNING version"
        );
        match self {
            Self::Txn => format!(
                "{CHOOSE}BEGIN;\n\
                 {account} \\gset\n\
                 INSERT INTO swipe_key ({KEY_COLUMNS}) VALUES ({key});\n\
                 INSERT INTO swipe ({SWIPE_COLUMNS}) VALUES ({swipe});\n\
                 INSERT INTO entry ({ENTRY_COLUMNS}) VALUES ({entry});\n\
                 \\if :version % 16 = 0\n\
                 INSERT INTO profile ({PROFILE_COLUMNS}) VALUES ({profile}) {LEARN};\n\
                 \\endif\n\
                 \\if :luck < :redeemed\n\
                 UPDATE coupon SET {redeemed} WHERE {HELD};\n\
                 \\endif\n\
                 \\if :luck < :given\n\
                 INSERT INTO coupon ({COUPON_COLUMNS}) VALUES ({coupon});\n\
                 {KEEP}\
                 \\endif\n\
                 COMMIT;\n"
            ),
            Self::Stmt => format!(
                "{CHOOSE}WITH moved AS (\n{account}\n\
                 ), claimed AS (\n\
                 INSERT INTO swipe_key ({KEY_COLUMNS}) SELECT {key} FROM moved\n\
                 ), swiped AS (\n\
                 INSERT INTO swipe ({SWIPE_COLUMNS}) SELECT {swipe} FROM moved\n\
                 ), booked AS (\n\
                 INSERT INTO entry ({ENTRY_COLUMNS}) SELECT {entry} FROM moved\n\
                 ), learnt AS (\n\
                 INSERT INTO profile ({PROFILE_COLUMNS})\n\
                 SELECT {profile} FROM moved WHERE version % 16 = 0\n{LEARN}\n\
                 ), redeemed AS (\n\
                 UPDATE coupon SET {redeemed} FROM moved\n\
                 WHERE :luck::integer < :redeemed::integer AND {HELD}\n\
                 ), issued AS (\n\
                 INSERT INTO coupon ({COUPON_COLUMNS})\n\
                 SELECT {coupon} FROM moved WHERE :luck::integer < :given::integer\n\
                 ) SELECT version FROM moved;\n\
                 \\if :luck < :given\n\
                 {KEEP}\
                 \\endif\n"
            ),
        }
    }
}
