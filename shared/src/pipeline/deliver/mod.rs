//! Delivering a batch of queue messages: the heart of Outhook.
//!
//! The cast, in the order in which a batch meets them:
//!
//! - [`Incoming`] is a message as a queue hands it over. [`intake`] reads it into a task: an event, the next attempt of a delivery, or a part of
//!   a large fan-out. What cannot be read goes to the dead-letter queue at once, with the reason.
//! - The directory says which endpoints the tenants have; one call for the whole batch.
//! - The records say what has been done already. They are read only where something can have been: retries, fan-outs, and messages that the queue
//!   hands over again. A first delivery of a new event reads none and writes nothing before its request.
//! - [`plan`] decides, purely: which endpoints get a request now, which deliveries end without one, which events are fanned out in parts.
//! - [`jobs`] makes the requests, side by side, each bounded in time. One that would hold up others is put off to the retries lane.
//! - [`turns`] keeps an endpoint that hangs from holding more than one batch anywhere.
//! - [`health`] notes which endpoints begin or cease to fail or to be slow, disables those that have failed for too long, and tells the tenant.
//! - The [`recorder`] writes what came of them, events and deliveries together, 25 items a call, and then sends the messages for what is to
//!   be tried again. A message is done when all it stands for is in the table; only what is not is handed back to the queue.

mod health;
mod intake;
mod jobs;
mod plan;
mod recorder;
mod turns;

use std::collections::{BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;

use jiff::Timestamp;

use crate::aws_error::AwsError;
use crate::domain::health::Health;
use crate::domain::id::{EndpointId, EventId};
use crate::domain::tenant::Scope;
use crate::pipeline::directory::Endpoints;
use crate::services::Services;
use crate::store::deliveries::StoredDelivery;
use crate::store::items::StoredEvent;

pub use intake::{Incoming, Lane};

use intake::{Intake, Task};

/// What is known before the decisions: endpoints by scope, and the records of what may have been done already.
pub(super) struct Known {
    endpoints: HashMap<Scope, Endpoints>,
    deliveries: HashMap<(EndpointId, EventId), StoredDelivery>,
    events: HashMap<EventId, StoredEvent>,
    /// How endpoints are doing, those that are not well.
    health: HashMap<EndpointId, Health>,
}

/// Delivers a batch and answers with the ids of the messages that the queue has to hand over again, because the pipeline itself failed.
///
/// A receiver's failure is on record and its message is done. Repeating a message is safe: what is on record is not done again.
pub async fn deliver(services: &Services, batch: Vec<Incoming>) -> Vec<String> {
    let Intake { tasks, mut failed } = intake::read(services, batch).await;
    let known = match load(services, &tasks).await {
        Ok(known) => known,
        Err(error) => {
            tracing::error!(%error, messages = tasks.len(), "nothing of the batch could be begun");
            failed.extend(tasks.into_iter().map(|task| task.message_id));
            return failed;
        }
    };
    failed.extend(recorder::carry_out(services, tasks, known).await);
    failed
}

async fn load(services: &Services, tasks: &[Task]) -> Result<Known, AwsError> {
    let scopes: BTreeSet<_> = tasks.iter().map(|task| task.work.scope()).collect();
    let stored_events: Vec<_> = tasks.iter().filter_map(|task| task.work.stored_event()).collect();
    let named_deliveries: Vec<_> = tasks.iter().filter_map(|task| task.work.named_delivery()).collect();
    // What an event or a fan-out may have on record is known only when the endpoints are.
    let (endpoints, events, mut deliveries) = futures::try_join!(
        services.directory.endpoints(&scopes),
        services.store.events(&stored_events),
        services.store.deliveries(&named_deliveries),
    )?;
    let known = Known { endpoints, deliveries: HashMap::new(), events, health: HashMap::new() };
    // A task that cannot be looked into here cannot be planned either, and fails there.
    let ask = |task: &Task| {
        let asked = || (plan::may_be_on_record(task, &known), plan::may_be_unwell(task, &known));
        guarded(&task.message_id, asked).unwrap_or_default()
    };
    let (names, unwell): (Vec<_>, Vec<_>) = tasks.iter().map(ask).unzip();
    let (names, unwell) = (names.concat(), unwell.concat());
    let (more, health) = futures::try_join!(services.store.deliveries(&names), services.store.health(&unwell))?;
    deliveries.extend(more);
    Ok(Known { deliveries, health, ..known })
}

/// Does one message's part of the work; `None` if that panicked, which must cost no other message of the batch anything.
fn guarded<T>(message_id: &str, work: impl FnOnce() -> T) -> Option<T> {
    let done = std::panic::catch_unwind(AssertUnwindSafe(work));
    done.inspect_err(|_| tracing::error!(message_id, "a message's work panicked; it goes back to the queue")).ok()
}

/// Until when what is made now is kept.
fn expires_at(services: &Services, event_id: EventId) -> Timestamp {
    crate::store::items::expires_at(event_id.created_at(), services.config.retention_days)
}
