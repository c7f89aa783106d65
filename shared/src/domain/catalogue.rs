//! A tenant's catalogue of event types: what they are for, and which data they may carry.

use jiff::Timestamp;
use jsonschema::PatternOptions;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::event_type::EventType;
use super::schema::{AnyObject, Printable};
use super::validation::{FieldErrors, Fields, printable, word};
use super::{json, schema_bounds};

/// The longest description, in characters.
pub const DESCRIPTION_CHARACTERS_MAX: usize = 1_024;
/// The largest schema, in bytes.
pub const SCHEMA_BYTES_MAX: usize = 32 * 1_024;
/// The largest pattern of a schema, compiled, in bytes.
const PATTERN_BYTES_MAX: usize = 256 * 1_024;
/// How many violations of a schema an error names at the most.
pub const VIOLATIONS_NAMED_MAX: usize = 20;

/// How many violations are gathered to name some, at the most.
pub const VIOLATIONS_MAX: usize = 20_000;

/// What is done about data that does not satisfy the schema of its type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Enforcement {
    /// Nothing.
    Off,
    /// It is logged.
    Warn,
    /// The event is refused.
    #[default]
    Reject,
}

/// An event type as callers describe it.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct EventTypeInput {
    /// What it is for.
    #[schemars(with = "Option<Printable<DESCRIPTION_CHARACTERS_MAX>>")]
    description: Option<String>,
    #[schemars(
        with = "Option<AnyObject>",
        extend("description" = format!("The JSON Schema (2020-12) that `data` must satisfy, at most {SCHEMA_BYTES_MAX} bytes."))
    )]
    schema: Option<String>,
    /// What is done about data that does not.
    #[schemars(extend("default" = Enforcement::default()))]
    enforcement: Option<Enforcement>,
    /// Whether it is no longer used.
    #[schemars(extend("default" = false))]
    archived: Option<bool>,
}

/// An event type in a tenant's catalogue.
#[derive(Clone, Debug, PartialEq)]
pub struct CatalogueEntry {
    /// Its name.
    pub name: EventType,
    /// What it is for.
    pub description: Option<String>,
    /// The JSON Schema (2020-12) that its data must satisfy, as JSON text.
    pub schema: Option<String>,
    /// What is done about data that does not.
    pub enforcement: Enforcement,
    /// Whether it is no longer used; events of it are accepted all the same.
    pub archived: bool,
    /// When it was put first, or again after a deletion.
    pub created_at: Timestamp,
    /// When it was put last.
    pub updated_at: Timestamp,
}

impl CatalogueEntry {
    /// Reads the body of a PUT.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn from_body(name: EventType, body: &[u8], now: Timestamp) -> Result<Self, FieldErrors> {
        let mut fields = Fields::from_body(body)?;
        let description =
            fields.optional("description", "must be text", |text: String| printable(text, DESCRIPTION_CHARACTERS_MAX));
        let schema = fields.optional("schema", "must be a JSON Schema (2020-12)", |schema: Value| {
            let text = schema.to_string();
            if text.len() > SCHEMA_BYTES_MAX {
                return Err(format!("must be at most {SCHEMA_BYTES_MAX} bytes"));
            }
            if !schema.is_object() {
                return Err("must be a JSON object".to_owned());
            }
            schema_bounds::check(&schema)?;
            compile(&schema).map(|_| text).map_err(|why| format!("must be a valid JSON Schema (2020-12): {why}"))
        });
        let rule = "must be off, warn or reject";
        let enforcement = fields.optional("enforcement", rule, |text: String| word(text, rule));
        let archived = fields.optional("archived", "must be true or false", Ok);
        let input = EventTypeInput { description, schema, enforcement, archived };
        let EventTypeInput { description, schema, enforcement, archived } = fields.finish().finish(Some(input))?;
        Ok(Self {
            name,
            description,
            schema,
            enforcement: enforcement.unwrap_or_default(),
            archived: archived.unwrap_or_default(),
            created_at: now,
            updated_at: now,
        })
    }

    /// Its schema, ready to be held against data; `None` if it has none, or one that a later version of Outhook has kept.
    #[must_use]
    pub fn checker(&self) -> Option<DataChecker> {
        let schema = serde_json::from_str(self.schema.as_deref()?).ok()?;
        let work_per_place = schema_bounds::check(&schema).ok()?;
        compile(&schema).map(|validator| DataChecker { validator, work_per_place }).ok()
    }
}

