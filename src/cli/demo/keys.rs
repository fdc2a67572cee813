//! The keys of a demo's terminals: those of its `demo.json` as long as they sign, else new ones.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use crate::cli::demo_file::DemoTerminal;
use crate::config::Secret;
use crate::db::pool::Pool;
use crate::demo;
use crate::sealing::Sealer;
use crate::terminal::{self, TerminalError};

/// Gives every terminal of the demo a key. `known` are those whose secrets are known, none
/// when what they are sealed with is lost. Keys that are replaced end: nobody can have them.
pub(super) async fn ensure(
    pool: &Pool,
    sealer: &Sealer,
    known: &[DemoTerminal],
    now: Timestamp,
) -> Result<Vec<DemoTerminal>, TerminalError> {
    let alive: HashSet<String> = terminal::list(pool, None)
        .await?
        .into_iter()
        .filter(|key| key.revoked_at.is_none() && key.retires_at.is_none_or(|at| now < at))
        .map(|key| key.keyid)
        .collect();
    let mut terminals = Vec::new();
    for (store_id, workstation_id) in demo::terminals() {
        let is_this = |terminal: &&DemoTerminal| {
            terminal.store_id == store_id && terminal.workstation_id == workstation_id
        };
        let usable = known.iter().filter(is_this).find(|known| alive.contains(&known.keyid));
        if let Some(terminal) = usable {
            terminals.push(terminal.clone());
            continue;
        }
        match terminal::revoke(pool, store_id, workstation_id, None, now).await {
            Ok(_) | Err(TerminalError::NoKey(_)) => {}
            Err(error) => return Err(error),
        }
        match terminal::add(pool, sealer, store_id, workstation_id, now).await {
            Ok(key) => terminals.push(DemoTerminal {
                store_id: store_id.to_owned(),
                workstation_id: workstation_id.to_owned(),
                keyid: key.keyid,
                secret_base64: Secret::new(STANDARD.encode(*key.secret)),
            }),
            // A database that was filled with other data has no such store.
            Err(TerminalError::UnknownStore(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(terminals)
}
