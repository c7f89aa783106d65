//! Delivering again: one delivery, one event, or all of an endpoint's that match. What is to be delivered again is marked as due in its endpoint's backlog, by a
//! write that is conditional on where it stood, and a check is requested; the drain sends it.
//!
//! A bulk replay goes page by page. The page is written down before it is marked, and its position moves when it has been; so the instance that goes on after a crash
//! knows which deliveries it may find marked, and counts each once. All are due at the time of the replay, so they go out in order of their events.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{retention, wakes};
use crate::aws_error::AwsError;
use crate::domain::attempt::Trigger;
use crate::domain::delivery::{Delivery, DeliveryStatus};
use crate::domain::endpoint::{Endpoint, EndpointStatus};
use crate::domain::event::Event;
use crate::domain::event_type::EventType;
use crate::domain::id::{EndpointId, EventId, ReplayId};
use crate::domain::tenant::Scope;
use crate::queue::messages::RetryMessage;
use crate::services::Services;
use crate::store::Recorded;
use crate::store::deliveries::{StoredDelivery, insert_delivery, replay_delivery, update_delivery};
use crate::store::events::keep_event_until;
use crate::store::flows::Touch;
use crate::store::items::{StoredEvent, expires_at};
use crate::store::query::{Order, Window};
use crate::store::replays::{Replay, ReplayState};

/// How many deliveries a bulk replay takes up at once.
const PAGE_DELIVERIES_MAX: usize = 100;

/// How often a retry is asked for over what has happened to the delivery meanwhile.
const RETRY_TRIES_MAX: usize = 5;

/// Tries a delivery again now, whatever its state: one attempt beside its schedule, which goes on from there. Repeating is safe: where one is to be made
/// already, no other is.
///
/// # Errors
/// When AWS does not answer; repeating is safe.
pub async fn retry(services: &Services, endpoint: &Endpoint, stored: &StoredDelivery) -> Result<(), AwsError> {
    let now = services.clock.now();
    // Before, too: should this process die after the write, the sweeper's last check of the flow finds the delivery.
    wakes::wake_now(services, endpoint.scope, endpoint.id).await?;
    keep_events(services, endpoint, &[stored.delivery.event_id]).await?;
    let mut delivery = stored.delivery.clone();
    for _ in 0..RETRY_TRIES_MAX {
        let Some(retried) = delivery.clone().retried(now) else { break };
        let until = retention::waiting_until(&services.config, retried.event_id, endpoint, now);
        match services.store.record(&[update_delivery(&delivery, &retried, until)?]).await.pop() {
            Some(Recorded::Failed(error)) => return Err(error),
            Some(Recorded::Done) | None => break,
            Some(Recorded::Refused) => {}
        }
        // Somebody else's retry is as good, made or not; an attempt that had begun before is not.
        let found = services.store.delivery(endpoint.id, delivery.event_id, now).await?;
        let Some(found) = found.map(|found| found.delivery) else { break };
        if is_retried_since(&found, now) {
            break;
        }
        delivery = found;
    }
    wakes::wake_now(services, endpoint.scope, endpoint.id).await
}

/// Whether somebody's retry that was asked for at `asked_at` or later has been made.
fn is_retried_since(delivery: &Delivery, asked_at: Timestamp) -> bool {
    delivery.attempts.last().is_some_and(|last| last.is_manual() && last.at >= asked_at)
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
    let mut touches = Vec::new();
    for endpoint in &active {
        let until = retention::waiting_until(&services.config, event.id, endpoint, now);
        let before = on_record.get(&(endpoint.id, event.id)).map(|stored| &stored.delivery);
        writes.extend(match (before, delivered_again(before, event, endpoint.id, now)) {
            (_, None) => None,
            (Some(before), Some(again)) => Some(update_delivery(before, &again, until)?),
            (None, Some(new)) => Some(insert_delivery(&new, until)?),
        });
        touches.push(Touch { endpoint_id: endpoint.id, scope: endpoint.scope, at: now, health: None });
    }
    // Before, too: should this process die after the writes, the sweeper's last checks of the flows find the deliveries.
    wakes::wake(services, &touches).await?;
    for endpoint in &active {
        keep_events(services, endpoint, &[event.id]).await?;
    }
    written(services.store.record(&writes).await)?;
    wakes::wake(services, &touches).await?;
    Ok(touches.len())
}

