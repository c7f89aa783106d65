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
    Task { redelivered, work, ..Task::sample("m") }
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
    let ledger = Ledger::new((0..4).map(|_| arrives(1, false)).collect());
    let messages: Vec<_> = ledger.tasks().map(|(message, _)| message).collect();
    for (place, n, expected) in [
        (0, 1, (1, true, vec![])),
        (1, 1, (0, false, vec![messages[0]])),
        (2, 2, (1, true, vec![])),
        (3, 2, (0, false, vec![messages[2]])),
    ] {
        let mut plan = Plan { lacks_endpoints: true, ..plan(&arrives(n, false), &known, NOW) };
        let earlier = dedup.take(messages[place], &mut plan);
        assert_eq!((plan.attempts.len(), plan.event.is_some(), Vec::from_iter(earlier)), expected, "{place}");
        assert!(plan.lacks_endpoints, "{place}");
    }
}

fn wake(message_id: &str, endpoint: &Endpoint, token: &str) -> Task {
    let work = Work::Wake { scope: scope(), endpoint_id: endpoint.id, token: token.to_owned() };
    Task { work, ..Task::sample(message_id) }
}

#[test]
fn message_of_which_some_endpoints_cannot_be_read_is_done_for_the_others_and_comes_again() {
    let endpoint = Endpoint::sample(0);
    let stored = StoredEvent { event: event(1), delivered_to: vec![], shown_until: NOW, expires_at: NOW };
    let part = Work::FanOut { scope: scope(), event_id: event(1).id, first: endpoint.id, last: endpoint.id };
    for (name, task, comes_again, begun) in [
        ("an event", Task { message_id: "m".to_owned(), ..arrives(1, false) }, true, 1),
        ("a part of a fan-out", task(part, false), true, 1),
        ("a wake", wake("m", &endpoint, "t"), false, 0),
        ("a replay", Task::sample("m"), false, 0),
    ] {
        for lacks_some in [true, false] {
            let mut known = known([endpoint.clone()]);
            known.events.insert(event(1).id, stored.clone());
            if lacks_some {
                known.endpoints = known.endpoints.into_iter().map(|(scope, all)| (scope, all.lacking_some())).collect();
            }
            let mut ledger = Ledger::new(vec![task.clone()]);
            let plans = plan_all(&mut ledger, &known, NOW);
            let attempts: usize = plans.iter().map(|(_, plan)| plan.attempts.len()).sum();
            let expected = (begun, usize::from(lacks_some && comes_again));
            assert_eq!((attempts, ledger.come_again().len()), expected, "{name}, {lacks_some}");
        }
    }
}

#[test]
fn replay_is_gone_on_with_and_a_wake_begins_nothing_by_itself() {
    let endpoint = Endpoint::sample(0);
    let replay = Task::sample("m");
    let Work::Replay { scope, replay_id } = replay.work else { panic!("{replay:?}") };
    for (name, task, expected) in
        [("a replay", &replay, Some((scope, replay_id))), ("a wake", &wake("m", &endpoint, "t"), None)]
    {
        let plan = plan(task, &known([endpoint.clone()]), NOW);
        assert_eq!((plan.replay, outline(&plan)), (expected, (vec![], vec![], vec![])), "{name}");
        assert!(plan.event.is_none() && plan.dead_letter.is_none(), "{name}");
    }
}

#[test]
fn what_could_not_be_read_is_not_planned_and_what_another_does_shares_its_fate() {
    let known = known([Endpoint::sample(0)]);
    // Events by number; the message that could not be read; those that are planned, with their attempts; the one whose attempts fail; those that come again.
    for (name, events, unread, planned, fails, come_again) in [
        ("two events", vec![1, 2], None, vec![(0, 1), (1, 1)], Some(0), vec!["0"]),
        ("one event twice", vec![1, 1], None, vec![(0, 1), (1, 0)], Some(0), vec!["0", "1"]),
        ("the first cannot be read", vec![1, 1], Some(0), vec![(1, 1)], None, vec!["0"]),
        ("the second cannot be read", vec![1, 2], Some(1), vec![(0, 1)], Some(0), vec!["0", "1"]),
        ("the duplicate of one that is done", vec![2, 1, 2], None, vec![(0, 1), (1, 1), (2, 0)], Some(1), vec!["1"]),
    ] {
        let tasks = events.iter().enumerate();
        let tasks = tasks.map(|(place, n)| Task { message_id: place.to_string(), ..arrives(*n, false) });
        let mut ledger = Ledger::new(tasks.collect());
        let messages: Vec<_> = ledger.tasks().map(|(message, _)| message).collect();
        if let Some(place) = unread {
            ledger.fail(messages[place]);
        }
        let plans = plan_all(&mut ledger, &known, NOW);
        let seen: Vec<_> = plans.iter().map(|(message, plan)| (*message, plan.attempts.len())).collect();
        let expected: Vec<_> = planned.into_iter().map(|(place, attempts)| (messages[place], attempts)).collect();
        assert_eq!(seen, expected, "{name}");
        if let Some(place) = fails {
            ledger.begin(messages[place]);
        }
        assert_eq!(ledger.come_again(), come_again, "{name}");
    }
}

