//! Endpoints that fail, are given up, and come back; and the operational events of that.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::world::{Reply, World};

const HOUR: i64 = 3_600;

async fn status(world: &World, id: &str) -> Value {
    world.api.get(&format!("/v1/endpoints/{id}")).await.expect(200)
}

fn bodies(world: &World, path: &str) -> Vec<Value> {
    world.receiver.got(path).iter().map(|got| serde_json::from_slice(&got.body).unwrap()).collect()
}

#[tokio::test]
async fn five_days_of_nothing_but_failures_disable_an_endpoint_once_and_say_so_once() {
    let world = World::start().await;
    let id = world.endpoint("/a", json!({ "event_types": ["a"], "retry": { "max_attempts": 1 } })).await;
    world.endpoint("/ops", json!({ "event_types": ["endpoint.*"] })).await;
    world.endpoint("/all", json!({})).await;
    world.receiver.reply("/a", [Reply::Status(500)]);
    for _ in 0..11 {
        world.send("a", json!({})).await;
        world.settle().await;
        assert_eq!(status(&world, &id).await["status"], "active");
        world.run(11 * HOUR).await;
    }
    for _ in 0..3 {
        world.send("a", json!({})).await;
        world.settle().await;
    }
    let now = status(&world, &id).await;
    assert_eq!(now["status"], "disabled");
    assert!(now["disabled_reason"].as_str().unwrap().contains("since 2026-11-20T00:00:00.000Z"), "{now}");
    let events = bodies(&world, "/ops");
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(
        (events[0]["type"].clone(), events[0]["data"]["endpoint_id"].clone()),
        (json!("endpoint.disabled"), json!(id))
    );
    // Who subscribes to everything gets the events and not what Outhook has to say of itself.
    assert_eq!(world.receiver.got("/all").len(), 14);

    let skipped = world.send("a", json!({})).await;
    world.settle().await;
    assert_eq!(world.delivery(&id, &skipped).await["status"], "skipped");
    world.receiver.reply("/a", [Reply::Status(200)]);
    let path = format!("/v1/endpoints/{id}");
    let active = world.api.patch(&path, json!({ "status": "active" })).await.expect(200);
    assert_eq!(active["disabled_reason"], Value::Null);
    world
        .api
        .post(&format!("{path}/replay"), json!({ "since": "2026-11-19T00:00:00Z", "status": ["skipped"] }))
        .await
        .expect(202);
    world.settle().await;
    assert_eq!(world.delivery(&id, &skipped).await["status"], "succeeded");
}

#[tokio::test]
async fn one_success_in_between_begins_the_five_days_anew() {
    let world = World::start().await;
    let id = world.endpoint("/a", json!({ "retry": { "max_attempts": 1 } })).await;
    let replies = |n: usize| if n == 9 { Reply::Status(200) } else { Reply::Status(500) };
    world.receiver.reply("/a", (0..40).map(replies));
    for _ in 0..19 {
        world.send("a", json!({})).await;
        world.settle().await;
        world.run(11 * HOUR).await;
    }
    assert_eq!(status(&world, &id).await["status"], "active");
    for _ in 0..3 {
        world.send("a", json!({})).await;
        world.settle().await;
        world.run(11 * HOUR).await;
    }
    assert_eq!(status(&world, &id).await["status"], "disabled");
}

#[tokio::test]
async fn endpoint_that_is_activated_again_has_its_five_days_again() {
    let world = World::start().await;
    let id = world.endpoint("/a", json!({ "retry": { "max_attempts": 1 } })).await;
    world.receiver.reply("/a", [Reply::Status(500)]);
    for _ in 0..12 {
        world.send("a", json!({})).await;
        world.settle().await;
        world.run(11 * HOUR).await;
    }
    assert_eq!(status(&world, &id).await["status"], "disabled");
    world.api.patch(&format!("/v1/endpoints/{id}"), json!({ "status": "active" })).await.expect(200);
    world.send("a", json!({})).await;
    world.settle().await;
    assert_eq!(status(&world, &id).await["status"], "active");
}

#[tokio::test]
async fn gone_receiver_disables_its_endpoint_at_once_and_what_was_pending_ends() {
    let world = World::start().await;
    let id = world.endpoint("/a", json!({})).await;
    world.endpoint("/ops", json!({ "event_types": ["endpoint.disabled"] })).await;
    world.receiver.reply("/a", [Reply::Status(500), Reply::Status(410)]);
    let pending = world.send("a", json!({})).await;
    world.settle().await;
    let gone = world.send("a", json!({})).await;
    world.settle().await;
    let now = status(&world, &id).await;
    assert_eq!(
        (now["status"].clone(), now["disabled_reason"].clone()),
        (json!("disabled"), json!("the receiver answered 410 Gone"))
    );
    world.run(HOUR).await;
    assert_eq!(world.delivery(&id, &gone).await["status"], "failed");
    assert_eq!(world.delivery(&id, &pending).await["status"], "cancelled");
    assert_eq!((world.receiver.got("/a").len(), world.receiver.got("/ops").len()), (2, 1));
}

#[tokio::test]
async fn delivery_whose_attempts_are_used_up_emits_one_operational_event_and_that_one_emits_none() {
    let world = World::start().await;
    let id = world.endpoint("/a", json!({ "event_types": ["a"], "retry": { "schedule_seconds": [5] } })).await;
    world.endpoint("/ops", json!({ "event_types": ["delivery.failed"], "retry": { "max_attempts": 1 } })).await;
    world.receiver.reply("/a", [Reply::Status(404)]);
    world.receiver.reply("/ops", [Reply::Status(500)]);
    let event = world.send("a", json!({})).await;
    world.run(HOUR).await;
    let events = bodies(&world, "/ops");
    assert_eq!(events.len(), 1, "{events:?}");
    let data = &events[0]["data"];
    assert_eq!((data["endpoint_id"].clone(), data["event_id"].clone()), (json!(id), json!(event)));
    assert_eq!((data["attempts"].clone(), data["last_status_code"].clone()), (json!(2), json!(404)));
}

