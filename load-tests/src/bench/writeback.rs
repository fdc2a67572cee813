//! The one setting of the machine itself that docs/operating.md asks for: dirty pages are written
//! as they come and not all at once. Set for a run where this process may, and put back behind
//! it; a run that is killed leaves it set. Must never change anything else of the machine.

use std::fs;

const BYTES: &str = "/proc/sys/vm/dirty_background_bytes";
const RATIO: &str = "/proc/sys/vm/dirty_background_ratio";
const WANTED_BYTES: &str = "16777216";

/// What is in force, and what has to be put back.
pub(super) struct Writeback {
    before: Option<(&'static str, String)>,
    /// What is in force, for the report.
    pub(super) said: String,
}

impl Writeback {
    pub(super) fn set() -> Self {
        let read = |file| fs::read_to_string(file).unwrap_or_default().trim().to_owned();
        let (bytes, ratio) = (read(BYTES), read(RATIO));
        // The kernel keeps one of the two and shows the other one as 0.
        let before = if bytes == "0" { (RATIO, ratio) } else { (BYTES, bytes) };
        let set = fs::write(BYTES, WANTED_BYTES);
        let said = match &set {
            Ok(()) => format!("vm.dirty_background_bytes = {WANTED_BYTES}, for this run"),
            Err(error) => format!(
                "vm.dirty_background_bytes left as it was ({error}): the kernel writes in bursts"
            ),
        };
        Self { before: set.is_ok().then_some(before), said }
    }
}

impl Drop for Writeback {
    fn drop(&mut self) {
        if let Some((file, value)) = &self.before {
            // Nobody is left to be told.
            let _ = fs::write(file, value);
        }
    }
}
