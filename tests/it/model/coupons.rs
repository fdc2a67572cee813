//! Coupons of the model: a list of what happened, read from its beginning whenever somebody asks.
//!
//! Written from the words about offers alone, with the same interdiction as `account.rs`: it must
//! never call `tillside::domain`.

use jiff::ToSpan as _;
use jiff::civil::Date;

use super::purchase::{Given, Line, Name, Purchase, Way};

/// What an offer gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reward {
    Off(i64),
    Percent(i64),
    /// Besides what the basket earns, for ordinary articles; the till gives nothing.
    Points(i64),
}

/// How an offer comes to customers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Coupons that people issue, which count for so many days.
    Personal { days: i64 },
    /// With any card, from one day to another.
    Everybody { since: Date, until: Date },
    /// By one code, which counts so often.
    Shared { max_uses: usize },
}

/// An offer. Of the limits 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) name: &'static str,
    pub(crate) delivery: Delivery,
    pub(crate) reward: Reward,
    /// Whether it is for ordinary articles only, and not for everything.
    pub(crate) ordinary_only: bool,
    pub(crate) minimum_minor: i64,
    pub(crate) per_account: usize,
    pub(crate) per_day: usize,
    pub(crate) per_swipe: usize,
    /// Its priority in the only group, where it is in it.
    pub(crate) in_group: Option<i64>,
}

/// What became of something that a till gave a discount for; the first that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Unknown,
    NotYours,
    Revoked,
    AlreadyRedeemed,
    NotYetValid,
    Expired,
    NotInBasket,
    BelowMinimum,
    LimitReached,
    OverLimit,
    NotCombinable,
    OverValue,
    Redeemed,
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// A coupon was issued: the first of these is coupon 0.
    Issued {
        offer: usize,
        account: usize,
        on: Date,
    },
    Revoked {
        coupon: usize,
    },
    /// An account has used something, with a transaction.
    Used(Use),
    /// A transaction was taken back.
    Voided(Name),
}

/// One use of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    what: Given,
    offer: usize,
    account: usize,
    pub(crate) name: Name,
    pub(crate) minor: i64,
    pub(crate) outcome: Outcome,
}

/// How a coupon stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    Redeemed(Use),
    Revoked,
}

/// What is offered, and everything that happened with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coupons {
    pub(crate) offers: Vec<Offer>,
    events: Vec<Event>,
    /// How often a till has sent a shared code, whatever came of it.
    sent: Vec<usize>,
}

impl Outcome {
    pub(crate) const ALL: [Self; 13] = [
        Self::Unknown,
        Self::NotYours,
        Self::Revoked,
        Self::AlreadyRedeemed,
        Self::NotYetValid,
        Self::Expired,
        Self::NotInBasket,
        Self::BelowMinimum,
        Self::LimitReached,
        Self::OverLimit,
        Self::NotCombinable,
        Self::OverValue,
        Self::Redeemed,
    ];

    /// As receipts say it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::NotYours => "not-yours",
            Self::Revoked => "revoked",
            Self::AlreadyRedeemed => "already-redeemed",
            Self::NotYetValid => "not-yet-valid",
            Self::Expired => "expired",
            Self::NotInBasket => "not-in-basket",
            Self::BelowMinimum => "below-minimum",
            Self::LimitReached => "limit-reached",
            Self::OverLimit => "over-limit",
            Self::NotCombinable => "not-combinable",
            Self::OverValue => "over-value",
            Self::Redeemed => "redeemed",
        }
    }

    /// Whether it is within what its offer allows.
    pub(crate) fn counts(self) -> bool {
        matches!(self, Self::Redeemed | Self::OverValue)
    }

    /// Whether it was more than its offer allows, and the till gave something all the same.
    pub(crate) fn is_over_limit(self) -> bool {
        matches!(self, Self::OverLimit | Self::NotCombinable)
    }
}

