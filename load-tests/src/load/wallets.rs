//! The coupons that customers have at hand: of each the latest. The only thing that a till under
//! load learns from a receipt.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::wire::Given;

/// By card.
#[derive(Default)]
pub struct Wallets(Mutex<HashMap<String, Given>>);

impl Wallets {
    /// A customer's coupon, which is gone then, if there is one and `redeems` says so.
    pub(super) fn take_if(&self, card: &str, redeems: impl FnOnce() -> bool) -> Option<Given> {
        let mut wallets = self.lock();
        (wallets.contains_key(card) && redeems()).then(|| wallets.remove(card))?
    }

    /// Keeps a coupon instead of the one before it.
    pub(super) fn put(&self, card: &str, coupon: Given) {
        self.lock().insert(card.to_owned(), coupon);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Given>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Wallets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Wallets").field(&self.lock().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coupon_is_taken_once_and_only_by_its_customer() {
        let wallets = Wallets::default();
        let coupon = |code: &str| Given { code: code.to_owned(), sku: "1".to_owned() };
        wallets.put("one", coupon("first"));
        wallets.put("one", coupon("second"));
        let asked = || panic!("without a coupon nobody is asked");
        assert_eq!(wallets.take_if("other", asked), None);
        assert_eq!(wallets.take_if("one", || false), None);
        assert_eq!(wallets.take_if("one", || true), Some(coupon("second")));
        assert_eq!(wallets.take_if("one", asked), None);
    }
}
