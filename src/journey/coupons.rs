//! The campaigns' coupons as offers of ours, whom they are issued to, and where the recorded
//! redemptions belong.
//!
//! What the data does not say is not made up:
//!
//! * A coupon of a campaign is an offer, since its days are the campaign's: 1,197 offers of the
//!   981 coupons. What it is **worth** is not disclosed, so it may be all that its articles cost:
//!   the till's discount is what counts.
//! * Households of types B and C got **all coupons** of the campaign. Of type A each got 16, and
//!   which is not disclosed: issued are those that were redeemed.
//! * A redemption is of a day, not of a basket. It belongs to the household's **first basket of
//!   the day with an article of the coupon**, else to its first basket of the day; without a
//!   basket on that day it belongs nowhere, and is counted.
//! * What the till gave for it is the coupon discount of a line with an article of the coupon,
//!   the first that no other redemption has taken; without one it is not known, and 0.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::civil::Date;
use serde::Serialize;
use serde_json::json;

use super::business_date;
use super::campaigns::{JourneyCampaign, Redemption};
use super::products::JourneyProduct;
use super::transactions::{RecordedBasket, Transactions};
use crate::domain::offer::Definition;

/// What the coupons are handed out under.
pub const HANDOUT: &str = "completejourney";

/// What the offer of a campaign's coupon is called.
pub fn offer_id(campaign_id: u32, coupon_upc: i64) -> String {
    format!("journey-{campaign_id}-{}", coupon_upc.unsigned_abs())
}

/// The campaigns' coupons as offers.
#[derive(Clone, Debug, Default)]
pub struct Offers {
    /// One for each coupon of each campaign.
    pub definitions: Vec<Definition>,
    /// How many there are of what.
    pub counts: OfferCounts,
}

/// How many offers there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OfferCounts {
    /// Coupons of the data, whatever their campaigns.
    pub coupons: u64,
    /// Offers: a coupon in a campaign.
    pub offers: u64,
    /// Articles in all of their scopes.
    pub skus: u64,
    /// Articles that no catalogue has, so that no scope can name them.
    pub skus_unknown: u64,
    /// Coupons of a campaign of which no catalogue has any article. An offer for nothing that is
    /// named would be one for everything, so they are none.
    pub left_out: u64,
}

/// The offers, on days that `moved` moves.
///
/// # Errors
/// Those of `moved`.
pub fn offers<E>(
    campaigns: &[JourneyCampaign],
    catalogue: &[JourneyProduct],
    moved: impl Fn(Date) -> Result<Date, E>,
) -> Result<Offers, E> {
    let known: HashSet<u32> = catalogue.iter().map(|product| product.product_id).collect();
    let (mut coupons, mut unknown) = (HashSet::new(), HashSet::new());
    let mut offers = Offers::default();
    for campaign in campaigns {
        let (since, until) = (moved(campaign.start)?, moved(campaign.end)?);
        let days = (until - since).get_days() + 1;
        for coupon in &campaign.coupons {
            coupons.insert(coupon.coupon_upc);
            let (skus, others): (Vec<u32>, Vec<u32>) =
                coupon.products.iter().partition(|product| known.contains(*product));
            unknown.extend(others);
            if skus.is_empty() {
                offers.counts.left_out += 1;
                continue;
            }
            offers.counts.skus += skus.len() as u64;
            let skus: Vec<String> = skus.iter().map(u32::to_string).collect();
            let (id, upc) = (campaign.campaign_id, coupon.coupon_upc);
            let definition = json!({
                "offer": offer_id(id, upc),
                "headline": format!("Coupon {upc} of campaign {id}"),
                "delivery": "personal",
                "reward": { "kind": "percent-off", "percent": 100 },
                "scope": { "skus": skus },
                "since": since, "until": until, "valid_days": days,
                "funding": { "party": "manufacturer", "share_percent": 100 },
            });
            let definition = serde_json::from_value(definition);
            offers.definitions.push(definition.expect("every field is one that offers have"));
        }
    }
    offers.counts.coupons = coupons.len() as u64;
    offers.counts.offers = offers.definitions.len() as u64;
    offers.counts.skus_unknown = unknown.len() as u64;
    Ok(offers)
}

/// A coupon that a household got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Got {
    /// Who got it, by number.
    pub household_id: u32,
    /// In which campaign.
    pub campaign_id: u32,
    /// Which.
    pub coupon_upc: i64,
    /// The first day on which it held, as recorded.
    pub from: Date,
}

