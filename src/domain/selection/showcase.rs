//! Which coupons a receipt carries: the offers that the till may choose from, and what keeps one
//! of them from being chosen for this customer now.
//!
//! The scores are those of [`Live`]; here they meet the basket and what the account holds
//! already. The same facts give the same choice, on every replica and in every retry. Must never
//! learn, and must never infer anything from sensitive articles or speak of them: no offer holds
//! one, so none is chosen for the sake of one.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::Date;

use super::super::basket::LineKind;
use super::super::offer::{Basket, Offer};
use super::super::product::Product;
use super::super::profile::{Level, Profile};
use super::super::target::{Numbers, Target};
use super::offers::{Common, Customer, Live, Occasion, OfferRoom, OfferWeights};

/// So many candidates are looked at for each coupon that a receipt carries: the likeliest may be
/// for the same type.
const CANDIDATES: usize = 4;
/// A gap of this share of the usual one is due again.
const DUE: f32 = 0.9;
/// Bought in so many baskets it is a favourite.
const FAVOURITE: f32 = 5.0;

/// Offers that the till chooses from, arranged once for each state of the reference data.
#[derive(Debug, Default)]
pub struct Showcase {
    live: Live,
    /// By place in `live`.
    offers: Vec<Shown>,
}

#[derive(Debug)]
struct Shown {
    offer: Arc<Offer>,
    /// Types that it is for, sorted; too many rather than too few.
    types: Vec<u32>,
}

/// What is chosen: an offer, its first and last day, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The offer.
    pub offer: Arc<Offer>,
    /// The first business date on which a coupon of it counts.
    pub valid_from: Date,
    /// The last one.
    pub valid_until: Date,
    /// Why this customer gets it.
    pub reason: Reason,
}

/// Why a customer gets a coupon. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum Reason {
    /// Somebody gave it; nothing was chosen.
    Given = 0,
    /// Bought regularly, and about time again by the next visit.
    DueAgain = 1,
    /// Bought often.
    Favourite = 2,
    /// Bought before.
    BoughtBefore = 3,
    /// Never bought, but the brand is, of this very type.
    BrandYouBuy = 4,
    /// Never bought, but others of the type are.
    KindYouBuy = 5,
    /// Never bought, but others of the brand are.
    BrandYouLike = 6,
}

impl Reason {
    const ALL: [Self; 7] = [
        Self::Given,
        Self::DueAgain,
        Self::Favourite,
        Self::BoughtBefore,
        Self::BrandYouBuy,
        Self::KindYouBuy,
        Self::BrandYouLike,
    ];

    /// The reason that a stored number stands for.
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as i16 == code)
    }

    /// How programs know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::DueAgain => "due-again",
            Self::Favourite => "favourite",
            Self::BoughtBefore => "bought-before",
            Self::BrandYouBuy => "brand-you-buy",
            Self::KindYouBuy => "kind-you-buy",
            Self::BrandYouLike => "brand-you-like",
        }
    }

    /// What the receipt says. Says nothing that somebody who reads over the customer's shoulder
    /// should not know: no numbers, no articles, no dates.
    pub fn text(self) -> &'static str {
        match self {
            Self::Given => "A coupon for you.",
            Self::DueAgain | Self::Favourite => "A favourite of yours is on offer.",
            Self::BoughtBefore => "You have bought this before.",
            Self::BrandYouBuy | Self::BrandYouLike => "From a brand that you like.",
            Self::KindYouBuy => "Something new that may suit you.",
        }
    }

    /// By what the account's purchases have in common with the offer; none when nothing has.
    fn of(common: &Common, overdue: f32) -> Option<Self> {
        let own = &common.own;
        if own.count > 0.0 && own.gap_days > 0.0 && overdue >= DUE {
            Some(Self::DueAgain)
        } else if own.count >= FAVOURITE {
            Some(Self::Favourite)
        } else if own.count > 0.0 {
            Some(Self::BoughtBefore)
        } else if common.by_kind > 0.0 {
            Some(Self::BrandYouBuy)
        } else if common.by_type > 0.0 {
            Some(Self::KindYouBuy)
        } else if common.by_brand > 0.0 {
            Some(Self::BrandYouLike)
        } else {
            None
        }
    }
}

/// Working memory of a choice, used again for the next one.
#[derive(Clone, Debug, Default)]
pub struct ShowcaseRoom {
    offers: OfferRoom,
    likeliest: Vec<u32>,
}

impl Showcase {
    /// Arranges the offers that the till chooses from. `catalogue` is indexed by the number of
    /// the article, and so is `popularity` (share of all baskets); what it does not reach counts
    /// as rare.
    pub fn new(
        offers: impl Iterator<Item = Arc<Offer>>,
        catalogue: &[Product],
        popularity: &[f32],
        weights: OfferWeights,
    ) -> Self {
        let places = TypesByPlace::of(catalogue);
        let offers: Vec<Shown> = offers
            .map(|offer| {
                let types = places.types_of(offer.target(), catalogue);
                Shown { offer, types }
            })
            .collect();
        let targets: Vec<&Target> = offers.iter().map(|shown| shown.offer.target()).collect();
        let live = Live::new(&targets, catalogue, popularity, weights);
        Self { live, offers }
    }

