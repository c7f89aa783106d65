//! Reading what callers send: every wrong field is found at once, and each error names the field and the rule.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use super::json;

/// One field that is wrong: where and which rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct FieldError {
    /// The field's path, `retry.max_attempts` or `event_types[2]`; empty for the body itself.
    pub field: String,
    /// The rule, in lower case.
    pub message: String,
}

/// What is wrong with an input; never empty when it is returned as an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(|e| format!("{} {}", e.field, e.message).trim().to_owned()).collect::<Vec<_>>().join("; "))]
pub struct FieldErrors(pub Vec<FieldError>);

impl FieldErrors {
    /// A single error.
    #[must_use]
    pub fn one(field: impl Into<String>, message: impl Into<String>) -> Self {
        let mut errors = Self::default();
        errors.add(field, message);
        errors
    }

    /// Notes one more.
    pub fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(FieldError { field: field.into(), message: message.into() });
    }

    /// The value, if nothing was wrong; a value can be missing only where an error says why.
    ///
    /// # Errors
    /// All that were noted.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Self> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            Some(_) => Err(self),
            None if self.0.is_empty() => Err(Self::one("", "is invalid")),
            None => Err(self),
        }
    }
}

/// A field of a partial update: left out, set to `null`, or given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// Not in the body: stays as it is.
    #[default]
    Keep,
    /// `null`: back to its default.
    Reset,
    /// A new value.
    Set(T),
}

impl<T> Patch<T> {
    /// Changes a field that has a default.
    pub fn apply(self, field: &mut T, default: impl FnOnce() -> T) {
        match self {
            Self::Keep => {}
            Self::Reset => *field = default(),
            Self::Set(value) => *field = value,
        }
    }

    /// Changes a field that may be absent.
    pub fn apply_option(self, field: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Reset => *field = None,
            Self::Set(value) => *field = Some(value),
        }
    }

    /// The new value, if there is one.
    #[must_use]
    pub fn into_set(self) -> Option<T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Keep | Self::Reset => None,
        }
    }
}

/// A JSON object that is being read: fields are taken by name, errors gather, and what is left at the end is unknown.
pub struct Fields {
    path: String,
    fields: BTreeMap<String, Box<RawValue>>,
    /// What was wrong so far.
    pub errors: FieldErrors,
}

impl Fields {
    /// Reads a body: UTF-8 JSON, an object, no key twice, at most [`json::DEPTH_MAX`] deep.
    ///
    /// # Errors
    /// One error, without a field, that says what about the JSON is wrong and where.
    pub fn from_body(body: &[u8]) -> Result<Self, FieldErrors> {
        json::check(body).map_err(|message| FieldErrors::one("", message))?;
        Self::nested(String::new(), body)
    }

    /// Reads an object that is a field of an already checked body.
    ///
    /// # Errors
    /// One error that names the field when it is not an object.
    pub fn nested(path: String, object: &[u8]) -> Result<Self, FieldErrors> {
        let fields =
            serde_json::from_slice(object).map_err(|_| FieldErrors::one(path.clone(), "must be a JSON object"))?;
        Ok(Self { path, fields, errors: FieldErrors::default() })
    }

    /// The full path of a field of this object.
    #[must_use]
    pub fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Takes a field as it stands in the body, `None` when it is left out.
    pub fn raw(&mut self, name: &str) -> Option<Box<RawValue>> {
        self.fields.remove(name)
    }

    /// Takes a field for a partial update.
    ///
    /// `check` turns the JSON value into what is wanted or says the rule.
    pub fn patch<J: DeserializeOwned, T>(
        &mut self,
        name: &str,
        shape: &str,
        check: impl FnOnce(J) -> Result<T, String>,
    ) -> Patch<T> {
        let Some(raw) = self.raw(name) else { return Patch::Keep };
        if raw.get() == "null" {
            return Patch::Reset;
        }
        let checked = match serde_json::from_str::<J>(raw.get()) {
            Ok(value) => check(value),
            Err(_) => Err(shape.to_owned()),
        };
        match checked {
            Ok(value) => Patch::Set(value),
            Err(message) => {
                let path = self.path_of(name);
                self.errors.add(path, message);
                Patch::Keep
            }
        }
    }

