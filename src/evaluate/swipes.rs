//! What a swipe pays for its coupons: processor time of the whole choice, note included, with what
//! households had bought at baskets drawn from all of theirs.
//!
//! Owns what such a swipe looks like: which offers are live and which coupons the customer holds,
//! where the data does not say. Chooses by the very functions of the till. Its figures say what a
//! choice costs, and which one it was; must never say how good it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Span;
use jiff::civil::Date;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::clock::Stopwatch;
use super::data::{Basket, Data, Household};
use super::methods::draw;
use super::metrics::ratio;
use crate::accounts::Hot;
use crate::config::Coupons;
use crate::domain::account::{Account, State};
use crate::domain::basket::{Line, LineKind};
use crate::domain::consent::Profiling;
use crate::domain::coupon::{Code, Open};
use crate::domain::name::SwipeName;
use crate::domain::offer::{self, Offer};
use crate::domain::pack::{Pack, Unit};
use crate::domain::product::Product;
use crate::domain::profile::Profile;
use crate::domain::quantity::Quantity;
use crate::domain::selection::offers::OfferWeights;
use crate::domain::selection::showcase::{
    Choice, EVIDENCE_BYTES, Lot, Moment, Noted, Reason, Showcase, ShowcaseRoom, Slot,
};

/// Offers among which a swipe chooses.
const LIVE: usize = 1_000;
/// So many of them are for larger packs.
const LARGER: usize = 200;
/// Most articles of an offer.
const PRODUCTS_MAX: usize = 200;
/// One offer of so many is pushed, and one held back for its pace: never the same.
const PUSHED_OF: i32 = 300;
const PUSHED_AT: i32 = 7;
const PACED_OF: i32 = 50;
/// Swipes over which it is measured, at least.
const FIXTURES: usize = 10_000;
/// Coupons that a customer holds, has used or has let run out, and how many days lie between two.
const REMEMBERED: u32 = 30;
const DAYS_BETWEEN: i64 = 4;
const DAYS_OPEN: i64 = 28;

/// What was measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct SwipeFigures {
    /// Processor time for one choice, in µs: half of the swipes take no longer.
    pub choose_p50_us: f64,
    /// The same for 99 of 100 swipes.
    pub choose_p99_us: f64,
    /// Coupons that were chosen.
    pub chosen: usize,
    /// Of those the ones for a larger pack.
    pub larger: usize,
    /// Of those the ones that managers push.
    pub pushed: usize,
    /// Of all choices, with their reasons and numbers, and not of what is noted beside them:
    /// programs that print the same one have chosen the same.
    pub checksum: u32,
    /// What the profiles take that these choices look at, as they are held in memory: the mean.
    pub profile_mean_bytes: f64,
    /// The same: 99 of 100 take no more.
    pub profile_p99_bytes: usize,
}

/// Chooses for the profiles that households had at baskets drawn from all of theirs. `coupons` are
/// articles of the data, by their numbers; `popularity` is by article, too.
pub fn measure(
    data: &Data,
    scored: &[bool],
    coupons: &[Vec<u32>],
    popularity: &[f32],
    weights: OfferWeights,
) -> SwipeFigures {
    let offers = offers(data, coupons, popularity);
    if offers.is_empty() {
        return SwipeFigures::default();
    }
    let paced: Vec<i32> = (1_i32..).take(LIVE).filter(|no| no % PACED_OF == 0).collect();
    let showcase = Showcase::new(offers.into_iter(), &data.products, popularity, weights);
    let (clock, limits) = (Stopwatch::default(), Coupons::default());
    let mut room = ShowcaseRoom::default();
    let (mut times, mut sizes) = (Vec::new(), Vec::new());
    let (mut figures, mut hasher) = (SwipeFigures::default(), Sha256::new());
    let chosen = data.households.iter().zip(scored).filter(|(_, scored)| **scored);
    let of_each = FIXTURES.div_ceil(chosen.clone().count().max(1));
    for (household, _) in chosen {
        let mut profile = Profile::default();
        let baskets = household.baskets.len() as u64;
        let drawn = |nth| draw(household.household_id.into(), nth) % baskets.max(1);
        let mut asked: Vec<u64> = (0_u32..).take(of_each).map(drawn).collect();
        asked.sort_unstable();
        let mut asked = asked.into_iter().peekable();
        for (index, basket) in (0..).zip(&household.baskets) {
            basket.teach(&mut profile);
            while asked.next_if_eq(&index).is_some() {
                let swipe = Swipe::of(household, index, basket);
                let ((chosen, noted, stored), took) =
                    clock.measure(|| swipe.choose(&limits, &showcase, &profile, &paced, &mut room));
                std::hint::black_box(noted);
                times.push(took);
                sizes.push(profile.encode().len());
                figures.count(&chosen);
                hasher.update(&stored);
            }
        }
    }
    figures.finish(times, sizes);
    let hash: [u8; 32] = hasher.finalize().into();
    let [a, b, c, d, ..] = hash;
    SwipeFigures { checksum: u32::from_be_bytes([a, b, c, d]), ..figures }
}

