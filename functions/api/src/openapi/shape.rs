//! The words that schemas are made of: texts, ids, times, numbers, lists, objects. What they say is what the code accepts.

use serde::Serialize;
use serde_json::{Map, Value, json};
use shared::domain::event_type::EVENT_TYPE_CHARACTERS_MAX;
use shared::domain::validation::NONCHARACTERS;

/// A ULID in its canonical spelling: 26 characters of Crockford's base 32, at most 128 bits.
const ULID: &str = "[0-7][0-9A-HJKMNP-TV-Z]{25}";
/// The dotted name of an event type.
const DOTTED_NAME: &str = "[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)*";

/// A reference to a component.
pub(super) fn of(component: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{component}") })
}

/// A schema with more to say: `description`, `default`, `examples`.
pub(super) fn with(mut schema: Value, key: &str, value: impl Into<Value>) -> Value {
    if let Some(object) = schema.as_object_mut() {
        object.insert(key.to_owned(), value.into());
    }
    schema
}

/// A schema with a description.
pub(super) fn about(schema: Value, description: &str) -> Value {
    with(schema, "description", description)
}

/// The schema, or `null`.
pub(super) fn nullable(mut schema: Value) -> Value {
    let is_plain = schema.get("$ref").is_none() && schema.get("enum").is_none() && schema["type"].is_string();
    if is_plain {
        let kind = schema["type"].take();
        schema["type"] = json!([kind, "null"]);
        return schema;
    }
    // A description stands with the whole, where it is shown.
    let description = schema.as_object_mut().and_then(|object| object.remove("description"));
    let either = json!({ "anyOf": [schema, { "type": "null" }] });
    description.map_or(either.clone(), |description| with(either, "description", description))
}

/// An id with this prefix.
pub(super) fn id(prefix: &str) -> Value {
    json!({ "type": "string", "pattern": format!("^{prefix}{ULID}$") })
}

/// A time in an answer: always UTC with milliseconds.
pub(super) fn time() -> Value {
    let pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z$";
    json!({ "type": "string", "format": "date-time", "pattern": pattern })
}

/// A time that a caller sends: RFC 3339 with any offset.
pub(super) fn time_input() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

/// Any text.
pub(super) fn text() -> Value {
    json!({ "type": "string" })
}

/// A text of 1 to `characters_max` characters, as [`shared::domain::validation::printable`] has it.
pub(super) fn printable(characters_max: usize) -> Value {
    let excluded: String = NONCHARACTERS.iter().map(|c| format!("\\u{:04X}", u32::from(*c))).collect();
    json!({
        "type": "string",
        "minLength": 1,
        "maxLength": characters_max,
        "pattern": format!("^[^\\u0000-\\u001F\\u007F-\\u009F{excluded}]*$"),
    })
}

/// An event type.
pub(super) fn event_type() -> Value {
    json!({ "type": "string", "maxLength": EVENT_TYPE_CHARACTERS_MAX, "pattern": format!("^{DOTTED_NAME}$") })
}

/// A pattern that subscribes to event types.
pub(super) fn event_type_pattern() -> Value {
    let pattern = format!("^(\\*|{DOTTED_NAME}(\\.\\*)?)$");
    json!({ "type": "string", "maxLength": EVENT_TYPE_CHARACTERS_MAX, "pattern": pattern })
}

/// A whole number in these bounds, both included.
pub(super) fn integer(minimum: impl Into<Value>, maximum: impl Into<Value>) -> Value {
    json!({ "type": "integer", "minimum": minimum.into(), "maximum": maximum.into() })
}

/// A number of things.
pub(super) fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

/// True or false.
pub(super) fn boolean() -> Value {
    json!({ "type": "boolean" })
}

/// One of these words, as serde writes them.
pub(super) fn one_of(words: &[impl Serialize]) -> Value {
    json!({ "type": "string", "enum": words })
}

/// Exactly this word.
pub(super) fn word(word: &str) -> Value {
    json!({ "type": "string", "const": word })
}

/// A list with these bounds.
pub(super) fn list_of(items: Value, items_min: usize, items_max: usize) -> Value {
    let list = json!({ "type": "array", "items": items, "maxItems": items_max });
    if items_min > 0 { with(list, "minItems", items_min) } else { list }
}

/// A list of any length.
pub(super) fn any_list(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

/// A JSON object of the caller's own.
pub(super) fn any_object() -> Value {
    json!({ "type": "object" })
}

/// An object in a request: nothing but these fields, of which the first `required` must be there.
pub(super) fn input<const N: usize>(required: &[&str], fields: [(&str, Value); N]) -> Value {
    with(object(required, fields), "additionalProperties", false)
}

/// An object in an answer: all of these fields, but those that are `optional`. Callers must bear with fields that come later.
pub(super) fn output<const N: usize>(optional: &[&str], fields: [(&str, Value); N]) -> Value {
    let required: Vec<_> = fields.iter().map(|(name, _)| *name).filter(|name| !optional.contains(name)).collect();
    object(&required, fields)
}

fn object<const N: usize>(required: &[&str], fields: [(&str, Value); N]) -> Value {
    let properties: Map<_, _> = fields.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    let object = json!({ "type": "object", "properties": properties });
    if required.is_empty() { object } else { with(object, "required", required) }
}
