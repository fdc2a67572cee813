//! Lists of households in files, as `replay` and `evaluate` take them.

use std::collections::HashSet;
use std::error::Error;
use std::path::Path;

/// Reads a file with the header `household_id` and a number in each line.
///
/// # Errors
/// When it cannot be read, or a line is no number.
pub(super) fn read_households(path: &Path) -> Result<HashSet<u32>, Box<dyn Error>> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    households_in(&text, &path.display().to_string())
}

/// The same of a text that was read already; `name` is for errors.
///
/// # Errors
/// When a line is no number.
pub(super) fn households_in(text: &str, name: &str) -> Result<HashSet<u32>, Box<dyn Error>> {
    let mut lines = (1..).zip(text.lines());
    if lines.next().map(|(_, header)| header.trim()) != Some("household_id") {
        return Err(format!("{name}: the first line must be household_id").into());
    }
    lines
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(number, line)| {
            line.trim()
                .parse()
                .map_err(|_| format!("{name}, line {number}: must be a household's number").into())
        })
        .collect()
}
