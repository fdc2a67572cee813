//! Ways to damage a database, and what each of them breaks.

use jiff::civil::Date;
use tillside::domain::ledger::{LotKey, Lots, NEVER};
use tillside::domain::tally::{Counted, Tally};

use crate::support::service::card;

/// Replaces `{name}` by what it stands for in these statements.
pub(super) fn filled_in(damage: &str) -> String {
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let lots = |points: i64, key: LotKey| {
        let mut lots = Lots::default();
        lots.replay_entry(points, key);
        hex(lots.encode())
    };
    let mut tally = Tally::default();
    tally.count(&Counted { qualifying: vec![(24_314, 5)], ..Counted::default() });
    let available_from = "2026-02-01".parse().expect("a date");
    let key = |expires_on: Date| LotKey { expires_on, available_from };
    let of_card =
        |number: u64| format!("(SELECT account_id FROM card WHERE card = '{}')", card(number));
    damage
        .replace("{tally}", &hex(tally.encode().expect("something was counted")))
        .replace("{negative}", &lots(-5, key(NEVER)))
        .replace("{expired}", &lots(5, key("2026-02-28".parse().expect("a date"))))
        .replace("{chain}", &of_card(1))
        .replace("{returns}", &of_card(2))
        .replace("{expiry}", &of_card(5))
        .replace("{paid}", &of_card(10))
        .replace("{enrolled}", &of_card(6))
        .replace("{opening}", &of_card(900))
        .replace("{house}", "(SELECT house_account FROM workstation WHERE workstation_no = 2)")
}

