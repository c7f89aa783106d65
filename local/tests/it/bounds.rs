//! What nobody can exceed: sizes of bodies, pages and endpoints, whatever a tenant stores, sends or asks for.

use local::aws::{Fault, FaultRule, Service};
use reqwest::Method;
use serde_json::{Value, json};
use shared::domain::tenant::{Mode, Scope};
use shared::store::keys;

use crate::world::{Answer, Client, Reply, World};

/// The most that the entries of a page take.
const PAGE_BYTES_MAX: usize = 4_000_000;

/// An event whose data is almost as large as it can be.
fn large_event() -> Value {
    json!({ "type": "a", "data": { "text": "x".repeat(255 * 1_024) } })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_of_the_largest_events_is_cut_and_goes_on_where_it_was_cut() {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({})).await;
    for _ in 0..20 {
        world.api.post("/v1/events", large_event()).await.expect(202);
    }
    world.settle().await;
    for list in
        ["/v1/events?limit=100".to_owned(), format!("/v1/endpoints/{endpoint}/deliveries?limit=100&include=payload")]
    {
        let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = world.api.get(&format!("{list}{cursor}")).await;
            assert_eq!(page.status, 200);
            let body = &page.body;
            assert!(body.to_string().len() <= PAGE_BYTES_MAX + 1_000);
            let ids = body["data"].as_array().unwrap().iter();
            seen.extend(ids.map(|one| one["id"].as_str().or(one["event_id"].as_str()).unwrap().to_owned()));
            pages += 1;
            if !body["has_more"].as_bool().unwrap() {
                break;
            }
            cursor = format!("&cursor={}", body["next_cursor"].as_str().unwrap());
        }
        let mut distinct = seen.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!((seen.len(), distinct.len(), pages), (20, 20, 2), "{list}");
    }
}

