//! What a tenant at its worst does to another one whose events are in the same batches.
//!
//! Each kind of harm has a stack of its own. Four times a second a batch of ten messages is delivered of which one is the bystander's, and between them the
//! bystander posts events over HTTP, while the harm goes on. Measured are the times from the start of the invocation, or of the request, to the arrival at
//! the bystander's receiver.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use http::Method;
use serde_json::{Value as Json, json};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::deployment::{Deployment, Tenant};
use crate::lambda::Used;
use crate::machine::Processors;
use crate::report::{Times, table};
use crate::sink::Sink;

/// Batches a second.
const BATCHES_PER_SECOND: u32 = 4;
/// Of its ten messages, how many are the neighbour's.
const HARMFUL: usize = 9;
/// What p99 may be: twice what it is alone, and so much more.
const P99_SPARE_MS: f64 = 100.0;
/// What an instance may have had of memory at the most, in KiB.
const PEAK_KIB_MAX: u64 = 128 * 1_024;
/// How long what is still under way at the end is waited for.
const ARRIVAL_MAX: Duration = Duration::from_secs(60);
/// How many endpoints are made at once.
const MADE_AT_ONCE: usize = 8;
const FAILING_ENDPOINTS: usize = 2_000;
const LARGE_ENDPOINTS: usize = 250;
/// How long their first retries take, each of which comes after five seconds.
const FIRST_RETRIES: Duration = Duration::from_secs(15);
/// How many of them an event goes to.
const FAILING_PER_EVENT: usize = 5;
/// Nearly as much as an event may have.
const LARGE_BYTES: usize = 255 * 1_024;
/// How many of them a batch over HTTP can hold.
const BATCHED_LARGE: usize = 15;
/// How many large events are listed.
const LISTED_EVENTS: usize = 120;
/// Of the 1,000 that may apply to one place: these, the list of them, and what leads to the next places.
const SCHEMA_RULES: usize = 490;
const SCHEMA_ITEMS: usize = 100_000;
const FAILURES_SHOWN_MAX: usize = 5;

/// The ways in which the neighbour does its worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    Nothing,
    HangingReceivers,
    FailingEndpoints,
    LargestBodies,
    WorstSchema,
    LargestEndpoints,
    EndlessReplays,
    ThrottledPartition,
    PoisonMessages,
    LargestLists,
}

const HARMS: [(Harm, &str); 10] = [
    (Harm::Nothing, "alone"),
    (Harm::HangingReceivers, "hanging receivers"),
    (Harm::FailingEndpoints, "2,000 failing endpoints"),
    (Harm::LargestBodies, "largest bodies"),
    (Harm::WorstSchema, "worst schema"),
    (Harm::LargestEndpoints, "largest endpoints"),
    (Harm::EndlessReplays, "endless replays"),
    (Harm::ThrottledPartition, "throttled partition"),
    (Harm::PoisonMessages, "poison messages"),
    (Harm::LargestLists, "largest lists"),
];

/// What came out for one kind of harm.
#[derive(Debug)]
struct Outcome {
    name: &'static str,
    /// Of events in batches with the neighbour's.
    batched: Times,
    /// Of events over HTTP.
    posted: Times,
    /// Events that never came.
    lost: usize,
    /// Messages of the bystander that went back to the queue.
    returned: usize,
    /// The bystander's dead letters, and all.
    dead_letters: (usize, usize),
    deliver: Used,
    api: Used,
    /// How much of this machine's processors was in use, by whatever.
    busy: f64,
}

impl Outcome {
    fn faults(&self, alone: &Self) -> Vec<String> {
        let mut faults = Vec::new();
        for (what, times, alone) in [("batches", &self.batched, &alone.batched), ("HTTP", &self.posted, &alone.posted)]
        {
            if times.percentile(0.99) > 2.0 * alone.percentile(0.99) + P99_SPARE_MS {
                faults.push(format!("p99 of {what}"));
            }
        }
        let counted = [("lost", self.lost), ("came again", self.returned), ("dead letters", self.dead_letters.0)];
        faults.extend(counted.into_iter().filter(|(_, count)| *count > 0).map(|(what, _)| what.to_owned()));
        if self.deliver.peak_kib.max(self.api.peak_kib) > PEAK_KIB_MAX {
            faults.push("memory".to_owned());
        }
        faults
    }

