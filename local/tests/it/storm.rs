//! Much at once: many events with receivers that hang and refuse among them, and one event for thousands of endpoints. Every delivery ends on record,
//! in the right state.

use std::collections::BTreeSet;

use futures::StreamExt;
use local::aws::{Fault, FaultRule};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::world::{Client, Reply, TIME_LAPSE, World, until};

const EVENTS: usize = 1_000;
const HEALTHY: usize = 8;
const ENDPOINTS: usize = 5_000;
/// How many endpoints are made side by side.
const MADE_AT_ONCE: usize = 16;

/// Every delivery in an endpoint's log, by page.
async fn log(client: &Client, endpoint: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = client.get(&format!("/v1/endpoints/{endpoint}/deliveries?limit=100{cursor}")).await;
        assert_eq!(page.status, 200);
        all.extend(page.body["data"].as_array().unwrap().clone());
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

/// The endpoints whose delivery of an event succeeded, by page.
async fn succeeded(client: &Client, event: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut query = String::new();
    loop {
        let shown = client.get(&format!("/v1/events/{event}{query}")).await.expect(200);
        let deliveries = shown["deliveries"].as_array().unwrap().iter();
        let well = deliveries.filter(|delivery| delivery["status"] == "succeeded");
        all.extend(well.map(|delivery| delivery["endpoint_id"].as_str().unwrap().to_owned()));
        match shown["deliveries_next_cursor"].as_str() {
            Some(next) => query = format!("?deliveries_cursor={next}"),
            None => return all,
        }
    }
}

/// Asserts that a log has each event once, in this state after so many attempts, of which the last says this.
#[track_caller]
fn assert_log(log: &[Value], events: &BTreeSet<String>, status: &str, attempts: usize, error: Option<&str>) {
    let logged: BTreeSet<_> = log.iter().map(|delivery| delivery["event_id"].as_str().unwrap().to_owned()).collect();
    assert!(log.len() == events.len() && logged == *events, "{} deliveries of {} events", log.len(), events.len());
    for delivery in log {
        let made = delivery["attempts"].as_array().unwrap();
        assert_eq!((delivery["status"].as_str(), made.len()), (Some(status), attempts), "{delivery}");
        let said = made.last().unwrap()["error"].as_str();
        let as_expected = said.unwrap_or_default().starts_with(error.unwrap_or_default());
        assert!(said.is_some() == error.is_some() && as_expected, "{delivery}");
        assert_eq!(delivery["next_attempt_at"], Value::Null);
    }
}

/// Eight receivers that are well; and, for every tenth event, one that takes no connection and one that never answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousand_events_to_ten_endpoints_of_which_one_hangs_and_one_refuses_all_end_on_record() {
    let mut world = World::start().await;
    world.redeploy(&[("EventsConcurrency", "4")]).await;
    world.receiver.pass_time(1);
    let mut healthy = Vec::new();
    for n in 0..HEALTHY {
        healthy.push(world.endpoint(&format!("/{n}"), json!({})).await);
    }
    world.receiver.reply("/hangs", [Reply::Hang]);
    let impatient = json!({ "event_types": ["tenth"], "timeout_seconds": 2, "retry": { "max_attempts": 1 } });
    let hangs = world.endpoint("/hangs", impatient).await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", nobody.local_addr().unwrap());
    drop(nobody);
    let gives_up = json!({ "url": url, "event_types": ["tenth"], "retry": { "schedule_seconds": [5] } });
    let refuses = world.endpoint("/x", gives_up).await;

    let (mut events, mut tenths) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..EVENTS / 100 {
        let type_of = |n: usize| if n.is_multiple_of(10) { "tenth" } else { "other" };
        let batch: Vec<_> = (0..100).map(|n| json!({ "type": type_of(n), "data": { "n": n } })).collect();
        let accepted = world.api.post("/v1/events/batch", json!({ "events": batch })).await.expect(202);
        let ids = accepted.as_array().unwrap().iter().map(|result| result["id"].as_str().unwrap().to_owned());
        for (n, id) in ids.enumerate() {
            tenths.extend((n % 10 == 0).then(|| id.clone()));
            events.insert(id);
        }
    }
    assert_eq!(events.len(), EVENTS);

    let (stop, mut pollers) = world.keep_polling();
    let count = |path: &str| world.receiver.got_unverified(path).len();
    until("every healthy receiver has all of them", async || (0..HEALTHY).all(|n| count(&format!("/{n}")) == EVENTS))
        .await;
    // None of them has waited for the one that hangs: most of its requests are not even begun.
    assert!(count("/hangs") < tenths.len() / 2, "{}", count("/hangs"));
    stop.send(true).unwrap();
    while pollers.join_next().await.is_some() {}
    world.receiver.pass_time(TIME_LAPSE);
    world.run(86_400).await;

    for (n, endpoint) in healthy.iter().enumerate() {
        assert_log(&log(&world.api, endpoint).await, &events, "succeeded", 1, None);
        let got = world.receiver.got(&format!("/{n}"));
        let ids: BTreeSet<_> = got.iter().map(|got| got.header("webhook-id").to_owned()).collect();
        assert!(got.len() == EVENTS && ids == events, "{} requests at /{n}", got.len());
    }
    assert_log(&log(&world.api, &hangs).await, &tenths, "failed", 1, Some("timeout: first byte: "));
    assert_log(&log(&world.api, &refuses).await, &tenths, "failed", 2, Some("unreachable: connect: "));
    assert_eq!((world.waiting().await.len(), world.dead_letters().await), (0, vec![]));
}

/// The fan-out loses calls on its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_for_5000_endpoints_arrives_once_at_each() {
    let world = World::start().await;
    let settings = json!({
        "name": "Large", "max_endpoints": ENDPOINTS, "rate_limits": { "reads": 0, "writes": 0, "delivery_queries": 0 },
    });
    let client = world.tenant_with(settings).await;
    let paths = (0..ENDPOINTS).map(|n| format!("/{n}"));
    let make = |path: String| {
        let (world, client) = (&world, &client);
        async move { world.endpoint_of(client, &path, json!({})).await }
    };
    let made: BTreeSet<_> = futures::stream::iter(paths).map(make).buffer_unordered(MADE_AT_ONCE).collect().await;
    assert_eq!(made.len(), ENDPOINTS);

    // Ten parts of the fan-out and some records get lost on the way.
    for (identity, operation, skip) in [
        ("DeliverEventsFunction", "SendMessageBatch", 4),
        ("DeliverRetriesFunction", "BatchExecuteStatement", 20),
        ("DeliverRetriesFunction", "BatchExecuteStatement", 60),
    ] {
        let (identity, operation) = (Some(identity.to_owned()), Some(operation.to_owned()));
        let rule = FaultRule { service: None, operation, identity, skip, times: 3, fault: Fault::DropBefore };
        world.aws.faults().inject(rule);
    }
    let event = client.post("/v1/events", json!({ "type": "a", "data": {} })).await.expect(202);
    let event = event["id"].as_str().unwrap();
    world.run_until_rest().await;
    assert_eq!(succeeded(&client, event).await, made);
    let counts: Vec<_> = (0..ENDPOINTS).map(|n| world.receiver.got(&format!("/{n}")).len()).collect();
    // What a lost record was for is sent again: at most two calls of 25 records.
    let repeated = counts.iter().filter(|count| **count == 2).count();
    assert!(counts.iter().all(|count| (1..=2).contains(count)) && repeated <= 50, "{repeated} twice");
    assert_eq!((world.queued().await, world.dead_letters().await), (0, vec![]));
}
