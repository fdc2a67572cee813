//! The command line of the load tests.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tillside::config::Commit;
use tillside::sabotage::Fault;
use tillside_load::load::html;
use tillside_load::load::outcome::Outcome;
use tillside_load::load::scenario::{RetryStorm, Scenario};
use tillside_load::nemesis::Schedule;
use tillside_load::{bench, chaos, load, overload, sabotage, world};

/// The generator shares the cores with what it measures: what it does not need is theirs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The disk of PostgreSQL: more than a run of an hour writes. It takes what is written.
const DISK_MIB: u64 = 16 * 1_024;

/// Tillside under load and under attack. Everything runs on this machine and ends by itself.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Chaos(ChaosArgs),
    Sabotage(SabotageArgs),
    Overload(OverloadArgs),
    Bench(BenchArgs),
    Run(RunArgs),
}

/// Break everything for a while, and judge what the service says it has recorded.
///
/// Starts a private PostgreSQL and two replicas of the service, lets simulated tills work
/// against them through faulty wires, kills and stops processes meanwhile, and compares what the
/// tills were answered with what the database holds. Ends with 1 when anything is lost, doubled
/// or changed, or when a kind of fault never happened; then the folder is kept, with the
/// journal and all logs.
#[derive(Debug, Args)]
struct ChaosArgs {
    /// The `tillside` binary.
    #[arg(long, value_name = "PATH")]
    server: PathBuf,
    /// How long faults fall.
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// Chooses tills and faults; a run with the same seed does the same. Without it: random.
    #[arg(long)]
    seed: Option<u64>,
    /// Where everything is kept: a new or empty folder. Without it: below the folder for
    /// temporary files.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Writes the report here, for programs.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How many tills work at the same time.
    #[arg(long, default_value_t = 100)]
    tills: usize,
    /// How many customers have a card.
    #[arg(long, default_value_t = 2_000)]
    customers: u64,
    /// No faults: whether everything is right in peace.
    #[arg(long)]
    without_faults: bool,
}

/// Take out one protection after the other, and see whether the harness notices.
///
/// Ends with 1 when one of them is not noticed within two minutes, or when something is found
/// although nothing was broken.
#[derive(Debug, Args)]
struct SabotageArgs {
    /// A `tillside` binary that was built with the feature `sabotage`.
    #[arg(long, value_name = "PATH")]
    server: PathBuf,
    /// Chooses tills and faults. Without it: random.
    #[arg(long)]
    seed: Option<u64>,
    /// Only this fault.
    #[arg(long, value_name = "NAME", value_parser = fault_named)]
    fault: Option<Fault>,
}

