//! The document is sound in itself, and the copy in `docs/` is this one.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::words::{EXAMPLES, OPERATIONS};
use crate::document;

fn at_every_level(value: &Value, look: &mut impl FnMut(&Value)) {
    look(value);
    match value {
        Value::Object(fields) => fields.values().for_each(|value| at_every_level(value, look)),
        Value::Array(items) => items.iter().for_each(|value| at_every_level(value, look)),
        _ => {}
    }
}

fn validator(schema: &Value) -> jsonschema::Validator {
    let mut schema = schema.clone();
    schema["components"] = document()["components"].clone();
    jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap()
}

#[test]
fn copy_in_docs_is_what_the_code_makes() {
    let copy: Value = serde_json::from_str(include_str!("../../../../docs/openapi.json")).unwrap();
    let regenerate = "cargo run -p api --example openapi > docs/openapi.json";
    assert!(copy == *document(), "docs/openapi.json is not what the code makes; make it anew: {regenerate}");
}

#[test]
fn every_reference_leads_somewhere_and_every_component_is_used() {
    let document = document();
    let mut used = BTreeSet::new();
    at_every_level(document, &mut |value| {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
            used.insert(reference.to_owned());
        }
    });
    for (group, components) in document["components"].as_object().unwrap() {
        for name in components.as_object().unwrap().keys().filter(|_| group != "securitySchemes") {
            assert!(used.contains(&format!("#/components/{group}/{name}")), "{group} {name}");
        }
    }
}

#[test]
fn every_example_satisfies_its_schema() {
    let check = |schema: &Value, example: &Value| {
        let errors: Vec<_> = validator(schema).iter_errors(example).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{example}: {errors:?}");
    };
    for (name, schema) in document()["components"]["schemas"].as_object().unwrap() {
        assert!(schema["examples"][0] != Value::Null, "{name} has an example");
        check(schema, &schema["examples"][0]);
    }
    at_every_level(document(), &mut |value| {
        if let (Some(schema), Some(example)) = (value.get("schema"), value.get("example")) {
            check(schema, example);
        }
    });
}

#[test]
fn what_may_be_null_may_be_null_by_every_word_of_its_schema() {
    at_every_level(document(), &mut |schema| {
        let is_nullable = schema["type"].as_array().is_some_and(|types| types.contains(&json!("null")));
        if is_nullable && schema["enum"].is_null() {
            assert!(validator(schema).is_valid(&Value::Null), "{schema}");
        }
    });
}

#[test]
fn operations_have_names_of_their_own() {
    let mut names = BTreeSet::new();
    at_every_level(document(), &mut |value| {
        if let Some(name) = value.get("operationId").and_then(Value::as_str) {
            assert!(names.insert(name.to_owned()), "{name}");
        }
    });
}

#[test]
fn every_operation_and_every_answer_has_its_words_and_no_words_are_left_over() {
    let mut operations = BTreeSet::new();
    let mut examples: BTreeSet<_> = document()["components"]["schemas"].as_object().unwrap().keys().cloned().collect();
    for (path, methods) in document()["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let name = format!("{} {path}", method.to_uppercase());
            let words = &OPERATIONS[&name];
            let described = operation["responses"].as_object().unwrap().iter().filter(|(_, r)| r["$ref"].is_null());
            let described: BTreeSet<_> = described.map(|(status, _)| status.clone()).collect();
            assert_eq!(described, words.answers.keys().cloned().collect(), "{name}");
            examples.extend(described.iter().map(|status| format!("{name} {status}")));
            assert!(operations.insert(name));
        }
    }
    assert_eq!(operations, OPERATIONS.keys().cloned().collect());
    for name in EXAMPLES.keys() {
        assert!(examples.contains(name), "{name} is no schema and no answer");
    }
}

#[test]
fn schemas_that_are_put_together_say_what_they_are() {
    for (name, said) in [
        ("Event", "What happened"),
        ("NewEndpoint", "a new endpoint"),
        ("EndpointChanges", "Changes of an endpoint"),
        ("NewTenant", "a new tenant"),
        ("PartError", "Why a request"),
        ("Error", "The body of every failure"),
    ] {
        let description = document()["components"]["schemas"][name]["description"].as_str().unwrap_or_default();
        assert!(description.starts_with(said), "{name}: {description}");
    }
}

#[test]
fn codes_are_those_of_the_errors() {
    let documented = crate::error::ApiError::CODES;
    assert_eq!(super::failures::codes(), documented.into_iter().collect());
}
