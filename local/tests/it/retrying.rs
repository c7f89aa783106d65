//! When it is tried again, and when not.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::world::{Reply, World};

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

/// How long after its latest attempt a delivery is due again, in seconds.
fn wait_seconds(delivery: &Value) -> i64 {
    let latest = delivery["attempts"].as_array().unwrap().last().unwrap();
    time(&delivery["next_attempt_at"]).as_second() - time(&latest["at"]).as_second()
}

fn only_attempt(delivery: &Value) -> &Value {
    let attempts = delivery["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 1, "{delivery}");
    &attempts[0]
}

#[track_caller]
fn assert_error(delivery: &Value, beginning: &str) {
    let attempt = only_attempt(delivery);
    assert_eq!((&attempt["outcome"], &attempt["status_code"]), (&json!("failed"), &Value::Null));
    let error = attempt["error"].as_str().unwrap();
    assert!(error.starts_with(beginning), "{error}");
}

#[tokio::test]
async fn retry_after_and_overload_lengthen_a_wait_and_never_shorten_it() {
    let world = World::start().await;
    // A tenth of an hour from the start of the world's clock.
    let date = "Fri, 20 Nov 2026 00:06:00 GMT";
    let scheduled = 5..=6;
    let overloaded = 60..=60;
    let cases = [
        (500, "", scheduled.clone()),
        (429, "", overloaded.clone()),
        (502, "", overloaded.clone()),
        (503, "", overloaded.clone()),
        (504, "", overloaded.clone()),
        (429, "3600", 3_600..=3_600),
        (429, "1", overloaded.clone()),
        (500, "120", 120..=120),
        (500, "1", scheduled.clone()),
        (503, date, 360..=360),
        (500, "Thu, 19 Nov 2026 00:06:00 GMT", scheduled.clone()),
        (500, "soon", scheduled.clone()),
        (500, "-5", scheduled.clone()),
        (500, "1.5e3", scheduled.clone()),
        (500, "Fri, 99 Nov 2026 00:06:00 GMT", scheduled),
        (503, "99999999999999999999", 86_400..=86_400),
        (503, "Fri, 20 Nov 2099 00:06:00 GMT", 86_400..=86_400),
    ];
    let client = world.tenant_with(json!({ "name": "Large", "max_endpoints": 50 })).await;
    let mut endpoints = Vec::new();
    for (n, (status, retry_after, _)) in cases.iter().enumerate() {
        let path = format!("/{n}");
        world.receiver.reply(&path, [Reply::Full(*status, "retry-after", (*retry_after).to_owned(), String::new())]);
        endpoints.push(world.endpoint_of(&client, &path, json!({})).await);
    }
    let event = client.post("/v1/events", json!({ "type": "a", "data": {} })).await.expect(202);
    world.settle().await;
    for (endpoint, (status, retry_after, expected)) in endpoints.iter().zip(cases) {
        let path = format!("/v1/endpoints/{endpoint}/deliveries/{}", event["id"].as_str().unwrap());
        let wait = wait_seconds(&client.get(&path).await.expect(200));
        assert!(expected.contains(&wait), "{status} {retry_after}: {wait}");
    }
}

/// Scenario 10.
#[tokio::test]
async fn receiver_that_asks_for_an_hour_is_left_alone_for_an_hour() {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({})).await;
    let busy = Reply::Full(429, "retry-after", "3600".to_owned(), String::new());
    world.receiver.reply("/a", [busy, Reply::Status(200)]);
    let event = world.send("a", json!({})).await;
    world.run(3_599).await;
    assert_eq!(world.receiver.got("/a").len(), 1);
    world.run(3).await;
    assert_eq!(world.receiver.got("/a").len(), 2);
    assert_eq!(world.delivery(&endpoint, &event).await["status"], "succeeded");
}

