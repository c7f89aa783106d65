//! SQS, standard queues: the stand-in's state and its operations.
//!
//! Covered: everything about queues, their attributes, sending, receiving with long polls, deleting, changing
//! visibility, batches, redrive and moving back. Not covered and refused: FIFO queues, permissions, the older query
//! protocol. A queue is found by the name at the end of its URL; host and port do not matter, so that data outlives a port.
//!
//! Faithful where callers can tell; easier than AWS in that counts are exact, nothing is limited in rate, a queue can be
//! made again right after it was deleted, and moving messages back is done at once.

mod attributes;
mod batch;
mod errors;
mod handles;
mod md5;
mod message;
mod queue;
mod queues;
mod ready;
mod receive;
mod redrive;
mod send;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use shared::clock::Clock;
use tokio::sync::watch;

use self::attributes::Settings;
use self::message::Message;
use self::queue::{Delivery, Queue, QueueRecord};
use super::faults::Faults;
use super::journal::{Changes, Journal, Record, Written};
use super::lock;
use super::protocol::{self, Answer, AwsError, Service};

/// The account and region that URLs and ARNs carry.
const ACCOUNT: &str = "000000000000";
const REGION: &str = "us-east-1";

/// SQS.
pub(super) struct Sqs {
    state: Mutex<State>,
    endpoint_url: String,
    clock: Clock,
    journal: Arc<Journal>,
    faults: Arc<Faults>,
    stopped: watch::Receiver<bool>,
}

/// What [`Sqs::load`] needs.
pub(super) struct Setup<'a> {
    /// What queue URLs start with.
    pub(super) endpoint_url: String,
    pub(super) clock: Clock,
    pub(super) journal: Arc<Journal>,
    pub(super) faults: Arc<Faults>,
    /// Ends long polls.
    pub(super) stopped: watch::Receiver<bool>,
    /// Sorted by key.
    pub(super) records: &'a [Record],
}

#[derive(Default)]
struct State {
    queues: BTreeMap<Arc<str>, Queue>,
    /// Of the last message; numbers are never used twice.
    last_number: u64,
}

/// An operation on the state under its lock.
struct Change<'a> {
    state: &'a mut State,
    changes: Changes,
    /// In milliseconds since 1970.
    now: i64,
}

/// A request about a queue and nothing else.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OfQueue {
    queue_url: String,
}

