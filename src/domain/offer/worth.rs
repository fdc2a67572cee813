//! What a reward is worth on a basket: the most that a till may give for it, the points that it
//! gives, and on which lines a till takes off what everybody gets. Whether an offer counts at all
//! is not asked here.

use std::cmp::Reverse;

use super::super::basket::Line;
use super::super::boost::{Boost, Gives};
use super::{Basket, Offer, Reward};

impl Offer {
    /// The most that a till may give for one coupon on a basket, in minor units; of an automatic
    /// offer, for all of it. Percentages are rounded up on each line, since tills round as they
    /// like. Nothing for points.
    pub fn worth_minor(&self, basket: &Basket<'_>) -> i64 {
        let worth = match self.definition.reward {
            Reward::AmountOff { amount_minor } => {
                let amounts = self.lines(basket).map(|line| i128::from(line.amount_minor));
                amounts.sum::<i128>().min(amount_minor.into())
            }
            Reward::FixedPrice { price_minor } if !self.is_automatic() => {
                let dearest = self.lines(basket).map(price_of_one).max().unwrap_or(0);
                (dearest - i128::from(price_minor)).max(0)
            }
            Reward::CheapestFree { of } => cheapest_free(self.lines(basket), of.into()),
            _ => self.lines(basket).map(|line| self.most_of(line)).sum(),
        };
        let worth = i64::try_from(worth).unwrap_or(i64::MAX);
        self.definition.discount_max_minor.map_or(worth, |most| worth.min(most))
    }

    /// What a till takes off which lines, by their places, when it gives an automatic offer: all
    /// that it is worth, and of no line more than is left of its price.
    pub fn taken_off(&self, basket: &Basket<'_>) -> Vec<(usize, i64)> {
        let mut left = self.worth_minor(basket);
        let mut places: Vec<(usize, &Line)> = self.places(basket).collect();
        if matches!(self.definition.reward, Reward::CheapestFree { .. }) {
            places.sort_by_key(|(_, line)| price_of_one(line));
        }
        let mut taken = Vec::new();
        for (at, line) in places {
            let most = i64::try_from(self.most_of(line)).unwrap_or(i64::MAX);
            let off = most.min(line.net_minor()).min(left).max(0);
            left -= off;
            if off > 0 {
                taken.push((at, off));
            }
        }
        taken
    }

    /// The points that one coupon gives on a basket; none where it gives money. `redemption` is
    /// its place among those that the till took.
    pub fn boost(&self, basket: &Basket<'_>, redemption: usize) -> Option<Boost> {
        let gives = match self.definition.reward {
            Reward::PointsBonus { points } => Gives::Points(points),
            Reward::PointsMultiplier { times_percent } => Gives::Times(times_percent),
            _ => return None,
        };
        let lines = self.places(basket).map(|(at, _)| at).collect();
        Some(Boost { redemption, offer_no: self.offer_no, gives, lines })
    }

    /// The most that may come off one line: what every line has a share of, or all of it where
    /// the basket as a whole decides. Nothing for points.
    fn most_of(&self, line: &Line) -> i128 {
        let amount = i128::from(line.amount_minor);
        match self.definition.reward {
            Reward::PercentOff { percent } => (amount * i128::from(percent) + 99) / 100,
            Reward::FixedPrice { price_minor } => {
                let thousandths = i128::from(line.quantity.thousandths());
                (amount - i128::from(price_minor) * thousandths / 1_000).max(0)
            }
            Reward::AmountOff { .. } | Reward::CheapestFree { .. } => amount,
            Reward::PointsBonus { .. } | Reward::PointsMultiplier { .. } => 0,
        }
    }
}

/// What one of a line costs, rounded up; all of it when less than one was sold.
fn price_of_one(line: &Line) -> i128 {
    let amount = i128::from(line.amount_minor);
    let thousandths = i128::from(line.quantity.thousandths());
    if thousandths <= 1_000 { amount } else { (amount * 1_000 + thousandths - 1) / thousandths }
}

/// Of every `of` pieces, the dearest first, the price of the cheapest. That is the most that any
/// way of grouping them gives.
fn cheapest_free<'a>(lines: impl Iterator<Item = &'a Line>, of: i128) -> i128 {
    let mut pieces: Vec<(i128, i128)> = lines
        .map(|line| match line.quantity.thousandths() {
            weighed if weighed % 1_000 != 0 => (i128::from(line.amount_minor), 1),
            thousandths => (price_of_one(line), i128::from(thousandths) / 1_000),
        })
        .collect();
    pieces.sort_unstable_by_key(|(price, _)| Reverse(*price));
    let (mut before, mut worth) = (0, 0);
    for (price, count) in pieces {
        worth += price * ((before + count) / of - before / of);
        before += count;
    }
    worth
}
