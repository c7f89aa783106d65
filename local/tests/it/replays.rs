//! Delivering again: one delivery, one event, all that match.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};
use shared::domain::health::WIDTH_MAX;
use tokio::sync::Semaphore;

use crate::world::{Reply, World, until};

/// An endpoint at `/a` with this many failed deliveries; the receiver answers 200 from then on.
async fn with_failures(world: &World, failures: usize) -> (String, Vec<String>) {
    let id = world.endpoint("/a", json!({ "retry": { "max_attempts": 1 } })).await;
    world.receiver.reply("/a", vec![Reply::Status(500); failures].into_iter().chain([Reply::Status(200)]));
    let mut events = Vec::new();
    for batch in (0..failures).collect::<Vec<_>>().chunks(100) {
        let sent: Vec<_> = batch.iter().map(|n| json!({ "type": "a", "data": { "n": n } })).collect();
        let accepted = world.api.post("/v1/events/batch", json!({ "events": sent })).await.expect(202);
        events.extend(accepted.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()));
        world.settle().await;
    }
    assert_eq!(world.receiver.got("/a").len(), failures);
    (id, events)
}

async fn replay(world: &World, id: &str, body: Value) -> Value {
    let accepted = world.api.post(&format!("/v1/endpoints/{id}/replay"), body).await.expect(202);
    world.settle().await;
    world.api.get(&format!("/v1/replays/{}", accepted["id"].as_str().unwrap())).await.expect(200)
}

/// Scenario 6.
#[tokio::test]
async fn replay_of_300_failed_deliveries_sends_exactly_300_each_once_and_shows_its_progress() {
    let world = World::start().await;
    let (id, events) = with_failures(&world, 300).await;
    let done = replay(&world, &id, json!({ "since": "2026-11-19T00:00:00Z" })).await;
    assert_eq!((done["state"].clone(), done["queued"].clone()), (json!("completed"), json!(300)));
    let got = world.receiver.got("/a");
    let mut again: Vec<_> = got[300..].iter().map(|request| request.header("webhook-id").to_owned()).collect();
    again.sort();
    let mut expected = events.clone();
    expected.sort();
    assert_eq!(again, expected);
    let left = world.api.get(&format!("/v1/endpoints/{id}/deliveries?status=failed")).await.expect(200);
    assert_eq!(left, json!([]));
    let one = world.delivery(&id, &events[7]).await;
    assert_eq!(one["status"], "succeeded");
    assert_eq!(one["attempts"][1]["trigger"], "replay");
}

#[tokio::test]
async fn replay_whose_message_is_lost_or_doubled_still_sends_each_once() {
    let world = World::start().await;
    let (id, _) = with_failures(&world, 120).await;
    let accepted =
        world.api.post(&format!("/v1/endpoints/{id}/replay"), json!({ "since": "2026-11-19T00:00:00Z" })).await;
    let replay = accepted.expect(202)["id"].as_str().unwrap().to_owned();
    world.queues.purge_queue().queue_url(&world.services.config.retries_queue_url).send().await.unwrap();
    world.run(4 * 60).await;
    let scope = json!({ "tenant_id": world.demo.tenant_id, "mode": "live" });
    let message = json!({ "kind": "replay", "scope": scope, "replay_id": replay });
    world.send_retry(&message.to_string()).await;
    world.run(4 * 60).await;
    let shown = world.api.get(&format!("/v1/replays/{replay}")).await.expect(200);
    assert_eq!((shown["state"].clone(), shown["queued"].clone()), (json!("completed"), json!(120)));
    assert_eq!(world.receiver.got("/a").len(), 240);
}

