//! The body that a receiver gets, the same bytes at every attempt: `{"type","timestamp","data"}`, or a flat object of chosen fields.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::event::Event;
use super::path_tree::PathTree;
use super::schema::Printable;
use super::time;
use super::validation::printable;

/// The largest body, in bytes. An event has half of that at the most, but fields can name what contains one another.
pub const BODY_BYTES_MAX: usize = 512 * 1_024;
/// The most payload fields of an endpoint.
pub const PAYLOAD_FIELDS_MAX: usize = 50;
/// The longest key, path or hint of a payload field, in characters.
pub const PAYLOAD_FIELD_CHARACTERS_MAX: usize = 256;

type PayloadText = Printable<PAYLOAD_FIELD_CHARACTERS_MAX>;

/// One field of a chosen payload: its key alone, or with where to find it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PayloadField {
    /// A key that is also its path.
    Key(#[schemars(with = "PayloadText")] String),
    /// A key with more to say about it.
    #[serde(deserialize_with = "from_object")]
    Full(FullPayloadField),
}

/// A payload field with where to find it and what it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct FullPayloadField {
    /// Its key in the body.
    #[schemars(with = "PayloadText")]
    pub key: String,
    /// Where its value is: `id`, `type`, `timestamp`, `tenant_id`, or dotted within the event's data. By default the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<PayloadText>")]
    pub path: Option<String>,
    /// A note for those who fill the field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<PayloadText>")]
    pub hint: Option<String>,
    /// Whether an `hmac` signature covers it, and then nothing but such fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_for_signature: Option<bool>,
}

/// From an object and nothing else: by itself, serde would take a list of the values too.
fn from_object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<FullPayloadField, D::Error> {
    let object = Map::deserialize(deserializer)?;
    FullPayloadField::deserialize(Value::Object(object)).map_err(D::Error::custom)
}

impl PayloadField {
    fn key(&self) -> &str {
        match self {
            Self::Key(key) => key,
            Self::Full(field) => &field.key,
        }
    }

    fn path(&self) -> &str {
        match self {
            Self::Key(key) => key,
            Self::Full(field) => field.path.as_deref().unwrap_or(&field.key),
        }
    }

    fn is_signed(&self) -> bool {
        matches!(self, Self::Full(field) if field.use_for_signature == Some(true))
    }
}

/// Names a list of payload fields: the SHA-256 of its JSON, in hex.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FieldsHash(String);

