//! The `tillside` command. Everything it does is in the library; this file only starts it.

use std::process::ExitCode;

/// A swipe makes some hundred short-lived allocations on one thread and frees them on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before anything else: the process may have been started to become a private PostgreSQL.
    tillside::db::private::child::run_if_asked().unwrap_or_else(tillside::cli::main)
}
