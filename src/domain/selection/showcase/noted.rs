//! What is remembered of a decision besides the coupons that it gave: the facts that nothing else
//! tells any more, so that it can be made again from the history of the account.
//!
//! Some ten to forty bytes beside each swipe. What was bought is in the swipes, what offers there
//! were in their versions; here is what the customer held at that moment, which budgets had no
//! room, and what those who are held out would have been given.

use super::super::super::codec::{DecodeError, Reader, Writer};
use super::super::super::offer::Basket;
use super::Moment;
use super::seats::Lot;

const ENCODING: u8 = 1;
/// The same with one more list, of offers that their pace held back. Only where there are some, so
/// that older replicas read all the others.
const ENCODING_PACED: u8 = 2;
const HELD_OUT: u8 = 1;
const UNPROFILED: u8 = 2;
/// Older replicas do not know it and read the rest.
const KNOWS_PACKS: u8 = 4;
/// As well.
const REFITTED: u8 = 8;

/// What kept a receipt from carrying more coupons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Bound {
    /// A receipt carries no more.
    #[default]
    Receipt = 0,
    /// The customer can redeem so many that few or none come on top.
    Open = 1,
    /// The customer was given so many this week.
    Week = 2,
}

impl Bound {
    /// How programs know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Receipt => "receipt",
            Self::Open => "open",
            Self::Week => "week",
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Self::Receipt, Self::Open, Self::Week].into_iter().find(|bound| *bound as u8 == code)
    }
}

/// The facts of one decision. Lists of offers are sorted, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// The state of the reference data by which it was made: which offers there were.
    pub reference_version: i64,
    /// The newest epoch then known: which articles there were.
    pub epoch: i32,
    /// Most coupons that could be given.
    pub most: u8,
    /// Which rule said so.
    pub bound: Bound,
    /// How many of a million swipes draw something new by lot.
    pub explore_ppm: u32,
    /// Whether the account was held out.
    pub held_out: bool,
    /// Whether nothing that the customer buys had a part in it, since that was refused.
    pub unprofiled: bool,
    /// Whether larger packs had a place of their own: not before programs knew of packs.
    pub knows_packs: bool,
    /// Whether the weights that are built in were those that were fitted to what tills know. Tells
    /// nothing where a model counted.
    pub refitted: bool,
    /// Offers of which the customer held a coupon, or used one with this very basket.
    pub held: Vec<i32>,
    /// Offers that the customer has ignored too often; types, too, as negative numbers.
    pub tired: Vec<i32>,
    /// Offers that were chosen and whose budgets had no room; and those that stand in `paced` as
    /// well, since nothing was left of a budget.
    pub no_room: Vec<i32>,
    /// Offers that were chosen and not given, since the account was held out.
    pub withheld: Vec<i32>,
    /// Offers that the search for coupons came to and passed over for their pace, or for a budget
    /// that was spent.
    pub paced: Vec<i32>,
}

impl Noted {
    /// The moment of the choice with a basket.
    pub fn moment<'a>(&'a self, basket: &'a Basket<'a>, lot: Lot) -> Moment<'a> {
        Moment {
            basket,
            unprofiled: self.unprofiled,
            knows_packs: self.knows_packs,
            held: &self.held,
            tired: &self.tired,
            paced: &self.paced,
            most: self.most.into(),
            explore_ppm: self.explore_ppm,
            lot,
        }
    }

    /// As it is stored.
    pub fn encode(&self) -> Vec<u8> {
        let lists = [&self.held, &self.tired, &self.no_room, &self.withheld, &self.paced];
        let (encoding, lists) = match self.paced.is_empty() {
            true => (ENCODING, &lists[..4]),
            false => (ENCODING_PACED, &lists[..]),
        };
        let numbers: usize = lists.iter().map(|list| list.len()).sum();
        let mut out = Writer::with_room_for(20 + 2 * numbers, encoding);
        let flags = [
            (self.held_out, HELD_OUT),
            (self.unprofiled, UNPROFILED),
            (self.knows_packs, KNOWS_PACKS),
            (self.refitted, REFITTED),
        ];
        out.byte(flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).sum());
        out.unsigned(self.reference_version.unsigned_abs());
        out.unsigned(self.epoch.unsigned_abs().into());
        out.byte(self.most);
        out.byte(self.bound as u8);
        out.unsigned(self.explore_ppm.into());
        for list in lists {
            out.unsigned(list.len() as u64);
            let mut before = 0;
            for offer_no in *list {
                out.signed(i64::from(*offer_no) - before);
                before = i64::from(*offer_no);
            }
        }
        out.finish()
    }

    /// Reads [`Noted::encode`] back.
    ///
    /// # Errors
    /// When the bytes are not a complete encoding that this version knows.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let damaged = DecodeError::Damaged;
        let is_paced = bytes.first() == Some(&ENCODING_PACED);
        let mut from = Reader::new(bytes, if is_paced { ENCODING_PACED } else { ENCODING })?;
        let flags = from.byte()?;
        let mut noted = Self {
            held_out: flags & HELD_OUT != 0,
            unprofiled: flags & UNPROFILED != 0,
            knows_packs: flags & KNOWS_PACKS != 0,
            refitted: flags & REFITTED != 0,
            reference_version: from.small()?,
            epoch: from.small()?,
            most: from.byte()?,
            bound: Bound::from_code(from.byte()?).ok_or(damaged)?,
            explore_ppm: from.small()?,
            ..Self::default()
        };
        let Noted { held, tired, no_room, withheld, paced, .. } = &mut noted;
        for list in [held, tired, no_room, withheld].into_iter().chain(is_paced.then_some(paced)) {
            let mut before = 0_i64;
            for _ in 0..from.length(1)? {
                before = before.checked_add(from.signed()?).ok_or(damaged)?;
                list.push(i32::try_from(before).map_err(|_| damaged)?);
            }
        }
        from.end()?;
        Ok(noted)
    }
}
