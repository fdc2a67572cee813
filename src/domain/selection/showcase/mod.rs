//! Which coupons a receipt carries: the offers that the till may choose from, and what keeps one
//! of them from being chosen for this customer now.
//!
//! The scores are those of [`Live`]; here they meet the basket and what the account holds
//! already. The same facts give the same choice, on every replica and in every retry. Must never
//! learn, and must never infer anything from sensitive articles or speak of them: no offer holds
//! one, so none is chosen for the sake of one.

mod hold_out;
mod noted;
mod reasons;
mod search;
mod seats;
mod types;
mod verdicts;

use std::sync::Arc;

use jiff::civil::Date;

use self::reasons::is_bought_regularly;
use self::search::{Queues, Search};
use self::seats::PLACES;
use self::types::{TypesByPlace, are_apart, ignored_types};
use super::super::basket::LineKind;
use super::super::offer::{Basket, Definition, Offer, is_within};
use super::super::product::Product;
use super::super::profile::{Level, Profile};
use super::super::target::Target;
use super::offers::{Common, Customer, Larger, Live, OfferRoom, OfferWeights, PackRoom};

pub use self::hold_out::HoldOut;
pub use self::noted::{Bound, Noted};
pub use self::reasons::{EVIDENCE_BYTES, Evidence, Reason, Sizes, Why};
pub use self::seats::{CERTAIN_PPM, Lot, Slot};
pub use self::verdicts::{Judged, Verdict};

/// Offers that the till chooses from, arranged once for each state of the reference data.
#[derive(Debug, Default)]
pub struct Showcase {
    live: Live,
    /// By place in `live`.
    offers: Vec<Shown>,
    /// By place: how urgently it is pushed. Never what is for nothing, such as for sensitive
    /// articles only.
    pushes: Vec<Option<u8>>,
    /// Places of those that are pushed, the most urgent first; of equals the first stays first.
    pushed: Vec<u32>,
    /// Places by the number of the offer, sorted.
    by_number: Vec<(i32, u32)>,
    /// By place: the type, where it is for one alone; otherwise 0.
    only_types: Vec<u32>,
}

#[derive(Debug)]
struct Shown {
    offer: Arc<Offer>,
    /// Types that it is for, sorted; too many rather than too few.
    types: Vec<u32>,
    /// As the offer has them, here so that most offers need not be looked up to be left out.
    offer_no: i32,
    since: Option<Date>,
    until: Option<Date>,
    is_everywhere: bool,
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
    pub why: Why,
}

/// What is known when a choice is made, besides the profile, which has learnt from the basket.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// What was bought.
    pub basket: &'a Basket<'a>,
    /// Whether nothing that is bought may have a part in it, with this basket either.
    pub unprofiled: bool,
    /// Whether larger packs have a place of their own, as in every choice but those of long ago.
    pub knows_packs: bool,
    /// Offers of which the customer holds a coupon, sorted.
    pub held: &'a [i32],
    /// Offers that the customer has ignored too often, and, as [`tired_of_type`] writes them,
    /// types; sorted.
    pub tired: &'a [i32],
    /// Offers of which so many coupons have been issued as their pace allows by now, sorted.
    pub paced: &'a [i32],
    /// Most coupons.
    pub most: usize,
    /// How many of a million swipes draw something new by lot.
    pub explore_ppm: u32,
    /// The swipe's lot.
    pub lot: Lot,
}

/// Working memory of a choice, used again for the next one.
#[derive(Clone, Debug, Default)]
pub struct ShowcaseRoom {
    offers: OfferRoom,
    packs: PackRoom,
    queues: Queues,
    in_basket: InBasket,
    paced: Vec<i32>,
}

impl ShowcaseRoom {
    /// Offers that the latest choice came to and that nothing but their pace kept from being
    /// considered, sorted. No others of [`Moment::paced`] had a part in it.
    pub fn paced(&mut self) -> &[i32] {
        self.paced.sort_unstable();
        self.paced.dedup();
        &self.paced
    }
}

/// Which groups of offers for the same are for something that the basket holds, with the articles
/// as the newest epoch has them, which has arranged the offers. Whether one of them is for an
/// article as it was sold is the target's to say.
#[derive(Clone, Debug, Default)]
struct InBasket {
    is_touched: Vec<bool>,
    touched: Vec<u32>,
}

impl InBasket {
    fn fill(&mut self, moment: &Moment<'_>, live: &Live) {
        for group in self.touched.drain(..) {
            self.is_touched[group as usize] = false;
        }
        self.is_touched.resize(live.groups(), false);
        if moment.unprofiled {
            return;
        }
        for product in sold(moment.basket) {
            for group in live.groups_of(product.product_no) {
                self.is_touched[group as usize] = true;
                self.touched.push(group);
            }
        }
    }
}

