//! Files that are made while somebody reads them: a page in memory at a time, an answer that
//! breaks where the file is not whole, and cells that no spreadsheet takes for formulas.
//!
//! Owns how a file is sent. What is in it its operation says; must never let a file that was cut
//! seem whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::http::{HeaderValue, header};
use axum::body::{Body, Bytes};
use axum::response::Response;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;
use utoipa::{IntoParams, ToSchema};

use crate::error::Error;

/// Pages on their way to a reader.
const UNDER_WAY: usize = 2;
/// A file that takes longer is cut, however fast its reader is: a snapshot keeps vacuum back.
const FILE_MAX: Duration = Duration::from_secs(3_600);
/// Whoever takes a file must not stop reading for longer, for the same reason.
const READER_PATIENCE: Duration = Duration::from_secs(60);

/// How a file is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ExportFormat)]
pub enum Format {
    /// RFC 4180, with a first line of names.
    #[default]
    Csv,
    /// A JSON object in each line.
    Ndjson,
}

/// How a file is to be written.
#[derive(Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct FileIn {
    /// `csv` or `ndjson`.
    #[serde(default)]
    #[param(inline)]
    pub format: Format,
}

impl Format {
    /// The media type, and how a file called `name` is offered.
    fn headers(self, name: &str) -> (&'static str, String) {
        let (kind, ending) = match self {
            Self::Csv => ("text/csv; charset=utf-8", "csv"),
            Self::Ndjson => ("application/x-ndjson", "ndjson"),
        };
        (kind, format!("attachment; filename=\"{name}.{ending}\""))
    }

    /// The lines of a page: `line` as an object, or its `cells`.
    pub fn lines<T: Serialize>(self, page: Vec<T>, cells: impl Fn(T) -> Vec<String>) -> Bytes {
        let mut out = Vec::new();
        for line in page {
            match self {
                Self::Csv => out.extend_from_slice(&csv_line(&cells(line))),
                Self::Ndjson => {
                    serde_json::to_writer(&mut out, &line).expect("a Vec takes all bytes");
                    out.push(b'\n');
                }
            }
        }
        out.into()
    }

    /// What a file begins with: the names of its columns, or nothing.
    pub fn head(self, columns: &[&str]) -> Bytes {
        match self {
            Self::Csv => csv_line(columns).into(),
            Self::Ndjson => Bytes::new(),
        }
    }
}

/// A text that no spreadsheet takes for a formula.
pub fn harmless(text: String) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text }
}

fn csv_line(cells: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut writer =
        csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(vec![]);
    writer.write_record(cells).expect("a Vec takes all bytes");
    writer.into_inner().expect("a Vec takes all bytes")
}

/// Hands a page on; whether somebody still reads.
pub async fn send(to: &mpsc::Sender<Bytes>, page: Bytes) -> bool {
    page.is_empty() || matches!(timeout(READER_PATIENCE, to.send(page)).await, Ok(Ok(())))
}

/// An answer that is written while it is read. `write` hands pages on and says whether the file is
/// whole; `permit` is given back when it ends.
pub fn streamed<W>(
    format: Format,
    name: &str,
    permit: OwnedSemaphorePermit,
    write: impl FnOnce(mpsc::Sender<Bytes>) -> W,
) -> Response
where
    W: Future<Output = bool> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(UNDER_WAY);
    let whole = Arc::new(AtomicBool::new(false));
    let (written, kept) = (Arc::clone(&whole), sender.clone());
    let writing = write(sender);
    tokio::spawn(async move {
        let outcome = timeout(FILE_MAX, writing).await;
        written.store(matches!(outcome, Ok(true)), Ordering::Release);
        drop((kept, permit));
    });
    // However the writing ended, a file that is not whole must not seem so: its answer breaks.
    let pages = stream::unfold(Some((receiver, whole)), async |reading| {
        let (mut receiver, whole): (mpsc::Receiver<Bytes>, Arc<AtomicBool>) = reading?;
        match receiver.recv().await {
            Some(page) => Some((Ok(page), Some((receiver, whole)))),
            None if whole.load(Ordering::Acquire) => None,
            None => Some((Err(Error::OutcomeUnknown), None)),
        }
    });
    let mut answer = Response::new(Body::from_stream(pages));
    let (kind, disposition) = format.headers(name);
    let disposition = HeaderValue::try_from(disposition).expect("names are plain");
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_DISPOSITION, disposition);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_taken_for_a_formula() {
        for text in ["=1+1", "+1", "-1", "@A1", "\t=1", "\r=1"] {
            assert_eq!(harmless(text.to_owned()), format!("'{text}"));
        }
        assert_eq!(harmless("Dairy; =1".to_owned()), "Dairy; =1");
        let cells = ["'=cmd|' /C calc'!A0", "a\"b,c"];
        assert_eq!(csv_line(&cells), b"'=cmd|' /C calc'!A0,\"a\"\"b,c\"\r\n");
    }
}