    /// Takes an optional field; `null` is the same as leaving it out.
    pub fn optional<J: DeserializeOwned, T>(
        &mut self,
        name: &str,
        shape: &str,
        check: impl FnOnce(J) -> Result<T, String>,
    ) -> Option<T> {
        match self.patch(name, shape, check) {
            Patch::Set(value) => Some(value),
            Patch::Keep | Patch::Reset => None,
        }
    }

    /// Takes a field that must be there.
    pub fn required<J: DeserializeOwned, T>(
        &mut self,
        name: &str,
        shape: &str,
        check: impl FnOnce(J) -> Result<T, String>,
    ) -> Option<T> {
        let errors_before = self.errors.0.len();
        let value = self.optional(name, shape, check);
        if value.is_none() && self.errors.0.len() == errors_before {
            let path = self.path_of(name);
            self.errors.add(path, "is required");
        }
        value
    }

    /// Takes a field that is an object with fields of its own; its errors carry its path.
    pub fn object<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> Option<T>) -> Patch<T> {
        let Some(raw) = self.raw(name) else { return Patch::Keep };
        if raw.get() == "null" {
            return Patch::Reset;
        }
        let mut object = match Self::nested(self.path_of(name), raw.get().as_bytes()) {
            Ok(object) => object,
            Err(errors) => {
                self.errors.0.extend(errors.0);
                return Patch::Keep;
            }
        };
        let value = read(&mut object);
        let errors = object.finish();
        let sound = errors.0.is_empty();
        self.errors.0.extend(errors.0);
        match value {
            Some(value) if sound => Patch::Set(value),
            _ => Patch::Keep,
        }
    }

    /// Notes an error of one of this object's fields.
    pub fn error(&mut self, name: &str, message: impl Into<String>) {
        let path = self.path_of(name);
        self.errors.add(path, message);
    }

    /// Ends the reading: what nobody took is unknown.
    #[must_use]
    pub fn finish(mut self) -> FieldErrors {
        for name in std::mem::take(&mut self.fields).into_keys() {
            let path = self.path_of(&name);
            self.errors.add(path, "is not a known field");
        }
        self.errors
    }
}

/// The characters beside the control characters that SQS does not carry (SendMessage, XML 1.0 2.2).
pub const NONCHARACTERS: [char; 2] = ['\u{fffe}', '\u{ffff}'];

/// The rule of most texts: 1 to `characters_max` characters, none of them a control character.
///
/// # Errors
/// The rule.
pub fn printable(text: String, characters_max: usize) -> Result<String, String> {
    let characters = text.chars().count();
    let shown = |c: char| !c.is_control() && !NONCHARACTERS.contains(&c);
    if characters == 0 || characters > characters_max || !text.chars().all(shown) {
        return Err(format!("must be 1 to {characters_max} characters without control characters"));
    }
    Ok(text)
}

/// The variant that a text names. A text and nothing else: from JSON itself, serde would take `{"word": null}` for it too.
///
/// # Errors
/// The rule, when it names none.
pub fn word<T: DeserializeOwned>(text: String, rule: &str) -> Result<T, String> {
    T::deserialize(Value::String(text)).map_err(|_| rule.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let mut fields = Fields::from_body(br#"{"a": 1, "b": "x", "odd": true}"#).unwrap();
        assert_eq!(fields.required("a", "must be text", |a: String| Ok(a)), None);
        assert_eq!(fields.required("b", "must be text", |b: String| Ok(b)), Some("x".to_owned()));
        assert_eq!(fields.required("c", "must be text", |c: String| Ok(c)), None);
        let named: Vec<_> = fields.finish().0.into_iter().map(|e| format!("{}: {}", e.field, e.message)).collect();
        assert_eq!(named, ["a: must be text", "c: is required", "odd: is not a known field"]);
    }

    #[test]
    fn null_resets_and_absence_keeps() {
        let mut fields = Fields::from_body(br#"{"a": null}"#).unwrap();
        assert_eq!(fields.patch("a", "", |a: String| Ok(a)), Patch::Reset);
        assert_eq!(fields.patch("b", "", |b: String| Ok(b)), Patch::Keep);
    }
}
