//! What the compiler does not check: who may import whom, and how files begin and how long they
//! grow. Reads the sources as text; every finding names the place and the remedy.
//!
//! The rules are those of ARCHITECTURE.md. Change them there first.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Columns of a line, in characters; rustfmt leaves long texts and comments alone.
const WIDTH_MAX: usize = 100;

/// A signature or a hash in a test cannot be broken over lines; a line with such a word may be
/// as wide as it needs.
const WORD_MAX_BYTES: usize = 80;

/// Beyond this many lines a file is looked at again: it is split, or stands here with a reason.
const LINES_MAX: usize = 500;
const LONG_FILES: &[(&str, &str)] =
    &[("src/config.rs", "one list of every setting with its words, default and checks")];

/// Folders of `src` that every flow may use: `office` says who asks, for every route of people,
/// and `segment` whom a question over accounts means, which exports and handouts ask alike. And
/// the readers of files, which `replay` and the commands share. Every other folder is an
/// operation of its own.
const SHARED: &[&str] = &[
    "catalogue",
    "cli",
    "commit",
    "console",
    "db",
    "domain",
    "http",
    "import",
    "journey",
    "office",
    "segment",
];

/// What decisions may not touch: I/O, clocks, randomness, other threads.
const IMPURE: &[&str] = &[
    "tokio",
    "std::fs",
    "std::net",
    "std::env",
    "std::io",
    "std::process",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
    "getrandom",
    "rand::",
    "tracing",
    "moka",
];

/// A source file, split into lines: as written, and with comments and texts blanked.
struct Source {
    path: String,
    lines: Vec<String>,
    code: Vec<String>,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let code = blank(text);
        let lines = |text: &str| text.lines().map(str::to_owned).collect();
        Self { path: path.to_owned(), lines: lines(text), code: lines(&code) }
    }

    fn is_under(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }

    fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// The operation whose folder this file is in.
    fn operation(&self) -> Option<&str> {
        let (folder, _) = self.path.strip_prefix("src/")?.split_once('/')?;
        (!SHARED.contains(&folder)).then_some(folder)
    }

    /// Lines (from 1) on which `path` is used: the word itself and no longer one.
    fn uses<'a>(&'a self, path: &'a str) -> impl Iterator<Item = usize> + 'a {
        let found = move |(_, code): &(usize, &String)| {
            code.match_indices(path).any(|(at, _)| {
                let before = code[..at].chars().next_back();
                let after = code[at + path.len()..].chars().next();
                !before.is_some_and(part_of_a_word) && !after.is_some_and(part_of_a_word)
            })
        };
        self.code.iter().enumerate().filter(found).map(|(index, _)| index + 1)
    }

    /// The modules of this crate that are imported, with their lines (from 1).
    fn crate_modules(&self) -> Vec<(usize, String)> {
        let text = self.code.join("\n");
        let mut modules = Vec::new();
        for (at, _) in text.match_indices("crate::") {
            if text[..at].ends_with(part_of_a_word) || text[..at].ends_with('$') {
                continue;
            }
            let line = text[..at].matches('\n').count() + 1;
            let rest = &text[at + "crate::".len()..];
            let names = match rest.strip_prefix('{') {
                Some(group) => first_names(group),
                None => vec![first_word(rest)],
            };
            modules.extend(names.into_iter().map(|name| (line, name)));
        }
        modules
    }
}

/// What is wrong, each with its place and its remedy.
#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    fn add(&mut self, source: &Source, line: usize, what: &str) {
        self.0.push(format!("{}:{line}: {what}", source.path));
    }
}

#[test]
fn the_sources_are_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut findings = Findings::default();
    let mut checked = 0;
    for folder in ["src", "tests", "load-tests", "migrations", "proto"] {
        for path in files(&root.join(folder)) {
            let text = fs::read_to_string(&path).expect("sources are UTF-8");
            let name = path.strip_prefix(root).expect("below the root").display().to_string();
            check(&Source::new(&name, &text), &mut findings);
            checked += 1;
        }
    }
    for (path, _) in LONG_FILES {
        let lines = fs::read_to_string(root.join(path)).map(|text| text.lines().count());
        if lines.unwrap_or(0) <= LINES_MAX {
            findings.0.push(format!("{path} is not long (any more): strike it from LONG_FILES"));
        }
    }
    assert!(checked > 20, "the sources were not found");
    let mut report = String::new();
    for finding in &findings.0 {
        writeln!(report, "{finding}").expect("writing to a String cannot fail");
    }
    assert!(findings.0.is_empty(), "{} findings:\n{report}", findings.0.len());
}

