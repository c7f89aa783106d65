//! What a task means, given what is known: requests to make, deliveries that end without one, parts to fan out. Pure.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::Known;
use super::intake::{Lane, Task, Work};
use crate::domain::attempt::Trigger;
use crate::domain::delivery::{Delivery, DeliveryStatus};
use crate::domain::endpoint::{Endpoint, EndpointStatus};
use crate::domain::event::Event;
use crate::domain::health::Health;
use crate::domain::id::{EndpointId, EventId, ReplayId};
use crate::domain::matching::reaches;
use crate::domain::payload::PayloadField;
use crate::domain::tenant::Scope;
use crate::pipeline::directory::Endpoints;
use crate::pipeline::replay::Step;
use crate::queue::messages::RetryMessage;

/// An event that matches more endpoints than this is fanned out in parts, through the retries lane.
pub(super) const FAN_OUT_INLINE_MAX: usize = 25;
/// How many endpoints a part has.
pub(super) const FAN_OUT_PART: usize = 50;
/// What the message of a new event stands for at each of its endpoints.
const FIRST_ATTEMPT: u32 = 1;

/// What is to be done for one message.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The event to be kept, with the endpoints it was matched to.
    pub(super) event: Option<(Arc<Event>, Vec<EndpointId>)>,
    /// Requests to make now.
    pub(super) jobs: Vec<Job>,
    /// Requests to be made through the retries lane, because their endpoints are failing.
    pub(super) put_off: Vec<Job>,
    /// Deliveries that begin and end without a request.
    pub(super) ended: Vec<Delivery>,
    /// Deliveries on record that end without a further request: before and after.
    pub(super) cancelled: Vec<(Delivery, Delivery)>,
    /// Parts to be sent once the event is kept.
    pub(super) fan_out: Vec<RetryMessage>,
    /// Deliveries on record as failed whose consequences are to be seen to again.
    pub(super) seen_to_again: Vec<Ended>,
    /// A bulk replay to get on with.
    pub(super) replay: Option<(Scope, ReplayId)>,
    /// Why the message makes no sense after all.
    pub(super) aside: Option<&'static str>,
}

/// One request to make.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) event: Arc<Event>,
    pub(super) endpoint: Arc<Endpoint>,
    /// The delivery on record; `None` for a first attempt that is not on record yet.
    pub(super) before: Option<Delivery>,
    pub(super) trigger: Trigger,
    pub(super) lane: Lane,
    /// How often it was put off for want of a place at its endpoint.
    pub(super) times_put_off: u32,
    /// How the endpoint was doing when the batch began.
    pub(super) health: Health,
    /// The HTTP request that the event came with, for the log.
    pub(super) request_id: Option<String>,
}

impl Job {
    /// What the body is made of.
    pub(super) fn payload_fields(&self) -> &[PayloadField] {
        let as_begun = self.before.as_ref().map(|before| before.payload_fields(&self.endpoint));
        as_begun.unwrap_or(&self.endpoint.settings.payload_fields)
    }
}

/// A delivery that an earlier receipt of the message ended as failed; what was to follow from that may not have been done.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) delivery: Delivery,
    pub(super) endpoint: Arc<Endpoint>,
}

/// What the messages of a batch have in hand. Two of them can stand for the same thing: a message that was sent or handed out twice, an
/// idempotency key used twice, a retry that was taken for lost. It is done and written once; the later message shares the fate of the earlier.
#[derive(Debug, Default)]
pub(super) struct InHand {
    events: HashMap<EventId, usize>,
    deliveries: HashMap<(EndpointId, EventId), usize>,
}

impl InHand {
    /// Takes for `message` what no earlier one has, and leaves only that in its plan; the earlier ones that have the rest.
    pub(super) fn take(&mut self, message: usize, plan: &mut Plan) -> BTreeSet<usize> {
        if let Some((event, _)) = &plan.event {
            match self.events.entry(event.id) {
                Entry::Vacant(free) => {
                    free.insert(message);
                }
                Entry::Occupied(taken) => {
                    *plan = Plan::default();
                    return BTreeSet::from([*taken.get()]);
                }
            }
        }
        let mut earlier = BTreeSet::new();
        let mut is_free = |name| match self.deliveries.entry(name) {
            Entry::Vacant(free) => {
                free.insert(message);
                true
            }
            Entry::Occupied(taken) => {
                earlier.insert(*taken.get());
                false
            }
        };
        plan.jobs.retain(|job| is_free((job.endpoint.id, job.event.id)));
        plan.ended.retain(|delivery| is_free((delivery.endpoint_id, delivery.event_id)));
        plan.cancelled.retain(|(delivery, _)| is_free((delivery.endpoint_id, delivery.event_id)));
        earlier
    }
}