    fn row(&self, alone: &Self) -> Vec<String> {
        let milliseconds = |times: &Times, share| format!("{:.0}", times.percentile(share));
        #[expect(clippy::cast_precision_loss, reason = "some megabytes")]
        let megabytes = |used: &Used| format!("{:.0}", used.peak_kib as f64 / 1_024.0);
        let faults = self.faults(alone);
        vec![
            self.name.to_owned(),
            milliseconds(&self.batched, 0.5),
            milliseconds(&self.batched, 0.99),
            milliseconds(&self.posted, 0.5),
            milliseconds(&self.posted, 0.99),
            format!("{} / {}", self.lost, self.returned),
            format!("{} / {}", self.dead_letters.0, self.dead_letters.1),
            megabytes(&self.deliver),
            megabytes(&self.api),
            self.deliver.instances.to_string(),
            format!("{:.0} %", self.busy * 100.0),
            if faults.is_empty() { "yes".to_owned() } else { format!("no: {}", faults.join(", ")) },
        ]
    }

    fn to_json(&self) -> Json {
        json!({
            "neighbour": self.name, "batches": self.batched.to_json(), "http": self.posted.to_json(), "lost": self.lost,
            "returned": self.returned, "dead_letters_of_bystander": self.dead_letters.0, "dead_letters": self.dead_letters.1,
            "deliver_peak_kib": self.deliver.peak_kib, "api_peak_kib": self.api.peak_kib, "deliver_instances": self.deliver.instances, "machine_busy": self.busy,
        })
    }
}

/// Runs all of them, or those whose name contains `only` beside the bystander alone; gives the table, the figures, and whether all bounds were kept.
///
/// # Errors
/// When the stack cannot be brought up.
pub(crate) async fn run(programs: &Path, seconds: u32, only: Option<&str>) -> Result<(String, Json, bool), String> {
    let mut outcomes = Vec::new();
    let chosen = |name: &str| only.is_none_or(|only| name == "alone" || name.contains(only));
    for (harm, name) in HARMS.iter().filter(|(_, name)| chosen(name)) {
        eprintln!("{name}");
        outcomes.push(measure(programs, *harm, name, seconds).await.map_err(|error| format!("{name}: {error}"))?);
    }
    let Some(alone) = outcomes.first() else { return Err("nothing was run".to_owned()) };
    let rows: Vec<_> = outcomes.iter().map(|outcome| outcome.row(alone)).collect();
    let head = [
        "neighbour",
        "batch p50, ms",
        "p99",
        "HTTP p50, ms",
        "p99",
        "lost / came again",
        "dead letters: bystander / all",
        "deliver, MB",
        "api, MB",
        "instances of deliver",
        "machine busy",
        "within bounds",
    ];
    let is_kept = outcomes.iter().all(|outcome| outcome.faults(alone).is_empty());
    let figures = outcomes.iter().map(Outcome::to_json).collect();
    Ok((table(&head, &rows), figures, is_kept))
}

/// A stack with a bystander and a neighbour that does its worst.
struct Scene {
    stack: Deployment,
    sink: Sink,
    harm: Harm,
    good: Tenant,
    bad: Tenant,
    /// An endpoint of the neighbour.
    bad_endpoint: String,
    /// When what the bystander sent was sent, by the `n` of its data.
    begun: Mutex<BTreeMap<String, Instant>>,
    returned: AtomicUsize,
}

