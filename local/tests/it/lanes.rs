//! Two lanes: what is slow holds up nothing else, and what is large goes in parts. Shown by the order of what happens, not by time.

use std::sync::Arc;

use local::aws::{Call, Fault, FaultRule};
use serde_json::{Value, json};
use shared::domain::health::Health;
use shared::domain::id::EndpointId;
use shared::domain::tenant::{Mode, Scope};
use tokio::sync::Semaphore;

use crate::world::{Client, Reply, World};

/// A tenant with so many endpoints, at the paths `/0`, `/1` and so on, every second one in the channel `even`.
async fn large_tenant(world: &World, endpoints: usize) -> (Client, Vec<String>) {
    let client = world.tenant_with(json!({ "name": "Large", "max_endpoints": 100 })).await;
    let mut ids = Vec::new();
    for n in 0..endpoints {
        let channel = ["even", "odd"][n % 2];
        ids.push(world.endpoint_of(&client, &format!("/{n}"), json!({ "channels": [channel] })).await);
    }
    (client, ids)
}

async fn post(client: &Client, more: Value) -> String {
    let mut event = json!({ "type": "a", "data": {} });
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    client.post("/v1/events", event).await.expect(202)["id"].as_str().unwrap().to_owned()
}

fn counts(world: &World, endpoints: usize) -> Vec<usize> {
    (0..endpoints).map(|n| world.receiver.got(&format!("/{n}")).len()).collect()
}

async fn assert_each_succeeded_at_its_first_attempt(client: &Client, endpoints: &[String], event: &str) {
    for endpoint in endpoints {
        let delivery = client.get(&format!("/v1/endpoints/{endpoint}/deliveries/{event}")).await.expect(200);
        let attempts = delivery["attempts"].as_array().unwrap().len();
        assert_eq!((&delivery["status"], attempts), (&json!("succeeded"), 1), "{delivery}");
    }
}

/// Scenario 1. Every batch is an invocation of its own, as many at once as the template allows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoint_that_never_answers_delays_no_other_tenants_event() {
    let world = World::start().await;
    let other = world.other_tenant().await;
    world.endpoint_of(&other, "/well", json!({})).await;
    let gate = Arc::new(Semaphore::new(0));
    world.receiver.reply("/slow", [Reply::Gate(Arc::clone(&gate), 200)]);
    let slow = world.endpoint("/slow", json!({ "timeout_seconds": 30 })).await;
    let mut events = Vec::new();
    for _ in 0..8 {
        let batch: Vec<_> = (0..80).map(|n| json!({ "type": "a", "data": { "n": n } })).collect();
        let accepted = world.api.post("/v1/events/batch", json!({ "events": batch })).await.expect(202);
        events.extend(accepted.as_array().unwrap().iter().map(|result| result["id"].as_str().unwrap().to_owned()));
    }

    let (stop, mut pollers) = world.keep_polling();
    while world.receiver.got("/slow").is_empty() {
        tokio::task::yield_now().await;
    }
    post(&other, json!({})).await;
    while world.receiver.got("/well").is_empty() {
        tokio::task::yield_now().await;
    }
    // The slow endpoint's attempts are still under way: none of them has ended, so none was waited for.
    let path = format!("/v1/endpoints/{slow}/deliveries?limit=100");
    let listed = world.api.get(&path).await.expect(200);
    assert!(listed.as_array().unwrap().iter().all(|delivery| delivery["attempts"] == json!([])), "{listed}");

    gate.add_permits(1_000);
    stop.send(true).unwrap();
    while pollers.join_next().await.is_some() {}
    world.run_until_rest().await;
    assert_each_succeeded_at_its_first_attempt(&world.api, std::slice::from_ref(&slow), &events[0]).await;
    for event in &events {
        assert_eq!(world.delivery(&slow, event).await["status"], "succeeded");
    }
    assert_eq!(world.receiver.got("/slow").len(), 640);
}

/// The first request is waited for: three seconds, after which its endpoint counts as slow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoint_that_does_not_answer_soon_leaves_the_events_lane_before_its_time_is_over() {
    let world = World::start().await;
    let gate = Arc::new(Semaphore::new(0));
    world.receiver.reply("/slow", [Reply::Gate(Arc::clone(&gate), 200), Reply::Status(200)]);
    let slow = world.endpoint("/slow", json!({ "timeout_seconds": 30 })).await;
    world.send("a", json!({ "n": 0 })).await;
    let (stop, mut pollers) = world.keep_polling();
    let scope = Scope { tenant_id: world.demo.tenant_id, mode: Mode::Live };
    let id: EndpointId = slow.parse().unwrap();
    while !world.services.store.health(&[(scope, id)]).await.unwrap().get(&id).is_some_and(|health| health.slow) {
        tokio::task::yield_now().await;
    }
    // The second event waits for nobody: it is handed to the retries lane while the first request is under way.
    world.send("a", json!({})).await;
    let handed_over = |call: &Call| call.operation == "SendMessageBatch" && call.identity == "DeliverEventsFunction";
    while !world.aws.calls().take().iter().any(handed_over) {
        tokio::task::yield_now().await;
    }
    gate.add_permits(1);
    stop.send(true).unwrap();
    while pollers.join_next().await.is_some() {}
    world.run_until_rest().await;
    world.send("a", json!({})).await;
    world.run_until_rest().await;
    let health = world.services.store.health(&[(scope, id)]).await.unwrap();
    assert!(health.is_empty(), "a quick answer brings it back: {health:?}");
}

