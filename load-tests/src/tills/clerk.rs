//! The clerk: corrects points and writes off what has run out, by the commands that people use,
//! and ends many of them before they have ended.
//!
//! Writes into the journal before a command runs and before it goes on, as tills do. A command
//! whose end was not seen is run again with the same id until it answers; now and then nobody
//! asks again, and then nobody may rely on either outcome.

use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::Floor;
use crate::journal::{Acked, Asked, Hash, Line, Sent};

/// Between two commands.
const PAUSE_MS: std::ops::Range<u64> = 200..1_200;
/// How long a command lives that is not let end: long enough for some to be at work by then.
const LIFE_MS: std::ops::Range<u64> = 20..500;
/// Attempts that may be ended early.
const KILLED_MAX: u32 = 3;

/// Works until the floor closes and what was begun is answered.
pub(super) async fn work(floor: Arc<Floor>, mut rng: Rng) {
    // First of all, so that the shortest run has seen it.
    adjust(&floor, &mut rng, true).await;
    while !*floor.closing.borrow() {
        if rng.u8(0..5) == 0 {
            // Whatever becomes of it: the walk after the run finds what it has left.
            run(&floor, &mut rng, &["account", "expire", "--json"], true).await;
        } else {
            let insists = rng.u8(0..4) > 0;
            adjust(&floor, &mut rng, insists).await;
        }
        sleep(Duration::from_millis(rng.u64(PAUSE_MS))).await;
    }
}

/// `insists`: whether it is asked again until there is an answer.
async fn adjust(floor: &Floor, rng: &mut Rng, insists: bool) {
    let id = floor.next_id.fetch_add(1, Ordering::Relaxed);
    let card = floor.shop.old_card(rng);
    let points = rng.i64(1..300) * if rng.bool() { 1 } else { -1 };
    let name = format!("adjustment-{id}");
    let asked = Asked::Adjust { card: card.clone(), points, insists };
    let body = Hash::of(name.as_bytes());
    floor.journal.write(&Line::Sent(Sent { id, name: name.clone(), asked, body })).await;
    let points = format!("--points={points}");
    let command = [
        "account", "adjust", "--json", "--card", &card, "--reason", "goodwill", "--id", &name,
        &points,
    ];
    for attempt in 0.. {
        let may_be_killed = !insists || attempt < KILLED_MAX && rng.bool();
        let output = run(floor, rng, &command, may_be_killed).await;
        if let Some((status, body)) = output.as_ref().and_then(answer_of) {
            floor.journal.write(&Line::Acked(Acked { id, status, body })).await;
            return;
        }
        floor.tally.unknown.fetch_add(1, Ordering::Relaxed);
        if !insists {
            return;
        }
        sleep(Duration::from_millis(rng.u64(PAUSE_MS) / 4)).await;
    }
}

/// What a command says became of it, in the words of HTTP; nothing when it does not know.
fn answer_of(output: &Output) -> Option<(u16, Hash)> {
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        let made: Value = serde_json::from_slice(&output.stdout).ok()?;
        let status = if made["made_before"].as_bool()? { 200 } else { 201 };
        return Some((status, Hash::of(&output.stdout)));
    }
    let refusals = [("there is no such account", 404), ("Choose another --id", 409)];
    let refused = refusals.iter().find(|(words, _)| said.contains(words));
    refused.map(|(_, status)| (*status, Hash::of(&output.stderr)))
}

/// Runs a command over one of the ways to the database. Nothing when it was ended before its end.
async fn run(
    floor: &Floor,
    rng: &mut Rng,
    arguments: &[&str],
    may_be_killed: bool,
) -> Option<Output> {
    let config = rng.choice(&floor.configs).expect("there is one for each replica");
    let mut command = Command::new(&floor.binary);
    command.arg("--config").arg(config).args(arguments);
    // SIGKILL, as soon as nobody waits for it any more.
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output();
    if may_be_killed {
        let output = timeout(Duration::from_millis(rng.u64(LIFE_MS)), output).await;
        if output.is_err() {
            floor.tally.commands_killed.fetch_add(1, Ordering::Relaxed);
        }
        return output.ok()?.ok();
    }
    output.await.ok()
}