fn check(source: &Source, findings: &mut Findings) {
    for (index, line) in source.lines.iter().enumerate() {
        // The formatter leaves literals alone: one that begins within the width may go on.
        let in_literal = line.chars().take(WIDTH_MAX).filter(|c| *c == '"').count() > 0;
        let breakable =
            !in_literal && line.split_whitespace().all(|word| word.len() < WORD_MAX_BYTES);
        if breakable && line.chars().count() > WIDTH_MAX {
            findings.add(source, index + 1, "wider than 100 columns: break the line");
        }
    }
    if !source.path.ends_with(".rs") {
        return;
    }
    if !source.lines.first().is_some_and(|line| line.starts_with("//! ")) {
        let remedy = "no header: begin with `//! ` and what the file owns and must never do";
        findings.add(source, 1, remedy);
    }
    let excused = LONG_FILES.iter().any(|(path, _)| *path == source.path);
    if source.lines.len() > LINES_MAX && !excused {
        let remedy = "longer than 500 lines: split it by what it owns, or add it to LONG_FILES in \
                      tests/tidy.rs with the reason";
        findings.add(source, source.lines.len(), remedy);
    }
    for (index, code) in source.code.iter().enumerate() {
        if code.contains(".unwrap()") {
            let remedy = "unwrap says nothing: use `?`, or `expect` with why it cannot fail";
            findings.add(source, index + 1, remedy);
        }
        if code.split(|c| !part_of_a_word(c)).any(|w| w.starts_with("Mock") || w == "mockall") {
            let remedy = "a mock proves nothing: test against PostgreSQL with TestDatabase";
            findings.add(source, index + 1, remedy);
        }
    }
    if source.is_under("src/") {
        check_imports(source, findings);
    }
}

fn check_imports(source: &Source, findings: &mut Findings) {
    let name = source.file_name();
    let edge = name == "http.rs"
        || source.path == "src/router.rs"
        || source.is_under("src/http/")
        || source.is_under("src/console/");
    let rpc = source.path == "src/grpc.rs" || source.is_under("src/grpc/");
    let sql = name == "sql.rs" || source.is_under("src/db/") || source.is_under("src/commit/");
    for (allowed, library, remedy) in [
        (edge, "axum", "axum belongs into router.rs, http/, console/ and an operation's http.rs"),
        (rpc, "tonic", "tonic belongs into grpc.rs"),
        (sql, "tokio_postgres", "statements belong into db/, commit/ and an operation's sql.rs"),
    ] {
        if !allowed {
            for line in source.uses(library) {
                findings.add(source, line, remedy);
            }
        }
    }
    let domain = source.is_under("src/domain/");
    if domain {
        for line in IMPURE.iter().flat_map(|path| source.uses(path)) {
            let remedy = "the domain decides without I/O, clock or randomness: take it as a value";
            findings.add(source, line, remedy);
        }
    }
    for (line, module) in source.crate_modules() {
        if domain && module != "domain" {
            let what = format!("domain imports only domain: move it, or pass `{module}` in");
            findings.add(source, line, &what);
        }
        let Some(operation) = source.operation() else { continue };
        let other = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(&module).is_dir();
        if other && module != operation && !SHARED.contains(&module.as_str()) {
            let what = format!("{operation} imports {module}: no operation imports another");
            findings.add(source, line, &what);
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.expect("an entry").path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if path.is_dir() {
            found.extend(files(&path));
        } else if matches!(extension, Some("rs" | "sql" | "proto")) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn part_of_a_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn first_word(text: &str) -> String {
    text.trim_start().chars().take_while(|c| part_of_a_word(*c)).collect()
}

/// The names that a `{…}` of an import begins with, its own opening brace already gone.
fn first_names(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut expects_name) = (0, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expects_name = true,
            _ if expects_name && part_of_a_word(c) => {
                names.push(first_word(&group[at..]));
                expects_name = false;
            }
            _ => {}
        }
    }
    names
}

/// Replaces comments, texts and characters by spaces, line by line as they stood.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let in_a_word = code.ends_with(part_of_a_word);
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if first == '"' {
            quoted_length(rest, '"')
        } else if !in_a_word && (rest.starts_with("r\"") || rest.starts_with("r#\"")) {
            let hashes = &rest[1..rest.find('"').expect("just seen")];
            let end = format!("\"{hashes}");
            let body = 2 + hashes.len();
            rest[body..].find(&end).map_or(rest.len(), |at| body + at + end.len())
        } else if first == '\'' && is_character(rest) {
            quoted_length(rest, '\'')
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        code.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[length..];
    }
    code
}