impl SwipeFigures {
    fn count(&mut self, chosen: &[Choice]) {
        self.chosen += chosen.len();
        let of = |slot| chosen.iter().filter(|choice| choice.why.slot == slot).count();
        self.larger += of(Slot::UpSell);
        self.pushed += of(Slot::Push);
    }

    fn finish(&mut self, mut times: Vec<Duration>, mut sizes: Vec<usize>) {
        times.sort_unstable();
        sizes.sort_unstable();
        let at = |percent: usize| (times.len() * percent / 100).min(times.len().saturating_sub(1));
        let took = |percent| times.get(at(percent)).map_or(0.0, |took| took.as_secs_f64() * 1e6);
        (self.choose_p50_us, self.choose_p99_us) = (took(50), took(99));
        self.profile_mean_bytes = ratio(sizes.iter().sum(), sizes.len().max(1));
        self.profile_p99_bytes = sizes.get(at(99)).copied().unwrap_or_default();
    }
}

/// A basket as a till sends it, of an account as the service holds it.
struct Swipe<'a> {
    name: SwipeName,
    lines: Vec<Line>,
    sold: &'a [Product],
    hot: Hot,
}

impl<'a> Swipe<'a> {
    fn of(household: &Household, index: u64, basket: &'a Basket) -> Self {
        let account_id = i64::from(household.household_id);
        let sequence_number = index.cast_signed();
        let line = |line: u16| Line {
            line,
            kind: LineKind::Sale,
            sku: String::new(),
            quantity: Quantity::from_thousandths(1_000).expect("it is one"),
            amount_minor: 100,
            discount_minor: 0,
        };
        // Seven of them run still, as many as leave room for more; one in five was used.
        let open = |nth: u32| {
            let drawn = draw(u64::from(household.household_id) << 32 | index, nth);
            let began = Span::new().days(i64::from(nth) * DAYS_BETWEEN);
            let valid_from = basket.date.saturating_sub(began);
            Open {
                code: Code::new(0, drawn),
                offer_no: i32::try_from(drawn % LIVE as u64).unwrap_or_default() + 1,
                valid_from,
                valid_until: valid_from.saturating_add(Span::new().days(DAYS_OPEN - 1)),
                is_used: nth.is_multiple_of(5),
                reason: Some(Reason::Favourite),
            }
        };
        Self {
            name: SwipeName {
                store_id: "0367".into(),
                workstation_id: "03".into(),
                business_date: basket.date,
                sequence_number,
            },
            lines: (1..).take(basket.sold.len()).map(line).collect(),
            sold: &basket.sold,
            hot: Hot {
                account: Account::new(account_id, State::Enrolled),
                cards: Arc::default(),
                profile: Arc::default(),
                open: (0..REMEMBERED).map(open).collect(),
                profiling: Profiling::Unsaid,
                tail_since: Date::MAX,
            },
        }
    }