/// Offer five times as much as can be done, and see how much is done all the same.
///
/// Starts a private PostgreSQL that is slow on purpose, so that the service can do about 2,000
/// swipes a second, measures that, and lets tills that come again offer five times as much. Ends
/// with 1 when less than 90 % of the capacity is used, when refusals take longer than 20 ms
/// (p99), when memory grows, or when all is not as before within 5 s.
#[derive(Debug, Args)]
struct OverloadArgs {
    /// The `tillside` binary, a release build.
    #[arg(long, value_name = "PATH")]
    server: PathBuf,
    /// To how many swipes a second the service is throttled.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u16).range(40..=4_000))]
    capacity: u16,
    /// How long the overload lasts.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u16).range(6..=3_600))]
    seconds: u16,
    /// Writes the report here, for programs.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Measure every promised figure in one run, beside pgbench on the same PostgreSQL.
///
/// Starts a PostgreSQL with the settings of a production server, fills databases up to 10 million
/// swipes, and measures; takes about half an hour, 30 GB of disk and 8 GB of memory. The
/// generator shares the cores with everything. Ends with 1 when a figure misses what it must
/// reach, or could not be measured.
#[derive(Debug, Args)]
struct BenchArgs {
    /// The `tillside` binary, a release build.
    #[arg(long, value_name = "PATH")]
    server: PathBuf,
    /// The binary of another commit: only compare the two, in rounds at saturation.
    #[arg(long, value_name = "PATH")]
    base: Option<PathBuf>,
    /// Writes the figures here, for programs.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes a page with plots here, which needs nothing but itself.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Only these rows, and what is measured with them.
    #[arg(long, value_name = "ROW,…", value_delimiter = ',')]
    only: Vec<String>,
    /// Small and short: shows that everything works; the figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// Where everything is kept while it runs: a new or empty folder with room for 30 GB. Without
    /// it: below the folder for temporary files.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Run a scenario: send what it says, measure, and say whether its limits hold.
///
/// Starts a private PostgreSQL with the settings of production and as many replicas of the service
/// as the scenario asks for, fills the database with customers, and sends signed swipes. Everything
/// is on this machine and shares it; ends with 1 when a limit of the scenario does not hold.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tillside-load run load-tests/scenarios/steady.toml --server target/release/tillside
  tillside-load run load-tests/scenarios/saturation.toml --server target/release/tillside \\
      --override accounts=1000000 --override 'phase.*.seconds=30' --html saturation.html")]
struct RunArgs {
    /// The scenario; see load-tests/scenarios.
    #[arg(value_name = "SCENARIO.toml")]
    scenario: PathBuf,
    /// The `tillside` binary; a release build, if the figures are to mean anything.
    #[arg(long, value_name = "PATH")]
    server: PathBuf,
    /// Writes the outcome here, for programs.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes a page with plots here, which needs nothing but itself.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Changes the scenario: accounts=1000, phase.0.seconds=3, phase.*.seconds=3.
    #[arg(long = "override", value_name = "KEY=VALUE")]
    changes: Vec<String>,
}

fn main() -> ExitCode {
    let Cli { command } = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = runtime.map_err(Into::into).and_then(|runtime| {
        runtime.block_on(async {
            match command {
                Command::Chaos(args) => Box::pin(run_chaos(args)).await,
                Command::Sabotage(args) => Box::pin(run_sabotage(args)).await,
                Command::Overload(args) => Box::pin(run_overload(args)).await,
                Command::Bench(args) => Box::pin(run_bench(args)).await,
                Command::Run(args) => Box::pin(run_scenario(args)).await,
            }
        })
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(&*error);
            ExitCode::FAILURE
        }
    }
}

async fn run_chaos(args: ChaosArgs) -> Result<bool, Box<dyn Error>> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    print(&format_args!("seed {seed}"));
    let folder =
        args.dir.unwrap_or_else(|| std::env::temp_dir().join(format!("tillside-chaos-{seed}")));
    let time = Duration::try_from_secs_f64(args.minutes * 60.0)?;
    let plan = chaos::Plan {
        world: world::Plan {
            folder: folder.clone(),
            disk_mib: Some(DISK_MIB),
            binary: args.server.canonicalize()?,
            servers: 2,
            tills: args.tills,
            seed,
            sabotage: None,
            commit: Commit::default(),
        },
        schedule: if args.without_faults { Schedule::Peace(time) } else { Schedule::Lasting(time) },
        wires: !args.without_faults,
        customers: args.customers,
    };
    let running = chaos::run(&plan, |line| print(&line));
    let report = tokio::select! {
        report = running => report?,
        // Everything ends, and is unmounted, as it is dropped.
        _ = tokio::signal::ctrl_c() => return Err("interrupted".into()),
    };
    print(&report);
    if let Some(file) = args.json {
        std::fs::write(file, serde_json::to_vec_pretty(&report)?)?;
    }
    chaos::tidy_up(&folder, &report)?;
    if !report.holds() {
        print(&format_args!("journal and logs are kept in {}", folder.display()));
    }
    Ok(report.holds())
}

async fn run_sabotage(args: SabotageArgs) -> Result<bool, Box<dyn Error>> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    print(&format_args!("seed {seed}"));
    let folder = std::env::temp_dir().join(format!("tillside-sabotage-{seed}"));
    let binary = args.server.canonicalize()?;
    let right = sabotage::run(&binary, &folder, seed, args.fault, |row| print(row)).await?;
    print(if right { &"every fault was noticed" } else { &"NOT every fault was noticed" });
    Ok(right)
}