/// The articles of a basket that are bought with it, and not brought back.
fn sold<'a>(basket: &Basket<'a>) -> impl Iterator<Item = &'a Product> {
    let lines = basket.lines.iter().zip(basket.products);
    lines.filter(|(line, _)| line.kind == LineKind::Sale).map(|(_, product)| product)
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
                let target = offer.target();
                let types = places.types_of(target, catalogue);
                let Definition { since, until, .. } = offer.definition;
                let (offer_no, is_everywhere) = (offer.offer_no, offer.counts_everywhere());
                Shown { offer, types, offer_no, since, until, is_everywhere }
            })
            .collect();
        let push = |Shown { offer, .. }: &Shown| {
            let is_for = |it: &Product| it.product_no > 0 && offer.target().holds(it);
            offer.definition.push.filter(|_| catalogue.iter().any(is_for))
        };
        let pushes: Vec<Option<u8>> = offers.iter().map(push).collect();
        let targets: Vec<&Target> = offers.iter().map(|shown| shown.offer.target()).collect();
        let live = Live::new(&targets, catalogue, popularity, weights);
        let urgency = |(place, push): (u32, &Option<u8>)| Some(((*push)?, place));
        let mut pushed: Vec<(u8, u32)> = (0..).zip(&pushes).filter_map(urgency).collect();
        pushed.sort_unstable();
        let pushed = pushed.into_iter().map(|(_, place)| place).collect();
        let numbers = offers.iter().map(|shown| shown.offer_no);
        let mut by_number: Vec<(i32, u32)> = numbers.zip(0..).collect();
        by_number.sort_unstable();
        let only = |shown: &Shown| if let [only] = *shown.types { only } else { 0 };
        let only_types = offers.iter().map(only).collect();
        Self { live, offers, pushes, pushed, by_number, only_types }
    }

    /// Whether there is nothing to choose from.
    pub fn is_empty(&self) -> bool {
        self.offers.is_empty()
    }

    /// Of what a customer is tired whose coupons of these offers, one for each coupon, ran out
    /// unused, and of those were used: `tired`, which are offers, and types. Sorted.
    pub fn with_tired_types(
        &self,
        mut tired: Vec<i32>,
        ignored: impl Iterator<Item = i32>,
        used: impl Iterator<Item = i32>,
    ) -> Vec<i32> {
        let only_types = self.places_of(ignored).map(|place| self.only_types[place]);
        let used_types = self.places_of(used).map(|place| &*self.offers[place].types);
        let types = ignored_types(only_types.filter(|no| *no > 0), used_types);
        if !types.is_empty() {
            tired.extend(types.into_iter().map(tired_of_type));
            tired.sort_unstable();
        }
        tired
    }

    /// Where offers stand; nothing of those that the till does not choose from.
    fn places_of(&self, offer_nos: impl Iterator<Item = i32>) -> impl Iterator<Item = usize> {
        offer_nos.filter_map(|offer_no| {
            let found = self.by_number.binary_search_by_key(&offer_no, |(no, _)| *no);
            Some(self.by_number[found.ok()?].1 as usize)
        })
    }

    /// The coupons that a customer gets with this basket, at most `moment.most`, in the order of
    /// their places on the receipt ([`Slot`] says of what kinds they are).
    ///
    /// Not chosen is: what counts on another day or in another store; what the customer holds;
    /// what was just bought, unless it is usually bought again within half of the time for which
    /// a coupon counts; what the customer has ignored too often, itself or all that was for its
    /// type; what is for the same type as one that was chosen already; of what so many coupons
    /// were issued as its pace allows; and, unless it is pushed, what has nothing in common with
    /// anything that the customer ever bought.
    pub fn choose(
        &self,
        profile: &Profile,
        moment: &Moment<'_>,
        room: &mut ShowcaseRoom,
    ) -> Vec<Choice> {
        room.paced.clear();
        if moment.most == 0 || self.is_empty() {
            return Vec::new();
        }
        self.look_at(profile, moment, room);
        let mut search = Search::of(self, profile, moment, room);
        let mut chosen: Vec<(&Shown, Choice)> = Vec::new();
        for (nth, order) in PLACES.iter().enumerate().take(moment.most) {
            let taken = order.iter().find_map(|slot| {
                let apart =
                    |types: &[u32]| chosen.iter().all(|(it, _)| are_apart(&it.types, types));
                let free = search.free(*slot, apart);
                let (at, propensity_ppm) = match slot {
                    Slot::Explore => moment.lot.draw(nth, free.len(), moment.explore_ppm),
                    _ => (0, CERTAIN_PPM),
                };
                // An offer for no type at all is apart from itself.
                let place = (at < free.len()).then(|| free.remove(at))?;
                Some((place, *slot, propensity_ppm))
            });
            let Some((place, slot, propensity_ppm)) = taken else { break };
            let shown = &self.offers[place as usize];
            let validity = shown.offer.validity(moment.basket.business_date);
            let Some((valid_from, valid_until)) = validity else { continue };
            let (reason, evidence) = search.weigh(place);
            let reason = if slot == Slot::Push { Some(Reason::Recommended) } else { reason };
            let Some(reason) = reason else { continue };
            let why = Why { reason, slot, propensity_ppm, evidence };
            let offer = Arc::clone(&shown.offer);
            chosen.push((shown, Choice { offer, valid_from, valid_until, why }));
        }
        chosen.into_iter().map(|(_, choice)| choice).collect()
    }

    /// Scores all offers, and finds what the basket holds of them.
    fn look_at(&self, profile: &Profile, moment: &Moment<'_>, room: &mut ShowcaseRoom) {
        self.live.weigh_all(profile, &mut room.offers);
        room.packs.forget();
        room.in_basket.fill(moment, &self.live);
    }

    fn push_of(&self, place: u32) -> Option<u8> {
        self.pushes[place as usize]
    }

    /// The reason for an offer, if there is one, and the numbers behind it, for the account that
    /// was looked at last.
    fn weigh(
        &self,
        place: u32,
        profile: &Profile,
        moment: &Moment<'_>,
        room: &OfferRoom,
        packs: &mut PackRoom,
    ) -> (Option<Reason>, Evidence) {
        let score = self.live.score_of(place, room);
        let rank = self.live.rank_of(place, room);
        if let Some((larger, days_since)) = self.larger(place, profile, moment, room, packs) {
            let evidence = Evidence::of_larger(&larger, days_since, rank, score);
            return (Some(Reason::LargerPack), evidence);
        }
        let customer = Customer::of(profile);
        let common = self.live.common(place, room);
        let reason = reason_of(&common, profile, &customer);
        let days_since = days_since(profile, common.own.last_day);
        (reason, Evidence::new(reason, &common, days_since, rank, score))
    }

    /// Where an offer is for a larger pack of what the customer buys regularly: what that is, and
    /// how many days ago it was last bought. What is pushed is so for no other reason.
    fn larger(
        &self,
        place: u32,
        profile: &Profile,
        moment: &Moment<'_>,
        room: &OfferRoom,
        packs: &mut PackRoom,
    ) -> Option<(Larger, f32)> {
        if !moment.knows_packs || self.push_of(place).is_some() {
            return None;
        }
        let larger = self.live.larger(place, profile, room, packs)?;
        let days_since = days_since(profile, larger.own.last_day);
        is_bought_regularly(&larger, days_since).then_some((larger, days_since))
    }

    /// What keeps an offer from being chosen now, whatever its score.
    fn bar(
        &self,
        place: u32,
        profile: &Profile,
        moment: &Moment<'_>,
        in_basket: &InBasket,
    ) -> Option<Verdict> {
        let is_in_basket = in_basket.is_touched[self.live.group_of(place) as usize];
        let Shown { offer, offer_no, .. } = &self.offers[place as usize];
        let only_type = self.only_types[place as usize];
        let Moment { basket, held, tired, paced, .. } = moment;
        let elsewhere = self.elsewhere(place, basket);
        if elsewhere.is_some() {
            elsewhere
        } else if held.binary_search(offer_no).is_ok() {
            Some(Verdict::Held)
        } else if is_in_basket && is_just_bought(offer, profile, basket) {
            Some(Verdict::JustBought)
        } else if tired.binary_search(offer_no).is_ok() {
            Some(Verdict::Tired)
        } else if only_type > 0 && tired.binary_search(&tired_of_type(only_type)).is_ok() {
            Some(Verdict::TiredOfType)
        } else if paced.binary_search(offer_no).is_ok() {
            Some(Verdict::Paced)
        } else {
            None
        }
    }

    /// Whether an offer counts on another day or in another store than this basket's.
    fn elsewhere(&self, place: u32, basket: &Basket<'_>) -> Option<Verdict> {
        let Shown { offer, since, until, is_everywhere, .. } = &self.offers[place as usize];
        if !is_within(*since, *until, basket.business_date) {
            Some(Verdict::NotLive)
        } else if !is_everywhere && !offer.counts_in(basket.store_no) {
            Some(Verdict::OtherStore)
        } else {
            None
        }
    }
}

/// A type in a list of what a customer is tired of, where the others are offers: its number,
/// negated.
fn tired_of_type(type_no: u32) -> i32 {
    i32::try_from(type_no).map_or(i32::MIN, |no| -no)
}

fn reason_of(common: &Common, profile: &Profile, customer: &Customer) -> Option<Reason> {
    let days_since = days_since(profile, common.own.last_day);
    Reason::of(common, customer.overdue(&common.own), days_since)
}

fn days_since(profile: &Profile, last_day: u16) -> f32 {
    f32::from(profile.last_day().saturating_sub(last_day))
}

/// Whether the basket holds what the offer is for, and the customer will hardly want it again while
/// the coupon counts.
fn is_just_bought(offer: &Offer, profile: &Profile, basket: &Basket<'_>) -> bool {
    sold(basket).any(|product| {
        let half_of_validity = f32::from(offer.definition.valid_days) / 2.0;
        let affinity = || profile.affinity(Level::Product, product.product_no);
        let gap = || affinity().and_then(|affinity| affinity.usual_gap_days);
        offer.target().holds(product) && gap().is_none_or(|gap| gap > half_of_validity)
    })
}
