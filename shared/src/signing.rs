//! Signing: what is signed and which headers carry it, for every scheme an endpoint can have. Pure.
//!
//! Source: the Standard Webhooks specification, "Signature scheme", for `standard` and `ed25519`; the receivers' own habits for the others.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::Sha256;

use crate::domain::id::EventId;
use crate::domain::signature::{Encoding, Signature, fill};
use crate::domain::signing_secret::{SecretDocument, SigningSecret};

/// What one attempt signs.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// The event, `webhook-id`.
    pub event_id: EventId,
    /// When the attempt is made.
    pub at: Timestamp,
    /// The bytes that are sent.
    pub body: &'a [u8],
    /// What an `hmac` signature covers instead of the body, where payload fields say so.
    pub signed_fields: Option<&'a [u8]>,
}

/// The headers that carry the signature of an attempt, by lower-case name; `webhook-id` and `webhook-timestamp` (whole seconds) always among them.
///
/// Every current key signs, the newest first: joined by one space in the standard schemes, by a comma in the others.
#[must_use]
pub fn headers(signature: &Signature, secrets: &SecretDocument, content: &Content<'_>) -> Vec<(String, String)> {
    let id = content.event_id.to_string();
    let timestamp = content.at.as_second().to_string();
    let mut headers = match signature {
        Signature::Standard => {
            let signed = standard_content(&id, &timestamp, content.body);
            let all = secrets.signing_at(content.at).map(|key| format!("v1,{}", STANDARD.encode(hmac(key, &signed))));
            vec![("webhook-signature".to_owned(), all.collect::<Vec<_>>().join(" "))]
        }
        Signature::Ed25519 => {
            let signed = standard_content(&id, &timestamp, content.body);
            let pairs = secrets.signing_at(content.at).filter_map(SigningSecret::key_pair);
            let all = pairs.map(|pair| format!("v1a,{}", STANDARD.encode(pair.sign(&signed))));
            vec![("webhook-signature".to_owned(), all.collect::<Vec<_>>().join(" "))]
        }
        Signature::Hmac { header, encoding, prefix } => {
            let signed = content.signed_fields.unwrap_or(content.body);
            let all =
                secrets.signing_at(content.at).map(|key| format!("{prefix}{}", written(*encoding, &hmac(key, signed))));
            vec![(header.clone(), all.collect::<Vec<_>>().join(","))]
        }
        Signature::Custom { signed, headers } => {
            let plain = |name: &str| match name {
                "id" => id.clone().into_bytes(),
                "timestamp" => timestamp.clone().into_bytes(),
                "timestamp_ms" => content.at.as_millisecond().to_string().into_bytes(),
                "body" => content.body.to_vec(),
                _ => Vec::new(),
            };
            let signed = fill(signed, plain);
            let macs: Vec<_> = secrets.signing_at(content.at).map(|key| hmac(key, &signed)).collect();
            headers.iter().map(|(name, template)| (name.clone(), custom_value(template, &macs, plain))).collect()
        }
    };
    headers.push(("webhook-id".to_owned(), id));
    headers.push(("webhook-timestamp".to_owned(), timestamp));
    headers
}

/// A header's value, once per key where it carries a signature.
fn custom_value(template: &str, macs: &[Vec<u8>], plain: impl Fn(&str) -> Vec<u8>) -> String {
    let is_signed = template.contains("{hmac_hex}") || template.contains("{hmac_base64}");
    let times = if is_signed { macs.len() } else { 1 };
    let values = macs.iter().take(times).map(|mac| {
        let value = fill(template, |name| match name {
            "hmac_hex" => hex::encode(mac).into_bytes(),
            "hmac_base64" => STANDARD.encode(mac).into_bytes(),
            other => plain(other),
        });
        String::from_utf8_lossy(&value).into_owned()
    });
    values.collect::<Vec<_>>().join(",")
}

fn standard_content(id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat()
}

fn hmac(key: &SigningSecret, content: &[u8]) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(&key.hmac_key()).expect("HMAC takes keys of any length");
    mac.update(content);
    mac.finalize().into_bytes().to_vec()
}

