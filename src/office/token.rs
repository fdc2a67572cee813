//! Tokens: 256 random bits under a name, for one user, until a day. Known by their hash only.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;
use zeroize::Zeroizing;

/// What every token begins with, so that scanners of sources find one that was left there.
const PREFIX: &str = "tsk_";

/// What a token may be used for.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum TokenScope {
    /// Everything that its user may do.
    #[default]
    Full,
    /// What of it changes nothing.
    Read,
}

impl TokenScope {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Read => "read",
        }
    }

    pub(super) fn from_name(name: &str) -> Self {
        if name == "full" { Self::Full } else { Self::Read }
    }
}

/// A token that was just made. The only time its secret is seen.
#[derive(Clone)]
pub struct NewToken {
    /// The token itself.
    pub secret: Zeroizing<String>,
    /// As it is listed.
    pub status: TokenStatus,
}

/// A token as it is listed: without its secret.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Token)]
pub struct TokenStatus {
    /// Its number.
    #[schema(example = 7)]
    pub token: i32,
    /// Whose it is.
    pub user: i32,
    /// The address of that user.
    #[schema(example = "ada@chain.example")]
    pub email: String,
    /// What it is for.
    #[schema(example = "nightly export")]
    pub name: String,
    /// What it may be used for.
    pub scope: TokenScope,
    /// The last characters of its secret, to tell it from others.
    #[schema(example = "h3Qs")]
    pub last_four: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// When it was revoked; null when it was not.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<Timestamp>,
}

/// A new secret.
pub(super) fn secret() -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).expect("the kernel gives random bytes once it has booted");
    Zeroizing::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(*bytes)))
}

/// What a token is found by; none when it cannot be one. The look-up is by the hash, so how long
/// it takes says nothing about the secret.
pub(super) fn hash_of(token: &str) -> Option<Vec<u8>> {
    let digits = token.strip_prefix(PREFIX)?;
    let is_one = URL_SAFE_NO_PAD.decode(digits).is_ok_and(|bytes| bytes.len() == 32);
    is_one.then(|| Sha256::digest(token.as_bytes()).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_nothing_else_is_taken_for_one() {
        let (one, other) = (secret(), secret());
        assert_ne!(*one, *other);
        assert_eq!((one.len(), hash_of(&one).map(|hash| hash.len())), (47, Some(32)));
        for text in ["", "tsk_", "tsk_abc", &one[4..], &format!("{}A", &**one)] {
            assert!(hash_of(text).is_none(), "{text}");
        }
    }
}
