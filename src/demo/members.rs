//! What the tills of the demo give to everybody with a card: member prices, as their offers say.
//! It follows from the basket alone, so a history that is recorded again is the same.

use crate::catalogue::{Snapshot, Workstation};
use crate::domain::basket::{Ground, Redemption, Swipe};
use crate::domain::offer::Basket;
use crate::domain::product::Product;

/// Takes what everybody gets off the lines of a basket with a card, and names it.
pub(super) fn give(swipe: &mut Swipe, till: &Workstation, snapshot: &Snapshot) {
    let (business_date, store_no) = (swipe.name.business_date, till.store_no);
    let Some(epoch) = snapshot.epoch_on(business_date).filter(|_| swipe.card.is_some()) else {
        return;
    };
    let skus = swipe.lines.iter().map(|line| &line.sku);
    let products: Vec<Product> = skus.map(|sku| snapshot.product(sku, epoch)).collect();
    for offer in snapshot.automatic_offers().filter(|it| it.is_given(business_date, store_no)) {
        let (lines, products) = (&*swipe.lines, &*products);
        let basket = Basket { business_date, store_no, lines, products };
        if !offer.is_for(&basket) || !offer.has_enough(&basket) {
            continue;
        }
        let off = offer.taken_off(&basket);
        let discount_minor: i64 = off.iter().map(|(_, off)| off).sum();
        if discount_minor == 0 {
            continue;
        }
        for (at, off) in off {
            swipe.lines[at].discount_minor += off;
        }
        swipe.total_minor -= discount_minor;
        let ground = Ground::Offer(offer.definition.offer.clone());
        swipe.redemptions.push(Redemption { ground, discount_minor });
    }
}
