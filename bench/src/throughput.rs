//! What the work costs: processor time, connections and memory, for deliveries and for requests of the API in different shapes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Method;
use serde_json::{Value as Json, json};

use crate::deployment::{Deployment, Tenant};
use crate::lambda::Used;
use crate::report::{median, table};
use crate::sink::Sink;

/// Batches, or requests, before a round is measured.
const WARM_UP: usize = 20;
/// The payload of an event, in bytes.
const PAYLOAD_BYTES: usize = 1_024;
/// How many events an API's batch has.
const EVENTS_PER_REQUEST: usize = 100;
/// How long the retries lane may take for what is left to it, in seconds.
const SETTLES_SECONDS: u64 = 120;

/// After how long without any processor time the functions are done.
const QUIET_FOR: Duration = Duration::from_millis(300);

/// A shape of the work.
#[derive(Clone, Copy, Debug)]
enum Work {
    /// Batches of so many events, each to so many endpoints that take it.
    Deliver { batch: usize, endpoints: usize },
    /// Batches of ten events to an endpoint that refuses each once.
    Retry,
    /// A replay of what has been delivered: a backlog that is drained.
    Replay,
    /// Events over HTTP, so many a request.
    Post { events: usize },
    /// Pages of a hundred deliveries.
    List,
}

struct Shape {
    name: &'static str,
    work: Work,
    /// How many deliveries, events or entries a round has, about.
    units: usize,
}

const SHAPES: [Shape; 10] = [
    Shape { name: "one event a batch", work: Work::Deliver { batch: 1, endpoints: 1 }, units: 6_000 },
    Shape { name: "batches of ten", work: Work::Deliver { batch: 10, endpoints: 1 }, units: 6_000 },
    Shape {
        name: "batches of ten, each event to ten endpoints",
        work: Work::Deliver { batch: 10, endpoints: 10 },
        units: 6_000,
    },
    Shape { name: "batches of 100", work: Work::Deliver { batch: 100, endpoints: 1 }, units: 6_000 },
    Shape { name: "an event to 1,000 endpoints", work: Work::Deliver { batch: 1, endpoints: 1_000 }, units: 6_000 },
    Shape { name: "deliveries that are tried twice", work: Work::Retry, units: 1_000 },
    Shape { name: "a backlog that is drained", work: Work::Replay, units: 3_000 },
    Shape { name: "events over HTTP, one a request", work: Work::Post { events: 1 }, units: 3_000 },
    Shape { name: "events over HTTP, 100 a request", work: Work::Post { events: EVENTS_PER_REQUEST }, units: 10_000 },
    Shape { name: "deliveries in lists, 100 a page", work: Work::List, units: 20_000 },
];

/// What one round came to, for 1,000 units.
#[derive(Clone, Copy, Debug)]
struct Round {
    cpu_seconds: f64,
    connections: f64,
    peak_kib: f64,
}

/// Runs every shape whose name contains `only` so many times with each of these builds by turns; gives the table of medians, and the figures.
///
/// # Errors
/// When the stack cannot be brought up, or something fails.
pub(crate) async fn run(builds: &[PathBuf], rounds: usize, only: Option<&str>) -> Result<(String, Json), String> {
    let mut rows = Vec::new();
    let mut figures = Vec::new();
    for shape in SHAPES.iter().filter(|shape| only.is_none_or(|only| shape.name.contains(only))) {
        let mut made = vec![Vec::new(); builds.len()];
        for _ in 0..rounds {
            for (build, made) in builds.iter().zip(&mut made) {
                made.push(round(build, shape).await.map_err(|error| format!("{}: {error}", shape.name))?);
            }
        }
        for (build, made) in builds.iter().zip(&made) {
            let of = |figure: fn(&Round) -> f64| median(made.iter().map(figure));
            let (cpu, connections, peak) = (of(|r| r.cpu_seconds), of(|r| r.connections), of(|r| r.peak_kib));
            let build = build.display().to_string();
            rows.push(vec![
                shape.name.to_owned(),
                build.clone(),
                format!("{cpu:.3}"),
                format!("{connections:.0}"),
                format!("{:.1}", peak / 1_024.0),
            ]);
            figures.push(json!({
                "shape": shape.name, "build": build, "cpu_seconds_per_1000": cpu, "connections_per_1000": connections,
                "peak_kib": peak, "rounds": rounds,
            }));
        }
    }
    let head = ["shape", "build", "CPU-s per 1,000", "connections per 1,000", "peak memory, MB"];
    Ok((table(&head, &rows), Json::from(figures)))
}

