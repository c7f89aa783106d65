//! `components.schemas`, derived from the types that are read and written.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::words::example;

/// A type that the document shows, without the type.
#[derive(Clone, Copy)]
pub(super) struct Described {
    name: fn() -> Cow<'static, str>,
    schema: fn(&mut SchemaGenerator) -> Schema,
}

impl Described {
    /// The name of its schema.
    pub(super) fn name(self) -> Cow<'static, str> {
        (self.name)()
    }
}

/// The type as the document shows it.
pub(super) fn described<T: JsonSchema>() -> Described {
    Described { name: T::schema_name, schema: |generator| generator.subschema_for::<T>() }
}

/// The schemas that have been asked for. A type is shown as it is read in requests, and as it is written in answers.
pub(super) struct Schemas {
    requests: SchemaGenerator,
    answers: SchemaGenerator,
}

impl Schemas {
    pub(super) fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            "/components/schemas".clone_into(settings.definitions_path.to_mut());
            settings.meta_schema = None;
            settings.transforms.push(Box::new(RecursiveTransform(plain)));
        });
        let requests = settings.clone().for_deserialize().into_generator();
        Self { requests, answers: settings.for_serialize().into_generator() }
    }

    /// A reference to the schema of what is read.
    pub(super) fn request(&mut self, described: Described) -> Value {
        (described.schema)(&mut self.requests).to_value()
    }

    /// A reference to the schema of what is written.
    pub(super) fn answer(&mut self, described: Described) -> Value {
        (described.schema)(&mut self.answers).to_value()
    }

    /// All of them by name, each with an example.
    pub(super) fn finish(mut self) -> Map<String, Value> {
        let mut all = self.answers.take_definitions(true);
        all.extend(self.requests.take_definitions(true));
        for (name, schema) in &mut all {
            schema["examples"] = json!([example(name)]);
        }
        all
    }
}

/// Makes a schema plain: words that an enum has are one list, variants exclude one another, and numbers have no formats of Rust.
pub(super) fn plain(schema: &mut Schema) {
    if schema
        .get("format")
        .and_then(Value::as_str)
        .is_some_and(|format| format.starts_with("uint") || format == "double")
    {
        schema.remove("format");
    }
    let is_null = |variant: &Value| variant["type"] == "null";
    if let Some(Value::Array(variants)) =
        schema.get("anyOf").filter(|all| !all.as_array().is_some_and(|all| all.iter().any(is_null)))
    {
        let variants = variants.clone();
        schema.remove("anyOf");
        schema.insert("oneOf".to_owned(), variants.into());
    }
    let words = schema.get("oneOf").and_then(Value::as_array).and_then(|variants| {
        let words = variants.iter().map(|variant| variant.get("const").filter(|word| word.is_string()).cloned());
        words.collect::<Option<Vec<_>>>()
    });
    if let Some(words) = words {
        schema.remove("oneOf");
        schema.insert("type".to_owned(), json!("string"));
        schema.insert("enum".to_owned(), Value::Array(words));
    }
}
