//! The operator's own routes: tenants, keys, portal sessions, rate limits, and what a deleted tenant leaves.

use http::StatusCode;
use serde_json::json;

use crate::world::{Answer, Client, World};

#[tokio::test]
async fn tenant_is_made_listed_changed_and_deleted_with_all_it_has() {
    let world = World::start().await;
    world.advance_seconds(1);
    let made = world.root.post("/v1/tenants", json!({ "name": "Acme" })).await.expect(201);
    assert_eq!((made["max_endpoints"].clone(), made["secret_visibility"].clone()), (json!(10), json!("readable")));
    let defaults = json!({ "reads": 600, "writes": 120, "delivery_queries": 120, "events": 0 });
    assert_eq!(made["rate_limits"], defaults);
    let path = format!("/v1/tenants/{}", made["id"].as_str().unwrap());
    let change = json!({ "max_endpoints": 1, "rate_limits": { "writes": 0 } });
    let changed = world.root.patch(&path, change).await.expect(200);
    assert_eq!((changed["max_endpoints"].clone(), changed["rate_limits"]["writes"].clone()), (json!(1), json!(0)));
    assert_eq!(world.root.get(&path).await.expect(200), changed);
    let listed = world.root.get("/v1/tenants?limit=1").await;
    let next = listed.body["next_cursor"].as_str().unwrap();
    let second = world.root.get(&format!("/v1/tenants?limit=1&cursor={next}")).await.expect(200);
    assert_eq!(second[0]["id"], made["id"]);

    let key = world.root.post(&format!("{path}/keys"), json!({ "mode": "live" })).await.expect(201);
    let client = Client::new(&world.api_url, key["key"].as_str().unwrap());
    let endpoint = world.endpoint_of(&client, "/a", json!({})).await;
    client
        .post("/v1/endpoints", json!({ "url": world.receiver.url("/b") }))
        .await
        .expect_error(StatusCode::CONFLICT, "LIMIT_EXCEEDED");
    assert_eq!(world.endpoint_secrets().await, 1);
    assert_eq!(world.root.delete(&path).await.status, 204);
    world.root.delete(&path).await.expect_error(StatusCode::NOT_FOUND, "NOT_FOUND");
    world.root.get(&path).await.expect_error(StatusCode::NOT_FOUND, "NOT_FOUND");
    world.advance_seconds(6);
    client.get(&format!("/v1/endpoints/{endpoint}")).await.expect_error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
    world.run(2 * 60).await;
    assert_eq!(world.endpoint_secrets().await, 0);
    let left = world.root.get("/v1/tenants").await.expect(200);
    assert_eq!(left.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn pending_deliveries_of_a_deleted_tenant_end_quietly() {
    let world = World::start().await;
    let made = world.root.post("/v1/tenants", json!({ "name": "Acme" })).await.expect(201);
    let path = format!("/v1/tenants/{}", made["id"].as_str().unwrap());
    let key = world.root.post(&format!("{path}/keys"), json!({ "mode": "live" })).await.expect(201);
    let client = Client::new(&world.api_url, key["key"].as_str().unwrap());
    world.endpoint_of(&client, "/a", json!({})).await;
    world.receiver.reply("/a", [crate::world::Reply::Status(500)]);
    client.post("/v1/events", json!({ "type": "a", "data": {} })).await.expect(202);
    world.settle().await;
    client.post("/v1/events", json!({ "type": "a", "data": {} })).await.expect(202);
    assert_eq!(world.root.delete(&path).await.status, 204);
    world.run(86_400).await;
    assert_eq!(world.receiver.got("/a").len(), 1);
    assert_eq!((world.waiting().await.len(), world.dead_letters().await.len()), (0, 0));
}

#[tokio::test]
async fn key_is_shown_once_listed_without_it_and_refused_when_it_expires_or_is_deleted() {
    let world = World::start().await;
    let path = format!("/v1/tenants/{}/keys", world.demo.tenant_id);
    let body = json!({ "mode": "test", "name": "CI", "permissions": ["endpoints:read"], "expires_at": "2026-11-20T00:01:00Z" });
    let made = world.root.post(&path, body).await.expect(201);
    let text = made["key"].as_str().unwrap();
    assert!(text.starts_with("sk_test_"));
    assert!(!world.table_texts().await.contains(text));
    let listed = world.root.get(&path).await.expect(200);
    assert_eq!(listed.as_array().unwrap().len(), 3);
    assert!(listed.as_array().unwrap().iter().all(|key| key.get("key").is_none()));
    let client = Client::new(&world.api_url, text);
    client.get("/v1/endpoints").await.expect(200);
    world.advance_seconds(60);
    client.get("/v1/endpoints").await.expect_error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");

    let live = world.root.post(&path, json!({ "mode": "live" })).await.expect(201);
    let client = Client::new(&world.api_url, live["key"].as_str().unwrap());
    client.get("/v1/endpoints").await.expect(200);
    let one = format!("{path}/{}", live["id"].as_str().unwrap());
    assert_eq!(world.root.delete(&one).await.status, 204);
    world.root.delete(&one).await.expect_error(StatusCode::NOT_FOUND, "NOT_FOUND");
    world.advance_seconds(6);
    client.get("/v1/endpoints").await.expect_error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
}

#[tokio::test]
async fn portal_session_opens_one_world_for_a_while_with_some_permissions() {
    let world = World::start().await;
    let path = format!("/v1/tenants/{}/portal-sessions", world.demo.tenant_id);
    let body = json!({ "mode": "live", "permissions": ["endpoints:read"], "expires_in_seconds": 60 });
    let session = world.root.post(&path, body).await.expect(201);
    let token = session["token"].as_str().unwrap();
    assert!(session["url"].as_str().unwrap().ends_with(&format!("/console#{token}")));
    assert_eq!(session["expires_at"], "2026-11-20T00:01:00.000Z");
    let client = Client::new(&world.api_url, token);
    let endpoint = world.endpoint("/a", json!({})).await;
    client.get(&format!("/v1/endpoints/{endpoint}")).await.expect(200);
    client.delete(&format!("/v1/endpoints/{endpoint}")).await.expect_error(StatusCode::FORBIDDEN, "FORBIDDEN");
    let keys = world.root.get(&format!("/v1/tenants/{}/keys", world.demo.tenant_id)).await.expect(200);
    assert_eq!(keys.as_array().unwrap().len(), 2);
    world.advance_seconds(60);
    client.get("/v1/endpoints").await.expect_error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
    let named =
        world.root.post(&path, json!({ "mode": "x", "permissions": ["events:write"], "expires_in_seconds": 1 })).await;
    assert_eq!(
        named.expect_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR"),
        ["mode", "permissions", "expires_in_seconds"]
    );
}

#[tokio::test]
async fn requests_beyond_the_limit_are_refused_until_the_minute_is_over_and_other_classes_go_on() {
    let world = World::start().await;
    let made = world.root.post("/v1/tenants", json!({ "name": "Limited" })).await.expect(201);
    let path = format!("/v1/tenants/{}", made["id"].as_str().unwrap());
    let limits = json!({ "rate_limits": { "reads": 3, "delivery_queries": 1 } });
    world.root.patch(&path, limits).await.expect(200);
    let key = world.root.post(&format!("{path}/keys"), json!({ "mode": "live" })).await.expect(201);
    let client = Client::new(&world.api_url, key["key"].as_str().unwrap());
    for remaining in ["2", "1", "0"] {
        let answer = client.get("/v1/endpoints").await;
        assert_eq!((answer.status, answer.headers["ratelimit-remaining"].to_str().unwrap()), (200, remaining));
        assert_eq!(answer.headers["ratelimit-limit"], "3");
    }
    let refused = client.get("/v1/events").await;
    assert_eq!(
        (&refused.headers["retry-after"], &refused.headers["ratelimit-reset"]),
        (&"60".parse().unwrap(), &"60".parse().unwrap())
    );
    refused.expect_error(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED");
    let endpoint = world.endpoint_of(&client, "/a", json!({ "uid": "stats" })).await;
    let log = format!("/v1/endpoints/{endpoint}/deliveries");
    client.get(&log).await.expect(200);
    client.get(&log).await.expect_error(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED");
    for _ in 0..5 {
        client.post("/v1/events", json!({ "type": "a", "data": {} })).await.expect(202);
    }
    world.advance_seconds(60);
    client.get("/v1/endpoints").await.expect(200);
    client.get(&log).await.expect(200);
    // What an endpoint is called has nothing to do with it.
    client.get("/v1/endpoints/stats").await.expect(200);
    client.get("/v1/endpoints/stats/stats").await.expect_error(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED");
}

#[tokio::test]
async fn post_with_an_idempotency_key_is_done_once() {
    let world = World::start().await;
    let body = json!({ "url": world.receiver.url("/a") });
    let first = keyed(&world.api, "/v1/endpoints", "k", body.clone()).await.expect(201);
    let again = keyed(&world.api, "/v1/endpoints", "k", body.clone()).await.expect(201);
    assert_eq!(first, again);
    assert!(!world.table_texts().await.contains(first["secret"].as_str().unwrap()));
    assert_eq!(world.api.get("/v1/endpoints").await.expect(200).as_array().unwrap().len(), 1);
    let other = json!({ "url": world.receiver.url("/b") });
    keyed(&world.api, "/v1/endpoints", "k", other.clone()).await.expect_error(StatusCode::CONFLICT, "CONFLICT");
    // What failed did nothing and leaves the key free; what another tenant does with it is its own.
    keyed(&world.api, "/v1/endpoints", "bad", json!({}))
        .await
        .expect_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR");
    keyed(&world.api, "/v1/endpoints", "bad", other.clone()).await.expect(201);
    let stranger = world.other_tenant().await;
    assert_ne!(keyed(&stranger, "/v1/endpoints", "k", body).await.expect(201)["id"], first["id"]);
    let answers =
        futures::future::join_all((0..4).map(|_| keyed(&world.api, "/v1/endpoints", "at-once", other.clone()))).await;
    assert!(answers.iter().all(|answer| [201, 409].contains(&answer.status)));
    assert_eq!(world.api.get("/v1/endpoints").await.expect(200).as_array().unwrap().len(), 3);
    world.advance_seconds(86_401);
    keyed(&world.api, "/v1/endpoints", "k", other).await.expect(201);
}

#[tokio::test]
async fn test_call_with_an_idempotency_key_is_sent_once() {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({})).await;
    let path = format!("/v1/endpoints/{endpoint}/test");
    let first = keyed(&world.api, &path, "k", json!({})).await.expect(200);
    assert_eq!(keyed(&world.api, &path, "k", json!({})).await.expect(200), first);
    assert_eq!(world.receiver.got("/a").len(), 1);
}

#[tokio::test]
async fn portal_session_with_an_idempotency_key_is_made_once_and_its_token_shown_once() {
    let world = World::start().await;
    let path = format!("/v1/tenants/{}/portal-sessions", world.demo.tenant_id);
    let first = keyed(&world.root, &path, "k", json!({ "mode": "live" })).await.expect(201);
    let again = keyed(&world.root, &path, "k", json!({ "mode": "live" })).await.expect(201);
    assert_eq!(again, json!({ "expires_at": first["expires_at"] }));
    assert!(!world.table_texts().await.contains(first["token"].as_str().unwrap()));
}

/// A POST with an idempotency key.
async fn keyed(client: &Client, path: &str, key: &str, body: serde_json::Value) -> Answer {
    let request = client.request(reqwest::Method::POST, path).header("idempotency-key", key);
    Answer::of(request.header("content-type", "application/json").body(body.to_string())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenant_that_is_deleted_while_the_sweeper_runs_is_cleared_away() {
    let world = World::start().await;
    let made = world.root.post("/v1/tenants", json!({ "name": "Gone" })).await.expect(201);
    let tenant = format!("/v1/tenants/{}", made["id"].as_str().unwrap());
    let key = world.root.post(&format!("{tenant}/keys"), json!({ "mode": "live" })).await.expect(201);
    let client = Client::new(&world.api_url, key["key"].as_str().unwrap());
    world.endpoint_of(&client, "/gone", json!({})).await;
    assert_eq!(world.endpoint_secrets().await, 1);
    let sweeps = async {
        for _ in 0..5 {
            world.sweep().await;
        }
    };
    let (deleted, ()) = tokio::join!(world.root.delete(&tenant), sweeps);
    assert_eq!(deleted.status, 204);
    world.run(120).await;
    assert_eq!(world.endpoint_secrets().await, 0);
}
