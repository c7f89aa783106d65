//! What waits for an endpoint that hangs: what it costs, what others notice of it, and how it drains when the endpoint comes back.

use std::collections::{HashMap, HashSet};

use local::aws::Service;
use serde_json::json;

use crate::world::{Reply, World};

const DAY: i64 = 86_400;
/// For how long events come on the first day and on the fifth, in seconds; two a second.
const BUSY_SECONDS: usize = 150;

/// How many requests go to one endpoint side by side, at the most.
const SIDE_BY_SIDE: usize = 32;
/// The functions that carry out deliveries.
const FUNCTIONS: [&str; 3] = ["DeliverEventsFunction", "DeliverRetriesFunction", "SweepFunction"];

/// What deliveries have taken.
#[derive(Debug, Default)]
struct Spent {
    deliveries: usize,
    calls: usize,
    write_units: f64,
    read_units: f64,
    messages: f64,
}

impl Spent {
    /// What has been called since the calls were taken last.
    fn of(world: &World, deliveries: usize) -> Self {
        let mut spent = Self { deliveries, ..Self::default() };
        spent.add_calls(world);
        spent
    }

    fn add_calls(&mut self, world: &World) {
        for call in world.aws.calls().take().iter().filter(|call| FUNCTIONS.contains(&call.identity.as_str())) {
            self.calls += 1;
            let units = call.consumed_capacity.unwrap_or_default();
            match (call.service, call.operation.as_str()) {
                (Service::DynamoDb, "BatchExecuteStatement" | "UpdateItem") => self.write_units += units,
                (Service::DynamoDb, _) => self.read_units += units,
                (Service::Sqs, _) => self.messages += f64::from(u32::try_from(call.items.max(1)).unwrap()),
                (Service::SecretsManager, _) => {}
            }
        }
    }

    fn per_delivery(&self, total: f64) -> f64 {
        total / f64::from(u32::try_from(self.deliveries).unwrap())
    }
}

/// Two events a second for a while, each carried out as it comes: what that took, and the ids of the events. Now and then there is one for another endpoint
/// of the tenant, which has to get it at once.
async fn busy(world: &World) -> (Spent, Vec<String>) {
    let _ = world.aws.calls().take();
    let (mut spent, mut sent) = (Spent::default(), Vec::new());
    for second in 0..BUSY_SECONDS {
        let two = json!({ "events": [{ "type": "h", "data": {} }, { "type": "h", "data": {} }] });
        let accepted = world.api.post("/v1/events/batch", two).await.expect(202);
        sent.extend(accepted.as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap().to_owned()));
        world.run(1).await;
        spent.add_calls(world);
        if second % 10 == 0 {
            let before = world.receiver.got("/well").len();
            world.send("w", json!({})).await;
            world.settle().await;
            assert_eq!(world.receiver.got("/well").len(), before + 1, "the endpoint beside it waits, second {second}");
            let _ = world.aws.calls().take();
        }
    }
    spent.deliveries = sent.len();
    (spent, sent)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_an_endpoint_that_hangs_costs_the_same_on_the_fifth_day_as_on_the_first() {
    let world = World::start().await;
    let hangs = world.endpoint("/hangs", json!({ "event_types": ["h"], "timeout_seconds": 1 })).await;
    world.endpoint("/well", json!({ "event_types": ["w"] })).await;
    world.receiver.reply("/hangs", [Reply::Hang]);
    let requests = || world.receiver.got_unverified("/hangs").len();
    world.send("h", json!({})).await;
    world.run(600).await;

    let (first_day, mut sent) = busy(&world).await;
    let attempted = requests();
    world.run(4 * DAY).await;
    let probing = Spent::of(&world, requests() - attempted);
    let (fifth_day, more) = busy(&world).await;
    sent.extend(more);
    for spent in [&first_day, &fifth_day] {
        assert_eq!(spent.deliveries, 2 * BUSY_SECONDS);
        // Two for the event itself and its end as far as it has one, one for the delivery's place in the backlog.
        assert!(spent.per_delivery(spent.write_units) <= 3.1, "{first_day:?} {fifth_day:?}");
        assert!(spent.per_delivery(spent.read_units) <= 1.1, "{first_day:?} {fifth_day:?}");
        assert!(spent.per_delivery(spent.messages) < 0.1, "{first_day:?} {fifth_day:?}");
    }

    // A probe is read, leased, attempted, and written down; with the flow's next look.
    assert!(probing.per_delivery(probing.write_units) <= 8.0, "{probing:?}");
    let health = world.api.get(&format!("/v1/endpoints/{hangs}")).await.expect(200)["health"].clone();
    assert_eq!(health["state"], "hanging");
    let attempted = world.receiver.got("/hangs");
    world.receiver.reply("/hangs", [Reply::Status(204)]);
    let _ = world.aws.calls().take();
    world.run(600).await;
    let got = world.receiver.got("/hangs").split_off(attempted.len());
    let draining = Spent::of(&world, got.len());
    assert!(draining.per_delivery(draining.write_units) <= 2.25, "{draining:?}");
    assert!(draining.per_delivery(draining.messages) < 0.1, "{draining:?}");

    let probed: HashSet<&str> = attempted.iter().map(|got| got.header("webhook-id")).collect();
    let mut waited: Vec<&str> = sent.iter().map(String::as_str).filter(|id| !probed.contains(id)).collect();
    // The two of one second are due at the same time: then the id decides, and ids sort by time.
    waited.sort_unstable();
    assert!(waited.len() > sent.len() / 3);
    let places: HashMap<&str, usize> = waited.iter().enumerate().map(|(place, id)| (*id, place)).collect();
    let drained: Vec<usize> = got.iter().filter_map(|got| places.get(got.header("webhook-id")).copied()).collect();
    assert_eq!(drained.iter().collect::<HashSet<_>>().len(), waited.len());
    assert_eq!(drained.len(), waited.len(), "each once");
    let mut furthest = 0;
    for place in drained {
        assert!(place + SIDE_BY_SIDE > furthest, "{place} came after {furthest}");
        furthest = furthest.max(place);
    }
}
