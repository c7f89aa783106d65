//! Signing secrets and receivers' credentials, as types that show nowhere by accident, and the document that Secrets Manager holds.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::{Deserialize, Serialize};

use crate::domain::signature::Signature;

/// The shortest key behind `whsec_`, in bytes.
pub const KEY_BYTES_MIN: usize = 24;
/// The longest key behind `whsec_`, in bytes.
pub const KEY_BYTES_MAX: usize = 64;
/// How many bytes a key has that Outhook makes; an Ed25519 seed has as many.
pub const KEY_BYTES_GENERATED: usize = 32;
/// The shortest secret that is not `whsec_`, in characters; its bytes are the key.
pub const RAW_SECRET_CHARACTERS_MIN: usize = 16;
/// The longest secret that is not `whsec_`, in characters.
pub const RAW_SECRET_CHARACTERS_MAX: usize = 256;

const SYMMETRIC_PREFIX: &str = "whsec_";
const ASYMMETRIC_PREFIX: &str = "whsk_";
const PUBLIC_PREFIX: &str = "whpk_";

/// The rule for a signing secret, as an error says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be whsec_ and the base64 of {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes, whsk_ and the base64 of an Ed25519 key pair, or \
     {RAW_SECRET_CHARACTERS_MIN} to {RAW_SECRET_CHARACTERS_MAX} printable ASCII characters"
)]
pub struct InvalidSecret;

/// A key that webhooks are signed with, in the form that its owner knows it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SigningSecret(String);

impl SigningSecret {
    /// A secret made of random bytes, of the kind that the signature needs.
    #[must_use]
    pub fn generate(signature: &Signature, random: [u8; KEY_BYTES_GENERATED]) -> Self {
        if signature.is_asymmetric()
            && let Ok(pair) = Ed25519KeyPair::from_seed_unchecked(&random)
        {
            let both = [&random[..], pair.public_key().as_ref()].concat();
            return Self(format!("{ASYMMETRIC_PREFIX}{}", STANDARD.encode(both)));
        }
        Self(format!("{SYMMETRIC_PREFIX}{}", STANDARD.encode(random)))
    }

    /// Reads a secret that a caller brings: `whsec_` or `whsk_` and base64, or printable characters that are the key themselves.
    ///
    /// # Errors
    /// When it is none of them.
    pub fn parse(text: &str) -> Result<Self, InvalidSecret> {
        let secret = Self(text.to_owned());
        let valid = if let Some(encoded) = text.strip_prefix(SYMMETRIC_PREFIX) {
            STANDARD.decode(encoded).is_ok_and(|key| (KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&key.len()))
        } else if text.starts_with(ASYMMETRIC_PREFIX) {
            secret.key_pair().is_some()
        } else {
            (RAW_SECRET_CHARACTERS_MIN..=RAW_SECRET_CHARACTERS_MAX).contains(&text.len())
                && text.bytes().all(|b| (b' '..=b'~').contains(&b))
        };
        if valid { Ok(secret) } else { Err(InvalidSecret) }
    }

    /// Whether the signature can be made with this kind of key.
    ///
    /// # Errors
    /// The rule.
    pub fn fits(&self, signature: &Signature) -> Result<(), &'static str> {
        match (signature.is_asymmetric(), self.0.starts_with(ASYMMETRIC_PREFIX)) {
            (true, false) => Err("must be a whsk_ key pair for an ed25519 signature"),
            (false, true) => Err("must not be a whsk_ key pair unless the signature is ed25519"),
            (true, true) | (false, false) => Ok(()),
        }
    }

    /// The secret, to be shown to its owner.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The public half of a key pair, `whpk_…`; `None` for a shared secret.
    #[must_use]
    pub fn public_key(&self) -> Option<String> {
        Some(format!("{PUBLIC_PREFIX}{}", STANDARD.encode(self.key_pair()?.public_key())))
    }

    /// The bytes that an HMAC is keyed with.
    pub(crate) fn hmac_key(&self) -> Vec<u8> {
        let encoded = self.0.strip_prefix(SYMMETRIC_PREFIX).and_then(|encoded| STANDARD.decode(encoded).ok());
        encoded.unwrap_or_else(|| self.0.as_bytes().to_vec())
    }

    pub(crate) fn key_pair(&self) -> Option<Ed25519KeyPair> {
        let both = STANDARD.decode(self.0.strip_prefix(ASYMMETRIC_PREFIX)?).ok()?;
        let (seed, public) = both.split_at_checked(KEY_BYTES_GENERATED)?;
        Ed25519KeyPair::from_seed_and_public_key(seed, public).ok()
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(hidden)")
    }
}

