//! The document is sound in itself, and the copy in `docs/` is this one.

use std::collections::BTreeSet;

use serde_json::{Value, json};

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
fn patterns_are_those_of_the_code() {
    let schema = |schema: Value| jsonschema::draft202012::new(&schema).unwrap();
    let agree = |validator: &jsonschema::Validator, text: &str, accepted: bool| {
        assert_eq!(validator.is_valid(&json!(text)), accepted, "{text:?}");
    };
    let uid = schema(super::endpoint_schemas::uid());
    for text in ["", "a", "test", "testing", "ep_1", "ep", "a b", "a.b:c-d_e", "é", &"x".repeat(128), &"x".repeat(129)]
    {
        agree(&uid, text, shared::domain::endpoint_input::check_uid(text.to_owned()).is_ok());
    }
    let types = schema(super::shape::event_type());
    let patterns = schema(super::shape::event_type_pattern());
    for text in ["", ".", "a", "a.", ".a", "a..b", "a b", "a.*", "*", "a.b-c_d", "*.a", "a*", "a.**", &"x".repeat(129)]
    {
        agree(&types, text, text.parse::<shared::domain::event_type::EventType>().is_ok());
        agree(&patterns, text, text.parse::<shared::domain::event_type::EventTypePattern>().is_ok());
    }
    let printable = schema(super::shape::printable(8));
    for text in
        ["", "a", "ä\u{1F980}", "a\nb", "\u{7f}", "\u{85}", "\u{a0}", "\u{fffd}", "\u{ffff}", "12345678", "123456789"]
    {
        agree(&printable, text, shared::domain::validation::printable(text.to_owned(), 8).is_ok());
    }
    let ids = schema(super::shape::id("ep_"));
    let good = "ep_01J1C6ZGQ6FQTH2X6M2VS3P0XW";
    for text in
        [good, &good.to_lowercase(), &good.replace("01", "81"), &good.replace('J', "I"), &format!("{good}0"), "evt_"]
    {
        agree(&ids, text, text.parse::<shared::domain::id::EndpointId>().is_ok());
    }
}
