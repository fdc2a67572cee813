//! The statement that moves accounts, and the forms that it has.
//!
//! PostgreSQL sets up every node of a plan anew each time it is executed, rows or not: with few
//! swipes in a batch that is most of what it does. So what a batch has no rows for is left out of
//! its statement. Owns which forms there are for batches; must never leave out what one does have.

/// What a batch has beside accounts, names, swipes and entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Checkpoints of profiles.
    pub profiles: bool,
    /// Coupons.
    pub coupons: Coupons,
}

/// The coupons of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Coupons {
    /// None.
    Absent,
    /// All of them proven by the versions of their accounts.
    Proven,
    /// With what no version proves: they draw on leases, or had no account.
    Guarded,
}

/// Parameters of every form, and up to which those with profiles need them.
const PLAIN: usize = 50;
const WITH_PROFILES: usize = 53;

impl Parts {
    /// The whole statement, which says the types of all parameters.
    pub const WHOLE: Self = Self { profiles: true, coupons: Coupons::Guarded };

    /// All there are; [`Self::number`] is the place.
    pub const ALL: [Self; 6] = [
        Self { profiles: false, coupons: Coupons::Absent },
        Self { profiles: true, coupons: Coupons::Absent },
        Self { profiles: false, coupons: Coupons::Proven },
        Self { profiles: true, coupons: Coupons::Proven },
        Self { profiles: false, coupons: Coupons::Guarded },
        Self::WHOLE,
    ];

    /// Its place among [`Self::ALL`].
    #[must_use]
    pub const fn number(self) -> usize {
        self.coupons as usize * 2 + self.profiles as usize
    }

    /// How many of the parameters it takes, `whole` being all there are: the first of them.
    #[must_use]
    pub const fn parameters(self, whole: usize) -> usize {
        match (self.coupons, self.profiles) {
            (Coupons::Absent, false) => PLAIN,
            (Coupons::Absent, true) => WITH_PROFILES,
            _ => whole,
        }
    }

    /// The statement. One row per account, all its swipes; an account moves as a whole or not at
    /// all: not when its version is another than the one decided on, and not when one of the
    /// names that it claims is taken. Returns the accounts that moved.
    ///
    /// The row is looked up by key first and updated by its place: were the two tables joined, a
    /// planner that believes `account` to be tiny could read all of it for each batch. A row that
    /// somebody else has changed meanwhile is looked at again under its lock, where neither place
    /// nor version fits any more.
    ///
    /// What belongs to an account is counted up in the list of a subselect, where it comes value by
    /// value; a function in FROM would fill and empty a store of rows for each account.
    ///
    /// What moves with the accounts is drawn on leases of budgets, each of which only one session
    /// draws on. Should one of them be closed by now, or not have as much, the whole statement
    /// fails by dividing by zero (22012, which nothing else here can raise). So it does when a
    /// code that belonged to nobody (`$63` says how it was) has been taken by somebody else
    /// meanwhile: no account's version proves that. Nor does one prove that the pools of codes that
    /// are redeemed (`$81`) have not been taken back: their rows are held until the end, so whoever
    /// takes one back waits for what is at hand, and after that nothing is redeemed.
    #[must_use]
    pub fn statement(self) -> String {
        let profiles = if self.profiles { LEARNT } else { "" };
        let coupons: &[&str] = match self.coupons {
            Coupons::Absent => &[RETURNED],
            Coupons::Proven => &[CHANGED, ISSUED, RETURNED],
            Coupons::Guarded => &[CHANGED, ISSUED, SPENT, OPEN, RETURNED, GUARDED],
        };
        format!("{MOVED}{profiles}{}", coupons.concat())
    }
}

