//! The digests that SQS answers with, which clients compare with their own.

use std::collections::BTreeMap;

use md5::{Digest, Md5};

use super::message::{AttributeValue, Payload};

/// The MD5 of a message body, in hexadecimal.
pub(super) fn of_body(body: &str) -> String {
    hex(Md5::digest(body.as_bytes()).as_slice())
}

/// The MD5 of message attributes, in hexadecimal; `None` when there are none.
///
/// Over the attributes sorted by name: the lengths (4 bytes, big endian) and bytes of name, type and value, the value
/// after a byte that says whether it is text (1) or binary (2). Source: SQS Developer Guide, "Calculating the MD5 message
/// digest for message attributes".
pub(super) fn of_attributes<'a>(
    attributes: impl IntoIterator<Item = (&'a String, &'a AttributeValue)>,
) -> Option<String> {
    let sorted: BTreeMap<_, _> = attributes.into_iter().collect();
    if sorted.is_empty() {
        return None;
    }
    let mut digest = Md5::new();
    for (name, attribute) in sorted {
        add(&mut digest, name.as_bytes());
        add(&mut digest, attribute.data_type.as_bytes());
        match &attribute.payload {
            Payload::Text(text) => {
                digest.update([1]);
                add(&mut digest, text.as_bytes());
            }
            Payload::Binary(bytes) => {
                digest.update([2]);
                add(&mut digest, bytes);
            }
        }
    }
    Some(hex(digest.finalize().as_slice()))
}

fn add(digest: &mut Md5, bytes: &[u8]) {
    // Messages are far below 4 GiB.
    digest.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    digest.update(bytes);
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_digest_is_md5_in_hexadecimal() {
        assert_eq!(of_body("This is a test message"), "fafb00f5732ab283681e124bf8747ed1");
    }

    #[test]
    fn no_attributes_have_no_digest() {
        assert_eq!(of_attributes(&BTreeMap::new()), None);
    }
}
