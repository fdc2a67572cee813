//! The commands, one file each.

pub mod import;
mod progress;
pub mod replay;
pub mod sign;

use std::process::ExitCode;

/// Runs the command named on the command line.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
