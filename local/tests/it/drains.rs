//! Draining backlogs: what changes meanwhile, who comes twice, who dies, and who comes too late.

use std::collections::BTreeMap;
use std::sync::Arc;

use local::aws::{Fault, Service};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::kills::{Kill, calls_of, kills_at_any_call, start_again, survive_all};
use crate::world::{Reply, World, until};

/// How many requests go to one endpoint side by side.
const SIDE_BY_SIDE: usize = 32;

/// Sends so many events and lets them be tried.
async fn send_many(world: &World, count: usize) -> Vec<String> {
    let mut events = Vec::new();
    for _ in 0..count.div_ceil(100) {
        let batch = vec![json!({ "type": "a", "data": {} }); 100.min(count - events.len())];
        let accepted = world.api.post("/v1/events/batch", json!({ "events": batch })).await.expect(202);
        events.extend(accepted.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()));
        world.settle().await;
    }
    events
}

/// How often each event came to `/a`.
fn came(world: &World) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for got in world.receiver.got_unverified("/a") {
        *counts.entry(got.header("webhook-id").to_owned()).or_default() += 1;
    }
    counts
}

async fn bulk_replay(world: &World, endpoint: &str) -> String {
    let path = format!("/v1/endpoints/{endpoint}/replay");
    let replay = world.api.post(&path, json!({ "since": "2026-11-19T00:00:00Z" })).await.expect(202);
    replay["id"].as_str().unwrap().to_owned()
}

/// A hundred failed deliveries that a replay sends; the first of them are in the receiver's hands when `change` is made.
async fn changed_during_a_replay(change: impl AsyncFn(&World, &str)) -> (World, usize) {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({ "retry": { "max_attempts": 1 } })).await;
    world.receiver.reply("/a", [Reply::Status(500)]);
    send_many(&world, 100).await;
    let gate = Arc::new(Semaphore::new(0));
    world.receiver.reply("/a", [Reply::Gate(Arc::clone(&gate), 200)]);
    bulk_replay(&world, &endpoint).await;
    let (stop, mut pollers) = world.keep_polling();
    until("a round is under way", async || world.receiver.got_unverified("/a").len() == 100 + SIDE_BY_SIDE).await;
    change(&world, &endpoint).await;
    gate.add_permits(1_000);
    until("the replay has ended", async || world.queued().await == 0 && world.waiting().await.is_empty()).await;
    stop.send_replace(true);
    while pollers.join_next().await.is_some() {}
    let more = world.receiver.got_unverified("/a").len() - 100 - SIDE_BY_SIDE;
    (world, more)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn change_of_an_endpoint_is_in_use_at_the_next_round_of_a_replay() {
    let path = |endpoint: &str| format!("/v1/endpoints/{endpoint}");
    let (_, more) = changed_during_a_replay(async |world, endpoint| {
        world.api.delete(&path(endpoint)).await.expect(204);
    })
    .await;
    assert_eq!(more, 0, "sent after it was deleted");
    let (_, more) = changed_during_a_replay(async |world, endpoint| {
        world.api.patch(&path(endpoint), json!({ "status": "paused" })).await.expect(200);
    })
    .await;
    assert_eq!(more, 0, "sent after it was paused");
    let (world, more) = changed_during_a_replay(async |world, endpoint| {
        let url = world.receiver.url("/b");
        world.api.patch(&path(endpoint), json!({ "url": url })).await.expect(200);
    })
    .await;
    assert_eq!((more, world.receiver.got_unverified("/b").len()), (0, 100 - SIDE_BY_SIDE));
}

#[tokio::test]
async fn delivery_that_waits_is_kept_with_its_event_for_longer_than_others_are() {
    let mut world = World::start().await;
    world.redeploy(&[("RetentionDays", "1")]).await;
    let waits = json!({ "retry": { "schedule_seconds": [86_400, 86_400] } });
    world.endpoint("/a", waits).await;
    world.receiver.reply("/a", [Reply::Status(500), Reply::Status(500), Reply::Status(200)]);
    let event = world.api.post("/v1/events", json!({ "type": "a", "data": { "n": 1 } })).await.expect(202);
    let event = event["id"].as_str().unwrap();
    world.run(5 * 86_400).await;
    let got = world.receiver.got("/a");
    assert_eq!(got.len(), 3);
    assert!(got.iter().all(|one| one.header("webhook-id") == event && one.body == got[0].body));
}

