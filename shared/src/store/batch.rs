//! Many items with few calls: conditional writes of up to 25 and reads of up to 100 at once.
//!
//! Conditional writes go as PartiQL statements. `BatchWriteItem` knows no conditions, and a transaction costs twice; a batch of statements
//! costs what single writes cost, and each statement has its own condition and its own result.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeValue, BatchStatementErrorCodeEnum, BatchStatementRequest, BatchStatementResponse, KeysAndAttributes,
    ReturnConsumedCapacity,
};

use super::keys::{Key, PK, SK};
use super::{Item, Name, Named, Store, key_item};
use crate::aws_error::AwsError;

/// The most statements of one call (DynamoDB, `BatchExecuteStatement`).
const STATEMENTS_MAX: usize = 25;
/// The most keys of one call (DynamoDB, `BatchGetItem`).
const KEYS_MAX: usize = 100;
const GET_MANY: &str = "dynamodb:BatchGetItem";
/// How often what a batch left undone is asked for.
pub const TRIES_MAX: u32 = 5;
/// The wait before the first of those tries; doubles with each.
const TRY_AGAIN_MILLISECONDS: u64 = 25;
/// The largest batch of writes, in bytes of items as DynamoDB counts them, roughly.
const WRITE_BYTES_MAX: usize = 4 * 1_024 * 1_024;

/// One conditional write. No two writes of a batch may name the same item.
#[derive(Clone, Debug)]
pub enum Write {
    /// Puts an item unless there is one under its key.
    Insert(Item),
    /// Changes an item of which these conditions hold.
    Update {
        /// Its key.
        key: Key,
        /// Attributes and their new values, by name.
        set: Named,
        /// Attributes that go.
        remove: Vec<Name>,
        /// What must hold of it.
        only_if: Vec<Condition>,
    },
}