impl FieldsHash {
    /// The name of these fields; none for the standard body.
    #[must_use]
    pub fn of(fields: &[PayloadField]) -> Option<Self> {
        if fields.is_empty() {
            return None;
        }
        let json = serde_json::to_vec(fields).unwrap_or_default();
        Some(Self(hex::encode(Sha256::digest(json))))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Checks payload fields: at most [`PAYLOAD_FIELDS_MAX`], no key or path twice, no empty or overlong text.
///
/// # Errors
/// The rule.
pub fn check_fields(fields: Vec<PayloadField>) -> Result<Vec<PayloadField>, String> {
    if fields.len() > PAYLOAD_FIELDS_MAX {
        return Err(format!("must be at most {PAYLOAD_FIELDS_MAX} fields"));
    }
    let (mut keys, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for field in &fields {
        let hint = match field {
            PayloadField::Full(FullPayloadField { hint: Some(hint), .. }) => hint,
            _ => field.key(),
        };
        for text in [field.key(), field.path(), hint] {
            printable(text.to_owned(), PAYLOAD_FIELD_CHARACTERS_MAX)
                .map_err(|rule| format!("each key, path and hint {rule}"))?;
        }
        if !keys.insert(field.key()) {
            return Err(format!("must not name {} twice", field.key()));
        }
        if !paths.insert(field.path()) {
            return Err(format!("must not take {} twice", field.path()));
        }
    }
    Ok(fields)
}

/// A body would be larger than [`BODY_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the payload fields make a body of over {BODY_BYTES_MAX} bytes")]
pub struct PayloadTooLarge;

/// What a receiver gets, and what an `hmac` signature covers instead, if the endpoint says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The body.
    pub body: Vec<u8>,
    /// The fields that are signed, as compact JSON. `None` where the whole body is.
    pub signed_fields: Option<Vec<u8>>,
}

/// The payload of an event for an endpoint with these payload fields; none means the standard body. `data` is read once, whatever the fields are.
///
/// # Errors
/// When the body would be too large.
pub fn payload(event: &Event, fields: &[PayloadField]) -> Result<Payload, PayloadTooLarge> {
    if fields.is_empty() {
        return Ok(Payload { body: standard_body(event), signed_fields: None });
    }
    let values = values_of(event, fields);
    // Each with its colon, and the comma behind it or the last brace.
    let own =
        |field: &PayloadField| quoted(field.key()).len() + values.get(field.path()).map_or(4, |json| json.len()) + 2;
    if 1 + fields.iter().map(own).sum::<usize>() > BODY_BYTES_MAX {
        return Err(PayloadTooLarge);
    }
    let is_signed = fields.iter().any(PayloadField::is_signed);
    let signed = || object_of(&values, fields.iter().filter(|field| field.is_signed()), compact);
    Ok(Payload { body: object_of(&values, fields.iter(), str::to_owned), signed_fields: is_signed.then(signed) })
}

/// The body of every delivery that chooses no fields. `data` goes in as it came, so nothing about it changes.
#[must_use]
pub fn standard_body(event: &Event) -> Vec<u8> {
    // An event type needs no escaping: it is letters, digits, dots, dashes and underscores.
    format!(
        r#"{{"type":"{}","timestamp":"{}","data":{}}}"#,
        event.event_type,
        time::format(event.timestamp),
        event.data.get()
    )
    .into_bytes()
}

fn object_of<'a>(
    values: &HashMap<&str, Cow<'_, str>>,
    fields: impl Iterator<Item = &'a PayloadField>,
    written: impl Fn(&str) -> String,
) -> Vec<u8> {
    let value_of =
        |field: &PayloadField| values.get(field.path()).map_or_else(|| "null".to_owned(), |json| written(json));
    let entries: Vec<_> = fields.map(|field| format!("{}:{}", quoted(field.key()), value_of(field))).collect();
    format!("{{{}}}", entries.join(",")).into_bytes()
}

/// The JSON at each of the paths where there is something, as the sender wrote it.
fn values_of<'a>(event: &'a Event, fields: &'a [PayloadField]) -> HashMap<&'a str, Cow<'a, str>> {
    let mut values = HashMap::new();
    let mut within_data = PathTree::default();
    for path in fields.iter().map(PayloadField::path) {
        let own = match path {
            "id" => event.id.to_string(),
            "type" => event.event_type.to_string(),
            "timestamp" => time::format(event.timestamp),
            "tenant_id" => event.scope.tenant_id.to_string(),
            _ => {
                within_data.add(path);
                continue;
            }
        };
        values.insert(path, quoted(&own).into());
    }
    for (path, json) in within_data.find(&event.data) {
        values.insert(path, json.into());
    }
    values
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// JSON without the white space between its tokens; everything else stays as it is written.
fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for character in json.chars() {
        if in_string {
            in_string = escaped || character != '"';
            escaped = !escaped && character == '\\';
        } else if character.is_ascii_whitespace() {
            continue;
        } else {
            in_string = character == '"';
        }
        out.push(character);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::NewEvent;
    use crate::domain::id::{EventId, TenantId};
    use crate::domain::tenant::{Mode, Scope};
    use jiff::Timestamp;

    fn event(body: &str) -> Event {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        NewEvent::from_body(body.as_bytes()).unwrap().accepted(
            EventId::from_parts(now, [0; 10]),
            Scope { tenant_id: TenantId::from_parts(now, [0; 10]), mode: Mode::Live },
            now,
        )
    }

    fn fields(json: &str) -> Vec<PayloadField> {
        check_fields(serde_json::from_str(json).unwrap()).unwrap()
    }

    fn body(event: &Event, fields: &[PayloadField]) -> String {
        String::from_utf8(payload(event, fields).unwrap().body).unwrap()
    }

    #[test]
    fn fields_that_contain_one_another_make_a_body_up_to_its_bound_and_none_beyond() {
        // The text, its quotes, and what of the objects around it each field repeats.
        let nested = |characters: usize| {
            event(&format!(r#"{{"type":"t","data":{{"a":{{"b":"{}"}}}}}}"#, "x".repeat(characters)))
        };
        let chosen = fields(r#"["a","a.b"]"#);
        let around = r#"{"a":{"b":""},"a.b":""}"#.len();
        let largest = (BODY_BYTES_MAX - around) / 2;
        let body = payload(&nested(largest), &chosen).unwrap().body;
        assert!((BODY_BYTES_MAX - 1..=BODY_BYTES_MAX).contains(&body.len()));
        assert_eq!(payload(&nested(largest + 1), &chosen), Err(PayloadTooLarge));
    }

    #[test]
    fn body_is_type_timestamp_and_data_in_the_senders_own_spelling() {
        let event = event(r#"{"data":{"n": 1.0, "big":12345678901234567890},"type":"cases.created"}"#);
        assert_eq!(
            body(&event, &[]),
            r#"{"type":"cases.created","timestamp":"2023-11-14T22:13:20.000Z","data":{"n": 1.0, "big":12345678901234567890}}"#
        );
    }

    #[test]
    fn chosen_fields_make_a_flat_object_in_their_own_order() {
        let event = event(r#"{"type":"a.b","data":{"user":{"name":"Zoë","age": 1.0},"id":"mine","x":[1, 2]}}"#);
        let chosen = fields(
            r#"["x", {"key":"who","path":"user.name","hint":"the name"}, "type", "user.age", "nobody.here", "id"]"#,
        );
        let id = event.id.to_string();
        assert_eq!(
            body(&event, &chosen),
            format!(r#"{{"x":[1, 2],"who":"Zoë","type":"a.b","user.age":1.0,"nobody.here":null,"id":"{id}"}}"#)
        );
        assert_eq!(payload(&event, &chosen).unwrap().signed_fields, None);
    }

    #[test]
    fn signature_covers_the_fields_that_say_so_as_compact_json() {
        let event = event(r#"{"type":"a","data":{"a":{"k": "b \" c" },"b":2,"c":3}}"#);
        let chosen =
            fields(r#"[{"key":"b"},{"key":"c","use_for_signature":true},{"key":"a","use_for_signature":true}]"#);
        assert_eq!(payload(&event, &chosen).unwrap().signed_fields.unwrap(), br#"{"c":3,"a":{"k":"b \" c"}}"#);
    }

    #[test]
    fn doubled_keys_and_unknown_properties_are_refused() {
        assert!(check_fields(serde_json::from_str(r#"["a",{"key":"a"}]"#).unwrap()).is_err());
        let same_path = r#"["a",{"key":"b","path":"a"}]"#;
        assert_eq!(check_fields(serde_json::from_str(same_path).unwrap()), Err("must not take a twice".to_owned()));
        assert!(check_fields(vec![PayloadField::Key(String::new())]).is_err());
        for odd in [r#"[{"key":"a","odd":1}]"#, r#"[["a"]]"#, r#"[["a","b","c",true]]"#] {
            assert!(serde_json::from_str::<Vec<PayloadField>>(odd).is_err(), "{odd}");
        }
    }
}
