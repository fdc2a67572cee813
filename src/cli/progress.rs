//! How far long work has come: a bar on a terminal, plain lines in a log.
//!
//! Written to the standard error, so that results on the standard output stay clean.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Progress of one piece of work. Can be told from several threads.
#[derive(Debug)]
pub(super) struct Progress {
    label: &'static str,
    total: Option<u64>,
    done: AtomicU64,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Begins; `total` is how many steps there are, where that is known.
    pub(super) fn new(label: &'static str, total: Option<u64>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(5));
            let template = match total {
                Some(_) => "{prefix} {bar:30} {human_pos}/{human_len} {per_sec} {eta} left",
                None => "{prefix} {spinner} {human_pos}",
            };
            let style = ProgressStyle::with_template(template);
            bar.with_style(style.expect("the templates are well-formed")).with_prefix(label)
        });
        Self { label, total, done: AtomicU64::new(0), bar }
    }

    /// Notes further steps.
    pub(super) fn add(&self, steps: u64) {
        let before = self.done.fetch_add(steps, Ordering::Relaxed);
        match &self.bar {
            Some(bar) => bar.inc(steps),
            None => self.log(before, before + steps),
        }
    }

    /// A line for each tenth of the work; none for work of a few steps.
    fn log(&self, before: u64, after: u64) {
        let Some(total) = self.total.filter(|total| *total >= 1_000) else { return };
        let tenth = |done: u64| done.saturating_mul(10) / total;
        if tenth(after) > tenth(before) {
            let label = self.label;
            // Progress that cannot be shown must not end the work.
            let _ = writeln!(std::io::stderr(), "{label}: {after} of {total}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
