//! How a request is signed, in words, and one call with every byte of it.

use jiff::Timestamp;

use super::{Example, escaped};
use crate::http::signature::{Unsigned, sign};

/// Everybody may know this one: it signs the example and nothing else.
const EXAMPLE_SECRET: [u8; 32] = *b"an example, known to everybody..";
const EXAMPLE_KEYID: &str = "0367/03.1";
const EXAMPLE_AUTHORITY: &str = "pos.example.com";
const EXAMPLE_CREATED: &str = "2026-03-14T16:53:27Z";

/// The rules.
pub(super) fn section() -> String {
    "<section id=\"signing\"><h2>How a request is signed</h2>\
     <p>RFC 9421 with <code>hmac-sha256</code>, and RFC 9530 for the digest of the body. Any \
     library for HTTP message signatures can do it. A key belongs to one terminal; the back office \
     shows its id and its 32 bytes once.</p><dl>\
     <dt>What must be covered, in any order</dt>\
     <dd><code>\"@method\" \"@authority\" \"@path\" \"@query\"</code>, and with a body also \
     <code>\"content-type\" \"content-digest\"</code>. Other headers that are there may be covered \
     too. No component has parameters. Without a query, <code>@query</code> is <code>?</code>.</dd>\
     <dt>Parameters, in any order</dt>\
     <dd><code>created</code> (seconds since 1970) and <code>keyid</code> are required; \
     <code>alg=\"hmac-sha256\"</code>, <code>expires</code>, <code>nonce</code> and \
     <code>tag</code> may be there. One signature per request, under any label.</dd>\
     <dt>The host</dt>\
     <dd><code>@authority</code> is the Host header as it was sent, in lower case; a port that was \
     sent is part of it. Paths and queries are signed as they were sent: nothing is decoded.</dd>\
     <dt>The digest</dt>\
     <dd><code>Content-Digest: sha-256=:…:</code> over the very bytes of the body. Compute it \
     after everything that may still change them.</dd>\
     <dt>The clock</dt>\
     <dd><code>created</code> may lie 300 seconds from the clock of the service (a setting). What \
     was stored offline is signed when it is sent. After a \
     <a href=\"problems/clock-skew\">clock-skew</a> take the time from the Date header, keep the \
     difference and sign again.</dd>\
     <dt>Sending again</dt>\
     <dd>A transaction is named by store, workstation, business date and sequence number. It \
     counts once however often it is sent: after a time-out, a broken connection or a 503 send \
     the same content again, signed anew.</dd>\
     <dt>When it does not match</dt>\
     <dd>Every signature that cannot be proven gets the same \
     <a href=\"problems/signature-invalid\">signature-invalid</a>, which says nothing more. \
     <code>tillside sign --explain</code> prints digest, base and MAC of a request step by step: \
     compare with your own from the top, and the first line that differs is the mistake.</dd>\
     </dl></section>"
        .to_owned()
}

/// One call with every byte of it.
pub(super) fn worked(example: &Example) -> String {
    let created: Timestamp = EXAMPLE_CREATED.parse().expect("a time");
    let Example { path, request, answer } = example;
    let unsigned = Unsigned {
        method: "POST",
        authority: EXAMPLE_AUTHORITY,
        path,
        query: None,
        body: request.as_bytes(),
    };
    let signed = sign(&unsigned, EXAMPLE_KEYID, &EXAMPLE_SECRET, created.as_second());
    let mut head = format!("POST {path} HTTP/1.1\nHost: {EXAMPLE_AUTHORITY}\n");
    for (name, value) in signed.headers() {
        head += &format!("{name}: {}\n", value.to_str().expect("made of printable ASCII"));
    }
    head += &format!("content-length: {}\n", request.len());
    let key = String::from_utf8_lossy(&EXAMPLE_SECRET);
    format!(
        "<section id=\"example\"><h2>One complete call</h2>\
         <p>Signed with the key <code>{EXAMPLE_KEYID}</code>, whose 32 bytes are the text \
         <code>{key}</code>. The text that is signed, its lines joined by LF, none after the \
         last:</p><pre>{}</pre><p>Its HMAC-SHA256 in base64 is <code>{}</code>. The request:</p>\
         <pre>{}\n{}</pre><p>The answer, here with spaces for the eye:</p>\
         <pre>HTTP/1.1 201 Created\ncontent-type: application/json\n\
         x-request-id: 9f2c41d07be84a6bb3fd0c5e1a7296d8\n\n{}</pre></section>",
        escaped(&signed.base),
        escaped(&signed.mac),
        escaped(&head),
        escaped(request),
        escaped(answer),
    )
}