#[tokio::test]
async fn gone_disables_at_once_and_says_so_and_a_change_back_ends_it() {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({})).await;
    world.receiver.reply("/a", [Reply::Status(410), Reply::Status(200)]);
    let gone = world.send("a", json!({})).await;
    world.run(86_400).await;
    let delivery = world.delivery(&endpoint, &gone).await;
    assert_eq!((&delivery["status"], &only_attempt(&delivery)["status_code"]), (&json!("failed"), &json!(410)));
    let path = format!("/v1/endpoints/{endpoint}");
    let disabled = world.api.get(&path).await.expect(200);
    assert_eq!(
        (&disabled["status"], &disabled["version"], &disabled["updated_by"]),
        (&json!("disabled"), &json!(2), &Value::Null)
    );
    assert!(disabled["disabled_reason"].as_str().unwrap().contains("410"));

    let skipped = world.send("a", json!({})).await;
    world.settle().await;
    assert_eq!(world.delivery(&endpoint, &skipped).await["status"], "skipped");
    let active = world.api.patch(&path, json!({ "status": "active" })).await.expect(200);
    assert_eq!((&active["status"], &active["disabled_reason"]), (&json!("active"), &Value::Null));
    let delivered = world.send("a", json!({})).await;
    world.run(86_400).await;
    assert_eq!(world.delivery(&endpoint, &delivered).await["status"], "succeeded");
    assert_eq!(world.receiver.got("/a").len(), 2);
}

