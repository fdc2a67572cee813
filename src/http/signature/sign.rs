//! The other side: what a terminal does to a request before it is sent.

use std::borrow::Cow;

use ::http::header::CONTENT_TYPE;
use ::http::{HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::Mac as _;

use super::base::{self, lower_case};
use super::{
    ALGORITHM, ALWAYS_COVERED, CONTENT_DIGEST, SIGNATURE, SIGNATURE_INPUT, WITH_A_BODY, digest, mac,
};

const JSON: &str = "application/json";

/// A request before it is signed. A body, if there is one, is JSON.
#[derive(Clone, Copy, Debug)]
pub struct Unsigned<'a> {
    /// The method, in capital letters.
    pub method: &'a str,
    /// Host and port, exactly as the Host header will say; a default port left out.
    pub authority: &'a str,
    /// The path, encoded as it will be sent.
    pub path: &'a str,
    /// What follows the question mark, without it.
    pub query: Option<&'a str>,
    /// The bytes of the body.
    pub body: &'a [u8],
}

/// A signature with everything that led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The Content-Digest header, when there is a body.
    pub content_digest: Option<String>,
    /// The text that was signed.
    pub base: String,
    /// Its HMAC-SHA256 in base64.
    pub mac: String,
    /// The Signature-Input header.
    pub signature_input: String,
    /// The Signature header.
    pub signature: String,
}

/// Signs a request as the contract asks, `created_s` seconds after 1970. The key id is
/// written into a quoted text and must be printable ASCII.
pub fn sign(request: &Unsigned<'_>, keyid: &str, secret: &[u8], created_s: i64) -> Signed {
    let content_digest = (!request.body.is_empty()).then(|| digest::of(request.body));
    let mut names = ALWAYS_COVERED.to_vec();
    if content_digest.is_some() {
        names.extend(WITH_A_BODY);
    }
    let keyid = keyid.replace('\\', "\\\\").replace('"', "\\\"");
    let covered = names.join("\" \"");
    let params =
        format!("(\"{covered}\");created={created_s};keyid=\"{keyid}\";alg=\"{ALGORITHM}\"");
    let base = base::build(&names, &params, |name| match name {
        "@method" => Some(request.method.into()),
        "@authority" => Some(lower_case(request.authority)),
        "@path" => Some(request.path.into()),
        "@query" => Some(format!("?{}", request.query.unwrap_or_default()).into()),
        "content-type" => Some(JSON.into()),
        _ => content_digest.as_deref().map(Cow::from),
    })
    .expect("every name above has a value");
    let mac = STANDARD.encode(mac(secret, &base).finalize().into_bytes());
    Signed {
        content_digest,
        signature_input: format!("sig1={params}"),
        signature: format!("sig1=:{mac}:"),
        base,
        mac,
    }
}

impl Signed {
    /// The headers to send, Host apart.
    ///
    /// # Panics
    /// When the key id was not printable ASCII.
    pub fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> + '_ {
        let text = |text: &str| {
            HeaderValue::from_str(text).expect("made of printable ASCII, as the key id must be")
        };
        let of_body = self.content_digest.iter().flat_map(move |digest| {
            [(CONTENT_TYPE, HeaderValue::from_static(JSON)), (CONTENT_DIGEST, text(digest))]
        });
        of_body.chain([
            (SIGNATURE_INPUT, text(&self.signature_input)),
            (SIGNATURE, text(&self.signature)),
        ])
    }
}
