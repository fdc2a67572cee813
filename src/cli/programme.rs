//! `tillside programme`: the rules by which purchases earn, from a file into force and back.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::json;

use super::{Outcome, print};
use crate::config::Config;
use crate::domain::name::SwipeName;
use crate::domain::programme::Level;
use crate::programme::explain::explain;
use crate::programme::file::{File, Finding};
use crate::programme::{Draft, Drafted, ProgrammeError, Programmes, Published, Start, Version};

/// Check and publish the rules by which purchases earn points; explain what they gave.
///
/// Publishing adds a version that holds from a business date on; nothing that was recorded
/// changes. The service may run meanwhile, and follows within seconds. All but check need
/// database.url.
#[derive(Debug, Args)]
pub(super) struct ProgrammeArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Check(CheckArgs),
    Draft(DraftArgs),
    Publish(PublishArgs),
    List(ListArgs),
    Show(ShowArgs),
    RollBack(RollBackArgs),
    Explain(ExplainArgs),
}

/// Read a file and say what is wrong with it; needs no database.
#[derive(Debug, Args)]
struct CheckArgs {
    /// The programme, in TOML or JSON; - reads the standard input.
    file: PathBuf,
}

/// Keep the rules of a file under a number, in force for nobody, until they are published by it.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  tillside programme draft programme.toml
  tillside programme publish --programme 4 --on 2026-04-01")]
