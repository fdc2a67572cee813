//! Content-Digest (RFC 9530): every active algorithm that is present must match.

use std::convert::Infallible;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sfv::visitor::{DictionaryVisitor, EntryVisitor, Ignored};
use sfv::{BareItem, Dictionary, KeyRef, ListEntry, Parser};
use sha2::{Digest as _, Sha256, Sha512};

use crate::http::problem::Slug;

/// The header's text for a body: `sha-256=:…:`.
pub(super) fn of(body: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(body)))
}

/// Compares a body with the header's text.
///
/// # Errors
/// `content-digest-invalid` when the header cannot be read, names an algorithm twice, or none
/// that counts; `content-digest-mismatch` when a digest differs.
pub(super) fn check(text: &str, body: &[u8]) -> Result<(), Slug> {
    let invalid = Slug::ContentDigestInvalid;
    let digests: Dictionary = Parser::new(text).parse().map_err(|_| invalid)?;
    // The parser keeps the last of two members with one name, as the RFC demands. Without a comma
    // there is but one.
    if text.contains(',') {
        let members = Parser::new(text).parse_dictionary_with_visitor(Count(0));
        if members.map_err(|_| invalid)? != digests.len() {
            return Err(invalid);
        }
    }
    let mut known = 0;
    let mut matching = 0;
    for (algorithm, value) in &digests {
        let actual: &[u8] = match algorithm.as_str() {
            "sha-256" => &Sha256::digest(body),
            "sha-512" => &Sha512::digest(body),
            _ => continue,
        };
        let ListEntry::Item(item) = value else { return Err(invalid) };
        let BareItem::ByteSequence(claimed) = &item.bare_item else { return Err(invalid) };
        if claimed.len() != actual.len() {
            return Err(invalid);
        }
        known += 1;
        matching += usize::from(claimed == actual);
    }
    match known {
        0 => Err(invalid),
        _ if matching < known => Err(Slug::ContentDigestMismatch),
        _ => Ok(()),
    }
}

/// Counts the members of a dictionary, those that come twice too.
struct Count(usize);

impl<'de> DictionaryVisitor<'de> for Count {
    type Out = usize;
    type Error = Infallible;

    fn entry(&mut self, _: &'de KeyRef) -> Result<impl EntryVisitor<'de>, Self::Error> {
        self.0 += 1;
        Ok(Ignored)
    }

    fn finish(self) -> Result<Self::Out, Self::Error> {
        Ok(self.0)
    }
}
