//! What the messages of a group mean, given what is known: requests to make, deliveries that wait or end without one, parts to fan out, backlogs to drain. Pure.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::guarded;
use super::intake::{Task, Work};
use super::ledger::{Ledger, MessageRef};
use crate::directory::Endpoints;
use crate::domain::delivery::{Delivery, DeliveryStatus};
use crate::domain::endpoint::{Endpoint, EndpointStatus};
use crate::domain::event::Event;
use crate::domain::id::{EndpointId, EventId, ReplayId};
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
    /// Deliveries on record whose consequences may not have been handled, because the message comes again.
    pub(super) redone: Vec<(Arc<Endpoint>, Delivery)>,
    /// The bulk replay to go on with.
    pub(super) replay: Option<(Scope, ReplayId)>,
    /// Whether some of the endpoints that it may be for cannot be read. The others get theirs now; what comes again is for those.
    pub(super) lacks_endpoints: bool,
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
struct BatchDedup {
    events: HashMap<EventId, MessageRef>,
    deliveries: HashMap<(EndpointId, EventId), MessageRef>,
}

impl BatchDedup {
    /// Takes for `message` what no earlier one has, and leaves only that in its plan; the earlier ones that it duplicates.
    fn take(&mut self, message: MessageRef, plan: &mut Plan) -> BTreeSet<MessageRef> {
        if let Some((event, _)) = &plan.event {
            match self.events.entry(event.id) {
                Entry::Vacant(free) => {
                    free.insert(message);
                }
                Entry::Occupied(taken) => {
                    *plan = Plan { lacks_endpoints: plan.lacks_endpoints, ..Plan::default() };
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

/// Decides what the messages of a group mean at `now`, each piece of work once; notes in the ledger those that cannot be planned, that come again for what cannot
/// be read, and that are done by others. What has failed already is not planned.
pub(super) fn plan_all(ledger: &mut Ledger, known: &Known, now: Timestamp) -> Vec<(MessageRef, Plan)> {
    let open = ledger.tasks().filter(|(message, _)| !ledger.has_failed(*message));
    let planned = open.map(|(message, task)| {
        let plan = guarded(&task.message_id, || {
            tracing::debug!(message_id = task.message_id, request_id = task.request_id, "planning");
            plan(task, known, now)
        });
        (message, plan)
    });
    let planned: Vec<_> = planned.collect();
    let mut dedup = BatchDedup::default();
    let mut plans = Vec::with_capacity(planned.len());
    for (message, plan) in planned {
        let Some(mut plan) = plan else {
            ledger.fail(message);
            continue;
        };
        for earlier in dedup.take(message, &mut plan) {
            ledger.duplicate(message, earlier);
        }
        if plan.lacks_endpoints {
            ledger.fail(message);
        }
        plans.push((message, plan));
    }
    plans
}

/// A check of a backlog by a wake that is valid.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) message: MessageRef,
    pub(super) flow: Flow,
    /// The wake's token.
    pub(super) token: String,
}

/// The backlogs to be drained at `now`: those of which a valid wake has come, and that nobody has; each once.
pub(super) fn looks(ledger: &Ledger, known: &Known, now: Timestamp) -> Vec<Look> {
    let mut taken = BTreeSet::new();
    let looks = ledger.tasks().filter_map(|(message, task)| {
        let Work::Wake { endpoint_id, token, .. } = &task.work else { return None };
        let flow = known.flows.get(endpoint_id)?;
        let is_valid = flow.token.as_ref() == Some(token) && !flow.is_leased(now);
        (is_valid && taken.insert(*endpoint_id)).then(|| Look { message, flow: flow.clone(), token: token.clone() })
    });
    looks.collect()
}

/// Decides what a task means at `now`.
fn plan(task: &Task, known: &Known, now: Timestamp) -> Plan {
    let Some(endpoints) = known.endpoints.get(&task.work.scope()) else {
        return Plan { dead_letter: Some("tenant_id: there is no such tenant"), ..Plan::default() };
    };
    let lacks_endpoints = endpoints.lacks_some();
    match &task.work {
        Work::Event { event, .. } => {
            let plan = plan_event(as_recorded(event, known), endpoints, known, task, now);
            Plan { lacks_endpoints, ..plan }
        }
        Work::FanOut { event_id, .. } => {
            let mut plan = Plan { lacks_endpoints, ..Plan::default() };
            if let Some(stored) = known.events.get(event_id) {
                let part = endpoints_of(task, known, Some(endpoints));
                begin_deliveries(&mut plan, &Arc::new(stored.event.clone()), part, known, task, now);
            }
            plan
        }
        Work::Wake { .. } => Plan::default(),
        Work::Replay { scope, replay_id } => Plan { replay: Some((*scope, *replay_id)), ..Plan::default() },
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
