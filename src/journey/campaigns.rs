//! `campaigns`, `campaign_descriptions`, `coupons` and `coupon_redemptions`: who was sent
//! which coupons when, and what was redeemed.
//!
//! Of type A campaigns each household got 16 of the campaign's coupons, and the data does not
//! say which. Where households got all of them the campaign says so; what to make of the others
//! is for whoever asks.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::civil::Date;

use super::JourneyError;
use super::columns::Columns;

/// A campaign with its coupons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JourneyCampaign {
    /// Number of the campaign.
    pub campaign_id: u32,
    /// First day on which its coupons hold.
    pub start: Date,
    /// Last day on which they hold.
    pub end: Date,
    /// Who got it, by number.
    pub households: Vec<u32>,
    /// By number.
    pub coupons: Vec<JourneyCoupon>,
    /// Whether each of the households got all of the coupons: types B and C. Of type A each got
    /// 16, and which is not disclosed.
    pub gives_all: bool,
}

/// A coupon of a campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JourneyCoupon {
    /// Number of the coupon.
    pub coupon_upc: i64,
    /// The articles for which it holds, by number.
    pub products: Vec<u32>,
}

/// A coupon that was redeemed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redemption {
    /// By whom.
    pub household_id: u32,
    /// Which coupon.
    pub coupon_upc: i64,
    /// Of which campaign.
    pub campaign_id: u32,
    /// When.
    pub on: Date,
}

/// Reads the four files of a folder. Campaigns come by start, then number.
///
/// # Errors
/// When a file is not what it should be.
pub fn read(folder: &Path) -> Result<(Vec<JourneyCampaign>, Vec<Redemption>), JourneyError> {
    let file = Columns::open(&folder.join("campaign_descriptions.parquet"))?;
    let mut campaigns = vec![
        JourneyCampaign {
            campaign_id: 0,
            start: Date::default(),
            end: Date::default(),
            households: Vec::new(),
            coupons: Vec::new(),
            gives_all: false,
        };
        file.rows()
    ];
    file.numbers("campaign_id", |row, value| {
        campaigns[row].campaign_id = small(value)?;
        Ok(())
    })?;
    let mut unknown = None;
    file.texts("campaign_type", |row, text| match text {
        Some("Type A") => {}
        Some("Type B" | "Type C") => campaigns[row].gives_all = true,
        _ => unknown = Some(row),
    })?;
    if let Some(row) = unknown {
        return Err(file.refuse(row, "campaign_type", "is none of Type A, Type B and Type C"));
    }
    file.dates("start_date", |row, date| campaigns[row].start = date)?;
    file.dates("end_date", |row, date| campaigns[row].end = date)?;

    let mut households: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for [campaign, household] in pairs(&folder.join("campaigns.parquet"))? {
        households.entry(campaign).or_default().push(household);
    }
    let mut coupons: BTreeMap<(u32, i64), Vec<u32>> = BTreeMap::new();
    let file = Columns::open(&folder.join("coupons.parquet"))?;
    let mut rows = vec![(0_u32, 0_i64, 0_u32); file.rows()];
    file.numbers("campaign_id", |row, value| {
        rows[row].0 = small(value)?;
        Ok(())
    })?;
    file.numbers("coupon_upc", |row, value| {
        rows[row].1 = value;
        Ok(())
    })?;
    file.numbers("product_id", |row, value| {
        rows[row].2 = small(value)?;
        Ok(())
    })?;
    for (campaign, upc, product) in rows {
        coupons.entry((campaign, upc)).or_default().push(product);
    }
    for campaign in &mut campaigns {
        let id = campaign.campaign_id;
        campaign.households = households.remove(&id).unwrap_or_default();
        campaign.households.sort_unstable();
        campaign.households.dedup();
        for ((_, coupon_upc), products) in coupons.range((id, i64::MIN)..=(id, i64::MAX)) {
            let mut products = products.clone();
            products.sort_unstable();
            products.dedup();
            campaign.coupons.push(JourneyCoupon { coupon_upc: *coupon_upc, products });
        }
    }
    campaigns.sort_by_key(|campaign| (campaign.start, campaign.campaign_id));
    Ok((campaigns, redemptions(&folder.join("coupon_redemptions.parquet"))?))
}

/// Campaign and household of each row.
fn pairs(path: &Path) -> Result<Vec<[u32; 2]>, JourneyError> {
    let file = Columns::open(path)?;
    let mut pairs = vec![[0; 2]; file.rows()];
    for (at, column) in ["campaign_id", "household_id"].into_iter().enumerate() {
        file.numbers(column, |row, value| {
            pairs[row][at] = small(value)?;
            Ok(())
        })?;
    }
    Ok(pairs)
}

fn redemptions(path: &Path) -> Result<Vec<Redemption>, JourneyError> {
    let file = Columns::open(path)?;
    let mut redemptions = vec![Redemption::default(); file.rows()];
    file.numbers("household_id", |row, value| {
        redemptions[row].household_id = small(value)?;
        Ok(())
    })?;
    file.numbers("coupon_upc", |row, value| {
        redemptions[row].coupon_upc = value;
        Ok(())
    })?;
    file.numbers("campaign_id", |row, value| {
        redemptions[row].campaign_id = small(value)?;
        Ok(())
    })?;
    file.dates("redemption_date", |row, date| redemptions[row].on = date)?;
    Ok(redemptions)
}

fn small(value: i64) -> Result<u32, &'static str> {
    u32::try_from(value).map_err(|_| "is not a number from 0 to 4294967295")
}
