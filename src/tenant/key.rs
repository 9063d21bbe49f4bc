//! Write keys: shown once, kept as a digest.

use std::fmt;

use rand::TryRng;
use sha2::{Digest, Sha256};

const PREFIX: &str = "rb_";
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^43 is the first power of 62 above 2^256.
const SECRET_CHARS: usize = 43;
/// 62^6 is above 2^32: room for four bytes of checksum.
const CHECK_CHARS: usize = 6;

/// `rb_`, 32 random bytes in base 62, and a checksum that tells a typing error from a key that was revoked.
///
/// Holding one proves its shape, not that it exists. `Debug` prints a placeholder.
#[derive(Clone, PartialEq, Eq)]
pub struct WriteKey(String);

/// SHA-256 of a write key: all that is ever stored of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyDigest([u8; 32]);

/// The text has not the shape of a write key, or its checksum is wrong. Answered like an unknown key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a write key: it has the wrong shape or a typing error in it")]
pub struct MalformedKey;

impl WriteKey {
    /// Makes a new key from the operating system's randomness.
    ///
    /// # Errors
    /// The operating system has no randomness to give.
    pub fn generate() -> Result<Self, rand::rngs::SysError> {
        let mut secret = [0u8; 32];
        rand::rngs::SysRng.try_fill_bytes(&mut secret)?;
        let body = base62(&secret, SECRET_CHARS);
        let check = checksum(&body);
        Ok(Self(format!("{PREFIX}{body}{check}")))
    }

    /// Reads a key that a person handed over.
    ///
    /// # Errors
    /// The shape or the checksum is wrong.
    pub fn parse(text: &str) -> Result<Self, MalformedKey> {
        let key = Self::presented(text)?;
        let (body, check) = text[PREFIX.len()..].split_at(SECRET_CHARS);
        if checksum(body) == check { Ok(key) } else { Err(MalformedKey) }
    }

    /// Reads a key that a request presents. Its checksum is not looked at: no key with a typing error is found, and there
    /// are more requests than people.
    ///
    /// # Errors
    /// The shape is wrong.
    pub fn presented(text: &str) -> Result<Self, MalformedKey> {
        let payload = text.strip_prefix(PREFIX).ok_or(MalformedKey)?;
        let well_formed =
            payload.len() == SECRET_CHARS + CHECK_CHARS && payload.bytes().all(|b| b.is_ascii_alphanumeric());
        if well_formed { Ok(Self(text.to_owned())) } else { Err(MalformedKey) }
    }

    /// What is stored and looked up.
    pub fn digest(&self) -> KeyDigest {
        KeyDigest(Sha256::digest(self.0.as_bytes()).into())
    }

    /// The key itself, for the one time it is shown.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for WriteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WriteKey(…)")
    }
}

impl KeyDigest {
    /// A digest as the control schema holds it.
    ///
    /// # Errors
    /// Gives the length back when it is not 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, usize> {
        bytes.try_into().map(Self).map_err(|_| bytes.len())
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The first four bytes of SHA-256 over everything before the checksum, in base 62.
fn checksum(body: &str) -> String {
    let digest = Sha256::new().chain_update(PREFIX).chain_update(body).finalize();
    base62(&digest[..4], CHECK_CHARS)
}

/// Big-endian `bytes` as a number in base 62, padded to `width` digits.
fn base62(bytes: &[u8], width: usize) -> String {
    let mut number = bytes.to_vec();
    let mut digits = Vec::with_capacity(width);
    for _ in 0..width {
        let mut remainder = 0u32;
        for byte in &mut number {
            let value = (remainder << 8) | u32::from(*byte);
            *byte = u8::try_from(value / 62).expect("remainder < 62, so value / 62 < 256");
            remainder = value % 62;
        }
        digits.push(char::from(ALPHABET[remainder as usize]));
    }
    digits.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_reads_back_and_one_typing_error_does_not() {
        let key = WriteKey::generate().expect("randomness");
        assert_eq!(WriteKey::parse(key.reveal()).as_ref(), Ok(&key));
        for position in 3..key.reveal().len() {
            let mut typo = key.reveal().to_owned().into_bytes();
            typo[position] = if typo[position] == b'a' { b'b' } else { b'a' };
            let typo = String::from_utf8(typo).expect("ascii");
            assert_eq!(WriteKey::parse(&typo), Err(MalformedKey), "at {position}");
        }
    }

    #[test]
    fn hostile_text_is_malformed() {
        for text in [
            "",
            "rb_",
            "rb_é",
            "Bearer",
            &format!("rb_{}", "a".repeat(49)),
            &format!("rb_{}", "é".repeat(25)),
        ] {
            assert_eq!(WriteKey::parse(text), Err(MalformedKey), "{text:?}");
        }
    }

    #[test]
    fn debug_prints_nothing_of_the_key() {
        let key = WriteKey::generate().expect("randomness");
        assert_eq!(format!("{key:?}"), "WriteKey(…)");
    }
}
