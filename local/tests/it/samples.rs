//! The samples in `events/`, one per trigger: each is read by the types that the functions use, and does what it says.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use http_body_util::BodyExt;
use local::aws::{Fault, FaultRule, Service};
use serde_json::{Value, json};
use shared::domain::event::NewEvent;
use shared::domain::id::EventId;
use tower::ServiceExt;

use crate::world::{Reply, World};

/// The tenant and the endpoint that the samples name.
pub(crate) const TENANT: &str = "ten_01J1C6ZGQ6FQTH2X6M2VS3P0XW";
pub(crate) const ENDPOINT: &str = "ep_01J1C6ZGQ6FQTH2X6M2VS3P0XW";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("events")
}

/// The text of a sample.
pub(crate) fn sample(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap()
}

#[test]
fn every_sample_is_used_here() {
    let found: BTreeSet<_> =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let used = include_str!("samples.rs");
    for name in &found {
        assert!(used.contains(&format!("\"{name}\"")), "{name}");
    }
    assert!(found.len() >= 8);
}

/// The sample of the retries queue as the valid wake of this endpoint's backlog.
pub(crate) async fn wake_of(world: &World, endpoint: &str) -> String {
    let id = endpoint.parse().unwrap();
    let flow = world.services.store.flows(&[id]).await.unwrap().remove(&id).unwrap();
    let wake = sample("sqs-retries.json").replace(ENDPOINT, endpoint).replace("0123456789abcdef", &flow.token.unwrap());
    wake.replace(TENANT, &world.demo.tenant_id.to_string())
}

/// Hands a sample to deliver as Lambda would; the ids of the messages that come back.
async fn deliver(world: &World, text: &str) -> Vec<String> {
    let text = text.replace(TENANT, &world.demo.tenant_id.to_string());
    let event = serde_json::from_str(&text).unwrap();
    let response = deliver::handle(&world.services, event, world.deadline()).await;
    response.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect()
}

#[tokio::test]
async fn sample_of_the_events_queue_is_delivered_and_of_the_retries_queue_has_what_is_due_tried_again() {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({})).await;
    world.receiver.reply("/a", [Reply::Status(500), Reply::Status(200)]);
    assert_eq!(deliver(&world, &sample("sqs.json")).await, [""; 0]);
    let got = world.receiver.got("/a");
    assert_eq!(got.len(), 1);
    let record: Value = serde_json::from_str(&sample("sqs.json")).unwrap();
    let sent_at = record["Records"][0]["attributes"]["SentTimestamp"].as_str().unwrap().parse().unwrap();
    let sent_at = jiff::Timestamp::from_millisecond(sent_at).unwrap();
    let id = EventId::derived_from_message(sent_at, record["Records"][0]["messageId"].as_str().unwrap()).to_string();
    assert_eq!(got[0].header("webhook-id"), id);

    world.advance_seconds(7);
    let retries = sample("sqs-retries.json");
    assert!(retries.contains(world.services.config.retries_queue_url.rsplit('/').next().unwrap()));
    // With a token that is not the valid one it is a message like any other that comes late.
    assert_eq!(deliver(&world, &retries.replace(ENDPOINT, &endpoint)).await, [""; 0]);
    assert_eq!(world.receiver.got("/a").len(), 1);
    assert_eq!(deliver(&world, &wake_of(&world, &endpoint).await).await, [""; 0]);
    let got = world.receiver.got("/a");
    assert_eq!(got.len(), 2);
    assert_eq!(got[1].body, got[0].body);
}

#[tokio::test]
async fn sample_with_one_good_and_one_bad_message_delivers_the_one_and_dead_letters_the_other() {
    let world = World::start().await;
    world.endpoint("/a", json!({})).await;
    assert_eq!(deliver(&world, &sample("sqs-mixed.json")).await, [""; 0]);
    assert_eq!(world.receiver.got("/a").len(), 1);
    assert_eq!(world.dead_letters().await.len(), 1);
}

#[tokio::test]
async fn message_of_a_sample_comes_back_when_the_table_does_not_answer() {
    let world = World::start().await;
    world.endpoint("/a", json!({})).await;
    let down = FaultRule { times: u32::MAX, ..FaultRule::once(Service::DynamoDb, "BatchGetItem", Fault::DropBefore) };
    world.aws.faults().inject(down);
    assert_eq!(deliver(&world, &sample("sqs.json")).await, ["00000001-0000-4000-8000-000000000001"]);
    assert_eq!(world.receiver.got("/a").len(), 0);
}

#[tokio::test]
async fn detail_of_the_event_bus_sample_is_a_message_of_the_events_queue() {
    let world = World::start().await;
    world.endpoint("/a", json!({ "event_types": ["orders.*"] })).await;
    let event: Value = serde_json::from_str(&sample("eventbridge.json")).unwrap();
    let detail = event["detail"].to_string().replace(TENANT, &world.demo.tenant_id.to_string());
    NewEvent::from_message(detail.as_bytes()).unwrap();
    world.send_message(&detail).await;
    world.settle().await;
    assert_eq!(world.receiver.got("/a").len(), 1);
}

#[tokio::test]
async fn sample_of_the_schedule_makes_a_run_of_the_sweeper() {
    let world = World::start().await;
    let tick = serde_json::from_str(&sample("schedule.json")).unwrap();
    assert_eq!(sweep::handle(&world.services, tick).await.failed, 0);
}

/// Hands a sample to the API as Lambda would; status and body of the answer.
async fn call(world: &World, name: &str) -> (u16, Value) {
    let text = sample(name).replace("sk_live_REPLACE_ME", &world.demo.live_key);
    let request = lambda_http::request::from_str(&text).unwrap();
    let request_id = serde_json::from_str::<Value>(&text).unwrap()["requestContext"]["requestId"].clone();
    let answer = api::router(world.services.clone()).oneshot(request.map(axum::body::Body::new)).await.unwrap();
    // API Gateway's own id, so that its access log and ours agree.
    assert_eq!(answer.headers()["x-request-id"].to_str().ok(), request_id.as_str());
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn samples_of_the_api_are_answered_as_the_contract_says() {
    let world = World::start().await;
    let (status, health) = call(&world, "api-get-health.json").await;
    assert_eq!((status, &health["data"]["status"]), (200, &json!("ok")));
    let (status, endpoint) = call(&world, "api-create-endpoint.json").await;
    assert_eq!((status, &endpoint["data"]["status"]), (201, &json!("active")));
    let (status, first) = call(&world, "api-post-event.json").await;
    assert_eq!(status, 202);
    let (_, again) = call(&world, "api-post-event.json").await;
    assert_eq!(first, again);
}
