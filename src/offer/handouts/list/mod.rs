//! A list of cards and accounts as it comes over the wire, CSV or NDJSON: cut into lines while it
//! arrives, and what each says. Knows nothing of who they are.

pub mod http;

use std::borrow::Cow;

use serde::Deserialize;

/// Longest line, in bytes.
const LINE_MAX: usize = 1_024;

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 4180; the first line names the one column, `card` or `account`.
    Csv,
    /// A JSON object in each line, with `card` or `account`.
    Ndjson,
}

/// What a line says: a card or an account, or what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number; the first is 1.
    pub number: u32,
    /// A card or an account as receipts show it.
    pub said: Result<String, &'static str>,
}

/// A list that is arriving.
#[derive(Debug)]
pub struct Lines {
    format: Format,
    /// What has arrived of a line that is not whole.
    rest: Vec<u8>,
    /// The line that the rest began is too long, and its end has not arrived.
    is_skipping: bool,
    number: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row<'a> {
    #[serde(borrow)]
    card: Option<Cow<'a, str>>,
    #[serde(borrow)]
    account: Option<Cow<'a, str>>,
}

impl Lines {
    /// A list of which nothing has arrived.
    pub fn new(format: Format) -> Self {
        Self { format, rest: Vec::new(), is_skipping: false, number: 0 }
    }

    /// Takes what has arrived, and tells the lines that are whole now. Empty ones say nothing.
    pub fn push(&mut self, mut data: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        while let Some(at) = data.iter().position(|byte| *byte == b'\n') {
            self.extend(&data[..at]);
            data = &data[at + 1..];
            lines.extend(self.end());
        }
        self.extend(data);
        lines
    }

    /// The last line, where no end of a line has followed it.
    pub fn finish(mut self) -> Option<Line> {
        if self.rest.is_empty() && !self.is_skipping {
            return None;
        }
        self.end()
    }

    fn extend(&mut self, data: &[u8]) {
        if self.rest.len() + data.len() > LINE_MAX {
            self.is_skipping = true;
            self.rest.clear();
        }
        if !self.is_skipping {
            self.rest.extend_from_slice(data);
        }
    }

    fn end(&mut self) -> Option<Line> {
        self.number += 1;
        let line = std::mem::take(&mut self.rest);
        let number = self.number;
        let wrong = |what| Some(Line { number, said: Err(what) });
        if std::mem::take(&mut self.is_skipping) {
            return wrong("is longer than 1024 bytes");
        }
        let Ok(text) = std::str::from_utf8(&line) else { return wrong("is not UTF-8") };
        let text = if number == 1 { text.trim_start_matches('\u{feff}') } else { text }.trim();
        match self.format {
            Format::Csv if number == 1 => match unquoted(text) {
                Some("card" | "account") => None,
                _ => wrong("must name the one column, card or account"),
            },
            _ if text.is_empty() => None,
            Format::Csv => match unquoted(text) {
                Some(said) => Some(Line { number, said: Ok(said.to_owned()) }),
                None => wrong("must be one card or one account"),
            },
            Format::Ndjson => match serde_json::from_str(text) {
                Ok(
                    Row { card: Some(said), account: None }
                    | Row { card: None, account: Some(said) },
                ) => Some(Line { number, said: Ok(said.into_owned()) }),
                _ => wrong("must be an object with card or account, a text"),
            },
        }
    }
}

/// The one cell of a line; none when there are more, or a quote stands alone. Cards and accounts
/// have neither commas nor quotes in them.
fn unquoted(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    (!inner.contains(['"', ',', ';'])).then_some(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A whole list that arrives in pieces of so many bytes.
    fn read(format: Format, text: &str, piece: usize) -> Vec<(u32, Result<String, &'static str>)> {
        let mut lines = Lines::new(format);
        let mut found: Vec<Line> =
            text.as_bytes().chunks(piece).flat_map(|piece| lines.push(piece)).collect();
        found.extend(lines.finish());
        found.into_iter().map(|line| (line.number, line.said)).collect()
    }

    #[test]
    fn a_list_says_the_same_in_whatever_pieces_it_arrives() {
        let said = |number, text: &str| (number, Ok(text.to_owned()));
        let long = "9".repeat(LINE_MAX + 1);
        let csv = format!(
            "\u{feff}card\r\n2990000000019\r\n\r\n\"2990000000026\"\r\n1,2\n\"3\n{long}\nacc_1"
        );
        let of_csv = [
            said(2, "2990000000019"),
            said(4, "2990000000026"),
            (5, Err("must be one card or one account")),
            (6, Err("must be one card or one account")),
            (7, Err("is longer than 1024 bytes")),
            said(8, "acc_1"),
        ];
        let ndjson = "{\"card\":\"2990000000019\"}\n{\"account\":\"acc_1\"}\n{}\n\
                      {\"card\":\"1\",\"account\":\"2\"}\n{\"card\":7}\n{\"cards\":\"1\"}\n";
        let wrong = "must be an object with card or account, a text";
        let of_ndjson = [
            said(1, "2990000000019"),
            said(2, "acc_1"),
            (3, Err(wrong)),
            (4, Err(wrong)),
            (5, Err(wrong)),
            (6, Err(wrong)),
        ];
        for piece in [1, 2, 3, 7, 64, 10_000] {
            assert_eq!(read(Format::Csv, &csv, piece), of_csv, "{piece}");
            assert_eq!(read(Format::Ndjson, ndjson, piece), of_ndjson, "{piece}");
        }
        let headless = read(Format::Csv, "2990000000019\n", 5);
        assert_eq!(headless, [(1, Err("must name the one column, card or account"))]);
        assert_eq!(read(Format::Csv, "", 5), []);
    }
}