/// Three instances of the retries lane get a batch each for an endpoint that hangs: one sends, and two put off without waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hanging_endpoint_holds_one_instance_of_the_retries_lane_whatever_waits_for_it() {
    let world = World::start().await;
    let gate = Arc::new(Semaphore::new(0));
    world.receiver.reply("/slow", [Reply::Gate(Arc::clone(&gate), 200)]);
    let slow = world.endpoint("/slow", json!({ "timeout_seconds": 30 })).await;
    let scope = Scope { tenant_id: world.demo.tenant_id, mode: Mode::Live };
    let id: EndpointId = slow.parse().unwrap();
    let hangs = Health { failing_since: Some(world.clock.now()), slow: true };
    world.services.store.note_health(scope, id, Health::default(), hangs).await.unwrap();
    for n in 0..30 {
        world.send("a", json!({ "n": n })).await;
    }
    let (stop, mut pollers) = world.keep_polling();
    // Ten are sent, and the other twenty have waits on record.
    let path = format!("/v1/endpoints/{slow}/deliveries?limit=100");
    let now = shared::domain::time::format(world.clock.now());
    let put_off = async || {
        let listed = world.api.get(&path).await.expect(200);
        let due = listed.as_array().unwrap().iter().map(|one| one["next_attempt_at"].as_str().unwrap().to_owned());
        due.filter(|due| *due > now).count()
    };
    while put_off().await < 20 || world.receiver.got("/slow").len() < 10 {
        tokio::task::yield_now().await;
    }
    assert_eq!((put_off().await, world.receiver.got("/slow").len()), (20, 10));
    gate.add_permits(1_000);
    stop.send(true).unwrap();
    while pollers.join_next().await.is_some() {}
    world.run_until_rest().await;
    let listed = world.api.get(&path).await.expect(200);
    assert!(listed.as_array().unwrap().iter().all(|one| one["status"] == "succeeded"));
    assert_eq!(world.receiver.got("/slow").len(), 30);
}

#[tokio::test]
async fn large_fan_out_arrives_once_at_each_endpoint_that_it_is_for() {
    let world = World::start().await;
    let (client, endpoints) = large_tenant(&world, 60).await;
    let event = post(&client, json!({})).await;
    world.settle().await;
    assert_eq!(counts(&world, 60), [1; 60]);
    assert_each_succeeded_at_its_first_attempt(&client, &endpoints, &event).await;

    post(&client, json!({ "channels": ["even"] })).await;
    post(&client, json!({ "endpoint_ids": [endpoints[3]] })).await;
    world.settle().await;
    let expected: Vec<_> = (0..60).map(|n| if n % 2 == 0 || n == 3 { 2 } else { 1 }).collect();
    assert_eq!(counts(&world, 60), expected);
    assert_eq!((world.backlog().await, world.dead_letters().await), (0, vec![]));
}

#[tokio::test]
async fn large_fan_out_whose_messages_all_come_twice_is_recorded_once_each() {
    let world = World::start().await;
    let (client, endpoints) = large_tenant(&world, 60).await;
    world.aws.faults().duplicate_messages(true);
    let event = post(&client, json!({})).await;
    world.settle().await;
    assert_each_succeeded_at_its_first_attempt(&client, &endpoints, &event).await;
    assert_eq!(counts(&world, 60), [1; 60]);
}

/// A fan-out in which a call fails for good, as often as the SDK tries it; the rest of the batch goes through.
async fn fan_out_survives(function: &str, operation: &str, skip: u32) {
    let mut world = World::start().await;
    let (client, endpoints) = large_tenant(&world, 60).await;
    let identity = Some(function.to_owned());
    let operation = Some(operation.to_owned());
    let rule = FaultRule { service: None, operation, identity, skip, times: 3, fault: Fault::DropBefore };
    world.aws.faults().inject(rule);
    let event = post(&client, json!({})).await;
    world.poll_once().await;
    assert_ne!(world.backlog().await, 0);
    world.restart_functions().await;
    world.advance_seconds(361);
    world.settle().await;
    assert_each_succeeded_at_its_first_attempt(&client, &endpoints, &event).await;
    let counts = counts(&world, 60);
    assert!(counts.iter().all(|count| (1..=2).contains(count)), "{counts:?}");
    let repeated = counts.iter().filter(|count| **count == 2).count();
    assert!(repeated <= 35, "only what was not on record is sent again: {counts:?}");
    assert_eq!((world.backlog().await, world.dead_letters().await), (0, vec![]));
}

#[tokio::test]
async fn large_fan_out_with_a_crash_in_the_middle_arrives_at_each_endpoint_and_is_recorded_once() {
    tokio::join!(
        fan_out_survives("DeliverEventsFunction", "SendMessageBatch", 0),
        fan_out_survives("DeliverRetriesFunction", "BatchExecuteStatement", 0),
        fan_out_survives("DeliverRetriesFunction", "BatchExecuteStatement", 1),
    );
}

#[tokio::test]
async fn failing_endpoints_of_a_large_fan_out_are_tried_again_and_no_other() {
    let world = World::start().await;
    let (client, _) = large_tenant(&world, 30).await;
    for path in ["/3", "/29"] {
        world.receiver.reply(path, [Reply::Status(500), Reply::Status(200)]);
    }
    post(&client, json!({})).await;
    world.run(86_400).await;
    let expected: Vec<_> = (0..30).map(|n| if n == 3 || n == 29 { 2 } else { 1 }).collect();
    assert_eq!(counts(&world, 30), expected);
}