/// Bytes up to and including the closing quote.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + quote.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// Whether an apostrophe begins a character rather than a lifetime.
fn is_character(text: &str) -> bool {
    let mut after = text.chars().skip(1);
    match after.next() {
        Some('\\') => true,
        Some(_) => after.next() == Some('\''),
        None => false,
    }
}

/// A check that never failed is not known to check anything: each rule finds its sample.
#[test]
fn every_rule_can_fail() {
    let header = "//! Owns a sample.\n";
    let long = format!("{header}{}", "//\n".repeat(LINES_MAX));
    let wide = format!("{header}// {}\n", "xyz ".repeat(WIDTH_MAX));
    for (path, text, expected) in [
        ("src/domain/a.rs", "use crate::{\n    config::Config,\n    domain::b,\n};", "config"),
        ("src/domain/a.rs", "fn f() { crate::db::pool(); }", "domain imports only domain"),
        ("src/domain/a.rs", "let now = jiff::Timestamp::now();", "without I/O"),
        ("src/domain/a.rs", "use std::fs;", "without I/O"),
        ("src/app.rs", "use axum::Router;", "axum belongs"),
        ("src/swipe/sql.rs", "use axum::Router;", "axum belongs"),
        ("src/http/mod.rs", "use tonic::Status;", "tonic belongs"),
        ("src/swipe/mod.rs", "use tokio_postgres::Client;", "statements belong"),
        ("src/swipe/http.rs", "fn f(c: &tokio_postgres::Client) {}", "statements belong"),
        ("src/a.rs", "let x = y.unwrap();", "unwrap says nothing"),
        ("tests/it/a.rs", "struct MockPool;", "a mock proves nothing"),
        ("src/a.rs", &long["//! ".len()..], "no header"),
        ("src/a.rs", &long, "longer than 500"),
        ("migrations/0002_a.sql", &wide, "wider than 100"),
    ] {
        let text = match text.starts_with("//! ") || expected == "no header" {
            true => text.to_owned(),
            false => format!("{header}{text}"),
        };
        let mut findings = Findings::default();
        check(&Source::new(path, &text), &mut findings);
        let all = findings.0.join("\n");
        assert!(all.contains(expected), "{path}: {expected:?} not found in {all:?}");
        assert!(all.contains(&format!("{path}:")), "{all}");
    }
}

#[test]
fn what_is_allowed_is_not_found() {
    let text = "//! Speaks of axum:: and of x.unwrap() and it's fine.
use crate::domain::{b, c::{d, e}};
// crate::config is only mentioned here
const TEXT: &str = \"use crate::config; \\\" axum::Router\";
const RAW: &str = r#\"tokio_postgres::\"quoted\"\"#;
fn f<'a>(quote: &'a str, c: char) -> bool { c == '\"' || c == '\\'' || quote.is_empty() }
fn unwrap_or_not() -> usize { taxonomy::axum_like(not_crate::config) }
";
    for path in ["src/domain/a.rs", "src/swipe/mod.rs"] {
        let mut findings = Findings::default();
        check(&Source::new(path, text), &mut findings);
        assert!(findings.0.is_empty(), "{:?}", findings.0);
    }
    for (path, text) in [
        ("src/http/server.rs", "use axum::Router;"),
        ("src/swipe/http.rs", "use axum::Router;"),
        ("src/swipe/sql.rs", "use tokio_postgres::Row; use crate::commit::Outcome;"),
        ("src/db/pool.rs", "use tokio_postgres::Row;"),
        ("src/grpc.rs", "use tonic::Status;"),
    ] {
        let mut findings = Findings::default();
        check(&Source::new(path, &format!("//! Header.\n{text}\n")), &mut findings);
        assert!(findings.0.is_empty(), "{:?}", findings.0);
    }
}
