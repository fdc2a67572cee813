//! Processor time of the calling thread, without what it costs to look. Only for figures that
//! are printed: must never have a part in a decision.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Looks whose mean is the cost of one.
const LOOKS: u32 = 1_000;

/// Measures pieces of work on one thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopwatch {
    cost: Duration,
}

impl Default for Stopwatch {
    fn default() -> Self {
        let begin = now();
        for _ in 0..LOOKS {
            std::hint::black_box(now());
        }
        Self { cost: now().saturating_sub(begin) / LOOKS }
    }
}

impl Stopwatch {
    /// Does a piece of work and says what it took.
    pub(super) fn measure<T>(self, work: impl FnOnce() -> T) -> (T, Duration) {
        let begin = now();
        let done = work();
        (done, now().saturating_sub(begin).saturating_sub(self.cost))
    }
}

fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}