    /// What the service does for it between the profile and the statement, as `commit::redeem`
    /// does it: what is chosen, what is noted beside the swipe, and what is stored of the coupons.
    /// How many more coupons the customer may get, what budgets have, and rows of the batch are
    /// left out.
    fn choose(
        &self,
        limits: &Coupons,
        showcase: &Showcase,
        profile: &Profile,
        paced: &[i32],
        room: &mut ShowcaseRoom,
    ) -> (Vec<Choice>, Vec<u8>, Vec<u8>) {
        let Self { name, lines, sold, hot } = self;
        let business_date = name.business_date;
        let basket = offer::Basket { business_date, store_no: 367, lines, products: sold };
        let (ignored, used) = (hot.ignored_on(business_date), hot.used_on(business_date));
        let tired = showcase.with_tired_types(hot.tired_of(business_date), ignored, used);
        let mut held: Vec<i32> = hot.open_on(business_date).map(|it| it.offer_no).collect();
        held.sort_unstable();
        held.dedup();
        let mut noted = Noted {
            reference_version: 70_000,
            epoch: 12,
            most: u8::try_from(limits.per_swipe).unwrap_or(u8::MAX),
            explore_ppm: limits.explore_ppm(),
            held_out: limits.hold_out().holds(hot.account.account_id),
            knows_packs: true,
            refitted: true,
            held,
            tired,
            ..Noted::default()
        };
        let moment = Moment { paced, ..noted.moment(&basket, Lot::of(name)) };
        let chosen = showcase.choose(profile, &moment, room);
        noted.paced = room.paced().to_vec();
        if noted.held_out {
            noted.withheld.extend(chosen.iter().map(|choice| choice.offer.offer_no));
            noted.withheld.sort_unstable();
        }
        let noted = noted.encode();
        let mut stored = Vec::with_capacity(chosen.len() * (EVIDENCE_BYTES + 12));
        for Choice { offer, why, .. } in &chosen {
            stored.extend_from_slice(&offer.offer_no.to_be_bytes());
            stored.extend_from_slice(&(why.reason as i16).to_be_bytes());
            stored.extend_from_slice(&(why.slot as i16).to_be_bytes());
            stored.extend_from_slice(&why.propensity_ppm.to_be_bytes());
            stored.extend_from_slice(&why.evidence.encode());
        }
        (chosen, noted, stored)
    }
}

/// The offers: larger packs, and for the rest the coupons of the data, again and again where they
/// are too few.
fn offers(data: &Data, coupons: &[Vec<u32>], popularity: &[f32]) -> Vec<Arc<Offer>> {
    let larger = larger_packs(data, popularity);
    let of_coupons = coupons.iter().cycle().take(LIVE - larger.len());
    // Spread among the others, as they would be.
    let mut scopes: Vec<&Vec<u32>> = of_coupons.collect();
    if scopes.is_empty() {
        return Vec::new();
    }
    for (nth, scope) in larger.iter().enumerate() {
        scopes.insert(nth * LIVE / LARGER, scope);
    }
    (1..).zip(scopes).map(|(offer_no, scope)| Arc::new(offer(offer_no, scope))).collect()
}

fn offer(offer_no: i32, articles: &[u32]) -> Offer {
    let skus: Vec<String> = articles.iter().map(u32::to_string).collect();
    let mut definition = json!({
        "offer": format!("o-{offer_no}"), "headline": "Half off", "delivery": "personal",
        "reward": { "kind": "percent-off", "percent": 50 }, "valid_days": 14,
        "at_the_till": true, "scope": { "skus": skus },
        "funding": { "party": "chain", "share_percent": 100 },
    });
    if offer_no % PUSHED_OF == PUSHED_AT {
        definition["push"] = json!(5);
    }
    let definition = serde_json::from_value(definition).expect("every field is one of an offer");
    Offer::compile(offer_no, definition, |_, name| name.parse().ok()).expect("all within limits")
}

/// What holds clearly more than what sells best of a type, and not many times as much, in the
/// types that sell best.
fn larger_packs(data: &Data, popularity: &[f32]) -> Vec<Vec<u32>> {
    let share = |no: u32| popularity.get(no as usize).copied().unwrap_or_default();
    let mut shelves: BTreeMap<(u32, Unit), Vec<(u32, Pack)>> = BTreeMap::new();
    for product in data.products.iter().filter(|it| it.taxa.type_no > 0) {
        if let Some(pack) = product.pack.filter(|it| it.unit != Unit::Pack) {
            let shelf = shelves.entry((product.taxa.type_no, pack.unit)).or_default();
            shelf.push((product.product_no, pack));
        }
    }
    let mut larger: Vec<(f32, Vec<u32>)> = shelves
        .into_values()
        .filter_map(|shelf| {
            let most = |(one, _): &&(u32, Pack), (other, _): &&(u32, Pack)| {
                share(*one).total_cmp(&share(*other)).then(other.cmp(one))
            };
            let usual = u32::from(shelf.iter().max_by(most)?.1.amount);
            let is_larger = |amount: u32| amount * 4 >= usual * 5 && amount <= usual * 4;
            let all = shelf.iter().filter(|(_, pack)| is_larger(pack.amount.into()));
            let articles: Vec<u32> = all.map(|(no, _)| *no).take(PRODUCTS_MAX).collect();
            let sold: f32 = shelf.iter().map(|(no, _)| share(*no)).sum();
            (!articles.is_empty()).then_some((sold, articles))
        })
        .collect();
    larger.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    larger.into_iter().take(LARGER).map(|(_, articles)| articles).collect()
}
