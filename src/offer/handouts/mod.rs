//! Coupons of an offer for many accounts, once under a name: a handout. Its accounts are those
//! that a question means, or those of a list that people bring. They are written down before the
//! first coupon is issued, so that people see how many they are; then they are worked through in
//! their order, and how far it has got is kept with every step.
//!
//! | state | what happens | who |
//! |---|---|---|
//! | waiting | for a list; one that is brought again replaces the one before | people |
//! | counting | the accounts that the question means are looked for and written down | a worker |
//! | ready | nothing: people look at the number | people |
//! | issuing | account by account; tills come first | a worker |
//! | stopped | by people, the end of the budget or of the offer; it can be gone on with | people |
//! | done | every account was gone through, or people have ended it; what it has issued can | |
//! | | be taken back, a handful of coupons after the other | a worker |
//!
//! One worker at a time has a handout, by a claim in its row that runs out after a minute: so
//! whatever a crash cut off the next worker goes on with, on any replica. Two at once would do no
//! harm, only work: under its name an account gets one coupon. Must never issue by accounts that
//! are not written down, nor issue anything itself: `commit` does that.

pub mod file;
pub mod http;
pub mod list;
pub mod revoke;
mod sql;
mod work;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;
use utoipa::ToSchema;

use self::revoke::Revocation;
use crate::db::pool::Pool;
use crate::domain::segment::Segment;
use crate::error::Error;
use crate::office::{Settle, Trace};
pub use work::{Worker, keep_working};

/// Accounts of one page of the plan.
const PAGE: usize = 1_000;
/// Most accounts of a handout that people bring as a list.
pub const LIST_MAX: usize = 1_000_000;
/// Most handouts that are not done at a time.
const OPEN_MAX: i64 = 200;

/// How a handout stands. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = HandoutState)]
#[repr(i16)]
pub enum State {
    /// For a list.
    Waiting = 0,
    /// Its accounts are looked for.
    Counting = 1,
    /// It can be issued.
    Ready = 2,
    /// Its coupons are being issued.
    Issuing = 3,
    /// It goes on when it is issued again.
    Stopped = 4,
    /// Every account has been gone through, or people have ended it.
    Done = 5,
}

impl State {
    fn from_code(code: i16) -> Option<Self> {
        [Self::Waiting, Self::Counting, Self::Ready, Self::Issuing, Self::Stopped, Self::Done]
            .into_iter()
            .find(|state| *state as i16 == code)
    }
}

/// A handout, as it is now.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Handout {
    /// What it is called.
    #[schema(example = "spring-yoghurt")]
    pub handout: String,
    /// What its offer is called.
    #[schema(example = "yoghurt-50")]
    pub offer: String,
    /// Which accounts are meant; null for those of a list.
    #[serde(rename = "where")]
    pub segment: Option<Segment>,
    /// Whether accounts of the hold-out get theirs as well.
    pub held_out_too: bool,
    /// How it stands.
    pub state: State,
    /// Why it is stopped, or was ended: `people`, `budget-spent` or `offer-ended`; null otherwise.
    pub stopped_why: Option<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub made_at: Timestamp,
    /// The business date on which it was issued, or was gone on with. Each coupon counts from the
    /// one on which it is given.
    #[schema(value_type = Option<String>, format = Date)]
    pub counts_from: Option<Date>,
    /// Accounts that it is for, so far as they have been found.
    #[schema(example = 12034)]
    pub accounts: i32,
    /// Accounts that are meant too, but are held out.
    pub held_out: i32,
    /// Of the accounts, how many have been gone through.
    pub done: i32,
    /// How many of those have their coupon.
    pub issued: i32,
    /// How many have none: they have been blocked since, or have taken the consent back that the
    /// question asks for.
    pub left_out: i32,
    /// How far taking its coupons back has come; null unless people have asked for it.
    pub revocation: Option<Revocation>,
    #[serde(skip)]
    pub(super) handout_no: i32,
    #[serde(skip)]
    pub(super) offer_no: i32,
    /// The user who had it issued.
    #[serde(skip)]
    pub(super) issued_by: Option<i32>,
}

/// A handout that people want.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// What it shall be called.
    pub handout: &'a str,
    /// The number of its offer.
    pub offer_no: i32,
    /// Which accounts are meant; none: those of a list to come.
    pub segment: Option<&'a Segment>,
    /// Whether accounts of the hold-out get theirs as well.
    pub held_out_too: bool,
}

/// Why a handout was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotMade {
    /// Another one is called so.
    NameTaken,
    /// Too many are not done.
    TooMany,
}

impl Handout {
    /// Whether its coupons are to be taken back, and not all have been gone through.
    pub fn is_being_revoked(&self) -> bool {
        self.revocation.as_ref().is_some_and(|it| !it.done)
    }

    /// What its coupons are issued under: no import and no person can be called so.
    fn actor(&self) -> String {
        format!("handout:{}", self.handout)
    }
}

/// Whether a handout may be called so.
pub fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// Makes a handout, with its line in the audit trail and the answer to be kept.
///
/// # Errors
/// Why it was not made, or what the database says.
pub async fn make(
    pool: &Pool,
    wanted: &Wanted<'_>,
    by: Option<i32>,
    settle: Option<Settle<'_, Handout>>,
    now: Timestamp,
) -> Result<Result<Handout, NotMade>, Error> {
    let object = format!("handout:{}", wanted.handout);
    let fields: &[&str] = match wanted.segment {
        Some(_) => &["offer", "where"],
        None => &["offer"],
    };
    let trace = Trace { user_no: by, action: "handout.add", object: &object, fields };
    sql::make(pool, wanted, &trace, settle, now).await
}

/// A handout; none when nothing is called so.
///
/// # Errors
/// What the database says.
pub async fn find(pool: &Pool, handout: &str) -> Result<Option<Handout>, Error> {
    sql::find(pool, handout).await
}

/// Has a handout issued, or gone on with where it was stopped. None when it waits for its
/// accounts.
///
/// # Errors
/// What the database says.
pub async fn issue(
    pool: &Pool,
    handout: &Handout,
    by: Option<i32>,
    today: Date,
    now: Timestamp,
) -> Result<Option<Handout>, Error> {
    let object = format!("handout:{}", handout.handout);
    let trace = Trace { user_no: by, action: "handout.issue", object: &object, fields: &["state"] };
    sql::issue(pool, handout.handout_no, today, &trace, now).await
}

/// Stops a handout; what was issued stays. One that is not being issued stays as it is.
///
/// # Errors
/// What the database says.
pub async fn stop(
    pool: &Pool,
    handout: &Handout,
    by: Option<i32>,
    now: Timestamp,
) -> Result<Handout, Error> {
    let object = format!("handout:{}", handout.handout);
    let trace = Trace { user_no: by, action: "handout.stop", object: &object, fields: &["state"] };
    sql::stop(pool, handout.handout_no, &trace, now).await
}

/// Ends a handout for good; what was issued stays, and so does its name.
///
/// # Errors
/// What the database says.
pub async fn end(
    pool: &Pool,
    handout: &Handout,
    by: Option<i32>,
    now: Timestamp,
) -> Result<Handout, Error> {
    let object = format!("handout:{}", handout.handout);
    let trace = Trace { user_no: by, action: "handout.end", object: &object, fields: &["state"] };
    sql::end(pool, handout.handout_no, &trace, now).await
}