impl Offer {
    /// The lines of sale that it is for.
    fn lines<'a>(&self, purchase: &'a Purchase) -> impl Iterator<Item = (usize, &'a Line)> {
        let ordinary_only = self.ordinary_only;
        let lines = purchase.lines.iter().enumerate().filter(|(_, line)| line.way == Way::Sold);
        lines.filter(move |(_, line)| !(ordinary_only && line.no_points))
    }

    /// The most that a till may give for it.
    fn worth(&self, purchase: &Purchase) -> i64 {
        let amounts = self.lines(purchase).map(|(_, line)| line.amount_minor);
        match self.reward {
            Reward::Off(minor) => amounts.sum::<i64>().min(minor),
            Reward::Percent(percent) => amounts.map(|it| (it * percent + 99) / 100).sum(),
            Reward::Points(_) => 0,
        }
    }

    /// The points that it adds to each line that it is for.
    pub(crate) fn points(&self, purchase: &Purchase) -> Vec<(usize, i64)> {
        let Reward::Points(points) = self.reward else { return Vec::new() };
        let lines: Vec<(usize, i64)> =
            self.lines(purchase).map(|(at, line)| (at, line.net_minor())).collect();
        let cost: i64 = lines.iter().map(|(_, minor)| minor).sum();
        let weight = |minor: i64| if cost == 0 { 1 } else { i128::from(minor) };
        let whole: i128 = lines.iter().map(|(_, minor)| weight(*minor)).sum();
        let up_to = |end: usize| {
            let part: i128 = lines[..end].iter().map(|(_, minor)| weight(*minor)).sum();
            i64::try_from(i128::from(points) * part / whole).expect("a part")
        };
        lines.iter().enumerate().map(|(n, (at, _))| (*at, up_to(n + 1) - up_to(n))).collect()
    }
}