#[tokio::test]
async fn event_to_25_endpoints_that_fail_takes_no_transaction_and_conflicts_with_nobody() {
    let world = World::start().await;
    let client = world.tenant_with(json!({ "name": "Large", "max_endpoints": 30 })).await;
    let mut endpoints = Vec::new();
    for n in 0..25 {
        let path = format!("/{n}");
        world.receiver.reply(&path, [Reply::Status(500), Reply::Status(200)]);
        endpoints.push(world.endpoint_of(&client, &path, json!({})).await);
    }
    let _ = world.aws.calls().take();
    client.post("/v1/events", json!({ "type": "a", "data": {} })).await.expect(202);
    world.settle().await;
    let calls: Vec<_> =
        world.aws.calls().take().into_iter().filter(|call| call.identity.starts_with("Deliver")).collect();
    assert!(calls.iter().all(|call| call.operation != "TransactWriteItems"));
    let writes = calls.iter().filter(|call| call.service == Service::DynamoDb && call.operation.contains("Statement"));
    assert!(writes.count() <= 2 * endpoints.len(), "{calls:?}");
    for endpoint in &endpoints {
        let shown = client.get(&format!("/v1/endpoints/{endpoint}")).await.expect(200);
        assert_eq!((&shown["health"]["state"], &shown["health"]["waiting"]["count"]), (&json!("failing"), &json!(1)));
    }
    world.run(60).await;
    assert!((0..25).all(|n| world.receiver.got(&format!("/{n}")).len() == 2));
}

/// An endpoint that hangs has been given up on, and four deliveries wait.
async fn with_a_backlog(world: &World, count: usize) -> (String, Vec<String>) {
    let endpoint = world.endpoint("/a", json!({ "retry": { "schedule_seconds": [40, 40, 40, 40] } })).await;
    world.receiver.reply("/a", [Reply::Status(500)]);
    let mut events = vec![world.send("a", json!({})).await];
    world.run(100).await;
    events.extend(send_many(world, count).await);
    (endpoint, events)
}

async fn assert_all_succeeded(world: &World, endpoint: &str, events: &[String], about: &str) {
    for event in events {
        let delivery = world.delivery(endpoint, event).await;
        assert_eq!(delivery["status"], "succeeded", "{about}: {delivery}");
    }
    assert_eq!((world.queued().await, world.dead_letters().await), (0, vec![]), "{about}");
    // What a drain saw of the endpoint can die with it; the next event shows how it is doing.
    world.send("a", json!({})).await;
    world.run_until_rest().await;
    let health = world.api.get(&format!("/v1/endpoints/{endpoint}")).await.expect(200)["health"].clone();
    assert_eq!((&health["state"], &health["waiting"]["count"]), (&json!("healthy"), &json!(0)), "{about}");
}

