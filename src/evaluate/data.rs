//! The recorded baskets as the evaluation needs them: by household, in the order of time, with
//! every name of the hierarchy as a number. Reads nothing itself; must never drop a basket.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::Zoned;
use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};

use crate::domain::pack::Pack;
use crate::domain::product::{Product, Taxa};
use crate::domain::profile::{Level, Profile, Visit};
use crate::journey::campaigns::{JourneyCampaign, Redemption};
use crate::journey::products::JourneyProduct;
use crate::journey::transactions::Transactions;

/// The levels, in the order of their numbers.
pub const LEVELS: [Level; 3] = [Level::Category, Level::Type, Level::Product];

/// Products with fewer lines than this in all data are not ranked.
const LINES_MIN: u32 = 10;

/// One basket.
#[derive(Clone, Debug, Default)]
pub struct Basket {
    /// The trading day.
    pub date: Date,
    /// The day in UTC. By it the protocol parts the baskets of its tasks on baskets, since its
    /// figures were measured so.
    pub date_utc: Date,
    /// In the stores' own time, 0 to 23.
    pub hour: u8,
    /// What was paid, in minor units.
    pub total_minor: i64,
    /// Coupons of campaigns that were redeemed.
    pub redemptions: usize,
    /// What was sold; of articles that are no targets only the number of the article.
    pub sold: Vec<Product>,
    /// What it holds at each level that may be ranked: ids, sorted, each once.
    pub items: [Vec<u32>; 3],
}

/// A household's baskets, in the order of time.
#[derive(Clone, Debug, Default)]
pub struct Household {
    /// Its number.
    pub household_id: u32,
    /// Oldest first.
    pub baskets: Vec<Basket>,
}

/// Everything that is evaluated.
#[derive(Clone, Debug, Default)]
pub struct Data {
    /// By number.
    pub households: Vec<Household>,
    /// The articles by their number inside; 0 is none.
    pub products: Vec<Product>,
    /// For each level and id whether it may be ranked.
    pub eligible: [Vec<bool>; 3],
    /// By start.
    pub campaigns: Vec<JourneyCampaign>,
    /// What was redeemed of them.
    pub redemptions: Vec<Redemption>,
    numbers: HashMap<u32, u32>,
}

/// Numbers names in their order, so that "by name" is by number. 0 is none.
fn numbered<'a>(names: impl Iterator<Item = &'a str>) -> HashMap<String, u32> {
    let names: BTreeSet<&str> = names.collect();
    (1..).zip(names).map(|(number, name)| (name.to_owned(), number)).collect()
}

impl Data {
    /// Brings transactions and catalogue together.
    pub fn new(
        transactions: &Transactions,
        catalogue: &[JourneyProduct],
        campaigns: Vec<JourneyCampaign>,
        redemptions: Vec<Redemption>,
    ) -> Self {
        let products = number_products(transactions, catalogue);
        let numbers: HashMap<u32, u32> =
            products.iter().map(|(id, product)| (*id, product.product_no)).collect();
        let mut lines = vec![0_u32; products.len() + 1];
        let mut households: BTreeMap<u32, Vec<Basket>> = BTreeMap::new();
        for basket in transactions.baskets() {
            let lines_of = transactions.lines_of(basket);
            let sold: Vec<Product> =
                lines_of.iter().map(|line| products[&line.product_id]).collect();
            for product in &sold {
                lines[product.product_no as usize] += 1;
            }
            let at = local(basket.occurred_at);
            households.entry(basket.household_id).or_default().push(Basket {
                date: at.date(),
                date_utc: basket.occurred_at.to_zoned(TimeZone::UTC).date(),
                hour: u8::try_from(at.hour()).unwrap_or_default(),
                total_minor: transactions.sales_minor(basket),
                redemptions: 0,
                sold,
                items: Default::default(),
            });
        }
        // Tills tell of the coupons that their chain gave, not of those that manufacturers print.
        for redemption in &redemptions {
            let baskets = households.get_mut(&redemption.household_id).into_iter().flatten();
            if let Some(basket) = baskets.filter(|basket| basket.date == redemption.on).last() {
                basket.redemptions += 1;
            }
        }
        let mut all = Self {
            households: households
                .into_iter()
                .map(|(household_id, baskets)| Household { household_id, baskets })
                .collect(),
            products: std::iter::once(Product::default()).chain(products.into_values()).collect(),
            campaigns,
            redemptions,
            numbers,
            ..Self::default()
        };
        let mut eligible: [Vec<bool>; 3] = Default::default();
        for product in &all.products {
            for level in LEVELS {
                let id = id_of(product, level) as usize;
                let flags = &mut eligible[level as usize];
                flags.resize(flags.len().max(id + 1), false);
                let few = level == Level::Product && lines[id] < LINES_MIN;
                flags[id] = id > 0 && !few;
            }
        }
        for basket in all.households.iter_mut().flat_map(|h| &mut h.baskets) {
            for level in LEVELS {
                let items = &mut basket.items[level as usize];
                items.extend(basket.sold.iter().map(|product| id_of(product, level)));
                items.retain(|id| eligible[level as usize][*id as usize]);
                items.sort_unstable();
                items.dedup();
            }
        }
        all.eligible = eligible;
        all
    }