const MOVED: &str = "
-- commit::commit_batch
WITH moved AS (
    UPDATE account AS a
    SET version = i.version, total_points = ($6::bigint[])[i.n],
        sales_minor = ($7::bigint[])[i.n], baskets = ($8::integer[])[i.n],
        clock = ($9::date[])[i.n], next_expiry = ($10::date[])[i.n],
        tail_since = ($11::date[])[i.n], tail_version = i.version,
        lots = substring($12::bytea FROM ($13::integer[])[i.n] + 1
                         FOR ($13::integer[])[i.n + 1] - ($13::integer[])[i.n]),
        tally = nullif(substring($14::bytea FROM ($15::integer[])[i.n] + 1
                                 FOR ($15::integer[])[i.n + 1] - ($15::integer[])[i.n]), '')
    FROM (
        SELECT g.n, ($5::bigint[])[g.n] AS version, held.place
        FROM generate_series(1, $1::integer) AS g (n)
        CROSS JOIN LATERAL (
            SELECT h.ctid AS place FROM account AS h
            WHERE h.bucket = ($2::smallint[])[g.n] AND h.account_id = ($3::bigint[])[g.n]
            LIMIT 1
        ) AS held
        WHERE (SELECT 1
               FROM (
                   SELECT generate_series(($16::integer[])[g.n] + 1, ($16::integer[])[g.n + 1]) AS n
               ) AS c
               CROSS JOIN LATERAL (
                   SELECT 1 FROM swipe_key AS k
                   WHERE k.bucket = ($19::smallint[])[c.n]
                     AND k.workstation_no = ($20::integer[])[c.n]
                     AND k.business_date = ($21::date[])[c.n]
                     AND k.sequence_number = ($22::bigint[])[c.n]
                   LIMIT 1
               ) AS taken
               LIMIT 1) IS NULL
    ) AS i
    WHERE a.ctid = i.place AND a.version = ($4::bigint[])[i.n]
    RETURNING i.n, a.bucket, a.account_id, a.version
), claimed AS (
    INSERT INTO swipe_key (bucket, workstation_no, business_date, sequence_number, account_id,
                           version, void_version, content_hash)
    SELECT ($19::smallint[])[g.n], ($20::integer[])[g.n], ($21::date[])[g.n], ($22::bigint[])[g.n],
           g.account_id, ($23::bigint[])[g.n], ($24::bigint[])[g.n],
           substring($25::bytea FROM (g.n - 1) * 17 + 1
                     FOR CASE WHEN ($23::bigint[])[g.n] = 0 THEN 0 ELSE 17 END)
    FROM (
        SELECT account_id, generate_series(($16::integer[])[n] + 1, ($16::integer[])[n + 1]) AS n
        FROM moved
    ) AS g
), swiped AS (
    INSERT INTO swipe (bucket, account_id, version, business_date, workstation_no, sequence_number,
                       kind, epoch, occurred_at, recorded_at, total_minor, earned_points,
                       reversed_points, spent_points, record, receipt, decision)
    SELECT g.bucket, g.account_id, ($26::bigint[])[g.n], ($27::date[])[g.n],
           ($28::integer[])[g.n], ($29::bigint[])[g.n], ($30::smallint[])[g.n],
           ($31::integer[])[g.n], ($32::timestamptz[])[g.n], $33::timestamptz,
           ($34::bigint[])[g.n], ($35::bigint[])[g.n], ($36::bigint[])[g.n],
           ($37::bigint[])[g.n],
           substring($38::bytea FROM ($39::integer[])[g.n] + 1
                     FOR ($39::integer[])[g.n + 1] - ($39::integer[])[g.n]),
           substring($40::bytea FROM ($41::integer[])[g.n] + 1
                     FOR ($41::integer[])[g.n + 1] - ($41::integer[])[g.n]),
           nullif(substring($42::bytea FROM ($43::integer[])[g.n] + 1
                            FOR ($43::integer[])[g.n + 1] - ($43::integer[])[g.n]), '')
    FROM (
        SELECT bucket, account_id,
               generate_series(($17::integer[])[n] + 1, ($17::integer[])[n + 1]) AS n
        FROM moved
    ) AS g
), booked AS (
    INSERT INTO entry (bucket, account_id, version, entry_no, kind, points, lot_available,
                       lot_expires, business_date)
    SELECT g.bucket, g.account_id, ($44::bigint[])[g.n], ($45::smallint[])[g.n],
           ($46::smallint[])[g.n], ($47::bigint[])[g.n], ($48::date[])[g.n], ($49::date[])[g.n],
           ($50::date[])[g.n]
    FROM (
        SELECT bucket, account_id,
               generate_series(($18::integer[])[n] + 1, ($18::integer[])[n + 1]) AS n
        FROM moved
    ) AS g
)";

const LEARNT: &str = ", learnt AS (
    INSERT INTO profile (bucket, account_id, version, encoding, data)
    SELECT m.bucket, m.account_id, m.version, $51::smallint,
           substring($52::bytea FROM ($53::integer[])[m.n] + 1
                     FOR ($53::integer[])[m.n + 1] - ($53::integer[])[m.n])
    FROM moved AS m
    WHERE ($53::integer[])[m.n] < ($53::integer[])[m.n + 1]
    ON CONFLICT (bucket, account_id) DO UPDATE
    SET version = excluded.version, encoding = excluded.encoding, data = excluded.data
)";

const CHANGED: &str = ", changed AS (
    UPDATE coupon AS c
    SET state = i.state, changed_version = i.version, redeemed_on = i.redeemed_on,
        over_value = i.over_value, value_minor = i.value_minor, over_budget = i.over_budget,
        over_limit = i.over_limit,
        changed_account = nullif(i.account_id, c.account_id)
    FROM (
        SELECT held.place, g.account_id, ($56::bigint[])[g.n] AS version,
               ($57::smallint[])[g.n] AS state,
               ($58::date[])[g.n] AS redeemed_on, ($59::boolean[])[g.n] AS over_value,
               ($60::bigint[])[g.n] AS value_minor, ($61::boolean[])[g.n] AS over_budget,
               ($62::boolean[])[g.n] AS over_limit, ($63::bigint[])[g.n] AS was
        FROM (
            SELECT account_id,
                   generate_series(($54::integer[])[n] + 1, ($54::integer[])[n + 1]) AS n
            FROM moved
        ) AS g
        CROSS JOIN LATERAL (
            SELECT h.ctid AS place FROM coupon AS h
            WHERE h.bucket = (($55::bigint[])[g.n] >> 56 & 255)::smallint
              AND h.code = ($55::bigint[])[g.n]
            LIMIT 1
        ) AS held
    ) AS i
    WHERE c.ctid = i.place
      AND (i.was IS NULL OR c.changed_version = i.was AND c.state = 0)
    RETURNING i.was
)";

