//! Reading messages: into tasks, or into the dead-letter queue.

use futures::future::join_all;
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

/// What a message asks for.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// A new event; `check_existing`: parts of it may be on record.
    Event { event: Box<Event>, check_existing: bool },
    /// A part of a large fan-out.
    FanOut { scope: Scope, event_id: EventId, first: EndpointId, last: EndpointId },
    /// A look at an endpoint's backlog, if the token is the valid one.
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

/// What came of a batch's messages.
pub(super) struct Intake {
    pub(super) tasks: Vec<Task>,
    /// Messages that have to come again.
    pub(super) failed: Vec<String>,
}

enum Read {
    Task(Task),
    /// There is nothing to be done for it, or it is a dead letter.
    Done,
    Failed(String),
}

/// Reads every message; what cannot be understood goes to the dead-letter queue, so that no message is retried into oblivion.
pub(super) async fn read(services: &Services, batch: Vec<Incoming>) -> Intake {
    let mut intake = Intake { tasks: Vec::with_capacity(batch.len()), failed: Vec::new() };
    for read in join_all(batch.into_iter().map(|message| read_one(services, message))).await {
        match read {
            Read::Task(task) => intake.tasks.push(task),
            Read::Done => {}
            Read::Failed(message_id) => intake.failed.push(message_id),
        }
    }
    intake
}

async fn read_one(services: &Services, message: Incoming) -> Read {
    let understood = guarded(&message.message_id, || {
        let request_id = message.request_id.as_deref();
        tracing::debug!(message_id = message.message_id, request_id, receives = message.receive_count, "reading");
        match message.lane {
            Lane::Events => understand_event(&message).map(Content::Event),
            Lane::Retries => understand_retry(&message.body).map(Content::Known),
        }
    });
    let identified = match understood {
        Some(Ok(Content::Event(understood))) => identify(services, &message, understood).await,
        Some(Ok(Content::Known(work))) => Ok(Identified::Work(work)),
        Some(Err(reason)) => return dead_letter(services, &message.message_id, &message.body, &reason).await,
        None => return Read::Failed(message.message_id),
    };
    match identified {
        Ok(Identified::Work(work)) => Read::Task(Task {
            message_id: message.message_id,
            body: message.body,
            request_id: message.request_id,
            redelivered: message.receive_count > 1,
            work,
        }),
        Ok(Identified::Duplicate) => Read::Done,
        Ok(Identified::TooEarly) => Read::Failed(message.message_id),
        Err(error) => {
            tracing::error!(%error, message_id = message.message_id, "message could not be identified");
            Read::Failed(message.message_id)
        }
    }
}

async fn dead_letter(services: &Services, message_id: &str, body: &str, reason: &str) -> Read {
    match services.queues.send_dead_letter(body, reason).await {
        Ok(()) => {
            tracing::error!(message_id, reason, "message cannot be understood; it is in the dead-letter queue");
            Read::Done
        }
        Err(error) => {
            tracing::error!(message_id, reason, %error, "message cannot be understood and did not get to the dead-letter queue");
            Read::Failed(message_id.to_owned())
        }
    }
}

/// Makes a dead letter of a task that turned out to make no sense; whether that worked.
pub(super) async fn dead_letter_task(services: &Services, task: &Task, reason: &str) -> bool {
    matches!(dead_letter(services, &task.message_id, &task.body, reason).await, Read::Done)
}

/// What a message was understood as.
enum Content {
    /// An event that has no id yet.
    Event(Understood),
    /// What it asks for is all there.
    Known(Work),
}

struct Understood {
    scope: Scope,
    event: NewEvent,
    key: Option<String>,
}

fn understand_event(message: &Incoming) -> Result<Understood, String> {
    let (scope, mut event) = NewEvent::from_message(message.body.as_bytes()).map_err(|errors| errors.to_string())?;
    let key = event.idempotency_key.take();
    Ok(Understood { scope, event, key })
}

/// What a message turned out to be.
enum Identified {
    Work(Work),
    /// Another message stands for the same event, by its idempotency key.
    Duplicate,
    /// The API is about to send the same event; whether it does is known a little later.
    TooEarly,
}

/// Gives an event its id: the API's, that of its idempotency key, or one that is derived from the message.
async fn identify(services: &Services, message: &Incoming, understood: Understood) -> Result<Identified, AwsError> {
    let Understood { scope, event, key } = understood;
    let derived = EventId::derived_from_message(message.sent_at, &message.message_id);
    let mut id = message.event_id.unwrap_or(derived);
    // Sent back from the dead-letter queue, a message is a new one to SQS; its event is older than it.
    let sent_back = seconds_until(message.sent_at, id.created_at()) > SENT_BACK_AFTER_SECONDS;
    let mut check_existing = message.receive_count > 1 || message.resend || sent_back;
    if let (Some(key), None) = (key, message.event_id) {
        // The message itself is in the queue already. Its claim is derived from it, so that it knows its own when it comes again.
        let now = services.clock.now();
        let record = IdempotencyRecord::new(id, None, true, id.to_string(), now);
        if let Some(earlier) = services.store.claim_idempotency_key(scope, &key, &record, now).await? {
            let is_own = earlier.claim == record.claim;
            if earlier.queued && !is_own {
                return Ok(Identified::Duplicate);
            }
            if !earlier.queued && !is_own {
                // Whoever had claimed it has died, or could not send: then this message stands for the event, under its id.
                let is_over = earlier.claimed_until <= now;
                if !is_over || !services.store.take_over_claim(scope, &key, &earlier, &record.claim, now).await? {
                    return Ok(Identified::TooEarly);
                }
            }
            services.store.confirm_claim(scope, &key, &record.claim).await?;
            id = earlier.event_id;
            check_existing = true;
        }
    }
    // The id's own time, not the message's: an event that is sent twice under one id has one body.
    let event = Box::new(event.accepted(id, scope, id.created_at()));
    Ok(Identified::Work(Work::Event { event, check_existing }))
}

fn understand_retry(body: &str) -> Result<Work, String> {
    let message: RetryMessage = serde_json::from_str(body).map_err(|error| error.to_string())?;
    Ok(match message {
        RetryMessage::Wake { scope, endpoint_id, token } => Work::Wake { scope, endpoint_id, token },
        RetryMessage::FanOut { scope, event_id, first, last } => Work::FanOut { scope, event_id, first, last },
        RetryMessage::Replay { scope, replay_id } => Work::Replay { scope, replay_id },
    })
}
