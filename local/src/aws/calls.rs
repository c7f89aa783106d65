//! What was called: every request that came in through the port, with who called what on which resources.
//!
//! Tests read costs (calls, consumed capacity) and needed permissions from it. It is bounded and cheap; it never holds
//! bodies.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Mutex;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::lock;
use super::protocol::Service;

/// The most calls that are kept; the oldest are dropped first. About 20 MB at the most.
pub const CALLS_KEPT_MAX: usize = 65_536;

/// One request that came in.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The service called.
    pub service: Service,
    /// The operation, for example `SendMessageBatch`.
    pub operation: String,
    /// The caller's access key id; empty when the request was not signed.
    pub identity: String,
    /// Names of tables (an index as `table/index/NAME`), queues or secrets, each once, sorted; for batches and
    /// transactions of all of them.
    pub resources: Vec<String>,
    /// The HTTP status of the answer; 0 when a fault closed the connection instead.
    pub status: u16,
    /// The size of the request's body.
    pub request_bytes: usize,
    /// The sum of the answer's capacity units, when the request asked DynamoDB for them.
    pub consumed_capacity: Option<f64>,
    /// The number of entries of a batch or transaction; 0 for other operations.
    pub items: usize,
    /// The IAM actions that the call needs, without the service: of a batch of statements or a transaction those of its parts.
    pub actions: BTreeSet<String>,
}

/// The latest calls, at most [`CALLS_KEPT_MAX`], in the order in which they were answered.
#[derive(Debug)]
pub struct CallLog {
    is_kept: bool,
    calls: Mutex<VecDeque<Call>>,
}

impl CallLog {
    pub(super) fn new(is_kept: bool) -> Self {
        Self { is_kept, calls: Mutex::default() }
    }

    /// All calls since the last `take`, oldest first; the log is empty afterwards.
    #[must_use]
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *lock(&self.calls)).into()
    }

    /// How many calls of this operation the log holds, for example `count(Service::Sqs, "SendMessage")`.
    #[must_use]
    pub fn count(&self, service: Service, operation: &str) -> usize {
        let calls = lock(&self.calls);
        calls.iter().filter(|call| call.service == service && call.operation == operation).count()
    }

    pub(super) fn add(&self, call: Call) {
        if !self.is_kept {
            return;
        }
        let mut calls = lock(&self.calls);
        if calls.len() == CALLS_KEPT_MAX {
            calls.pop_front();
        }
        calls.push_back(call);
    }
}

/// What a request's body says about itself.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Mentioned {
    pub(super) resources: Vec<String>,
    pub(super) items: usize,
    /// What statements and transactions do in detail; empty for other operations.
    pub(super) parts: BTreeSet<&'static str>,
    /// Whether the answer carries the consumed capacity.
    pub(super) capacity: bool,
}

/// Reads the resources and the number of entries from a request; what cannot be read is left out.
pub(super) fn mentioned(service: Service, body: &[u8]) -> Mentioned {
    let Ok(request) = serde_json::from_slice::<AnyRequest<'_>>(body) else { return Mentioned::default() };
    let mut resources = BTreeSet::new();
    let mut items = 0;
    let mut parts = BTreeSet::new();
    match service {
        Service::DynamoDb => {
            if let Some(table) = request.table_name {
                resources.insert(match request.index_name {
                    Some(index) => format!("{table}/index/{index}"),
                    None => table,
                });
            }
            for (table, entries) in request.request_items.unwrap_or_default() {
                items += entry_count(entries);
                resources.insert(table);
            }
            for part in request.transact_items.unwrap_or_default() {
                items += 1;
                parts.extend(part.keys().filter_map(|kind| part_action(kind)));
                resources.extend(part.into_values().filter_map(|part| part.table_name));
            }
            for one in request.statements.unwrap_or_default() {
                items += 1;
                parts.extend(statement_action(&one.statement));
                // The table stands in quotes, behind INTO or UPDATE.
                resources.extend(one.statement.split('"').nth(1).map(str::to_owned));
            }
            let arn = request.resource_arn.as_deref();
            resources.extend(arn.and_then(|arn| arn.split_once(":table/")).map(|(_, table)| table.to_owned()));
        }
        Service::Sqs => {
            let url = request.queue_url.as_deref().and_then(|url| url.rsplit('/').next());
            let arns = [request.source_arn.as_deref(), request.destination_arn.as_deref()];
            resources.extend(url.map(str::to_owned));
            resources.extend(request.queue_name);
            resources.extend(arns.into_iter().flatten().filter_map(|arn| arn.rsplit(':').next()).map(str::to_owned));
            items = request.entries.map_or(0, |entries| entries.len());
        }
        Service::SecretsManager => {
            let ids = request.secret_id_list.unwrap_or_default();
            items = ids.len();
            resources.extend(ids.iter().map(|id| secret_name(id)));
            resources.extend(request.secret_id.as_deref().map(secret_name));
            resources.extend(request.name);
        }
    }
    let capacity = request.return_consumed_capacity.is_some_and(|wish| wish != "NONE");
    Mentioned { resources: resources.into_iter().collect(), items, parts, capacity }
}

