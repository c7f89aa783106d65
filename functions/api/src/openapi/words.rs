//! What the document says in words and by example. Both are data, in `operations.json` and `examples.json`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::access::Rule;

/// What one operation is, in words.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Words {
    pub(super) id: String,
    pub(super) tag: String,
    pub(super) summary: String,
    #[serde(default)]
    pub(super) description: String,
    /// What an answer of each status means.
    pub(super) answers: BTreeMap<String, String>,
}

/// The words of each operation, by `GET /v1/…`.
pub(super) static OPERATIONS: LazyLock<BTreeMap<String, Words>> =
    LazyLock::new(|| serde_json::from_str(include_str!("operations.json")).unwrap_or_default());

/// An example of each schema by its name, and of answers that have one of their own by `POST /v1/… 201`.
pub(super) static EXAMPLES: LazyLock<Map<String, Value>> =
    LazyLock::new(|| serde_json::from_str(include_str!("examples.json")).unwrap_or_default());

impl Words {
    /// The words of a route.
    pub(super) fn of(rule: &Rule) -> Self {
        OPERATIONS.get(&format!("{} {}", rule.method, rule.path)).cloned().unwrap_or_default()
    }
}

/// The example of this name; `null` if there is none.
pub(super) fn example(name: &str) -> Value {
    EXAMPLES.get(name).cloned().unwrap_or_default()
}
