//! Delivering again: one delivery, one event, or all of an endpoint's that match.
//!
//! A delivery that had ended becomes pending again by a conditional write, and only then a message for its next attempt is sent; a crash between
//! the two is healed by the sweeper. A bulk replay goes in steps, each a message on the retries lane: a step takes up what matches, oldest first,
//! and then moves the replay's position; a step that is repeated knows what the replay has taken up already.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use crate::aws_error::AwsError;
use crate::domain::attempt::Trigger;
use crate::domain::delivery::{Delivery, DeliveryStatus};
use crate::domain::endpoint::{Endpoint, EndpointStatus};
use crate::domain::event::Event;
use crate::domain::health::Health;
use crate::domain::id::{EndpointId, ReplayId};
use crate::domain::tenant::Scope;
use crate::domain::time::plus_seconds;
use crate::queue::messages::RetryMessage;
use crate::services::Services;
use crate::store::deliveries::{StoredDelivery, insert_delivery, replay_delivery, update_delivery};
use crate::store::items::{StoredEvent, expires_at};
use crate::store::replays::{Replay, ReplayState};
use crate::store::scan::{Order, Window};
use crate::store::{Recorded, Write, cursor};

/// How many deliveries one step of a bulk replay takes up.
const STEP_DELIVERIES_MAX: usize = 100;
/// How long after a new replay's message the sweeper takes it for lost, in seconds.
const FIRST_LOOK_SECONDS: i64 = 120;

/// Tries a delivery again now, whatever its state. A pending one is tried ahead of its time; its schedule goes on from there.
///
/// # Errors
/// When AWS does not answer; repeating is safe.
pub async fn retry(services: &Services, stored: &StoredDelivery) -> Result<(), AwsError> {
    let now = services.clock.now();
    let delivery = &stored.delivery;
    if delivery.status != DeliveryStatus::Pending {
        let reopened = delivery.clone().reopened(Trigger::Manual, now);
        // Refused: somebody else has just tried it, which is as good.
        written(services.store.record(&[update_delivery(delivery, &reopened, now)?]).await)?;
    }
    queue(services, &[RetryMessage::next_attempt(delivery, Trigger::Manual)]).await
}

/// Delivers an event again to these of its endpoints; how many deliveries were begun.
///
/// # Errors
/// When AWS does not answer; repeating may deliver once more.
pub async fn replay_event(services: &Services, stored: &StoredEvent, to: &[Endpoint]) -> Result<usize, AwsError> {
    let now = services.clock.now();
    let event = &stored.event;
    let active: Vec<_> = to.iter().filter(|endpoint| endpoint.status == EndpointStatus::Active).collect();
    let names: Vec<_> = active.iter().map(|endpoint| (endpoint.id, event.id)).collect();
    let on_record = services.store.deliveries(&names).await?;
    let mut writes = Vec::new();
    let mut messages = Vec::new();
    for endpoint in active {
        let (write, delivery) = match on_record.get(&(endpoint.id, event.id)) {
            Some(stored) if stored.delivery.status == DeliveryStatus::Pending => (None, stored.delivery.clone()),
            Some(stored) => {
                let reopened = stored.delivery.clone().reopened(Trigger::Replay, now);
                (Some(update_delivery(&stored.delivery, &reopened, now)?), reopened)
            }
            None => new_delivery(services, event, endpoint.id, now)?,
        };
        writes.extend(write);
        messages.push(RetryMessage::next_attempt(&delivery, Trigger::Replay));
    }
    written(services.store.record(&writes).await)?;
    queue(services, &messages).await?;
    Ok(messages.len())
}

/// What a bulk replay is to deliver again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayRequest {
    /// Deliveries of events made at this time or later.
    pub since: Timestamp,
    /// Deliveries of events made before this time.
    pub until: Timestamp,
    /// Deliveries in one of these states.
    pub statuses: Vec<DeliveryStatus>,
    /// Deliveries of these event types; all, if there are none.
    pub event_types: Vec<crate::domain::event_type::EventType>,
}

/// Begins a bulk replay.
///
/// # Errors
/// When AWS does not answer; repeating begins another.
pub async fn start(
    services: &Services,
    scope: Scope,
    endpoint_id: EndpointId,
    id: ReplayId,
    request: ReplayRequest,
) -> Result<Replay, AwsError> {
    let now = services.clock.now();
    let replay = Replay {
        id,
        scope,
        endpoint_id,
        since: request.since,
        until: request.until,
        statuses: request.statuses,
        event_types: request.event_types,
        state: ReplayState::Running,
        position: None,
        queued: 0,
        created_at: now,
        updated_at: now,
        expires_at: expires_at(now, services.config.retention_days),
    };
    services.store.create_replay(&replay, plus_seconds(now, FIRST_LOOK_SECONDS)).await?;
    if let Err(error) = queue(services, &[RetryMessage::Replay { scope, replay_id: id }]).await {
        tracing::warn!(%error, replay_id = %id, "a replay could not be queued; the sweeper will find it");
    }
    Ok(replay)
}

