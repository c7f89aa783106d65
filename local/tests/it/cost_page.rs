//! The sums of `docs/costs.md`: from quantities that are counted here, prices of `docs/prices.json`, and what the page says that it assumes.

use local::aws::Service;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::world::World;

const PAGE: &str = include_str!("../../../docs/costs.md");
/// How many events are counted.
const EVENTS: usize = 100;
/// The memory of the functions by default, in GB.
const GIGABYTES: f64 = 0.25;
/// What the page assumes: how long a receiver takes to answer, and the API for a request of one event and for each event of a batch, in seconds.
const RECEIVER_SECONDS: f64 = 0.3;
const API_SECONDS: f64 = 0.010;
const API_SECONDS_IN_A_BATCH: f64 = 0.001;
/// What the page assumes of lines: the access log's for a request, and what deliver writes for a batch, in bytes.
const ACCESS_LINE_BYTES: f64 = 300.0;
const BATCH_LINE_BYTES: f64 = 400.0;
/// What the page assumes that an event takes in the table with its delivery, and on its way to the receiver, in bytes.
const STORED_BYTES: f64 = 1_500.0;
const SENT_BYTES: f64 = 1_500.0;
const BYTES_PER_GIGABYTE: f64 = 1e9;

/// The prices of the page, in dollars for one of each.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Prices {
    quoted_on: String,
    region: String,
    http_api_request: f64,
    sqs_request: f64,
    dynamodb_write_unit: f64,
    dynamodb_read_unit: f64,
    dynamodb_gb_month: f64,
    dynamodb_recovery_gb_month: f64,
    lambda_invocation: f64,
    lambda_gb_second: f64,
    logs_gb: f64,
    data_out_gb: f64,
    secret_month: f64,
}

fn prices() -> Prices {
    serde_json::from_str(include_str!("../../../docs/prices.json")).unwrap()
}

/// How events come in.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// Posted one by one, and each delivered alone, as with little traffic.
    Alone,
    /// Posted one by one, delivered in batches of ten.
    Posted,
    /// Posted a hundred a request.
    Batches,
    /// Put onto the queue ten a call.
    Queue,
}

const WAYS: [Way; 4] = [Way::Alone, Way::Posted, Way::Batches, Way::Queue];

/// What one event takes.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    http_requests: f64,
    sqs_requests: f64,
    write_units: f64,
    read_units: f64,
    invocations: f64,
    gigabyte_seconds: f64,
    log_bytes: f64,
}

impl Way {
    fn delivered_together(self) -> usize {
        if self == Self::Alone { 1 } else { 10 }
    }

    /// Sends so many events.
    async fn send(self, world: &World, events: usize) -> usize {
        // Some 900 bytes that compress no better than most.
        let text: String = (0..14_u8).map(|n| hex::encode(Sha256::digest([n]))).collect();
        let event = |n: usize| json!({ "type": "a", "data": { "n": n, "text": text } });
        match self {
            Self::Alone | Self::Posted => {
                for n in 0..events {
                    world.api.post("/v1/events", event(n)).await.expect(202);
                }
                events
            }
            Self::Batches => {
                let events: Vec<_> = (0..events).map(event).collect();
                world.api.post("/v1/events/batch", json!({ "events": events })).await.expect(202);
                1
            }
            Self::Queue => {
                for first in (0..events).step_by(10) {
                    let bodies = (first..first + 10).map(|n| {
                        let mut body = event(n);
                        body["tenant_id"] = json!(world.demo.tenant_id);
                        body["mode"] = json!("live");
                        body.to_string()
                    });
                    world.send_messages(bodies).await;
                }
                0
            }
        }
    }

    /// Counts what an event takes, on average over a hundred: to one endpoint that answers 200, an instance that is warm.
    async fn taken(self) -> Taken {
        let world = World::start().await;
        world.endpoint("/a", json!({})).await;
        world.send("a", json!({})).await;
        world.settle().await;
        let _ = world.aws.calls().take();
        let together = self.delivered_together();
        let mut sum = Taken::default();
        let mut batches = 0.0;
        for _ in 0..if self == Self::Alone { EVENTS } else { 1 } {
            let requests = self.send(&world, if self == Self::Alone { 1 } else { EVENTS }).await as f64;
            sum.http_requests += requests;
            loop {
                let taken = world.poll_once().await;
                if taken == 0 {
                    break;
                }
                assert_eq!(taken, together);
                batches += 1.0;
            }
        }
        assert_eq!(world.receiver.got("/a").len(), EVENTS + 1);
        for call in world.aws.calls().take() {
            let units = call.consumed_capacity.unwrap_or_default();
            match (call.service, call.operation.as_str()) {
                // Polls of lanes that are empty are the idle stack's.
                (Service::Sqs, "ReceiveMessage") => {}
                (Service::Sqs, _) => sum.sqs_requests += 1.0,
                (Service::DynamoDb, "BatchExecuteStatement") => sum.write_units += units,
                (Service::DynamoDb, _) => sum.read_units += units,
                (Service::SecretsManager, _) => {}
            }
        }
        // Each batch is received with one request.
        sum.sqs_requests += batches;
        sum.invocations = sum.http_requests + batches;
        let events = EVENTS as f64;
        let api_seconds = match self {
            Self::Alone | Self::Posted => API_SECONDS * events,
            Self::Batches => API_SECONDS_IN_A_BATCH * events,
            Self::Queue => 0.0,
        };
        Taken {
            http_requests: sum.http_requests / events,
            sqs_requests: sum.sqs_requests / events,
            write_units: sum.write_units / events,
            read_units: sum.read_units / events,
            invocations: sum.invocations / events,
            gigabyte_seconds: (api_seconds + RECEIVER_SECONDS * batches) * GIGABYTES / events,
            log_bytes: (ACCESS_LINE_BYTES * sum.http_requests + BATCH_LINE_BYTES * batches) / events,
        }
    }
}

