//! Reading messages: into tasks, or into the dead-letter queue.

use jiff::Timestamp;

use super::guarded;
use crate::aws_error::AwsError;
use crate::domain::event::{Event, NewEvent};
use crate::domain::id::{EndpointId, EventId, ReplayId};
use crate::domain::retry::seconds_until;
use crate::domain::tenant::Scope;
use crate::queue::messages::RetryMessage;
use crate::services::Services;
use crate::store::idempotency::IdempotencyRecord;

/// A message that is so much younger than its event, in seconds, has been sent again; the API sends at once, or fails within its 29.
const SENT_BACK_AFTER_SECONDS: u32 = 30;

/// Which queue a message came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// New events.
    Events,
    /// Backlogs, replays, and parts of large fan-outs.
    Retries,
}

/// A message as a queue hands it over.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// The queue's own id for it.
    pub message_id: String,
    /// Its text.
    pub body: String,
    /// Where it came from.
    pub lane: Lane,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// How often it has been handed over, this time included.
    pub receive_count: u32,
    /// The event's id, where the API has given it one.
    pub event_id: Option<EventId>,
    /// The HTTP request that it came with.
    pub request_id: Option<String>,
    /// Whether the same event may have been sent before in another message.
    pub resend: bool,
}

/// A message that was understood.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) message_id: String,
    pub(super) body: String,
    pub(super) request_id: Option<String>,
    /// The queue has handed it out before: it may have been done in part.
    pub(super) redelivered: bool,
    pub(super) work: Work,
}

#[cfg(test)]
impl Task {
    /// A task for tests: of a replay, where nothing else is said.
    pub(super) fn sample(message_id: &str) -> Self {
        let replay_id = ReplayId::from_parts(Timestamp::UNIX_EPOCH, [0; 10]);
        let work = Work::Replay { scope: crate::domain::endpoint::Endpoint::sample(0).scope, replay_id };
        Self { message_id: message_id.to_owned(), body: String::new(), request_id: None, redelivered: false, work }
    }
}

/// What a message asks for.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// A new event; `check_existing`: parts of it may be on record.
    Event { event: Box<Event>, check_existing: bool },
    /// A part of a large fan-out.
    FanOut { scope: Scope, event_id: EventId, first: EndpointId, last: EndpointId },
    /// A check of an endpoint's backlog, if the token is the valid one.
    Wake { scope: Scope, endpoint_id: EndpointId, token: String },
    /// The next pages of a bulk replay.
    Replay { scope: Scope, replay_id: ReplayId },
}

impl Work {
    pub(super) fn scope(&self) -> Scope {
        match self {
            Self::Event { event, .. } => event.scope,
            Self::FanOut { scope, .. } | Self::Wake { scope, .. } | Self::Replay { scope, .. } => *scope,
        }
    }

    /// The event to be read: where the message does not bring it, and where another message may have brought it before.
    pub(super) fn stored_event(&self) -> Option<(Scope, EventId)> {
        match self {
            Self::Event { event, check_existing: true } => Some((event.scope, event.id)),
            Self::FanOut { scope, event_id, .. } => Some((*scope, *event_id)),
            Self::Event { check_existing: false, .. } | Self::Wake { .. } | Self::Replay { .. } => None,
        }
    }
}

/// What a batch's messages say.
#[derive(Debug, Default)]
pub(super) struct Intake {
    pub(super) tasks: Vec<Task>,
    /// Events whose ids have still to be learned, from their idempotency keys.
    pub(super) keyed: Vec<Keyed>,
    /// What cannot be understood.
    pub(super) poison: Vec<Poison>,
    /// Messages that have to come again.
    pub(super) failed: Vec<String>,
}

/// A message of an event with an idempotency key.
#[derive(Debug)]
pub(super) struct Keyed {
    message: Incoming,
    pub(super) scope: Scope,
    event: NewEvent,
    key: String,
}

/// A message that cannot be understood.
#[derive(Debug)]
pub(super) struct Poison {
    pub(super) message_id: String,
    body: String,
    reason: String,
}

/// What became of an event with an idempotency key.
pub(super) enum Identified {
    /// It stands for the event.
    Task(Task),
    /// Another message stands for the same event.
    Duplicate,
    /// It has to come again.
    Failed(String),
}

/// Reads every message. Pure.
pub(super) fn read(batch: Vec<Incoming>) -> Intake {
    let mut intake = Intake::default();
    for message in batch {
        let understood = guarded(&message.message_id, || {
            let request_id = message.request_id.as_deref();
            tracing::debug!(message_id = message.message_id, request_id, receives = message.receive_count, "reading");
            match message.lane {
                Lane::Events => understand_event(&message),
                Lane::Retries => understand_retry(&message.body).map(Content::Work),
            }
        });
        match understood {
            Some(Ok(Content::Work(work))) => intake.tasks.push(task(message, work)),
            Some(Ok(Content::Event(scope, event, Some(key)))) => {
                intake.keyed.push(Keyed { message, scope, event, key });
            }
            Some(Ok(Content::Event(scope, event, None))) => {
                let (id, check_existing) = own_identity(&message);
                let work = work_of(event, id, scope, check_existing);
                intake.tasks.push(task(message, work));
            }
            Some(Err(reason)) => {
                let Incoming { message_id, body, .. } = message;
                intake.poison.push(Poison { message_id, body, reason });
            }
            None => intake.failed.push(message.message_id),
        }
    }
    intake
}