const ISSUED: &str = ", issued AS (
    INSERT INTO coupon (bucket, code, account_id, issued_version, offer_no, issued_at, valid_from,
                        valid_until, actor, reason, state, changed_version, redeemed_on,
                        value_minor, over_value, over_budget, over_limit, slot,
                        propensity, evidence)
    SELECT g.bucket, ($65::bigint[])[g.n], g.account_id, ($66::bigint[])[g.n],
           ($67::integer[])[g.n], $33::timestamptz, ($68::date[])[g.n], ($69::date[])[g.n],
           ($70::text[])[g.n], ($71::smallint[])[g.n],
           (($72::date[])[g.n] IS NOT NULL)::integer::smallint,
           CASE WHEN ($72::date[])[g.n] IS NULL THEN 0 ELSE ($66::bigint[])[g.n] END,
           ($72::date[])[g.n], ($73::bigint[])[g.n],
           ($74::smallint[])[g.n] & 1 <> 0, ($74::smallint[])[g.n] & 2 <> 0,
           ($74::smallint[])[g.n] & 4 <> 0,
           ($75::smallint[])[g.n], ($76::integer[])[g.n],
           CASE WHEN ($75::smallint[])[g.n] > 0
                THEN substring($77::bytea FROM (g.n - 1) * 13 + 1 FOR 13) END
    FROM (
        SELECT bucket, account_id,
               generate_series(($64::integer[])[n] + 1, ($64::integer[])[n + 1]) AS n
        FROM moved
    ) AS g
)";

const SPENT: &str = ", drawn AS (
    SELECT ($79::bigint[])[g.n] AS lease_no, sum(($80::bigint[])[g.n])::bigint AS amount
    FROM (
        SELECT generate_series(($78::integer[])[n] + 1, ($78::integer[])[n + 1]) AS n FROM moved
    ) AS g
    GROUP BY 1
), spent AS (
    UPDATE lease AS l
    SET spent = l.spent + i.amount
    FROM (
        SELECT held.place, d.amount
        FROM drawn AS d
        CROSS JOIN LATERAL (
            SELECT h.ctid AS place FROM lease AS h WHERE h.lease_no = d.lease_no LIMIT 1
        ) AS held
    ) AS i
    WHERE l.ctid = i.place AND l.spent + i.amount <= l.amount
    RETURNING 1
)";

const OPEN: &str = ", open AS (
    SELECT 1
    FROM unnest($81::integer[]) AS g (pool_no)
    CROSS JOIN LATERAL (
        SELECT 1 FROM code_pool AS p WHERE p.pool_no = g.pool_no AND p.revoked_at IS NULL
        LIMIT 1
        FOR SHARE
    ) AS held
)";

const RETURNED: &str = "
SELECT account_id FROM moved";

const GUARDED: &str = "
WHERE 1 / (SELECT (count(*) = (SELECT count(*) FROM spent))::integer FROM drawn) = 1
  AND 1 / (SELECT (count(*) = (SELECT count(*) FROM changed WHERE was IS NOT NULL))::integer
           FROM (
               SELECT generate_series(($54::integer[])[n] + 1, ($54::integer[])[n + 1]) AS n
               FROM moved
           ) AS g
           WHERE ($63::bigint[])[g.n] IS NOT NULL) = 1
  AND 1 / (SELECT (count(*) = cardinality($81))::integer FROM open) = 1";

#[cfg(test)]
mod tests {
    use super::*;

    /// The highest parameter that a statement names.
    fn highest(statement: &str) -> usize {
        let named = statement.split('$').skip(1);
        let number = |text: &str| text.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok();
        named.filter_map(number).max().expect("it has parameters")
    }

    #[test]
    fn every_form_takes_the_parameters_that_it_names_and_stands_at_its_number() {
        let whole = highest(&Parts::WHOLE.statement());
        for (at, parts) in Parts::ALL.into_iter().enumerate() {
            assert_eq!(parts.number(), at, "{parts:?}");
            assert!(highest(&parts.statement()) <= parts.parameters(whole), "{parts:?}");
        }
        let absent = |profiles| Parts { profiles, coupons: Coupons::Absent };
        assert_eq!(highest(&absent(false).statement()), PLAIN);
        assert_eq!(highest(&absent(true).statement()), WITH_PROFILES);
    }
}
