//! Codes of an offer for print or mail: a pool is made once, and its file can be fetched as often
//! as somebody asks. The codes follow from the pool's seed, so that a file that was cut off comes
//! again as it was; each page of it is stored by `commit` before it leaves. A page is in memory at
//! a time, however large the pool is. A pool can be taken back as a whole: that is one change of
//! its row, which every redemption of a code of it and every page of its file hold while they last.
//! Must never store a code itself, nor tell one that is not stored.

pub mod http;
mod sql;

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;
use sha2::Sha256;
use tokio::sync::{Mutex, mpsc};
use utoipa::ToSchema;

use crate::catalogue::Snapshot;
use crate::commit::Desk;
use crate::db::pool::Pool;
use crate::domain::coupon::Code;
use crate::domain::offer::Delivery;
use crate::error::Error;
use crate::http::file::send;
use crate::office::Trace;

/// Most codes of one pool.
pub const CODES_MAX: u32 = 1_000_000;
/// Codes in memory at a time.
const PAGE: u32 = 1_000;

/// Codes that were made together.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CodePool {
    /// Names them.
    #[schema(example = "u7-3f2a90c1d2e4b5a697887766")]
    pub pool: String,
    /// What their offer is called.
    #[schema(example = "leaflet-10")]
    pub offer: String,
    /// How many they are.
    #[schema(example = 50000)]
    pub codes: u32,
    /// The first business date on which they count.
    #[schema(value_type = String, format = Date)]
    pub valid_from: Date,
    /// The last one.
    #[schema(value_type = String, format = Date)]
    pub valid_until: Date,
    /// When people took back what is left of them; null: never. From then on none is redeemed.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<Timestamp>,
}

/// A pool with what its codes follow from.
#[derive(Clone, Debug)]
struct Seeded {
    shown: CodePool,
    pool_no: i32,
    seed: [u8; 32],
}

/// A pool that is to be stored.
struct New<'a> {
    wanted: &'a Wanted<'a>,
    offer_no: i32,
    /// First and last day.
    validity: (Date, Date),
    seed: [u8; 32],
    now: Timestamp,
}

/// Why no pool was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCodes {
    /// Not so many.
    #[error("1 to 1000000 codes can be made at once")]
    Count,
    /// No offer is called so.
    #[error("there is no such offer; `tillside offer list` shows what there is")]
    NoSuchOffer,
    /// It comes to customers in another way.
    #[error("the offer is no code-pool: it comes to customers in another way")]
    NoPool,
    /// It is over, or has not begun.
    #[error("the offer is over, or has not begun")]
    NotLive,
}

/// What is to be made.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Names the pool; made again, it is the one that was made before.
    pub pool: &'a str,
    /// What the offer is called.
    pub offer: &'a str,
    /// How many codes.
    pub codes: u32,
    /// The first day on which they count.
    pub on: Date,
    /// Who does it; shown to auditors.
    pub actor: &'a str,
    /// The user of the back office that it is; none at the command line.
    pub user_no: Option<i32>,
}

/// Makes a pool, unless it was made before. No code of it exists until its file is fetched.
///
/// # Errors
/// Why there is none, or what the database says.
pub async fn make(
    pool: &Pool,
    snapshot: &Snapshot,
    wanted: &Wanted<'_>,
    now: Timestamp,
) -> Result<Result<CodePool, NoCodes>, Error> {
    if !(1..=CODES_MAX).contains(&wanted.codes) {
        return Ok(Err(NoCodes::Count));
    }
    let Some(offer) = snapshot.offer_named(wanted.offer) else {
        return Ok(Err(NoCodes::NoSuchOffer));
    };
    if offer.definition.delivery != Delivery::CodePool {
        return Ok(Err(NoCodes::NoPool));
    }
    let Some(validity) = offer.validity(wanted.on) else {
        return Ok(Err(NoCodes::NotLive));
    };
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).expect("the kernel gives random bytes once it has booted");
    let new = New { wanted, offer_no: offer.offer_no, validity, seed, now };
    let object = format!("offer:{}", wanted.offer);
    let fields = ["codes"];
    let (user_no, action) = (wanted.user_no, "offer.codes");
    let trace = Trace { user_no, action, object: &object, fields: &fields };
    sql::add(pool, &new, &trace).await?;
    // That of an earlier attempt counts.
    let made = sql::find(pool, wanted.offer, wanted.pool).await?.ok_or(Error::OutcomeUnknown)?;
    Ok(Ok(made.shown))
}

/// Takes back what is left of a pool: from then on none of its codes is redeemed, stored or told.
/// What tills have taken stays redeemed; a void of that opens the code no more. Asked again,
/// nothing changes. None when there is no such pool.
///
/// # Errors
/// What the database says.
pub async fn revoke(
    pool: &Pool,
    offer: &str,
    code_pool: &str,
    by: Option<i32>,
    now: Timestamp,
) -> Result<Option<CodePool>, Error> {
    let Some(found) = sql::find(pool, offer, code_pool).await? else { return Ok(None) };
    let object = format!("offer:{offer}");
    let action = "offer.codes.revoke";
    let trace = Trace { user_no: by, action, object: &object, fields: &["revoked_at"] };
    sql::revoke(pool, &found, &trace, now).await.map(Some)
}

/// Writes the file of a pool page by page, each stored before; whether it is whole. Ends early
/// when nobody reads (any more), when the database fails, and when the pool is taken back.
async fn write(pool: &Seeded, desk: &Mutex<Desk>, to: &mpsc::Sender<Bytes>) -> bool {
    let mut head = Some("code\n");
    let mut numbers = 0..pool.shown.codes;
    loop {
        let codes: Vec<Code> =
            numbers.by_ref().take(PAGE as usize).map(|number| pool.code(number)).collect();
        if codes.is_empty() {
            return true;
        }
        // The desk is free for others between two pages.
        match desk.lock().await.store_codes(&codes, pool.pool_no).await {
            Ok(true) => {}
            Ok(false) => return false,
            Err(error) => {
                tracing::error!(%error, "a file of codes was cut");
                return false;
            }
        }
        let lines = codes.iter().map(|code| format!("{code}\n"));
        let page: String = head.take().into_iter().map(str::to_owned).chain(lines).collect();
        if !send(to, page.into()).await {
            return false;
        }
    }
}

/// Writes the file of a pool at the command line, into what `to` hands on.
///
/// # Errors
/// When there is no such pool, the database fails, or nobody takes the file.
pub async fn write_file(
    pool: &Pool,
    made: &CodePool,
    desk: &Mutex<Desk>,
    to: &mpsc::Sender<Bytes>,
) -> Result<bool, Error> {
    let found = sql::find(pool, &made.offer, &made.pool).await?.ok_or(Error::OutcomeUnknown)?;
    Ok(write(&found, desk, to).await)
}

impl Seeded {
    /// One of its codes: as good as drawn at random for whoever does not know the seed, and the
    /// same each time.
    fn code(&self, number: u32) -> Code {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.seed).expect("HMAC takes a key of any length");
        mac.update(&number.to_be_bytes());
        let mac = mac.finalize().into_bytes();
        let random = u64::from_be_bytes(*mac.first_chunk().expect("it has 32 bytes"));
        Code::new(mac[8], random)
    }
}