#[tokio::test]
async fn rotation_emits_an_event_without_the_secret() {
    let world = World::start().await;
    world.endpoint("/ops", json!({ "event_types": ["endpoint.secret.rotated"] })).await;
    let id = world.endpoint("/a", json!({ "event_types": ["a"] })).await;
    let rotated = world.api.post(&format!("/v1/endpoints/{id}/secret/rotate"), json!({})).await.expect(200);
    world.settle().await;
    let events = world.receiver.got("/ops");
    assert_eq!(events.len(), 1);
    assert!(!String::from_utf8_lossy(&events[0].body).contains(rotated["secret"].as_str().unwrap()));
}

#[tokio::test]
async fn failing_endpoint_leaves_the_events_lane_and_comes_back_step_by_step_with_its_successes() {
    let world = World::start().await;
    let id = world.endpoint("/a", json!({ "retry": { "max_attempts": 1 } })).await;
    world.receiver.reply("/a", [Reply::Status(500), Reply::Status(500), Reply::Status(200)]);
    let lane_of_next = async || {
        world.send("a", json!({})).await;
        let _ = world.aws.calls().take();
        world.settle().await;
        let calls = world.aws.calls().take();
        let waited = calls.iter().any(|call| call.operation == "Query" && call.identity == "DeliverRetriesFunction");
        if waited { "retries" } else { "events" }
    };
    assert_eq!(lane_of_next().await, "events");
    world.advance_seconds(31);
    for _ in 0..6 {
        assert_eq!(lane_of_next().await, "retries");
    }
    assert_eq!(lane_of_next().await, "events");
    assert_eq!(world.receiver.got("/a").len(), 8);
    let log = world.api.get(&format!("/v1/endpoints/{id}/deliveries?status=pending")).await.expect(200);
    assert_eq!(log, json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoint_that_is_deleted_during_its_first_failure_leaves_no_trace_of_it() {
    let world = World::start().await;
    let gate = Arc::new(Semaphore::new(0));
    world.receiver.reply("/a", [Reply::Gate(Arc::clone(&gate), 500)]);
    let id = world.endpoint("/a", json!({})).await;
    let event = world.send("a", json!({})).await;
    let deleted_meanwhile = async {
        while world.receiver.got("/a").is_empty() {
            tokio::task::yield_now().await;
        }
        world.api.delete(&format!("/v1/endpoints/{id}")).await.expect(204);
        gate.add_permits(1);
    };
    tokio::join!(world.settle(), deleted_meanwhile);
    world.run(600).await;
    let shown = world.api.get(&format!("/v1/events/{event}")).await.expect(200);
    assert_eq!(shown["deliveries"][0]["status"], "cancelled");
    assert!(world.services.store.flows(&[id.parse().unwrap()]).await.unwrap().is_empty());
    assert_eq!((world.next_look().await, world.receiver.got("/a").len()), (None, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_for_an_endpoint_that_is_well_again_waits_for_no_other_events_far_retry() {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({ "retry": { "schedule_seconds": [5, 36_000] } })).await;
    world.receiver.reply("/a", [Reply::Status(500), Reply::Status(500), Reply::Status(200)]);
    world.send("a", json!({})).await;
    world.run(60).await;
    assert_eq!(world.receiver.got("/a").len(), 2);
    let next = world.send("a", json!({})).await;
    world.run(6 * 60).await;
    assert_eq!(world.delivery(&endpoint, &next).await["status"], "succeeded");
    let third = world.send("a", json!({})).await;
    world.settle().await;
    assert_eq!(world.delivery(&endpoint, &third).await["status"], "succeeded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_success_ends_the_failing_and_leaves_the_endpoint_slow() {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({ "retry": { "schedule_seconds": [36_000] } })).await;
    let slow = Reply::After(Duration::from_secs(4), 200);
    world.receiver.reply("/a", [Reply::Status(500), slow.clone(), slow, Reply::Status(200)]);
    let state = async || {
        let shown = world.api.get(&format!("/v1/endpoints/{endpoint}")).await.expect(200);
        (shown["health"]["state"].clone(), shown["health"]["failing_since"].clone())
    };
    world.send("a", json!({})).await;
    world.settle().await;
    world.send("a", json!({})).await;
    world.settle().await;
    assert_eq!(state().await, (json!("slow"), Value::Null));
    for _ in 0..2 {
        let event = world.send("a", json!({})).await;
        world.settle().await;
        assert_eq!(world.delivery(&endpoint, &event).await["status"], "succeeded");
    }
    assert_eq!(state().await, (json!("healthy"), Value::Null));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_failures_of_one_endpoint_in_one_batch_change_its_flow_once() {
    let world = World::start().await;
    world.endpoint("/a", json!({ "retry": { "schedule_seconds": [600] } })).await;
    world.receiver.reply("/a", [Reply::After(Duration::from_millis(3), 500)]);
    let events = vec![json!({ "type": "a", "data": {} }); 10];
    world.api.post("/v1/events/batch", json!({ "events": events })).await.expect(202);
    let _ = world.aws.calls().take();
    world.settle().await;
    assert_eq!(world.receiver.got("/a").len(), 10);
    let calls = world.aws.calls().take();
    let changes = calls.iter().filter(|call| call.operation == "UpdateItem").count();
    // With jitter of their waits, a later one can be due before an earlier one.
    assert!(changes <= 5, "{changes}");
}