/// An event's delivery to an endpoint as it is to be delivered again, where `before` is what is on record; `None` if it is on its way by itself.
fn delivered_again(
    before: Option<&Delivery>,
    event: &Event,
    endpoint_id: EndpointId,
    now: Timestamp,
) -> Option<Delivery> {
    match before {
        Some(before) if before.status == DeliveryStatus::Pending => None,
        Some(before) => Some(before.clone().replayed(now, now)),
        None => Some(Delivery { next_trigger: Trigger::Replay, ..Delivery::new(event, endpoint_id, now) }),
    }
}

/// Keeps events for as long as what is due again may wait, where they would expire before.
async fn keep_events(services: &Services, endpoint: &Endpoint, ids: &[EventId]) -> Result<(), AwsError> {
    let (config, now) = (&services.config, services.clock.now());
    let expire_early = ids.iter().filter_map(|id| {
        let until = retention::waiting_until(config, *id, endpoint, now);
        let kept = retention::event_kept(config, *id, std::iter::once(endpoint));
        (kept.until < until).then(|| keep_event_until(endpoint.scope, *id, until))
    });
    let writes: Vec<_> = expire_early.collect();
    written(services.store.record(&writes).await)
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
    pub event_types: Vec<EventType>,
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
        page: Vec::new(),
        page_end: None,
        queued: 0,
        version: 0,
        created_at: now,
        updated_at: now,
        expires_at: expires_at(now, services.config.retention_days),
    };
    services.store.create_replay(&replay).await?;
    if let Err(error) = go_on(services, &replay).await {
        tracing::warn!(%error, replay_id = %id, "a replay could not be queued; the sweeper will find it");
    }
    Ok(replay)
}

/// Sends the message by which a replay goes on.
pub(super) async fn go_on(services: &Services, replay: &Replay) -> Result<(), AwsError> {
    let message = RetryMessage::Replay { scope: replay.scope, replay_id: replay.id };
    services.queues.send_retries(&[(message, 0)]).await.into_iter().collect()
}

/// Goes on with a bulk replay, page by page, while there is time; then it sends itself the next message. Repeating is safe, also at the same time.
///
/// # Errors
/// When AWS does not answer; the message comes again.
pub async fn take_up(
    services: &Services,
    scope: Scope,
    id: ReplayId,
    has_time: impl Fn() -> bool,
) -> Result<(), AwsError> {
    let Some(mut replay) = services.store.replay(scope, id, services.clock.now()).await? else { return Ok(()) };
    while replay.state == ReplayState::Running {
        if !has_time() {
            return go_on(services, &replay).await;
        }
        match step(services, &replay).await? {
            Some(after) => replay = after,
            // Somebody else is at it.
            None => return Ok(()),
        }
    }
    Ok(())
}

/// Writes down the next page, or takes up the one that is written down. The replay after it; `None` if somebody else has got on with it.
async fn step(services: &Services, replay: &Replay) -> Result<Option<Replay>, AwsError> {
    let now = services.clock.now();
    let endpoint = services.store.endpoint(replay.scope, replay.endpoint_id).await?;
    let Some(endpoint) = endpoint.filter(|endpoint| endpoint.status == EndpointStatus::Active) else {
        // What it has marked already ends like all that waits for such an endpoint.
        wakes::wake_now(services, replay.scope, replay.endpoint_id).await?;
        let cancelled = Replay { state: ReplayState::Cancelled, ..replay.clone() };
        return services.store.advance_replay(replay, cancelled, now).await;
    };
    if replay.page.is_empty() {
        let noted = next_page(services, replay, now).await?;
        return services.store.advance_replay(replay, noted, now).await;
    }
    let taken_up = mark(services, replay, &endpoint, now).await?;
    let done = with_page_taken_up(replay, taken_up);
    // Asked for before the position moves: a crash in between asks once more.
    wakes::wake_now(services, replay.scope, replay.endpoint_id).await?;
    services.store.advance_replay(replay, done, now).await
}

/// The replay with its next page written down, or completed where nothing is left.
async fn next_page(services: &Services, replay: &Replay, now: Timestamp) -> Result<Replay, AwsError> {
    let window = Window {
        order: Order::OldestFirst,
        from: Some(replay.since),
        until: Some(replay.until),
        after: replay.position,
    };
    let event_types: BTreeSet<_> = replay.event_types.iter().collect();
    let keep = |stored: &StoredDelivery| is_matched(replay, &event_types, stored);
    let found = services
        .store
        .list_deliveries(replay.endpoint_id, &replay.statuses, window, PAGE_DELIVERIES_MAX, now, keep)
        .await?;
    let page = found.entries.iter().map(|stored| stored.delivery.event_id).collect();
    Ok(with_next_page(replay, page, found.next))
}