fn task(message: Incoming, work: Work) -> Task {
    let redelivered = message.receive_count > 1;
    let Incoming { message_id, body, request_id, .. } = message;
    Task { message_id, body, request_id, redelivered, work }
}

/// Puts a message that cannot be understood into the dead-letter queue, so that none is retried into oblivion; whether that worked.
pub(super) async fn dead_letter_poison(services: &Services, poison: &Poison) -> bool {
    dead_letter(services, &poison.message_id, &poison.body, &poison.reason).await
}

async fn dead_letter(services: &Services, message_id: &str, body: &str, reason: &str) -> bool {
    match services.queues.send_dead_letter(body, reason).await {
        Ok(()) => {
            // What is in that queue has an alarm of its own; the sender is wrong, and not what was deployed here.
            tracing::warn!(message_id, reason, "message cannot be understood; it is in the dead-letter queue");
            true
        }
        Err(error) => {
            tracing::error!(message_id, reason, %error, "message cannot be understood and did not get to the dead-letter queue");
            false
        }
    }
}

/// Makes a dead letter of a task that turned out to make no sense; whether that worked.
pub(super) async fn dead_letter_task(services: &Services, task: &Task, reason: &str) -> bool {
    dead_letter(services, &task.message_id, &task.body, reason).await
}

/// What a message was understood as.
enum Content {
    /// An event that has no id yet, and its idempotency key.
    Event(Scope, NewEvent, Option<String>),
    /// What it asks for is all there.
    Work(Work),
}

fn understand_event(message: &Incoming) -> Result<Content, String> {
    let (scope, mut event) = NewEvent::from_message(message.body.as_bytes()).map_err(|errors| errors.to_string())?;
    // Where the API has given an id, it has taken the key.
    let key = event.idempotency_key.take().filter(|_| message.event_id.is_none());
    Ok(Content::Event(scope, event, key))
}

/// The id of a message's event, the API's or one that is derived from the message; and whether parts of it may be on record.
fn own_identity(message: &Incoming) -> (EventId, bool) {
    let id = message.event_id.unwrap_or_else(|| EventId::derived_from_message(message.sent_at, &message.message_id));
    // Sent back from the dead-letter queue, a message is a new one to SQS; its event is older than it.
    let sent_back = seconds_until(message.sent_at, id.created_at()) > SENT_BACK_AFTER_SECONDS;
    (id, message.receive_count > 1 || message.resend || sent_back)
}

fn work_of(event: NewEvent, id: EventId, scope: Scope, check_existing: bool) -> Work {
    // The id's own time, not the message's: an event that is sent twice under one id has one body.
    let event = Box::new(event.accepted(id, scope, id.created_at()));
    Work::Event { event, check_existing }
}

/// Gives an event the id of its idempotency key.
pub(super) async fn identify(services: &Services, keyed: Keyed) -> Identified {
    let message_id = keyed.message.message_id.clone();
    match claim(services, keyed).await {
        Ok(Some(identified)) => identified,
        // The API is about to send the same event; whether it does is known a little later.
        Ok(None) => Identified::Failed(message_id),
        Err(error) => {
            tracing::error!(%error, message_id, "message could not be identified");
            Identified::Failed(message_id)
        }
    }
}

/// What an earlier claim on its key means for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claimed {
    /// It is the message's own, from when it came before.
    Own,
    /// Another message stands for the event.
    ByAnother,
    /// Another is about to be sent.
    UnderWay,
    /// Its holder has died, or could not send: this message can stand for the event, under its id.
    Over,
}

fn claimed(earlier: &IdempotencyRecord, own_claim: &str, now: Timestamp) -> Claimed {
    match (earlier.claim == own_claim, earlier.queued) {
        (true, _) => Claimed::Own,
        (false, true) => Claimed::ByAnother,
        (false, false) if earlier.claimed_until > now => Claimed::UnderWay,
        (false, false) => Claimed::Over,
    }
}

async fn claim(services: &Services, keyed: Keyed) -> Result<Option<Identified>, AwsError> {
    let Keyed { message, scope, event, key } = keyed;
    let (mut id, mut check_existing) = own_identity(&message);
    // The message itself is in the queue already. Its claim is derived from it, so that it knows its own when it comes again.
    let now = services.clock.now();
    let record = IdempotencyRecord::new(id, None, true, id.to_string(), now);
    if let Some(earlier) = services.store.claim_idempotency_key(scope, &key, &record, now).await? {
        match claimed(&earlier, &record.claim, now) {
            Claimed::Own => {}
            Claimed::ByAnother => return Ok(Some(Identified::Duplicate)),
            Claimed::UnderWay => return Ok(None),
            Claimed::Over => {
                if !services.store.take_over_claim(scope, &key, &earlier, &record.claim, now).await? {
                    return Ok(None);
                }
            }
        }
        services.store.confirm_claim(scope, &key, &record.claim).await?;
        id = earlier.event_id;
        check_existing = true;
    }
    Ok(Some(Identified::Task(task(message, work_of(event, id, scope, check_existing)))))
}

fn understand_retry(body: &str) -> Result<Work, String> {
    let message: RetryMessage = serde_json::from_str(body).map_err(|error| error.to_string())?;
    Ok(match message {
        RetryMessage::Wake { scope, endpoint_id, token } => Work::Wake { scope, endpoint_id, token },
        RetryMessage::FanOut { scope, event_id, first, last } => Work::FanOut { scope, event_id, first, last },
        RetryMessage::Replay { scope, replay_id } => Work::Replay { scope, replay_id },
    })
}

#[cfg(test)]
mod tests;
