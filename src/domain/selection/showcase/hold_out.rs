//! Who gets no coupons that the till chooses, so that it can be seen what coupons change.
//!
//! A share of the accounts, the same on every replica and in every replay: it follows from the
//! account's id and the round. Another round draws another share, independent of the one before.

use super::seats::mixed;

/// The share that is held out, and which draw it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldOut {
    /// Of a hundred accounts; 0: nobody.
    pub percent: u8,
    /// Names the draw.
    pub round: u32,
}

impl HoldOut {
    /// Whether an account is held out.
    pub fn holds(&self, account_id: i64) -> bool {
        let drawn = mixed(mixed(u64::from(self.round)) ^ account_id.cast_unsigned());
        // Of 2³² as many as the share says.
        (drawn >> 32) * 100 < u64::from(self.percent) << 32
    }
}