/// Whether a delivery in one of a replay's states is to be delivered again by it. A pending one is on its way by itself.
fn is_matched(replay: &Replay, event_types: &BTreeSet<&EventType>, stored: &StoredDelivery) -> bool {
    let is_wanted = event_types.is_empty() || event_types.contains(&stored.delivery.event_type);
    is_wanted && stored.delivery.status != DeliveryStatus::Pending && stored.replay_id != Some(replay.id)
}

/// The replay with this page written down, behind which it goes on from `page_end`, if there is more. Cut short with nothing found, it goes on behind what was examined.
fn with_next_page(replay: &Replay, page: Vec<EventId>, page_end: Option<EventId>) -> Replay {
    let position = if page.is_empty() { page_end } else { replay.position };
    let state = if page.is_empty() && page_end.is_none() { ReplayState::Completed } else { ReplayState::Running };
    Replay { page, page_end, position, state, ..replay.clone() }
}

/// The replay behind its page, of which it has taken up so many deliveries.
fn with_page_taken_up(replay: &Replay, taken_up: u64) -> Replay {
    Replay {
        position: replay.page_end,
        page: Vec::new(),
        page_end: None,
        queued: replay.queued + taken_up,
        state: if replay.page_end.is_some() { ReplayState::Running } else { ReplayState::Completed },
        ..replay.clone()
    }
}

/// Marks the deliveries of the page as due again, those that are not so already; how many this replay has taken up of them, now or before.
async fn mark(services: &Services, replay: &Replay, endpoint: &Endpoint, now: Timestamp) -> Result<u64, AwsError> {
    let names: Vec<_> = replay.page.iter().map(|id| (replay.endpoint_id, *id)).collect();
    let found = services.store.deliveries(&names).await?;
    let mut taken_up = 0;
    let mut writes = Vec::new();
    let mut marked = Vec::new();
    for stored in names.iter().filter_map(|name| found.get(name)) {
        match stands(replay, stored) {
            Stands::TakenUp => taken_up += 1,
            Stands::Ended => {
                let delivery = &stored.delivery;
                let again = delivery.clone().replayed(replay.created_at, now);
                let until = retention::waiting_until(&services.config, delivery.event_id, endpoint, now);
                writes.push(replay_delivery(delivery, &again, replay.id, until)?);
                marked.push(delivery.event_id);
            }
            Stands::Elsewhere => {}
        }
    }
    keep_events(services, endpoint, &marked).await?;
    let mut refused = Vec::new();
    for (recorded, event_id) in services.store.record(&writes).await.into_iter().zip(marked) {
        match recorded {
            Recorded::Done => taken_up += 1,
            Recorded::Refused => refused.push((replay.endpoint_id, event_id)),
            Recorded::Failed(error) => return Err(error),
        }
    }
    // Overtaken by somebody else, or its own, repeated by the AWS client because an answer got lost.
    let found = services.store.deliveries(&refused).await?;
    taken_up += found.values().filter(|stored| stored.replay_id == Some(replay.id)).count() as u64;
    Ok(taken_up)
}

/// Where a delivery of a page stands when the page is taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    /// This replay has taken it up before, whatever has become of it since.
    TakenUp,
    /// As it did when the page was written down.
    Ended,
    /// Somebody else has done something about it.
    Elsewhere,
}

fn stands(replay: &Replay, stored: &StoredDelivery) -> Stands {
    let status = stored.delivery.status;
    if stored.replay_id == Some(replay.id) {
        Stands::TakenUp
    } else if replay.statuses.contains(&status) && status != DeliveryStatus::Pending {
        Stands::Ended
    } else {
        Stands::Elsewhere
    }
}

/// A write that was refused has been overtaken, which is as good; one that failed has not been done.
fn written(results: Vec<Recorded>) -> Result<(), AwsError> {
    results.into_iter().try_for_each(|result| match result {
        Recorded::Failed(error) => Err(error),
        Recorded::Done | Recorded::Refused => Ok(()),
    })
}

#[cfg(test)]
mod tests;
