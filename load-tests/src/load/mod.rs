//! The general load generator: simulated tills that sign and send swipes at a pace of their own,
//! or as fast as they are answered, and what came of it.
//!
//! Latency counts from the intended time, so a service that stalls is charged for everybody who
//! would have come meanwhile. The generator shares the machine with what it measures, so all of
//! it runs on one thread, and that thread's own processor time is part of the result. Must never
//! send to anything but this machine.

pub mod charts;
pub mod html;
mod measured;
pub mod outcome;
mod pick;
pub mod run;
pub mod scenario;
mod swipe;
#[cfg(test)]
mod tests;
mod tills;
mod wallets;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use jiff::civil::Date;
use serde::Deserialize;
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

pub use self::measured::{Latency, Measured, Slice};
pub(crate) use self::swipe::{SHELF, SHELF_STRIDE};
pub use self::wallets::Wallets;
use crate::error::HarnessError;
use crate::world::Workstation;

/// Where load goes.
#[derive(Clone)]
pub struct Target {
    /// One per replica; tills are dealt out to them in turn.
    pub addresses: Vec<SocketAddr>,
    /// The tills, in turn.
    pub tills: Arc<[Workstation]>,
    /// The customers.
    pub cards: Arc<[String]>,
    /// The business date of every swipe.
    pub today: Date,
    /// What the customers were given, in this run and before.
    pub wallets: Arc<Wallets>,
}

/// What decides when a swipe is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// The clock: so many a second, whatever became of those before.
    Open {
        /// Swipes a second.
        per_s: f64,
    },
    /// The answer before it: each connection always has one swipe under way.
    Closed {
        /// How many of them.
        connections: usize,
    },
}

/// Whose swipe it is.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Pick {
    /// Anybody's.
    Uniform,
    /// The card of rank r comes 1 / r^exponent as often as the first.
    Zipf {
        /// Above 0; about 1 for people.
        exponent: f64,
    },
    /// One card after the other, so that none comes again before all have been.
    InTurn,
    /// Always the first card's.
    One,
}

/// How many lines a swipe has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basket {
    /// Exactly so many.
    Lines(u16),
    /// As many as real baskets have: drawn from the distribution of the Complete Journey.
    Journey,
}

/// How the tills speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// One swipe at a time on each connection.
    Http1,
    /// Several at a time on each connection, which counts as many times as it has streams.
    Http2,
}

/// What is sent.
#[derive(Clone, Debug)]
pub struct Load {
    /// When.
    pub shape: Shape,
    /// Sent before it is measured.
    pub warm_up_s: f64,
    /// Measured.
    pub seconds: f64,
    /// Most swipes under way at a time, for [`Shape::Open`]. What is due beyond that waits, and
    /// its latency counts on.
    pub connections: usize,
    /// How.
    pub protocol: Protocol,
    /// Whose.
    pub pick: Pick,
    /// How large.
    pub basket: Basket,
    /// Chooses cards and baskets; the same numbers give the same swipes again.
    pub seed: u64,
    /// What is sold.
    pub skus: Arc<[String]>,
}

/// Sends, and tells what came of it. Swipes are numbered from `first_sequence_number`, so that
/// names stay unique over runs; the next free number is part of the result.
///
/// # Errors
/// When the load cannot be made: there is nobody to send it, or no thread for it. That swipes
/// were refused or not answered stands in the result.
pub async fn drive(
    target: &Target,
    load: &Load,
    first_sequence_number: u64,
) -> Result<Measured, HarnessError> {
    let possible = check(target, load);
    possible.map_err(HarnessError::doing("planning a load"))?;
    let doing = "running the tills";
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(HarnessError::doing(doing))?;
    let (target, load) = (target.clone(), load.clone());
    let (mut tell, told) = oneshot::channel();
    let work = move || {
        let measured = LocalSet::new().block_on(&runtime, async {
            tokio::select! {
                measured = tills::run(target, load, first_sequence_number) => Some(measured),
                // Nobody waits for the result any more: somebody has pressed Ctrl-C.
                () = tell.closed() => None,
            }
        });
        if let Some(measured) = measured {
            let _ = tell.send(measured);
        }
    };
    let thread = thread::Builder::new().name("tills".to_owned()).spawn(work);
    thread.map_err(HarnessError::doing(doing))?;
    told.await.map_err(HarnessError::doing(doing))?
}

fn check(target: &Target, load: &Load) -> Result<(), String> {
    let positive = |value: f64| value.is_finite() && value > 0.0;
    let (pace, connections) = match load.shape {
        Shape::Open { per_s } => (positive(per_s), load.connections),
        Shape::Closed { connections } => (true, connections),
    };
    let exponent = !matches!(load.pick, Pick::Zipf { exponent } if !positive(exponent));
    let time = positive(load.seconds) && load.warm_up_s.is_finite() && load.warm_up_s >= 0.0;
    for (holds, finding) in [
        (!target.addresses.is_empty(), "there is no address to send to"),
        (target.addresses.iter().all(|it| it.ip().is_loopback()), "only this machine is loaded"),
        (!target.tills.is_empty(), "there are no tills"),
        (!target.cards.is_empty(), "there are no cards"),
        (!load.skus.is_empty(), "there is nothing to sell"),
        (load.basket != Basket::Lines(0), "a basket has at least one line"),
        (connections >= target.addresses.len(), "there are fewer connections than replicas"),
        (pace && time && exponent, "pace, times and exponent must be above 0"),
    ] {
        if !holds {
            return Err(finding.to_owned());
        }
    }
    Ok(())
}