async fn measure(programs: &Path, harm: Harm, name: &'static str, seconds: u32) -> Result<Outcome, String> {
    let scene = Arc::new(Scene::set(programs, harm).await?);
    let before = Processors::now();
    let mut running = JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / BATCHES_PER_SECOND);
    for tick in 0..(seconds * BATCHES_PER_SECOND) {
        ticks.tick().await;
        let batch = Arc::clone(&scene);
        running.spawn(async move { batch.deliver_batch(tick).await });
        let post = Arc::clone(&scene);
        running.spawn(async move { post.post(tick).await });
        if tick.is_multiple_of(BATCHES_PER_SECOND) {
            let harm = Arc::clone(&scene);
            running.spawn(async move { harm.harm_the_api().await });
        }
    }
    let mut failed = Vec::new();
    while let Some(ended) = running.join_next().await {
        failed.extend(ended.map_err(|error| error.to_string())?.err());
    }
    let scene = Arc::into_inner(scene).ok_or("something is still running")?;
    for failure in failed.iter().take(FAILURES_SHOWN_MAX) {
        eprintln!("{name}: {failure}");
    }
    let busy = before.busy_since();
    Ok(Outcome { busy, ..scene.end(name).await? })
}

impl Scene {
    async fn set(programs: &Path, harm: Harm) -> Result<Self, String> {
        let sink = Sink::start().await.map_err(|error| error.to_string())?;
        let stack = Deployment::start(programs).await.map_err(|error| error.to_string())?;
        let (good, bad) = (stack.tenant("Bystander").await?, stack.tenant("Neighbour").await?);
        let own = json!({ "url": format!("{}/noted", sink.url) });
        stack.expect(201, &good.key, Method::POST, "/v1/endpoints", &own).await?;
        let endpoints = endpoints(harm, &sink.url);
        let make = |settings: Json| {
            let (stack, bad) = (&stack, &bad);
            async move { stack.expect(201, &bad.key, Method::POST, "/v1/endpoints", &settings).await }
        };
        let made: Vec<_> = futures::stream::iter(endpoints).map(make).buffer_unordered(MADE_AT_ONCE).collect().await;
        let made = made.into_iter().collect::<Result<Vec<_>, _>>()?;
        let bad_endpoint = made.first().and_then(|endpoint| endpoint["id"].as_str()).unwrap_or_default().to_owned();
        if harm == Harm::WorstSchema {
            let schema = json!({ "schema": worst_schema() });
            stack.expect(201, &bad.key, Method::PUT, "/v1/event-types/checked", &schema).await?;
        }
        let begun = Mutex::default();
        let scene = Self { stack, sink, harm, good, bad, bad_endpoint, begun, returned: AtomicUsize::new(0) };
        if harm == Harm::LargestLists {
            for n in 0..LISTED_EVENTS {
                scene
                    .stack
                    .deliver(&[message(&scene.bad, "a", &json!({ "n": n, "text": "x".repeat(LARGE_BYTES) }))])
                    .await?;
            }
        }
        if harm == Harm::FailingEndpoints {
            // All of them fail once before the rest begins; one machine does not carry that beside it.
            for group in 0..FAILING_ENDPOINTS / FAILING_PER_EVENT {
                scene.stack.deliver(&[message(&scene.bad, &format!("of.{group}"), &json!({}))]).await?;
            }
            tokio::time::sleep(FIRST_RETRIES).await;
        }
        // What a first invocation costs is the same for all.
        scene
            .stack
            .deliver(&[message(&scene.good, "a", &json!({ "n": "first" })), message(&scene.bad, "a", &json!({}))])
            .await?;
        if harm == Harm::ThrottledPartition {
            scene.stack.aws.faults().throttle_partitions(&scene.bad.id);
            scene.stack.aws.faults().throttle_partitions(&scene.bad_endpoint);
        }
        Ok(scene)
    }

    /// Nine messages of the neighbour, and one of the bystander in their middle.
    async fn deliver_batch(&self, tick: u32) -> Result<(), String> {
        let name = format!("batched-{tick}");
        let mut bodies = self.harmful_messages(tick);
        let place = bodies.len() / 2;
        bodies.insert(place, message(&self.good, "a", &json!({ "n": name })));
        self.begun.lock().await.insert(name, Instant::now());
        let failed = self.stack.deliver(&bodies).await.inspect_err(|_| {
            self.returned.fetch_add(1, Ordering::Relaxed);
        })?;
        self.returned.fetch_add(usize::from(failed.contains(&place)), Ordering::Relaxed);
        for place in failed {
            self.stack.send_again(&bodies[place]).await?;
        }
        Ok(())
    }