/// The IAM actions of a call (DynamoDB developer guide, transactions and PartiQL; SQS developer guide, API permissions).
pub(super) fn actions(operation: &str, parts: &BTreeSet<&'static str>) -> BTreeSet<String> {
    if parts.is_empty() {
        let single = match operation {
            "SendMessageBatch" | "DeleteMessageBatch" | "ChangeMessageVisibilityBatch" => {
                operation.trim_end_matches("Batch")
            }
            other => other,
        };
        return BTreeSet::from([single.to_owned()]);
    }
    parts.iter().map(|action| (*action).to_owned()).collect()
}

fn part_action(kind: &str) -> Option<&'static str> {
    match kind {
        "Put" => Some("PutItem"),
        "Update" => Some("UpdateItem"),
        "Delete" => Some("DeleteItem"),
        "ConditionCheck" => Some("ConditionCheckItem"),
        _ => None,
    }
}

fn statement_action(statement: &str) -> Option<&'static str> {
    match statement.split_whitespace().next()?.to_ascii_uppercase().as_str() {
        "INSERT" => Some("PartiQLInsert"),
        "UPDATE" => Some("PartiQLUpdate"),
        "DELETE" => Some("PartiQLDelete"),
        "SELECT" => Some("PartiQLSelect"),
        _ => None,
    }
}

/// The sum of the capacity units in an answer of DynamoDB.
pub(super) fn consumed_capacity(answer: &[u8]) -> Option<f64> {
    let answer: CapacityAnswer = serde_json::from_slice(answer).ok()?;
    Some(match answer.consumed_capacity? {
        OneOrMany::One(one) => one.capacity_units,
        OneOrMany::Many(many) => many.iter().map(|one| one.capacity_units).sum(),
    })
}

/// `NAME` of `arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME-RANDOM`; anything else as it is.
fn secret_name(id: &str) -> String {
    let Some((_, rest)) = id.split_once(":secret:") else { return id.to_owned() };
    rest.rsplit_once('-').filter(|(_, random)| random.len() == 6).map_or(rest, |(name, _)| name).to_owned()
}