/// The deliveries that a task could repeat, to be read before it is planned.
pub(super) fn may_be_on_record(task: &Task, known: &Known) -> Vec<(EndpointId, EventId)> {
    match &task.work {
        Work::Event { event, look: true } => {
            let event = as_recorded(event, known);
            let matched = matched(event, known.endpoints.get(&event.scope), |_| true);
            if matched.len() > FAN_OUT_INLINE_MAX { Vec::new() } else { names(&matched, event.id) }
        }
        Work::FanOut { scope, event_id, first, last } => match known.events.get(event_id) {
            Some(stored) => {
                let part = matched(&stored.event, known.endpoints.get(scope), |id| (*first..=*last).contains(&id));
                names(&part, *event_id)
            }
            None => Vec::new(),
        },
        Work::Event { look: false, .. } | Work::Attempt { .. } | Work::Replay { .. } => Vec::new(),
    }
}

/// The endpoints that a task is about, where any of their tenant's is not well.
pub(super) fn may_be_unwell(task: &Task, known: &Known) -> Vec<(Scope, EndpointId)> {
    let scope = task.work.scope();
    let Some(endpoints) = known.endpoints.get(&scope).filter(|endpoints| endpoints.any_unwell) else {
        return Vec::new();
    };
    let ids = match &task.work {
        Work::Event { event, .. } => {
            let matched = matched(as_recorded(event, known), Some(endpoints), |_| true);
            matched.iter().map(|endpoint| endpoint.id).collect()
        }
        Work::FanOut { event_id, first, last, .. } => known.events.get(event_id).map_or_else(Vec::new, |stored| {
            let part = matched(&stored.event, Some(endpoints), |id| (*first..=*last).contains(&id));
            part.iter().map(|endpoint| endpoint.id).collect()
        }),
        Work::Attempt { endpoint_id, .. } => vec![*endpoint_id],
        Work::Replay { .. } => Vec::new(),
    };
    ids.into_iter().map(|id| (scope, id)).collect()
}

/// The event as the first message brought it: another message under the same id adds nothing to it.
fn as_recorded<'a>(event: &'a Event, known: &'a Known) -> &'a Event {
    known.events.get(&event.id).map_or(event, |stored| &stored.event)
}

/// Decides what a task means at `now`.
pub(super) fn plan(task: &Task, known: &Known, now: Timestamp) -> Plan {
    let scope = task.work.scope();
    let Some(endpoints) = known.endpoints.get(&scope) else {
        return Plan { aside: Some("tenant_id: there is no such tenant"), ..Plan::default() };
    };
    match &task.work {
        Work::Event { event, .. } => plan_event(as_recorded(event, known), endpoints, known, task, now),
        Work::FanOut { event_id, first, last, .. } => {
            let Some(stored) = known.events.get(event_id) else { return Plan::default() };
            let event = Arc::new(stored.event.clone());
            let part = matched(&event, Some(endpoints), |id| (*first..=*last).contains(&id));
            let mut plan = Plan::default();
            begin_deliveries(&mut plan, &event, part, known, task, now);
            plan
        }
        Work::Replay { scope, replay_id } => Plan { replay: Some((*scope, *replay_id)), ..Plan::default() },
        Work::Attempt { .. } => plan_attempt(task, endpoints, known, now),
    }
}

fn plan_event(event: &Event, endpoints: &Endpoints, known: &Known, task: &Task, now: Timestamp) -> Plan {
    let event = Arc::new(event.clone());
    let matched = matched(&event, Some(endpoints), |_| true);
    if matched.len() <= FAN_OUT_INLINE_MAX {
        let delivered_to = matched.iter().map(|endpoint| endpoint.id).collect();
        let mut plan = Plan { event: Some((Arc::clone(&event), delivered_to)), ..Plan::default() };
        begin_deliveries(&mut plan, &event, matched, known, task, now);
        return plan;
    }
    let parts = matched.chunks(FAN_OUT_PART).filter_map(|part| {
        let (first, last) = (part.first()?.id, part.last()?.id);
        Some(RetryMessage::FanOut { scope: event.scope, event_id: event.id, first, last })
    });
    Plan { fan_out: parts.collect(), event: Some((event, Vec::new())), ..Plan::default() }
}

