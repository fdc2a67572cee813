//! The siding: a committer for what cannot move, so that nobody else waits for it.
//!
//! Owns the order in which the held up are tried again. Must never let one locked account hold
//! up another: what is free is looked for without waiting, and only between two looks it stands
//! in PostgreSQL's own queue for one account, each in its turn and for a moment.

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Job;
use super::committer::{Committer, PAUSE, answer_late};
use super::pass::Footing;

/// Works until nobody can send anything any more and everything is answered.
pub(super) async fn run(mut committer: Committer, mut queue: mpsc::Receiver<Job>) {
    committer.connect_early().await;
    let mut jobs: Vec<Job> = Vec::new();
    loop {
        // ── What has come meanwhile ─────────────────────────────────────────────────────────
        let before = jobs.len();
        if jobs.is_empty() && queue.recv_many(&mut jobs, committer.batch_max).await == 0 {
            return committer.give_back().await;
        }
        while let Ok(job) = queue.try_recv() {
            jobs.push(job);
        }
        committer.took(&jobs[before..]);
        answer_late(&mut jobs);
        jobs.retain(Job::is_open);
        if jobs.is_empty() || !committer.connected().await {
            continue;
        }

        // ── What is free ────────────────────────────────────────────────────────────────────
        let looked_at = Instant::now();
        let open = jobs.len();
        for batch in jobs.chunks_mut(committer.batch_max) {
            let started = Instant::now();
            committer.bisect(batch, Footing::Free).await;
            committer.shared.admission.worked(committer.lane, started.elapsed());
        }
        jobs.retain(Job::is_open);
        for job in jobs.iter_mut().filter(|job| job.held_up) {
            job.account_id.inspect(|it| committer.shared.admission.hold_up(*it));
        }

        // ── One account's turn to wait ──────────────────────────────────────────────────────
        let Some(first) = jobs.first().map(|job| job.account_id) else { continue };
        jobs.sort_by_key(|job| job.account_id != first);
        let of_first = jobs.iter().take_while(|job| job.account_id == first).count();
        let in_turn = of_first.min(committer.batch_max);
        committer.bisect(&mut jobs[..in_turn], Footing::Locked).await;
        jobs.rotate_left(in_turn);
        jobs.retain(Job::is_open);
        if jobs.len() == open {
            tokio::time::sleep_until(looked_at + PAUSE).await;
        }
    }
}
