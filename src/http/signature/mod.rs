//! Who sent a request: RFC 9421 with `hmac-sha256`, in the profile of the contract.
//!
//! Pure: headers, bytes, keys and the time come in as values. [`prove`] needs the head of a
//! request only and knows one refusal; [`Proven::accept`] then judges body and freshness and
//! is exact about it. Must never compare a MAC with `==`, never answer faster for a key that
//! does not exist, and never panic on what a stranger sent.
//!
//! Stricter than the RFC where it leaves room: one signature, no component parameters, every
//! covered header exactly once, and `Signature-Input` and `Signature` in the canonical form
//! of structured fields. So what was parsed is what was signed, byte for byte.

mod base;
mod digest;
mod sign;
#[cfg(test)]
mod tests;

pub use base::Message;
pub use sign::{Signed, Unsigned, sign};

use std::fmt;
use std::sync::Arc;

use ::http::{HeaderMap, HeaderName};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sfv::{BareItem, Dictionary, FieldType as _, InnerList, ListEntry, Parser};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::problem::Slug;

/// The header that says what a signature covers.
pub const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");
/// The header that carries the MAC.
pub const SIGNATURE: HeaderName = HeaderName::from_static("signature");
/// The header that carries the digest of the body (RFC 9530).
pub const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

const ALGORITHM: &str = "hmac-sha256";
const ALWAYS_COVERED: [&str; 4] = ["@method", "@authority", "@path", "@query"];
const WITH_A_BODY: [&str; 2] = ["content-type", "content-digest"];
const COMPONENTS_MAX: usize = 32;
/// The last second of the year 9999: later times are mistakes, not clocks.
const TIME_MAX_S: i64 = 253_402_300_799;
/// Stands in for an unknown key, so that a guess costs the same time as a hit.
const NO_SECRET: [u8; 32] = [0; 32];

/// The terminal that a request is proven to come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// The workstation's number inside the service.
    pub workstation_no: i32,
    /// The store, as in ARTS; leading zeros kept.
    pub store_id: Arc<str>,
    /// The workstation within the store; leading zeros kept.
    pub workstation_id: Arc<str>,
    /// Which of the terminal's keys was used.
    pub key_no: i32,
}

/// One key of a terminal, as the caller's look-up knows it.
#[derive(Clone)]
pub struct TerminalKey {
    /// The workstation's number inside the service.
    pub workstation_no: i32,
    /// The store, as in ARTS; leading zeros kept.
    pub store_id: Arc<str>,
    /// The workstation within the store; leading zeros kept.
    pub workstation_id: Arc<str>,
    /// Counts a terminal's keys; the part of the key id after the last dot.
    pub key_no: i32,
    /// The shared secret.
    pub secret: Zeroizing<[u8; 32]>,
}

/// Why a signature proves nothing. It has no content on purpose: a stranger learns no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid;

/// A head whose MAC is right. What the body and the clock say is still open.
#[derive(Clone, Debug)]
pub struct Proven {
    terminal: Terminal,
    created_s: i64,
    expires_s: Option<i64>,
    covers_body: bool,
    covers_digest: bool,
}

/// What the two headers say, before anything is believed.
struct Claim<'a> {
    components: Vec<String>,
    params: &'a str,
    created_s: i64,
    expires_s: Option<i64>,
    keyid: String,
    mac: Vec<u8>,
}

impl fmt::Debug for TerminalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TerminalKey")
            .field("workstation_no", &self.workstation_no)
            .field("key_no", &self.key_no)
            .finish_non_exhaustive()
    }
}

impl TerminalKey {
    /// The key id that a request names: `<store>/<workstation>.<n>`, such as `0367/03.1`.
    pub fn keyid(&self) -> String {
        format!("{}/{}.{}", self.store_id, self.workstation_id, self.key_no)
    }
}

/// Proves the MAC of a request from its head.
///
/// # Errors
/// [`Invalid`] for everything that can be wrong: no signature or two, a form or a parameter
/// that the profile does not have, a component that is missing, an unknown key, a wrong MAC.
pub fn prove(
    message: &Message<'_>,
    keys: impl Fn(&str) -> Option<TerminalKey>,
) -> Result<Proven, Invalid> {
    let claim = Claim::read(message.headers())?;
    let covers = |name: &&'static str| claim.components.iter().any(|component| component == name);
    if !ALWAYS_COVERED.iter().all(covers) {
        return Err(Invalid);
    }
    let base = base::build(&claim.components, claim.params, |name| message.component(name))
        .ok_or(Invalid)?;
    let key = keys(&claim.keyid);
    let secret = key.as_ref().map_or(&NO_SECRET, |key| &*key.secret);
    let holds = mac(secret, &base).verify_slice(&claim.mac).is_ok();
    let Some(key) = key.filter(|_| holds) else { return Err(Invalid) };
    let TerminalKey { workstation_no, store_id, workstation_id, key_no, .. } = key;
    Ok(Proven {
        terminal: Terminal { workstation_no, store_id, workstation_id, key_no },
        created_s: claim.created_s,
        expires_s: claim.expires_s,
        covers_body: WITH_A_BODY.iter().all(covers),
        covers_digest: covers(&"content-digest"),
    })
}

