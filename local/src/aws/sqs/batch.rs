//! What all batch operations share: 1 to 10 entries, ids that tell them apart, partial results.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::errors;
use crate::aws::protocol::AwsError;

/// The most entries of a batch. Source: SQS quotas.
const ENTRIES_MAX: usize = 10;

/// The longest id of an entry. Source: `SendMessageBatchRequestEntry`.
const ID_CHARACTERS_MAX: usize = 80;

/// A batch request.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Batch<E> {
    pub(super) queue_url: String,
    entries: Option<Vec<Entry<E>>>,
}

/// An entry with its id.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry<E> {
    pub(super) id: String,
    #[serde(flatten)]
    pub(super) content: E,
}

/// What became of the entries.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Outcome<S> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    successful: Vec<Done<S>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed: Vec<Failed>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Done<S> {
    id: String,
    #[serde(flatten)]
    content: S,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Failed {
    id: String,
    code: String,
    message: String,
    sender_fault: bool,
}

/// The result of operations that give nothing back per entry.
#[derive(Serialize)]
pub(super) struct Nothing {}

impl<E> Batch<E> {
    /// The entries, when their number and ids are allowed.
    ///
    /// # Errors
    /// When there are none or too many, or an id is not allowed or comes twice: the whole batch is refused.
    pub(super) fn entries(self) -> Result<Vec<Entry<E>>, AwsError> {
        let entries = self.entries.unwrap_or_default();
        if entries.is_empty() {
            return Err(errors::empty_batch());
        }
        if entries.len() > ENTRIES_MAX {
            return Err(errors::too_many_entries(ENTRIES_MAX, entries.len()));
        }
        let mut ids = BTreeSet::new();
        for Entry { id, .. } in &entries {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if !((1..=ID_CHARACTERS_MAX).contains(&id.len()) && id.bytes().all(allowed)) {
                return Err(errors::invalid_entry_id());
            }
            if !ids.insert(id) {
                return Err(errors::ids_not_distinct(id));
            }
        }
        Ok(entries)
    }
}

/// Does each entry on its own.
pub(super) fn each<E, S>(entries: Vec<Entry<E>>, mut act: impl FnMut(E) -> Result<S, AwsError>) -> Outcome<S> {
    let mut outcome = Outcome { successful: Vec::with_capacity(entries.len()), failed: Vec::new() };
    for Entry { id, content } in entries {
        match act(content) {
            Ok(content) => outcome.successful.push(Done { id, content }),
            Err(error) => outcome.failed.push(Failed {
                id,
                code: error.query_code.unwrap_or("InternalError").to_owned(),
                sender_fault: error.status.is_client_error(),
                message: error.message,
            }),
        }
    }
    outcome
}
