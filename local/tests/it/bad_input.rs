//! What callers must not say: each refusal has its status and code, names every wrong field at once, and changes nothing.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::StatusCode;
use reqwest::Method;
use serde_json::json;

use crate::world::{Answer, Reply, World};

const POSTS: [&str; 2] = ["/v1/events", "/v1/endpoints"];

fn sorted(mut fields: Vec<String>) -> Vec<String> {
    fields.sort();
    fields
}

#[tokio::test]
async fn rubbish_instead_of_json_is_refused() {
    let world = World::start().await;
    let deep = format!(r#"{{"type":"a","data":{{"a":{}1{}}}}}"#, "[".repeat(50_000), "]".repeat(50_000));
    for body in [
        b"".to_vec(),
        b"not json".to_vec(),
        b"{".to_vec(),
        b"[]".to_vec(),
        b"null".to_vec(),
        b"{} {}".to_vec(),
        br#"{"type":"a","data":{"a":NaN}}"#.to_vec(),
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
    world.assert_nothing_changed();
}

#[tokio::test]
async fn characters_that_the_queue_does_not_carry_are_refused_and_their_escapes_delivered() {
    let world = World::start().await;
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
    world.assert_nothing_changed();
    let escaped = r#"{"x":"\uffff\u0000 🦀"}"#;
    world.api.send(Method::POST, "/v1/events", format!(r#"{{"type":"a","data":{escaped}}}"#)).await.expect(202);
    world.settle().await;
    let got = world.receiver.got("/a");
    assert!(String::from_utf8_lossy(&got[0].body).contains(escaped));
}

#[tokio::test]
async fn every_wrong_field_is_named_at_once() {
    let world = World::start().await;
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
    world.assert_nothing_changed();
}

#[tokio::test]
async fn change_with_one_wrong_field_changes_nothing() {
    let world = World::start().await;
    let path = format!("/v1/endpoints/{}", world.endpoint("/a", json!({})).await);
    let before = world.api.get(&path).await.expect(200);
    let _ = world.aws.calls().take();
    let change = json!({ "name": "new", "timeout_seconds": 0 });
    let named = world.api.patch(&path, change).await.expect_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR");
    assert_eq!(named, ["timeout_seconds"]);
    assert_eq!(world.api.get(&path).await.expect(200), before);
    world.assert_nothing_changed();
}

#[tokio::test]
async fn event_of_the_largest_size_is_delivered_and_one_byte_more_is_refused() {
    let world = World::start().await;
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
    world.assert_nothing_changed();
    world.settle().await;
    assert_eq!(world.receiver.got("/a").len(), 1);
    assert_eq!(world.dead_letters().await, vec![]);
}

#[tokio::test]
async fn body_that_is_not_json_by_its_own_word_is_refused() {
    let world = World::start().await;
    let body = r#"{"type":"a","data":{}}"#;
    for media_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json"] {
        for path in POSTS {
            let request = world.api.request(Method::POST, path).header("content-type", media_type).body(body);
            let answer = Answer::of(request).await;
            answer.expect_error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE");
        }
    }
    world.assert_nothing_changed();
    Answer::of(world.api.request(Method::POST, "/v1/events").body(body)).await.expect(202);
}

#[tokio::test]
async fn unknown_routes_and_methods_are_refused_in_the_same_shape() {
    let world = World::start().await;
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
    world.assert_nothing_changed();
}

#[tokio::test]
async fn cursors_and_parameters_that_are_not_ours_are_refused() {
    let world = World::start().await;
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
    let world = World::start().await;
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
    world.assert_nothing_changed();
    assert_eq!(world.api.get("/v1/endpoints").await.expect(200), json!([]));
}

#[tokio::test]
async fn urls_that_lead_inside_are_refused_however_they_are_spelt() {
    let world = World::start().await;
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
    world.assert_nothing_changed();
}

#[tokio::test]
async fn own_secret_has_24_to_64_bytes_or_16_to_256_characters() {
    let world = World::start().await;
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
    world.assert_nothing_changed();
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
