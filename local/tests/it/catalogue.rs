//! The catalogue of event types, test calls, and how an endpoint is doing.

use http::StatusCode;
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Reply, World};

async fn put(world: &World, name: &str, body: Value) -> crate::world::Answer {
    world.api.send(Method::PUT, &format!("/v1/event-types/{name}"), body.to_string()).await
}

#[tokio::test]
async fn data_that_breaks_the_schema_of_its_type_is_refused_warned_about_or_let_through() {
    let world = World::start().await;
    let schema = json!({ "type": "object", "required": ["id"], "properties": { "id": { "type": "integer" } } });
    let entry = put(&world, "cases.created", json!({ "description": "A case", "schema": schema })).await.expect(201);
    assert_eq!((entry["enforcement"].clone(), entry["archived"].clone()), (json!("reject"), json!(false)));
    let send = async |data: Value| world.api.post("/v1/events", json!({ "type": "cases.created", "data": data })).await;
    let named = send(json!({ "id": "x" })).await.expect_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR");
    assert_eq!(named, ["data.id"]);
    send(json!({ "id": 1 })).await.expect(202);
    let batch = json!({ "events": [{ "type": "cases.created", "data": {} }, { "type": "other", "data": {} }] });
    let results = world.api.post("/v1/events/batch", batch).await.expect(202);
    assert_eq!(results[0]["error"]["code"], "VALIDATION_ERROR");
    assert!(results[1]["id"].is_string());
    for enforcement in ["warn", "off"] {
        let changed =
            put(&world, "cases.created", json!({ "schema": schema, "enforcement": enforcement })).await.expect(200);
        assert_eq!(changed["created_at"], entry["created_at"]);
        send(json!({})).await.expect(202);
    }
    assert_eq!(world.api.delete("/v1/event-types/cases.created").await.status, 204);
    world.api.get("/v1/event-types/cases.created").await.expect_error(StatusCode::NOT_FOUND, "NOT_FOUND");
    send(json!({})).await.expect(202);
    let named = put(&world, "a..b", json!({})).await.expect_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR");
    assert_eq!(named, ["name"]);
    let wrong = json!({ "schema": { "type": "nonsense" }, "enforcement": "x", "archived": 1, "odd": 1 });
    let named = put(&world, "a", wrong).await.expect_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR");
    assert_eq!(named, ["schema", "enforcement", "archived", "odd"]);
}

#[tokio::test]
async fn catalogue_is_listed_by_name_in_pages() {
    let world = World::start().await;
    for name in ["b", "a.x", "c"] {
        put(&world, name, json!({})).await.expect(201);
    }
    let first = world.api.get("/v1/event-types?limit=2").await;
    let next = first.body["next_cursor"].as_str().unwrap();
    let second = world.api.get(&format!("/v1/event-types?limit=2&cursor={next}")).await;
    let names: Vec<_> = [first.body, second.body]
        .iter()
        .flat_map(|page| page["data"].as_array().unwrap().clone())
        .map(|one| one["name"].clone())
        .collect();
    assert_eq!(names, ["a.x", "b", "c"]);
}

#[tokio::test]
async fn test_call_answers_with_what_the_receiver_said_or_why_it_did_not() {
    let world = World::start().await;
    let id = world.endpoint("/a", json!({ "event_types": ["cases.*"] })).await;
    let path = format!("/v1/endpoints/{id}/test");
    world.receiver.reply("/a", [Reply::Full(200, "x-a", "b".into(), "hello".into()), Reply::Status(500)]);
    let said = world.api.post(&path, json!({ "event_type": "cases.created", "data": { "n": 1 } })).await.expect(200);
    assert_eq!(
        (said["delivered"].clone(), said["status"].clone(), said["body"].clone()),
        (json!(true), json!(200), json!("hello"))
    );
    assert!(said["duration_ms"].is_u64());
    let got = world.receiver.got("/a");
    let body: Value = serde_json::from_slice(&got[0].body).unwrap();
    assert_eq!((body["type"].clone(), body["data"].clone()), (json!("cases.created"), json!({ "n": 1 })));
    let said = world.api.post(&path, json!({})).await.expect(200);
    assert_eq!((said["delivered"].clone(), said["status"].clone()), (json!(false), json!(500)));
    assert_eq!(world.api.get(&format!("/v1/endpoints/{id}/deliveries")).await.expect(200), json!([]));

    let closed = json!({ "url": "http://127.0.0.1:1/" });
    let closed = world.api.post("/v1/endpoints", closed).await.expect(201);
    let said =
        world.api.post(&format!("/v1/endpoints/{}/test", closed["id"].as_str().unwrap()), json!({})).await.expect(200);
    assert_eq!(said["delivered"], false);
    assert!(said["error"].as_str().unwrap().starts_with("unreachable"));
    world.api.patch(&format!("/v1/endpoints/{id}"), json!({ "status": "paused" })).await.expect(200);
    world.api.post(&path, json!({})).await.expect_error(StatusCode::NOT_FOUND, "NOT_FOUND");
}

#[tokio::test]
async fn test_event_reaches_every_active_endpoint_whatever_it_subscribes_to() {
    let world = World::start().await;
    world.endpoint("/a", json!({ "event_types": ["cases.*"], "channels": ["c"] })).await;
    world.endpoint("/b", json!({})).await;
    world.endpoint("/paused", json!({ "status": "paused" })).await;
    let queued = world.api.post("/v1/endpoints/test", json!({})).await.expect(200);
    assert_eq!(queued["success"], true);
    world.settle().await;
    assert_eq!(["/a", "/b", "/paused"].map(|path| world.receiver.got(path).len()), [1, 1, 0]);
    assert_eq!(world.receiver.got("/a")[0].header("webhook-id"), queued["event_id"].as_str().unwrap());
}

#[tokio::test]
async fn event_status_shows_the_latest_of_each_type_and_what_has_had_none() {
    let world = World::start().await;
    put(&world, "cases.closed", json!({})).await.expect(201);
    put(&world, "other", json!({})).await.expect(201);
    let id = world.endpoint("/a", json!({ "event_types": ["cases.*", "assignments.created"] })).await;
    world.receiver.reply("/a", [Reply::Status(200), Reply::Full(500, "x", "y".into(), "no".into())]);
    for _ in 0..2 {
        world.send("cases.created", json!({})).await;
        world.settle().await;
        world.advance_seconds(1);
    }
    let status = world.api.get(&format!("/v1/endpoints/{id}/event-status")).await.expect(200);
    let types: Vec<_> = status.as_array().unwrap().iter().map(|one| one["event_type"].clone()).collect();
    assert_eq!(types, ["assignments.created", "cases.closed", "cases.created"]);
    assert_eq!(status[0]["latest"], json!({ "type": "no_recent_delivery" }));
    let latest = &status[2]["latest"];
    assert_eq!((latest["type"].clone(), latest["success"].clone()), (json!("delivery"), json!(false)));
    assert_eq!((latest["status_code"].clone(), latest["response_body"].clone()), (json!(500), json!("no")));

    let stats = world.api.get(&format!("/v1/endpoints/{id}/stats?window=24h")).await.expect(200);
    assert_eq!(stats["counts"], json!({ "pending": 1, "succeeded": 1 }));
    assert_eq!((stats["success_rate"].clone(), stats["hours"].as_array().unwrap().len()), (json!(1.0), 1));
    assert!(stats["response_time_ms"]["p95"].is_u64());
    let wrong = world.api.get(&format!("/v1/endpoints/{id}/stats?window=1d")).await;
    assert_eq!(wrong.expect_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR"), ["window"]);
}
