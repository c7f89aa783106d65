//! Signing by Standard Webhooks: secrets, the content that is signed, and the headers that carry it. Pure.
//!
//! Secrets have no `Display` and a silent `Debug`. What Secrets Manager holds is another type, [`SecretDocument`].
//!
//! Source: the Standard Webhooks specification, "Verifying webhooks" and "Signature scheme".

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::domain::id::EventId;

/// The shortest key behind `whsec_`, in bytes.
pub const KEY_BYTES_MIN: usize = 24;
/// The longest key behind `whsec_`, in bytes.
pub const KEY_BYTES_MAX: usize = 64;
/// How many bytes a key has that Outhook makes.
pub const KEY_BYTES_GENERATED: usize = 32;
/// The shortest secret that is not `whsec_`, in characters; its bytes are the key.
pub const RAW_SECRET_CHARACTERS_MIN: usize = 16;
/// The longest secret that is not `whsec_`, in characters.
pub const RAW_SECRET_CHARACTERS_MAX: usize = 256;

const PREFIX: &str = "whsec_";

/// The rule for a signing secret, as an error says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be whsec_ and the base64 of {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes, or {RAW_SECRET_CHARACTERS_MIN} to \
     {RAW_SECRET_CHARACTERS_MAX} printable ASCII characters"
)]
pub struct InvalidSecret;

/// A key that webhooks are signed with, in the form that its owner knows it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SigningSecret(String);

impl SigningSecret {
    /// A secret made of random bytes.
    #[must_use]
    pub fn from_random(random: [u8; KEY_BYTES_GENERATED]) -> Self {
        Self(format!("{PREFIX}{}", STANDARD.encode(random)))
    }

    /// Reads a secret that a caller brings: `whsec_` and base64, or printable characters that are the key themselves.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, InvalidSecret> {
        let valid = match text.strip_prefix(PREFIX) {
            Some(encoded) => {
                STANDARD.decode(encoded).is_ok_and(|key| (KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&key.len()))
            }
            None => {
                (RAW_SECRET_CHARACTERS_MIN..=RAW_SECRET_CHARACTERS_MAX).contains(&text.len())
                    && text.bytes().all(|b| (b'!'..=b'~').contains(&b))
            }
        };
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidSecret) }
    }

    /// The secret, to be shown to its owner.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    fn key(&self) -> Vec<u8> {
        let encoded = self.0.strip_prefix(PREFIX).and_then(|encoded| STANDARD.decode(encoded).ok());
        encoded.unwrap_or_else(|| self.0.as_bytes().to_vec())
    }

    /// `v1,<base64>` over `{id}.{timestamp}.{body}`.
    fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key()).expect("HMAC takes keys of any length");
        mac.update(id.as_bytes());
        mac.update(b".");
        mac.update(timestamp.to_string().as_bytes());
        mac.update(b".");
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
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

/// What Secrets Manager holds for an endpoint, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretDocument {
    /// The key in force.
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
}

/// The three headers of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureHeaders {
    /// `webhook-id`: the event's id, the same at every attempt.
    pub id: String,
    /// `webhook-timestamp`: whole seconds of this attempt.
    pub timestamp: String,
    /// `webhook-signature`: one signature per key that is in force, the newest first, joined by one space.
    pub signature: String,
}

/// Signs a body for an attempt at `now` with every key in force.
#[must_use]
pub fn sign(secrets: &SecretDocument, event_id: EventId, now: Timestamp, body: &[u8]) -> SignatureHeaders {
    let id = event_id.to_string();
    let timestamp = now.as_second();
    let mut signature = secrets.current.sign(&id, timestamp, body);
    if let Some(previous) = secrets.previous_at(now) {
        signature.push(' ');
        signature.push_str(&previous.secret.sign(&id, timestamp, body));
    }
    SignatureHeaders { id, timestamp: timestamp.to_string(), signature }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

    fn secret(byte: u8) -> SigningSecret {
        SigningSecret::from_random([byte; KEY_BYTES_GENERATED])
    }

    #[test]
    fn signatures_are_those_of_the_published_vectors() {
        let first = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert_eq!(
            first.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
        let second = SigningSecret::parse("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").unwrap();
        assert_eq!(
            second.sign(
                "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
                1_649_367_553,
                br#"{"email":"test@example.com","username":"test_user"}"#
            ),
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="
        );
    }

    #[test]
    fn secrets_outside_the_limits_are_refused() {
        let whsec = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![1; bytes]));
        assert!(SigningSecret::parse(&whsec(23)).is_err());
        assert!(SigningSecret::parse(&whsec(24)).is_ok());
        assert!(SigningSecret::parse(&whsec(64)).is_ok());
        assert!(SigningSecret::parse(&whsec(65)).is_err());
        assert!(SigningSecret::parse("whsec_not base64").is_err());
        assert!(SigningSecret::parse(&"x".repeat(15)).is_err());
        assert!(SigningSecret::parse(&"x".repeat(256)).is_ok());
        assert!(SigningSecret::parse(&"x".repeat(257)).is_err());
        assert!(SigningSecret::parse("sixteen chars\u{7} ok").is_err());
    }

    #[test]
    fn during_an_overlap_both_keys_sign_the_newest_first_and_after_it_only_the_new_one() {
        let expires_at = NOW.checked_add(jiff::SignedDuration::from_secs(60)).unwrap();
        let document = SecretDocument {
            current: secret(2),
            previous: Some(PreviousSecret { secret: secret(1), expires_at }),
            credential: None,
        };
        let id = EventId::from_parts(NOW, [0; 10]);
        let both = sign(&document, id, NOW, b"{}").signature;
        let parts: Vec<_> = both.split(' ').collect();
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0], secret(2).sign(&id.to_string(), NOW.as_second(), b"{}"));
        assert_eq!(parts[1], secret(1).sign(&id.to_string(), NOW.as_second(), b"{}"));
        assert!(!sign(&document, id, expires_at, b"{}").signature.contains(' '));
    }

    #[test]
    fn secrets_show_nowhere_by_accident() {
        let document = SecretDocument::new(secret(1), Some(Credential::new("p4ss".to_owned())));
        let shown = format!("{document:?}");
        assert!(!shown.contains("whsec_") && !shown.contains("p4ss"), "{shown}");
    }

    #[test]
    fn document_reads_back_as_it_was_written() {
        let document = SecretDocument::new(secret(1), None);
        let text = serde_json::to_string(&document).unwrap();
        assert_eq!(serde_json::from_str::<SecretDocument>(&text).unwrap(), document);
    }
}