#[tokio::test]
async fn caller_cannot_disable() {
    let world = World::start().await;
    let path = format!("/v1/endpoints/{}", world.endpoint("/a", json!({})).await);
    let refused = world.api.patch(&path, json!({ "status": "disabled" })).await;
    assert_eq!(refused.expect_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR"), ["status"]);
}

#[tokio::test]
async fn redirect_is_a_failure_and_is_not_followed_and_2xx_without_a_body_is_success() {
    let world = World::start().await;
    let there = world.receiver.url("/there");
    for (path, status) in [("/301", 301), ("/302", 302), ("/307", 307), ("/308", 308)] {
        world.receiver.reply(path, [Reply::Full(status, "location", there.clone(), String::new())]);
        let endpoint = world.endpoint(path, json!({ "event_types": ["a"] })).await;
        let event = world.send("a", json!({})).await;
        world.settle().await;
        let delivery = world.delivery(&endpoint, &event).await;
        assert_eq!((&delivery["status"], &only_attempt(&delivery)["status_code"]), (&json!("pending"), &json!(status)));
    }
    assert_eq!(world.receiver.got("/there").len(), 0);
    world.receiver.reply("/204", [Reply::Status(204)]);
    let endpoint = world.endpoint("/204", json!({ "event_types": ["b"] })).await;
    let event = world.send("b", json!({})).await;
    world.run(86_400).await;
    let delivery = world.delivery(&endpoint, &event).await;
    assert_eq!((&delivery["status"], &only_attempt(&delivery)["status_code"]), (&json!("succeeded"), &json!(204)));
}

#[tokio::test]
async fn own_schedule_and_own_number_of_attempts_are_kept() {
    let world = World::start().await;
    let own = [5, 10, 20, 20];
    for path in ["/own", "/once"] {
        world.receiver.reply(path, [Reply::Status(500)]);
    }
    let scheduled = world.endpoint("/own", json!({ "retry": { "schedule_seconds": own } })).await;
    let once = world.endpoint("/once", json!({ "retry": { "max_attempts": 1 } })).await;
    let event = world.send("a", json!({})).await;
    world.run(86_400).await;
    let got = world.receiver.got("/own").into_iter();
    let times: Vec<i64> = got.map(|request| request.header("webhook-timestamp").parse().unwrap()).collect();
    let waits: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(waits.len(), own.len());
    for (wait, scheduled) in waits.iter().zip(own) {
        assert!((scheduled..=scheduled * 6 / 5 + 2).contains(wait), "{waits:?}");
    }
    for endpoint in [scheduled, once] {
        assert_eq!(world.delivery(&endpoint, &event).await["status"], "failed");
    }
    assert_eq!(world.receiver.got("/once").len(), 1);
}

#[tokio::test]
async fn operator_sets_the_schedule_of_endpoints_that_have_none_of_their_own() {
    let mut world = World::start().await;
    world.redeploy(&[("RetryScheduleSeconds", "10, 40")]).await;
    world.receiver.reply("/a", [Reply::Status(500)]);
    let endpoint = world.endpoint("/a", json!({ "retry": { "max_attempts": 4 } })).await;
    let event = world.send("a", json!({})).await;
    let mut waits = Vec::new();
    for _ in 0..3 {
        world.settle().await;
        waits.push(wait_seconds(&world.delivery(&endpoint, &event).await));
        world.advance_seconds(60);
    }
    assert!((10..=12).contains(&waits[0]) && waits[1..].iter().all(|wait| (40..=48).contains(wait)), "{waits:?}");
    world.settle().await;
    assert_eq!(world.delivery(&endpoint, &event).await["status"], "failed");
}

/// Scenarios 3 and 4 among them.
#[tokio::test]
async fn answers_that_never_come_or_never_end_are_cut_and_on_record_once() {
    let world = World::start().await;
    let impatient = json!({ "timeout_seconds": 1 });
    let mut endpoints = Vec::new();
    for (path, reply) in [
        ("/hang", Reply::Hang),
        ("/trickle", Reply::Trickle(200)),
        ("/trickle-500", Reply::Trickle(500)),
        ("/endless", Reply::Endless(200)),
        ("/endless-500", Reply::Endless(500)),
    ] {
        world.receiver.reply(path, [reply, Reply::Status(200)]);
        endpoints.push(world.endpoint(path, impatient.clone()).await);
    }
    let event = world.send("a", json!({})).await;
    world.settle().await;
    let mut deliveries = Vec::new();
    for endpoint in &endpoints {
        deliveries.push(world.delivery(endpoint, &event).await);
    }
    let statuses: Vec<_> = deliveries.iter().map(|delivery| delivery["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["pending", "succeeded", "pending", "succeeded", "pending"]);
    assert_error(&deliveries[0], "timeout: first byte");
    for (delivery, status) in deliveries[1..].iter().zip([200, 500, 200, 500]) {
        assert_eq!(only_attempt(delivery)["status_code"], status);
    }
    let kept = |n: usize| only_attempt(&deliveries[n])["response_body"].as_str().unwrap().to_owned();
    assert!((1..20).contains(&kept(1).len()) && kept(1).chars().all(|c| c == '.'), "{}", kept(1));
    assert_eq!(kept(3), "x".repeat(1_024));

    world.run(86_400).await;
    let counts = ["/hang", "/trickle", "/trickle-500", "/endless", "/endless-500"];
    assert_eq!(counts.map(|path| world.receiver.got(path).len()), [2, 1, 2, 1, 2]);
    for endpoint in &endpoints {
        assert_eq!(world.delivery(endpoint, &event).await["status"], "succeeded");
    }
}

#[tokio::test]
async fn receiver_that_is_not_there_or_speaks_no_http_is_tried_again() {
    let world = World::start().await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody_url = format!("http://{}/", nobody.local_addr().unwrap());
    drop(nobody);
    let rude = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rude_url = format!("http://{}/", rude.local_addr().unwrap());
    let plain_url = rude_url.replace("http:", "https:");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = rude.accept().await {
            let _ = stream.write_all(b"what do you want?\r\n\r\n").await;
        }
    });
    // A name that nobody may have (RFC 6761).
    let nowhere_url = "http://nowhere.invalid/".to_owned();
    for (url, beginning) in [
        (nowhere_url, "unreachable: the name could not be resolved: "),
        (nobody_url, "unreachable: connect: "),
        (rude_url, "response_invalid: "),
        (plain_url, "tls_error: TLS: "),
    ] {
        let endpoint = world.endpoint("/x", json!({ "url": url })).await;
        let event = world.send("a", json!({})).await;
        world.settle().await;
        let delivery = world.delivery(&endpoint, &event).await;
        assert_error(&delivery, beginning);
        assert_eq!(delivery["status"], "pending");
        assert!((5..=6).contains(&wait_seconds(&delivery)));
        world.advance_seconds(7);
        world.settle().await;
        assert_eq!(world.delivery(&endpoint, &event).await["attempts"].as_array().unwrap().len(), 2);
        world.api.delete(&format!("/v1/endpoints/{endpoint}")).await.expect(204);
    }
}

#[tokio::test]
async fn retries_stop_when_the_endpoint_is_deleted_or_paused_and_do_not_begin_again() {
    let world = World::start().await;
    let mut endpoints = Vec::new();
    for path in ["/deleted", "/paused"] {
        world.receiver.reply(path, [Reply::Status(500)]);
        endpoints.push(format!("/v1/endpoints/{}", world.endpoint(path, json!({})).await));
    }
    let event = world.send("a", json!({})).await;
    world.settle().await;
    world.api.delete(&endpoints[0]).await.expect(204);
    world.api.patch(&endpoints[1], json!({ "status": "paused" })).await.expect(200);
    world.run(3_600).await;
    world.api.patch(&endpoints[1], json!({ "status": "active" })).await.expect(200);
    world.run(86_400).await;
    let shown = world.api.get(&format!("/v1/events/{event}")).await.expect(200);
    for delivery in shown["deliveries"].as_array().unwrap() {
        assert_eq!((&delivery["status"], &delivery["next_attempt_at"]), (&json!("cancelled"), &Value::Null));
    }
    assert_eq!(["/deleted", "/paused"].map(|path| world.receiver.got(path).len()), [1, 1]);
}

#[tokio::test]
async fn event_for_a_paused_endpoint_is_on_record_as_skipped_and_never_sent() {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({ "status": "paused" })).await;
    let event = world.send("a", json!({})).await;
    world.settle().await;
    world.api.patch(&format!("/v1/endpoints/{endpoint}"), json!({ "status": "active" })).await.expect(200);
    world.run(86_400).await;
    let delivery = world.delivery(&endpoint, &event).await;
    assert_eq!((&delivery["status"], &delivery["attempts"]), (&json!("skipped"), &json!([])));
    assert_eq!(world.receiver.got("/a").len(), 0);
}

