//! Member prices: what a till must know to give everybody with a card what is everybody's.
//!
//! | phase | round trips |
//! |---|---|
//! | all of it, from the reference data in memory | 0 |
//!
//! Tills ask often and little changes. So which articles an offer is for is worked out once for
//! each state of the reference data, and a till that has the answer already is told so before
//! anything is put together. Must never say what it knows of a customer, nor touch an account.

pub mod http;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex as AsyncMutex;
use utoipa::ToSchema;

use crate::catalogue::Snapshot;
use crate::domain::offer::{Articles, Definition, Limits, Offer, Reward, Stacking, Weekday};
use crate::domain::product::Product;
use crate::error::Error;

/// Most articles of an offer that are named one by one.
pub const ARTICLES_MAX: usize = 500;
/// Most answers of which is remembered what they are: stores and the days that they ask for.
const TAGS_MAX: usize = 16_384;
/// Most epochs of which is remembered what offers are for.
const EPOCHS_MAX: usize = 4;

/// What everybody with a card gets in a store on a business date.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = MemberPrices)]
pub struct MemberPricesOut {
    /// The store of the terminal.
    #[schema(example = "0367")]
    pub store_id: String,
    /// The day for which it holds.
    #[schema(value_type = String, format = Date)]
    pub business_date: Date,
    /// ISO 4217.
    #[schema(example = "USD")]
    pub currency: String,
    /// The offers, oldest first.
    pub offers: Vec<MemberPriceOut>,
}

/// An offer that everybody with a card gets. A till that gives it names it in the swipe.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = MemberPrice)]
pub struct MemberPriceOut {
    /// What it is called, for `redemptions` of the swipe.
    #[schema(example = "member-milk")]
    pub offer: String,
    /// What customers read, on the shelf and on the receipt.
    #[schema(example = "Whole milk 2.99 with your card")]
    pub headline: String,
    /// What it gives.
    pub reward: Reward,
    /// The articles that it is for; null where they are more than 500: then `scope` and `except`
    /// say it.
    pub articles: Option<Vec<MemberArticleOut>>,
    /// Where `articles` is null, what it is for; nothing named: everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Articles>,
    /// Of that, what it is not for, with the articles that no offer is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub except: Option<Articles>,
    /// What the whole basket must come to, before discounts.
    pub minimum_basket_minor: i64,
    /// How many of what it is for must be bought.
    pub minimum_quantity: i64,
    /// The most that a till gives for it in a transaction.
    pub discount_max_minor: Option<i64>,
    /// How often a till may name it; a transaction that does so once is within the last of them.
    pub limits: Limits,
    /// The offers of a group exclude each other; the one with the highest priority counts.
    pub stacking: Option<Stacking>,
    /// The last business date on which it counts; null: it has no end.
    #[schema(value_type = Option<String>, format = Date)]
    pub until: Option<Date>,
    /// Days of the week on which it counts, this one among them; none named: all of them.
    pub weekdays: Vec<Weekday>,
}

/// An article with a member price.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = MemberArticle)]
pub struct MemberArticleOut {
    /// As tills name it.
    #[schema(example = "1095275")]
    pub sku: String,
    /// What one of it costs with a card, in minor units, where the offer is a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = 299)]
    pub price_minor: Option<i64>,
}

/// What has been worked out, kept while the reference data stays as it is.
#[derive(Debug, Default)]
pub struct MemberPrices {
    /// The tag of each answer, by the state of the reference data that it is made of.
    tags: Mutex<(i64, Tags)>,
    /// What the offers are for, by epoch.
    aims: AsyncMutex<(i64, AimsByEpoch)>,
}

/// By store and business date.
type Tags = HashMap<(u32, Date), String>;

type AimsByEpoch = HashMap<i32, Arc<Aims>>;

/// What offers are for, by their numbers.
type Aims = HashMap<i32, Aim>;

/// What one offer is for, in words of the till.
#[derive(Debug, Default)]
struct Aim {
    /// The articles, sorted; none where they are too many.
    skus: Option<Vec<String>>,
    /// What its scope names and it is not for all the same, as no offer is, sorted; where they
    /// are too many to be named one by one.
    never: Vec<String>,
}

impl MemberPrices {
    /// The tag of the answer for a store and a day, if it is known already: the same tag means the
    /// same answer.
    fn tag(&self, snapshot: &Snapshot, store_no: u32, business_date: Date) -> Option<String> {
        let tags = self.tags.lock().expect("nothing panics with it");
        let (version, tags) = &*tags;
        let is_current = *version == snapshot.moment().0;
        tags.get(&(store_no, business_date)).filter(|_| is_current).cloned()
    }

    /// Remembers what the answer for a store and a day is.
    fn remember(&self, snapshot: &Snapshot, store_no: u32, business_date: Date, tag: &str) {
        let mut tags = self.tags.lock().expect("nothing panics with it");
        let (version, tags) = &mut *tags;
        let current = snapshot.moment().0;
        if *version != current || tags.len() >= TAGS_MAX {
            tags.clear();
            *version = current;
        }
        tags.insert((store_no, business_date), tag.to_owned());
    }