/// A row of a table: what it is about, and a figure for each way with so many decimals.
fn row(what: &str, decimals: usize, figures: impl IntoIterator<Item = f64>) -> String {
    let figures: Vec<_> = figures.into_iter().map(|figure| format!("{figure:.decimals$}")).collect();
    format!("| {what} | {} |", figures.join(" | "))
}

fn assert_on_the_page(rows: &[String]) {
    let missing: Vec<_> = rows.iter().filter(|row| !PAGE.contains(row.as_str())).map(String::as_str).collect();
    assert!(missing.is_empty(), "docs/costs.md does not have:\n{}", missing.join("\n"));
}

#[tokio::test]
async fn sums_of_the_cost_page_are_those_of_counted_quantities_and_prices() {
    const MILLION: f64 = 1e6;
    let prices = prices();
    assert!(PAGE.contains(&prices.quoted_on) && PAGE.contains(&prices.region));
    let mut taken = Vec::new();
    for way in WAYS {
        taken.push(way.taken().await);
    }
    let of = |figure: fn(&Taken) -> f64| taken.iter().map(figure).collect::<Vec<_>>();
    let quantities = [
        row("HTTP requests", 2, of(|t| t.http_requests)),
        row("SQS requests", 2, of(|t| t.sqs_requests)),
        row("DynamoDB write units", 2, of(|t| t.write_units)),
        row("DynamoDB read units", 2, of(|t| t.read_units)),
        row("Lambda invocations", 2, of(|t| t.invocations)),
    ];
    assert_on_the_page(&quantities);
    let gigabytes = |bytes: f64| bytes * MILLION / BYTES_PER_GIGABYTE;
    let items: [(&str, Vec<f64>); 7] = [
        ("HTTP API", of(|t| t.http_requests).iter().map(|n| n * MILLION * prices.http_api_request).collect()),
        ("SQS", of(|t| t.sqs_requests).iter().map(|n| n * MILLION * prices.sqs_request).collect()),
        ("DynamoDB writes", of(|t| t.write_units).iter().map(|n| n * MILLION * prices.dynamodb_write_unit).collect()),
        ("DynamoDB reads", of(|t| t.read_units).iter().map(|n| n * MILLION * prices.dynamodb_read_unit).collect()),
        ("Lambda invocations", of(|t| t.invocations).iter().map(|n| n * MILLION * prices.lambda_invocation).collect()),
        ("Lambda duration", of(|t| t.gigabyte_seconds).iter().map(|n| n * MILLION * prices.lambda_gb_second).collect()),
        ("Lines in CloudWatch Logs", of(|t| t.log_bytes).iter().map(|n| gigabytes(*n) * prices.logs_gb).collect()),
    ];
    let mut together = vec![0.0; WAYS.len()];
    for (_, figures) in &items {
        together.iter_mut().zip(figures).for_each(|(sum, figure)| *sum += figure);
    }
    let mut rows: Vec<_> = items.iter().map(|(what, figures)| row(what, 2, figures.iter().copied())).collect();
    rows.push(row("**a million events**", 2, together.iter().copied()));
    let kept = gigabytes(STORED_BYTES) * (prices.dynamodb_gb_month + prices.dynamodb_recovery_gb_month);
    let sent = gigabytes(SENT_BYTES) * prices.data_out_gb;
    rows.push(row("Keeping them for 30 days, with point-in-time recovery", 2, [kept; WAYS.len()]));
    rows.push(row("Data going out to the internet", 2, [sent; WAYS.len()]));
    for (name, millions) in [("10 thousand", 0.01), ("1 million", 1.0), ("10 million", 10.0), ("100 million", 100.0)] {
        rows.push(row(name, 2, together.iter().map(|sum| (sum + kept + sent) * millions)));
    }
    for endpoints in ["10", "1,000", "100,000"] {
        let count: f64 = endpoints.replace(',', "").parse().unwrap();
        rows.push(row(endpoints, 2, [count * prices.secret_month, prices.secret_month]));
    }
    assert_on_the_page(&rows);
    // What the design aims at for batches and the queue: everything signed, and every attempt on record.
    assert!(together[2..].iter().all(|sum| *sum <= 1.60), "{together:?}");
}
