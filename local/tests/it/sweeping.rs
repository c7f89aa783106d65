//! What the sweeper finds: lost messages, long waits, and what half-made and deleted endpoints leave behind.

use futures::future::join_all;
use http::StatusCode;
use local::aws::{Fault, FaultRule, Service};
use serde_json::json;

use crate::world::{Client, Reply, World};

/// How long a secret without an endpoint stays, and a minute.
const LEFTOVER_SECONDS: u64 = 960;

fn api_rule(operation: Option<&str>, fault: Fault) -> FaultRule {
    FaultRule {
        service: None,
        operation: operation.map(str::to_owned),
        identity: Some("ApiFunction".to_owned()),
        skip: 0,
        times: u32::MAX,
        fault,
    }
}

#[tokio::test]
async fn lost_wake_is_replaced_two_minutes_after_its_time_and_only_once() {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({ "retry": { "schedule_seconds": [30] } })).await;
    world.receiver.reply("/a", [Reply::Status(500), Reply::Status(200)]);
    let event = world.send("a", json!({})).await;
    world.settle().await;
    world.lose_retries().await;
    // Due after 30 to 36 seconds: a message of that time may be in its queue, or in hand, for two minutes more.
    for _ in 0..2 {
        world.advance_seconds(60);
        assert_eq!(world.sweep().await.woken, 0);
    }
    world.advance_seconds(60);
    assert_eq!([world.sweep().await.woken, world.sweep().await.woken], [1, 0]);
    world.settle().await;
    assert_eq!(world.receiver.got("/a").len(), 2);
    assert_eq!(world.delivery(&endpoint, &event).await["status"], "succeeded");
}

#[tokio::test]
async fn wake_that_is_lost_again_and_again_is_replaced_later_and_later() {
    let world = World::start().await;
    world.endpoint("/a", json!({})).await;
    world.receiver.reply("/a", [Reply::Status(500)]);
    world.send("a", json!({})).await;
    world.settle().await;
    let mut replaced = Vec::new();
    for minute in 0..120 {
        world.lose_retries().await;
        world.advance_seconds(60);
        if world.sweep().await.woken > 0 {
            replaced.push(minute);
        }
    }
    let gaps: Vec<i32> = replaced.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(gaps, [4, 8, 16, 32]);
    world.run(3_660).await;
    assert!(world.receiver.got("/a").len() >= 2);
}

#[tokio::test]
async fn sweepers_at_once_wake_each_backlog_once_whatever_waits_in_it() {
    let world = World::start().await;
    let retry = json!({ "retry": { "schedule_seconds": [3_600] } });
    let mut endpoints = Vec::new();
    for n in 0..10 {
        let path = format!("/{n}");
        world.receiver.reply(&path, [Reply::Status(500)]);
        endpoints.push(world.endpoint(&path, retry.clone()).await);
    }
    for n in 0..5 {
        world.send("a", json!({ "n": n })).await;
    }
    world.settle().await;
    let last = world.waiting().await.last().unwrap().as_second() - world.clock.now().as_second();
    world.advance_seconds(u64::try_from(last).unwrap());
    let reports = join_all((0..3).map(|_| world.sweep())).await;
    let woken: usize = reports.iter().map(|report| report.woken).sum();
    assert_eq!((woken, world.queued().await), (10, 10), "{reports:?}");
    world.run(900).await;
    for (n, endpoint) in endpoints.iter().enumerate() {
        assert_eq!(world.receiver.got(&format!("/{n}")).len(), 10);
        let log = world.api.get(&format!("/v1/endpoints/{endpoint}/deliveries")).await.expect(200);
        assert!(log.as_array().unwrap().iter().all(|one| one["attempts"].as_array().unwrap().len() == 2));
    }
}