    /// What everybody with a card gets in a store on a day.
    ///
    /// # Errors
    /// When the service is shutting down.
    async fn of(
        &self,
        snapshot: &Arc<Snapshot>,
        store_no: u32,
        business_date: Date,
    ) -> Result<Vec<MemberPriceOut>, Error> {
        let Some(epoch) = snapshot.epoch_on(business_date) else { return Ok(Vec::new()) };
        let (epoch, current) = (epoch.epoch, snapshot.moment().0);
        let aims = {
            let mut known = self.aims.lock().await;
            let (version, known) = &mut *known;
            if *version != current || known.len() >= EPOCHS_MAX {
                known.clear();
                *version = current;
            }
            match known.get(&epoch) {
                Some(aims) => Arc::clone(aims),
                None => {
                    // A large catalogue takes a while, and this thread serves tills.
                    let snapshot = Arc::clone(snapshot);
                    let working = move || aims_of(&snapshot, epoch);
                    let aims = tokio::task::spawn_blocking(working).await;
                    let aims = Arc::new(aims.map_err(|_| Error::Bug)?);
                    known.insert(epoch, Arc::clone(&aims));
                    aims
                }
            }
        };
        let given = snapshot.automatic_offers().filter(|it| it.is_given(business_date, store_no));
        let none = Aim { skus: Some(Vec::new()), never: Vec::new() };
        Ok(given.map(|it| shown(it, aims.get(&it.offer_no).unwrap_or(&none))).collect())
    }
}

/// What the offers that are everybody's are for, as an epoch has the articles.
fn aims_of(snapshot: &Snapshot, epoch: i32) -> Aims {
    let Some(epoch) = snapshot.epoch(epoch) else { return Aims::new() };
    let articles: Vec<(&str, Product)> = snapshot.articles_of(epoch).collect();
    let aim = |offer: &Offer| {
        let target = offer.target();
        let is_for = articles.iter().filter(|(_, product)| target.holds(product));
        let mut skus: Vec<String> =
            is_for.take(ARTICLES_MAX + 1).map(|(sku, _)| (*sku).to_owned()).collect();
        if skus.len() <= ARTICLES_MAX {
            skus.sort_unstable();
            return Aim { skus: Some(skus), never: Vec::new() };
        }
        let never = articles.iter().filter(|(_, product)| {
            let named = target.scope.as_ref().is_none_or(|scope| scope.holds(product));
            named && !target.holds(product) && !target.except.holds(product)
        });
        let mut never: Vec<String> = never.map(|(sku, _)| (*sku).to_owned()).collect();
        never.sort_unstable();
        Aim { skus: None, never }
    };
    snapshot.automatic_offers().map(|offer| (offer.offer_no, aim(offer))).collect()
}

fn shown(offer: &Offer, aim: &Aim) -> MemberPriceOut {
    let definition = offer.definition.clone();
    let Definition { offer, headline, reward, scope, mut except, .. } = definition;
    let price_minor = match reward {
        Reward::FixedPrice { price_minor } => Some(price_minor),
        _ => None,
    };
    let article = |sku: &String| MemberArticleOut { sku: sku.clone(), price_minor };
    let articles: Option<Vec<MemberArticleOut>> =
        aim.skus.as_ref().map(|skus| skus.iter().map(article).collect());
    except.skus.extend(aim.never.iter().cloned());
    let is_named = articles.is_some();
    MemberPriceOut {
        offer,
        headline,
        reward,
        articles,
        scope: (!is_named).then_some(scope),
        except: (!is_named).then_some(except),
        minimum_basket_minor: definition.minimum_basket_minor,
        minimum_quantity: definition.minimum_quantity,
        discount_max_minor: definition.discount_max_minor,
        limits: definition.limits,
        stacking: definition.stacking,
        until: definition.until,
        weekdays: definition.weekdays,
    }
}

/// What tells an answer from every other: 128 bits of its SHA-256, as an entity tag.
fn tag_of(body: &[u8]) -> String {
    let digest = Sha256::digest(body);
    let digits: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{digits}\"")
}

/// Whether a till that asks with this `If-None-Match` has the answer with this tag (RFC 9110,
/// 13.1.2: compared weakly).
fn has_it(if_none_match: &str, tag: &str) -> bool {
    let tags = if_none_match.split(',').map(str::trim);
    tags.into_iter().any(|it| it == "*" || it.strip_prefix("W/").unwrap_or(it) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_till_has_an_answer_whose_tag_it_names_in_any_of_the_ways_of_http() {
        let tag = tag_of(b"an answer");
        assert_eq!((tag.len(), tag_of(b"another") == tag), (34, false));
        for (named, has) in [
            (tag.clone(), true),
            (format!("W/{tag}"), true),
            (format!("\"x\", {tag}"), true),
            ("*".to_owned(), true),
            ("\"x\"".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(has_it(&named, &tag), has, "{named}");
        }
    }
}