/// A step of a bulk replay that has begun: what it is to deliver, and how the replay stands before and after it.
#[derive(Debug)]
pub struct Step {
    before: Replay,
    after: Replay,
    /// To whom.
    pub endpoint: Arc<Endpoint>,
    /// How the endpoint is doing.
    pub health: Health,
    /// The deliveries that are due again, the oldest first.
    pub due: Vec<(Arc<Event>, Delivery)>,
}

/// Begins the next step of a bulk replay: the deliveries that are its turn are marked and due again; `None` when there is nothing to be done.
///
/// # Errors
/// When AWS does not answer; the same step is made again.
pub async fn begin_step(services: &Services, scope: Scope, id: ReplayId) -> Result<Option<Step>, AwsError> {
    let now = services.clock.now();
    let Some(before) = services.store.replay(scope, id, now).await? else { return Ok(None) };
    if before.state != ReplayState::Running {
        return Ok(None);
    }
    let endpoint = services.store.endpoint(scope, before.endpoint_id).await?;
    let mut after = Replay { updated_at: now, ..before.clone() };
    let Some(endpoint) = endpoint.filter(|endpoint| endpoint.status == EndpointStatus::Active) else {
        after.state = ReplayState::Cancelled;
        services.store.advance_replay(&before, &after, now).await?;
        return Ok(None);
    };
    let window = Window {
        order: Order::OldestFirst,
        from: Some(before.since),
        until: Some(before.until),
        after: before.position,
    };
    let event_types: BTreeSet<_> = before.event_types.iter().collect();
    let keep = |stored: &StoredDelivery| event_types.is_empty() || event_types.contains(&stored.delivery.event_type);
    let page = services
        .store
        .list_deliveries(before.endpoint_id, &before.statuses, window, STEP_DELIVERIES_MAX, now, keep)
        .await?;
    let mut writes = Vec::new();
    let mut marked = Vec::new();
    for StoredDelivery { delivery, replay_id, .. } in &page.entries {
        // A pending delivery is on its way by itself.
        if *replay_id != Some(id) && delivery.status != DeliveryStatus::Pending {
            let reopened = delivery.clone().reopened(Trigger::Replay, now);
            writes.push(replay_delivery(delivery, &reopened, id, now)?);
            marked.push(reopened);
        }
    }
    let results = services.store.record(&writes).await;
    // What was overtaken is somebody else's.
    let is_done: Vec<_> = results.iter().map(|result| matches!(result, Recorded::Done)).collect();
    written(results)?;
    let marked: Vec<_> = marked.into_iter().zip(is_done).filter_map(|(one, done)| done.then_some(one)).collect();
    let names: Vec<_> = marked.iter().map(|delivery| (scope, delivery.event_id)).collect();
    let to = [(scope, endpoint.id)];
    let (mut events, mut health) = futures::try_join!(services.store.events(&names), services.store.health(&to))?;
    let due = marked.into_iter().filter_map(|delivery| {
        let event = events.remove(&delivery.event_id)?.event;
        Some((Arc::new(event), delivery))
    });
    after.queued += page.entries.len() as u64;
    after.position = page.next_cursor.as_deref().and_then(|cursor| cursor::decode(cursor).ok());
    after.state = if after.position.is_some() { ReplayState::Running } else { ReplayState::Completed };
    let health = health.remove(&endpoint.id).unwrap_or_default();
    Ok(Some(Step { before, after, due: due.collect(), endpoint: Arc::new(endpoint), health }))
}

/// Ends a step whose deliveries have been attempted or put off, and queues the next one: so they arrive in order of time, step by step.
///
/// # Errors
/// When AWS does not answer; the step is made again and finds its deliveries marked, and those that were not attempted are the sweeper's.
pub async fn end_step(services: &Services, step: Step) -> Result<(), AwsError> {
    let Step { before, after, .. } = step;
    let now = services.clock.now();
    let advanced = services.store.advance_replay(&before, &after, now).await?;
    if advanced && after.state == ReplayState::Running {
        queue(services, &[RetryMessage::Replay { scope: after.scope, replay_id: after.id }]).await?;
    }
    Ok(())
}

fn new_delivery(
    services: &Services,
    event: &Event,
    endpoint_id: EndpointId,
    now: Timestamp,
) -> Result<(Option<Write>, Delivery), AwsError> {
    let delivery = Delivery::new(event, endpoint_id, now);
    let until = expires_at(event.id.created_at(), services.config.retention_days);
    Ok((Some(insert_delivery(&delivery, now, until)?), delivery))
}

/// A write that was refused has been overtaken, which is as good; one that failed has not been done.
fn written(results: Vec<Recorded>) -> Result<(), AwsError> {
    results.into_iter().try_for_each(|result| match result {
        Recorded::Failed(error) => Err(error),
        Recorded::Done | Recorded::Refused => Ok(()),
    })
}

async fn queue(services: &Services, messages: &[RetryMessage]) -> Result<(), AwsError> {
    let now: Vec<_> = messages.iter().map(|message| (message.clone(), 0)).collect();
    services.queues.send_retries(&now).await.into_iter().collect()
}