/// What is done to the database, and every invariant that this breaks: first the one that it
/// is here for, then what follows from it.
pub(super) const DAMAGE: &[(&str, &[&str])] = &[
    ("DELETE FROM account WHERE account_id = {chain}", &["account-missing", "card-astray"]),
    (
        "UPDATE account SET total_points = total_points + 1 WHERE account_id = {chain}",
        &["total-differs"],
    ),
    ("UPDATE account SET lots = '\\x01ff' WHERE account_id = {chain}", &["lots-damaged"]),
    (
        "UPDATE account SET lots = '\\x0100' WHERE account_id = {chain}",
        &["lots-differ", "next-expiry-differs"],
    ),
    (
        "UPDATE account SET lots = '\\x{negative}' WHERE account_id = {chain}",
        &["lots-differ", "lot-impossible", "next-expiry-differs"],
    ),
    (
        "UPDATE account SET clock = '2030-01-01' WHERE account_id = {chain}",
        &["clock-ahead", "lot-expired"],
    ),
    ("UPDATE account SET clock = '2030-01-01' WHERE account_id = {opening}", &["lot-expired"]),
    (
        "UPDATE account SET clock = '2020-01-01' WHERE account_id = {expiry}",
        &["clock-behind", "expiry-early"],
    ),
    ("UPDATE swipe SET decision = '\\x01ff' WHERE account_id = {chain}", &["record-damaged"]),
    ("UPDATE account SET clock = clock - 1 WHERE account_id = {chain}", &["clock-behind"]),
    ("UPDATE account SET tally = '\\x01ff' WHERE account_id = {chain}", &["tally-damaged"]),
    ("UPDATE account SET tally = '\\x{tally}' WHERE account_id = {chain}", &["tally-differs"]),
    ("UPDATE account SET tally = '\\x{tally}' WHERE account_id = {house}", &["tally-differs"]),
    ("UPDATE account SET tally = '\\x{tally}' WHERE state = 3", &["tally-differs"]),
    (
        "UPDATE account SET next_expiry = next_expiry + 1 WHERE account_id = {chain}",
        &["next-expiry-differs"],
    ),
    (
        "UPDATE account SET next_expiry = NULL WHERE account_id = {opening}",
        &["next-expiry-differs"],
    ),
    // What an older version wrote, and nobody has looked at yet.
    ("UPDATE account SET next_expiry = '0001-01-01' WHERE account_id = {chain}", &[]),
    ("UPDATE account SET version = version - 1 WHERE account_id = {chain}", &["version-behind"]),
    ("UPDATE account SET version = version + 1 WHERE account_id = {chain}", &["version-missing"]),
    (
        "INSERT INTO swipe SELECT account_id, version, sequence_number, total_minor, earned_points,
         reversed_points, occurred_at, recorded_at, business_date - 1, workstation_no, epoch,
         bucket, kind, record, receipt
      FROM swipe WHERE account_id = {chain} AND version = 3",
        &[
            "version-twice",
            "swipe-without-name",
            "baskets-differ",
            "sales-differ",
            "entry-unexpected",
            "profile-differs",
            "receipt-differs",
        ],
    ),
    (
        "UPDATE account SET sales_minor = sales_minor - 1 WHERE account_id = {returns}",
        &["sales-differ"],
    ),
    ("UPDATE account SET baskets = baskets + 1 WHERE account_id = {house}", &["baskets-differ"]),
    (
        "INSERT INTO entry SELECT {house}, 1, 5, lot_available, lot_expires, business_date,
         ({house} & 255), 0, 6 FROM entry WHERE account_id = {chain} AND version = 6",
        &["house-holds", "entry-unexpected", "lots-differ", "total-differs"],
    ),
    (
        "UPDATE workstation SET house_account = house_account + 256 WHERE workstation_no = 2",
        &["house-astray", "swipe-misplaced"],
    ),
    ("UPDATE account SET merged_into = 256 WHERE state = 3", &["merged-astray"]),
    (
        "UPDATE account SET lots = '\\x{expired}', total_points = 5 WHERE state = 3",
        &["merged-holds", "lot-expired", "lots-differ", "next-expiry-differs", "total-differs"],
    ),
    (
        "UPDATE card SET account_id = {house} WHERE account_id = {enrolled}",
        &["card-astray", "version-missing"],
    ),
    ("UPDATE card SET bucket = bucket + 1 WHERE account_id = {chain}", &["bucket-wrong"]),
    ("DELETE FROM card WHERE account_id = {chain}", &["provisional-astray"]),
    (
        "INSERT INTO member SELECT bucket, account_id, 1, NULL, NULL, NULL, NULL, NULL, '{}',
         '2026-01-01' FROM account WHERE account_id = {chain}",
        &["provisional-astray"],
    ),
    (
        "UPDATE entry SET kind = 6 WHERE kind = 7 AND account_id = {enrolled}",
        &["transfers-unbalanced", "adjustment-differs"],
    ),
    (
        "UPDATE entry SET kind = 4 WHERE account_id = {chain} AND version = 6",
        &["entry-unexpected", "points-differ"],
    ),
    (
        "UPDATE entry SET business_date = business_date - 1 WHERE account_id = {chain}
      AND version = 6",
        &["entry-unexpected"],
    ),
    ("UPDATE entry SET entry_no = 1 WHERE account_id = {chain} AND version = 6", &["entry-gap"]),
    (
        "DELETE FROM entry WHERE account_id = {chain} AND version = 6",
        &["points-differ", "lots-differ", "receipt-differs", "total-differs"],
    ),
    (
        "UPDATE entry SET points = points + 1 WHERE account_id = {chain} AND version = 36",
        &["points-differ", "lots-differ", "receipt-differs", "total-differs"],
    ),
    (
        "UPDATE swipe SET spent_points = spent_points - 1 WHERE account_id = {chain}
      AND version = 35",
        &["points-differ", "receipt-differs"],
    ),
    (
        "UPDATE entry SET lot_available = '2026-03-01' WHERE account_id = {chain} AND version = 35
         AND kind = 2",
        &["spent-wrongly", "lots-differ"],
    ),
    (
        "UPDATE entry SET lot_expires = '2026-02-08' WHERE account_id = {chain} AND version = 35
         AND kind = 2",
        &["spent-wrongly", "lots-differ"],
    ),
    (
        "UPDATE entry SET lot_available = '2030-01-01' WHERE account_id = {paid} AND kind = 2",
        &["spent-wrongly", "lots-differ"],
    ),
    // A payment that is owed although the points were there.
    (
        "UPDATE entry SET lot_available = '0001-01-01', lot_expires = '9999-12-31'
         WHERE account_id = {chain} AND version = 35 AND kind = 2",
        &["spent-wrongly", "receipt-differs", "lots-differ"],
    ),
    ("UPDATE entry SET kind = 2 WHERE account_id = {paid} AND kind = 4", &["entry-unexpected"]),
    (
        "UPDATE swipe SET spent_points = 0 WHERE kind = 3 AND account_id = {paid}",
        &["void-differs", "points-differ", "receipt-differs"],
    ),
    // That the till gave another value than was due, where it did not; the flags are the record's
    // second byte.
    (
        "UPDATE swipe SET record = set_byte(record, 1, get_byte(record, 1) # 8)
         WHERE account_id = {chain} AND version = 34",
        &["programme-differs"],
    ),
    ("UPDATE adjustment SET points = points + 1", &["adjustment-differs"]),
    ("UPDATE adjustment SET business_date = business_date - 1", &["adjustment-differs"]),
    ("DELETE FROM adjustment", &["adjustment-differs"]),
    ("UPDATE adjustment SET version = version - 1", &["adjustment-differs"]),
    (
        "DELETE FROM swipe WHERE account_id = {chain} AND version = 21",
        &[
            "name-without-swipe",
            "baskets-differ",
            "sales-differ",
            "entry-unexpected",
            "profile-differs",
        ],
    ),
    ("DELETE FROM swipe_key WHERE account_id = {chain} AND version = 21", &["swipe-without-name"]),
    (
        "UPDATE swipe_key SET account_id = {returns} WHERE account_id = {chain} AND version = 21",
        &["swipe-without-name", "name-without-swipe"],
    ),
    (
        "UPDATE swipe_key SET void_version = 0 WHERE account_id = {returns} AND void_version = 5",
        &["swipe-without-name", "baskets-differ", "sales-differ"],
    ),
    (
        "UPDATE swipe SET kind = 3 WHERE kind = 4 AND sequence_number = 702",
        &["name-differs", "void-differs"],
    ),
    (
        "UPDATE swipe_key SET bucket = bucket + 1 WHERE account_id = {chain} AND version = 21",
        &["bucket-wrong"],
    ),
    (
        "UPDATE swipe_key SET content_hash = '' WHERE account_id = {chain} AND version = 21",
        &["hash-malformed"],
    ),
    (
        "UPDATE swipe_key SET content_hash = set_byte(content_hash, 5, 255 -
         get_byte(content_hash, 5)) WHERE account_id = {chain} AND version = 21",
        &["content-differs"],
    ),
    (
        "UPDATE swipe SET occurred_at = occurred_at + interval '1 microsecond'
      WHERE account_id = {chain} AND version = 21",
        &["content-differs"],
    ),
    (
        "UPDATE swipe SET kind = 1 WHERE account_id = {chain} AND version = 21",
        &[
            "swipe-misplaced",
            "baskets-differ",
            "sales-differ",
            "content-differs",
            "entry-unexpected",
            "profile-differs",
        ],
    ),
    (
        "UPDATE swipe SET record = substring(record FOR 9) WHERE account_id = {chain}
      AND version = 36",
        &["record-damaged"],
    ),
    (
        "UPDATE swipe SET record = '\\x' WHERE account_id = {chain} AND version = 36",
        &["record-damaged"],
    ),
    (
        "UPDATE swipe SET total_minor = total_minor + 1 WHERE account_id = {chain}
      AND version = 36",
        &["record-impossible", "content-differs", "sales-differ"],
    ),
    (
        "UPDATE swipe SET earned_points = earned_points + 1 WHERE account_id = {chain}
      AND version = 36",
        &["line-points-differ", "points-differ", "receipt-differs"],
    ),
    (
        "UPDATE programme SET rules = '{\"earn\": {\"points\": 2, \"per_minor\": 100}}'",
        &["programme-differs"],
    ),
    (
        "UPDATE swipe SET total_minor = 1 WHERE kind = 3 AND account_id = {returns}
      AND version = 5",
        &["void-differs"],
    ),
    ("UPDATE swipe SET epoch = 77 WHERE account_id = {chain} AND version = 36", &["epoch-unknown"]),
    (
        "UPDATE swipe SET workstation_no = 99 WHERE account_id = {chain} AND version = 36",
        &["workstation-unknown", "name-without-swipe", "swipe-without-name"],
    ),
    (
        "UPDATE swipe SET receipt = set_byte(receipt, 0, 9) WHERE account_id = {chain}
      AND version = 36",
        &["receipt-damaged"],
    ),
    (
        "UPDATE swipe SET receipt = (SELECT receipt FROM swipe WHERE account_id = {chain}
         AND version = 35) WHERE account_id = {chain} AND version = 36",
        &["receipt-differs"],
    ),
    ("UPDATE profile SET data = substring(data FOR 30)", &["profile-damaged"]),
    (
        "UPDATE account SET tail_since = '9999-12-31', tail_version = version
         WHERE account_id = {opening}",
        &["tail-late"],
    ),
    // What an older replica left behind.
    (
        "UPDATE account SET tail_since = '9999-12-31', tail_version = version - 1
         WHERE account_id = {opening}",
        &[],
    ),
    ("UPDATE profile SET version = 40", &["profile-ahead", "profile-differs"]),
    ("UPDATE profile SET version = 31", &["profile-differs", "tail-late"]),
    ("UPDATE profile SET encoding = 200", &[]),
    (
        "INSERT INTO coupon (bucket, code, account_id, issued_version, issued_at, offer_no,
                             valid_from, valid_until, actor)
         SELECT bucket, bucket::bigint << 56, account_id, 1, now(), 999, '2026-01-01',
                '2026-12-31', 'nobody'
         FROM account WHERE account_id = {chain}",
        // Nor is it on the receipt of that version.
        &["coupon-astray", "receipt-differs"],
    ),
    (
        "WITH made AS (INSERT INTO offer (offer_id, definition, created_at)
                       VALUES ('planted', '{}', now()) RETURNING offer_no)
         INSERT INTO coupon (bucket, code, account_id, issued_version, changed_version, issued_at,
                             offer_no, valid_from, valid_until, state, redeemed_on, actor)
         SELECT bucket, bucket::bigint << 56, account_id, 1, 2, now(), offer_no, '2026-01-01',
                '2026-12-31', 1, '2026-02-01', 'nobody'
         FROM account, made WHERE account_id = {chain}",
        &["coupon-differs", "receipt-differs"],
    ),
    // One more of an offer than an account may, and not marked.
    (
        "WITH made AS (INSERT INTO offer (offer_id, definition, created_at)
                       VALUES ('planted', '{\"offer\":\"planted\",\"headline\":\"x\",
                                \"delivery\":\"personal\",\"valid_days\":7,
                                \"reward\":{\"kind\":\"percent-off\",\"percent\":5},
                                \"limits\":{\"per_account\":1},
                                \"funding\":{\"party\":\"x\",\"share_percent\":0}}', now())
                       RETURNING offer_no)
         INSERT INTO coupon (bucket, code, account_id, issued_version, changed_version, issued_at,
                             offer_no, valid_from, valid_until, state, redeemed_on, actor)
         SELECT bucket, bucket::bigint << 56 | n, account_id, 1, 1 + n, now(), offer_no,
                '2026-01-01', '2026-12-31', 1, '2026-02-01', 'nobody'
         FROM account, made, generate_series(1, 2) AS n WHERE account_id = {chain}",
        &["coupon-differs", "limit-exceeded", "receipt-differs"],
    ),
    // A code that nobody has made.
    (
        "INSERT INTO coupon (bucket, code, account_id, issued_version, issued_at, offer_no,
                             valid_from, valid_until, actor)
         VALUES (5, 5::bigint << 56, 5, 0, now(), 1, '2026-01-01', '2026-12-31', 'nobody')",
        &["coupon-astray"],
    ),
    // One of an offer that has a pool, made at another moment: it leads to no pool.
    (
        "WITH made AS (INSERT INTO code_pool (pool_id, made_at, offer_no, codes, valid_from,
                                              valid_until, actor, seed)
                       VALUES ('p', '2026-01-01', 1, 5, '2026-01-01', '2026-12-31', 'nobody', ''))
         INSERT INTO coupon (bucket, code, account_id, issued_version, issued_at, offer_no,
                             valid_from, valid_until, actor)
         VALUES (5, 5::bigint << 56, 5, 0, '2026-01-02', 1, '2026-01-01', '2026-12-31', 'nobody')",
        &["coupon-astray"],
    ),
    (
        "INSERT INTO budget (offer_no, store_no, counts, amount, spent) VALUES (1, 0, 0, 9, 1)",
        &["budget-differs"],
    ),
    (
        "WITH made AS (INSERT INTO budget (offer_no, store_no, counts, amount, spent)
                       VALUES (1, 0, 0, 9, 9) RETURNING budget_no)
         INSERT INTO lease (budget_no, amount, spent, expires_at)
         SELECT budget_no, 1, 1, now() FROM made",
        &["budget-overspent", "budget-differs"],
    ),
];