    async fn post(&self, tick: u32) -> Result<(), String> {
        let name = format!("posted-{tick}");
        let event = json!({ "type": "a", "data": { "n": name } });
        self.begun.lock().await.insert(name, Instant::now());
        self.stack.expect(202, &self.good.key, Method::POST, "/v1/events", &event).await.map(|_| ())
    }

    fn harmful_messages(&self, tick: u32) -> Vec<String> {
        let messages = (0..HARMFUL).map(|n| match self.harm {
            Harm::Nothing => None,
            Harm::LargestBodies => Some(message(&self.bad, "a", &nested("x".repeat(LARGE_BYTES - 1_000)))),
            Harm::LargestEndpoints => {
                let endpoint = (tick as usize * HARMFUL + n) % LARGE_ENDPOINTS;
                Some(message(&self.bad, &format!("of.{endpoint}"), &json!({})))
            }
            Harm::FailingEndpoints => {
                let group = (tick as usize * HARMFUL + n) % (FAILING_ENDPOINTS / FAILING_PER_EVENT);
                Some(message(&self.bad, &format!("of.{group}"), &json!({})))
            }
            Harm::PoisonMessages => Some(match n % 3 {
                0 => "[".repeat(LARGE_BYTES),
                1 => json!({ "tenant_id": self.good.id, "mode": "live", "type": "a", "data": [] }).to_string(),
                _ => format!("{{\"tenant_id\":\"{}\",\"x\":{:?}}}", self.bad.id, "x".repeat(LARGE_BYTES)),
            }),
            _ => Some(message(&self.bad, "a", &json!({ "n": n }))),
        });
        messages.flatten().collect()
    }

    /// What the neighbour asks of the API once a second.
    async fn harm_the_api(&self) -> Result<(), String> {
        let key = &self.bad.key;
        let (method, path, body) = match self.harm {
            Harm::WorstSchema => {
                let event = json!({ "type": "checked", "data": { "x": vec![0; SCHEMA_ITEMS] } });
                (Method::POST, "/v1/events".to_owned(), Some(event))
            }
            Harm::EndlessReplays => {
                let path = format!("/v1/endpoints/{}/replay", self.bad_endpoint);
                let all = json!({ "since": "2020-01-01T00:00:00Z", "status": ["failed", "succeeded", "skipped"] });
                (Method::POST, path, Some(all))
            }
            Harm::LargestLists => {
                (Method::GET, format!("/v1/endpoints/{}/deliveries?include=payload&limit=100", self.bad_endpoint), None)
            }
            Harm::LargestEndpoints => (Method::GET, "/v1/endpoints?limit=100".to_owned(), None),
            Harm::LargestBodies => {
                let event = || json!({ "type": "none", "data": nested("x".repeat(LARGE_BYTES - 1_000)) });
                let events: Vec<_> = (0..BATCHED_LARGE).map(|_| event()).collect();
                (Method::POST, "/v1/events/batch".to_owned(), Some(json!({ "events": events })))
            }
            _ => return Ok(()),
        };
        let (status, answer) = self.stack.call(key, method.clone(), &path, body.as_ref()).await?;
        // A replay beside one that runs is refused; what matters is that it is asked for.
        let is_fine = (200..300).contains(&status) || matches!(status, 400 | 409 | 429);
        if is_fine { Ok(()) } else { Err(format!("{method} {path}: {status} {answer}")) }
    }

