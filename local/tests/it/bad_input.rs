//! What callers must not say: each refusal has its status and code, names every wrong field at once, and changes nothing.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::StatusCode;
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Answer, Client, Reply, World};

const POSTS: [&str; 2] = ["/v1/events", "/v1/endpoints"];

fn sorted(mut fields: Vec<String>) -> Vec<String> {
    fields.sort();
    fields
}

/// No call since the last look could have changed anything.
#[track_caller]
fn assert_nothing_changed(world: &World) {
    let reads = ["GetItem", "BatchGetItem", "Query", "GetSecretValue", "GetQueueAttributes"];
    let calls = world.aws.calls().take();
    let writes: Vec<_> = calls.into_iter().filter(|call| !reads.contains(&call.operation.as_str())).collect();
    assert!(writes.is_empty(), "{writes:?}");
}

const NO_LIMITS: [(&str, u32); 4] = [("reads", 0), ("writes", 0), ("delivery_queries", 0), ("events", 0)];

/// A world whose tenant has no rate limits, so that counting its requests writes nothing.
async fn unlimited() -> World {
    let world = World::start().await;
    let limits: BTreeMap<_, _> = NO_LIMITS.into();
    let tenant = format!("/v1/tenants/{}", world.demo.tenant_id);
    world.root.patch(&tenant, json!({ "rate_limits": limits })).await.expect(200);
    let _ = world.aws.calls().take();
    world
}

async fn key_with(world: &World, permissions: Value) -> Client {
    let keys = format!("/v1/tenants/{}/keys", world.demo.tenant_id);
    let made = world.root.post(&keys, json!({ "mode": "live", "permissions": permissions })).await.expect(201);
    Client::new(&world.api_url, made["key"].as_str().unwrap())
}

