//! What the document says of one route. A row says which types it takes and answers; `operations.json` says it in words; what all routes have in common is added here.

use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use super::schemas::{Described, Schemas, described};
use super::words::{Words, example};
use crate::access::{Access, Rule};

struct Body {
    described: Described,
    required: bool,
}

enum Content {
    Nothing,
    /// A document of its own, not wrapped in `data`.
    Plain(Value),
    One(Described),
    List(Described),
    Page(Described),
}

struct Answer {
    status: StatusCode,
    content: Content,
}

/// What a route takes and answers.
#[derive(Default)]
pub(crate) struct Operation {
    parameters: Vec<&'static str>,
    body: Option<Body>,
    answers: Vec<Answer>,
    failures: Vec<&'static str>,
    versioned: bool,
}

/// A body without any fields.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Nothing {}

/// An operation that takes and answers nothing yet.
pub(crate) fn operation() -> Operation {
    Operation::default()
}

impl Operation {
    /// Takes these parameters of `components.parameters`.
    pub(crate) fn takes(mut self, parameters: &[&'static str]) -> Self {
        self.parameters.extend_from_slice(parameters);
        self.failures.push("BadRequest");
        self
    }

    /// Takes a body.
    pub(crate) fn body<T: JsonSchema>(self) -> Self {
        self.any_body(Body { described: described::<T>(), required: true })
    }

    /// Takes a body, or none.
    pub(crate) fn optional_body<T: JsonSchema>(self) -> Self {
        self.any_body(Body { described: described::<T>(), required: false })
    }

    /// Takes an empty object, or no body.
    pub(crate) fn empty_body(self) -> Self {
        self.optional_body::<Nothing>()
    }

    fn any_body(mut self, body: Body) -> Self {
        self.body = Some(body);
        self.failures.extend(["BadRequest", "PayloadTooLarge", "UnsupportedMediaType"]);
        self
    }

    /// Shows a version that `If-Match` can name, and heeds it where the operation changes something.
    pub(crate) fn versioned(self) -> Self {
        Self { versioned: true, ..self }
    }

    /// Answers with one of these.
    pub(crate) fn answers<T: JsonSchema>(self, status: StatusCode) -> Self {
        self.any_answer(status, Content::One(described::<T>()))
    }

    /// Answers with a list of these that has no cursor and no paging.
    pub(crate) fn answers_list<T: JsonSchema>(self, status: StatusCode) -> Self {
        self.any_answer(status, Content::List(described::<T>()))
    }

    /// Answers with pages of these.
    pub(crate) fn pages<T: JsonSchema>(self) -> Self {
        self.takes(&["limit", "cursor"]).any_answer(StatusCode::OK, Content::Page(described::<T>()))
    }

    /// Answers without a body.
    pub(crate) fn answers_nothing(self) -> Self {
        self.any_answer(StatusCode::NO_CONTENT, Content::Nothing)
    }

    /// Answers with a document of this schema, not wrapped in `data`.
    pub(crate) fn answers_plain(self, schema: Value) -> Self {
        self.any_answer(StatusCode::OK, Content::Plain(schema))
    }

    fn any_answer(mut self, status: StatusCode, content: Content) -> Self {
        self.answers.push(Answer { status, content });
        self
    }

    /// Can fail in these ways, beside those that follow from what it takes and whom it is for.
    pub(crate) fn fails(mut self, failures: &[&'static str]) -> Self {
        self.failures.extend_from_slice(failures);
        self
    }

    /// The operation object of a rule.
    pub(super) fn object(self, rule: &Rule, schemas: &mut Schemas) -> Value {
        let words = Words::of(rule);
        let mut object = json!({
            "operationId": words.id,
            "tags": [words.tag],
            "summary": words.summary,
            "description": full_description(&words.description, rule.access),
            "security": security(rule.access),
            "responses": self.responses(rule, &words, schemas),
        });
        let parameters: Vec<_> = self.parameter_names(rule).iter().map(|name| parameter(name)).collect();
        if !parameters.is_empty() {
            object["parameters"] = json!(parameters);
        }
        if let Some(body) = &self.body {
            let content =
                json!({ "schema": schemas.request(body.described), "example": example(&body.described.name()) });
            object["requestBody"] = json!({ "required": body.required, "content": { "application/json": content } });
        }
        object
    }

    fn heeds_versions(&self, method: &Method) -> bool {
        self.versioned && (*method == Method::PUT || *method == Method::PATCH)
    }

    fn parameter_names(&self, rule: &Rule) -> Vec<String> {
        let in_path = rule.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        // The one route on which the caller's own key alone names an endpoint.
        let named = in_path.map(|name| if rule.method == Method::PUT && name == "endpoint" { "uid" } else { name });
        let mut names: Vec<_> = named.chain(self.parameters.iter().copied()).map(str::to_owned).collect();
        if rule.is_idempotent_by_key() {
            names.push("Idempotency-Key".to_owned());
        }
        if self.heeds_versions(&rule.method) {
            names.push("If-Match".to_owned());
        }
        names
    }

    fn responses(&self, rule: &Rule, words: &Words, schemas: &mut Schemas) -> Value {
        let mut responses = Map::new();
        let limited = rule.rate_class.is_some();
        for answer in &self.answers {
            let mut headers = vec!["x-request-id"];
            if limited {
                headers.extend(["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"]);
            }
            if self.versioned {
                headers.push("etag");
            }
            let status = answer.status.as_str();
            let mut response = json!({ "description": words.answers.get(status), "headers": header_refs(&headers) });
            let own_example = example(&format!("{} {} {status}", rule.method, rule.path));
            if let Some(content) = answer.content.object(own_example, schemas) {
                response["content"] = json!({ "application/json": content });
            }
            responses.insert(status.to_owned(), response);
        }
        let mut failures = self.failures.clone();
        if rule.access != Access::Public {
            failures.extend(["Unauthorized", "Forbidden", "InternalError", "Unavailable"]);
        }
        if limited {
            failures.push("RateLimited");
        }
        if rule.path.contains('{') {
            failures.push("NotFound");
        }
        if rule.path == "/v1/endpoints/{endpoint}" {
            failures.push("MethodNotAllowed");
        }
        if rule.is_idempotent_by_key() || self.heeds_versions(&rule.method) {
            failures.extend(["BadRequest", "Conflict"]);
        }
        for name in failures {
            if let Some(status) = super::failures::status_of(name) {
                let reference = json!({ "$ref": format!("#/components/responses/{name}") });
                responses.insert(status.as_str().to_owned(), reference);
            }
        }
        Value::Object(responses)
    }
}

fn full_description(description: &str, access: Access) -> String {
    let needed = match access {
        Access::Public => "Needs no key.".to_owned(),
        Access::AnyKey => "Needs a tenant's key, with any permissions.".to_owned(),
        Access::Key(permission) => format!("Needs the permission `{permission}`."),
        Access::Root => "Needs the root key.".to_owned(),
    };
    if description.is_empty() { needed } else { format!("{description}\n\n{needed}") }
}

/// The roles in a requirement are the permissions that a key needs (OpenAPI 3.1, "Security Requirement Object").
fn security(access: Access) -> Value {
    match access {
        Access::Public => json!([]),
        Access::AnyKey => json!([{ "key": [] }, { "keyAsPassword": [] }]),
        Access::Key(permission) => json!([{ "key": [permission] }, { "keyAsPassword": [permission] }]),
        Access::Root => json!([{ "rootKey": [] }]),
    }
}

impl Content {
    /// The media type object: the schema, with the example that the answer has of its own or that of its type.
    fn object(&self, own_example: Value, schemas: &mut Schemas) -> Option<Value> {
        let example_of = |described: &Described| match &own_example {
            Value::Null => example(&described.name()),
            own => own.clone(),
        };
        let wrapped =
            |schema: Value| json!({ "type": "object", "required": ["data"], "properties": { "data": schema } });
        Some(match self {
            Self::Nothing => return None,
            Self::Plain(schema) => json!({ "schema": schema }),
            Self::One(one) => {
                json!({ "schema": wrapped(schemas.answer(*one)), "example": { "data": example_of(one) } })
            }
            Self::List(one) => {
                let list = json!({ "type": "array", "items": schemas.answer(*one) });
                json!({ "schema": wrapped(list), "example": { "data": [example_of(one)] } })
            }
            Self::Page(one) => {
                let schema = json!({
                    "type": "object",
                    "required": ["data", "has_more", "next_cursor"],
                    "properties": {
                        "data": { "type": "array", "items": schemas.answer(*one) },
                        "has_more": { "type": "boolean", "description": "whether there are more behind these" },
                        "next_cursor": {
                            "type": ["string", "null"],
                            "description": "the `cursor` of the next page; null when this is the last",
                        },
                    },
                });
                let example = json!({ "data": [example_of(one)], "has_more": false, "next_cursor": null });
                json!({ "schema": schema, "example": example })
            }
        })
    }
}

fn parameter(name: &str) -> Value {
    json!({ "$ref": format!("#/components/parameters/{name}") })
}

/// References to `components.headers`.
pub(super) fn header_refs(names: &[&str]) -> Value {
    let refs = names.iter().map(|name| ((*name).to_owned(), json!({ "$ref": format!("#/components/headers/{name}") })));
    Value::Object(refs.collect())
}
