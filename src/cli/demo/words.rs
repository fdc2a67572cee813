//! What a demo says when it is ready: where everything is, and what to try.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::demo_file::DemoFile;

/// What happened until the demo was ready.
pub(super) struct Ready<'a> {
    pub(super) folder: &'a Path,
    pub(super) database: &'a Path,
    pub(super) admin: SocketAddr,
    /// Baskets of history that were made, on a first start.
    pub(super) baskets: Option<usize>,
    pub(super) took: Duration,
}

/// The page that a person reads.
pub(super) fn page(ready: &Ready<'_>, file: &DemoFile) -> String {
    let Ready { folder, database, admin, baskets, took } = ready;
    let base_url = &file.base_url;
    let mut text = format!("Tillside is ready, after {:.1} s.\n\n", took.as_secs_f64());
    let mut row = |label: &str, value: String| {
        writeln!(text, "  {label:<10} {value}").expect("writing to a String cannot fail");
    };
    row("service", base_url.clone());
    row("calls", format!("{base_url}/docs"));
    row("metrics", format!("http://{admin}/metrics"));
    row("folder", folder.display().to_string());
    if !database.starts_with(folder) {
        row("database", database.display().to_string());
    }
    row(
        "programs",
        format!("{} (addresses, keys, tokens, cards)", folder.join("demo.json").display()),
    );
    let holds = match baskets {
        Some(baskets) => format!(
            "{} terminals, {} articles, {} cards, {baskets} baskets of the last 12 weeks",
            file.terminals.len(),
            file.skus.len(),
            file.cards.len()
        ),
        None if file.terminals.is_empty() => "no demo data".to_owned(),
        None => "what it held when it was stopped".to_owned(),
    };
    row("data", holds);
    if let Some(command) = swipe_command(folder, file) {
        write!(text, "\nTry a swipe, in another terminal:\n\n  {command}\n")
            .expect("writing to a String cannot fail");
    }
    text.push_str("\nCtrl-C stops everything; the data stays.");
    text
}

/// A command that can be pasted as it is, from any folder.
fn swipe_command(folder: &Path, file: &DemoFile) -> Option<String> {
    let card = file.cards.first().filter(|_| !file.terminals.is_empty())?;
    let named = |name: &str| file.skus.iter().find(|sku| sku.name.contains(name));
    let first = named("Whole milk 1 gal").or(file.skus.first())?;
    let second = named("Bananas").or(file.skus.last())?;
    let (program, folder) = (quoted(&program()), quoted(folder));
    let (first, second) = (&first.sku, &second.sku);
    Some(format!(
        "{program} swipe --demo {folder} --card {card} --sku {first}=2 --sku {second}=1.250"
    ))
}

/// `tillside` when a shell would find this very program under that name, else its path.
fn program() -> PathBuf {
    let name = Path::new("tillside");
    let Ok(this) = std::env::current_exe() else { return name.to_owned() };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let first = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|p| p.is_file());
    match first.and_then(|found| found.canonicalize().ok()) {
        Some(found) if found == this => name.to_owned(),
        _ => this,
    }
}

/// As one word of a shell, with quotes only where they are needed.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_one_word_of_a_shell() {
        for (path, word) in [
            ("/srv/till-side/.tillside", "/srv/till-side/.tillside"),
            ("/srv/till side", "'/srv/till side'"),
            ("/srv/it's", r"'/srv/it'\''s'"),
        ] {
            assert_eq!(quoted(Path::new(path)), word);
        }
    }
}