impl TryFrom<String> for SigningSecret {
    type Error = InvalidSecret;

    fn try_from(text: String) -> Result<Self, InvalidSecret> {
        Self::parse(&text)
    }
}

impl From<SigningSecret> for String {
    fn from(secret: SigningSecret) -> Self {
        secret.0
    }
}

/// A receiver's password, token or header value.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Credential(String);

impl Credential {
    /// Wraps the text, so that it shows nowhere by accident.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the one request that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(hidden)")
    }
}

/// How documents are kept (`SIGNING_SECRETS`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningSecrets {
    /// Each in a secret of its own in Secrets Manager.
    Dedicated,
    /// Each in its endpoint's item, encrypted.
    Sealed,
}

impl FromStr for SigningSecrets {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "Dedicated" => Ok(Self::Dedicated),
            "Sealed" => Ok(Self::Sealed),
            _ => Err("must be Dedicated or Sealed"),
        }
    }
}

/// A document that is encrypted, as text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(String);

impl Sealed {
    /// Takes a text that is encrypted.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

/// What is kept secret of an endpoint, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretDocument {
    /// The current key.
    pub current: SigningSecret,
    /// The key before it, while both sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousSecret>,
    /// The receiver's credential, where its authorization has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<Credential>,
}

/// A key that has been replaced and still signs for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousSecret {
    /// The key.
    pub secret: SigningSecret,
    /// From when on it no longer signs.
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub expires_at: Timestamp,
}

impl SecretDocument {
    /// The document of an endpoint with one key.
    #[must_use]
    pub fn new(current: SigningSecret, credential: Option<Credential>) -> Self {
        Self { current, previous: None, credential }
    }

    /// The key before the current one, if it still signs at `now`.
    #[must_use]
    pub fn previous_at(&self, now: Timestamp) -> Option<&PreviousSecret> {
        self.previous.as_ref().filter(|previous| now < previous.expires_at)
    }

    /// Every key that signs at `now`, the newest first.
    pub(crate) fn signing_at(&self, now: Timestamp) -> impl Iterator<Item = &SigningSecret> {
        std::iter::once(&self.current).chain(self.previous_at(now).map(|previous| &previous.secret))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_outside_the_limits_are_refused() {
        let whsec = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![1; bytes]));
        assert!(SigningSecret::parse(&whsec(23)).is_err());
        assert!(SigningSecret::parse(&whsec(24)).is_ok());
        assert!(SigningSecret::parse(&whsec(64)).is_ok());
        assert!(SigningSecret::parse(&whsec(65)).is_err());
        assert!(SigningSecret::parse("whsec_not base64").is_err());
        assert!(SigningSecret::parse("whsk_bm90IGEga2V5IHBhaXI=").is_err());
        assert!(SigningSecret::parse(&"x".repeat(15)).is_err());
        assert!(SigningSecret::parse(&"x".repeat(256)).is_ok());
        assert!(SigningSecret::parse(&"x".repeat(257)).is_err());
        assert!(SigningSecret::parse("sixteen chars\u{7} ok").is_err());
    }

    #[test]
    fn key_pair_serves_ed25519_alone_and_shows_its_public_half() {
        let pair = SigningSecret::generate(&Signature::Ed25519, [7; KEY_BYTES_GENERATED]);
        assert_eq!(SigningSecret::parse(pair.expose()), Ok(pair.clone()));
        assert!(pair.public_key().is_some_and(|key| key.starts_with("whpk_")));
        assert!(pair.fits(&Signature::Ed25519).is_ok() && pair.fits(&Signature::Standard).is_err());
        let shared = SigningSecret::generate(&Signature::Standard, [7; KEY_BYTES_GENERATED]);
        assert_eq!(shared.public_key(), None);
        assert!(shared.fits(&Signature::Standard).is_ok() && shared.fits(&Signature::Ed25519).is_err());
    }

    #[test]
    fn secrets_show_nowhere_by_accident() {
        let secret = SigningSecret::generate(&Signature::Standard, [1; KEY_BYTES_GENERATED]);
        let document = SecretDocument::new(secret, Some(Credential::new("p4ss".to_owned())));
        let shown = format!("{document:?}");
        assert!(!shown.contains("whsec_") && !shown.contains("p4ss"), "{shown}");
        let text = serde_json::to_string(&document).unwrap();
        assert_eq!(serde_json::from_str::<SecretDocument>(&text).unwrap(), document);
    }
}