impl Sqs {
    /// SQS as it was when the records were written.
    ///
    /// # Errors
    /// The key of a record that cannot be read.
    pub(super) fn load<'a>(setup: Setup<'a>) -> Result<Self, &'a str> {
        let now = setup.clock.now().as_millisecond();
        let mut state = State::default();
        let mut deliveries = BTreeMap::new();
        // Sorted by key: deliveries come before messages, queues after both.
        for record in under(setup.records, "sqs/queue/") {
            let record: QueueRecord = record.value().ok_or(record.key.as_str())?;
            let settings = Settings::read(&record.attributes).unwrap_or(DEFAULTS);
            state.queues.insert(Arc::clone(&record.name), Queue::new(record, settings));
        }
        for record in under(setup.records, "sqs/delivery/") {
            let path = record.key.strip_prefix("sqs/delivery/");
            deliveries.insert(path, record.value::<Delivery>().ok_or(record.key.as_str())?);
        }
        for record in under(setup.records, "sqs/message/") {
            let unreadable = record.key.as_str();
            let path = record.key.strip_prefix("sqs/message/");
            let message: Message = record.value().ok_or(unreadable)?;
            let (name, number) = path.and_then(|path| path.split_once('/')).ok_or(unreadable)?;
            let number: u64 = number.parse().map_err(|_| unreadable)?;
            let delivery = deliveries.remove(&path).ok_or(unreadable)?;
            state.last_number = state.last_number.max(number);
            let queue = state.queues.get_mut(name).ok_or(unreadable)?;
            queue.insert(number, Arc::new(message), delivery, now);
        }
        let Setup { endpoint_url, clock, journal, faults, stopped, records: _ } = setup;
        Ok(Self { state: Mutex::new(state), endpoint_url, clock, journal, faults, stopped })
    }

    /// Does an operation. The answer is on disk when this returns.
    ///
    /// # Errors
    /// Whatever SQS would answer.
    pub(super) async fn call(&self, operation: &str, body: &[u8], sender: &str) -> Result<Answer, AwsError> {
        match operation {
            "SendMessage" => self.change(body, |change, request| send::one(change, request, sender)).await,
            "SendMessageBatch" => self.change(body, |change, request| send::batch(change, request, sender)).await,
            "ReceiveMessage" => receive::receive(self, protocol::parse(body)?).await,
            "DeleteMessage" => self.change_quietly(body, |change, request| handles::delete(change, &request)).await,
            "DeleteMessageBatch" => self.change(body, handles::delete_batch).await,
            "ChangeMessageVisibility" => {
                self.change_quietly(body, |change, request| handles::change_visibility(change, &request)).await
            }
            "ChangeMessageVisibilityBatch" => self.change(body, handles::change_visibility_batch).await,
            "CreateQueue" => self.change(body, |change, request| queues::create(change, request, self)).await,
            "GetQueueUrl" => self.change(body, |change, request| queues::url(change, &request, self)).await,
            "ListQueues" => self.change(body, |change, request| queues::list(change, &request, self)).await,
            "GetQueueAttributes" => self.change(body, |change, request| queues::attributes(change, &request)).await,
            "SetQueueAttributes" => self.change_quietly(body, queues::set_attributes).await,
            "DeleteQueue" => self.change_quietly(body, |change, request| queues::delete(change, &request)).await,
            "PurgeQueue" => self.change_quietly(body, |change, request| queues::purge(change, &request)).await,
            "StartMessageMoveTask" => self.change(body, redrive::start).await,
            "ListMessageMoveTasks" => self.change(body, |change, request| redrive::list(change, &request)).await,
            _ => Err(AwsError::unknown_operation(&format!("AmazonSQS.{operation}"))),
        }
    }

    /// Makes every message in flight visible again.
    pub(super) async fn release_in_flight(&self) {
        let ((), written) = self.locked(|change| {
            let now = change.now;
            for queue in change.state.queues.values_mut() {
                queue.release_in_flight(now, &mut change.changes);
            }
        });
        // Unwritten, it is released again at the next start.
        let _ = written.wait().await;
    }

    /// When the next message becomes visible, in any queue, of those that are delayed or in flight.
    pub(super) fn next_visible_at(&self) -> Option<Timestamp> {
        let (next, _) = self.locked(|change| {
            let now = change.now;
            let queues = change.state.queues.values_mut();
            let times = queues.filter_map(|queue| {
                queue.settle(now, &mut change.changes);
                queue.next_visible_at()
            });
            times.min()
        });
        next.and_then(|at| Timestamp::from_millisecond(at).ok())
    }

    /// An operation with an answer.
    async fn change<I: for<'de> Deserialize<'de>, O: Serialize>(
        &self,
        body: &[u8],
        act: impl FnOnce(&mut Change<'_>, I) -> Result<O, AwsError>,
    ) -> Result<Answer, AwsError> {
        let input = protocol::parse(body)?;
        let (output, written) = self.locked(|change| act(change, input));
        written.wait().await.map_err(|error| AwsError::internal(Service::Sqs, error.to_string()))?;
        protocol::success(Service::Sqs, &output?)
    }

    /// An operation that gives nothing back.
    async fn change_quietly<I: for<'de> Deserialize<'de>>(
        &self,
        body: &[u8],
        act: impl FnOnce(&mut Change<'_>, I) -> Result<(), AwsError>,
    ) -> Result<Answer, AwsError> {
        self.change(body, act).await.map(|_| protocol::empty(Service::Sqs))
    }

    /// Runs `act` under the lock; what it changed is submitted even if it fails, because time passed.
    fn locked<O>(&self, act: impl FnOnce(&mut Change<'_>) -> O) -> (O, Written) {
        let mut state = lock(&self.state);
        let now = self.clock.now().as_millisecond();
        let mut change = Change { state: &mut state, changes: self.journal.begin(), now };
        let output = act(&mut change);
        let written = self.journal.submit(change.changes);
        (output, written)
    }

    fn url_of(&self, name: &str) -> String {
        format!("{}/{ACCOUNT}/{name}", self.endpoint_url)
    }
}

impl Change<'_> {
    /// The queue of this name, up to date.
    fn queue(&mut self, name: &str) -> Result<&mut Queue, AwsError> {
        self.queue_and_changes(name).map(|(queue, _)| queue)
    }

    fn queue_and_changes(&mut self, name: &str) -> Result<(&mut Queue, &mut Changes), AwsError> {
        let queue = self.state.queues.get_mut(name).ok_or_else(errors::queue_does_not_exist)?;
        queue.settle(self.now, &mut self.changes);
        Ok((queue, &mut self.changes))
    }
}

impl State {
    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

/// What stored attributes mean that this version refuses; it never stores such.
const DEFAULTS: Settings = Settings {
    visibility_timeout_seconds: 30,
    message_bytes_max: message::MESSAGE_BYTES_MAX,
    retention_seconds: 345_600,
    delay_seconds: 0,
    wait_seconds: 0,
    redrive: None,
};

/// The records whose key starts with `prefix`.
fn under<'a>(records: &'a [Record], prefix: &str) -> impl Iterator<Item = &'a Record> {
    let start = records.partition_point(|record| record.key.as_str() < prefix);
    let prefix = prefix.to_owned();
    records.iter().skip(start).take_while(move |record| record.key.starts_with(&prefix))
}

/// The name at the end of a queue's URL.
fn name_of_url(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}

fn arn_of(name: &str) -> String {
    format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")
}

fn name_of_arn(arn: &str) -> &str {
    arn.rsplit(':').next().unwrap_or_default()
}
