//! What a key opens, and what it does not.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Client, World};

async fn key_with(world: &World, permissions: Value) -> Client {
    let keys = format!("/v1/tenants/{}/keys", world.demo.tenant_id);
    let made = world.root.post(&keys, json!({ "mode": "live", "permissions": permissions })).await.expect(201);
    Client::new(&world.api_url, made["key"].as_str().unwrap())
}

#[tokio::test]
async fn nobody_gets_in_without_a_good_key() {
    let world = World::start().await;
    let live = &world.demo.live_key;
    let other_world = live.replacen("sk_live_", "sk_test_", 1);
    for key in ["", "x", "sk_live_", &live[..live.len() - 1], &other_world, &"x".repeat(7_000)] {
        let stranger = Client::new(&world.api_url, key);
        for path in ["/v1/events", "/v1/tenants/ten_01J1C6ZGQ6FQTH2X6M2VS3P0XW"] {
            let answer = stranger.get(path).await;
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
            answer.expect_error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
        }
    }
    let plain = || world.api.request(Method::GET, "/v1/events");
    for header in ["", "Bearer", "Basic", "Basic !", "Digest x", "Bearer\u{e4}"] {
        let mut request = plain().build().unwrap();
        request.headers_mut().insert("authorization", http::HeaderValue::from_bytes(header.as_bytes()).unwrap());
        let answer = world.api.execute(request).await;
        answer.expect_error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
    }
    let mut basic = plain().build().unwrap();
    let credentials = format!("Basic {}", STANDARD.encode(format!("anyone:{live}")));
    basic.headers_mut().insert("authorization", credentials.parse().unwrap());
    world.api.execute(basic).await.expect(200);
    world.assert_nothing_changed();
}

/// Time cannot be asserted; what takes it can: the same calls, whatever is wrong with a key.
#[tokio::test]
async fn wrong_key_costs_the_calls_of_a_right_one() {
    let world = World::start().await;
    let unused = key_with(&world, json!(["events:read"])).await;
    let _ = world.aws.calls().take();
    let wrong = {
        let (id, secret) = world.demo.live_key.rsplit_once('_').unwrap();
        Client::new(&world.api_url, &format!("{id}_{}", secret.chars().rev().collect::<String>()))
    };
    let mut calls = Vec::new();
    for (client, status) in [(unused, 404), (wrong, 401)] {
        assert_eq!(client.get("/v1/events/evt_01J1C6ZGQ6FQTH2X6M2VS3P0XW").await.status, status);
        let made = world.aws.calls().take().into_iter().map(|call| call.operation);
        calls.push(made.collect::<Vec<_>>());
    }
    // What comes after the key is the event's that a right one asks for.
    assert_eq!(calls, [vec!["BatchGetItem", "GetItem"], vec!["BatchGetItem"]]);
}

/// Every route there is, as the document lists them: it is made from the rows that the guard goes by, and the permissions here are not.
#[tokio::test]
async fn every_route_asks_for_the_key_and_the_permission_that_the_document_says_and_for_no_more() {
    let world = World::start().await;
    let permissions = [
        "endpoints:read",
        "endpoints:write",
        "secrets:read",
        "secrets:write",
        "events:read",
        "events:write",
        "deliveries:read",
        "deliveries:write",
        "event_types:write",
    ];
    let (mut with_only, mut with_others) = (BTreeMap::new(), BTreeMap::new());
    for permission in permissions {
        let others: Vec<_> = permissions.into_iter().filter(|other| *other != permission).collect();
        with_only.insert(permission, key_with(&world, json!([permission])).await);
        with_others.insert(permission, key_with(&world, json!(others)).await);
    }
    let mut asked = BTreeSet::new();
    for (path, operations) in api::document()["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            // No such thing, so that what is allowed does nothing.
            let path = path.replace("{endpoint}", "ep_01J1C6ZGQ6FQTH2X6M2VS3P0XW").replace(['{', '}'], "");
            let status = async |client: &Client| {
                let answer = client.send(method.clone(), &path, "[]").await;
                (answer.status, answer.body["error"]["message"].as_str().unwrap_or_default().to_owned())
            };
            let named = |status: &(u16, String), what: &str| status.0 == 403 && status.1.contains(what);
            let requirement = &operation["security"][0];
            if let Some(needed) = requirement["key"].as_array() {
                assert!(named(&status(&world.root).await, "not the root key"), "{method} {path}");
                let Some(permission) = needed.first().and_then(Value::as_str) else { continue };
                let lacking = status(&with_others[permission]).await;
                assert!(named(&lacking, permission), "{method} {path}: {lacking:?}");
                let having = status(&with_only[permission]).await;
                assert!(!matches!(having.0, 401 | 403 | 500..), "{method} {path}: {having:?}");
                asked.insert(permission.to_owned());
            } else if requirement["rootKey"].is_array() {
                assert!(named(&status(&world.api).await, "the root key"), "{method} {path}");
            } else {
                assert_eq!(status(&Client::new(&world.api_url, "")).await.0, 200, "{method} {path}");
            }
        }
    }
    assert_eq!(asked, permissions.map(str::to_owned).into());
}

#[tokio::test]
async fn what_belongs_to_another_tenant_or_mode_is_not_there() {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({ "uid": "mine" })).await;
    let event = world.send("a", json!({})).await;
    world.settle().await;
    world.delivery(&endpoint, &event).await;
    let other = world.other_tenant().await;
    let others = [other, Client::new(&world.api_url, &world.demo.test_key)];
    let _ = world.aws.calls().take();
    for other in others {
        for name in [endpoint.as_str(), "mine"] {
            let path = format!("/v1/endpoints/{name}");
            for tail in ["", "/secret", "/deliveries", &format!("/deliveries/{event}")] {
                let answer = other.get(&format!("{path}{tail}")).await;
                answer.expect_error(StatusCode::NOT_FOUND, "NOT_FOUND");
            }
            other.patch(&path, json!({ "name": "x" })).await.expect_error(StatusCode::NOT_FOUND, "NOT_FOUND");
        }
        let gone = other.delete(&format!("/v1/endpoints/{endpoint}")).await;
        gone.expect_error(StatusCode::NOT_FOUND, "NOT_FOUND");
        other.get(&format!("/v1/events/{event}")).await.expect_error(StatusCode::NOT_FOUND, "NOT_FOUND");
        for list in ["/v1/endpoints", "/v1/events"] {
            assert_eq!(other.get(list).await.expect(200), json!([]));
        }
    }
    world.assert_nothing_changed();
}