    /// Whether there is nothing to choose from.
    pub fn is_empty(&self) -> bool {
        self.offers.is_empty()
    }

    /// The coupons that a customer gets with this basket, at most `most`, likeliest to be
    /// redeemed first. The profile has learnt from the basket; `holds` says whether the customer
    /// has an open coupon of an offer.
    ///
    /// Not chosen is: what counts on another day or in another store; what the customer holds;
    /// what was just bought, unless it is usually bought again within half of the time for which
    /// a coupon counts; what is for the same type as one that was chosen already; and what has
    /// nothing in common with anything that the customer ever bought.
    pub fn choose(
        &self,
        profile: &Profile,
        basket: &Basket<'_>,
        holds: impl Fn(i32) -> bool,
        most: usize,
        room: &mut ShowcaseRoom,
    ) -> Vec<Choice> {
        let mut chosen: Vec<(&Shown, Choice)> = Vec::new();
        if most == 0 || self.is_empty() {
            return Vec::new();
        }
        let redeemed = profile.redemptions();
        let occasion = Occasion { redeemed, ..Occasion::default() };
        let may = |place: u32| {
            let offer = &*self.offers[place as usize].offer;
            offer.counts_in(basket.store_no)
                && !holds(offer.offer_no)
                && offer.validity(basket.business_date).is_some()
                && !is_just_bought(offer, profile, basket)
        };
        let ShowcaseRoom { offers: room, likeliest } = room;
        let best = self.live.choose(profile, &occasion, most * CANDIDATES, may, room);
        likeliest.clear();
        likeliest.extend(best.iter().map(|(place, _)| *place));
        let customer = Customer::of(profile, &occasion);
        for place in likeliest {
            let shown = &self.offers[*place as usize];
            let is_free = chosen.iter().all(|(other, _)| are_apart(&other.types, &shown.types));
            let common = self.live.common(*place, room);
            let overdue = customer.overdue(&common.own);
            let validity = shown.offer.validity(basket.business_date);
            let (Some(reason), Some((valid_from, valid_until)), true) =
                (Reason::of(&common, overdue), validity, is_free)
            else {
                continue;
            };
            let offer = Arc::clone(&shown.offer);
            chosen.push((shown, Choice { offer, valid_from, valid_until, reason }));
            if chosen.len() == most {
                break;
            }
        }
        chosen.into_iter().map(|(_, choice)| choice).collect()
    }
}

/// Whether the basket holds what the offer is for, and the customer will hardly want it again
/// while the coupon counts.
fn is_just_bought(offer: &Offer, profile: &Profile, basket: &Basket<'_>) -> bool {
    let half_of_validity = f32::from(offer.definition.valid_days) / 2.0;
    let sold = basket.lines.iter().zip(basket.products);
    sold.filter(|(line, product)| line.kind == LineKind::Sale && offer.target().holds(product)).any(
        |(_, product)| {
            let affinity = profile.affinity(Level::Product, product.product_no);
            let gap = affinity.and_then(|affinity| affinity.usual_gap_days);
            gap.is_none_or(|gap| gap > half_of_validity)
        },
    )
}

/// Whether sorted lists have nothing in common.
fn are_apart(one: &[u32], other: &[u32]) -> bool {
    let (fewer, more) = if one.len() < other.len() { (one, other) } else { (other, one) };
    fewer.iter().all(|no| more.binary_search(no).is_err())
}

/// The types that lie under departments, categories and brands.
struct TypesByPlace([BTreeMap<u32, Vec<u32>>; 3]);

impl TypesByPlace {
    fn of(catalogue: &[Product]) -> Self {
        let mut places: [BTreeMap<u32, Vec<u32>>; 3] = Default::default();
        for product in catalogue.iter().filter(|product| product.taxa.type_no > 0) {
            let taxa = product.taxa;
            let levels = [taxa.department_no, taxa.category_no, taxa.brand_no];
            for (types, no) in places.iter_mut().zip(levels).filter(|(_, no)| *no > 0) {
                types.entry(no).or_default().push(taxa.type_no);
            }
        }
        for types in places.iter_mut().flat_map(BTreeMap::values_mut) {
            types.sort_unstable();
            types.dedup();
        }
        Self(places)
    }

    /// Sorted, each once. What an offer makes an exception of is among them.
    fn types_of(&self, target: &Target, catalogue: &[Product]) -> Vec<u32> {
        let Self([by_department, by_category, by_brand]) = self;
        let mut found: Vec<u32> = match &target.scope {
            None => by_department.values().flatten().copied().collect(),
            Some(Numbers { departments, categories, types, brands, products }) => {
                let of_products = products.iter().filter_map(|no| catalogue.get(*no as usize));
                let listed =
                    [(departments, by_department), (categories, by_category), (brands, by_brand)];
                let under = listed.into_iter().flat_map(|(numbers, by_place)| {
                    numbers.iter().filter_map(|no| by_place.get(no)).flatten()
                });
                of_products
                    .map(|product| product.taxa.type_no)
                    .filter(|no| *no > 0)
                    .chain(under.copied())
                    .chain(types.iter().copied())
                    .collect()
            }
        };
        found.sort_unstable();
        found.dedup();
        found
    }
}
