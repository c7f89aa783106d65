//! Killed at any call to AWS and started again, everything ends in the same records as if nothing had happened.

use std::collections::BTreeMap;
use std::sync::Arc;

use local::aws::{Fault, FaultRule, Service};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::kills::{Kill, calls_of, kills_at_any_call, start_again, survive_all};
use crate::world::{Client, Reply, World, until};

/// Three events, one of them straight from the queue, to an endpoint that is well, one that always fails and one that is paused.
struct Work {
    endpoints: Vec<String>,
    events: Vec<String>,
}

impl Work {
    async fn begin(world: &World) -> Self {
        world.receiver.reply("/down", [Reply::Status(500)]);
        let retry = json!({ "retry": { "max_attempts": 3, "schedule_seconds": [5] } });
        let endpoints = vec![
            world.endpoint("/well", json!({})).await,
            world.endpoint("/down", retry).await,
            world.endpoint("/paused", json!({ "status": "paused" })).await,
        ];
        let mut events = Vec::new();
        for n in 0..2 {
            events.push(world.send("a", json!({ "n": n })).await);
        }
        let sent = world.send_message(&world.message("a", json!({})).to_string()).await;
        let derived = shared::domain::id::EventId::derived_from_message(world.clock.now(), &sent);
        events.push(derived.to_string());
        let _ = world.aws.calls().take();
        Self { endpoints, events }
    }

    /// Status and status codes of every delivery.
    async fn records(&self, world: &World) -> Vec<(String, Vec<u64>)> {
        let mut records = Vec::new();
        for endpoint in &self.endpoints {
            let path = format!("/v1/endpoints/{endpoint}/deliveries");
            let listed = world.api.get(&path).await.expect(200);
            assert_eq!(listed.as_array().unwrap().len(), self.events.len());
            for event in &self.events {
                let delivery = world.delivery(endpoint, event).await;
                let attempts = delivery["attempts"].as_array().unwrap().iter();
                let codes = attempts.map(|attempt| attempt["status_code"].as_u64().unwrap()).collect();
                assert_eq!(delivery["next_attempt_at"], Value::Null);
                records.push((delivery["status"].as_str().unwrap().to_owned(), codes));
            }
        }
        records
    }

    fn undisturbed() -> Vec<(String, Vec<u64>)> {
        let of = |status: &str, codes: &[u64]| vec![(status.to_owned(), codes.to_vec()); 3];
        [of("succeeded", &[200]), of("failed", &[500, 500, 500]), of("skipped", &[])].concat()
    }

    /// How often each path got each event.
    fn requests(&self, world: &World, path: &str) -> Vec<usize> {
        let got = world.receiver.got(path);
        assert!(got.iter().all(|got| self.events.contains(&got.header("webhook-id").to_owned())));
        let count = |event: &String| got.iter().filter(|got| got.header("webhook-id") == event).count();
        self.events.iter().map(count).collect()
    }
}