/// A probe that fails, one that succeeds, and the drain of what waits, with a kill in it.
async fn recovery_survives(kill: Kill) -> u32 {
    let mut world = World::start().await;
    let (endpoint, events) = with_a_backlog(&world, 4).await;
    let before = came(&world);
    let fails = vec![Reply::Status(500); before.values().sum::<usize>() + 1];
    world.receiver.reply("/a", fails.into_iter().chain([Reply::Status(200)]));
    let _ = world.aws.calls().take();
    kill.arm(&world);
    world.run(120).await;
    let calls = calls_of(&world.aws.calls().take(), kill.function);
    start_again(&mut world).await;
    world.run_until_rest().await;
    let again = |event: &String| came(&world)[event] - before.get(event).copied().unwrap_or_default();
    let repeats: usize = events.iter().map(again).sum();
    // Each once, one of them in vain before, and again what was under way at the kill.
    assert!((events.len() + 1..=2 * events.len() + 1).contains(&repeats), "{kill:?}: {repeats}");
    assert_all_succeeded(&world, &endpoint, &events, &format!("{kill:?}")).await;
    calls
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probe_and_recovery_killed_at_any_call_end_with_everything_delivered() {
    let calls = recovery_survives(Kill::never("DeliverRetriesFunction")).await;
    assert!(calls >= 15, "{calls}");
    survive_all(kills_at_any_call("DeliverRetriesFunction", calls), recovery_survives).await;
}

/// A replay of 40, with a kill in it.
async fn replay_survives(kill: Kill) -> u32 {
    let mut world = World::start().await;
    let endpoint = world.endpoint("/a", json!({ "retry": { "max_attempts": 1 } })).await;
    world.receiver.reply("/a", [Reply::Status(500)]);
    let events = send_many(&world, 40).await;
    world.receiver.reply("/a", [Reply::Status(200)]);
    let _ = world.aws.calls().take();
    let replay = bulk_replay(&world, &endpoint).await;
    kill.arm(&world);
    world.run(5).await;
    let calls = calls_of(&world.aws.calls().take(), kill.function);
    start_again(&mut world).await;
    world.run(30 * 60).await;
    let shown = world.api.get(&format!("/v1/replays/{replay}")).await.expect(200);
    assert_eq!((&shown["state"], &shown["queued"]), (&json!("completed"), &json!(40)), "{kill:?}");
    assert_all_succeeded(&world, &endpoint, &events, &format!("{kill:?}")).await;
    calls
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replay_killed_at_any_call_counts_and_sends_all() {
    let calls = replay_survives(Kill::never("DeliverRetriesFunction")).await;
    assert!(calls >= 10, "{calls}");
    survive_all(kills_at_any_call("DeliverRetriesFunction", calls), replay_survives).await;
}

/// The wakes that are on the retries queue, twice each.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn wakes_that_come_twice_and_at_once_make_one_drain() {
    let mut world = World::start().await;
    world.scale_out(3).await;
    world.aws.faults().duplicate_messages(true);
    let (endpoint, events) = with_a_backlog(&world, 60).await;
    let before = world.receiver.got_unverified("/a").len();
    world.receiver.reply("/a", [Reply::Status(200)]);
    world.run(600).await;
    let counts = came(&world);
    assert!(events[1..].iter().all(|event| counts[event] == 1), "{counts:?}");
    assert_eq!(world.receiver.got_unverified("/a").len() - before, events.len());
    world.aws.faults().duplicate_messages(false);
    assert_all_succeeded(&world, &endpoint, &events, "doubled").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn drain_that_outlives_its_lease_changes_nothing_that_another_has_recorded() {
    let mut world = World::start().await;
    world.scale_out(1).await;
    let endpoint = world.endpoint("/a", json!({ "retry": { "schedule_seconds": [5, 5] } })).await;
    let gate = Arc::new(Semaphore::new(0));
    let replies = [Reply::Status(500), Reply::Gate(Arc::clone(&gate), 500), Reply::Status(200)];
    world.receiver.reply("/a", replies);
    let event = world.send("a", json!({})).await;
    world.settle().await;
    world.advance_seconds(7);
    let (stop, mut pollers) = world.keep_polling();
    until("the first drain waits", async || world.receiver.got("/a").len() == 2).await;
    // As by a clock that is ahead.
    world.end_lease(&endpoint).await;
    world.api.post(&format!("/v1/endpoints/{endpoint}/deliveries/{event}/retry"), json!({})).await.expect(202);
    until("the second drain has sent", async || world.delivery(&endpoint, &event).await["status"] == "succeeded").await;
    gate.add_permits(1);
    until("both have ended", async || world.at_hand().await == 0).await;
    stop.send_replace(true);
    while pollers.join_next().await.is_some() {}
    world.run_until_rest().await;
    let delivery = world.delivery(&endpoint, &event).await;
    let codes: Vec<_> = delivery["attempts"].as_array().unwrap().iter().map(|one| one["status_code"].clone()).collect();
    assert_eq!((codes, delivery["status"].clone()), (vec![json!(500), json!(200)], json!("succeeded")));
    assert_eq!(world.receiver.got("/a").len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_waits_of_many_tenants_that_end_at_one_moment_all_end_within_a_minute_of_it() {
    let world = World::start().await;
    let mut paths = Vec::new();
    for tenant in 0..20 {
        let client = world.tenant_with(json!({ "name": format!("T{tenant}"), "max_endpoints": 20 })).await;
        for n in 0..20 {
            let path = format!("/{tenant}/{n}");
            let busy = Reply::Full(503, "retry-after", "2000".to_owned(), String::new());
            world.receiver.reply(&path, [busy, Reply::Status(200)]);
            world.endpoint_of(&client, &path, json!({})).await;
            paths.push(path);
        }
        client.post("/v1/events", json!({ "type": "a", "data": {} })).await.expect(202);
    }
    world.settle().await;
    assert!(paths.iter().all(|path| world.receiver.got(path).len() == 1));
    world.run(1_990).await;
    assert!(paths.iter().all(|path| world.receiver.got(path).len() == 1), "earlier than was asked for");
    world.run(70).await;
    let late = paths.iter().filter(|path| world.receiver.got(path).len() != 2).count();
    assert_eq!(late, 0);
}

#[tokio::test]
async fn lost_answers_of_every_kind_repeat_no_request_of_a_drain() {
    let world = World::start().await;
    let (endpoint, events) = with_a_backlog(&world, 8).await;
    world.receiver.reply("/a", [Reply::Status(200)]);
    let before = world.receiver.got("/a").len();
    for (service, operation) in [
        (Service::DynamoDb, "BatchExecuteStatement"),
        (Service::DynamoDb, "UpdateItem"),
        (Service::Sqs, "SendMessageBatch"),
    ] {
        world.aws.faults().inject(local::aws::FaultRule::once(service, operation, Fault::DropAnswer));
    }
    world.run_until_rest().await;
    assert_eq!(world.receiver.got("/a").len() - before, events.len());
    assert_all_succeeded(&world, &endpoint, &events, "lost answers").await;
}

#[tokio::test]
async fn delivery_whose_event_is_not_written_yet_waits_for_it() {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({})).await;
    world.receiver.reply("/a", [Reply::Status(500), Reply::Status(200)]);
    let event = world.send("a", json!({})).await;
    world.settle().await;
    let taken = world.take_event(&event).await;
    world.run(600).await;
    assert_eq!(
        (world.delivery(&endpoint, &event).await["status"].clone(), world.receiver.got("/a").len()),
        (json!("pending"), 1)
    );
    world.put_item(taken).await;
    world.run(600).await;
    assert_eq!(world.delivery(&endpoint, &event).await["status"], "succeeded");
}

#[tokio::test]
async fn delivery_that_cannot_be_read_holds_up_none_behind_it() {
    let world = World::start().await;
    let (endpoint, events) = with_a_backlog(&world, 3).await;
    world.spoil_delivery(&endpoint, &events[0]).await;
    world.receiver.reply("/a", [Reply::Status(200)]);
    world.run(600).await;
    for event in &events[1..] {
        assert_eq!(world.delivery(&endpoint, event).await["status"], "succeeded");
    }
}

/// A manual retry, with a kill in it; whether the delivery is attempted in the end.
async fn retry_survives(kill: Kill) -> u32 {
    let world = World::start().await;
    let endpoint = world.endpoint("/a", json!({ "retry": { "max_attempts": 1 } })).await;
    world.receiver.reply("/a", [Reply::Status(500), Reply::Status(200)]);
    let event = world.send("a", json!({})).await;
    world.run(1_800).await;
    assert_eq!(world.delivery(&endpoint, &event).await["status"], "failed");
    let _ = world.aws.calls().take();
    kill.arm(&world);
    let path = format!("/v1/endpoints/{endpoint}/deliveries/{event}/retry");
    let _ = world.api.post(&path, json!({})).await;
    let calls = calls_of(&world.aws.calls().take(), kill.function);
    world.aws.faults().clear();
    world.run(10 * 60).await;
    let (requests, delivery) = (world.receiver.got("/a").len(), world.delivery(&endpoint, &event).await);
    let expected = if requests == 2 { "succeeded" } else { "failed" };
    assert_eq!(delivery["status"], expected, "{kill:?}: {requests}");
    calls
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn manual_retry_killed_at_any_call_is_made_or_changes_nothing() {
    let calls = retry_survives(Kill::never("ApiFunction")).await;
    assert!(calls >= 4, "{calls}");
    survive_all(kills_at_any_call("ApiFunction", calls), retry_survives).await;
}