/// Who got which coupons, each once. Of campaigns that do not disclose it, those that were
/// redeemed.
pub fn issued(campaigns: &[JourneyCampaign], redemptions: &[Redemption]) -> BTreeSet<Got> {
    let starts: HashMap<u32, Date> =
        campaigns.iter().map(|campaign| (campaign.campaign_id, campaign.start)).collect();
    let disclosed = campaigns.iter().filter(|campaign| campaign.gives_all).flat_map(|campaign| {
        campaign.households.iter().flat_map(move |household_id| {
            campaign.coupons.iter().map(move |coupon| Got {
                household_id: *household_id,
                campaign_id: campaign.campaign_id,
                coupon_upc: coupon.coupon_upc,
                from: campaign.start,
            })
        })
    });
    let redeemed = redemptions.iter().filter_map(|redemption| {
        let Redemption { household_id, campaign_id, coupon_upc, .. } = *redemption;
        let from = *starts.get(&campaign_id)?;
        Some(Got { household_id, campaign_id, coupon_upc, from })
    });
    disclosed.chain(redeemed).collect()
}

/// A redemption in a basket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Of which campaign.
    pub campaign_id: u32,
    /// Which coupon.
    pub coupon_upc: i64,
    /// What the till gave for it, in minor units; 0 where the data does not tell.
    pub discount_minor: u32,
}

/// Redemptions by the number of their basket, in the order of the data.
#[derive(Clone, Debug, Default)]
pub struct Placements {
    /// By the number of the basket.
    pub by_basket: HashMap<i64, Vec<Placed>>,
    /// How many went where.
    pub counts: PlacementCounts,
}

/// How many redemptions went where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PlacementCounts {
    /// All of them.
    pub redemptions: u64,
    /// In the day's first basket with an article of the coupon.
    pub with_article: u64,
    /// In the day's first basket, as none had an article of the coupon.
    pub without_article: u64,
    /// Nowhere: the household had no basket on that day.
    pub not_placed: u64,
    /// Of those in a basket, such as the household had redeemed before.
    pub repeated: u64,
    /// Of those in a basket, such as a coupon discount is known for.
    pub with_discount: u64,
}