/// The entries of one table: a list in `BatchWriteItem`, `Keys` in `BatchGetItem`.
fn entry_count(entries: &RawValue) -> usize {
    #[derive(Deserialize)]
    struct Get {
        #[serde(rename = "Keys")]
        keys: Vec<IgnoredAny>,
    }
    let written = serde_json::from_str::<Vec<IgnoredAny>>(entries.get()).map(|list| list.len());
    written.or_else(|_| serde_json::from_str::<Get>(entries.get()).map(|get| get.keys.len())).unwrap_or_default()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AnyRequest<'a> {
    table_name: Option<String>,
    index_name: Option<String>,
    #[serde(borrow)]
    request_items: Option<BTreeMap<String, &'a RawValue>>,
    transact_items: Option<Vec<BTreeMap<String, TransactPart>>>,
    statements: Option<Vec<Statement>>,
    resource_arn: Option<String>,
    return_consumed_capacity: Option<String>,
    queue_url: Option<String>,
    queue_name: Option<String>,
    source_arn: Option<String>,
    destination_arn: Option<String>,
    entries: Option<Vec<IgnoredAny>>,
    secret_id: Option<String>,
    secret_id_list: Option<Vec<String>>,
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    statement: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TransactPart {
    table_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CapacityAnswer {
    consumed_capacity: Option<OneOrMany>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(Capacity),
    Many(Vec<Capacity>),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Capacity {
    capacity_units: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_on_an_index_mentions_the_index() {
        let body = br#"{"TableName":"t","IndexName":"due","ReturnConsumedCapacity":"TOTAL"}"#;
        let expected = Mentioned { resources: vec!["t/index/due".to_owned()], capacity: true, ..Mentioned::default() };
        assert_eq!(mentioned(Service::DynamoDb, body), expected);
    }

    #[test]
    fn batches_and_transactions_mention_all_tables_and_count_their_entries() {
        let body = br#"{"RequestItems":{"b":{"Keys":[{},{}]},"a":[{}]}}"#;
        let expected = Mentioned { resources: vec!["a".to_owned(), "b".to_owned()], items: 3, ..Mentioned::default() };
        assert_eq!(mentioned(Service::DynamoDb, body), expected);
        let body = br#"{"TransactItems":[{"Put":{"TableName":"a"}},{"ConditionCheck":{"TableName":"a"}}]}"#;
        assert_eq!(mentioned(Service::DynamoDb, body).items, 2);
        assert_eq!(mentioned(Service::DynamoDb, body).resources, ["a"]);
        let body = br#"{"Statements":[{"Statement":"UPDATE \"t\""},{"Statement":"INSERT INTO \"t\""}]}"#;
        assert_eq!(mentioned(Service::DynamoDb, body).items, 2);
    }

    #[test]
    fn actions_of_batches_and_transactions_are_those_of_their_parts() {
        let of = |operation: &str, body: &[u8]| {
            let actions = actions(operation, &mentioned(Service::DynamoDb, body).parts);
            actions.into_iter().collect::<Vec<_>>()
        };
        let body = br#"{"TransactItems":[{"Put":{"TableName":"a"}},{"ConditionCheck":{"TableName":"a"}}]}"#;
        assert_eq!(of("TransactWriteItems", body), ["ConditionCheckItem", "PutItem"]);
        let body = br#"{"Statements":[{"Statement":"UPDATE \"t\""},{"Statement":"INSERT INTO \"t\""}]}"#;
        assert_eq!(of("BatchExecuteStatement", body), ["PartiQLInsert", "PartiQLUpdate"]);
        assert_eq!(of("SendMessageBatch", b"{}"), ["SendMessage"]);
        assert_eq!(of("BatchGetItem", b"{}"), ["BatchGetItem"]);
    }

    #[test]
    fn queues_and_secrets_are_mentioned_by_name() {
        let body = br#"{"QueueUrl":"http://127.0.0.1:9/000000000000/due","Entries":[{},{}]}"#;
        assert_eq!(mentioned(Service::Sqs, body).resources, ["due"]);
        assert_eq!(mentioned(Service::Sqs, body).items, 2);
        let body = br#"{"SecretId":"arn:aws:secretsmanager:us-east-1:000000000000:secret:a/b-c-AbCdEf"}"#;
        assert_eq!(mentioned(Service::SecretsManager, body).resources, ["a/b-c"]);
    }

    #[test]
    fn capacity_of_a_transaction_is_summed() {
        let answer = br#"{"ConsumedCapacity":[{"TableName":"a","CapacityUnits":2.0},{"CapacityUnits":4.5}]}"#;
        assert_eq!(consumed_capacity(answer), Some(6.5));
        assert_eq!(consumed_capacity(br#"{"ConsumedCapacity":{"CapacityUnits":0.5}}"#), Some(0.5));
        assert_eq!(consumed_capacity(b"{}"), None);
    }
}
