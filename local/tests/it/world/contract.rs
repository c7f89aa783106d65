//! Holds every answer that any test gets against what the OpenAPI document says of it: the status, the headers, and every field of the body.
//!
//! The document lets answers have more fields than it names, for callers' sake; here they must not, so that a field that the code shows and the
//! document does not name is found.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use http::HeaderMap;
use jsonschema::Validator;
use reqwest::Method;
use serde_json::{Value, json};

/// An answer as it came.
pub(super) struct Answered<'a> {
    pub(super) method: &'a Method,
    /// Path and query.
    pub(super) target: &'a str,
    pub(super) status: u16,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
}

/// Fails the test where the document does not allow this answer.
pub(super) fn check(answer: &Answered<'_>) {
    let Answered { method, target, status, .. } = *answer;
    let what = format!("{method} {target} answered {status}");
    let path = target.split('?').next().unwrap_or_default();
    let name = match operation(method, path) {
        Ok(operation) => {
            let responses = format!("/paths/{}/{}/responses", escaped(operation), method.as_str().to_lowercase());
            let pointer = format!("{responses}/{status}");
            let response = closed().pointer(&pointer);
            let response = response.unwrap_or_else(|| panic!("{what}, which the document does not name"));
            // Errors are references to what they have in common.
            response["$ref"].as_str().map_or(pointer, |reference| reference[1..].to_owned())
        }
        Err(expected) => {
            assert_eq!(status, expected, "{what}, and is no documented route");
            "/components/responses/NotFound".to_owned()
        }
    };
    let response = closed().pointer(&name).unwrap();
    check_headers(&what, response, answer.headers);
    if response["content"].is_null() {
        assert!(answer.body.is_empty(), "{what} with a body");
        return;
    }
    assert_eq!(answer.headers["content-type"], "application/json", "{what}");
    let body: Value = serde_json::from_slice(answer.body).unwrap_or_else(|error| panic!("{what}: {error}"));
    let errors: Vec<_> = validator(&name).iter_errors(&body).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{what}, which is not what the document says: {errors:#?} in {body:#}");
}

fn check_headers(what: &str, response: &Value, headers: &HeaderMap) {
    for (name, reference) in response["headers"].as_object().unwrap() {
        let header = closed().pointer(&reference["$ref"].as_str().unwrap()[1..]).unwrap();
        let value = headers.get(name).map(|value| value.to_str().unwrap());
        assert!(value.is_some() || header["required"] == false, "{what} without {name}");
        if let (Some(value), "integer") = (value, header["schema"]["type"].as_str().unwrap()) {
            assert!(value.parse::<u64>().is_ok(), "{what} with {name}: {value}");
        }
    }
}

/// The path in the document that this one is an instance of; otherwise the status that says that there is none.
fn operation(method: &Method, path: &str) -> Result<&'static str, u16> {
    let paths = closed()["paths"].as_object().unwrap();
    let fits = |template: &str| {
        let (mut wanted, mut given) = (template.split('/'), path.split('/'));
        let all_fit = wanted
            .by_ref()
            .zip(given.by_ref())
            .all(|(wanted, given)| wanted == given || (wanted.starts_with('{') && !given.is_empty()));
        all_fit && template.split('/').count() == path.split('/').count()
    };
    // A path that is named outright comes before one that a variable stands for.
    let fitting = paths.iter().filter(|(template, _)| fits(template));
    let (template, operations) = fitting.min_by_key(|(template, _)| template.matches('{').count()).ok_or(404_u16)?;
    if operations[method.as_str().to_lowercase()].is_null() { Err(405) } else { Ok(template) }
}

fn validator(response: &str) -> Arc<Validator> {
    static VALIDATORS: OnceLock<Mutex<HashMap<String, Arc<Validator>>>> = OnceLock::new();
    let mut validators = VALIDATORS.get_or_init(Mutex::default).lock().unwrap();
    let compile = || {
        let mut schema = closed().pointer(response).unwrap()["content"]["application/json"]["schema"].clone();
        schema["components"] = json!({ "schemas": closed()["components"]["schemas"] });
        Arc::new(jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap())
    };
    Arc::clone(validators.entry(response.to_owned()).or_insert_with(compile))
}

/// The document with every object closed that names its fields.
fn closed() -> &'static Value {
    static CLOSED: OnceLock<Value> = OnceLock::new();
    CLOSED.get_or_init(|| {
        let mut document = api::document().clone();
        close(&mut document);
        document
    })
}

fn close(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            // Examples are no schemas.
            fields.remove("examples");
            fields.remove("example");
            let names_fields = fields.get("type") == Some(&json!("object")) && fields.contains_key("properties");
            if names_fields && !fields.contains_key("additionalProperties") {
                fields.insert("additionalProperties".to_owned(), json!(false));
            }
            fields.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

fn escaped(path: &str) -> String {
    path.replace('~', "~0").replace('/', "~1")
}

#[test]
fn answer_that_the_document_does_not_allow_is_found() {
    let mut headers = HeaderMap::new();
    headers.insert("x-request-id", "req_1".parse().unwrap());
    headers.insert("content-type", "application/json".parse().unwrap());
    let failed = |target: &str, status, body: Value| {
        let body = body.to_string();
        let answer = Answered { method: &Method::GET, target, status, headers: &headers, body: body.as_bytes() };
        std::panic::catch_unwind(|| check(&answer)).is_err()
    };
    let error = json!({ "error": { "code": "NOT_FOUND", "message": "m", "request_id": "req_1" } });
    let dependencies = json!({ "dynamodb": "ok", "sqs": "ok", "secrets_manager": "ok" });
    let health = json!({ "data": { "status": "ok", "version": "1", "dependencies": dependencies } });
    assert!(!failed("/v1/health?a=b", 200, health.clone()));
    assert!(failed("/v1/health", 201, health.clone()), "a status that is not documented");
    assert!(failed("/v1/health/more", 200, health.clone()), "a path that is not documented");
    assert!(!failed("/v1/health/more", 404, error.clone()));
    assert!(!failed("/v1/endpoints/a", 404, error));
    for (pointer, value) in [("/data", json!({ "status": "ok" })), ("/data/status", json!("odd")), ("", json!([]))] {
        let mut wrong = health.clone();
        *wrong.pointer_mut(pointer).unwrap() = value;
        assert!(failed("/v1/health", 200, wrong), "{pointer}");
    }
    let mut more = health;
    more["data"]["more"] = json!(1);
    assert!(failed("/v1/health", 200, more), "a field that is not documented");
}