    /// The number inside of an article of the data; 0 when there is none.
    pub fn product_no(&self, product_id: u32) -> u32 {
        self.numbers.get(&product_id).copied().unwrap_or_default()
    }

    /// Which households are among the chosen ones, by their place in [`Data::households`].
    pub fn chosen(&self, ids: &HashSet<u32>) -> Vec<bool> {
        self.households.iter().map(|household| ids.contains(&household.household_id)).collect()
    }
}

impl Basket {
    /// Teaches a profile the basket, as the service does.
    pub fn teach(&self, profile: &mut Profile) {
        profile.learn(&Visit {
            business_date: self.date,
            hour: self.hour,
            store_no: 0,
            total_minor: self.total_minor,
            redemptions: self.redemptions,
            sold: &self.sold,
        });
    }
}

/// The number of an article's item at a level; 0 when it has none.
pub fn id_of(product: &Product, level: Level) -> u32 {
    match level {
        Level::Category => product.taxa.category_no,
        Level::Type => product.taxa.type_no,
        Level::Product => product.product_no,
    }
}

fn local(occurred_at: jiff::Timestamp) -> Zoned {
    occurred_at.to_zoned(TimeZone::fixed(Offset::constant(-5)))
}

/// Every article that the catalogue has or that was sold, by its id.
fn number_products(
    transactions: &Transactions,
    catalogue: &[JourneyProduct],
) -> BTreeMap<u32, Product> {
    let known: BTreeMap<u32, &JourneyProduct> =
        catalogue.iter().map(|product| (product.product_id, product)).collect();
    let brands: Vec<String> = catalogue.iter().map(JourneyProduct::brand).collect();
    let brand_nos = numbered(brands.iter().map(String::as_str));
    let category_nos = numbered(catalogue.iter().filter_map(|p| p.category.as_deref()));
    let type_nos = numbered(catalogue.iter().filter_map(|p| p.kind.as_deref()));
    let sold = transactions.baskets().iter().flat_map(|basket| transactions.lines_of(basket));
    let ids: BTreeSet<u32> =
        known.keys().copied().chain(sold.map(|line| line.product_id)).collect();
    let number = |product_no: u32, id: u32| {
        let (mut taxa, mut pack) = (Taxa::default(), None);
        if let Some(product) = known.get(&id) {
            pack = product.package_size.as_deref().and_then(Pack::read);
            taxa.brand_no = brand_nos.get(&product.brand()).copied().unwrap_or_default();
            if let (Some(category), false) = (&product.category, product.is_no_target()) {
                taxa.category_no = category_nos[category];
                taxa.type_no = product.kind.as_ref().map_or(0, |kind| type_nos[kind]);
            }
        }
        Product { product_no, taxa, pack, ..Product::default() }
    };
    (1..).zip(ids).map(|(product_no, id)| (id, number(product_no, id))).collect()
}