/// Lets the work be done with a kill in it; what is wrong afterwards.
async fn survive(kill: Kill) {
    let mut world = World::start().await;
    let work = Work::begin(&world).await;
    kill.arm(&world);
    // Long enough for the second attempt; the retries lane dies in it or later.
    world.settle().await;
    world.advance_seconds(7);
    world.settle().await;
    start_again(&mut world).await;
    world.run_until_rest().await;

    assert_eq!(work.records(&world).await, Work::undisturbed(), "{kill:?}");
    assert_eq!((world.queued().await, world.dead_letters().await), (0, vec![]), "{kill:?}");
    let (well, down) = (work.requests(&world, "/well"), work.requests(&world, "/down"));
    assert!(well.iter().all(|count| (1..=2).contains(count)), "{kill:?}: {well:?}");
    assert!(down.iter().all(|count| (3..=4).contains(count)), "{kill:?}: {down:?}");
    assert_eq!(work.requests(&world, "/paused"), [0, 0, 0], "{kill:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliver_killed_at_any_call_ends_in_the_records_of_an_undisturbed_run() {
    let world = World::start().await;
    let work = Work::begin(&world).await;
    world.run_until_rest().await;
    assert_eq!(work.records(&world).await, Work::undisturbed());
    let calls = world.aws.calls().take();

    let mut kills = Vec::new();
    for function in ["DeliverEventsFunction", "DeliverRetriesFunction"] {
        kills.extend(kills_at_any_call(function, calls_of(&calls, function)));
    }
    assert!(kills.len() >= 30, "{}", kills.len());
    survive_all(kills, survive).await;
}

/// A receiver that is gone and one that fails at its only attempt: three operational events.
async fn events_survive(kill: Kill) -> u32 {
    let mut world = World::start().await;
    world.endpoint("/ops", json!({ "event_types": ["delivery.failed", "endpoint.disabled"] })).await;
    let mut endpoints = Vec::new();
    for (path, status) in [("/gone", 410), ("/down", 500)] {
        world.receiver.reply(path, [Reply::Status(status)]);
        let settings = json!({ "event_types": ["a"], "retry": { "max_attempts": 1 } });
        endpoints.push(world.endpoint(path, settings).await);
    }
    world.send("a", json!({})).await;
    let _ = world.aws.calls().take();
    kill.arm(&world);
    world.settle().await;
    let calls = calls_of(&world.aws.calls().take(), kill.function);
    start_again(&mut world).await;
    world.run_until_rest().await;

    let got = world.receiver.got("/ops");
    let by_id: BTreeMap<_, Value> =
        got.iter().map(|got| (got.header("webhook-id"), serde_json::from_slice(&got.body).unwrap())).collect();
    let about = |body: &Value, endpoint: &String| body["data"]["endpoint_id"].as_str() == Some(endpoint);
    let emitted = |endpoint: &String| {
        let bodies = by_id.values().filter(|body| about(body, endpoint));
        let mut types: Vec<_> = bodies.map(|body| body["type"].as_str().unwrap()).collect();
        types.sort_unstable();
        types
    };
    assert_eq!(emitted(&endpoints[0]), ["delivery.failed", "endpoint.disabled"], "{kill:?}");
    assert_eq!(emitted(&endpoints[1]), ["delivery.failed"], "{kill:?}");
    let gone = world.api.get(&format!("/v1/endpoints/{}", endpoints[0])).await.expect(200);
    assert_eq!(gone["status"], "disabled", "{kill:?}");
    assert_eq!((world.queued().await, world.dead_letters().await), (0, vec![]), "{kill:?}");
    calls
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operational_events_are_emitted_however_deliver_dies() {
    let calls = events_survive(Kill::never("DeliverEventsFunction")).await;
    assert!(calls >= 6, "{calls}");
    survive_all(kills_at_any_call("DeliverEventsFunction", calls), events_survive).await;
}

#[tokio::test]
async fn record_whose_answer_is_lost_is_known_as_ones_own_and_the_retry_is_on_time() {
    let world = World::start().await;
    world.receiver.reply("/a", [Reply::Status(500), Reply::Status(500), Reply::Status(200)]);
    let endpoint = world.endpoint("/a", json!({ "retry": { "schedule_seconds": [5, 5] } })).await;
    let event = world.send("a", json!({})).await;
    for attempts in 1..=3 {
        let lost = FaultRule::once(Service::DynamoDb, "BatchExecuteStatement", Fault::DropAnswer);
        world.aws.faults().inject(lost);
        world.settle().await;
        assert_eq!(world.receiver.got("/a").len(), attempts);
        world.advance_seconds(7);
    }
    assert_eq!(world.delivery(&endpoint, &event).await["status"], "succeeded");
}

/// A tenant with so many endpoints, at the paths `/0`, `/1` and so on.
async fn large_tenant(world: &World, endpoints: usize) -> (Client, Vec<String>) {
    let client = world.tenant_with(json!({ "name": "Large", "max_endpoints": 100 })).await;
    let mut ids = Vec::new();
    for n in 0..endpoints {
        ids.push(world.endpoint_of(&client, &format!("/{n}"), json!({})).await);
    }
    (client, ids)
}

async fn succeeded_once(client: &Client, endpoint: &str, event: &str) -> bool {
    let delivery = client.get(&format!("/v1/endpoints/{endpoint}/deliveries/{event}")).await;
    delivery.status == 200
        && delivery.body["data"]["status"] == "succeeded"
        && delivery.body["data"]["attempts"].as_array().unwrap().len() == 1
}

/// Scenario 2.
#[tokio::test]
async fn with_40_of_50_deliveries_on_record_only_the_rest_is_sent_again() {
    let mut world = World::start().await;
    let (client, endpoints) = large_tenant(&world, 50).await;
    let gate = Arc::new(Semaphore::new(0));
    for n in 40..50 {
        world.receiver.reply(&format!("/{n}"), [Reply::Gate(Arc::clone(&gate), 200), Reply::Status(200)]);
    }
    let event = client.post("/v1/events", json!({ "type": "a", "data": {} })).await.expect(202);
    let event = event["id"].as_str().unwrap().to_owned();
    let dies_with_40_on_record = async {
        for endpoint in &endpoints[..40] {
            until("the delivery is on record", async || succeeded_once(&client, endpoint, &event).await).await;
        }
        Kill { function: "DeliverRetriesFunction", at_call: 0, fault: Fault::DropBefore, with_poller: true }
            .arm(&world);
        gate.add_permits(10);
    };
    tokio::join!(world.poll_once(), dies_with_40_on_record);
    start_again(&mut world).await;
    world.settle().await;

    let counts: Vec<_> = (0..50).map(|n| world.receiver.got(&format!("/{n}")).len()).collect();
    assert_eq!(counts[..40], [1; 40]);
    assert_eq!(counts[40..], [2; 10]);
    for endpoint in &endpoints {
        assert!(succeeded_once(&client, endpoint, &event).await);
    }
    assert_eq!(world.queued().await, 0);
}

/// A retry that only the sweeper wakes, and the secret of a deleted endpoint.
async fn sweeper_survives(kill: Kill) -> u32 {
    let mut world = World::start().await;
    world.receiver.reply("/a", [Reply::Status(500), Reply::Status(200)]);
    let endpoint = world.endpoint("/a", json!({ "retry": { "schedule_seconds": [1_000] } })).await;
    let event = world.send("a", json!({})).await;
    world.settle().await;
    let gone = world.endpoint("/gone", json!({})).await;
    world.api.delete(&format!("/v1/endpoints/{gone}")).await.expect(204);
    let due = world.waiting().await[0];
    world.advance_seconds(u64::try_from(due.as_second() - world.clock.now().as_second() - 30).unwrap());
    let _ = world.aws.calls().take();
    kill.arm(&world);
    world.sweep().await;
    let calls = calls_of(&world.aws.calls().take(), "SweepFunction");
    world.aws.faults().clear();
    world.restart_functions().await;
    world.run(5 * 60).await;
    // A cleanup that failed is tried again after an hour.
    world.advance_seconds(3_600);
    world.run(60).await;

    let delivery = world.delivery(&endpoint, &event).await;
    assert_eq!(delivery["status"], "succeeded", "{kill:?}");
    assert_eq!(delivery["attempts"].as_array().unwrap().len(), 2, "{kill:?}");
    assert_eq!(world.receiver.got("/a").len(), 2, "{kill:?}");
    assert_eq!(world.queued().await, 0, "{kill:?}");
    assert_eq!(world.endpoint_secrets().await, 1, "{kill:?}");
    calls
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sweeper_killed_at_any_call_is_made_good_by_the_next_ones() {
    let calls = sweeper_survives(Kill::never("SweepFunction")).await;
    assert!(calls >= 9, "{calls}");
    survive_all(kills_at_any_call("SweepFunction", calls), sweeper_survives).await;
}
