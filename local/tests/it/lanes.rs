//! Two lanes: what is slow holds up nothing else, and what is large goes in parts. Shown by the order of what happens, not by time.

use std::sync::Arc;

use local::aws::{Fault, FaultRule};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::world::{Client, Reply, World, until};

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

/// The batches that the events lane may have in hand at once, in messages.
fn lane_width(world: &World) -> usize {
    let sources = world.template.queue_sources().unwrap();
    let events = sources.iter().find(|source| source.function == "DeliverEventsFunction").unwrap();
    events.concurrency_max * usize::try_from(events.batch_size).unwrap()
}

/// Scenario 1. Every batch is an invocation of its own, as many at once as the template allows; all of them have met the endpoint that hangs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn burst_to_an_endpoint_that_begins_to_hang_delays_no_other_tenants_event_by_more_than_five_seconds() {
    let world = World::start().await;
    let other = world.other_tenant().await;
    world.endpoint_of(&other, "/well", json!({})).await;
    let gate = Arc::new(Semaphore::new(0));
    world.receiver.reply("/slow", [Reply::Gate(Arc::clone(&gate), 200)]);
    let slow = world.endpoint("/slow", json!({ "timeout_seconds": 30 })).await;
    let mut events = Vec::new();
    for _ in 0..15 {
        let batch: Vec<_> = (0..100).map(|n| json!({ "type": "a", "data": { "n": n } })).collect();
        let accepted = world.api.post("/v1/events/batch", json!({ "events": batch })).await.expect(202);
        events.extend(accepted.as_array().unwrap().iter().map(|result| result["id"].as_str().unwrap().to_owned()));
    }

    let (stop, mut pollers) = world.keep_polling();
    let width = lane_width(&world).min(events.len());
    until("every batch waits", async || world.receiver.got_unverified("/slow").len() >= width).await;
    post(&other, json!({})).await;
    for _ in 0..5 {
        world.advance_seconds(1);
    }
    until("the other tenant's event has arrived", async || world.receiver.got("/well").len() == 1).await;

    // What was given up is on record as such, and counts for nothing.
    until("the given-up requests are on record", async || {
        let first = world.api.get(&format!("/v1/endpoints/{slow}/deliveries/{}", events[0])).await;
        first.status == 200 && first.body["data"]["attempts"].as_array().unwrap().len() == 1
    })
    .await;
    let first = world.delivery(&slow, &events[0]).await;
    let error = first["attempts"][0]["error"].as_str().unwrap();
    assert!(error.starts_with("timeout: no answer within 5 s; the request is made again"), "{error}");
    assert_eq!(first["status"], "pending");

    gate.add_permits(10_000);
    stop.send(true).unwrap();
    while pollers.join_next().await.is_some() {}
    world.run_until_rest().await;
    for event in &events {
        let delivery = world.delivery(&slow, event).await;
        assert_eq!(delivery["status"], "succeeded", "{delivery}");
        assert!(delivery["attempts"].as_array().unwrap().len() <= 2, "{delivery}");
    }
}

/// Three seconds after the first request began its endpoint counts as slow, though that request is still waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoint_that_does_not_answer_soon_leaves_the_events_lane_before_its_time_is_over() {
    let world = World::start().await;
    let gate = Arc::new(Semaphore::new(0));
    world.receiver.reply("/slow", [Reply::Gate(Arc::clone(&gate), 200), Reply::Status(200)]);
    let slow = world.endpoint("/slow", json!({ "timeout_seconds": 30 })).await;
    world.send("a", json!({ "n": 0 })).await;
    let (stop, mut pollers) = world.keep_polling();
    until("the first request is under way", async || world.receiver.got("/slow").len() == 1).await;
    world.advance_seconds(3);
    let health = async || world.api.get(&format!("/v1/endpoints/{slow}")).await.expect(200)["health"].clone();
    until("its endpoint is known to be slow", async || health().await["state"] == "slow").await;
    // The second event waits for nobody: it is in the backlog while the first request is under way.
    let second = world.send("a", json!({})).await;
    let path = format!("/v1/endpoints/{slow}/deliveries/{second}");
    until("the second event is on record", async || world.api.get(&path).await.status == 200).await;
    gate.add_permits(1);
    stop.send(true).unwrap();
    while pollers.join_next().await.is_some() {}
    world.run_until_rest().await;
    for _ in 0..5 {
        world.send("a", json!({})).await;
        world.run_until_rest().await;
    }
    let health = health().await;
    assert_eq!((&health["state"], &health["waiting"]["count"]), (&json!("healthy"), &json!(0)), "{health}");
    assert_eq!(world.receiver.got("/slow").len(), 7);
}

/// However much waits, and however many instances there are, an endpoint that hangs has one request under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hanging_endpoint_gets_one_request_at_a_time_and_the_rest_waits_unattempted() {
    let mut world = World::start().await;
    let gate = Arc::new(Semaphore::new(0));
    let slow = world.endpoint("/slow", json!({ "timeout_seconds": 4 })).await;
    world.receiver.reply("/slow", [Reply::Hang, Reply::Gate(Arc::clone(&gate), 200)]);
    world.send("a", json!({})).await;
    world.settle().await;
    for n in 0..30 {
        world.send("a", json!({ "n": n })).await;
    }
    world.scale_out(2).await;
    let (stop, mut pollers) = world.keep_polling();
    let path = format!("/v1/endpoints/{slow}/deliveries?limit=100&status=pending");
    let waiting = async || world.api.get(&path).await.expect(200).as_array().unwrap().clone();
    until("all are on record", async || waiting().await.len() == 31).await;
    assert_eq!(world.receiver.got("/slow").len(), 1);
    world.advance_seconds(6);
    until("one is probed", async || world.receiver.got("/slow").len() == 2).await;
    assert!(waiting().await.iter().filter(|one| one["attempts"] == json!([])).count() >= 29);
    // Its wake has come and the others have ended: nobody else is sending.
    until("nothing else is in hand", async || world.at_hand().await <= 1).await;
    assert_eq!(world.receiver.got("/slow").len(), 2);
    gate.add_permits(1_000);
    stop.send(true).unwrap();
    while pollers.join_next().await.is_some() {}
    world.run_until_rest().await;
    let log = world.api.get(&format!("/v1/endpoints/{slow}/deliveries?limit=100")).await.expect(200);
    assert!(log.as_array().unwrap().iter().all(|one| one["status"] == "succeeded"));
    assert_eq!(world.receiver.got("/slow").len(), 32);
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
    assert_eq!((world.queued().await, world.dead_letters().await), (0, vec![]));
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
    assert_ne!(world.queued().await, 0);
    world.restart_functions().await;
    world.advance_seconds(361);
    world.settle().await;
    assert_each_succeeded_at_its_first_attempt(&client, &endpoints, &event).await;
    let counts = counts(&world, 60);
    assert!(counts.iter().all(|count| (1..=2).contains(count)), "{counts:?}");
    let repeated = counts.iter().filter(|count| **count == 2).count();
    assert!(repeated <= 35, "only what was not on record is sent again: {counts:?}");
    assert_eq!((world.queued().await, world.dead_letters().await), (0, vec![]));
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
