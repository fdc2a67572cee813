//! `tillside swipe`: a terminal in a command.
use super::Outcome;
use clap::Args;
/// Sign and send one swipe, and print the receipt as a till would.
#[derive(Debug, Args)]
pub(super) struct SwipeArgs {}
pub(super) async fn run(_args: SwipeArgs) -> Outcome {
    Ok(())
}
