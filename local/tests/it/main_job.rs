//! The main job: an event in, a signed webhook at the receiver, retried until it arrives, on record.

use serde_json::json;

use crate::world::{Reply, World};

#[tokio::test]
async fn event_arrives_signed_and_the_record_says_succeeded() {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({ "event_types": ["cases.*"] })).await;
    world.receiver.reply("/a", [Reply::Full(201, "x-a", "b".into(), "thanks\u{0}".into())]);
    let event = world.send("cases.created", json!({ "case_id": 42 })).await;
    world.settle().await;

    let got = world.receiver.got("/a");
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].header("webhook-id"), event);
    assert_eq!(got[0].header("content-type"), "application/json");
    assert!(got[0].header("user-agent").starts_with("Outhook/"));
    let body: serde_json::Value = serde_json::from_slice(&got[0].body).unwrap();
    assert_eq!(
        body,
        json!({ "type": "cases.created", "timestamp": "2026-11-20T00:00:00.000Z", "data": { "case_id": 42 } })
    );

    let delivery = world.delivery(&endpoint, &event).await;
    assert_eq!(delivery["status"], "succeeded");
    assert_eq!(delivery["payload"], body);
    assert_eq!(delivery["next_attempt_at"], json!(null));
    let attempts = delivery["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0]["outcome"], "succeeded");
    assert_eq!(attempts[0]["status_code"], 201);
    assert_eq!(attempts[0]["response_body"], "thanks\u{fffd}");
    assert_eq!(attempts[0]["trigger"], "automatic");
    assert!(attempts[0]["duration_ms"].is_u64());
}

#[tokio::test]
async fn receiver_that_recovers_gets_the_same_event_three_times_and_then_no_more() {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({})).await;
    world.receiver.reply("/a", [Reply::Status(500), Reply::Status(500), Reply::Status(200)]);
    let event = world.send("a", json!({ "n": 1 })).await;
    world.run(7 * 86_400).await;

    let got = world.receiver.got("/a");
    assert_eq!(got.len(), 3);
    assert!(got.iter().all(|request| request.header("webhook-id") == event && request.body == got[0].body));
    let times: Vec<i64> = got.iter().map(|request| request.header("webhook-timestamp").parse().unwrap()).collect();
    assert!((5..=7).contains(&(times[1] - times[0])), "{times:?}");
    assert!((300..=361).contains(&(times[2] - times[1])), "{times:?}");
    let delivery = world.delivery(&endpoint, &event).await;
    assert_eq!(delivery["status"], "succeeded");
    let statuses: Vec<_> = delivery["attempts"].as_array().unwrap().iter().map(|a| a["status_code"].clone()).collect();
    assert_eq!(statuses, [500, 500, 200]);
}

#[tokio::test]
async fn receiver_that_never_recovers_gets_eight_attempts_on_the_published_schedule_and_the_delivery_fails() {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({})).await;
    world.receiver.reply("/a", [Reply::Status(500)]);
    let event = world.send("a", json!({})).await;
    world.run(7 * 86_400).await;

    let got = world.receiver.got("/a");
    let times: Vec<i64> = got.iter().map(|request| request.header("webhook-timestamp").parse().unwrap()).collect();
    let waits: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let schedule = [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000];
    assert_eq!(waits.len(), schedule.len(), "{waits:?}");
    for (wait, scheduled) in waits.iter().zip(schedule) {
        // Up to a fifth of jitter; a queue delay is in whole seconds and the test's clock jumps by one.
        assert!((scheduled..=scheduled * 6 / 5 + 2).contains(wait), "{wait} for {scheduled}");
    }
    let delivery = world.delivery(&endpoint, &event).await;
    assert_eq!(delivery["status"], "failed");
    assert_eq!(delivery["attempts"].as_array().unwrap().len(), 8);
    assert_eq!(delivery["next_attempt_at"], json!(null));
}

#[tokio::test]
async fn data_arrives_in_the_senders_own_spelling() {
    let world = World::start().await;
    world.endpoint("/a", json!({})).await;
    let data = r#"{ "z": 1.0, "a": 12345678901234567890, "e": "é\u00e9", "nested": {"k": [1,  2]} }"#;
    let body = format!(r#"{{"data": {data}, "type": "a.b"}}"#);
    world.api.send(reqwest::Method::POST, "/v1/events", body).await.expect(202);
    world.settle().await;
    let got = world.receiver.got("/a");
    let sent = String::from_utf8(got[0].body.to_vec()).unwrap();
    assert_eq!(sent, format!(r#"{{"type":"a.b","timestamp":"2026-11-20T00:00:00.000Z","data":{data}}}"#));
}

#[tokio::test]
async fn event_reaches_the_endpoints_that_subscribe_to_it_and_no_other() {
    let world = World::start().await;
    for (path, patterns) in
        [("/all", json!([])), ("/star", json!(["*"])), ("/below", json!(["cases.*"])), ("/other", json!(["cases"]))]
    {
        world.endpoint(path, json!({ "event_types": patterns })).await;
    }
    world.send("cases.tasks.created", json!({})).await;
    world.settle().await;
    let counts = ["/all", "/star", "/below", "/other"].map(|path| world.receiver.got(path).len());
    assert_eq!(counts, [1, 1, 1, 0]);
}

#[tokio::test]
async fn endpoint_made_a_moment_before_gets_the_very_next_event() {
    let world = World::start().await;
    world.endpoint("/first", json!({})).await;
    world.send("a", json!({})).await;
    world.settle().await;
    world.endpoint("/second", json!({})).await;
    world.send("a", json!({})).await;
    world.settle().await;
    assert_eq!(world.receiver.got("/second").len(), 1);
}

/// Scenario 9.
#[tokio::test]
async fn changed_url_header_credential_and_secret_are_in_use_at_the_next_attempt() {
    let world = World::start().await;
    let settings = json!({
        "headers": { "x-env": "old" },
        "authorization": { "type": "basic", "username": "u", "password": "p" },
    });
    let endpoint = world.endpoint("/old", settings).await;
    world.receiver.reply("/old", [Reply::Status(500)]);
    world.send("a", json!({})).await;
    world.settle().await;
    let old = &world.receiver.got("/old")[0];
    assert_eq!((old.header("x-env"), old.header("authorization")), ("old", "Basic dTpw"));

    let rotate = format!("/v1/endpoints/{endpoint}/secret/rotate");
    let rotated = world.api.post(&rotate, json!({ "overlap_seconds": 0 })).await.expect(200);
    // Trusts the new secret and no other.
    world.receiver.trust("/new", rotated["secret"].as_str().unwrap());
    let change = json!({
        "url": world.receiver.url("/new"),
        "headers": { "x-env": "new" },
        "authorization": { "type": "bearer", "token": "t0k" },
    });
    world.api.patch(&format!("/v1/endpoints/{endpoint}"), change).await.expect(200);
    world.run(60).await;
    assert_eq!(world.receiver.got("/old").len(), 1);
    let new = &world.receiver.got("/new")[0];
    assert_eq!((new.header("x-env"), new.header("authorization")), ("new", "Bearer t0k"));
}
