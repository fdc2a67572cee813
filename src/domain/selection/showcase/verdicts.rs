//! What became of every offer in one choice, made again: given, or the first thing that kept it.
//!
//! The same functions decide here as at the till; must never hold a rule of its own.

use std::sync::Arc;

use super::super::super::offer::Offer;
use super::super::super::profile::Profile;
use super::noted::Noted;
use super::reasons::{Evidence, Reason};
use super::types::are_apart;
use super::{Choice, Moment, Showcase, ShowcaseRoom, Shown};

/// What became of an offer. In order of precedence: the first that holds is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A coupon of it was given.
    Given,
    /// It was chosen, but its budgets had no room, or none that the till had in hand; or it was
    /// left out, since a budget was known to have nothing.
    NoRoom,
    /// It was chosen, but the customer belongs to those who get nothing.
    HeldOut,
    /// It counts on other days.
    NotLive,
    /// It counts in other stores.
    OtherStore,
    /// The customer held a coupon of it, or used one with this very basket.
    Held,
    /// What it is for was in the basket, and will hardly be wanted again soon.
    JustBought,
    /// Coupons of it ran out unused too often.
    Tired,
    /// Coupons for the one type that it is for did.
    TiredOfType,
    /// So many coupons of it were issued as its pace allows by this day.
    Paced,
    /// Nothing that the customer ever bought is kin to it.
    NothingInCommon,
    /// The customer could be given no coupon at all.
    NoPlace,
    /// It is for a type that a chosen one is for: the one with this number.
    SameType(i32),
    /// Others were preferred.
    Outranked,
}

impl Verdict {
    /// How programs know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::NoRoom => "no-room",
            Self::HeldOut => "held-out",
            Self::NotLive => "not-live",
            Self::OtherStore => "other-store",
            Self::Held => "held",
            Self::JustBought => "just-bought",
            Self::Tired => "tired",
            Self::TiredOfType => "tired-of-type",
            Self::Paced => "pacing",
            Self::NothingInCommon => "nothing-in-common",
            Self::NoPlace => "no-place",
            Self::SameType(_) => "same-type",
            Self::Outranked => "outranked",
        }
    }
}

/// One offer in one choice.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The offer.
    pub offer: Arc<Offer>,
    /// What became of it.
    pub verdict: Verdict,
    /// What would have spoken for it.
    pub reason: Option<Reason>,
    /// The numbers.
    pub evidence: Evidence,
}

impl Showcase {
    /// Makes a choice again, and tells of every offer what became of it, in the order in which
    /// they are shown. What `noted` says of budgets and of the hold-out is taken as it is.
    pub fn judge(
        &self,
        profile: &Profile,
        moment: &Moment<'_>,
        noted: &Noted,
        room: &mut ShowcaseRoom,
    ) -> (Vec<Choice>, Vec<Judged>) {
        let chosen = self.choose(profile, moment, room);
        // Where there was no place, nothing was scored.
        self.look_at(profile, moment, room);
        let is_chosen = |offer_no| chosen.iter().any(|choice| choice.offer.offer_no == offer_no);
        let rivals: Vec<&Shown> =
            self.offers.iter().filter(|shown| is_chosen(shown.offer.offer_no)).collect();
        let mut judged = Vec::with_capacity(self.offers.len());
        for (place, shown) in (0_u32..).zip(&self.offers) {
            let (reason, evidence) =
                self.weigh(place, profile, moment, &room.offers, &mut room.packs);
            let offer_no = shown.offer.offer_no;
            let reason =
                if self.push_of(place).is_some() { Some(Reason::Recommended) } else { reason };
            let rival = rivals.iter().find(|rival| !are_apart(&rival.types, &shown.types));
            let rival = rival.map(|rival| rival.offer.offer_no);
            let verdict = if is_chosen(offer_no) {
                if noted.withheld.contains(&offer_no) {
                    Verdict::HeldOut
                } else if noted.no_room.contains(&offer_no) {
                    Verdict::NoRoom
                } else {
                    Verdict::Given
                }
            } else if let Some(bar) = self.bar(place, profile, moment, &room.in_basket) {
                // It was left out beforehand: a budget of it was known to have nothing.
                let is_spent = bar == Verdict::Paced && noted.no_room.contains(&offer_no);
                if is_spent { Verdict::NoRoom } else { bar }
            } else if reason.is_none() {
                Verdict::NothingInCommon
            } else if moment.most == 0 {
                Verdict::NoPlace
            } else {
                rival.map_or(Verdict::Outranked, Verdict::SameType)
            };
            let offer = Arc::clone(&shown.offer);
            judged.push(Judged { offer, verdict, reason, evidence });
        }
        (chosen, judged)
    }
}
