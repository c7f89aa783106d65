//! What deliveries cost: processor time, connections and memory of one instance, in different shapes of the same work.

use std::path::{Path, PathBuf};

use http::Method;
use serde_json::{Value as Json, json};

use crate::deployment::{Deployment, Tenant};
use crate::report::{median, table};
use crate::sink::Sink;

/// Deliveries of a round, about.
const DELIVERIES: usize = 6_000;
/// Batches before a round is measured.
const WARM_BATCHES: usize = 20;
/// The payload of an event, in bytes.
const PAYLOAD_BYTES: usize = 1_024;

/// A shape of the work.
#[derive(Clone, Copy, Debug)]
struct Shape {
    name: &'static str,
    batch: usize,
    endpoints: usize,
}

const SHAPES: [Shape; 3] = [
    Shape { name: "one event a batch", batch: 1, endpoints: 1 },
    Shape { name: "batches of ten", batch: 10, endpoints: 1 },
    Shape { name: "batches of ten, each event to ten endpoints", batch: 10, endpoints: 10 },
];

/// What one round came to.
#[derive(Clone, Copy, Debug)]
struct Round {
    cpu_seconds: f64,
    connections: f64,
    peak_kib: f64,
}

/// Runs every shape so many times with each of these builds by turns; gives the table of medians, and the figures.
///
/// # Errors
/// When the stack cannot be brought up, or a delivery fails.
pub(crate) async fn run(builds: &[PathBuf], rounds: usize) -> Result<(String, Json), String> {
    let mut rows = Vec::new();
    let mut figures = Vec::new();
    for shape in SHAPES {
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
    let head = ["shape", "build", "CPU-s per 1,000 deliveries", "connections per 1,000", "peak memory, MB"];
    Ok((table(&head, &rows), Json::from(figures)))
}

async fn round(programs: &Path, shape: Shape) -> Result<Round, String> {
    let sink = Sink::start().await.map_err(|error| error.to_string())?;
    let stack = Deployment::start(programs).await.map_err(|error| error.to_string())?;
    let tenant = stack.tenant("Bench").await?;
    for n in 0..shape.endpoints {
        let endpoint = json!({ "url": format!("{}/takes/{n}", sink.url) });
        stack.expect(201, &tenant.key, Method::POST, "/v1/endpoints", &endpoint).await?;
    }
    let bodies = vec![message(&tenant); shape.batch];
    for _ in 0..WARM_BATCHES {
        deliver(&stack, &bodies).await?;
    }
    let (before, connections_before) = (stack.events.used(), sink.connections());
    let batches = DELIVERIES / (shape.batch * shape.endpoints);
    for _ in 0..batches {
        deliver(&stack, &bodies).await?;
    }
    let used = stack.events.used();
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let per_1000 = |count: f64| count * 1_000.0 / (batches * shape.batch * shape.endpoints) as f64;
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let round = Round {
        cpu_seconds: per_1000(used.cpu_seconds - before.cpu_seconds),
        connections: per_1000((sink.connections() - connections_before) as f64),
        peak_kib: used.peak_kib as f64,
    };
    stack.stop().await;
    Ok(round)
}

async fn deliver(stack: &Deployment, bodies: &[String]) -> Result<(), String> {
    let failed = stack.deliver(bodies).await?;
    if failed.is_empty() { Ok(()) } else { Err(format!("{} messages of a batch failed", failed.len())) }
}

fn message(tenant: &Tenant) -> String {
    let data = json!({ "text": "x".repeat(PAYLOAD_BYTES) });
    json!({ "tenant_id": tenant.id, "mode": "live", "type": "a", "data": data }).to_string()
}