/// Scenario 7.
#[tokio::test]
async fn endpoint_that_is_disabled_between_two_attempts_ends_its_deliveries_and_a_replay_sends_them() {
    let world = World::start().await;
    let id = world.endpoint("/a", json!({})).await;
    world.receiver.reply("/a", [Reply::Status(500), Reply::Status(410), Reply::Status(200)]);
    let between = world.send("a", json!({})).await;
    world.settle().await;
    let gone = world.send("a", json!({})).await;
    world.run(3_600).await;
    assert_eq!(world.delivery(&id, &between).await["status"], "cancelled");
    assert_eq!(world.delivery(&id, &gone).await["status"], "failed");
    world.api.patch(&format!("/v1/endpoints/{id}"), json!({ "status": "active" })).await.expect(200);
    let body = json!({ "since": "2026-11-19T00:00:00Z", "status": ["cancelled", "failed"] });
    assert_eq!(replay(&world, &id, body).await["queued"], 2);
    for event in [&between, &gone] {
        assert_eq!(world.delivery(&id, event).await["status"], "succeeded");
    }
    assert_eq!(world.receiver.got("/a").len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_for_a_paused_endpoint_are_skipped_and_a_replay_delivers_them_in_order_of_time() {
    let world = World::start().await;
    let id = world.endpoint("/a", json!({})).await;
    let path = format!("/v1/endpoints/{id}");
    world.api.patch(&path, json!({ "status": "paused" })).await.expect(200);
    let mut events = Vec::new();
    // More than one step of the replay takes.
    for n in 0..120 {
        events.push(world.send("a", json!({ "n": n })).await);
        world.settle().await;
        world.advance_seconds(1);
    }
    assert!(world.receiver.got("/a").is_empty());
    let query = "status=skipped&sort_by=%2Bcreated_at&limit=100";
    let skipped = world.api.get(&format!("{path}/deliveries?{query}")).await.expect(200);
    let listed: Vec<_> = skipped.as_array().unwrap().iter().map(|one| one["event_id"].as_str().unwrap()).collect();
    assert_eq!(listed, events[..100]);
    let refused = world.api.post(&format!("{path}/replay"), json!({ "since": "2026-11-19T00:00:00Z" })).await;
    refused.expect_error(StatusCode::CONFLICT, "CONFLICT");

    world.api.patch(&path, json!({ "status": "active" })).await.expect(200);
    let body = json!({ "since": "2026-11-19T00:00:00Z", "status": ["skipped", "failed"] });
    assert_eq!(replay(&world, &id, body).await["queued"], 120);
    let got: Vec<_> = world.receiver.got("/a").iter().map(|one| one.header("webhook-id").to_owned()).collect();
    // They are begun in their order, so many side by side.
    for (events, got) in events.chunks(WIDTH_MAX as usize).zip(got.chunks(WIDTH_MAX as usize)) {
        assert_eq!(BTreeSet::from_iter(got), BTreeSet::from_iter(events));
    }
    assert_eq!(got.len(), events.len());
}

#[tokio::test]
async fn replayed_delivery_that_fails_again_gets_its_whole_schedule_again() {
    let world = World::start().await;
    let id = world.endpoint("/a", json!({ "retry": { "schedule_seconds": [5] } })).await;
    world.receiver.reply("/a", [Reply::Status(500)]);
    let event = world.send("a", json!({})).await;
    world.run(60).await;
    assert_eq!(world.receiver.got("/a").len(), 2);
    world.api.post(&format!("/v1/events/{event}/replay"), json!({})).await.expect(202);
    world.run(60).await;
    assert_eq!(world.receiver.got("/a").len(), 4);
    assert_eq!(world.delivery(&id, &event).await["status"], "failed");
}

#[tokio::test]
async fn event_can_be_replayed_to_endpoints_that_came_after_it() {
    let world = World::start().await;
    let event = world.send("a", json!({ "n": 1 })).await;
    world.settle().await;
    let late = world.endpoint("/late", json!({})).await;
    let other = world.endpoint("/other", json!({ "event_types": ["b"] })).await;
    let path = format!("/v1/events/{event}/replay");
    world.api.post(&path, json!({ "endpoint_ids": [late] })).await.expect(202);
    world.settle().await;
    assert_eq!((world.receiver.got("/late").len(), world.receiver.got("/other").len()), (1, 0));
    assert_eq!(world.delivery(&late, &event).await["status"], "succeeded");
    world.api.post(&path, json!({ "endpoint_ids": [other] })).await.expect(202);
    world.settle().await;
    assert_eq!(world.receiver.got("/other").len(), 1);
    let unknown = json!({ "endpoint_ids": ["ep_01J1C6ZGQ6FQTH2X6M2VS3P0XW"] });
    let named = world.api.post(&path, unknown).await.expect_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR");
    assert_eq!(named, ["endpoint_ids"]);
}

#[tokio::test]
async fn manual_retry_during_a_wait_does_not_double_the_schedule() {
    let world = World::start().await;
    let id = world.endpoint("/a", json!({ "retry": { "schedule_seconds": [300, 300] } })).await;
    world.receiver.reply("/a", [Reply::Status(500)]);
    let event = world.send("a", json!({})).await;
    world.settle().await;
    let path = format!("/v1/endpoints/{id}/deliveries/{event}/retry");
    let answers = join_all((0..2).map(|_| world.api.post(&path, json!({})))).await;
    assert!(answers.iter().all(|answer| answer.status == 202));
    world.settle().await;
    let attempts = world.delivery(&id, &event).await["attempts"].as_array().unwrap().clone();
    assert_eq!(attempts.len(), 2);
    assert_eq!(attempts[1]["trigger"], "manual");
    world.run(7_200).await;
    let delivery = world.delivery(&id, &event).await;
    // It counts beside the three that the schedule allows.
    assert_eq!((delivery["status"].clone(), delivery["attempts"].as_array().unwrap().len()), (json!("failed"), 4));
    // A failed one can be tried again: one attempt, and then it is failed again.
    world.api.post(&path, json!({})).await.expect(202);
    world.run(7_200).await;
    let delivery = world.delivery(&id, &event).await;
    assert_eq!((delivery["status"].clone(), delivery["attempts"].as_array().unwrap().len()), (json!("failed"), 5));
    assert_eq!(world.receiver.got("/a").len(), 5);
}

#[tokio::test]
async fn wrong_replays_are_refused() {
    let world = World::start().await;
    let id = world.endpoint("/a", json!({})).await;
    let path = format!("/v1/endpoints/{id}/replay");
    let body = json!({ "until": "x", "status": ["lost"], "event_types": ["a..b"], "odd": 1 });
    let named = world.api.post(&path, body).await.expect_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR");
    assert_eq!(named, ["since", "until", "status", "event_types", "odd"]);
    let backwards = json!({ "since": "2026-11-20T00:00:00Z", "until": "2026-11-19T00:00:00Z" });
    let named = world.api.post(&path, backwards).await.expect_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR");
    assert_eq!(named, ["until"]);
    for path in ["/v1/replays/rpl_01J1C6ZGQ6FQTH2X6M2VS3P0XW", "/v1/replays/x"] {
        world.api.get(path).await.expect_error(StatusCode::NOT_FOUND, "NOT_FOUND");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn manual_retry_during_an_attempt_that_fails_is_made_after_it() {
    let world = World::start().await;
    let id = world.endpoint("/a", json!({ "retry": { "schedule_seconds": [5, 3_600] } })).await;
    let gate = Arc::new(Semaphore::new(0));
    world.receiver.reply("/a", [Reply::Status(500), Reply::Gate(Arc::clone(&gate), 500), Reply::Status(500)]);
    let event = world.send("a", json!({})).await;
    world.settle().await;
    world.advance_seconds(7);
    let (stop, mut pollers) = world.keep_polling();
    until("the second attempt is under way", async || world.receiver.got("/a").len() == 2).await;
    world.api.post(&format!("/v1/endpoints/{id}/deliveries/{event}/retry"), json!({})).await.expect(202);
    gate.add_permits(1);
    until("the retry has been made", async || world.receiver.got("/a").len() == 3).await;
    stop.send_replace(true);
    while pollers.join_next().await.is_some() {}
    let attempts = world.delivery(&id, &event).await["attempts"].clone();
    let triggers: Vec<_> = attempts.as_array().unwrap().iter().map(|attempt| attempt["trigger"].clone()).collect();
    assert_eq!(triggers, ["automatic", "automatic", "manual"]);
}
