//! JSON as it may come from outside: checked whole, then kept as the bytes it came in.
//!
//! `data` is never parsed into a value and written again: key order, spacing and the form of numbers stay what the sender wrote.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// How deep objects and arrays may lie in each other. `serde_json` gives up at 128 by itself; this leaves receivers some room.
pub const DEPTH_MAX: usize = 100;

/// Checks that `bytes` are one JSON value in UTF-8, with no key twice in an object and nothing deeper than [`DEPTH_MAX`].
///
/// # Errors
/// What is wrong and where, in lower case.
pub fn check(bytes: &[u8]) -> Result<(), String> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let checked = Checked { depth: 0 }.deserialize(&mut deserializer).and_then(|()| deserializer.end());
    let checked = match checked {
        Err(error) if error.to_string().starts_with(OUT_OF_RANGE) => {
            serde_json::from_slice(bytes).and_then(|json| check_by_level(json, 0))
        }
        checked => checked,
    };
    checked.map_err(|error| format!("must be valid JSON: {error}"))
}

/// What `serde_json` says of a number that is beyond a double. It is JSON all the same, and is handed on as it is written.
const OUT_OF_RANGE: &str = "number out of range";

/// The same, level by level, with the numbers left as they are.
fn check_by_level(json: &RawValue, depth: usize) -> Result<(), serde_json::Error> {
    let below = || Checked { depth }.below::<serde_json::Error>().map(|below| below.depth);
    match json.get().as_bytes().first() {
        Some(b'{') => {
            let below = below()?;
            let Entries(entries) = serde_json::from_str(json.get())?;
            entries.into_iter().try_for_each(|value| check_by_level(value, below))
        }
        Some(b'[') => {
            let below = below()?;
            let values: Vec<&RawValue> = serde_json::from_str(json.get())?;
            values.into_iter().try_for_each(|value| check_by_level(value, below))
        }
        Some(b'"') => serde_json::from_str::<String>(json.get()).map(|_| ()),
        _ => Ok(()),
    }
}

/// The values of an object with no key twice.
struct Entries<'j>(Vec<&'j RawValue>);

impl<'j> Deserialize<'j> for Entries<'j> {
    fn deserialize<D: Deserializer<'j>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'j> Visitor<'j> for EntriesVisitor {
    type Value = Entries<'j>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'j>>(self, mut object: A) -> Result<Entries<'j>, A::Error> {
        let (mut seen, mut values) = (HashSet::new(), Vec::new());
        while let Some(key) = object.next_key::<String>()? {
            if seen.contains(&key) {
                return Err(A::Error::custom(format!("key {key:?} appears twice")));
            }
            seen.insert(key);
            values.push(object.next_value()?);
        }
        Ok(Entries(values))
    }
}

/// Reads JSON into a value, every key for what it is. (`serde_json`'s own reading takes an object with a certain key for raw JSON.)
///
/// # Errors
/// When it is not JSON, or has a number that is beyond a double.
pub fn plain_value(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str::<Plain>(text).map(|plain| plain.0)
}

/// How many values there are in a value, itself included.
#[must_use]
pub fn places(value: &Value) -> usize {
    1 + match value {
        Value::Array(values) => values.iter().map(places).sum(),
        Value::Object(values) => values.values().map(places).sum::<usize>(),
        _ => 0,
    }
}

struct Plain(Value);

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PlainVisitor).map(Self)
    }
}

struct PlainVisitor;

impl<'de> Visitor<'de> for PlainVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Plain(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some((key, Plain(value))) = object.next_entry::<String, Plain>()? {
            values.insert(key, value);
        }
        Ok(Value::Object(values))
    }
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
    fn numbers_of_any_form_are_json() {
        check(br#"{"a": 1.0, "b": 12345678901234567890123, "d": -0.0}"#).unwrap();
        check(br#"{"c": [1e400, -1e-999, {"d": "x"}], "e": null}"#).unwrap();
    }

    #[test]
    fn what_stands_beside_a_number_beyond_a_double_is_checked_all_the_same() {
        let deep = format!(r#"{{"n": 1e400, "deep": {}{}}}"#, "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
        for (text, wrong) in [
            (r#"{"n": 1e400, "n": 2}"#, "appears twice"),
            (r#"[1e400, {"a": {"b": 1, "\u0062": 2}}]"#, "appears twice"),
            (r#"{"n": 1e400, "a": "\ud800"}"#, "hex escape"),
            (r#"{"n": 1e400} {}"#, "trailing"),
            (r#"{"n": 1e400, "a": nul}"#, "expected ident"),
            (&deep, "nested deeper"),
        ] {
            let error = check(text.as_bytes()).unwrap_err();
            assert!(error.contains(wrong), "{text}: {error}");
        }
    }

    #[test]
    fn no_key_has_a_meaning_of_its_own() {
        for key in ["$serde_json::private::RawValue", "$serde_json::private::Number"] {
            let text = format!(r#"{{"{key}":"[1]"}}"#);
            assert_eq!(plain_value(&text).unwrap()[key], "[1]");
        }
        assert!(plain_value("1e400").is_err());
    }
}
