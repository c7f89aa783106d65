//! JSON as it may come from outside: checked whole, then kept as the bytes it came in.
//!
//! `data` is never parsed into a value and written again: key order, spacing and the form of numbers stay what the sender wrote.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// How deep objects and arrays may lie in each other. `serde_json` gives up at 128 by itself; this leaves receivers some room.
pub const DEPTH_MAX: usize = 100;

/// Checks that `bytes` are one JSON value in UTF-8, with no key twice in an object and nothing deeper than [`DEPTH_MAX`].
///
/// # Errors
/// What is wrong and where, in lower case.
pub fn check(bytes: &[u8]) -> Result<(), String> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Checked { depth: 0 }
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end())
        .map_err(|error| format!("must be valid JSON: {error}"))
}

#[derive(Clone, Copy)]
struct Checked {
    depth: usize,
}

impl Checked {
    fn below<E: Error>(self) -> Result<Self, E> {
        if self.depth >= DEPTH_MAX {
            return Err(E::custom(format!("nested deeper than {DEPTH_MAX}")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Checked {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let below = self.below()?;
        while items.next_element_seed(below)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let below = self.below()?;
        let mut seen = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            if seen.contains(&key) {
                return Err(A::Error::custom(format!("key {key:?} appears twice")));
            }
            seen.insert(key);
            entries.next_value_seed(below)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rubbish_is_refused_with_what_is_wrong() {
        for (text, wrong) in [
            (&b"{"[..], "EOF"),
            (b"{\"a\": NaN}", "expected value"),
            (b"{\"a\": 1, \"a\": 2}", "appears twice"),
            (b"{\"x\": {\"\\u0061\": 1, \"a\": 2}}", "appears twice"),
            (b"{\"a\": \"\xff\"}", "unicode"),
            (b"{} {}", "trailing"),
            (b"{\"a\": \"\\ud800\"}", "hex escape"),
        ] {
            let error = check(text).unwrap_err();
            assert!(error.contains(wrong), "{error}");
        }
        let deep = "[".repeat(5_000) + &"]".repeat(5_000);
        assert!(check(deep.as_bytes()).unwrap_err().contains("nested deeper"));
    }

    #[test]
    fn numbers_of_any_form_are_json_unless_no_receiver_could_hold_them() {
        check(br#"{"a": 1.0, "b": 12345678901234567890123, "d": -0.0}"#).unwrap();
        assert!(check(br#"{"c": 1e400}"#).unwrap_err().contains("out of range"));
    }
}
