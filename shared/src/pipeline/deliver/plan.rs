//! What a message of a new event means, given what is known: requests to make, deliveries that wait or end without one, parts to fan out. Pure.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::intake::{Task, Work};
use crate::directory::Endpoints;
use crate::domain::delivery::{Delivery, DeliveryStatus};
use crate::domain::endpoint::{Endpoint, EndpointStatus};
use crate::domain::event::Event;
use crate::domain::id::{EndpointId, EventId};
use crate::domain::matching::reaches;
use crate::domain::tenant::Scope;
use crate::queue::messages::RetryMessage;
use crate::store::deliveries::StoredDelivery;
use crate::store::flows::Flow;
use crate::store::items::StoredEvent;

/// An event that matches more endpoints than this is fanned out in parts, through the retries lane.
pub(super) const FAN_OUT_INLINE_MAX: usize = 25;
/// How many endpoints a part has.
pub(super) const FAN_OUT_PART: usize = 50;

/// What is known before the decisions: endpoints by scope, and the records of what may have been done already.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) endpoints: HashMap<Scope, Endpoints>,
    /// The flows that there are of the endpoints that the batch is about.
    pub(super) flows: HashMap<EndpointId, Flow>,
    pub(super) deliveries: HashMap<(EndpointId, EventId), StoredDelivery>,
    pub(super) events: HashMap<EventId, StoredEvent>,
}

impl Known {
    /// Adds what is known besides.
    pub(super) fn extend(&mut self, more: Self) {
        let Self { endpoints, flows, deliveries, events } = more;
        self.endpoints.extend(endpoints);
        self.flows.extend(flows);
        self.deliveries.extend(deliveries);
        self.events.extend(events);
    }
}

/// What is to be done for one message.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The event to be kept, with the endpoints it was matched to.
    pub(super) event: Option<(Arc<Event>, Vec<Arc<Endpoint>>)>,
    /// First attempts to make now.
    pub(super) attempts: Vec<FirstAttempt>,
    /// Deliveries that wait in their endpoint's backlog, unattempted.
    pub(super) deferred: Vec<FirstAttempt>,
    /// Deliveries that begin and end without a request.
    pub(super) skipped: Vec<(Arc<Endpoint>, Delivery)>,
    /// Parts to be sent once the event is kept.
    pub(super) fan_out: Vec<RetryMessage>,
    /// Deliveries on record whose consequences may not have been seen to, because the message comes again.
    pub(super) redone: Vec<(Arc<Endpoint>, Delivery)>,
    /// Why the message makes no sense after all.
    pub(super) dead_letter: Option<&'static str>,
}

/// The first attempt of a delivery.
#[derive(Clone, Debug)]
pub(super) struct FirstAttempt {
    pub(super) event: Arc<Event>,
    pub(super) endpoint: Arc<Endpoint>,
    /// The endpoint's flow, if it has one.
    pub(super) flow: Option<Flow>,
    /// The HTTP request that the event came with, for the log.
    pub(super) request_id: Option<String>,
}

/// What the messages of a batch have in hand. Two of them can stand for the same thing: a message that was sent or handed out twice. It is done and written once;
/// the later message shares the fate of the earlier.
#[derive(Debug, Default)]
pub(super) struct BatchDedup {
    events: HashMap<EventId, usize>,
    deliveries: HashMap<(EndpointId, EventId), usize>,
}

impl BatchDedup {
    /// Takes for `message` what no earlier one has, and leaves only that in its plan; the earlier ones that it duplicates.
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
        let mut duplicates_of = BTreeSet::new();
        let mut is_free = |name| match self.deliveries.entry(name) {
            Entry::Vacant(free) => {
                free.insert(message);
                true
            }
            Entry::Occupied(taken) => {
                duplicates_of.insert(*taken.get());
                false
            }
        };
        plan.attempts.retain(|first| is_free((first.endpoint.id, first.event.id)));
        plan.deferred.retain(|first| is_free((first.endpoint.id, first.event.id)));
        plan.skipped.retain(|(_, delivery)| is_free((delivery.endpoint_id, delivery.event_id)));
        duplicates_of
    }
}

