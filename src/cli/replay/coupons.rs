//! The coupons of recorded campaigns in a replay: brought in as offers, issued to households, and
//! taken by tills. Only says what the data says; `journey::coupons` owns what that means.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::fmt;
use std::path::Path;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use super::note;
use crate::cli::import::hand_out;
use crate::cli::progress::Progress;
use crate::config::Config;
use crate::import::Importer;
use crate::import::coupons::CouponRecord;
use crate::import::findings::Place;
use crate::import::offers::OfferRecord;
use crate::journey::campaigns::{self, JourneyCampaign, Redemption};
use crate::journey::card_of;
use crate::journey::coupons::{self, Got, OfferCounts, Offers, PlacementCounts, Placements};
use crate::journey::products::JourneyProduct;
use crate::journey::transactions::Transactions;
use crate::replay::{ReplayError, ShiftMemory, Taken, moved_date};

/// What the data holds of coupons.
pub(super) struct Recorded {
    campaigns: Vec<JourneyCampaign>,
    redemptions: Vec<Redemption>,
}

/// What a replay did with coupons, for programs.
#[derive(Clone, Debug, Serialize)]
pub(super) struct CouponReport {
    /// Of the whole data, whatever was chosen of it.
    offers: OfferCounts,
    /// The same.
    issued: IssueCounts,
    /// Of the chosen baskets.
    pub(super) redemptions: PlacementCounts,
    /// Redemptions in a basket whose coupon nobody has issued, so that no till can take it.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_issued: Option<u64>,
}

/// Coupons that households got.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct IssueCounts {
    /// All of them.
    coupons: u64,
    /// Of campaigns that gave each household all of their coupons.
    disclosed: u64,
    /// Of campaigns that do not disclose who got what: those that were redeemed.
    redeemed: u64,
}

impl Recorded {
    pub(super) fn read(folder: &Path) -> Result<Self, Box<dyn Error>> {
        let (campaigns, redemptions) = campaigns::read(folder)?;
        Ok(Self { campaigns, redemptions })
    }

    /// Everybody who was sent anything.
    pub(super) fn households(&self) -> impl Iterator<Item = u32> {
        self.campaigns.iter().flat_map(|campaign| &campaign.households).copied()
    }

    /// Keeps the redemptions for which `keep` holds, by household and day.
    pub(super) fn choose(&mut self, keep: impl Fn(u32, Date) -> bool) {
        self.redemptions.retain(|redemption| keep(redemption.household_id, redemption.on));
    }

    /// The basket of each redemption.
    pub(super) fn place(&self, baskets: &Transactions) -> Placements {
        coupons::place(baskets, &self.campaigns, &self.redemptions)
    }

    fn offers(
        &self,
        catalogue: &[JourneyProduct],
        shift_weeks: i32,
    ) -> Result<Offers, ReplayError> {
        coupons::offers(&self.campaigns, catalogue, |date| moved_date(date, shift_weeks))
    }

    /// Those that households got, but for the coupons that are no offers.
    fn issued(&self, offers: &Offers) -> Vec<Got> {
        let ids: HashSet<&str> = offers.definitions.iter().map(|it| &*it.offer).collect();
        let is_offer =
            |got: &Got| ids.contains(&*coupons::offer_id(got.campaign_id, got.coupon_upc));
        coupons::issued(&self.campaigns, &self.redemptions).into_iter().filter(is_offer).collect()
    }

    /// What there is to tell before anything is chosen or sent.
    pub(super) fn report(
        &self,
        catalogue: &[JourneyProduct],
        shift_weeks: i32,
    ) -> Result<CouponReport, ReplayError> {
        let offers = self.offers(catalogue, shift_weeks)?;
        let mut issued = IssueCounts::default();
        for got in self.issued(&offers) {
            let gives_all =
                |it: &JourneyCampaign| it.gives_all && it.campaign_id == got.campaign_id;
            issued.coupons += 1;
            match self.campaigns.iter().any(gives_all) {
                true => issued.disclosed += 1,
                false => issued.redeemed += 1,
            }
        }
        let (offers, redemptions) = (offers.counts, PlacementCounts::default());
        Ok(CouponReport { offers, issued, redemptions, not_issued: None })
    }

