//! What the document says of one rule. A route says what is its own; what all routes have in common is added here.

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::shape::of;
use crate::access::{Access, Rule};

/// A named schema with an example of it.
pub(crate) struct Component {
    pub(super) name: &'static str,
    pub(super) schema: Value,
    pub(super) example: Value,
}

/// All components by name.
pub(super) type Components = BTreeMap<&'static str, Component>;

struct Body {
    component: &'static str,
    required: bool,
}

enum Shape {
    Nothing,
    /// A document of its own, not wrapped in `data`.
    Plain(Value),
    One(&'static str),
    OneLike(&'static str, Value),
    List(&'static str),
    Page(&'static str),
}

struct Success {
    status: StatusCode,
    description: &'static str,
    shape: Shape,
}

/// What the document says of a route beyond its method and path.
pub(crate) struct Operation {
    id: &'static str,
    tag: &'static str,
    summary: &'static str,
    description: String,
    parameters: Vec<&'static str>,
    body: Option<Body>,
    successes: Vec<Success>,
    failures: Vec<&'static str>,
    versioned: bool,
}

impl Operation {
    /// An operation that answers nothing yet.
    pub(super) fn new(id: &'static str, tag: &'static str, summary: &'static str, description: &'static str) -> Self {
        Self {
            id,
            tag,
            summary,
            description: description.to_owned(),
            parameters: Vec::new(),
            body: None,
            successes: Vec::new(),
            failures: Vec::new(),
            versioned: false,
        }
    }

    /// With a description that is put together.
    pub(super) fn described(self, description: String) -> Self {
        Self { description, ..self }
    }

    /// Takes these parameters of `components.parameters`.
    pub(super) fn takes(mut self, parameters: &[&'static str]) -> Self {
        self.parameters.extend_from_slice(parameters);
        if !parameters.is_empty() {
            self.failures.push("BadRequest");
        }
        self
    }

    /// Takes a body of this component.
    pub(super) fn body(self, component: &'static str) -> Self {
        self.any_body(Body { component, required: true })
    }

    /// Takes a body of this component, or none.
    pub(super) fn optional_body(self, component: &'static str) -> Self {
        self.any_body(Body { component, required: false })
    }

    fn any_body(mut self, body: Body) -> Self {
        self.body = Some(body);
        self.failures.extend(["BadRequest", "PayloadTooLarge", "UnsupportedMediaType"]);
        self
    }

    /// Shows a version that `If-Match` can name, and heeds it where the operation changes something.
    pub(super) fn versioned(self) -> Self {
        Self { versioned: true, ..self }
    }

    /// Answers with one of these.
    pub(super) fn answers(self, status: StatusCode, component: &'static str, description: &'static str) -> Self {
        self.succeeds(status, Shape::One(component), description)
    }

    /// The same with an example of its own.
    pub(super) fn answers_like(
        self,
        status: StatusCode,
        component: &'static str,
        example: Value,
        description: &'static str,
    ) -> Self {
        self.succeeds(status, Shape::OneLike(component, example), description)
    }

    /// Answers with a list of these that has no cursor and no paging.
    pub(super) fn answers_list(self, status: StatusCode, component: &'static str, description: &'static str) -> Self {
        self.succeeds(status, Shape::List(component), description)
    }

    /// Answers with pages of these.
    pub(super) fn pages(self, component: &'static str, description: &'static str) -> Self {
        self.takes(&["limit", "cursor"]).succeeds(StatusCode::OK, Shape::Page(component), description)
    }

    /// Answers without a body.
    pub(super) fn answers_nothing(self, description: &'static str) -> Self {
        self.succeeds(StatusCode::NO_CONTENT, Shape::Nothing, description)
    }

    /// Answers with a document of this schema, not wrapped in `data`.
    pub(super) fn answers_plain(self, schema: Value, description: &'static str) -> Self {
        self.succeeds(StatusCode::OK, Shape::Plain(schema), description)
    }

    fn succeeds(mut self, status: StatusCode, shape: Shape, description: &'static str) -> Self {
        self.successes.push(Success { status, description, shape });
        self
    }

    /// Can fail in these ways, beside those that follow from what it takes and whom it is for.
    pub(super) fn fails(mut self, failures: &[&'static str]) -> Self {
        self.failures.extend_from_slice(failures);
        self
    }

    /// The operation object of a rule.
    pub(super) fn object(self, rule: &Rule, components: &Components) -> Value {
        let mut object = json!({
            "operationId": self.id,
            "tags": [self.tag],
            "summary": self.summary,
            "description": self.full_description(rule.access),
            "security": security(rule.access),
            "responses": self.responses(rule, components),
        });
        let parameters: Vec<_> = self.parameter_names(rule).iter().map(|name| parameter(name)).collect();
        if !parameters.is_empty() {
            object["parameters"] = json!(parameters);
        }
        if let Some(body) = &self.body {
            let example = components.get(body.component).map(|component| &component.example);
            let content = json!({ "schema": of(body.component), "example": example });
            object["requestBody"] = json!({ "required": body.required, "content": { "application/json": content } });
        }
        object
    }

    fn full_description(&self, access: Access) -> String {
        let needed = match access {
            Access::Public => "Needs no key.".to_owned(),
            Access::AnyKey => "Needs a tenant's key, with any permissions.".to_owned(),
            Access::Key(permission) => format!("Needs the permission `{permission}`."),
            Access::Root => "Needs the root key.".to_owned(),
        };
        if self.description.is_empty() { needed } else { format!("{}\n\n{needed}", self.description) }
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

    fn responses(&self, rule: &Rule, components: &Components) -> Value {
        let mut responses = Map::new();
        let limited = rule.rate_class.is_some();
        for success in &self.successes {
            let mut headers = vec!["x-request-id"];
            if limited {
                headers.extend(["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"]);
            }
            if self.versioned {
                headers.push("etag");
            }
            let mut response = json!({ "description": success.description, "headers": header_refs(&headers) });
            if let Some((schema, example)) = success.shape.content(components) {
                let mut content = json!({ "schema": schema });
                if !example.is_null() {
                    content["example"] = example;
                }
                response["content"] = json!({ "application/json": content });
            }
            responses.insert(success.status.as_str().to_owned(), response);
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

/// The roles in a requirement are the permissions that a key needs (OpenAPI 3.1, "Security Requirement Object").
fn security(access: Access) -> Value {
    match access {
        Access::Public => json!([]),
        Access::AnyKey => json!([{ "key": [] }, { "keyAsPassword": [] }]),
        Access::Key(permission) => json!([{ "key": [permission] }, { "keyAsPassword": [permission] }]),
        Access::Root => json!([{ "rootKey": [] }]),
    }
}

impl Shape {
    /// The schema and an example.
    fn content(&self, components: &Components) -> Option<(Value, Value)> {
        let example_of = |name| components.get(name).map_or(Value::Null, |component| component.example.clone());
        let wrapped =
            |schema: Value| json!({ "type": "object", "required": ["data"], "properties": { "data": schema } });
        Some(match self {
            Self::Nothing => return None,
            Self::Plain(schema) => (schema.clone(), Value::Null),
            Self::One(name) => (wrapped(of(name)), json!({ "data": example_of(name) })),
            Self::OneLike(name, example) => (wrapped(of(name)), json!({ "data": example })),
            Self::List(name) => {
                (wrapped(json!({ "type": "array", "items": of(name) })), json!({ "data": [example_of(name)] }))
            }
            Self::Page(name) => {
                let schema = json!({
                    "type": "object",
                    "required": ["data", "has_more", "next_cursor"],
                    "properties": {
                        "data": { "type": "array", "items": of(name) },
                        "has_more": { "type": "boolean", "description": "whether there are more behind these" },
                        "next_cursor": {
                            "type": ["string", "null"],
                            "description": "the `cursor` of the next page; null when this is the last",
                        },
                    },
                });
                (schema, json!({ "data": [example_of(name)], "has_more": false, "next_cursor": null }))
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