/// Attributes with their values, for [`Write::Update`].
pub(super) fn named<const N: usize>(attributes: [(&'static str, AttributeValue); N]) -> Named {
    attributes.into_iter().map(|(name, value)| (name.into(), value)).collect()
}

/// Names of attributes, for [`Write::Update`].
pub(super) fn names<const N: usize>(names: [&'static str; N]) -> Vec<Name> {
    names.into_iter().map(Name::from).collect()
}

/// What must hold of an attribute for a write to be carried out.
#[derive(Clone, Debug)]
pub enum Condition {
    /// It has this value.
    Is(&'static str, AttributeValue),
    /// It is not there.
    Missing(&'static str),
    /// It is not there, or at most this.
    MissingOrAtMost(&'static str, AttributeValue),
}

/// What became of a write.
#[derive(Clone, Debug)]
pub enum Recorded {
    /// Written.
    Done,
    /// The condition did not hold: there is an item already, or it has moved on.
    Refused,
    /// Not written, or not known to be.
    Failed(AwsError),
}

/// What came of one try of a write.
#[derive(Clone, Debug)]
pub struct Tried {
    /// What became of it.
    pub recorded: Recorded,
    /// Whether DynamoDB refused it for now: then it is worth another try.
    pub is_throttled: bool,
}

impl Tried {
    fn failed(error: Option<AwsError>) -> Self {
        let error = error.unwrap_or_else(|| AwsError::gave_up("dynamodb:BatchExecuteStatement"));
        Self { recorded: Recorded::Failed(error), is_throttled: false }
    }

    fn of(response: &BatchStatementResponse) -> Self {
        let recorded = outcome(response);
        let is_throttled = matches!(&recorded, Recorded::Failed(error) if error.retryable);
        Self { recorded, is_throttled }
    }
}

impl Store {
    /// Carries out conditional writes, 25 a call. The results stand in the order of the writes; each is its own.
    ///
    /// Repeating is safe: what was written is then refused.
    pub async fn record(&self, writes: &[Write]) -> Vec<Recorded> {
        let mut results = Vec::with_capacity(writes.len());
        for call in self.calls(writes) {
            results.extend(self.execute(&call).await);
        }
        results
    }

    /// Carries out conditional writes with one try. The results stand in the order of the writes, of which there are at most 25 (DynamoDB, `BatchExecuteStatement`).
    ///
    /// Repeating is safe: what was written is then refused.
    pub async fn record_once(&self, writes: &[Arc<Write>]) -> Vec<Tried> {
        let mut results = Vec::with_capacity(writes.len());
        for call in self.calls(writes) {
            results.extend(self.execute_once(&call).await);
        }
        results
    }

    /// The statements of these writes in their order, cut into calls that keep DynamoDB's bounds.
    fn calls<W: Borrow<Write>>(&self, writes: &[W]) -> Vec<Vec<Result<BatchStatementRequest, AwsError>>> {
        let sizes: Vec<_> = writes.iter().map(|write| approximate_bytes(write.borrow())).collect();
        let statements =
            |chunk: Range<usize>| writes[chunk].iter().map(|write| self.statement(write.borrow())).collect();
        chunks(&sizes).into_iter().map(statements).collect()
    }

    async fn execute(&self, statements: &[Result<BatchStatementRequest, AwsError>]) -> Vec<Recorded> {
        let mut tried = self.execute_once(statements).await;
        for attempt in 1..TRIES_MAX {
            let throttled: Vec<_> = (0..tried.len()).filter(|place| tried[*place].is_throttled).collect();
            if throttled.is_empty() {
                break;
            }
            back_off(attempt).await;
            let again: Vec<_> = throttled.iter().map(|place| statements[*place].clone()).collect();
            for (place, result) in throttled.into_iter().zip(self.execute_once(&again).await) {
                tried[place] = result;
            }
        }
        tried.into_iter().map(|tried| tried.recorded).collect()
    }

    async fn execute_once(&self, statements: &[Result<BatchStatementRequest, AwsError>]) -> Vec<Tried> {
        let batch: Vec<_> = statements.iter().filter_map(|statement| statement.as_ref().ok().cloned()).collect();
        let answer = match batch.is_empty() {
            true => return statements.iter().map(|statement| Tried::failed(statement.clone().err())).collect(),
            false => {
                let call = self.client.batch_execute_statement().set_statements(Some(batch));
                call.return_consumed_capacity(ReturnConsumedCapacity::Total).send().await
            }
        };
        let mut responses = match answer {
            Ok(answer) => answer.responses.unwrap_or_default().into_iter(),
            Err(error) => {
                // The client has tried again by itself.
                let error = AwsError::from_sdk("dynamodb:BatchExecuteStatement", &error);
                let failed = |statement: &Result<_, AwsError>| statement.clone().err().unwrap_or_else(|| error.clone());
                return statements.iter().map(|statement| Tried::failed(Some(failed(statement)))).collect();
            }
        };
        let result = |statement: &Result<_, AwsError>| match statement {
            Ok(_) => responses.next().map_or_else(|| Tried::failed(None), |response| Tried::of(&response)),
            Err(error) => Tried::failed(Some(error.clone())),
        };
        statements.iter().map(result).collect()
    }

    fn statement(&self, write: &Write) -> Result<BatchStatementRequest, AwsError> {
        let table = &self.table;
        let (statement, parameters) = match write {
            Write::Insert(item) => {
                let mut attributes: Vec<_> = item.iter().collect();
                attributes.sort_by_key(|(name, _)| name.as_str());
                let fields: Vec<_> = attributes.iter().map(|(name, _)| format!("'{name}': ?")).collect();
                let parameters = attributes.into_iter().map(|(_, value)| value.clone()).collect();
                (format!(r#"INSERT INTO "{table}" VALUE {{{}}}"#, fields.join(", ")), parameters)
            }
            Write::Update { key, set, remove, only_if } => {
                let mut statement = format!(r#"UPDATE "{table}""#);
                let mut parameters = Vec::new();
                for (name, value) in set {
                    statement.push_str(&format!(r#" SET "{name}" = ?"#));
                    parameters.push(value.clone());
                }
                for name in remove {
                    statement.push_str(&format!(r#" REMOVE "{name}""#));
                }
                statement.push_str(&format!(r#" WHERE "{PK}" = ? AND "{SK}" = ?"#));
                parameters.extend([AttributeValue::S(key.pk.clone()), AttributeValue::S(key.sk.clone())]);
                for condition in only_if {
                    let (holds, value) = match condition {
                        Condition::Is(name, value) => (format!(r#""{name}" = ?"#), Some(value)),
                        Condition::Missing(name) => (format!(r#""{name}" IS MISSING"#), None),
                        Condition::MissingOrAtMost(name, value) => {
                            (format!(r#"("{name}" IS MISSING OR "{name}" <= ?)"#), Some(value))
                        }
                    };
                    statement.push_str(&format!(" AND {holds}"));
                    parameters.extend(value.cloned());
                }
                (statement, parameters)
            }
        };
        BatchStatementRequest::builder()
            .statement(statement)
            .set_parameters(Some(parameters))
            .build()
            .map_err(|error| AwsError::unreadable("dynamodb:BatchExecuteStatement", error))
    }

    /// Reads many items, 100 a call, each key once. What is not there is not in the answer.
    pub(super) async fn get_many(&self, keys: &[Key], consistent: bool) -> Result<HashMap<Key, Item>, AwsError> {
        let (found, unread) = self.get_with_tries(keys, consistent, TRIES_MAX).await?;
        if unread.is_empty() { Ok(found) } else { Err(AwsError::gave_up(GET_MANY)) }
    }

    /// The same without waiting for what is throttled; also gives the keys of that.
    pub(super) async fn get_at_once(
        &self,
        keys: &[Key],
        consistent: bool,
    ) -> Result<(HashMap<Key, Item>, HashSet<Key>), AwsError> {
        self.get_with_tries(keys, consistent, 1).await
    }

    async fn get_with_tries(
        &self,
        keys: &[Key],
        consistent: bool,
        tries: u32,
    ) -> Result<(HashMap<Key, Item>, HashSet<Key>), AwsError> {
        let mut seen = HashSet::new();
        let distinct: Vec<_> = keys.iter().filter(|key| seen.insert(*key)).collect();
        let (mut found, mut unread) = (HashMap::new(), HashSet::new());
        for chunk in distinct.chunks(KEYS_MAX) {
            let mut open: Vec<Item> = chunk.iter().map(|key| key_item(key)).collect();
            for attempt in 0..tries {
                if open.is_empty() {
                    break;
                }
                if attempt > 0 {
                    back_off(attempt).await;
                }
                let wanted = KeysAndAttributes::builder()
                    .set_keys(Some(std::mem::take(&mut open)))
                    .consistent_read(consistent)
                    .build()
                    .map_err(|error| AwsError::unreadable(GET_MANY, error))?;
                let answer = self
                    .client
                    .batch_get_item()
                    .request_items(&self.table, wanted)
                    .return_consumed_capacity(ReturnConsumedCapacity::Total)
                    .send()
                    .await
                    .map_err(|error| AwsError::from_sdk(GET_MANY, &error))?;
                for item in answer.responses.unwrap_or_default().into_values().flatten() {
                    if let Some(key) = key_of(&item) {
                        found.insert(key, item);
                    }
                }
                let left = answer.unprocessed_keys.unwrap_or_default().into_values();
                open = left.flat_map(|left| left.keys).collect();
            }
            unread.extend(open.iter().filter_map(key_of));
        }
        Ok((found, unread))
    }
}

pub(super) fn key_of(item: &Item) -> Option<Key> {
    let pk = item.get(PK)?.as_s().ok()?.clone();
    let sk = item.get(SK)?.as_s().ok()?.clone();
    Some(Key { pk, sk })
}

fn outcome(response: &BatchStatementResponse) -> Recorded {
    let Some(error) = response.error() else { return Recorded::Done };
    match error.code() {
        Some(BatchStatementErrorCodeEnum::DuplicateItem | BatchStatementErrorCodeEnum::ConditionalCheckFailed) => {
            Recorded::Refused
        }
        code => {
            let code = code.map_or("Unknown", |code| code.as_str());
            let message = error.message().unwrap_or_default();
            Recorded::Failed(AwsError::in_batch("dynamodb:BatchExecuteStatement", code, message))
        }
    }
}

/// Waits before the `attempt`th further try, counted from 1: longer each time.
pub async fn back_off(attempt: u32) {
    let milliseconds = TRY_AGAIN_MILLISECONDS.saturating_mul(1 << attempt.min(6));
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

/// Writes of these sizes cut into runs that each fit one call, in their order.
fn chunks(sizes: &[usize]) -> Vec<Range<usize>> {
    let mut chunks = Vec::new();
    let mut start = 0;
    while start < sizes.len() {
        let end = chunk_end(sizes, start);
        chunks.push(start..end);
        start = end;
    }
    chunks
}

/// The end of the longest run of writes from `start` that fits one call; at least one write.
fn chunk_end(sizes: &[usize], start: usize) -> usize {
    let mut bytes = 0;
    let mut end = start;
    while end < sizes.len() && end - start < STATEMENTS_MAX {
        bytes += sizes[end];
        if bytes > WRITE_BYTES_MAX && end > start {
            break;
        }
        end += 1;
    }
    end
}

fn approximate_bytes(write: &Write) -> usize {
    match write {
        Write::Insert(item) => item.iter().map(|(name, value)| name.len() + value_bytes(value)).sum(),
        Write::Update { set, .. } => set.iter().map(|(name, value)| name.len() + value_bytes(value)).sum(),
    }
}

fn value_bytes(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) | AttributeValue::N(text) => text.len(),
        AttributeValue::B(blob) => blob.as_ref().len(),
        AttributeValue::L(values) => values.iter().map(|value| value_bytes(value) + 1).sum(),
        AttributeValue::M(values) => values.iter().map(|(name, value)| name.len() + value_bytes(value) + 1).sum(),
        _ => 16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_keep_both_limits_and_always_move_on() {
        assert_eq!(chunk_end(&[1; 60], 0), 25);
        assert_eq!(chunk_end(&[1; 60], 50), 60);
        assert_eq!(chunk_end(&[WRITE_BYTES_MAX, 1, 1], 0), 1);
        assert_eq!(chunk_end(&[WRITE_BYTES_MAX + 1, 1], 0), 1);
    }

    #[test]
    fn every_write_is_in_one_call_in_its_order() {
        for (name, sizes, expected) in [
            ("none", vec![], vec![]),
            ("as many as one call takes", vec![1; 25], vec![(0, 25)]),
            ("one more", vec![1; 26], vec![(0, 25), (25, 26)]),
            ("as many bytes as one call takes", vec![WRITE_BYTES_MAX - 1, 1], vec![(0, 2)]),
            ("one more byte", vec![1, WRITE_BYTES_MAX, 1], vec![(0, 1), (1, 2), (2, 3)]),
        ] {
            let calls: Vec<_> = chunks(&sizes).into_iter().map(|call| (call.start, call.end)).collect();
            assert_eq!(calls, expected, "{name}");
        }
    }
}