struct DraftArgs {
    /// The programme, in TOML or JSON; - reads the standard input.
    file: PathBuf,
    /// Keep it although no catalogue and no store has some of the names yet.
    #[arg(long)]
    unknown_names: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Bring the rules of a file, or a draft, into force from a business date on.
///
/// A date that has passed is refused, and one before the newest version starts. With today's
/// date the rules hold for what is recorded from now on.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  tillside programme publish programme.toml --on 2026-04-01 --note \"double points on produce\"")]
struct PublishArgs {
    /// The programme, in TOML or JSON; - reads the standard input.
    #[arg(required_unless_present = "programme", conflicts_with = "programme")]
    file: Option<PathBuf>,
    /// The number of a draft, or of a programme of before, as list shows it.
    #[arg(long, value_name = "NUMBER")]
    programme: Option<i32>,
    /// First business date on which it holds.
    #[arg(long, value_name = "DATE")]
    on: Date,
    /// Why; shown by list. No names of people.
    #[arg(long, value_name = "TEXT", default_value = "published")]
    note: String,
    /// Publish although no catalogue and no store has some of the names yet.
    #[arg(long)]
    unknown_names: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Show every version, which is in force, and the drafts.
#[derive(Debug, Args)]
struct ListArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Show the rules of a programme, as they can be published again.
#[derive(Debug, Args)]
struct ShowArgs {
    /// The programme's number, as list shows it.
    programme_no: i32,
    /// Print JSON instead of TOML.
    #[arg(long)]
    json: bool,
}

/// Bring the programme before the newest one into force again.
///
/// That too is a further version; rolling back twice leads to where one was.
#[derive(Debug, Args)]
struct RollBackArgs {
    /// First business date; without it today, or the day on which the newest version starts if
    /// that is still to come.
    #[arg(long, value_name = "DATE")]
    on: Option<Date>,
    /// Why; shown by list. No names of people.
    #[arg(long, value_name = "TEXT", default_value = "rolled back")]
    note: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Show which rule gave which points for a recorded swipe.
///
/// Decides it again from what is recorded of it and the version that was in force, and says
/// whether that is what was recorded then. Ends with 1 when it is not.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  tillside programme explain 0367/03/2026-03-14/31198")]
struct ExplainArgs {
    /// Store, workstation, business date and sequence number, as receipts show them.
    #[arg(value_name = "STORE/WORKSTATION/DATE/SEQUENCE")]
    swipe: SwipeName,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: ProgrammeArgs, config: &Config) -> Outcome {
    let now = Timestamp::now();
    let today = config.time_zone().to_datetime(now).date();
    if let Action::Check(CheckArgs { file }) = &args.action {
        let text = read(file)?;
        let rules = File::read(&text).map_err(|found| said(file, &found))?.rules;
        let count = rules.rules.len();
        print(&format_args!("the file is sound: {count} rules besides the base rate"));
        return Ok(());
    }
    if config.database.url.is_empty() {
        return Err(
            "database.url is not set (TILLSIDE_DATABASE_URL, or [database] in the file)".into()
        );
    }
    let mut programmes = Programmes::connect(&config.database, now).await?;
    match args.action {
        Action::Check(_) => {}
        Action::Draft(DraftArgs { file, unknown_names, json }) => {
            let text = read(&file)?;
            let read = sound(&file, &text, unknown_names, &programmes).await?;
            let drafted = programmes.draft(&read.rules).await?;
            let Drafted { programme_no } = drafted;
            match json {
                true => print(&json!(drafted)),
                false => print(&format_args!("programme {programme_no} is a draft")),
            }
        }
        Action::Publish(args) => {
            let published = publish(&args, &mut programmes, today).await?;
            say(published, args.json)?;
        }
        Action::List(ListArgs { json: as_json }) => {
            let (versions, drafts) = (programmes.versions().await?, programmes.drafts().await?);
            match as_json {
                true => print(&json!({ "versions": versions, "drafts": drafts })),
                false => print(&list(&versions, &drafts, today)),
            }
        }
        Action::Show(ShowArgs { programme_no, json }) => {
            let rules = programmes.rules(programme_no).await?;
            let text = if json { serde_json::to_string(&rules)? } else { toml::to_string(&rules)? };
            print(&text.trim_end());
        }
        Action::RollBack(RollBackArgs { on, note, json }) => {
            say(programmes.roll_back(on, today, &note).await?, json)?;
        }
        Action::Explain(ExplainArgs { swipe, json }) => {
            let explanation = Box::pin(explain(&programmes, &swipe)).await?;
            match json {
                true => print(&serde_json::to_string(&explanation)?),
                false => print(&explanation),
            }
            if !explanation.agrees {
                return Err("what is recorded is not what the rules of its version give".into());
            }
        }
    }
    Ok(())
}

async fn publish(
    args: &PublishArgs,
    programmes: &mut Programmes,
    today: Date,
) -> Result<Published, Box<dyn std::error::Error>> {
    let start = Start { on: args.on, today, note: &args.note };
    if let Some(programme_no) = args.programme {
        let unknown = programmes.unknown_names(&programmes.rules(programme_no).await?).await?;
        if let Some((_, pointer, name)) = unknown.first().filter(|_| !args.unknown_names) {
            let why = format!(
                "nothing was published: nothing is known as {name:?}, which stands at {pointer} of \
                 programme {programme_no}; give --unknown-names if it is still to come"
            );
            return Err(why.into());
        }
        return Ok(programmes.publish_kept(programme_no, &start).await?);
    }
    let path = args.file.as_deref().ok_or("a file, or --programme, is required")?;
    let text = read(path)?;
    let file = sound(path, &text, args.unknown_names, programmes).await?;
    Ok(programmes.publish(&file.rules, &start).await?)
}

/// Reads a file of which nothing is wrong, names that nothing has included unless they may stand
/// there.
async fn sound<'a>(
    path: &Path,
    text: &'a str,
    unknown_names: bool,
    programmes: &Programmes,
) -> Result<File<'a>, Box<dyn std::error::Error>> {
    let file = File::read(text).map_err(|found| said(path, &found))?;
    let unknown = programmes.unknown_names(&file.rules).await?;
    if !unknown.is_empty() && !unknown_names {
        let finding = |(level, pointer, name): &(Level, String, String)| {
            let level = format!("{level:?}").to_lowercase();
            let problem = format!(
                "no {level} is known as {name:?}: correct it, or give --unknown-names if it is \
                 still to come"
            );
            file.finding(pointer, problem)
        };
        return Err(said(path, &unknown.iter().map(finding).collect::<Vec<_>>()).into());
    }
    Ok(file)
}

fn read(file: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("{}: {error}", file.display());
    if file.as_os_str() != "-" {
        return std::fs::read_to_string(file).map_err(unreadable);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

fn said(file: &Path, found: &[Finding]) -> String {
    let lines = found.iter().map(|finding| format!("\n{}:{finding}", file.display()));
    format!("nothing was published; mend these places:{}", lines.collect::<String>())
}

fn say(published: Published, as_json: bool) -> Result<(), ProgrammeError> {
    let Published { programme_no, epoch, starts_on } = published;
    match as_json {
        true => print(&json!(published)),
        false => print(&format_args!(
            "programme {programme_no} is in force from {starts_on} (epoch {epoch})"
        )),
    }
    Ok(())
}

/// A line for each version, and one for each draft. In force is the newest that has begun.
fn list(versions: &[Version], drafts: &[Draft], today: Date) -> String {
    let begun = |version: &Version| version.starts_on.is_none_or(|date| date <= today);
    let in_force = versions.iter().rev().find(|version| begun(version));
    let mut text = format!("  {:>5} {:>9}  {:<10}  note", "epoch", "programme", "from");
    for version in versions {
        let mark = if in_force == Some(version) { '*' } else { ' ' };
        let from = version.starts_on.map_or_else(|| "always".to_owned(), |date| date.to_string());
        let Version { epoch, programme_no, note, .. } = version;
        text.push_str(&format!("\n{mark} {epoch:>5} {programme_no:>9}  {from:<10}  {note}"));
    }
    for Draft { programme_no, .. } in drafts {
        text.push_str(&format!("\n  {:>5} {programme_no:>9}  draft", ""));
    }
    text
}