async fn run_overload(args: OverloadArgs) -> Result<bool, Box<dyn Error>> {
    let storm = RetryStorm { capacity_per_s: args.capacity.into(), seconds: args.seconds.into() };
    run_storm(storm, &args.server, args.json).await
}

async fn run_storm(
    storm: RetryStorm,
    server: &Path,
    json: Option<PathBuf>,
) -> Result<bool, Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("tillside-overload-{}", std::process::id()));
    let plan = overload::Plan {
        folder: folder.clone(),
        binary: server.canonicalize()?,
        capacity_per_s: storm.capacity_per_s,
        seconds: storm.seconds,
        sabotage: None,
    };
    let report = overload::run(&plan, |line| print(&line)).await?;
    print(&report);
    if let Some(file) = json {
        std::fs::write(file, serde_json::to_vec_pretty(&report)?)?;
    }
    std::fs::remove_dir_all(folder)?;
    Ok(report.holds())
}

async fn run_bench(args: BenchArgs) -> Result<bool, Box<dyn Error>> {
    let folder = args.dir.unwrap_or_else(|| {
        std::env::temp_dir().join(format!("tillside-bench-{}", std::process::id()))
    });
    let plan = bench::Plan {
        folder: folder.clone(),
        binary: args.server.canonicalize()?,
        base: args.base.map(|base| base.canonicalize()).transpose()?,
        only: args.only,
        quick: args.quick,
    };
    let began = std::time::Instant::now();
    let mut tell = |line: String| {
        let seconds = began.elapsed().as_secs();
        print(&format_args!("{:3}:{:02}  {line}", seconds / 60, seconds % 60));
    };
    let outcome = tokio::select! {
        outcome = bench::run(&plan, &mut tell) => outcome,
        // Everything ends as it is dropped.
        _ = tokio::signal::ctrl_c() => return Err("interrupted".into()),
    };
    if let Err(error) = &outcome {
        print(&format_args!("logs are kept in {}: {error}", folder.display()));
    }
    let report = outcome?;
    print(&report);
    if let Some(file) = args.json {
        std::fs::write(file, serde_json::to_vec_pretty(&report.to_json())?)?;
    }
    if let Some(file) = args.html {
        std::fs::write(file, report.to_html())?;
    }
    std::fs::remove_dir_all(folder)?;
    Ok(report.holds())
}

async fn run_scenario(args: RunArgs) -> Result<bool, Box<dyn Error>> {
    let phases = match Scenario::read(&args.scenario, &args.changes)? {
        Scenario::Phases(phases) => phases,
        Scenario::RetryStorm(_) if args.html.is_some() => {
            return Err("a retry storm has no plots; use --json".into());
        }
        Scenario::RetryStorm(storm) => return run_storm(storm, &args.server, args.json).await,
    };
    let folder = std::env::temp_dir().join(format!("tillside-run-{}", std::process::id()));
    let binary = args.server.canonicalize()?;
    let running = load::run::run(&phases, &binary, folder, |line| print(&line));
    let outcome = tokio::select! {
        outcome = running => outcome?,
        // Everything ends as it is dropped.
        _ = tokio::signal::ctrl_c() => return Err("interrupted".into()),
    };
    print(&outcome);
    if let Some(file) = args.json {
        std::fs::write(file, serde_json::to_vec_pretty(&outcome)?)?;
    }
    if let Some(file) = args.html {
        let Outcome { title, conditions, .. } = &outcome;
        let page = html::page(title, conditions, &outcome.table(), &outcome.charts());
        std::fs::write(file, page)?;
    }
    Ok(outcome.holds())
}

fn fault_named(name: &str) -> Result<Fault, String> {
    let found = Fault::ALL.into_iter().find(|fault| fault.name() == name);
    found.ok_or_else(|| format!("one of {}", Fault::ALL.map(Fault::name).join(", ")))
}

#[expect(clippy::print_stdout, reason = "this is where the commands answer")]
fn print(text: &dyn std::fmt::Display) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "this is where the commands complain")]
fn complain(error: &dyn Error) {
    eprintln!("error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprintln!("  because: {cause}");
        source = cause.source();
    }
}