/// The endpoints that a task is about, as far as `endpoints` knows them; of an event that is fanned out in parts none.
pub(super) fn endpoints_of(task: &Task, known: &Known, endpoints: Option<&Endpoints>) -> Vec<Arc<Endpoint>> {
    match &task.work {
        Work::Event { event, .. } => {
            let matched = matched(as_recorded(event, known), endpoints, |_| true);
            if matched.len() > FAN_OUT_INLINE_MAX { Vec::new() } else { matched }
        }
        Work::FanOut { event_id, first, last, .. } => match known.events.get(event_id) {
            Some(stored) => matched(&stored.event, endpoints, |id| (*first..=*last).contains(&id)),
            None => Vec::new(),
        },
        Work::Wake { .. } | Work::Replay { .. } => Vec::new(),
    }
}

/// The deliveries that a task could repeat, to be read before it is planned.
pub(super) fn may_be_on_record(task: &Task, known: &Known) -> Vec<(EndpointId, EventId)> {
    let event_id = match &task.work {
        Work::Event { event, check_existing: true } => event.id,
        Work::FanOut { event_id, .. } => *event_id,
        Work::Event { check_existing: false, .. } | Work::Wake { .. } | Work::Replay { .. } => return Vec::new(),
    };
    let endpoints = endpoints_of(task, known, known.endpoints.get(&task.work.scope()));
    endpoints.iter().map(|endpoint| (endpoint.id, event_id)).collect()
}

/// The event as the first message brought it: another message under the same id adds nothing to it.
fn as_recorded<'a>(event: &'a Event, known: &'a Known) -> &'a Event {
    known.events.get(&event.id).map_or(event, |stored| &stored.event)
}

/// Decides what a task means at `now`.
pub(super) fn plan(task: &Task, known: &Known, now: Timestamp) -> Plan {
    let Some(endpoints) = known.endpoints.get(&task.work.scope()) else {
        return Plan { dead_letter: Some("tenant_id: there is no such tenant"), ..Plan::default() };
    };
    match &task.work {
        Work::Event { event, .. } => plan_event(as_recorded(event, known), endpoints, known, task, now),
        Work::FanOut { event_id, .. } => {
            let mut plan = Plan::default();
            if let Some(stored) = known.events.get(event_id) {
                let part = endpoints_of(task, known, Some(endpoints));
                begin_deliveries(&mut plan, &Arc::new(stored.event.clone()), part, known, task, now);
            }
            plan
        }
        Work::Wake { .. } | Work::Replay { .. } => Plan::default(),
    }
}

fn plan_event(event: &Event, endpoints: &Endpoints, known: &Known, task: &Task, now: Timestamp) -> Plan {
    let event = Arc::new(event.clone());
    let matched = matched(&event, Some(endpoints), |_| true);
    if matched.len() <= FAN_OUT_INLINE_MAX {
        let mut plan = Plan { event: Some((Arc::clone(&event), matched.clone())), ..Plan::default() };
        begin_deliveries(&mut plan, &event, matched, known, task, now);
        return plan;
    }
    let parts = matched.chunks(FAN_OUT_PART).filter_map(|part| {
        let (first, last) = (part.first()?.id, part.last()?.id);
        Some(RetryMessage::FanOut { scope: event.scope, event_id: event.id, first, last })
    });
    Plan { fan_out: parts.collect(), event: Some((event, matched)), ..Plan::default() }
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
            let may_be_cut_off = matches!(stored.delivery.status, DeliveryStatus::Failed | DeliveryStatus::Pending);
            plan.redone.extend((task.redelivered && may_be_cut_off).then(|| (endpoint, stored.delivery.clone())));
            continue;
        }
        match endpoint.status {
            EndpointStatus::Active => {
                let flow = known.flows.get(&endpoint.id).cloned();
                let waits = flow.as_ref().is_some_and(|flow| flow.health.defers_new_events(now));
                let request_id = task.request_id.clone();
                let first = FirstAttempt { event: Arc::clone(event), endpoint, flow, request_id };
                if waits { plan.deferred.push(first) } else { plan.attempts.push(first) }
            }
            EndpointStatus::Paused | EndpointStatus::Disabled => {
                let skipped = Delivery::new(event, endpoint.id, now).ended(DeliveryStatus::Skipped, now);
                plan.skipped.push((endpoint, skipped));
            }
        }
    }
}

fn matched(event: &Event, endpoints: Option<&Endpoints>, among: impl Fn(EndpointId) -> bool) -> Vec<Arc<Endpoint>> {
    let all = endpoints.into_iter().flat_map(Endpoints::iter);
    all.filter(|endpoint| among(endpoint.id) && reaches(event, endpoint)).cloned().collect()
}

#[cfg(test)]
mod tests;
