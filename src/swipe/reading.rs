//! From a terminal's bytes to a transaction, and what becomes of one that today's rules refuse.
//!
//! A recorded name answers before any refusal of content: what can be read is looked for among
//! what is recorded. Must never let anything be recorded that the rules refuse.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::sql;
use super::wire::{Rules, SwipeIn};
use crate::app::App;
use crate::catalogue::Workstation;
use crate::commit::{Command, NameKey};
use crate::domain::basket::Swipe;
use crate::domain::content;
use crate::error::Error;
use crate::http::body;
use crate::http::problem::{Problem, Slug};
use crate::http::signature::Terminal;

/// What a message asks for.
pub(super) struct Parsed {
    pub(super) command: Command,
    /// The workstation of the name.
    pub(super) workstation: Arc<Workstation>,
    /// Why it is refused, unless it was recorded when other rules held.
    pub(super) refusal: Option<Problem>,
}

/// The transaction in a body, and the workstation that it names: the terminal's own.
pub(super) fn read_swipe(app: &App, terminal: &Terminal, body: &[u8]) -> Result<Parsed, Problem> {
    let parsed = |(swipe, workstation), refusal| Parsed {
        command: Command::Record(swipe),
        workstation,
        refusal,
    };
    let refusal = match parse_swipe(app, terminal, body, false) {
        Ok(sound) => return Ok(parsed(sound, None)),
        Err(problem) => problem,
    };
    match refusal.slug() {
        Slug::TimestampOutOfRange | Slug::CardInvalid | Slug::ValidationFailed => {}
        _ => return Err(refusal),
    }
    match parse_swipe(app, terminal, body, true) {
        Ok(readable) => Ok(parsed(readable, Some(refusal))),
        Err(_) => Err(refusal),
    }
}

/// Which of these transactions go on, since they are recorded with this very content, and why the
/// others do not: what is recorded is answered for ever, also where today's rules would refuse
/// it. One look-up for all of them, within the till's time.
pub(super) async fn settle(
    app: &App,
    doubtful: Vec<Parsed>,
    deadline: Instant,
) -> Result<Vec<Result<(Command, Arc<Workstation>), Problem>>, Error> {
    let names = doubtful.iter().filter_map(|it| match &it.command {
        Command::Record(swipe) => Some(NameKey::new(&it.workstation, &swipe.name)),
        Command::Void(_) => None,
    });
    let looking = sql::find_contents(&app.pool, names.collect());
    let contents = timeout_at(deadline, looking).await.map_err(|_| Error::DeadlineExceeded)??;
    let settled = doubtful.into_iter().zip(contents).map(|(parsed, recorded)| {
        let Parsed { command, workstation, refusal } = parsed;
        match (&command, recorded, refusal) {
            (Command::Record(swipe), Some(content), _) if content::matches(&content, swipe) => {
                Ok((command, workstation))
            }
            (_, Some(_), Some(late)) if late.slug() == Slug::TimestampOutOfRange => {
                Err(Problem::new(Slug::SwipeNameReused))
            }
            (_, _, Some(refusal)) => Err(refusal),
            (_, _, None) => Ok((command, workstation)),
        }
    });
    Ok(settled.collect())
}

fn parse_swipe(
    app: &App,
    terminal: &Terminal,
    body: &[u8],
    only_read: bool,
) -> Result<(Box<Swipe>, Arc<Workstation>), Problem> {
    let wire: SwipeIn<'_> = body::parse(body)?;
    if wire.store_id != *terminal.store_id || wire.workstation_id != *terminal.workstation_id {
        return Err(Problem::new(Slug::TerminalMismatch));
    }
    let snapshot = app.catalogue.current();
    let workstation =
        snapshot.workstation(&wire.store_id, &wire.workstation_id).ok_or(Slug::TerminalMismatch)?;
    let window = app.business_date_window();
    let rules =
        Rules { currency: &app.config.chain.currency, cards: &app.cards, window, only_read };
    let swipe = wire.into_swipe(workstation, &rules)?;
    Ok((Box::new(swipe), Arc::clone(workstation)))
}