#[tokio::test]
async fn rubbish_instead_of_json_is_refused() {
    let world = unlimited().await;
    let deep = format!(r#"{{"type":"a","data":{{"a":{}1{}}}}}"#, "[".repeat(50_000), "]".repeat(50_000));
    for body in [
        b"".to_vec(),
        b"not json".to_vec(),
        b"{".to_vec(),
        b"[]".to_vec(),
        b"null".to_vec(),
        b"{} {}".to_vec(),
        br#"{"type":"a","data":{"a":NaN}}"#.to_vec(),
        br#"{"type":"a","data":{"a":1e999}}"#.to_vec(),
        br#"{"type":"a","data":{"a":1,"a":2}}"#.to_vec(),
        br#"{"type":"a","type":"b","data":{}}"#.to_vec(),
        b"{\"type\":\"a\",\"data\":{\"a\":\"\xff\"}}".to_vec(),
        br#"{"type":"a","data":{"a":"\ud800"}}"#.to_vec(),
        deep.into_bytes(),
    ] {
        for path in POSTS {
            let answer = world.api.send(Method::POST, path, body.clone()).await;
            answer.expect_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR");
        }
    }
    assert_nothing_changed(&world);
}

#[tokio::test]
async fn characters_that_the_queue_does_not_carry_are_refused_and_their_escapes_delivered() {
    let world = unlimited().await;
    world.endpoint("/a", json!({})).await;
    let _ = world.aws.calls().take();
    for noncharacter in ["\u{fffe}", "\u{ffff}"] {
        let in_data = json!({ "type": "a", "data": { "x": noncharacter } });
        let refused = world.api.post("/v1/events", in_data).await;
        assert_eq!(refused.expect_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR"), ["data"]);
    }
    let in_channel = r#"{"type":"a","data":{},"channels":["\uffff"]}"#;
    let refused = world.api.send(Method::POST, "/v1/events", in_channel).await;
    assert_eq!(refused.expect_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR"), ["channels"]);
    assert_nothing_changed(&world);
    let escaped = r#"{"x":"\uffff\u0000 🦀"}"#;
    world.api.send(Method::POST, "/v1/events", format!(r#"{{"type":"a","data":{escaped}}}"#)).await.expect(202);
    world.settle().await;
    let got = world.receiver.got("/a");
    assert!(String::from_utf8_lossy(&got[0].body).contains(escaped));
}

#[tokio::test]
async fn every_wrong_field_is_named_at_once() {
    let world = unlimited().await;
    let event = json!({
        "type": "a..b", "data": [], "timestamp": "yesterday", "channels": "c", "endpoint_ids": ["x"],
        "idempotency_key": "", "colour": "red",
    });
    let named = world.api.post("/v1/events", event).await.expect_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR");
    let wrong = ["channels", "colour", "data", "endpoint_ids", "idempotency_key", "timestamp", "type"];
    assert_eq!(sorted(named), wrong);
    let named = world.api.post("/v1/events", json!({})).await.expect_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR");
    assert_eq!(sorted(named), ["data", "type"]);

    let endpoint = json!({
        "url": "ftp://example.com", "uid": "test", "name": "", "description": 1, "event_types": ["*.a"], "channels": [""],
        "status": "disabled", "authorization": { "type": "basic", "username": "a:b" }, "headers": { "x": 1 },
        "retry": { "max_attempts": 0, "schedule_seconds": [] }, "timeout_seconds": 31, "secret": "short", "colour": "red",
    });
    let named =
        world.api.post("/v1/endpoints", endpoint).await.expect_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR");
    let wrong = [
        "authorization.password",
        "authorization.username",
        "channels",
        "colour",
        "description",
        "event_types",
        "headers",
        "name",
        "retry.max_attempts",
        "retry.schedule_seconds",
        "secret",
        "status",
        "timeout_seconds",
        "uid",
        "url",
    ];
    assert_eq!(sorted(named), wrong);
    assert_nothing_changed(&world);
}

#[tokio::test]
async fn change_with_one_wrong_field_changes_nothing() {
    let world = unlimited().await;
    let path = format!("/v1/endpoints/{}", world.endpoint("/a", json!({})).await);
    let before = world.api.get(&path).await.expect(200);
    let _ = world.aws.calls().take();
    let change = json!({ "name": "new", "timeout_seconds": 0 });
    let named = world.api.patch(&path, change).await.expect_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR");
    assert_eq!(named, ["timeout_seconds"]);
    assert_eq!(world.api.get(&path).await.expect(200), before);
    assert_nothing_changed(&world);
}

#[tokio::test]
async fn event_of_the_largest_size_is_delivered_and_one_byte_more_is_refused() {
    let world = unlimited().await;
    world.endpoint("/a", json!({})).await;
    let of_size = |bytes: usize| {
        let shell = r#"{"type":"a","data":{"x":""}}"#;
        shell.replace(r#""""#, &format!("\"{}\"", "x".repeat(bytes - shell.len())))
    };
    world.api.send(Method::POST, "/v1/events", of_size(262_144)).await.expect(202);
    let _ = world.aws.calls().take();
    for bytes in [262_145, 300 * 1_024] {
        for path in POSTS {
            let answer = world.api.send(Method::POST, path, of_size(bytes)).await;
            answer.expect_error(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE");
        }
    }
    assert_nothing_changed(&world);
    world.settle().await;
    assert_eq!(world.receiver.got("/a").len(), 1);
    assert_eq!(world.dead_letters().await, vec![]);
}

#[tokio::test]
async fn body_that_is_not_json_by_its_own_word_is_refused() {
    let world = unlimited().await;
    let body = r#"{"type":"a","data":{}}"#;
    for media_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json"] {
        for path in POSTS {
            let request = world.api.request(Method::POST, path).header("content-type", media_type).body(body);
            let answer = Answer::of(request).await;
            answer.expect_error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE");
        }
    }
    assert_nothing_changed(&world);
    Answer::of(world.api.request(Method::POST, "/v1/events").body(body)).await.expect(202);
}

#[tokio::test]
async fn unknown_routes_and_methods_are_refused_in_the_same_shape() {
    let world = unlimited().await;
    let long = format!("/v1/endpoints/{}", "u".repeat(2_000));
    for path in ["/", "/v1", "/v2/events", "/v1/endpoints/", "/v1/events/%FF", "/v1/endpoints/%FF%FE", &long] {
        world.api.get(path).await.expect_error(StatusCode::NOT_FOUND, "NOT_FOUND");
    }
    for (method, path) in
        [(Method::DELETE, "/v1/events"), (Method::PATCH, "/v1/endpoints"), (Method::POST, "/v1/endpoints/x/deliveries")]
    {
        let answer = world.api.send(method, path, "{}").await;
        answer.expect_error(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED");
    }
    assert_nothing_changed(&world);
}

#[tokio::test]
async fn nobody_gets_in_without_a_good_key() {
    let world = unlimited().await;
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
    assert_nothing_changed(&world);
}

/// Time cannot be asserted; what takes it can: the same calls, whatever is wrong with a key.
#[tokio::test]
async fn wrong_key_costs_the_calls_of_a_right_one() {
    let world = unlimited().await;
    let unused = key_with(&world, json!(["events:read"])).await;
    let _ = world.aws.calls().take();
    let live = &world.demo.live_key;
    let (id, secret) = live.rsplit_once('_').unwrap_or(("", live));
    let another = |text: &str| text.chars().rev().collect::<String>();
    let wrong_secret = format!("{id}_{}", another(secret));
    let mut calls = Vec::new();
    for (client, status) in [(&unused, 200), (&Client::new(&world.api_url, &wrong_secret), 401)] {
        assert_eq!(
            client.get("/v1/events/evt_01J1C6ZGQ6FQTH2X6M2VS3P0XW").await.status,
            if status == 200 { 404 } else { 401 }
        );
        calls.push(world.aws.calls().take().remove(0).operation);
    }
    assert_eq!(calls, ["BatchGetItem", "BatchGetItem"]);
}

#[tokio::test]
async fn key_of_the_wrong_kind_or_without_the_permission_is_told_what_is_missing() {
    let world = unlimited().await;
    let endpoint = world.endpoint("/a", json!({})).await;
    let powerless = key_with(&world, json!(["event_types:write"])).await;
    let _ = world.aws.calls().take();
    let one = format!("/v1/endpoints/{endpoint}");
    for (method, path, permission) in [
        (Method::GET, "/v1/endpoints", "endpoints:read"),
        (Method::POST, "/v1/endpoints", "endpoints:write"),
        (Method::GET, &one, "endpoints:read"),
        (Method::PATCH, &one, "endpoints:write"),
        (Method::DELETE, &one, "endpoints:write"),
        (Method::GET, &format!("{one}/secret"), "secrets:read"),
        (Method::GET, &format!("{one}/deliveries"), "deliveries:read"),
        (Method::GET, &format!("{one}/deliveries/x"), "deliveries:read"),
        (Method::POST, "/v1/events", "events:write"),
        (Method::GET, "/v1/events", "events:read"),
        (Method::GET, "/v1/events/x", "events:read"),
    ] {
        let answer = powerless.send(method, path, "{}").await;
        let message = answer.body["error"]["message"].as_str().unwrap_or_default().to_owned();
        answer.expect_error(StatusCode::FORBIDDEN, "FORBIDDEN");
        assert!(message.contains(permission), "{path}: {message}");
    }
    world.root.get("/v1/endpoints").await.expect_error(StatusCode::FORBIDDEN, "FORBIDDEN");
    let tenant = world.api.post("/v1/tenants", json!({ "name": "x" })).await;
    tenant.expect_error(StatusCode::FORBIDDEN, "FORBIDDEN");
    assert_nothing_changed(&world);
}

#[tokio::test]
async fn what_belongs_to_another_tenant_or_mode_is_not_there() {
    let world = unlimited().await;
    let endpoint = world.endpoint("/a", json!({ "uid": "mine" })).await;
    let event = world.send("a", json!({})).await;
    world.settle().await;
    world.delivery(&endpoint, &event).await;
    let limits: BTreeMap<_, _> = NO_LIMITS.into();
    let other = world.tenant_with(json!({ "name": "Other", "rate_limits": limits })).await;
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
    assert_nothing_changed(&world);
}

#[tokio::test]
async fn cursors_and_parameters_that_are_not_ours_are_refused() {
    let world = unlimited().await;
    let endpoint = world.endpoint("/a", json!({})).await;
    let endpoint_cursor = URL_SAFE_NO_PAD.encode(&endpoint);
    let deliveries = format!("/v1/endpoints/{endpoint}/deliveries");
    let forged = URL_SAFE_NO_PAD.encode("TENANT#ten_01J1C6ZGQ6FQTH2X6M2VS3P0XW");
    for (list, query, field) in [
        ("/v1/events", format!("cursor={endpoint_cursor}"), "cursor"),
        (&deliveries, format!("cursor={endpoint_cursor}"), "cursor"),
        ("/v1/endpoints", format!("cursor={forged}"), "cursor"),
        ("/v1/events", "cursor=".to_owned(), "cursor"),
        ("/v1/events", "cursor=%00".to_owned(), "cursor"),
        ("/v1/events", "limit=0".to_owned(), "limit"),
        ("/v1/events", "limit=101".to_owned(), "limit"),
        ("/v1/events", "limit=ten".to_owned(), "limit"),
        ("/v1/events", "limit=1&limit=2".to_owned(), "limit"),
        ("/v1/endpoints", "colour=red".to_owned(), "colour"),
        ("/v1/endpoints", "status=odd".to_owned(), "status"),
        ("/v1/endpoints", "event_type=a..b".to_owned(), "event_type"),
    ] {
        let answer = world.api.get(&format!("{list}?{query}")).await;
        assert_eq!(answer.expect_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR"), [field], "{list}?{query}");
    }
}

/// Scenario 8.
#[tokio::test]
async fn headers_that_could_split_a_request_or_stand_in_for_ours_are_refused_and_nothing_is_stored() {
    let world = unlimited().await;
    let url = world.receiver.url("/a");
    for (name, value) in [
        ("x-a", "a\r\nx-b: c"),
        ("x-a", "a\nb"),
        ("x-a", "a\u{0}"),
        ("x-a", "ä"),
        ("x\r\nx-b", "c"),
        ("webhook-id", "mine"),
        ("Webhook-Signature", "mine"),
        ("webhook-anything", "x"),
        ("Host", "internal"),
        ("content-length", "1"),
        ("Content-Type", "text/plain"),
        ("transfer-encoding", "chunked"),
        ("user-agent", "x"),
        ("authorization", "Bearer x"),
    ] {
        let body = json!({ "url": url, "headers": { name: value } });
        let refused = world.api.post("/v1/endpoints", body).await;
        assert_eq!(refused.expect_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR"), ["headers"], "{name}: {value:?}");
        let authorization = json!({ "type": "header", "name": name, "value": value });
        let refused = world.api.post("/v1/endpoints", json!({ "url": url, "authorization": authorization })).await;
        // A secret `authorization` header is what that field is for.
        if name != "authorization" {
            let named = refused.expect_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR");
            assert!(named[0].starts_with("authorization."), "{named:?}");
        } else {
            let made = refused.expect(201);
            world.api.delete(&format!("/v1/endpoints/{}", made["id"].as_str().unwrap())).await;
            let _ = world.aws.calls().take();
        }
    }
    assert_nothing_changed(&world);
    assert_eq!(world.api.get("/v1/endpoints").await.expect(200), json!([]));
}

#[tokio::test]
async fn urls_that_lead_inside_are_refused_however_they_are_spelt() {
    let world = unlimited().await;
    for url in [
        "https://169.254.169.254/latest/meta-data",
        "https://[fd00:ec2::254]/",
        "https://10.1.2.3/",
        "https://192.168.0.1",
        "https://172.16.0.1",
        "https://100.64.0.1",
        "https://0.0.0.0",
        "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::a9fe:a9fe]/",
        "https://[2002:a9fe:a9fe::]/",
        "https://0xa9fea9fe/",
        "https://2852039166/",
        "https://169.254.43518/",
        "https://0251.0376.0251.0376/",
        "https://10.1/",
        "https://169.254.169.254./",
        "https://１６９.254.169.254/",
        "https://user:pass@example.com/",
        "https://example.com/#fragment",
        "https://example.com:0/",
        "file:///etc/passwd",
        "example.com",
        "https://",
        "https://exa mple.com/",
        "https://example.com/\u{0}",
    ] {
        let refused = world.api.post("/v1/endpoints", json!({ "url": url })).await;
        assert_eq!(refused.expect_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR"), ["url"], "{url}");
    }
    let refused =
        world.api.post("/v1/endpoints", json!({ "url": format!("https://a.com/{}", "x".repeat(2_048)) })).await;
    assert_eq!(refused.expect_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR"), ["url"]);
    assert_nothing_changed(&world);
}

#[tokio::test]
async fn own_secret_has_24_to_64_bytes_or_16_to_256_characters() {
    let world = unlimited().await;
    let of_bytes = |count: usize| format!("whsec_{}", STANDARD.encode(vec![7; count]));
    for secret in [
        of_bytes(23),
        of_bytes(65),
        "whsec_".to_owned(),
        "whsec_!!".to_owned(),
        "x".repeat(15),
        "x".repeat(257),
        "ä".repeat(20),
    ] {
        let body = json!({ "url": world.receiver.url("/a"), "secret": secret });
        let refused = world.api.post("/v1/endpoints", body).await;
        assert_eq!(refused.expect_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR"), ["secret"], "{secret}");
    }
    assert_nothing_changed(&world);
    for (path, secret) in [("/1", of_bytes(24)), ("/2", of_bytes(64)), ("/3", "x".repeat(16)), ("/4", "x!y".repeat(80))]
    {
        world.endpoint(path, json!({ "secret": secret })).await;
        world.receiver.reply(path, [Reply::Status(204)]);
    }
    world.send("a", json!({})).await;
    world.settle().await;
    assert_eq!(["/1", "/2", "/3", "/4"].map(|path| world.receiver.got(path).len()), [1; 4]);
}

#[tokio::test]
async fn what_cannot_be_read_is_our_fault_and_shows_nothing_of_the_inside() {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({})).await;
    let table = aws_sdk_dynamodb::Client::new(&local::clients::sdk_config(world.aws.endpoint_url(), "deployer").await);
    let text = |text: String| aws_sdk_dynamodb::types::AttributeValue::S(text);
    let put = table
        .put_item()
        .table_name(&world.services.config.table_name)
        .item("PK", text(format!("TENANT#{}#live", world.demo.tenant_id)))
        .item("SK", text(format!("ENDPOINT#{endpoint}")))
        .item("url", text("not an endpoint".to_owned()));
    put.send().await.unwrap();
    let broken = world.api.get(&format!("/v1/endpoints/{endpoint}")).await;
    let message = broken.body["error"]["message"].as_str().unwrap().to_owned();
    assert!(!message.contains("missing field") && !message.contains("dynamodb"), "{message}");
    broken.expect_error(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR");
}
