//! Secrets at rest: terminals' shared secrets are sealed before they go into the database.
//!
//! Owns the sealed format and the key-encryption key. Must never log or return the key.
//!
//! A sealed secret is one version byte (1), a nonce of 12 random bytes, and the AES-256-GCM
//! ciphertext with its tag of 16 bytes. The keyid of the terminal is authenticated with it, so a
//! sealed secret that is copied into the row of another terminal does not open there. With random
//! nonces one key is good for 2³² secrets; a chain has some ten thousand.

use std::path::PathBuf;
use std::{fmt, fs, io};

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::config::Secrets;

const VERSION: u8 = 1;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const KEY_BYTES: usize = 32;

/// Seals and opens secrets with the key-encryption key.
#[derive(Clone)]
pub struct Sealer(Aes256Gcm);

/// Why the key-encryption key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Neither setting names one.
    #[error(
        "no key-encryption key: set secrets.key_encryption_key_file to a file that holds 32 random \
         bytes in base64 (such as `openssl rand -base64 32` prints)"
    )]
    Missing,
    /// Both settings name one.
    #[error(
        "two key-encryption keys: set secrets.key_encryption_key or key_encryption_key_file, not \
         both"
    )]
    Both,
    /// The file cannot be read.
    #[error("the key-encryption key in {path} cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not 32 bytes in base64.
    #[error(
        "the key-encryption key must be 32 bytes in base64 (such as `openssl rand -base64 32` \
         prints)"
    )]
    Malformed,
}

/// A sealed secret does not open: another key, another terminal, or damaged. Which of them
/// cannot be told, by design.
#[derive(Debug, thiserror::Error)]
#[error(
    "a sealed secret does not open: the key-encryption key is another one than it was sealed \
     with, or the stored bytes are damaged or another terminal's"
)]
pub struct OpenError;

impl Sealer {
    /// With the key of the configuration.
    ///
    /// # Errors
    /// [`KeyError`] says what to set.
    pub fn from_config(secrets: &Secrets) -> Result<Self, KeyError> {
        let path = &secrets.key_encryption_key_file;
        match (secrets.key_encryption_key.is_empty(), path.as_os_str().is_empty()) {
            (true, true) => Err(KeyError::Missing),
            (false, false) => Err(KeyError::Both),
            (false, true) => Self::from_base64(secrets.key_encryption_key.reveal()),
            (true, false) => {
                let text = fs::read_to_string(path)
                    .map_err(|source| KeyError::Unreadable { path: path.clone(), source })?;
                Self::from_base64(&Zeroizing::new(text))
            }
        }
    }

    /// With a key as base64 text; white space around it is ignored.
    ///
    /// # Errors
    /// [`KeyError::Malformed`] unless it is 32 bytes.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        let bytes = Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| KeyError::Malformed)?);
        if bytes.len() != KEY_BYTES {
            return Err(KeyError::Malformed);
        }
        Aes256Gcm::new_from_slice(&bytes).map(Self).map_err(|_| KeyError::Malformed)
    }

    /// A fresh key as base64 text, for a demo or a first installation.
    pub fn generate_key() -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        fill_random(&mut *bytes);
        Zeroizing::new(STANDARD.encode(*bytes))
    }

    /// Seals the secret of the terminal key named `keyid`: 29 bytes longer than `secret`.
    pub fn seal(&self, keyid: &str, secret: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_BYTES];
        fill_random(&mut nonce);
        let payload = Payload { msg: secret, aad: keyid.as_bytes() };
        let ciphertext = self
            .0
            .encrypt(&nonce.into(), payload)
            .expect("AES-GCM seals anything shorter than 64 GiB");
        let mut sealed = Vec::with_capacity(1 + NONCE_BYTES + ciphertext.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&ciphertext);
        sealed
    }

    /// Opens what [`Sealer::seal`] made for the same `keyid`. The result is wiped when dropped.
    ///
    /// # Errors
    /// [`OpenError`], whatever the reason.
    pub fn open(&self, keyid: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let (&version, rest) = sealed.split_first().ok_or(OpenError)?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(OpenError)?;
        if version != VERSION || ciphertext.len() < TAG_BYTES {
            return Err(OpenError);
        }
        let payload = Payload { msg: ciphertext, aad: keyid.as_bytes() };
        self.0.decrypt(&(*nonce).into(), payload).map(Zeroizing::new).map_err(|_| OpenError)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(secret)")
    }
}

