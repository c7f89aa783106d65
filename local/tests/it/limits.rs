//! Bounds, each at its number and one beyond; what several endpoints or tenants share is in `bounds`.

use http::StatusCode;
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Reply, World};

/// The body of an event of so many bytes.
fn event_of(bytes: usize) -> String {
    let around = json!({ "type": "a", "data": { "x": "" } }).to_string();
    json!({ "type": "a", "data": { "x": "x".repeat(bytes - around.len()) } }).to_string()
}

/// The body of a catalogue entry whose schema has so many bytes.
fn schema_of(bytes: usize) -> String {
    let around = json!({ "description": "" }).to_string();
    json!({ "schema": { "description": "d".repeat(bytes - around.len()) } }).to_string()
}

#[tokio::test]
async fn what_callers_send_is_taken_up_to_its_number_and_refused_one_beyond() {
    let world = World::start().await;
    let endpoint = |settings: Value| {
        let mut body = json!({ "url": "https://example.com/" });
        body.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        body.to_string()
    };
    let names = |count: usize| (0..count).map(|n| format!("n{n}")).collect::<Vec<_>>();
    let headers = |count: usize| Value::Object(names(count).into_iter().map(|name| (name, json!("v"))).collect());
    let batch = |count: usize| json!({ "events": vec![json!({ "type": "a", "data": {} }); count] }).to_string();
    let cases: [(Method, &str, String, String, StatusCode, &str); 9] = [
        (Method::POST, "/v1/events", event_of(262_144), event_of(262_145), StatusCode::PAYLOAD_TOO_LARGE, ""),
        (Method::POST, "/v1/events/batch", batch(100), batch(101), StatusCode::BAD_REQUEST, "events"),
        (Method::PUT, "/v1/event-types/a.b", schema_of(32_768), schema_of(32_769), StatusCode::BAD_REQUEST, "schema"),
        (
            Method::POST,
            "/v1/endpoints",
            endpoint(json!({ "payload_fields": names(50) })),
            endpoint(json!({ "payload_fields": names(51) })),
            StatusCode::BAD_REQUEST,
            "payload_fields",
        ),
        (
            Method::POST,
            "/v1/endpoints",
            endpoint(json!({ "headers": headers(20) })),
            endpoint(json!({ "headers": headers(21) })),
            StatusCode::BAD_REQUEST,
            "headers",
        ),
        (
            Method::POST,
            "/v1/endpoints",
            endpoint(json!({ "headers": { "x-a": "v".repeat(8_189) } })),
            endpoint(json!({ "headers": { "x-a": "v".repeat(8_190) } })),
            StatusCode::BAD_REQUEST,
            "headers",
        ),
        (
            Method::POST,
            "/v1/endpoints",
            endpoint(json!({ "event_types": names(100) })),
            endpoint(json!({ "event_types": names(101) })),
            StatusCode::BAD_REQUEST,
            "event_types",
        ),
        (
            Method::POST,
            "/v1/endpoints",
            endpoint(json!({ "timeout_seconds": 30 })),
            endpoint(json!({ "timeout_seconds": 31 })),
            StatusCode::BAD_REQUEST,
            "timeout_seconds",
        ),
        (
            Method::POST,
            "/v1/endpoints",
            endpoint(json!({ "retry": { "max_attempts": 20 } })),
            endpoint(json!({ "retry": { "max_attempts": 21 } })),
            StatusCode::BAD_REQUEST,
            "retry.max_attempts",
        ),
    ];
    for (method, path, at, beyond, status, field) in cases {
        let taken = world.api.send(method.clone(), path, at).await;
        assert!((200..300).contains(&taken.status), "{method} {path} {field}: {}", taken.body);
        let refused = world.api.send(method.clone(), path, beyond).await;
        assert_eq!(refused.status, status.as_u16(), "{method} {path} {field}: {}", refused.body);
        let named = refused.body["error"]["details"][0]["field"].as_str().unwrap_or_default().to_owned();
        assert_eq!(named, field, "{method} {path}: {}", refused.body);
    }
}

#[tokio::test]
async fn answer_has_a_thousand_headers_and_not_one_more() {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({ "retry": { "max_attempts": 1 } })).await;
    // The receiver's server adds its `content-length` and `date`.
    world.receiver.reply("/a", [Reply::Headers(998), Reply::Headers(999)]);
    let (at, beyond) = (world.send("a", json!({})).await, world.send("b", json!({})).await);
    world.run(1).await;
    let mut ended = Vec::new();
    for event in [&at, &beyond] {
        ended.push(world.delivery(&endpoint, event).await["status"].as_str().unwrap().to_owned());
    }
    ended.sort_unstable();
    assert_eq!(ended, ["failed", "succeeded"]);
}

#[tokio::test]
async fn tenant_has_five_hundred_portal_sessions_at_once_and_not_one_more() {
    let world = World::start().await;
    let sessions = format!("/v1/tenants/{}/portal-sessions", world.demo.tenant_id);
    let open = async || world.root.post(&sessions, json!({ "mode": "live" })).await;
    for _ in 0..500 {
        open().await.expect(201);
    }
    open().await.expect_error(StatusCode::CONFLICT, "LIMIT_EXCEEDED");
}