#[tokio::test]
async fn wake_counts_once_however_often_it_is_there_and_an_old_one_not_at_all() {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({})).await;
    world.receiver.reply("/a", [Reply::Status(500)]);
    let event = world.send("a", json!({})).await;
    world.settle().await;
    let id = endpoint.parse().unwrap();
    let token = world.services.store.flows(&[id]).await.unwrap()[&id].token.clone().unwrap();
    world.lose_retries().await;
    let wake = |endpoint: &str, token: &str| {
        let scope = json!({ "tenant_id": world.demo.tenant_id, "mode": "live" });
        json!({ "kind": "wake", "scope": scope, "endpoint_id": endpoint, "token": token }).to_string()
    };
    world.advance_seconds(7);
    // Nothing is known of the last one; it is no poison either.
    let nobody = "ep_01HF7YAT004G2081040G208104";
    for body in [wake(&endpoint, &token), wake(&endpoint, &token), wake(&endpoint, "another"), wake(nobody, &token)] {
        world.send_retry(&body).await;
    }
    assert_eq!(world.poll_once().await, 4);
    assert_eq!(world.receiver.got("/a").len(), 2);
    // It has been used: a message that comes again asks for nothing.
    world.send_retry(&wake(&endpoint, &token)).await;
    world.advance_seconds(400);
    let _ = world.aws.calls().take();
    assert_eq!(world.poll_once().await, 1 + 1);
    assert_eq!(world.receiver.got("/a").len(), 3);
    assert_eq!(world.delivery(&endpoint, &event).await["attempts"].as_array().unwrap().len(), 3);
    assert_eq!(world.dead_letters().await, vec![]);
}

#[tokio::test]
async fn record_says_in_which_phase_a_time_limit_was_missed() {
    let world = World::start().await;
    // Takes the connection and never says a word of TLS.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", silent.local_addr().unwrap());
    let endpoint = world.endpoint("/x", json!({ "url": url, "timeout_seconds": 1 })).await;
    let event = world.send("a", json!({})).await;
    tokio::select! {
        () = world.settle() => {}
        _ = world.receiver.let_time_pass() => {}
    }
    assert_error(&world.delivery(&endpoint, &event).await, "timeout: connect: ");
    drop(silent);
}
