//! What the disk does by itself: as many bytes as a small batch logs, written and flushed one
//! after another, with nobody else at work. A latency that the service shows can be no better than
//! this, so it is measured in the same minutes. Writes one file, and removes it.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::error::HarnessError;

/// One page of the log.
const PAGE_BYTES: usize = 8_192;
/// Written beforehand and then over again, as the log's files are.
const FILE_BYTES: usize = 16 << 20;

/// Microseconds of each flush, for so many seconds. Blocks.
pub(super) fn alone(folder: &Path, seconds: f64) -> Result<Histogram<u64>, HarnessError> {
    let doing = || HarnessError::doing("flushing a file of the bench");
    let path = folder.join("flushed");
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(true).write(true).open(&path).map_err(doing())?;
    file.write_all_at(&vec![0; FILE_BYTES], 0).map_err(doing())?;
    file.sync_all().map_err(doing())?;
    let mut flushes = Histogram::new(3).expect("three figures");
    let (page, began) = ([1; PAGE_BYTES], Instant::now());
    for offset in (0..FILE_BYTES as u64).step_by(PAGE_BYTES).cycle() {
        if began.elapsed() >= Duration::from_secs_f64(seconds) {
            break;
        }
        let written = Instant::now();
        file.write_all_at(&page, offset).map_err(doing())?;
        file.sync_data().map_err(doing())?;
        let took_us = u64::try_from(written.elapsed().as_micros()).unwrap_or(u64::MAX);
        flushes.record(took_us.max(1)).map_err(HarnessError::doing("noting a flush"))?;
    }
    fs::remove_file(&path).map_err(doing())?;
    Ok(flushes)
}