#[test]
fn backlog_is_drained_by_the_first_wake_that_is_valid_unless_somebody_drains_it() {
    let [one, other] = [0, 1].map(Endpoint::sample);
    let of = |endpoint: &Endpoint, token: Option<&str>, lease_until: Option<i64>| {
        let (id, flow) = flow(endpoint, Health::default());
        let lease_until = lease_until.map(|seconds| plus_seconds(NOW, seconds));
        (id, Flow { token: token.map(str::to_owned), lease_until, ..flow })
    };
    for (name, flows, wakes, drained) in [
        ("a valid wake", vec![of(&one, Some("t"), None)], vec![(&one, "t")], vec![0]),
        ("a wake that is over", vec![of(&one, Some("u"), None)], vec![(&one, "t")], vec![]),
        ("no wake is valid", vec![of(&one, None, None)], vec![(&one, "t")], vec![]),
        ("no flow", vec![], vec![(&one, "t")], vec![]),
        ("another's flow", vec![of(&other, Some("t"), None)], vec![(&one, "t")], vec![]),
        ("somebody drains it", vec![of(&one, Some("t"), Some(1))], vec![(&one, "t")], vec![]),
        ("somebody has drained it", vec![of(&one, Some("t"), Some(0))], vec![(&one, "t")], vec![0]),
        ("the same wake twice", vec![of(&one, Some("t"), None)], vec![(&one, "t"), (&one, "t")], vec![0]),
        ("an old one before it", vec![of(&one, Some("t"), None)], vec![(&one, "s"), (&one, "t")], vec![1]),
        (
            "wakes of two backlogs",
            vec![of(&one, Some("t"), None), of(&other, Some("u"), None)],
            vec![(&one, "t"), (&other, "u")],
            vec![0, 1],
        ),
    ] {
        let known = Known { flows: flows.into_iter().collect(), ..known([]) };
        let ledger = Ledger::new(wakes.iter().map(|(endpoint, token)| wake("m", endpoint, token)).collect());
        let messages: Vec<_> = ledger.tasks().map(|(message, _)| message).collect();
        let looks = looks(&ledger, &known, NOW);
        let seen: Vec<_> =
            looks.iter().map(|look| (look.message, look.flow.endpoint_id, look.token.as_str())).collect();
        let expected: Vec<_> =
            drained.into_iter().map(|place: usize| (messages[place], wakes[place].0.id, wakes[place].1)).collect();
        assert_eq!(seen, expected, "{name}");
    }
}

#[test]
fn delivery_that_an_earlier_message_has_is_left_out_of_the_later_ones_plan_and_nothing_else_is() {
    let [one, other] = [0, 1].map(Endpoint::sample);
    let first = |endpoint: &Endpoint| FirstAttempt {
        event: Arc::new(event(1)),
        endpoint: Arc::new(endpoint.clone()),
        flow: None,
        request_id: None,
    };
    let skipped = |endpoint: &Endpoint| (Arc::new(endpoint.clone()), Delivery::new(&event(1), endpoint.id, NOW));
    let both = [&one, &other];
    // What the later message was to do; all of it stands for the same two deliveries, of which the earlier message has one.
    for (name, later, expected) in [
        (
            "to attempt",
            Plan { attempts: both.map(first).to_vec(), ..Plan::default() },
            (vec![other.id], vec![], vec![]),
        ),
        (
            "to put off",
            Plan { deferred: both.map(first).to_vec(), ..Plan::default() },
            (vec![], vec![other.id], vec![]),
        ),
        ("to skip", Plan { skipped: both.map(skipped).to_vec(), ..Plan::default() }, (vec![], vec![], vec![other.id])),
    ] {
        let ledger = Ledger::new(vec![Task::sample("a"), Task::sample("b")]);
        let messages: Vec<_> = ledger.tasks().map(|(message, _)| message).collect();
        let mut dedup = BatchDedup::default();
        let mut earlier = Plan { attempts: vec![first(&one)], ..Plan::default() };
        assert!(dedup.take(messages[0], &mut earlier).is_empty());
        let mut later = Plan { lacks_endpoints: true, ..later };
        assert_eq!(Vec::from_iter(dedup.take(messages[1], &mut later)), [messages[0]], "{name}");
        assert_eq!((outline(&later), later.lacks_endpoints), (expected, true), "{name}");
    }
}
