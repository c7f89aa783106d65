//! What messages mean, as tables of cases.

use super::*;
use crate::domain::event::NewEvent;
use crate::domain::health::Health;
use crate::domain::time::plus_seconds;
use crate::store::items::expires_at;

const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

fn scope() -> Scope {
    Endpoint::sample(0).scope
}

fn event(n: u8) -> Event {
    let event = NewEvent::from_body(br#"{"type":"case.created","data":{}}"#).unwrap();
    event.accepted(EventId::from_parts(NOW, [n; 10]), scope(), NOW)
}

fn task(work: Work, redelivered: bool) -> Task {
    Task { message_id: "m".to_owned(), body: String::new(), request_id: None, redelivered, work }
}

fn arrives(n: u8, check_existing: bool) -> Task {
    task(Work::Event { event: Box::new(event(n)), check_existing }, check_existing)
}

fn known(endpoints: impl IntoIterator<Item = Endpoint>) -> Known {
    let endpoints = HashMap::from([(scope(), endpoints.into_iter().collect())]);
    Known { endpoints, ..Known::default() }
}

fn flow(endpoint: &Endpoint, health: Health) -> (EndpointId, Flow) {
    let flow = Flow {
        endpoint_id: endpoint.id,
        scope: scope(),
        health,
        next_at: None,
        sweep_at: None,
        touched_at: None,
        token: None,
        lease: None,
        lease_until: None,
        wakes_lost: 0,
    };
    (endpoint.id, flow)
}

fn on_record(endpoint: &Endpoint, n: u8, status: DeliveryStatus) -> ((EndpointId, EventId), StoredDelivery) {
    let delivery = Delivery { status, ..Delivery::new(&event(n), endpoint.id, NOW) };
    ((endpoint.id, event(n).id), StoredDelivery { delivery, replay_id: None, expires_at: NOW })
}

/// The endpoints of first attempts, of deliveries that wait, and of those that are skipped.
fn outline(plan: &Plan) -> (Vec<EndpointId>, Vec<EndpointId>, Vec<EndpointId>) {
    let of = |all: &[FirstAttempt]| all.iter().map(|first| first.endpoint.id).collect();
    let skipped = plan.skipped.iter().map(|(_, delivery)| delivery.endpoint_id);
    (of(&plan.attempts), of(&plan.deferred), skipped.collect())
}

#[test]
fn healthy_endpoints_are_sent_to_unhealthy_ones_wait_and_inactive_ones_are_skipped() {
    let [well, failing, slow, paused, disabled, failed_just_now] = [0, 1, 2, 3, 4, 5].map(Endpoint::sample);
    let paused = Endpoint { status: EndpointStatus::Paused, ..paused };
    let disabled = Endpoint { status: EndpointStatus::Disabled, ..disabled };
    let since = |seconds| Health { failing_since: Some(plus_seconds(NOW, seconds)), ..Health::default() };
    let all = [&well, &failing, &slow, &paused, &disabled, &failed_just_now];
    let known = Known {
        flows: HashMap::from([
            flow(&failing, since(-3_600)),
            flow(&slow, Health { slow: true, ..Health::default() }),
            flow(&paused, since(-3_600)),
            flow(&failed_just_now, since(-1)),
        ]),
        ..known(all.into_iter().cloned())
    };
    let plan = plan(&arrives(1, false), &known, NOW);
    let expected = (vec![well.id, failed_just_now.id], vec![failing.id, slow.id], vec![paused.id, disabled.id]);
    assert_eq!(outline(&plan), expected);
    assert_eq!(plan.event.unwrap().1.len(), 6);
}

#[test]
fn what_is_on_record_is_not_begun_again_and_seen_to_only_where_it_may_have_been_cut_off() {
    let [new, delivered, failed, waiting] = [0, 1, 2, 3].map(Endpoint::sample);
    for (redelivered, redone) in [(true, vec![failed.id, waiting.id]), (false, vec![])] {
        let known = Known {
            deliveries: HashMap::from([
                on_record(&delivered, 1, DeliveryStatus::Succeeded),
                on_record(&failed, 1, DeliveryStatus::Failed),
                on_record(&waiting, 1, DeliveryStatus::Pending),
            ]),
            ..known([&new, &delivered, &failed, &waiting].map(Clone::clone))
        };
        let task = Task { redelivered, ..arrives(1, true) };
        assert_eq!(may_be_on_record(&task, &known).len(), 4);
        let plan = plan(&task, &known, NOW);
        assert_eq!(outline(&plan), (vec![new.id], vec![], vec![]));
        assert_eq!(plan.redone.iter().map(|(endpoint, _)| endpoint.id).collect::<Vec<_>>(), redone);
    }
}

#[test]
fn event_that_is_on_record_is_matched_as_the_first_message_brought_it() {
    let [one, other] = [0, 1].map(Endpoint::sample);
    let mut first = event(1);
    first.endpoint_ids = vec![other.id];
    let stored = StoredEvent { event: first, delivered_to: vec![], shown_until: NOW, expires_at: expires_at(NOW, 30) };
    let known = Known { events: HashMap::from([(event(1).id, stored)]), ..known([one, other.clone()]) };
    assert_eq!(outline(&plan(&arrives(1, true), &known, NOW)).0, [other.id]);
}

#[test]
fn event_for_many_endpoints_is_fanned_out_in_parts_and_each_part_begins_its_own() {
    let few = known((0..25).map(Endpoint::sample));
    assert_eq!(outline(&plan(&arrives(1, false), &few, NOW)).0.len(), FAN_OUT_INLINE_MAX);

    let mut known = known((0..120).map(Endpoint::sample));
    let plan_of_all = plan(&arrives(1, false), &known, NOW);
    assert_eq!(outline(&plan_of_all), (vec![], vec![], vec![]));
    assert_eq!(plan_of_all.fan_out.len(), 3);

    let stored =
        StoredEvent { event: event(1), delivered_to: vec![], shown_until: NOW, expires_at: expires_at(NOW, 30) };
    known.events.insert(event(1).id, stored);
    let begun = plan_of_all.fan_out.into_iter().flat_map(|part| {
        let RetryMessage::FanOut { scope, event_id, first, last } = part else { panic!("{part:?}") };
        outline(&plan(&task(Work::FanOut { scope, event_id, first, last }, false), &known, NOW)).0
    });
    assert_eq!(begun.collect::<Vec<_>>(), (0..120).map(|n| Endpoint::sample(n).id).collect::<Vec<_>>());
}

#[test]
fn message_of_a_tenant_that_never_was_is_a_dead_letter_and_one_of_a_deleted_tenant_is_kept() {
    assert!(plan(&arrives(1, false), &Known::default(), NOW).dead_letter.is_some());
    let deleted = plan(&arrives(1, false), &known([]), NOW);
    assert!(deleted.dead_letter.is_none() && deleted.event.is_some());
}

#[test]
fn messages_of_a_batch_for_the_same_event_are_done_once() {
    let known = known([Endpoint::sample(0)]);
    let mut dedup = BatchDedup::default();
    let mut take = |message, n| {
        let mut plan = plan(&arrives(n, false), &known, NOW);
        let earlier = dedup.take(message, &mut plan);
        (plan.attempts.len(), plan.event.is_some(), earlier.into_iter().collect::<Vec<_>>())
    };
    assert_eq!(take(0, 1), (1, true, vec![]));
    assert_eq!(take(1, 1), (0, false, vec![0]));
    assert_eq!(take(2, 2), (1, true, vec![]));
    assert_eq!(take(3, 2), (0, false, vec![2]));
}