fn written(encoding: Encoding, bytes: &[u8]) -> String {
    match encoding {
        Encoding::Hex => hex::encode(bytes),
        Encoding::Base64 => STANDARD.encode(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::signing_secret::{KEY_BYTES_GENERATED, PreviousSecret};
    use std::collections::BTreeMap;

    const NOW: Timestamp = Timestamp::constant(1_700_000_000, 123_000_000);

    fn secret(byte: u8) -> SigningSecret {
        SigningSecret::generate(&Signature::Standard, [byte; KEY_BYTES_GENERATED])
    }

    fn overlapping() -> SecretDocument {
        let expires_at = NOW.checked_add(jiff::SignedDuration::from_secs(60)).unwrap();
        let previous = Some(PreviousSecret { secret: secret(1), expires_at });
        SecretDocument { current: secret(2), previous, credential: None }
    }

    fn signed(
        signature: &Signature,
        document: &SecretDocument,
        at: Timestamp,
        body: &[u8],
    ) -> BTreeMap<String, String> {
        let event_id = EventId::from_parts(NOW, [0; 10]);
        headers(signature, document, &Content { event_id, at, body, signed_fields: None }).into_iter().collect()
    }

    fn v1(secret: &str, id: &str, timestamp: &str, body: &[u8]) -> String {
        let key = SigningSecret::parse(secret).unwrap();
        format!("v1,{}", STANDARD.encode(hmac(&key, &standard_content(id, timestamp, body))))
    }

    #[test]
    fn signatures_are_those_of_the_published_vectors() {
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            v1("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
        let other = br#"{"email":"test@example.com","username":"test_user"}"#;
        assert_eq!(
            v1("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", "1649367553", other),
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="
        );
        let pair = SigningSecret::parse(
            "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==",
        );
        let content = standard_content("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body);
        assert_eq!(
            STANDARD.encode(pair.unwrap().key_pair().unwrap().sign(&content)),
            "hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
        );
    }

    #[test]
    fn during_an_overlap_both_keys_sign_the_newest_first_and_after_it_only_the_new_one() {
        let document = overlapping();
        let got = signed(&Signature::Standard, &document, NOW, b"{}");
        let id = &got["webhook-id"];
        let expected = [2, 1].map(|byte| v1(secret(byte).expose(), id, "1700000000", b"{}")).join(" ");
        assert_eq!(got["webhook-signature"], expected);
        assert_eq!(got["webhook-timestamp"], "1700000000");
        let later = document.previous.as_ref().unwrap().expires_at;
        assert!(!signed(&Signature::Standard, &document, later, b"{}")["webhook-signature"].contains(' '));
    }

    #[test]
    fn ed25519_signs_with_v1a() {
        let pair = SigningSecret::generate(&Signature::Ed25519, [3; KEY_BYTES_GENERATED]);
        let got = signed(&Signature::Ed25519, &SecretDocument::new(pair.clone(), None), NOW, b"{}");
        let encoded = got["webhook-signature"].strip_prefix("v1a,").unwrap();
        let public = STANDARD.decode(pair.public_key().unwrap().strip_prefix("whpk_").unwrap()).unwrap();
        let key = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, public);
        let content = standard_content(&got["webhook-id"], "1700000000", b"{}");
        assert!(key.verify(&content, &STANDARD.decode(encoded).unwrap()).is_ok());
    }

    #[test]
    fn hmac_signs_the_body_or_the_chosen_fields_under_its_header() {
        let scheme =
            Signature::Hmac { header: "x-hub-signature-256".into(), encoding: Encoding::Hex, prefix: "sha256=".into() };
        // The vector that GitHub publishes.
        let key = SigningSecret::parse("It's a Secret to Everybody").unwrap();
        let got = signed(&scheme, &SecretDocument::new(key.clone(), None), NOW, b"Hello, World!");
        let published = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert_eq!(got["x-hub-signature-256"], published);
        let event_id = EventId::from_parts(NOW, [0; 10]);
        let content = Content { event_id, at: NOW, body: b"{}", signed_fields: Some(b"{\"a\":1}") };
        let covered: BTreeMap<_, _> =
            headers(&scheme, &SecretDocument::new(key.clone(), None), &content).into_iter().collect();
        assert_eq!(covered["x-hub-signature-256"], format!("sha256={}", hex::encode(hmac(&key, b"{\"a\":1}"))));
        assert!(signed(&scheme, &overlapping(), NOW, b"{}")["x-hub-signature-256"].contains(",sha256="));
    }

    #[test]
    fn custom_templates_make_what_other_senders_make() {
        let templates = BTreeMap::from([
            ("stripe-signature".to_owned(), "t={timestamp},v1={hmac_hex}".to_owned()),
            ("x-sent-at".to_owned(), "{timestamp_ms}".to_owned()),
        ]);
        let scheme = Signature::Custom { signed: "{timestamp}.{body}".into(), headers: templates };
        let got = signed(&scheme, &overlapping(), NOW, b"{}");
        let mac = |byte| hex::encode(hmac(&secret(byte), b"1700000000.{}"));
        assert_eq!(got["stripe-signature"], format!("t=1700000000,v1={},t=1700000000,v1={}", mac(2), mac(1)));
        assert_eq!(got["x-sent-at"], "1700000000123");
    }
}
