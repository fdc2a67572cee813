//! What tills give discounts for, drawn at random: coupons of the customer's and of others, offers
//! of everybody's, shared codes, and codes that nobody has issued.

use proptest::prelude::*;
use proptest::sample::Index;

use super::chain::{Chain, Purchase};
use super::coupons::Delivery;
use super::purchase::{Given, Taken};

/// Only coupons that were issued, and a shared code once, while it can be foretold what comes of
/// it.
pub(crate) fn codes_are_certain(chain: &Chain, purchase: &Purchase) -> bool {
    let mut codes = 0;
    purchase.taken.iter().all(|taken| match taken.what {
        Given::Coupon(coupon) => coupon < chain.coupons.count(),
        Given::Code(offer) => {
            codes += 1;
            codes == 1 && chain.coupons.is_certain(offer)
        }
        Given::Everybodys(_) | Given::Nothing => true,
    })
}

/// What tills may give something for.
pub(crate) struct OnOffer {
    /// Coupons, with the cards whose account holds them.
    coupons: Vec<(usize, Vec<u8>)>,
    everybodys: Vec<usize>,
    codes: Vec<usize>,
}

impl OnOffer {
    pub(crate) fn of(chain: &Chain) -> Self {
        let coupons = (0..chain.coupons.count()).map(|coupon| {
            let holder = chain.heir_of(chain.coupons.account_of(coupon));
            let cards = chain.cards.iter().filter(|(_, account)| *account == holder);
            (coupon, cards.map(|(card, _)| *card).collect())
        });
        let offers = |wanted: fn(&Delivery) -> bool| {
            let offers = chain.coupons.offers.iter().enumerate();
            offers.filter(|(_, it)| wanted(&it.delivery)).map(|(at, _)| at).collect()
        };
        Self {
            coupons: coupons.collect(),
            everybodys: offers(|it| matches!(it, Delivery::Everybody { .. })),
            codes: offers(|it| matches!(it, Delivery::Shared { .. })),
        }
    }
}

/// Something for which a till gives a discount, as it is drawn: whose it is depends on the card.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    kind: u8,
    which: Index,
    minor: i64,
}

impl Ticket {
    pub(crate) fn of(&self, card: Option<u8>, on_offer: &OnOffer) -> Taken {
        let pick = |from: &[usize]| (!from.is_empty()).then(|| from[self.which.index(from.len())]);
        let coupons = |own: bool| -> Vec<usize> {
            let is_own = |cards: &[u8]| card.is_some_and(|card| cards.contains(&card));
            let held = on_offer.coupons.iter().filter(|(_, cards)| !own || is_own(cards));
            held.map(|(coupon, _)| *coupon).collect()
        };
        let everybodys = pick(&on_offer.everybodys).map(Given::Everybodys);
        let what = match self.kind {
            // Whoever has none brings what everybody has.
            0..11 => pick(&coupons(true)).map(Given::Coupon).or(everybodys),
            11..13 => pick(&coupons(false)).map(Given::Coupon),
            13..17 => everybodys,
            17..19 => pick(&on_offer.codes).map(Given::Code),
            _ => None,
        };
        Taken { what: what.unwrap_or(Given::Nothing), minor: self.minor }
    }
}

pub(crate) fn ticket() -> impl Strategy<Value = Ticket> {
    let minor = prop_oneof![3 => Just(0_i64), 3 => 1..41_i64, 2 => 41..400_i64];
    (0..20_u8, any::<Index>(), minor).prop_map(|(kind, which, minor)| Ticket { kind, which, minor })
}