#[tokio::test]
async fn retry_after_a_long_wait_is_on_time_to_the_second() {
    let world = World::start().await;
    world.endpoint("/a", json!({ "retry": { "schedule_seconds": [7_200] } })).await;
    world.receiver.reply("/a", [Reply::Status(500)]);
    world.send("a", json!({})).await;
    world.settle().await;
    let due = world.waiting().await[0];
    let left = |world: &World| u64::try_from(due.as_millisecond() - world.clock.now().as_millisecond()).unwrap();
    // The sweeper's last run before the due time comes at any second of that minute.
    world.advance_seconds(left(&world) / 1_000 - 37);
    assert_eq!(world.sweep().await.woken, 1);
    world.clock.advance(std::time::Duration::from_millis(left(&world) - 1));
    world.settle().await;
    assert_eq!(world.receiver.got("/a").len(), 1);
    world.advance_seconds(1);
    world.settle().await;
    assert_eq!(world.receiver.got("/a").len(), 2);
}

#[tokio::test]
async fn secret_of_an_endpoint_that_never_came_is_removed() {
    let world = World::start().await;
    world.aws.faults().inject(api_rule(Some("TransactWriteItems"), Fault::DropBefore));
    let body = json!({ "url": world.receiver.url("/a") });
    let refused = world.api.post("/v1/endpoints", body).await;
    refused.expect_error(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE");
    world.aws.faults().clear();
    assert_eq!(world.endpoint_secrets().await, 1);
    assert_eq!(world.sweep().await.secrets_removed, 0);
    world.advance_seconds(LEFTOVER_SECONDS);
    assert_eq!(world.sweep().await.secrets_removed, 1);
    assert_eq!(world.endpoint_secrets().await, 0);
    assert_eq!(world.sweep().await.secrets_removed, 0);
}

#[tokio::test]
async fn secret_of_a_deleted_endpoint_is_removed_and_the_others_stay() {
    let world = World::start().await;
    world.endpoint("/a", json!({})).await;
    let gone = world.endpoint("/gone", json!({ "uid": "gone" })).await;
    world.api.delete(&format!("/v1/endpoints/{gone}")).await.expect(204);
    world.api.delete(&format!("/v1/endpoints/{gone}")).await.expect_error(StatusCode::NOT_FOUND, "NOT_FOUND");
    assert_eq!(world.sweep().await.secrets_removed, 1);
    world.advance_seconds(LEFTOVER_SECONDS);
    assert_eq!(world.sweep().await.secrets_removed, 0);
    assert_eq!(world.endpoint_secrets().await, 1);
    world.send("a", json!({})).await;
    world.settle().await;
    assert_eq!(world.receiver.got("/a").len(), 1);
}

/// Kills the making of an endpoint from its k-th call on; afterwards endpoints, secrets and the tenant's counter must agree.
async fn create_survives(at_call: u32, fault: Fault) {
    let world = World::start().await;
    world.endpoint("/first", json!({})).await;
    let rule = FaultRule { skip: at_call, ..api_rule(None, Fault::DropBefore) };
    world.aws.faults().inject(FaultRule { times: 1, fault, ..rule.clone() });
    world.aws.faults().inject(rule);
    let body = json!({ "url": world.receiver.url("/a"), "uid": "mine" });
    let refused = world.api.post("/v1/endpoints", body.clone()).await;
    refused.expect_error(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE");
    world.aws.faults().clear();
    world.advance_seconds(LEFTOVER_SECONDS);
    world.sweep().await;
    let listed = world.api.get("/v1/endpoints").await.expect(200).as_array().unwrap().len();
    assert_eq!(world.endpoint_secrets().await, listed, "{at_call} {fault:?}");
    for _ in listed..10 {
        world.endpoint("/more", json!({})).await;
    }
    let full = world.api.post("/v1/endpoints", json!({ "url": world.receiver.url("/a") })).await;
    full.expect_error(StatusCode::CONFLICT, "LIMIT_EXCEEDED");
    assert_eq!(world.endpoint_secrets().await, 10, "{at_call} {fault:?}");
}

#[tokio::test]
async fn making_an_endpoint_killed_at_any_call_leaves_nothing_that_does_not_belong() {
    let world = World::start().await;
    world.endpoint("/a", json!({})).await;
    let _ = world.aws.calls().take();
    world.endpoint("/a", json!({})).await;
    let calls = u32::try_from(world.aws.calls().take().len()).unwrap();
    assert!(calls >= 3, "{calls}");
    let kills = (0..calls).flat_map(|at_call| [(at_call, Fault::DropBefore), (at_call, Fault::DropAnswer)]);
    join_all(kills.map(|(at_call, fault)| create_survives(at_call, fault))).await;
}

#[tokio::test]
async fn endpoint_whose_making_got_no_answer_once_is_made_all_the_same() {
    for operation in ["PutItem", "CreateSecret", "TransactWriteItems"] {
        let world = World::start().await;
        world.aws.faults().inject(FaultRule { times: 1, ..api_rule(Some(operation), Fault::DropAnswer) });
        world.endpoint("/a", json!({})).await;
        world.send("a", json!({})).await;
        world.settle().await;
        assert_eq!(world.receiver.got("/a").len(), 1, "{operation}");
        world.advance_seconds(LEFTOVER_SECONDS);
        world.sweep().await;
        assert_eq!(world.endpoint_secrets().await, 1, "{operation}");
    }
}

#[tokio::test]
async fn change_or_delete_that_got_no_answer_once_is_done_all_the_same() {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({})).await;
    let path = format!("/v1/endpoints/{endpoint}");
    let lost = || FaultRule { times: 1, ..FaultRule::once(Service::DynamoDb, "TransactWriteItems", Fault::DropAnswer) };
    world.aws.faults().inject(lost());
    let change = world.api.request(reqwest::Method::PATCH, &path).header("if-match", "\"1\"");
    let change = change.header("content-type", "application/json").body(r#"{"name":"new"}"#);
    let changed = crate::world::Answer::of(change).await.expect(200);
    assert_eq!((&changed["name"], &changed["version"]), (&json!("new"), &json!(2)));
    world.aws.faults().inject(lost());
    world.api.delete(&path).await.expect(204);
    world.api.get(&path).await.expect_error(StatusCode::NOT_FOUND, "NOT_FOUND");
}

#[tokio::test]
async fn creates_at_the_same_time_stop_at_the_tenants_maximum_and_leave_no_secret_too_many() {
    let world = World::start().await;
    let create = |n: usize| {
        let body = json!({ "url": world.receiver.url(&format!("/{n}")) });
        let api = &world.api;
        async move { api.post("/v1/endpoints", body).await }
    };
    let answers = join_all((0..14).map(create)).await;
    let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 201);
    assert_eq!((made.len(), refused.len()), (10, 4));
    for answer in refused {
        answer.expect_error(StatusCode::CONFLICT, "LIMIT_EXCEEDED");
    }
    assert_eq!(world.endpoint_secrets().await, 10);
    // The other mode counts for itself.
    let test = Client::new(&world.api_url, &world.demo.test_key);
    world.endpoint_of(&test, "/test", json!({})).await;
    // One goes, one comes.
    let gone = made[0].body["data"]["id"].as_str().unwrap();
    world.api.delete(&format!("/v1/endpoints/{gone}")).await.expect(204);
    world.endpoint("/again", json!({})).await;
}

#[tokio::test]
async fn one_of_several_creates_with_one_uid_wins_and_the_others_leave_nothing() {
    let world = World::start().await;
    let body = json!({ "url": world.receiver.url("/a"), "uid": "mine" });
    let answers = join_all((0..5).map(|_| world.api.post("/v1/endpoints", body.clone()))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    for answer in answers.into_iter().filter(|answer| answer.status != 201) {
        answer.expect_error(StatusCode::CONFLICT, "CONFLICT");
    }
    assert_eq!(world.endpoint_secrets().await, 1);
    world.api.get("/v1/endpoints/mine").await.expect(200);
    // A uid is free again when its endpoint is gone.
    world.api.delete("/v1/endpoints/mine").await.expect(204);
    world.api.post("/v1/endpoints", body).await.expect(201);
}
