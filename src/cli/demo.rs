//! `tillside demo`: everything on one machine.
use super::Outcome;
use crate::config::Config;
use clap::Args;
/// Run everything on this machine, with a private PostgreSQL and demo data.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {}
pub(super) async fn run(_args: DemoArgs, _config: Config) -> Outcome {
    Ok(())
}