    /// Waits for what is still to come, and counts.
    async fn end(self, name: &'static str) -> Result<Outcome, String> {
        let begun = self.begun.into_inner();
        let until = Instant::now() + ARRIVAL_MAX;
        while begun.keys().any(|name| self.sink.noted.of(name).is_none()) && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let (mut batched, mut posted, mut lost) = (Times::default(), Times::default(), 0);
        for (name, begun) in &begun {
            let times = if name.starts_with("batched") { &mut batched } else { &mut posted };
            match self.sink.noted.of(name) {
                Some(at) => times.add(at - *begun),
                None => lost += 1,
            }
        }
        let dead_letters = self.stack.dead_letters().await?;
        // Its own message, and not the rubbish that only names it.
        let is_own = |body: &String| body.contains(&self.good.id) && body.contains("\"n\"");
        let own = dead_letters.iter().filter(|body| is_own(body)).count();
        let (events, retries) = (self.stack.events.used(), self.stack.retries.used());
        let deliver = Used {
            instances: events.instances + retries.instances,
            peak_kib: events.peak_kib.max(retries.peak_kib),
            cpu_seconds: events.cpu_seconds + retries.cpu_seconds,
            failed: events.failed + retries.failed,
        };
        let api = self.stack.api.used();
        let returned = self.returned.load(Ordering::Relaxed);
        self.stack.stop().await;
        Ok(Outcome {
            name,
            batched,
            posted,
            lost,
            returned,
            dead_letters: (own, dead_letters.len()),
            deliver,
            api,
            busy: 0.0,
        })
    }
}

/// The neighbour's endpoints.
fn endpoints(harm: Harm, sink: &str) -> Vec<Json> {
    let at = |path: &str, more: Json| {
        let mut settings = json!({ "url": format!("{sink}{path}") });
        if let (Some(settings), Json::Object(more)) = (settings.as_object_mut(), more) {
            settings.extend(more);
        }
        settings
    };
    match harm {
        Harm::HangingReceivers => {
            (0..10).map(|n| at(&format!("/hangs/{n}"), json!({ "timeout_seconds": 30 }))).collect()
        }
        Harm::FailingEndpoints => (0..FAILING_ENDPOINTS)
            .map(|n| at(&format!("/fails/{n}"), json!({ "event_types": [format!("of.{}", n / FAILING_PER_EVENT)] })))
            .collect(),
        Harm::LargestBodies => {
            let fields = json!(["a", "a.b", { "key": "c", "path": "a.b.c" }]);
            (0..3)
                .map(|n| at(&format!("/takes/{n}"), json!({ "payload_fields": fields, "event_types": ["a"] })))
                .collect()
        }
        Harm::LargestEndpoints => (0..LARGE_ENDPOINTS)
            .map(|n| {
                let name = |what: &str, n: usize| format!("{what}{n}-{}", "x".repeat(240));
                let field = |n: usize| json!({ "key": name("k", n), "path": name("p", n), "hint": name("h", n) });
                let fields: Vec<_> = (0..50).map(field).collect();
                let headers: BTreeMap<_, _> = (0..8).map(|n| (format!("x-{n}"), "v".repeat(1_000))).collect();
                let types: Vec<_> =
                    (0..99).map(|other| format!("of.{}{other}", "x".repeat(90))).chain([format!("of.{n}")]).collect();
                at("/takes", json!({ "event_types": types, "payload_fields": fields, "headers": headers }))
            })
            .collect(),
        Harm::EndlessReplays => (0..5).map(|n| at(&format!("/fails/{n}"), json!({}))).collect(),
        _ => vec![at("/takes", json!({}))],
    }
}

/// Data of which three paths lead to the same text.
fn nested(text: String) -> Json {
    json!({ "a": { "b": { "c": text } } })
}

/// As much as may apply to one place, at every place.
fn worst_schema() -> Json {
    let rules = vec![json!({ "minimum": 0 }); SCHEMA_RULES];
    json!({ "additionalProperties": { "$ref": "#" }, "items": { "$ref": "#" }, "allOf": rules })
}

/// A message of the events queue.
fn message(tenant: &Tenant, event_type: &str, data: &Json) -> String {
    json!({ "tenant_id": tenant.id, "mode": "live", "type": event_type, "data": data }).to_string()
}