#[tokio::test]
async fn body_beyond_its_bound_fails_its_delivery_without_a_request_or_a_retry() {
    let world = World::start().await;
    let chosen = json!({ "payload_fields": ["a", "a.b", { "key": "c", "path": "a.b.c" }] });
    let endpoint = world.endpoint("/a", chosen).await;
    let nested = |characters: usize| json!({ "type": "a", "data": { "a": { "b": { "c": "x".repeat(characters) } } } });
    let within = world.api.post("/v1/events", nested(170_000)).await.expect(202)["id"].clone();
    let beyond = world.api.post("/v1/events", nested(180_000)).await.expect(202)["id"].clone();
    world.run(3_600).await;
    assert_eq!(world.delivery(&endpoint, within.as_str().unwrap()).await["status"], "succeeded");
    let failed = world.delivery(&endpoint, beyond.as_str().unwrap()).await;
    assert_eq!(failed["status"], "failed");
    let attempts = failed["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 1);
    assert!(attempts[0]["error"].as_str().unwrap().starts_with("payload_too_large: "), "{failed}");
    assert_eq!(world.receiver.got("/a").len(), 1);
}

/// A throttled read of one tenant's endpoints.
fn one_query_fails() -> FaultRule {
    let rule = FaultRule::once(Service::DynamoDb, "Query", Fault::Throttle);
    FaultRule { identity: Some("DeliverEventsFunction".to_owned()), ..rule }
}

#[tokio::test]
async fn what_cannot_be_read_for_one_tenant_holds_up_no_other_in_its_batch() {
    let world = World::start().await;
    world.endpoint("/mine", json!({})).await;
    let mut others = Vec::new();
    for n in 0..4 {
        let other = world.other_tenant().await;
        world.endpoint_of(&other, &format!("/other/{n}"), json!({})).await;
        others.push(other);
    }
    world.spoil_tenant().await;
    world.send_message(&world.message("a", json!({})).to_string()).await;
    for other in &others {
        other.post("/v1/events", json!({ "type": "a", "data": {} })).await.expect(202);
    }
    assert_eq!(world.poll_once().await, 5);
    assert_eq!(world.receiver.got("/mine").len(), 0);
    assert!((0..4).all(|n| world.receiver.got(&format!("/other/{n}")).len() == 1));
    assert_eq!((world.queued().await, world.dead_letters().await), (1, vec![]));
}

#[tokio::test]
async fn endpoint_that_cannot_be_read_costs_the_others_of_its_tenant_nothing() {
    let world = World::start().await;
    world.endpoint("/good", json!({})).await;
    let bad = world.endpoint("/bad", json!({})).await;
    let scope = Scope { tenant_id: world.demo.tenant_id, mode: Mode::Live };
    world.spoil(&keys::endpoint(scope, bad.parse().unwrap()), "timeout_seconds").await;
    world.send("a", json!({})).await;
    assert_eq!(world.poll_once().await, 1);
    assert_eq!((world.receiver.got("/good").len(), world.queued().await), (1, 1));
    // Again and again, for the one that is left, until somebody is told.
    for _ in 0..11 {
        world.advance_seconds(360);
        world.settle().await;
    }
    assert_eq!((world.receiver.got("/good").len(), world.receiver.got("/bad").len()), (1, 0));
    assert_eq!((world.queued().await, world.dead_letters().await.len()), (0, 1));
}

#[tokio::test]
async fn throttled_partition_of_one_tenant_holds_up_no_other_in_its_batch() {
    for reads in [true, false] {
        let world = World::start().await;
        let bystander = world.other_tenant().await;
        let endpoint = world.endpoint("/bad", json!({})).await;
        world.endpoint_of(&bystander, "/bystander", json!({})).await;
        for n in 0..5 {
            world.send("a", json!({ "n": n })).await;
            bystander.post("/v1/events", json!({ "type": "a", "data": { "n": n } })).await.expect(202);
        }
        let read = world.demo.tenant_id.to_string();
        let partition = if reads { read } else { format!("DELIVERIES#{endpoint}") };
        world.aws.faults().throttle_partitions(&partition);
        assert_eq!(world.poll_once().await, 10);
        assert_eq!(world.receiver.got("/bystander").len(), 5);
        assert_eq!((world.queued().await, world.dead_letters().await), (5, vec![]));
        world.aws.faults().clear();
        world.advance_seconds(360);
        world.settle().await;
        assert_eq!((world.receiver.got("/bystander").len(), world.dead_letters().await), (5, vec![]));
        assert!(world.receiver.got("/bad").len() >= 5);
    }
}

#[tokio::test]
async fn batch_whose_reading_is_throttled_once_is_read_message_by_message() {
    let world = World::start().await;
    world.endpoint("/a", json!({})).await;
    world.send("a", json!({})).await;
    world.send("a", json!({})).await;
    world.aws.faults().inject(FaultRule { times: 3, ..one_query_fails() });
    world.settle().await;
    assert_eq!(world.receiver.got("/a").len(), 2);
}

#[tokio::test]
async fn key_of_a_batch_that_is_used_with_another_body_sends_nothing() {
    let world = World::start().await;
    world.endpoint("/a", json!({})).await;
    let post = async |types: [&str; 2]| {
        let request = world.api.request(Method::POST, "/v1/events/batch").header("content-type", "application/json");
        let events = types.map(|name| json!({ "type": name, "data": {} }));
        let body = json!({ "events": events }).to_string();
        Answer::of(request.header("idempotency-key", "k").body(body)).await
    };
    let first = post(["a", "b"]).await.expect(202);
    assert_eq!(post(["a", "b"]).await.expect(202), first);
    assert_eq!(post(["a", "c"]).await.status, 409);
    // A key of a single event is another one, whatever it looks like.
    let request = world.api.request(Method::POST, "/v1/events").header("content-type", "application/json");
    let single = request.header("idempotency-key", "k#0").body(json!({ "type": "s", "data": {} }).to_string());
    Answer::of(single).await.expect(202);
    world.settle().await;
    assert_eq!(world.receiver.got("/a").len(), 3);
}

async fn create_under_a_key(client: &Client, url: &str) -> Answer {
    let request = client.request(Method::POST, "/v1/endpoints").header("content-type", "application/json");
    Answer::of(request.header("idempotency-key", "one").body(json!({ "url": url }).to_string())).await
}

#[tokio::test]
async fn endpoint_whose_making_got_no_answer_is_the_same_one_when_it_is_made_again_under_its_key() {
    let world = World::start().await;
    let url = world.receiver.url("/a");
    let of_transaction = FaultRule::once(Service::DynamoDb, "TransactWriteItems", Fault::DropAnswer);
    for fault in [Fault::DropAnswer, Fault::DropBefore] {
        world.aws.faults().inject(FaultRule { times: u32::MAX, fault, ..of_transaction.clone() });
        assert_eq!(create_under_a_key(&world.api, &url).await.status, 503);
        world.aws.faults().clear();
        world.advance_seconds(5);
        let made = create_under_a_key(&world.api, &url).await.expect(201);
        assert!(made["secret"].is_string());
        world.advance_seconds(30);
        assert_eq!(create_under_a_key(&world.api, &url).await.expect(201)["id"], made["id"]);
        let listed = world.api.get("/v1/endpoints").await.expect(200);
        assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
        world.api.delete(&format!("/v1/endpoints/{}", made["id"].as_str().unwrap())).await.expect(204);
        // The key is free again after a day.
        world.advance_seconds(90_000);
    }
}

#[tokio::test]
async fn number_beyond_a_double_arrives_as_it_was_sent() {
    let world = World::start().await;
    world.endpoint("/a", json!({})).await;
    let body = r#"{"type":"a","data":{"n":1e999,"m":[-1E-400]}}"#;
    world.api.send(Method::POST, "/v1/events", body).await.expect(202);
    world.settle().await;
    let got = String::from_utf8(world.receiver.got("/a")[0].body.to_vec()).unwrap();
    assert!(got.contains(r#""data":{"n":1e999,"m":[-1E-400]}"#), "{got}");
}

#[tokio::test]
async fn schema_that_cannot_be_checked_in_bounded_time_is_refused_and_none_is_passed_by_a_trick() {
    let world = World::start().await;
    let put = async |schema: &Value| {
        let body = json!({ "schema": schema }).to_string();
        world.api.send(Method::PUT, "/v1/event-types/a", body).await
    };
    let mut chain = json!({ "$ref": "#/$defs/0", "$defs": {} });
    for n in 0..40 {
        let next = json!({ "$ref": format!("#/$defs/{}", n + 1) });
        chain["$defs"][n.to_string()] = json!({ "allOf": [next, next] });
    }
    chain["$defs"]["40"] = json!({ "type": "object" });
    let backtracking = json!({ "properties": { "a": { "pattern": "^(?=a)(a+)+$" } } });
    let too_long = json!({ "description": "x".repeat(32 * 1_024) });
    for schema in [&chain, &json!({ "$ref": "#" }), &backtracking, &too_long] {
        let named = put(schema).await.expect_error(http::StatusCode::BAD_REQUEST, "VALIDATION_ERROR");
        assert_eq!(named, ["schema"], "{schema}");
    }
    put(&json!({ "required": ["id"], "properties": { "n": { "maximum": 5 } } })).await.expect(201);
    for data in [r#"{"$serde_json::private::RawValue":"{\"id\":1}"}"#, r#"{"id":1,"n":1e999}"#, r#"{"id":1,"n":6}"#] {
        let body = format!(r#"{{"type":"a","data":{data}}}"#);
        assert_eq!(world.api.send(Method::POST, "/v1/events", body).await.status, 400, "{data}");
    }
    world.api.post("/v1/events", json!({ "type": "a", "data": { "id": 1 } })).await.expect(202);
}

#[tokio::test]
async fn endpoint_is_at_most_64_kib_and_all_of_a_tenants_have_their_bound() {
    let world = World::start().await;
    let url = world.receiver.url("/a");
    let sized = |types: usize| {
        let types: Vec<_> = (0..types).map(|n| format!("{}{n:04}", "a".repeat(120))).collect();
        json!({ "url": url, "event_types": types })
    };
    let most = async |sizes: std::ops::Range<usize>| {
        let (mut fits, mut beyond) = (sizes.start, sizes.end);
        while beyond - fits > 1 {
            let middle = usize::midpoint(fits, beyond);
            let made = world.api.post("/v1/endpoints", sized(middle)).await;
            if made.status == 201 { fits = middle } else { beyond = middle }
        }
        beyond
    };
    let beyond = most(1..600).await;
    let refused = world.api.post("/v1/endpoints", sized(beyond)).await;
    let named = refused.expect_error(http::StatusCode::BAD_REQUEST, "VALIDATION_ERROR");
    assert_eq!(named, ["event_types"]);
    let name = "n".repeat(257);
    let long_name = json!({ "url": url, "headers": { name: "v" } });
    let named = world.api.post("/v1/endpoints", long_name).await;
    assert_eq!(named.expect_error(http::StatusCode::BAD_REQUEST, "VALIDATION_ERROR"), ["headers"]);
}

#[tokio::test]
async fn answer_with_hundreds_of_headers_is_an_answer() {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({})).await;
    world.receiver.reply("/a", [Reply::Headers(500)]);
    let event = world.send("a", json!({})).await;
    world.settle().await;
    assert_eq!(world.delivery(&endpoint, &event).await["status"], "succeeded");
}

#[tokio::test]
async fn keys_are_listed_and_deleted_however_many_portal_sessions_there_were() {
    let world = World::start().await;
    let tenant = format!("/v1/tenants/{}", world.demo.tenant_id);
    world.root.post(&format!("{tenant}/portal-sessions"), json!({ "mode": "live" })).await.expect(201);
    world.copy_portal_session(3_000).await;
    world.root.post(&format!("{tenant}/portal-sessions"), json!({ "mode": "live" })).await.expect(409);
    world.advance_seconds(7 * 86_400);
    world.root.post(&format!("{tenant}/portal-sessions"), json!({ "mode": "live" })).await.expect(201);
    let key = world.root.post(&format!("{tenant}/keys"), json!({ "mode": "live" })).await.expect(201);
    let listed = world.root.get(&format!("{tenant}/keys?limit=100")).await.expect(200);
    assert!(listed.as_array().unwrap().iter().any(|listed| listed["id"] == key["id"]));
    let path = format!("{tenant}/keys/{}", key["id"].as_str().unwrap());
    world.root.delete(&path).await.expect(204);
}

#[tokio::test]
async fn endpoint_whose_secret_is_gone_fails_its_deliveries_on_their_schedule_and_no_others() {
    let world = World::start().await;
    let schedule = json!({ "retry": { "max_attempts": 3, "schedule_seconds": [5] } });
    let endpoint = world.endpoint("/a", schedule).await;
    world.endpoint("/b", json!({})).await;
    world.remove_secret(&endpoint).await;
    let event = world.send("a", json!({})).await;
    world.run(600).await;
    let delivery = world.delivery(&endpoint, &event).await;
    assert_eq!((&delivery["status"], delivery["attempts"].as_array().unwrap().len()), (&json!("failed"), 3));
    assert!(delivery["attempts"][0]["error"].as_str().unwrap().starts_with("secret_unreadable: "), "{delivery}");
    assert_eq!((world.receiver.got("/a").len(), world.receiver.got("/b").len()), (0, 1));
}

#[tokio::test]
async fn what_is_made_under_a_key_is_made_once_whatever_it_is_and_however_its_answer_is_lost() {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({})).await;
    let tenant = format!("/v1/tenants/{}", world.demo.tenant_id);
    let rotate = (&world.api, format!("/v1/endpoints/{endpoint}/secret/rotate"), json!({}), "PutItem");
    let replay =
        (&world.api, format!("/v1/endpoints/{endpoint}/replay"), json!({ "since": "2026-11-19T00:00:00Z" }), "PutItem");
    let key = (&world.root, format!("{tenant}/keys"), json!({ "mode": "live" }), "PutItem");
    let made = (&world.root, "/v1/tenants".to_owned(), json!({ "name": "Once" }), "PutItem");
    for (client, path, body, operation) in [rotate, replay, key, made] {
        world.clock.advance(std::time::Duration::from_millis(1_234));
        let post = async || {
            let request = client.request(Method::POST, &path).header("content-type", "application/json");
            Answer::of(request.header("idempotency-key", path.as_str()).body(body.to_string())).await
        };
        // The answer is given, and not kept: the second PutItem is lost before it is written.
        let lost =
            FaultRule { skip: 1, times: u32::MAX, ..FaultRule::once(Service::DynamoDb, operation, Fault::DropBefore) };
        world.aws.faults().inject(FaultRule { identity: Some("ApiFunction".to_owned()), ..lost });
        let first = post().await;
        world.aws.faults().clear();
        world.advance_seconds(61);
        let second = post().await;
        assert!(second.status < 300, "{path}: {:?}", second.body);
        if first.status < 300 {
            for name in ["id", "secret"].iter().filter(|_| !path.ends_with("keys")) {
                assert_eq!(first.body["data"][name], second.body["data"][name], "{path}");
            }
        }
    }
    let keys = world.root.get(&format!("{tenant}/keys?limit=100")).await.expect(200);
    assert_eq!(keys.as_array().unwrap().len(), 3, "{keys}");
    let tenants = world.root.get("/v1/tenants").await.expect(200);
    assert_eq!(tenants.as_array().unwrap().len(), 2, "{tenants}");
}

#[tokio::test]
async fn violations_of_large_data_are_counted_and_not_gathered() {
    let world = World::start().await;
    let schema = json!({ "properties": { "x": { "items": { "allOf": vec![json!(false); 900] } } } });
    let body = json!({ "schema": schema }).to_string();
    world.api.send(Method::PUT, "/v1/event-types/a", body).await.expect(201);
    let event = json!({ "type": "a", "data": { "x": vec![0; 100_000] } });
    let named = world.api.post("/v1/events", event).await;
    assert_eq!(named.expect_error(http::StatusCode::BAD_REQUEST, "VALIDATION_ERROR"), ["data"]);
    let few = world.api.post("/v1/events", json!({ "type": "a", "data": { "x": [0] } })).await;
    assert_eq!(few.expect_error(http::StatusCode::BAD_REQUEST, "VALIDATION_ERROR")[0], "data.x.0");
}

#[tokio::test]
async fn body_beyond_its_bound_says_nothing_about_the_receiver_and_holds_up_nothing() {
    let world = World::start().await;
    let chosen = json!({ "payload_fields": ["a", "a.b", { "key": "c", "path": "a.b.c" }] });
    let endpoint = world.endpoint("/a", chosen).await;
    let beyond = json!({ "type": "a", "data": { "a": { "b": { "c": "x".repeat(180_000) } } } });
    world.receiver.reply("/a", [Reply::Status(500)]);
    world.send("a", json!({})).await;
    world.run(100).await;
    for _ in 0..3 {
        world.api.post("/v1/events", beyond.clone()).await.expect(202);
    }
    let last = world.send("a", json!({})).await;
    world.receiver.reply("/a", [Reply::Status(200)]);
    world.run(6 * 60).await;
    assert_eq!(world.delivery(&endpoint, &last).await["status"], "succeeded");
    world.api.post("/v1/events", beyond).await.expect(202);
    world.run(60).await;
    let health = world.api.get(&format!("/v1/endpoints/{endpoint}")).await.expect(200)["health"].clone();
    assert_eq!((&health["state"], &health["failing_since"]), (&json!("healthy"), &Value::Null));
}

#[tokio::test]
async fn chosen_fields_are_kept_once_and_not_in_every_delivery() {
    let world = World::start().await;
    let fields: Vec<_> = (0..50).map(|n| format!("{}{n}", "f".repeat(250))).collect();
    world.endpoint("/a", json!({ "payload_fields": fields })).await;
    world.endpoint("/b", json!({})).await;
    for path in ["/a", "/b"] {
        world.receiver.reply(path, [Reply::Status(500)]);
    }
    world.send("a", json!({})).await;
    let _ = world.aws.calls().take();
    world.settle().await;
    let calls = world.aws.calls().take();
    let writes = calls.iter().filter(|call| call.operation == "BatchExecuteStatement");
    let units: f64 = writes.filter_map(|call| call.consumed_capacity).sum();
    // The event, and two deliveries with their places in the backlog.
    assert!(units <= 5.0, "{units}");
}
