//! What households do with coupons: they keep what receipts brought, and use most of it when they
//! buy what it is for. It follows from baskets and receipts alone, so a history that is recorded
//! again, and answered as it was, is the same.

use std::collections::HashMap;

use jiff::civil::Date;
use serde::Deserialize;

use crate::catalogue::{Snapshot, Workstation};
use crate::domain::basket::{Ground, LineKind, Redemption, Swipe};
use crate::domain::offer::Basket;
use crate::domain::product::Product;

/// Of so many coupons that would fit, one is forgotten at home.
const FORGOTTEN_ONE_IN: i64 = 4;

/// The coupons that households have, by card.
#[derive(Default)]
pub(super) struct Wallets(HashMap<String, Vec<Kept>>);

/// A coupon as a receipt shows it.
#[derive(Deserialize)]
struct Kept {
    coupon: String,
    offer: String,
    valid_until: Date,
}

#[derive(Deserialize)]
struct Receipt {
    coupons: Vec<Kept>,
}

impl Wallets {
    /// Has the till take what the household has for this basket. What is given for a coupon comes
    /// off the first line that it is for.
    pub(super) fn use_for(&mut self, swipe: &mut Swipe, till: &Workstation, snapshot: &Snapshot) {
        let business_date = swipe.name.business_date;
        let Some(kept) = swipe.card.as_ref().and_then(|card| self.0.get_mut(card)) else { return };
        kept.retain(|it| it.valid_until >= business_date);
        let Some(epoch) = snapshot.epoch_on(business_date) else { return };
        let skus = swipe.lines.iter().map(|line| &line.sku);
        let products: Vec<Product> = skus.map(|sku| snapshot.product(sku, epoch)).collect();
        kept.retain(|Kept { coupon, offer, .. }| {
            let Some(offer) = snapshot.offer_named(offer) else { return true };
            let (store_no, lines) = (till.store_no, &*swipe.lines);
            let basket = Basket { business_date, store_no, lines, products: &products };
            let is_forgotten = (swipe.name.sequence_number + i64::from(offer.offer_no))
                .rem_euclid(FORGOTTEN_ONE_IN)
                == 0;
            if is_forgotten || !offer.is_for(&basket) || !offer.has_enough(&basket) {
                return true;
            }
            let worth_minor = offer.worth_minor(&basket);
            let first = swipe.lines.iter_mut().zip(&products).find(|(line, product)| {
                line.kind == LineKind::Sale && offer.target().holds(product)
            });
            let Some((line, _)) = first else { return true };
            let discount_minor = worth_minor.min(line.net_minor());
            line.discount_minor += discount_minor;
            swipe.total_minor -= discount_minor;
            let ground = Ground::Coupon(coupon.clone());
            swipe.redemptions.push(Redemption { ground, discount_minor });
            false
        });
    }

    /// Takes home what a receipt brought.
    pub(super) fn keep(&mut self, card: &str, receipt: &[u8]) {
        let read: Result<Receipt, _> = serde_json::from_slice(receipt);
        let Ok(Receipt { coupons }) = read else { return };
        if !coupons.is_empty() {
            self.0.entry(card.to_owned()).or_default().extend(coupons);
        }
    }
}