impl Coupons {
    /// The offer and the account of every coupon that was issued, and the first day on which it
    /// counts.
    fn issued(&self) -> impl Iterator<Item = (usize, usize, Date)> {
        self.events.iter().filter_map(|event| match event {
            Event::Issued { offer, account, on } => Some((*offer, *account, *on)),
            _ => None,
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.issued().count()
    }

    /// The account that a coupon was issued to.
    pub(crate) fn account_of(&self, coupon: usize) -> usize {
        self.issued().nth(coupon).expect("it was issued").1
    }

    /// The days on which a coupon counts.
    pub(crate) fn days_of(&self, coupon: usize) -> (Date, Date) {
        let (offer, _, on) = self.issued().nth(coupon).expect("it was issued");
        match self.offers[offer].delivery {
            Delivery::Personal { days } => (on, on.saturating_add((days - 1).days())),
            _ => unreachable!("these are not issued"),
        }
    }

    /// Uses whose transactions were not taken back.
    fn uses(&self) -> impl Iterator<Item = &Use> {
        let used = self.events.iter().filter_map(|event| match event {
            Event::Used(used) => Some(used),
            _ => None,
        });
        used.filter(|used| !self.events.contains(&Event::Voided(used.name)))
    }

    pub(crate) fn state_of(&self, coupon: usize) -> State {
        if self.events.contains(&Event::Revoked { coupon }) {
            return State::Revoked;
        }
        let used = self.uses().find(|used| used.what == Given::Coupon(coupon));
        used.map_or(State::Open, |used| State::Redeemed(*used))
    }

    /// How often an account has used what is everybody's, and how often of that beyond a limit.
    pub(crate) fn shared_uses_of(&self, account: usize) -> (usize, usize) {
        let own = |used: &&Use| {
            used.account == account && matches!(used.what, Given::Everybodys(_) | Given::Code(_))
        };
        let over = |used: &&Use| used.outcome.is_over_limit();
        (self.uses().filter(own).count(), self.uses().filter(own).filter(over).count())
    }

    fn counting(&self, offer: usize) -> impl Iterator<Item = &Use> {
        self.uses().filter(move |used| used.offer == offer && used.outcome.counts())
    }

    /// Whether it can be foretold what becomes of a shared code. Each time that a till sends it,
    /// one of its uses may be in the hands of one replica, and the other does not know whether it
    /// comes back.
    pub(crate) fn is_certain(&self, offer: usize) -> bool {
        let Delivery::Shared { max_uses } = self.offers[offer].delivery else { return true };
        let sent = self.sent.iter().filter(|sent| **sent == offer).count();
        sent < max_uses || self.counting(offer).count() >= max_uses
    }

    pub(crate) fn issue(&mut self, offer: usize, account: usize, on: Date) {
        self.events.push(Event::Issued { offer, account, on });
    }

    pub(crate) fn revoke(&mut self, coupon: usize) {
        self.events.push(Event::Revoked { coupon });
    }

    pub(crate) fn void(&mut self, name: Name) {
        self.events.push(Event::Voided(name));
    }

    /// A till sends a transaction, new or not.
    pub(crate) fn sent(&mut self, purchase: &Purchase) {
        self.sent.extend(purchase.taken.iter().filter_map(|taken| match taken.what {
            Given::Code(offer) => Some(offer),
            _ => None,
        }));
    }

    /// What becomes of everything that a till gave something for: outcomes in its order, and the
    /// offers that give points. `heir_of` tells whose the coupons of an account are.
    pub(crate) fn take(
        &mut self,
        purchase: &Purchase,
        buyer: Option<usize>,
        heir_of: impl Fn(usize) -> usize,
    ) -> (Vec<Outcome>, Vec<usize>) {
        let mut outcomes = vec![Outcome::Unknown; purchase.taken.len()];
        let mut places: Vec<usize> = (0..outcomes.len()).collect();
        // The highest of a group first, and else as the till has them.
        let priority = |at: usize| {
            let offer = self.offer_of(purchase.taken[at].what)?;
            self.offers[offer].in_group
        };
        places.sort_by_key(|at| -priority(*at).unwrap_or(0));
        // What counts so far: offers, with what was given.
        let mut before: Vec<(usize, i64)> = Vec::new();
        let mut giving_points = Vec::new();
        for at in places {
            let (what, minor) = (purchase.taken[at].what, purchase.taken[at].minor);
            let outcome = self.outcome(what, minor, purchase, buyer, &heir_of, &before);
            outcomes[at] = outcome;
            let (Some(offer), Some(account)) = (self.offer_of(what), buyer) else { continue };
            if outcome.counts() {
                before.push((offer, minor));
                giving_points.push((at, offer));
            }
            if outcome.counts() || outcome.is_over_limit() {
                let name = purchase.name;
                let used = Use { what, offer, account, name, minor, outcome };
                self.events.push(Event::Used(used));
            }
        }
        giving_points.sort_unstable();
        (outcomes, giving_points.into_iter().map(|(_, offer)| offer).collect())
    }

    /// The offer that is meant; none where nothing is.
    pub(crate) fn offer_of(&self, what: Given) -> Option<usize> {
        match what {
            Given::Coupon(coupon) => self.issued().nth(coupon).map(|(offer, ..)| offer),
            Given::Everybodys(offer) | Given::Code(offer) => Some(offer),
            Given::Nothing => None,
        }
    }

    fn outcome(
        &self,
        what: Given,
        minor: i64,
        purchase: &Purchase,
        buyer: Option<usize>,
        heir_of: &impl Fn(usize) -> usize,
        before: &[(usize, i64)],
    ) -> Outcome {
        let Some(number) = self.offer_of(what) else { return Outcome::Unknown };
        let (offer, day) = (&self.offers[number], purchase.name.business_date);
        let Some(buyer) = buyer else { return Outcome::NotYours };
        if let Given::Coupon(coupon) = what {
            if heir_of(self.account_of(coupon)) != buyer {
                return Outcome::NotYours;
            }
            match self.state_of(coupon) {
                State::Open => {}
                State::Redeemed(_) => return Outcome::AlreadyRedeemed,
                State::Revoked => return Outcome::Revoked,
            }
        }
        let (since, until) = match (what, offer.delivery) {
            (Given::Coupon(coupon), _) => self.days_of(coupon),
            (_, Delivery::Everybody { since, until }) => (since, until),
            _ => (day, day),
        };
        if day < since {
            return Outcome::NotYetValid;
        }
        if day > until {
            return Outcome::Expired;
        }
        if offer.lines(purchase).next().is_none() {
            return Outcome::NotInBasket;
        }
        let sold = purchase.lines.iter().filter(|line| line.way == Way::Sold);
        if sold.map(|line| line.amount_minor).sum::<i64>() < offer.minimum_minor {
            return Outcome::BelowMinimum;
        }
        let own = || self.counting(number).filter(|used| used.account == buyer);
        let here = before.iter().filter(|(other, _)| *other == number);
        let is_within = |most: usize, used: usize| most == 0 || used < most;
        let of_all = match offer.delivery {
            Delivery::Shared { max_uses } => max_uses,
            _ => 0,
        };
        let within = is_within(offer.per_account, own().count())
            && is_within(offer.per_day, own().filter(|it| it.name.business_date == day).count())
            && is_within(offer.per_swipe, here.clone().count())
            && is_within(of_all, self.counting(number).count());
        let of_group =
            |(other, _): &(usize, i64)| *other != number && self.offers[*other].in_group.is_some();
        let combines = offer.in_group.is_none() || !before.iter().any(of_group);
        if !(within && combines) {
            return match minor {
                0 => Outcome::LimitReached,
                _ if !within => Outcome::OverLimit,
                _ => Outcome::NotCombinable,
            };
        }
        // What everybody gets is one discount, however a till cuts it up.
        let given = match what {
            Given::Everybodys(_) => here.map(|(_, minor)| minor).sum(),
            _ => 0,
        };
        if minor > (offer.worth(purchase) - given).max(0) {
            return Outcome::OverValue;
        }
        Outcome::Redeemed
    }
}
