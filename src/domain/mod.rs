//! What Tillside decides, without I/O, clock or randomness.
//!
//! Nothing in here may import anything of this crate but `domain` itself. In reading order:
//! what a till says ([`name`], [`card`], [`quantity`], [`basket`]), what the retailer says
//! ([`programme`], [`product`], [`pack`], [`offer`], [`budget`], [`target`]), what we remember
//! ([`account`], [`ledger`], [`tally`], [`profile`], [`coupon`], [`consent`]), and what follows
//! from the three ([`swipe`], [`selection`]); and whom people mean ([`segment`]).
//! [`estimate`] says what can be concluded from it afterwards.
//! [`content`], [`record`] and [`codec`] turn it into bytes; [`payment_card`] keeps out what
//! must never be stored.

pub mod account;
pub mod basket;
pub mod boost;
pub mod bucket;
pub mod budget;
pub mod card;
pub mod codec;
pub mod consent;
pub mod content;
pub mod coupon;
pub mod desk;
pub mod estimate;
pub mod ledger;
pub mod name;
pub mod offer;
pub mod pack;
pub mod payment_card;
pub mod product;
pub mod profile;
pub mod programme;
pub mod quantity;
pub mod record;
pub mod segment;
pub mod selection;
pub mod standing;
pub mod swipe;
pub mod tally;
pub mod target;

#[cfg(test)]
mod tests;
