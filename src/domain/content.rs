//! The content of a swipe as one number: what decides whether a retry is a retry.
//!
//! A canonical encoding of the parsed command, so that spellings do not matter: `"2"` and
//! `"2.000"`, an absent list and an empty one, another zone for the same instant. Left out are
//! the name (what is compared stands under it), `offline`, and everything about the transport.
//! The encoding is versioned; a recorded hash is always compared in its own version.

use sha2::{Digest, Sha256};

use super::basket::{Ground, LineKind, Swipe};
use super::codec::Writer;

/// Encoding byte and the first 16 bytes of the SHA-256 of the canonical content.
pub type ContentHash = [u8; 17];

/// The newest encoding.
const ENCODING: u8 = 1;

/// The hash of a swipe's content in the newest encoding.
pub fn hash(swipe: &Swipe) -> ContentHash {
    let digest = Sha256::digest(canonical(swipe));
    let mut hash = [ENCODING; 17];
    hash[1..].copy_from_slice(&digest[..16]);
    hash
}

/// Whether a recorded hash is that of this content. A hash in an encoding that this version
/// does not know matches nothing.
pub fn matches(recorded: &[u8], swipe: &Swipe) -> bool {
    recorded == hash(swipe)
}

/// Whether bytes are a hash in an encoding that this version knows.
pub fn is_known(recorded: &[u8]) -> bool {
    recorded.len() == 17 && recorded.first() == Some(&ENCODING)
}

fn canonical(swipe: &Swipe) -> Vec<u8> {
    let mut out = Writer::new(ENCODING);
    out.signed(swipe.occurred_at.as_microsecond());
    out.optional_text(swipe.card.as_deref());
    out.byte(swipe.entry_method.map_or(0, |method| method as u8));
    out.optional_text(swipe.operator_id.as_deref());
    out.byte(u8::from(swipe.training));
    out.unsigned(swipe.lines.len() as u64);
    for line in &swipe.lines {
        out.unsigned(u64::from(line.line));
        match &line.kind {
            LineKind::Sale => out.byte(0),
            LineKind::Return { sold_on: None } => out.byte(1),
            LineKind::Return { sold_on: Some(sold_on) } => {
                out.byte(2);
                out.text(&sold_on.swipe.to_string());
                out.unsigned(u64::from(sold_on.line));
            }
        }
        out.text(&line.sku);
        out.signed(line.quantity.thousandths());
        out.signed(line.amount_minor);
        out.signed(line.discount_minor);
    }
    out.unsigned(swipe.adjustments.len() as u64);
    for adjustment in &swipe.adjustments {
        out.byte(adjustment.kind as u8);
        out.signed(adjustment.amount_minor);
    }
    out.signed(swipe.total_minor);
    out.unsigned(swipe.redemptions.len() as u64);
    for redemption in &swipe.redemptions {
        match &redemption.ground {
            Ground::Coupon(code) => out.text(code),
            // No coupon has an empty code.
            Ground::Offer(name) => {
                out.text("");
                out.text(name);
            }
        }
        out.signed(redemption.discount_minor);
    }
    out.signed(swipe.points_spent);
    out.signed(swipe.points_value_minor);
    out.finish()
}