fn fill_random(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the kernel gives random bytes once it has booted");
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYID: &str = "0042-03:1";
    const SECRET: &[u8] = b"thirty-two bytes of a secret key";

    fn sealer() -> Sealer {
        Sealer::from_base64(&Sealer::generate_key()).expect("a generated key is well formed")
    }

    #[test]
    fn what_was_sealed_opens_again() {
        let sealer = sealer();
        let sealed = sealer.seal(KEYID, SECRET);
        assert_eq!(sealed.len(), SECRET.len() + 29);
        assert_eq!(sealer.open(KEYID, &sealed).expect("opens").as_slice(), SECRET);
        assert!(!sealed.windows(8).any(|window| window == &SECRET[..8]), "nothing in the clear");
    }

    #[test]
    fn the_same_secret_never_seals_to_the_same_bytes() {
        let sealer = sealer();
        assert_ne!(sealer.seal(KEYID, SECRET), sealer.seal(KEYID, SECRET));
    }

    #[test]
    fn one_flipped_bit_anywhere_is_noticed() {
        let sealer = sealer();
        let sealed = sealer.seal(KEYID, SECRET);
        for position in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[position / 8] ^= 1 << (position % 8);
            assert!(sealer.open(KEYID, &damaged).is_err(), "bit {position}");
        }
    }

    #[test]
    fn nothing_shorter_or_longer_opens() {
        let sealer = sealer();
        let mut sealed = sealer.seal(KEYID, SECRET);
        for length in 0..sealed.len() {
            assert!(sealer.open(KEYID, &sealed[..length]).is_err(), "{length} bytes");
        }
        sealed.push(0);
        assert!(sealer.open(KEYID, &sealed).is_err());
    }

    #[test]
    fn it_opens_for_no_other_terminal_and_with_no_other_key() {
        let (ours, other) = (sealer(), sealer());
        let sealed = ours.seal(KEYID, SECRET);
        assert!(ours.open("0042-04:1", &sealed).is_err());
        assert!(ours.open("0042-03:2", &sealed).is_err());
        assert!(other.open(KEYID, &sealed).is_err());
    }

    #[test]
    fn an_empty_secret_is_a_secret() {
        let sealer = sealer();
        assert!(sealer.open(KEYID, &sealer.seal(KEYID, b"")).expect("opens").is_empty());
    }

    #[test]
    fn keys_of_another_length_or_alphabet_are_refused() {
        for text in
            ["", "AAAA", "not base64!", &STANDARD.encode([0; 31]), &STANDARD.encode([0; 33])]
        {
            assert!(matches!(Sealer::from_base64(text), Err(KeyError::Malformed)), "{text}");
        }
        Sealer::from_base64(&format!("  {}\n", STANDARD.encode([7; 32]))).expect("trimmed");
    }

    #[test]
    fn the_configuration_must_name_one_key() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        fs::write(file.path(), format!("{}\n", STANDARD.encode([7; 32]))).expect("written");
        let key = crate::config::Secret::new(STANDARD.encode([7; 32]));
        let mut secrets = Secrets::default();
        assert!(matches!(Sealer::from_config(&secrets), Err(KeyError::Missing)));
        secrets.key_encryption_key_file = file.path().to_owned();
        let from_file = Sealer::from_config(&secrets).expect("from the file");
        secrets.key_encryption_key = key;
        assert!(matches!(Sealer::from_config(&secrets), Err(KeyError::Both)));
        secrets.key_encryption_key_file = PathBuf::new();
        let from_text = Sealer::from_config(&secrets).expect("from the text");
        assert!(from_text.open(KEYID, &from_file.seal(KEYID, SECRET)).is_ok(), "the same key");
        secrets.key_encryption_key = crate::config::Secret::default();
        secrets.key_encryption_key_file = PathBuf::from("/nonexistent/key");
        assert!(matches!(Sealer::from_config(&secrets), Err(KeyError::Unreadable { .. })));
    }
}