impl Proven {
    /// Whose key it is.
    pub fn terminal(&self) -> &Terminal {
        &self.terminal
    }

    /// Judges the rest: first the body against its digest, then the time.
    ///
    /// # Errors
    /// `signature-invalid` when there is a body that the signature does not cover,
    /// `content-digest-invalid`, `content-digest-mismatch`, `clock-skew`, `signature-expired`.
    pub fn accept(
        self,
        headers: &HeaderMap,
        body: &[u8],
        now_s: i64,
        tolerance_s: i64,
    ) -> Result<Terminal, Slug> {
        if !body.is_empty() && !self.covers_body {
            return Err(Slug::SignatureInvalid);
        }
        if self.covers_digest {
            let text =
                single(headers, &CONTENT_DIGEST).map_err(|Invalid| Slug::SignatureInvalid)?;
            digest::check(text, body)?;
        }
        if now_s.abs_diff(self.created_s) > tolerance_s.unsigned_abs() {
            return Err(Slug::ClockSkew);
        }
        match self.expires_s {
            Some(end_s) if end_s <= self.created_s || end_s < now_s => Err(Slug::SignatureExpired),
            _ => Ok(self.terminal),
        }
    }
}

impl<'a> Claim<'a> {
    fn read(headers: &'a HeaderMap) -> Result<Self, Invalid> {
        let (label, list, params) = match only_member(single(headers, &SIGNATURE_INPUT)?)? {
            (label, ListEntry::InnerList(list), text) => (label, list, text),
            _ => return Err(Invalid),
        };
        let mac = match only_member(single(headers, &SIGNATURE)?)? {
            (named, ListEntry::Item(item), _) if named == label && item.params.is_empty() => {
                match item.bare_item {
                    BareItem::ByteSequence(mac) => mac,
                    _ => return Err(Invalid),
                }
            }
            _ => return Err(Invalid),
        };
        let mut claim = Self {
            components: components(&list)?,
            params,
            created_s: -1,
            expires_s: None,
            keyid: String::new(),
            mac,
        };
        for (name, value) in list.params {
            match (name.as_str(), value) {
                ("created", value) => claim.created_s = time_s(&value)?,
                ("expires", value) => claim.expires_s = Some(time_s(&value)?),
                ("keyid", BareItem::String(text)) => claim.keyid = text.as_str().to_owned(),
                ("alg", BareItem::String(text)) if text.as_str() == ALGORITHM => {}
                ("nonce" | "tag", BareItem::String(_)) => {}
                _ => return Err(Invalid),
            }
        }
        if claim.created_s < 0 || claim.keyid.is_empty() { Err(Invalid) } else { Ok(claim) }
    }
}

/// The names of an inner list: plain texts, each once, none with a parameter.
fn components(list: &InnerList) -> Result<Vec<String>, Invalid> {
    if list.items.len() > COMPONENTS_MAX {
        return Err(Invalid);
    }
    let mut names: Vec<String> = Vec::with_capacity(list.items.len());
    for item in &list.items {
        let BareItem::String(name) = &item.bare_item else { return Err(Invalid) };
        let name = name.as_str();
        if !item.params.is_empty() || names.iter().any(|known| known == name) {
            return Err(Invalid);
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

/// The one member of a dictionary: its label, its value, and the value as it was received.
///
/// A field that is not in canonical form is refused. That also catches what the parser
/// overlooks as the RFC demands: a label or a parameter that comes twice.
fn only_member(text: &str) -> Result<(String, ListEntry, &str), Invalid> {
    let fields: Dictionary = Parser::new(text).parse().map_err(|_| Invalid)?;
    if fields.len() != 1 || fields.serialize().as_deref() != Some(text) {
        return Err(Invalid);
    }
    let (label, value) = fields.into_iter().next().ok_or(Invalid)?;
    let label = label.as_str().to_owned();
    // Canonical, and not a bare `label` (that would be a boolean item): `label=value`.
    let received = text.get(label.len() + 1..).ok_or(Invalid)?;
    Ok((label, value, received))
}

/// The text of a header that stands exactly once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, Invalid> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or(Invalid)?;
    if values.next().is_some() {
        return Err(Invalid);
    }
    value.to_str().map(str::trim_ascii).map_err(|_| Invalid)
}

fn time_s(value: &BareItem) -> Result<i64, Invalid> {
    match value {
        BareItem::Integer(time) => Some(i64::from(*time)),
        _ => None,
    }
    .filter(|time_s| (0..=TIME_MAX_S).contains(time_s))
    .ok_or(Invalid)
}

fn mac(secret: &[u8], base: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
    mac.update(base.as_bytes());
    mac
}
