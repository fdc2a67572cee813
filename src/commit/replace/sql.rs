//! Statements that only cards which were lost need, all of them under the lock of an account.

/// The account that a card was blocked on; null when it was not.
pub(super) const BLOCKED_FROM: &str = "
-- commit::blocked_from
SELECT blocked_from FROM card WHERE bucket = $1 AND card = $2";

pub(super) const OPEN_ACCOUNT: &str = "
-- commit::open_account
INSERT INTO account (bucket, account_id, version, total_points, sales_minor, baskets, clock,
                     state, lots, next_expiry)
VALUES ($1, $2, 0, 0, 0, 0, $3, $4, $5, NULL)";

/// Points a card at the account where it waits from now on.
pub(super) const BLOCK_CARD: &str = "
-- commit::block_card
UPDATE card SET account_id = $3, linked_at = $4, blocked_from = $5
WHERE bucket = $1 AND card = $2";

pub(super) const INSERT_CARD_CHANGE: &str = "
-- commit::insert_card_change
INSERT INTO card_change (bucket, account_id, version, changed_at, cards)
VALUES ($1, $2, $3, $4, $5)";

pub(super) const AUDIT_CARD: &str = "
-- commit::audit_card
INSERT INTO audit (at, user_no, action, object, fields) VALUES ($1, $2, $3, $4, '{card}')";
