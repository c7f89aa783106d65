//! Sealing: AES-256-GCM with a random nonce (NIST SP 800-38D). What is sealed opens under the same key and the same name alone. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// How long a key is, in bytes.
pub(super) const KEY_BYTES: usize = 32;

/// A key that seals. A key seals fewer than 2^32 texts, as its random nonces need it (SP 800-38D 8.3): a tenant has one of its own.
pub(super) struct SealingKey(LessSafeKey);

impl SealingKey {
    /// The key of these bytes; `None` if there are not [`KEY_BYTES`] of them.
    pub(super) fn new(bytes: &[u8]) -> Option<Self> {
        UnboundKey::new(&AES_256_GCM, bytes).ok().map(|key| Self(LessSafeKey::new(key)))
    }

    /// Seals bytes under a name that they have to be opened by: nonce, ciphertext and tag in base64.
    pub(super) fn seal(&self, name: &str, nonce: [u8; NONCE_LEN], plain: &[u8]) -> Option<String> {
        let mut sealed = plain.to_vec();
        let aad = Aad::from(name.as_bytes());
        self.0.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed).ok()?;
        Some(STANDARD.encode([nonce.as_slice(), &sealed].concat()))
    }

    /// Opens what [`Self::seal`] has made under this name; `None` for anything else.
    pub(super) fn open(&self, name: &str, sealed: &str) -> Option<Vec<u8>> {
        let bytes = STANDARD.decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN)?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let length = self.0.open_in_place(nonce, Aad::from(name.as_bytes()), &mut sealed).ok()?.len();
        sealed.truncate(length);
        Some(sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SealingKey {
        SealingKey::new(&[byte; KEY_BYTES]).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_under_its_key_and_its_name_alone() {
        let sealed = key(1).seal("stack:tenant:endpoint:v1", [9; NONCE_LEN], b"secret").unwrap();
        assert_eq!(key(1).open("stack:tenant:endpoint:v1", &sealed).as_deref(), Some(&b"secret"[..]));
        assert_eq!(key(2).open("stack:tenant:endpoint:v1", &sealed), None);
        assert_eq!(key(1).open("stack:tenant:endpoint:v2", &sealed), None);
    }

    #[test]
    fn what_was_changed_or_cut_does_not_open() {
        let sealed = STANDARD.decode(key(1).seal("n", [9; NONCE_LEN], b"secret").unwrap()).unwrap();
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert_eq!(key(1).open("n", &STANDARD.encode(&changed)), None, "{place}");
            assert_eq!(key(1).open("n", &STANDARD.encode(&sealed[..place])), None, "{place}");
        }
        assert_eq!(key(1).open("n", "no base64"), None);
    }

    #[test]
    fn key_has_32_bytes() {
        for bytes in [0, 16, 31, 33] {
            assert!(SealingKey::new(&vec![1; bytes]).is_none(), "{bytes}");
        }
    }

    /// McGrew and Viega, "The Galois/Counter Mode of Operation", test case 14.
    #[test]
    fn sealed_form_is_nonce_ciphertext_and_tag() {
        let key = SealingKey::new(&[0; KEY_BYTES]).unwrap();
        let sealed = STANDARD.decode(key.seal("", [0; NONCE_LEN], &[0; 16]).unwrap()).unwrap();
        let expected =
            ["000000000000000000000000", "cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919"];
        assert_eq!(hex::encode(sealed), expected.concat());
    }
}
