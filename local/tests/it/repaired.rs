//! What a reviewer once found broken, and must not be again.

use http::StatusCode;
use local::aws::{Fault, FaultRule, Service};
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Answer, World};

async fn keyed(world: &World, path: &str, key: &str, body: &Value) -> Answer {
    let request = world.api.request(Method::POST, path).header("idempotency-key", key);
    Answer::of(request.header("content-type", "application/json").body(body.to_string())).await
}

#[tokio::test]
async fn batch_that_an_outage_refused_is_accepted_later_under_the_same_key_and_delivered_once() {
    let world = World::start().await;
    world.endpoint("/a", json!({})).await;
    let events: Vec<_> = (0..3).map(|n| json!({ "type": "a", "data": { "n": n } })).collect();
    let batch = json!({ "events": events });
    for operation in ["SendMessage", "SendMessageBatch"] {
        let rule = FaultRule::once(Service::Sqs, operation, Fault::Unavailable);
        world.aws.faults().inject(FaultRule { times: u32::MAX, ..rule });
    }
    let refused = keyed(&world, "/v1/events/batch", "k", &batch).await;
    refused.expect_error(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE");
    world.aws.faults().clear();
    let accepted = keyed(&world, "/v1/events/batch", "k", &batch).await.expect(202);
    assert_eq!(keyed(&world, "/v1/events/batch", "k", &batch).await.expect(202), accepted);
    world.settle().await;
    assert_eq!(world.receiver.got("/a").len(), 3);
    let other = json!({ "events": [{ "type": "b", "data": {} }] });
    keyed(&world, "/v1/events/batch", "k", &other).await.expect_error(StatusCode::CONFLICT, "CONFLICT");
}

#[tokio::test]
async fn event_shows_its_deliveries_however_many_endpoints_it_went_to() {
    let world = World::start().await;
    let tenant = format!("/v1/tenants/{}", world.demo.tenant_id);
    world.root.patch(&tenant, json!({ "max_endpoints": 40 })).await.expect(200);
    for n in 0..30 {
        world.endpoint(&format!("/{n}"), json!({})).await;
    }
    let event = world.send("a", json!({})).await;
    world.settle().await;
    let path = format!("/v1/events/{event}");
    assert_eq!(world.api.get(&path).await.expect(200)["deliveries"].as_array().unwrap().len(), 30);
    let late = world.endpoint("/late", json!({})).await;
    world.api.post(&format!("{path}/replay"), json!({ "endpoint_ids": [late] })).await.expect(202);
    world.settle().await;
    assert_eq!(world.api.get(&path).await.expect(200)["deliveries"].as_array().unwrap().len(), 31);

    let first = world.api.patch(&format!("/v1/endpoints/{late}"), json!({ "status": "paused" })).await.expect(200);
    let paused = world.api.get("/v1/endpoints?status=paused&limit=1").await;
    assert_eq!(paused.body["data"], json!([first]));
    assert_eq!(paused.body["has_more"], false);
    let named = world.api.post(&format!("{path}/replay"), json!({ "endpoint_ids": [late] })).await;
    named.expect_error(StatusCode::CONFLICT, "CONFLICT");
}

#[tokio::test]
async fn change_that_would_have_two_fields_set_one_header_is_refused() {
    let world = World::start().await;
    let id = world.endpoint("/a", json!({ "headers": { "x-env": "prod" } })).await;
    let path = format!("/v1/endpoints/{id}");
    let clash = json!({ "signature": { "scheme": "hmac", "header": "x-env" } });
    let named = world.api.patch(&path, clash).await.expect_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR");
    assert_eq!(named, ["signature"]);
    assert_eq!(world.api.get(&path).await.expect(200)["version"], 1);
}

#[tokio::test]
async fn short_lists_are_paged_too() {
    let world = World::start().await;
    let keys = format!("/v1/tenants/{}/keys", world.demo.tenant_id);
    let first = world.root.get(&format!("{keys}?limit=1")).await;
    let next = first.body["next_cursor"].as_str().unwrap();
    let second = world.root.get(&format!("{keys}?limit=1&cursor={next}")).await;
    assert_ne!(first.body["data"], second.body["data"]);
    assert_eq!(second.body["has_more"], false);
    let id = world.endpoint("/a", json!({ "event_types": ["a", "b"] })).await;
    let status = format!("/v1/endpoints/{id}/event-status");
    let first = world.api.get(&format!("{status}?limit=1")).await;
    let next = first.body["next_cursor"].as_str().unwrap();
    let second = world.api.get(&format!("{status}?limit=1&cursor={next}")).await.expect(200);
    assert_eq!(second[0]["event_type"], "b");
}
