//! Member prices as a till gives them: what the service has said, applied to a basket.
//!
//! The sums are those of `domain::offer`. Must never ask the service whether it may.

use std::cmp::Reverse;

use super::Swiped;
use crate::domain::basket::{Line, LineKind};
use crate::domain::budget::Budget;
use crate::domain::offer::{Articles, Basket, Definition, Delivery, Funding, Offer};
use crate::domain::product::Product;
use crate::domain::programme::Level;
use crate::member_prices::{MemberPriceOut, MemberPricesOut};

/// What the till gave for one offer.
pub(super) struct Given {
    pub(super) offer: String,
    pub(super) discount_minor: i64,
}

/// Takes member prices off the lines that they are for, and off the total. Of offers that exclude
/// each other the one with the highest priority is given; one that names no articles is left out,
/// since this till does not know where articles belong.
pub(super) fn give(swiped: &mut Swiped, prices: &MemberPricesOut) {
    let mut skus: Vec<String> = swiped.lines.iter().map(|line| line.sku.clone()).collect();
    skus.sort_unstable();
    skus.dedup();
    let number = |sku: &str| {
        let at = skus.iter().position(|it| it == sku);
        at.and_then(|at| u32::try_from(at + 1).ok())
    };
    let products: Vec<Product> = swiped
        .lines
        .iter()
        .map(|line| Product {
            product_no: number(&line.sku).unwrap_or_default(),
            ..Product::default()
        })
        .collect();
    // An article that is not in the basket is none of its numbers.
    let find = |level, name: &str| match level {
        Level::Sku => Some(number(name).unwrap_or(u32::MAX)),
        _ => None,
    };
    let compiled = prices.offers.iter().filter_map(|price| {
        let offer = Offer::compile(0, definition(price)?, find).ok()?;
        Some((offer, &price.headline))
    });
    let mut offers: Vec<(Offer, &String)> = compiled.collect();
    offers.sort_by_key(|(offer, _)| Reverse(offer.priority()));
    let mut groups: Vec<String> = Vec::new();
    for (offer, headline) in offers {
        let group = offer.definition.stacking.as_ref().map(|stacking| stacking.group.clone());
        if group.as_ref().is_some_and(|group| groups.contains(group)) {
            continue;
        }
        let lines: Vec<Line> = (1..).zip(&swiped.lines).map(|(no, it)| as_line(no, it)).collect();
        let (business_date, store_no) = (prices.business_date, 0);
        let basket = Basket { business_date, store_no, lines: &lines, products: &products };
        if !offer.is_for(&basket) || !offer.has_enough(&basket) {
            continue;
        }
        let off = offer.taken_off(&basket);
        let discount_minor: i64 = off.iter().map(|(_, off)| off).sum();
        if discount_minor == 0 {
            continue;
        }
        for (at, off) in off {
            swiped.lines[at].off.push((headline.clone(), off));
        }
        swiped.total_minor -= discount_minor;
        groups.extend(group);
        swiped.given.push(Given { offer: offer.definition.offer.clone(), discount_minor });
    }
}

/// The offer as far as a till is told of it, which is all that a basket is held against. None where
/// no articles are named.
fn definition(price: &MemberPriceOut) -> Option<Definition> {
    let articles = price.articles.as_ref().filter(|articles| !articles.is_empty())?;
    let skus = articles.iter().map(|article| article.sku.clone()).collect();
    Some(Definition {
        offer: price.offer.clone(),
        headline: price.headline.clone(),
        delivery: Delivery::Automatic,
        shared_code: None,
        reward: price.reward,
        scope: Articles { skus, ..Articles::default() },
        except: Articles::default(),
        minimum_basket_minor: price.minimum_basket_minor,
        minimum_quantity: price.minimum_quantity,
        stores: Vec::new(),
        since: None,
        until: price.until,
        weekdays: price.weekdays.clone(),
        limits: price.limits,
        stacking: price.stacking.clone(),
        at_the_till: false,
        valid_days: 0,
        discount_max_minor: price.discount_max_minor,
        funding: Funding { party: "nobody".to_owned(), share_percent: 0 },
        budget: Budget::default(),
        push: None,
        goodwill: false,
    })
}

fn as_line(number: u16, line: &super::PrintedLine) -> Line {
    Line {
        line: number,
        kind: match line.is_return {
            true => LineKind::Return { sold_on: None },
            false => LineKind::Sale,
        },
        sku: line.sku.clone(),
        quantity: line.quantity,
        amount_minor: line.amount_minor,
        discount_minor: line.discount_minor(),
    }
}