/// A schema that has been compiled.
#[derive(Debug)]
pub struct DataChecker {
    validator: jsonschema::Validator,
    /// How much of it applies to one place of the data.
    work_per_place: usize,
}

impl DataChecker {
    /// What about this data does not satisfy the schema: at most [`VIOLATIONS_NAMED_MAX`] places, each with the rule it breaks; of data that could have more
    /// than [`VIOLATIONS_MAX`] only that it does not. It takes time in proportion to the data, and to what applies to one place of it (`schema_bounds`).
    ///
    /// # Errors
    /// The violations, as errors of the fields below `data`.
    pub fn check(&self, data: &str) -> Result<(), FieldErrors> {
        let rule = "has a number that no schema can be held against: it is beyond a double";
        let data = json::plain_value(data).map_err(|_| FieldErrors::one("data", rule))?;
        if self.validator.is_valid(&data) {
            return Ok(());
        }
        let mut errors = FieldErrors::default();
        // All violations are gathered before the first is there.
        if json::places(&data).saturating_mul(self.work_per_place) > VIOLATIONS_MAX {
            errors.add("data", "does not satisfy the schema; it is too large for all places to be named");
            return Err(errors);
        }
        for violation in self.validator.iter_errors(&data).take(VIOLATIONS_NAMED_MAX) {
            let path = violation.instance_path().to_string().replace('/', ".");
            errors.add(format!("data{path}"), format!("does not satisfy the schema: {}", violation.masked()));
        }
        if errors.0.is_empty() { Ok(()) } else { Err(errors) }
    }
}

fn compile(schema: &Value) -> Result<jsonschema::Validator, String> {
    // Of the two engines that there are the one whose time is linear.
    let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX);
    let options = jsonschema::draft202012::options().with_pattern_options(patterns);
    options.build(schema).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enforcement_is_a_word_and_nothing_else() {
        let read = |body: &str| {
            CatalogueEntry::from_body("a".parse().unwrap(), body.as_bytes(), Timestamp::UNIX_EPOCH)
                .map(|entry| entry.enforcement)
        };
        assert_eq!(read(r#"{"enforcement":"off"}"#), Ok(Enforcement::Off));
        let rule = Err(FieldErrors::one("enforcement", "must be off, warn or reject"));
        for wrong in [r#"{"enforcement":{"off":null}}"#, r#"{"enforcement":"odd"}"#, r#"{"enforcement":1}"#] {
            assert_eq!(read(wrong), rule, "{wrong}");
        }
    }

    fn entry(body: &str) -> Result<CatalogueEntry, FieldErrors> {
        CatalogueEntry::from_body("a.b".parse().unwrap(), body.as_bytes(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn data_that_breaks_the_schema_is_named_place_by_place() {
        let entry = entry(
            r#"{"schema":{"type":"object","required":["id"],"properties":{"id":{"type":"integer"},"tags":{"items":{"type":"string"}}}}}"#,
        )
        .unwrap();
        assert!(entry.checker().unwrap().check(r#"{"id":1,"tags":["x"]}"#).is_ok());
        let named: Vec<_> = entry
            .checker()
            .unwrap()
            .check(r#"{"id":"x","tags":["x",1]}"#)
            .unwrap_err()
            .0
            .into_iter()
            .map(|e| e.field)
            .collect();
        assert_eq!(named, ["data.id", "data.tags.1"]);
        assert_eq!(entry.checker().unwrap().check("{}").unwrap_err().0[0].field, "data");
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        for body in
            [r#"{"schema":{"type":"nonsense"}}"#, r#"{"schema":[]}"#, r#"{"schema":{"$ref":"https://example.com/x"}}"#]
        {
            assert_eq!(entry(body).unwrap_err().0[0].field, "schema", "{body}");
        }
        assert!(entry("{}").unwrap().checker().is_none());
    }
}
