//! Reading messages: into tasks, or aside.

use futures::future::join_all;
use jiff::Timestamp;

use super::guarded;
use crate::aws_error::AwsError;
use crate::domain::attempt::Trigger;
use crate::domain::event::{Event, NewEvent};
use crate::domain::id::{EndpointId, EventId, ReplayId};
use crate::domain::retry::seconds_until;
use crate::domain::tenant::Scope;
use crate::queue::messages::RetryMessage;
use crate::services::Services;

/// A message that is so much younger than its event, in seconds, has been sent again; the API sends at once, or fails within its 29.
const SENT_BACK_AFTER_SECONDS: u32 = 30;

/// Which queue a message came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// New events.
    Events,
    /// Retries, replays, parts of large fan-outs, and what was put off.
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
    pub(super) lane: Lane,
    /// The queue has handed it out before: it may have been done in part.
    pub(super) again: bool,
    pub(super) work: Work,
}

/// What a message asks for.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// A new event; `look`: parts of it may be on record.
    Event { event: Box<Event>, look: bool },
    /// The next attempt of a delivery.
    Attempt {
        scope: Scope,
        endpoint_id: EndpointId,
        event_id: EventId,
        attempt: u32,
        trigger: Trigger,
        times_put_off: u32,
    },
    /// A part of a large fan-out.
    FanOut { scope: Scope, event_id: EventId, first: EndpointId, last: EndpointId },
    /// The next step of a bulk replay.
    Replay { scope: Scope, replay_id: ReplayId },
}

impl Work {
    pub(super) fn scope(&self) -> Scope {
        match self {
            Self::Event { event, .. } => event.scope,
            Self::Attempt { scope, .. } | Self::FanOut { scope, .. } | Self::Replay { scope, .. } => *scope,
        }
    }

    /// The event to be read: where the message does not bring it, and where another message may have brought it before.
    pub(super) fn stored_event(&self) -> Option<(Scope, EventId)> {
        match self {
            Self::Event { event, look: true } => Some((event.scope, event.id)),
            Self::Event { look: false, .. } | Self::Replay { .. } => None,
            Self::Attempt { scope, event_id, .. } | Self::FanOut { scope, event_id, .. } => Some((*scope, *event_id)),
        }
    }

    /// The delivery that the message names.
    pub(super) fn named_delivery(&self) -> Option<(EndpointId, EventId)> {
        match self {
            Self::Attempt { endpoint_id, event_id, .. } => Some((*endpoint_id, *event_id)),
            Self::Event { .. } | Self::FanOut { .. } | Self::Replay { .. } => None,
        }
    }
}

/// What came of a batch's messages.
pub(super) struct Intake {
    pub(super) tasks: Vec<Task>,
    /// Messages that could not even be put aside.
    pub(super) failed: Vec<String>,
}

enum Read {
    Task(Task),
    PutAside,
    Failed(String),
}

/// Reads every message; puts aside what cannot be understood, so that no message is retried into oblivion.
pub(super) async fn read(services: &Services, batch: Vec<Incoming>) -> Intake {
    let mut intake = Intake { tasks: Vec::with_capacity(batch.len()), failed: Vec::new() };
    for read in join_all(batch.into_iter().map(|message| read_one(services, message))).await {
        match read {
            Read::Task(task) => intake.tasks.push(task),
            Read::PutAside => {}
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
    let understood = match understood {
        Some(Ok(Content::Event(understood))) => identify(services, &message, understood).await.map(Ok),
        Some(Ok(Content::Known(work))) => Ok(Ok(work)),
        Some(Err(reason)) => Ok(Err(reason)),
        None => return Read::Failed(message.message_id),
    };
    match understood {
        Ok(Ok(work)) => Read::Task(Task {
            message_id: message.message_id,
            body: message.body,
            request_id: message.request_id,
            lane: message.lane,
            again: message.receive_count > 1,
            work,
        }),
        Ok(Err(reason)) => put_aside(services, &message.message_id, &message.body, &reason).await,
        Err(error) => {
            tracing::error!(%error, message_id = message.message_id, "message could not be identified");
            Read::Failed(message.message_id)
        }
    }
}

async fn put_aside(services: &Services, message_id: &str, body: &str, reason: &str) -> Read {
    match services.queues.send_dead_letter(body, reason).await {
        Ok(()) => {
            tracing::error!(message_id, reason, "message cannot be understood; it is in the dead-letter queue");
            Read::PutAside
        }
        Err(error) => {
            tracing::error!(message_id, reason, %error, "message cannot be understood and could not be put aside");
            Read::Failed(message_id.to_owned())
        }
    }
}

/// Puts aside a task that turned out to make no sense; whether that worked.
pub(super) async fn put_task_aside(services: &Services, task: &Task, reason: &str) -> bool {
    matches!(put_aside(services, &task.message_id, &task.body, reason).await, Read::PutAside)
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

/// Gives an event its id: the API's, that of its idempotency key, or one that is derived from the message.
async fn identify(services: &Services, message: &Incoming, understood: Understood) -> Result<Work, AwsError> {
    let Understood { scope, event, key } = understood;
    let mut id =
        message.event_id.unwrap_or_else(|| EventId::derived_from_message(message.sent_at, &message.message_id));
    // Sent back from the dead-letter queue, a message is a new one to SQS; its event is older than it.
    let sent_back = seconds_until(message.sent_at, id.created_at()) > SENT_BACK_AFTER_SECONDS;
    let mut look = message.receive_count > 1 || message.resend || sent_back;
    if let (Some(key), None) = (key, message.event_id) {
        let now = services.clock.now();
        if let Some(earlier) = services.store.claim_idempotency_key(scope, &key, id, None, true, now).await? {
            id = earlier.event_id;
            look = true;
        }
    }
    // The id's own time, not the message's: an event that is sent twice under one id has one body.
    Ok(Work::Event { event: Box::new(event.accepted(id, scope, id.created_at())), look })
}

fn understand_retry(body: &str) -> Result<Work, String> {
    let message: RetryMessage = serde_json::from_str(body).map_err(|error| error.to_string())?;
    Ok(match message {
        RetryMessage::Attempt { scope, endpoint_id, event_id, attempt, trigger, times_put_off } => {
            Work::Attempt { scope, endpoint_id, event_id, attempt, trigger, times_put_off }
        }
        RetryMessage::FanOut { scope, event_id, first, last } => Work::FanOut { scope, event_id, first, last },
        RetryMessage::Replay { scope, replay_id } => Work::Replay { scope, replay_id },
    })
}
