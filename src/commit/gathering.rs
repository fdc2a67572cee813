//! How a lane's committer takes its next batch: at once what is there, and, where the batch before
//! had company and this one has little, what comes within a moment.
//!
//! A batch costs its statement once, so that a few swipes more are cheap. Must never keep somebody
//! waiting who is alone, nor anybody for longer than the settings say.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::config;

/// What is known of a lane's batches.
pub(super) struct Gathering {
    most: usize,
    enough: usize,
    wait: Duration,
    /// Whether the batch before had more than one.
    in_company: bool,
}

impl Gathering {
    pub(super) fn new(settings: &config::Commit) -> Self {
        Self {
            most: settings.batch_max,
            enough: settings.gather_enough.min(settings.batch_max),
            wait: Duration::from_micros(settings.gather_wait_us),
            in_company: false,
        }
    }

    /// Waits for the next batch; nothing is in it when nobody can send anything any more.
    pub(super) async fn take<T>(
        &mut self,
        queue: &mut mpsc::Receiver<T>,
        batch: &mut Vec<T>,
        admitted_at: impl Fn(&T) -> Instant,
    ) -> usize {
        if queue.recv_many(batch, self.most).await == 0 {
            return 0;
        }
        let until = admitted_at(&batch[0]) + self.wait;
        while self.in_company
            && let Some(room @ 1..) = self.enough.checked_sub(batch.len())
        {
            match timeout_at(until, queue.recv_many(batch, room)).await {
                Ok(1..) => {}
                // It is closed, or time is up.
                Ok(0) | Err(_) => break,
            }
        }
        self.in_company = batch.len() > 1;
        batch.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathering() -> Gathering {
        let settings = config::Commit {
            batch_max: 8,
            gather_enough: 4,
            gather_wait_us: 2_000,
            ..config::Commit::default()
        };
        Gathering::new(&settings)
    }

    /// Sends so many at this moment, and takes a batch: how many are in it, and how long it took.
    async fn sent_and_taken(
        gathering: &mut Gathering,
        (sender, queue): &mut (mpsc::Sender<Instant>, mpsc::Receiver<Instant>),
        count: usize,
    ) -> (usize, Duration) {
        let now = Instant::now();
        (0..count).for_each(|_| sender.try_send(now).expect("there is room"));
        let taken = gathering.take(queue, &mut Vec::new(), |it| *it).await;
        (taken, now.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_alone_waits_for_nobody_and_a_few_wait_for_others_for_a_moment() {
        let (mut gathering, mut lane) = (gathering(), mpsc::channel(16));
        let waited = |taken: Duration| taken >= Duration::from_millis(2);
        for (sent, expected, waits) in [
            (1, 1, false),
            (1, 1, false),
            // Nobody knows yet that there is company.
            (2, 2, false),
            (2, 2, true),
            // There is enough, or more.
            (4, 4, false),
            (9, 8, false),
            // The one that was left.
            (0, 1, true),
            // It was alone although it waited.
            (1, 1, false),
        ] {
            let (taken, elapsed) = sent_and_taken(&mut gathering, &mut lane, sent).await;
            assert_eq!((taken, waited(elapsed)), (expected, waits), "{sent} were sent");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_comes_meanwhile_is_taken_along_and_nobody_is_waited_for_who_cannot_come() {
        let (mut gathering, mut lane) = (gathering(), mpsc::channel(16));
        sent_and_taken(&mut gathering, &mut lane, 2).await;
        let later = lane.0.clone();
        let come = async {
            for _ in 0..3 {
                tokio::task::yield_now().await;
                later.try_send(Instant::now()).expect("there is room");
            }
        };
        let (_, (taken, _)) = tokio::join!(come, sent_and_taken(&mut gathering, &mut lane, 1));
        assert_eq!(taken, 4);

        // One that has waited for long before it is looked at is not kept any longer.
        lane.0.try_send(Instant::now()).expect("there is room");
        tokio::time::advance(Duration::from_millis(50)).await;
        let now = Instant::now();
        gathering.take(&mut lane.1, &mut Vec::new(), |it| *it).await;
        assert_eq!(now.elapsed(), Duration::ZERO);

        let (sender, mut queue) = lane;
        (0..3).for_each(|_| sender.try_send(Instant::now()).expect("there is room"));
        drop((sender, later));
        gathering.in_company = true;
        let now = Instant::now();
        assert_eq!(gathering.take(&mut queue, &mut Vec::new(), |it| *it).await, 3);
        assert_eq!(now.elapsed(), Duration::ZERO, "nobody can come");
        assert_eq!(gathering.take(&mut queue, &mut Vec::new(), |it| *it).await, 0);
    }
}
