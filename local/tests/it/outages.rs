//! AWS services that throttle or are down, for deliver, the sweeper and the API: everything takes longer, and nothing is lost, doubled or failed for good.

use http::StatusCode;
use local::aws::{Fault, FaultRule, Service};
use serde_json::{Value, json};

use crate::world::World;

const MINUTE: i64 = 60;

/// All functions' calls to a service fail until the faults are cleared; the pollers are AWS's own and go on.
fn take_down(world: &World, service: Service, fault: Fault) {
    for function in ["ApiFunction", "DeliverEventsFunction", "DeliverRetriesFunction", "SweepFunction"] {
        let identity = Some(function.to_owned());
        let rule = FaultRule { service: Some(service), operation: None, identity, skip: 0, times: u32::MAX, fault };
        world.aws.faults().inject(rule);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_wait_for_secrets_manager_and_none_fails() {
    let mut world = World::start().await;
    let endpoint = world.endpoint("/a", json!({ "retry": { "max_attempts": 1 } })).await;
    world.restart_functions().await;
    take_down(&world, Service::SecretsManager, Fault::Unavailable);
    let mut events = Vec::new();
    for n in 0..5 {
        events.push(world.send("a", json!({ "n": n })).await);
    }
    world.run(30 * 60).await;
    for event in &events {
        let delivery = world.delivery(&endpoint, event).await;
        assert_eq!(
            (&delivery["status"], &delivery["attempts"]),
            (&json!("pending"), &json!([])),
            "no attempt was made"
        );
        let due: jiff::Timestamp = delivery["next_attempt_at"].as_str().unwrap().parse().unwrap();
        assert!(due.as_second() >= world.clock.now().as_second() - MINUTE, "{due} is long past");
    }
    let refused = world.api.post("/v1/endpoints", json!({ "url": world.receiver.url("/b") })).await;
    assert!(refused.headers.contains_key("retry-after"));
    refused.expect_error(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE");
    let listed = world.api.get("/v1/endpoints").await.expect(200);
    assert_eq!(listed.as_array().unwrap().len(), 1, "nothing is half made");

    world.aws.faults().clear();
    world.run_until_rest().await;
    for event in &events {
        let delivery = world.delivery(&endpoint, event).await;
        assert_eq!((&delivery["status"], delivery["attempts"].as_array().unwrap().len()), (&json!("succeeded"), 1));
    }
    assert_eq!((world.receiver.got("/a").len(), world.dead_letters().await), (5, vec![]));
}

/// Events before and during half an hour in which a service is down or throttles: all of them arrive.
async fn everything_arrives_after(service: Service, fault: Fault) {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({})).await;
    let mut events = vec![world.send("a", json!({})).await];
    world.settle().await;
    // On the queue already when it begins, or put there by a backend that needs nobody's leave.
    events.push(world.send("a", json!({})).await);
    take_down(&world, service, fault);
    let sent = world.send_message(&world.message("a", json!({})).to_string()).await;
    events.push(shared::domain::id::EventId::derived_from_message(world.clock.now(), &sent).to_string());
    world.run(30 * 60).await;
    world.aws.faults().clear();
    world.run(10 * 60).await;
    for event in &events {
        let delivery = world.delivery(&endpoint, event).await;
        assert_eq!(delivery["status"], "succeeded", "{service:?} {fault:?}");
        assert_eq!(delivery["attempts"].as_array().unwrap().len(), 1, "{service:?} {fault:?}");
    }
    let mut got: Vec<_> = world.receiver.got("/a").iter().map(|got| got.header("webhook-id").to_owned()).collect();
    assert!(got.len() <= 13, "{service:?} {fault:?}: at most once for each time a message comes back: {}", got.len());
    got.sort_unstable();
    got.dedup();
    assert_eq!(got.len(), events.len(), "{service:?} {fault:?}");
    assert_eq!((world.queued().await, world.dead_letters().await), (0, vec![]), "{service:?} {fault:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_an_hour_without_a_service_loses_nothing() {
    tokio::join!(
        everything_arrives_after(Service::DynamoDb, Fault::Unavailable),
        everything_arrives_after(Service::DynamoDb, Fault::Throttle),
        everything_arrives_after(Service::Sqs, Fault::Unavailable),
        everything_arrives_after(Service::Sqs, Fault::Throttle),
    );
}

#[tokio::test]
async fn retries_come_on_though_the_queue_takes_no_message_for_ten_minutes() {
    let world = World::start().await;
    let replies = [500, 500, 200].map(crate::world::Reply::Status);
    world.receiver.reply("/a", replies);
    let endpoint = world.endpoint("/a", json!({ "retry": { "schedule_seconds": [5, 5] } })).await;
    let event = world.send("a", json!({})).await;
    take_down(&world, Service::Sqs, Fault::Unavailable);
    world.run(10 * 60).await;
    let delivery = world.delivery(&endpoint, &event).await;
    assert_eq!((&delivery["status"], delivery["attempts"].as_array().unwrap().len()), (&json!("pending"), 1));
    world.aws.faults().clear();
    world.run_until_rest().await;
    let delivery = world.delivery(&endpoint, &event).await;
    let codes: Vec<_> =
        delivery["attempts"].as_array().unwrap().iter().map(|attempt| &attempt["status_code"]).collect();
    assert_eq!(codes, [&json!(500), &json!(500), &json!(200)]);
    assert_eq!(delivery["next_attempt_at"], Value::Null);
}