/// First deliveries to these endpoints, but for those on record.
fn begin_deliveries(
    plan: &mut Plan,
    event: &Arc<Event>,
    matched: Vec<Arc<Endpoint>>,
    known: &Known,
    task: &Task,
    now: Timestamp,
) {
    for endpoint in matched {
        if let Some(stored) = known.deliveries.get(&(endpoint.id, event.id)) {
            plan.seen_to_again.extend(ended_by(&stored.delivery, FIRST_ATTEMPT, task, &endpoint));
            continue;
        }
        match endpoint.status {
            EndpointStatus::Active => {
                let health = known.health.get(&endpoint.id).copied().unwrap_or_default();
                let job = Job {
                    event: Arc::clone(event),
                    endpoint,
                    before: None,
                    trigger: Trigger::Automatic,
                    lane: task.lane,
                    times_put_off: 0,
                    health,
                    request_id: task.request_id.clone(),
                };
                let elsewhere = task.lane == Lane::Events && health.leaves_events_lane(now);
                if elsewhere { plan.put_off.push(job) } else { plan.jobs.push(job) }
            }
            EndpointStatus::Paused | EndpointStatus::Disabled => {
                plan.ended.push(Delivery::new(event, endpoint.id, now).ended(DeliveryStatus::Skipped, now));
            }
        }
    }
}

fn plan_attempt(task: &Task, endpoints: &Endpoints, known: &Known, now: Timestamp) -> Plan {
    let Work::Attempt { endpoint_id, event_id, attempt, trigger, times_put_off, .. } = task.work else {
        return Plan::default();
    };
    let mut plan = Plan::default();
    // Without its record or its event (expired, or not yet written after a crash) there is nothing to do; the sweeper looks again at what is due.
    let (Some(stored), Some(event)) = (known.deliveries.get(&(endpoint_id, event_id)), known.events.get(&event_id))
    else {
        return plan;
    };
    let delivery = &stored.delivery;
    if delivery.status != DeliveryStatus::Pending || delivery.attempt_count + 1 != attempt {
        // Stale: this attempt has its result.
        let endpoint = endpoints.get(endpoint_id);
        plan.seen_to_again.extend(endpoint.and_then(|endpoint| ended_by(delivery, attempt, task, endpoint)));
        return plan;
    }
    match endpoints.get(endpoint_id) {
        Some(endpoint) if endpoint.status == EndpointStatus::Active => plan.jobs.push(Job {
            event: Arc::new(event.event.clone()),
            endpoint: Arc::clone(endpoint),
            before: Some(delivery.clone()),
            trigger,
            lane: Lane::Retries,
            times_put_off,
            health: known.health.get(&endpoint_id).copied().unwrap_or_default(),
            request_id: None,
        }),
        _ => plan.cancelled.push((delivery.clone(), delivery.clone().ended(DeliveryStatus::Cancelled, now))),
    }
    plan
}

/// The requests of a step of a bulk replay.
pub(super) fn replayed(step: &Step) -> impl Iterator<Item = Job> {
    step.due.iter().map(|(event, delivery)| Job {
        event: Arc::clone(event),
        endpoint: Arc::clone(&step.endpoint),
        before: Some(delivery.clone()),
        trigger: Trigger::Replay,
        lane: Lane::Retries,
        times_put_off: 0,
        health: step.health,
        request_id: None,
    })
}

/// A delivery that this attempt ended as failed, if the message was handed out before: it may have been cut off after the record.
fn ended_by(delivery: &Delivery, attempt: u32, task: &Task, endpoint: &Arc<Endpoint>) -> Option<Ended> {
    let is_ended = delivery.status == DeliveryStatus::Failed && delivery.attempt_count == attempt;
    (task.again && is_ended).then(|| Ended { delivery: delivery.clone(), endpoint: Arc::clone(endpoint) })
}

fn matched(event: &Event, endpoints: Option<&Endpoints>, among: impl Fn(EndpointId) -> bool) -> Vec<Arc<Endpoint>> {
    let all = endpoints.into_iter().flat_map(Endpoints::iter);
    all.filter(|endpoint| among(endpoint.id) && reaches(event, endpoint)).cloned().collect()
}

fn names(endpoints: &[Arc<Endpoint>], event_id: EventId) -> Vec<(EndpointId, EventId)> {
    endpoints.iter().map(|endpoint| (endpoint.id, event_id)).collect()
}