/// Finds the basket of each redemption.
pub fn place(
    transactions: &Transactions,
    campaigns: &[JourneyCampaign],
    redemptions: &[Redemption],
) -> Placements {
    let mut products: HashMap<(u32, i64), &[u32]> = HashMap::new();
    for campaign in campaigns {
        for coupon in &campaign.coupons {
            products.insert((campaign.campaign_id, coupon.coupon_upc), &coupon.products);
        }
    }
    let days: HashSet<(u32, Date)> =
        redemptions.iter().map(|it| (it.household_id, it.on)).collect();
    // In the order of time, as the baskets are.
    let mut baskets: BTreeMap<(u32, Date), Vec<&RecordedBasket>> = BTreeMap::new();
    for basket in transactions.baskets() {
        let day = (basket.household_id, business_date(basket.occurred_at));
        if days.contains(&day) {
            baskets.entry(day).or_default().push(basket);
        }
    }
    let (mut seen, mut taken) = (HashSet::new(), HashSet::new());
    let mut placements = Placements::default();
    let counts = &mut placements.counts;
    for redemption in redemptions {
        let Redemption { household_id, campaign_id, coupon_upc, on } = *redemption;
        counts.redemptions += 1;
        let Some(of_day) = baskets.get(&(household_id, on)) else {
            counts.not_placed += 1;
            continue;
        };
        let for_these = products.get(&(campaign_id, coupon_upc)).copied().unwrap_or_default();
        let is_of_coupon = |product_id: u32| for_these.binary_search(&product_id).is_ok();
        let has_article = |basket: &&&RecordedBasket| {
            transactions.lines_of(basket).iter().any(|line| is_of_coupon(line.product_id))
        };
        let basket = match of_day.iter().find(has_article) {
            Some(basket) => {
                counts.with_article += 1;
                basket
            }
            None => {
                counts.without_article += 1;
                &of_day[0]
            }
        };
        counts.repeated += u64::from(!seen.insert((household_id, campaign_id, coupon_upc)));
        let lines = transactions.lines_of(basket).iter().enumerate();
        let discounted = lines
            .filter(|(_, line)| line.coupon_minor > 0 && is_of_coupon(line.product_id))
            .find(|(at, _)| taken.insert((basket.basket_id, *at)));
        counts.with_discount += u64::from(discounted.is_some());
        let discount_minor = discounted.map_or(0, |(_, line)| line.coupon_minor);
        let placed = Placed { campaign_id, coupon_upc, discount_minor };
        placements.by_basket.entry(basket.basket_id).or_default().push(placed);
    }
    placements
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::civil::date;

    use super::*;
    use crate::journey::campaigns::JourneyCoupon;
    use crate::journey::transactions::RecordedLine;

    const START: Date = date(2017, 3, 1);

    fn campaign(campaign_id: u32, gives_all: bool, coupons: &[(i64, &[u32])]) -> JourneyCampaign {
        JourneyCampaign {
            campaign_id,
            start: START,
            end: date(2017, 3, 31),
            households: vec![1, 2],
            coupons: coupons
                .iter()
                .map(|(coupon_upc, products)| JourneyCoupon {
                    coupon_upc: *coupon_upc,
                    products: products.to_vec(),
                })
                .collect(),
            gives_all,
        }
    }

    fn redemption(household_id: u32, campaign_id: u32, coupon_upc: i64, day: i8) -> Redemption {
        Redemption { household_id, coupon_upc, campaign_id, on: date(2017, 3, day) }
    }

    #[test]
    fn a_coupon_is_an_offer_for_its_known_articles_and_never_one_for_everything() {
        let campaigns = [campaign(7, true, &[(900, &[10, 11, 99]), (901, &[99])])];
        let product = |product_id| JourneyProduct { product_id, ..JourneyProduct::default() };
        let catalogue = [product(10), product(11)];
        let later = |day: Date| day.checked_add(jiff::Span::new().days(7));
        let Offers { definitions, counts } =
            offers(&campaigns, &catalogue, later).expect("within the calendar");
        let [offer] = definitions.as_slice() else { panic!("{definitions:?}") };
        assert_eq!((&*offer.offer, &*offer.scope.skus.join(" ")), ("journey-7-900", "10 11"));
        assert_eq!(offer.since, Some(date(2017, 3, 8)));
        assert_eq!((offer.until, offer.valid_days), (Some(date(2017, 4, 7)), 31));
        let expected = OfferCounts { coupons: 2, offers: 1, skus: 2, skus_unknown: 1, left_out: 1 };
        assert_eq!(counts, expected);
    }

    #[test]
    fn households_got_all_coupons_or_those_that_they_redeemed() {
        let campaigns =
            [campaign(7, true, &[(900, &[10]), (901, &[11])]), campaign(8, false, &[(900, &[10])])];
        let redemptions =
            [redemption(1, 7, 900, 3), redemption(2, 8, 900, 3), redemption(2, 8, 900, 4)];
        let got: Vec<_> = issued(&campaigns, &redemptions)
            .into_iter()
            .map(|it| (it.household_id, it.campaign_id, it.coupon_upc))
            .collect();
        assert_eq!(got, [(1, 7, 900), (1, 7, 901), (2, 7, 900), (2, 7, 901), (2, 8, 900)]);
    }

    #[test]
    fn a_redemption_belongs_to_the_first_basket_of_the_day_with_an_article_of_it() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a timestamp");
        let line =
            |product_id, coupon| RecordedLine::new(product_id, 1, 300, coupon).with_coupons(coupon);
        let mut all = Transactions::default();
        all.push(1, 1, 367, at("2017-03-03T12:00:00Z"), &[line(50, 0)]);
        all.push(2, 1, 367, at("2017-03-03T13:00:00Z"), &[line(11, 0), line(10, 55)]);
        // Still the third of March in the stores.
        all.push(3, 1, 367, at("2017-03-04T04:00:00Z"), &[line(10, 70)]);
        all.push(4, 2, 367, at("2017-03-03T14:00:00Z"), &[line(50, 0)]);
        let campaigns = [campaign(7, true, &[(900, &[10]), (901, &[10, 11]), (902, &[60])])];
        let redemptions = [
            redemption(1, 7, 900, 3),
            redemption(1, 7, 901, 3),
            redemption(1, 7, 902, 3),
            redemption(1, 7, 900, 3),
            redemption(2, 7, 901, 3),
            redemption(2, 7, 901, 4),
        ];
        let Placements { by_basket, counts } = place(&all, &campaigns, &redemptions);
        let of = |basket: i64| -> Vec<(i64, u32)> {
            by_basket[&basket].iter().map(|it| (it.coupon_upc, it.discount_minor)).collect()
        };
        assert_eq!(of(2), [(900, 55), (901, 0), (900, 0)], "a discount is given once");
        assert_eq!((of(1), of(4)), (vec![(902, 0)], vec![(901, 0)]));
        assert_eq!(by_basket.len(), 3);
        let expected = PlacementCounts {
            redemptions: 6,
            with_article: 3,
            without_article: 2,
            not_placed: 1,
            repeated: 1,
            with_discount: 1,
        };
        assert_eq!(counts, expected);
    }
}
