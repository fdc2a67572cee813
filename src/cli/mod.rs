//! The commands, one file each; this one reads the command line and starts the right one.

mod account;
mod coupon;
mod demo;
mod demo_file;
pub mod evaluate;
mod explain;
mod handout;
mod households;
pub mod import;
mod learn;
mod migrate;
mod offer;
mod programme;
mod progress;
pub mod replay;
mod serve;
pub mod sign;
mod swipe;
mod terminal;
mod token;
mod user;
mod verify;

use std::error::Error;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::filter::LevelFilter;

use crate::config::{self, Config};

/// Loyalty at the till: signed card swipes in, durable points and a receipt out.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    /// Settings in TOML; the environment (`TILLSIDE_SECTION_NAME`) goes over it.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Demo(demo::DemoArgs),
    Migrate(migrate::MigrateArgs),
    Import(import::ImportArgs),
    Terminal(terminal::TerminalArgs),
    Account(account::AccountArgs),
    Programme(programme::ProgrammeArgs),
    User(user::UserArgs),
    Token(token::TokenArgs),
    Offer(offer::OfferArgs),
    Coupon(coupon::CouponArgs),
    Explain(explain::ExplainArgs),
    Swipe(swipe::SwipeArgs),
    Sign(sign::SignArgs),
    Replay(replay::ReplayArgs),
    Evaluate(evaluate::EvaluateArgs),
    Learn(learn::LearnArgs),
    Verify(verify::VerifyArgs),
}

/// What a command ends with: nothing, or an error in words for the person who typed it.
type Outcome = Result<(), Box<dyn Error>>;

/// Runs the command named on the command line.
pub fn main() -> ExitCode {
    let Cli { config, command } = Cli::parse();
    let outcome = Config::load(config.as_deref()).map_err(Box::from).and_then(|config| {
        start_log(&config.log);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(run(command, config))
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&*error);
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command, config: Config) -> Outcome {
    match command {
        Command::Serve(args) => Box::pin(serve::run(args, config)).await,
        Command::Demo(args) => Box::pin(demo::run(args, config)).await,
        Command::Migrate(args) => migrate::run(args, &config).await,
        Command::Import(args) => Box::pin(import::run(args, &config)).await,
        Command::Terminal(args) => terminal::run(args, &config).await,
        Command::Account(args) => Box::pin(account::run(args, &config)).await,
        Command::Programme(args) => Box::pin(programme::run(args, &config)).await,
        Command::User(args) => Box::pin(user::run(args, &config)).await,
        Command::Token(args) => Box::pin(token::run(args, &config)).await,
        Command::Offer(args) => Box::pin(offer::run(args, &config)).await,
        Command::Coupon(args) => Box::pin(coupon::run(args, &config)).await,
        Command::Explain(args) => Box::pin(explain::run(args, &config)).await,
        Command::Swipe(args) => swipe::run(args, &config).await,
        Command::Sign(args) => sign::run(&args),
        Command::Replay(args) => Box::pin(replay::run(args, &config)).await,
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Learn(args) => Box::pin(learn::run(args, &config)).await,
        Command::Verify(args) => Box::pin(verify::run(args, &config)).await,
    }
}

/// One line per event on the standard error: results on the standard output stay clean.
fn start_log(settings: &config::Log) {
    let level: LevelFilter = settings.level.parse().expect("validated with the configuration");
    let colours = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr);
    let log = log.with_ansi(colours);
    match settings.format.as_str() {
        "json" => log.json().flatten_event(true).init(),
        _ => log.with_target(false).init(),
    }
}

#[expect(clippy::print_stderr, reason = "this is where commands complain")]
fn complain(error: &dyn Error) {
    eprintln!("error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprintln!("  because: {cause}");
        source = cause.source();
    }
}

/// Prints a result: for people, or with `--json` for programs.
#[expect(clippy::print_stdout, reason = "this is where commands answer")]
fn print(text: &dyn std::fmt::Display) {
    println!("{text}");
}