async fn round(programs: &Path, shape: &Shape) -> Result<Round, String> {
    let sink = Sink::start().await.map_err(|error| error.to_string())?;
    let stack = Deployment::start(programs).await.map_err(|error| error.to_string())?;
    let tenant = stack.tenant("Bench").await?;
    let bench = Bench { sink: &sink, stack: &stack, tenant: &tenant };
    let endpoints = bench.endpoints(shape.work).await?;
    bench.prepare(shape, &endpoints).await?;
    let (before, connections_before) = (bench.used(shape.work), sink.connections());
    let units = bench.work(shape, &endpoints).await?;
    let used = bench.used(shape.work);
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let per_1000 = |count: f64| count * 1_000.0 / units as f64;
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let round = Round {
        cpu_seconds: per_1000(used.cpu_seconds - before.cpu_seconds),
        connections: per_1000((sink.connections() - connections_before) as f64),
        peak_kib: used.peak_kib as f64,
    };
    stack.stop().await;
    Ok(round)
}

struct Bench<'a> {
    sink: &'a Sink,
    stack: &'a Deployment,
    tenant: &'a Tenant,
}

impl Bench<'_> {
    /// Makes the endpoints that the work goes to; their ids.
    async fn endpoints(&self, work: Work) -> Result<Vec<String>, String> {
        let (path, count) = match work {
            Work::Deliver { endpoints, .. } => ("takes", endpoints),
            Work::Retry => ("flaky", 1),
            Work::Replay | Work::List => ("takes", 1),
            Work::Post { .. } => return Ok(Vec::new()),
        };
        let mut made = Vec::with_capacity(count);
        for n in 0..count {
            let settings =
                json!({ "url": format!("{}/{path}/{n}", self.sink.url), "retry": { "schedule_seconds": [1] } });
            let endpoint = self.stack.expect(201, &self.tenant.key, Method::POST, "/v1/endpoints", &settings).await?;
            made.push(endpoint["id"].as_str().unwrap_or_default().to_owned());
        }
        Ok(made)
    }

    /// Warms instances up, and makes what the work is about.
    async fn prepare(&self, shape: &Shape, endpoints: &[String]) -> Result<(), String> {
        match shape.work {
            Work::Deliver { endpoints: 1_000, .. } => self.fan_out(1_000).await,
            Work::Deliver { batch, .. } => self.deliver(batch, WARM_UP).await,
            Work::Retry => self.retried(WARM_UP * 10).await,
            Work::Replay => {
                self.deliver(10, shape.units / 10).await?;
                self.replayed(endpoints, 0).await
            }
            Work::Post { events } => self.post(events, WARM_UP).await,
            Work::List => {
                self.deliver(10, 100).await?;
                self.list(endpoints, WARM_UP).await
            }
        }
    }

    /// Does the work; how many units it had.
    async fn work(&self, shape: &Shape, endpoints: &[String]) -> Result<usize, String> {
        match shape.work {
            Work::Deliver { endpoints: 1_000, .. } => {
                for _ in 0..shape.units / 1_000 {
                    self.fan_out(1_000).await?;
                }
            }
            Work::Deliver { batch, endpoints } => self.deliver(batch, shape.units / (batch * endpoints)).await?,
            Work::Retry => self.retried(shape.units).await?,
            Work::Replay => self.replayed(endpoints, shape.units).await?,
            Work::Post { events } => self.post(events, shape.units / events).await?,
            Work::List => self.list(endpoints, shape.units / 100).await?,
        }
        Ok(shape.units)
    }

    /// What the functions that do this work have used until now.
    fn used(&self, work: Work) -> Used {
        let (events, retries) = (self.stack.events.used(), self.stack.retries.used());
        match work {
            Work::Post { .. } | Work::List => self.stack.api.used(),
            Work::Deliver { .. } | Work::Retry | Work::Replay => Used {
                cpu_seconds: events.cpu_seconds + retries.cpu_seconds,
                peak_kib: events.peak_kib.max(retries.peak_kib),
                ..events
            },
        }
    }

    async fn deliver(&self, batch: usize, batches: usize) -> Result<(), String> {
        let bodies = vec![message(self.tenant); batch];
        for _ in 0..batches {
            let failed = self.stack.deliver(&bodies).await?;
            if !failed.is_empty() {
                return Err(format!("{} messages of a batch failed", failed.len()));
            }
        }
        Ok(())
    }

    /// An event whose parts the retries lane delivers.
    async fn fan_out(&self, endpoints: usize) -> Result<(), String> {
        let taken = self.sink.taken();
        self.deliver(1, 1).await?;
        self.settled(taken + endpoints).await
    }

    /// Deliveries that fail at first.
    async fn retried(&self, count: usize) -> Result<(), String> {
        let taken = self.sink.taken();
        self.deliver(10, count / 10).await?;
        self.settled(taken + count).await
    }

    /// A replay of the last `count` deliveries, or a small one.
    async fn replayed(&self, endpoints: &[String], count: usize) -> Result<(), String> {
        let taken = self.sink.taken();
        let path = format!("/v1/endpoints/{}/replay", endpoints[0]);
        let wanted = if count == 0 { json!(["failed"]) } else { json!(["succeeded"]) };
        let range = json!({ "since": "2020-01-01T00:00:00Z", "status": wanted });
        self.stack.expect(202, &self.tenant.key, Method::POST, &path, &range).await?;
        self.settled(taken + count).await
    }

    /// Waits until the receivers have taken so many requests.
    async fn settled(&self, taken: usize) -> Result<(), String> {
        let waiting = async {
            let mut looks = tokio::time::interval(Duration::from_millis(5));
            while self.sink.taken() < taken {
                looks.tick().await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(SETTLES_SECONDS), waiting).await;
        waited.map_err(|_| format!("{} of {taken} requests came in {SETTLES_SECONDS} s", self.sink.taken()))?;
        // The records come after the requests; an instance that is at work is not counted.
        let cpu = || self.stack.events.used().cpu_seconds + self.stack.retries.used().cpu_seconds;
        let mut before = cpu();
        loop {
            tokio::time::sleep(QUIET_FOR).await;
            let now = cpu();
            if (now - before).abs() < f64::EPSILON {
                return Ok(());
            }
            before = now;
        }
    }

    async fn post(&self, events: usize, requests: usize) -> Result<(), String> {
        let event = json!({ "type": "a", "data": { "text": "x".repeat(PAYLOAD_BYTES) } });
        let (path, body) = match events {
            1 => ("/v1/events", event),
            _ => ("/v1/events/batch", json!({ "events": vec![event; events] })),
        };
        for _ in 0..requests {
            self.stack.expect(202, &self.tenant.key, Method::POST, path, &body).await?;
        }
        Ok(())
    }

    async fn list(&self, endpoints: &[String], pages: usize) -> Result<(), String> {
        let path = format!("/v1/endpoints/{}/deliveries?limit=100", endpoints[0]);
        let read = async || match self.stack.call(&self.tenant.key, Method::GET, &path, None).await? {
            (200, _) => Ok(()),
            (status, body) => Err(format!("{path} was answered with {status}: {body}")),
        };
        for _ in 0..pages {
            read().await?;
        }
        Ok(())
    }
}

fn message(tenant: &Tenant) -> String {
    let data = json!({ "text": "x".repeat(PAYLOAD_BYTES) });
    json!({ "tenant_id": tenant.id, "mode": "live", "type": "a", "data": data }).to_string()
}