    /// Brings the offers in and issues their coupons, once.
    pub(super) async fn prepare(
        &self,
        args: &super::ReplayArgs,
        config: &Config,
        catalogue: &[JourneyProduct],
        shift_weeks: i32,
        now: Timestamp,
    ) -> Result<(), Box<dyn Error>> {
        let offers = self.offers(catalogue, shift_weeks)?;
        let got = self.issued(&offers);
        let offers: Vec<OfferRecord> = (1..)
            .zip(offers.definitions)
            .map(|(row, definition)| OfferRecord { place: Place::Row(row), definition })
            .collect();
        let mut importer = Importer::connect(&config.database, now).await?;
        let progress = Progress::new("writing offers", Some(offers.len() as u64));
        let outcome = importer.offers(&offers, |rows| progress.add(rows)).await?;
        drop(progress);
        note(args, &outcome)?;
        let records = (1..)
            .zip(got)
            .map(|(row, got)| {
                Ok(CouponRecord {
                    place: Place::Row(row),
                    card: card_of(got.household_id),
                    offer: coupons::offer_id(got.campaign_id, got.coupon_upc),
                    from: moved_date(got.from, shift_weeks)?,
                })
            })
            .collect::<Result<Vec<_>, ReplayError>>()?;
        note(args, &hand_out(&records, coupons::HANDOUT, config, now).await?)
    }
}

/// What tills take, by basket: with the codes that were issued, which are the same each time.
pub(super) async fn taken(
    report: &mut CouponReport,
    placements: &Placements,
    baskets: &Transactions,
    config: &Config,
) -> Result<HashMap<i64, Vec<Taken>>, Box<dyn Error>> {
    if config.database.url.is_empty() {
        return Err("--coupons needs the database, which knows the codes of the coupons: set \
                    database.url"
            .into());
    }
    let memory = ShiftMemory::connect(&config.database).await?;
    let codes = memory.coupons(coupons::HANDOUT).await?;
    if codes.is_empty() && !placements.by_basket.is_empty() {
        return Err("no coupons of these campaigns have been issued: give --prepare once".into());
    }
    let (mut taken, mut not_issued) = (HashMap::new(), 0);
    for basket in baskets.baskets() {
        let Some(placed) = placements.by_basket.get(&basket.basket_id) else { continue };
        let card = card_of(basket.household_id);
        let mut of_basket = Vec::with_capacity(placed.len());
        for it in placed {
            let key = (card.clone(), coupons::offer_id(it.campaign_id, it.coupon_upc));
            match codes.get(&key) {
                Some(code) => of_basket
                    .push(Taken { coupon: code.to_string(), discount_minor: it.discount_minor }),
                None => not_issued += 1,
            }
        }
        taken.insert(basket.basket_id, of_basket);
    }
    report.not_issued = Some(not_issued);
    Ok(taken)
}

impl fmt::Display for CouponReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offers, issued, redemptions, not_issued } = self;
        for (count, what) in [
            (offers.offers, "offers: the campaigns' coupons, each in its campaign"),
            (offers.coupons, "coupons that they are of"),
            (offers.skus, "articles in their scopes"),
            (offers.skus_unknown, "such articles that no catalogue has, left out"),
            (offers.left_out, "coupons of which no catalogue has any article: no offers"),
            (issued.coupons, "coupons that households got"),
            (issued.disclosed, "of them of types B and C: all of the campaign's"),
            (issued.redeemed, "of them of type A, which does not disclose who got what: redeemed"),
            (redemptions.redemptions, "redemptions"),
            (redemptions.with_article, "in the day's first basket with an article of the coupon"),
            (redemptions.without_article, "in the day's first basket, none having such an article"),
            (redemptions.not_placed, "could not be placed: no basket on that day"),
            (redemptions.repeated, "of those in baskets had been redeemed before"),
            (
                redemptions.with_discount,
                "of those in baskets with the discount of a line; others 0",
            ),
        ] {
            writeln!(f, "{count:>12}  {what}")?;
        }
        if let Some(not_issued) = not_issued {
            writeln!(f, "{not_issued:>12}  of those in baskets of coupons that nobody issued")?;
        }
        Ok(())
    }
}
