//! Two at once: one claim, one request, and nothing that was sent is missing on record.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::join_all;
use reqwest::Method;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::world::{Answer, Reply, World, until};

const KEYS: usize = 40;
/// The queues' visibility timeout, and a second.
const REDELIVERED_SECONDS: i64 = 361;

async fn post(world: &World, key: &str) -> String {
    let request = world.api.request(Method::POST, "/v1/events").header("content-type", "application/json");
    let body = json!({ "type": "a", "data": {} }).to_string();
    let accepted = Answer::of(request.header("idempotency-key", key).body(body)).await.expect(202);
    accepted["id"].as_str().unwrap().to_owned()
}

/// How often each event came to `/a`.
fn came(world: &World) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for got in world.receiver.got("/a") {
        *counts.entry(got.header("webhook-id").to_owned()).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn posts_at_once_under_one_key_are_one_event_and_one_request_for_every_key() {
    let mut world = World::start().await;
    world.scale_out(2).await;
    world.endpoint("/a", json!({})).await;
    let (stop, mut pollers) = world.keep_polling();
    let of_key = async |n: usize| {
        let key = format!("key-{n}");
        join_all((0..4).map(|_| post(&world, &key))).await
    };
    let ids = join_all((0..KEYS).map(of_key)).await;
    until("every event has come", async || came(&world).len() == KEYS && world.queued().await == 0).await;
    stop.send_replace(true);
    while pollers.join_next().await.is_some() {}
    for ids in ids {
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        assert_eq!(came(&world)[&ids[0]], 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_key_over_http_and_the_queue_at_once_is_one_event_and_one_request() {
    let mut world = World::start().await;
    world.scale_out(2).await;
    let endpoint = world.endpoint("/a", json!({})).await;
    let (stop, mut pollers) = world.keep_polling();
    let of_key = async |n: usize| {
        let key = format!("key-{n}");
        let message = world.message("a", json!({ "data": {}, "idempotency_key": key })).to_string();
        let (id, _, _) = tokio::join!(post(&world, &key), world.send_message(&message), world.send_message(&message));
        id
    };
    let ids = join_all((0..KEYS).map(of_key)).await;
    until("every event has come", async || came(&world).len() >= KEYS).await;
    stop.send_replace(true);
    while pollers.join_next().await.is_some() {}
    // A message that found a fresh claim comes again.
    world.run(REDELIVERED_SECONDS).await;
    assert_eq!(world.queued().await, 0);
    assert_eq!(came(&world), ids.iter().map(|id| (id.clone(), 1)).collect());
    for id in &ids {
        assert_eq!(world.delivery(&endpoint, id).await["attempts"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_manual_retries_at_once_are_one_request_that_is_on_record() {
    let mut world = World::start().await;
    world.scale_out(2).await;
    let gate = Arc::new(Semaphore::new(0));
    world.receiver.reply("/a", [Reply::Status(500), Reply::Gate(Arc::clone(&gate), 500)]);
    let endpoint = world.endpoint("/a", json!({ "retry": { "max_attempts": 1 } })).await;
    let event = world.send("a", json!({})).await;
    world.settle().await;
    assert_eq!(world.delivery(&endpoint, &event).await["status"], "failed");

    let (stop, mut pollers) = world.keep_polling();
    let path = format!("/v1/endpoints/{endpoint}/deliveries/{event}/retry");
    let clicks = join_all((0..10).map(|_| world.api.post(&path, json!({})))).await;
    assert!(clicks.iter().all(|click| click.status == 202), "{:?}", clicks[0].body);
    until("the retry is under way", async || world.receiver.got("/a").len() > 1).await;
    gate.add_permits(10);
    until("all has ended", async || {
        world.queued().await == 0 && world.delivery(&endpoint, &event).await["status"] == "failed"
    })
    .await;
    stop.send_replace(true);
    while pollers.join_next().await.is_some() {}
    let attempts = world.delivery(&endpoint, &event).await["attempts"].clone();
    assert_eq!((world.receiver.got("/a").len(), attempts.as_array().unwrap().len()), (2, 2), "{attempts}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_several_batches_have_to_tell_at_once_is_told_once() {
    let mut world = World::start().await;
    world.scale_out(3).await;
    world.endpoint("/ops", json!({ "event_types": ["endpoint.disabled"] })).await;
    let gate = Arc::new(Semaphore::new(0));
    world.receiver.reply("/gone", [Reply::Gate(Arc::clone(&gate), 410)]);
    let gone = world.endpoint("/gone", json!({ "event_types": ["a"] })).await;
    for _ in 0..8 {
        world.send("a", json!({})).await;
    }
    let (stop, mut pollers) = world.keep_polling();
    until("all are asked", async || world.receiver.got("/gone").len() == 8).await;
    gate.add_permits(100);
    until("all has ended", async || world.queued().await == 0 && !world.receiver.got("/ops").is_empty()).await;
    stop.send_replace(true);
    while pollers.join_next().await.is_some() {}
    assert_eq!(world.receiver.got("/ops").len(), 1);
    let shown = world.api.get(&format!("/v1/endpoints/{gone}")).await.expect(200);
    assert_eq!(shown["status"], "disabled");
}
