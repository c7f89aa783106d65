//! Metrics: what a batch did, as a line of CloudWatch's embedded metric format on standard output. CloudWatch makes metrics of such lines as it
//! takes in the log, so they cost no call.
//!
//! CloudWatch charges by the combination of name and dimensions, for the hours in which it gets data. So there are few names, each of them on the
//! dashboard, one namespace per stack and no dimensions: never an id, not even a function's name. What did nothing writes nothing. What is behind a
//! number is in the log line of each attempt.

use std::io::Write;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::cache::lock;

/// The most values of one metric in a line (CloudWatch, embedded metric format).
const VALUES_PER_LINE_MAX: usize = 100;

/// Every metric there is.
pub const NAMES: [&str; 5] = [
    Counter::DeliveriesFailed.name(),
    Counter::EndpointsDisabled.name(),
    ATTEMPTS_FAILED,
    ATTEMPT_DURATION,
    ACCEPT_TO_FIRST_ATTEMPT,
];

/// One value for each attempt: 0 where the receiver answered with 2xx, 1 where it did not. So one metric has the attempts (`SampleCount`), those that failed
/// (`Sum`) and their share (`Average`), and its median says whether most failed.
const ATTEMPTS_FAILED: &str = "AttemptsFailed";
/// How long attempts took, in milliseconds.
const ATTEMPT_DURATION: &str = "AttemptDuration";
/// How long events waited from their acceptance until their first request began, in milliseconds.
const ACCEPT_TO_FIRST_ATTEMPT: &str = "AcceptToFirstAttempt";

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Deliveries that failed for good.
    DeliveriesFailed,
    /// Endpoints that Outhook has disabled.
    EndpointsDisabled,
}

impl Counter {
    const ALL: [Self; 2] = [Self::DeliveriesFailed, Self::EndpointsDisabled];

    const fn name(self) -> &'static str {
        match self {
            Self::DeliveriesFailed => "DeliveriesFailed",
            Self::EndpointsDisabled => "EndpointsDisabled",
        }
    }
}

/// Where a process counts what it does, until that is written. Clones share it; switched off, it counts nothing.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Option<Arc<Measured>>);

#[derive(Debug)]
struct Measured {
    namespace: String,
    tally: Mutex<Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    counts: [usize; Counter::ALL.len()],
    failures: Vec<u8>,
    durations_ms: Vec<u64>,
    waits_ms: Vec<u64>,
}

impl Metrics {
    /// Metrics of this namespace; without one, none.
    #[must_use]
    pub fn new(namespace: Option<String>) -> Self {
        Self(namespace.map(|namespace| Arc::new(Measured { namespace, tally: Mutex::default() })))
    }

    /// Counts `by` more.
    pub fn count(&self, counter: Counter, by: usize) {
        self.change(|tally| tally.counts[counter as usize] += by);
    }

    /// Counts an attempt; `waited_ms` is for the first of a new event, from its acceptance to the beginning of the request.
    pub fn attempt(&self, succeeded: bool, duration_ms: u32, waited_ms: Option<u64>) {
        self.change(|tally| {
            tally.failures.push(u8::from(!succeeded));
            tally.durations_ms.push(u64::from(duration_ms));
            tally.waits_ms.extend(waited_ms);
        });
    }

    fn change(&self, change: impl FnOnce(&mut Tally)) {
        if let Some(measured) = &self.0 {
            change(&mut lock(&measured.tally));
        }
    }

    /// Writes what was counted since the last time to standard output: nothing if there was nothing, one line unless there are very many attempts.
    pub fn emit(&self, now: Timestamp) {
        let mut out = std::io::stdout().lock();
        for line in self.take(now) {
            // A line that cannot be written is a measurement less, which must fail no delivery.
            let _ = writeln!(out, "{line}");
        }
    }

    /// What was counted since the last time, in lines as they are written.
    #[must_use]
    pub fn take(&self, now: Timestamp) -> Vec<Value> {
        let Some(measured) = &self.0 else { return Vec::new() };
        let tally = std::mem::take(&mut *lock(&measured.tally));
        lines(&measured.namespace, &tally, now)
    }
}

fn lines(namespace: &str, tally: &Tally, now: Timestamp) -> Vec<Value> {
    let counts = Counter::ALL.into_iter().zip(tally.counts).filter(|(_, count)| *count > 0);
    let mut counts: Vec<_> = counts.map(|(counter, count)| (counter.name(), "Count", json!(count))).collect();
    let mut failures = tally.failures.chunks(VALUES_PER_LINE_MAX);
    let mut durations = tally.durations_ms.chunks(VALUES_PER_LINE_MAX);
    let mut waits = tally.waits_ms.chunks(VALUES_PER_LINE_MAX);
    let mut lines = Vec::new();
    loop {
        let mut metrics = std::mem::take(&mut counts);
        metrics.extend(failures.next().map(|values| (ATTEMPTS_FAILED, "Count", json!(values))));
        metrics.extend(durations.next().map(|values| (ATTEMPT_DURATION, "Milliseconds", json!(values))));
        metrics.extend(waits.next().map(|values| (ACCEPT_TO_FIRST_ATTEMPT, "Milliseconds", json!(values))));
        if metrics.is_empty() {
            return lines;
        }
        lines.push(line(namespace, &metrics, now));
    }
}

fn line(namespace: &str, metrics: &[(&str, &str, Value)], now: Timestamp) -> Value {
    let definitions: Vec<_> = metrics.iter().map(|(name, unit, _)| json!({ "Name": name, "Unit": unit })).collect();
    let mut line = Map::new();
    let directive = json!([{ "Namespace": namespace, "Dimensions": [[]], "Metrics": definitions }]);
    line.insert("_aws".to_owned(), json!({ "Timestamp": now.as_millisecond(), "CloudWatchMetrics": directive }));
    line.extend(metrics.iter().map(|(name, _, value)| ((*name).to_owned(), value.clone())));
    Value::Object(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

    fn metrics() -> Metrics {
        Metrics::new(Some("Outhook/x".to_owned()))
    }

    #[test]
    fn batch_is_one_line_of_the_embedded_metric_format_and_is_written_once() {
        let metrics = metrics();
        metrics.clone().count(Counter::EndpointsDisabled, 2);
        metrics.attempt(true, 12, Some(40));
        metrics.attempt(false, 900, None);
        let definition = |name: &str, unit: &str| json!({ "Name": name, "Unit": unit });
        let expected = json!({
            "_aws": {
                "Timestamp": 1_700_000_000_000_i64,
                "CloudWatchMetrics": [{
                    "Namespace": "Outhook/x",
                    "Dimensions": [[]],
                    "Metrics": [
                        definition("EndpointsDisabled", "Count"),
                        definition("AttemptsFailed", "Count"),
                        definition("AttemptDuration", "Milliseconds"),
                        definition("AcceptToFirstAttempt", "Milliseconds"),
                    ],
                }],
            },
            "EndpointsDisabled": 2,
            "AttemptsFailed": [0, 1],
            "AttemptDuration": [12, 900],
            "AcceptToFirstAttempt": [40],
        });
        assert_eq!(metrics.take(NOW), [expected]);
        assert_eq!(metrics.take(NOW), [json!(null); 0]);
    }

    #[test]
    fn more_values_than_a_line_takes_are_spread_over_lines_and_counts_stand_in_the_first() {
        let metrics = metrics();
        metrics.count(Counter::DeliveriesFailed, 250);
        for n in 0..250 {
            metrics.attempt(false, n, None);
        }
        let lines = metrics.take(NOW);
        let lengths = |name: &str| lines.iter().map(|line| line[name].as_array().unwrap().len()).collect::<Vec<_>>();
        assert_eq!(lengths("AttemptDuration"), [100, 100, 50]);
        assert_eq!(lengths("AttemptsFailed"), [100, 100, 50]);
        assert_eq!((&lines[0]["DeliveriesFailed"], &lines[1]["DeliveriesFailed"]), (&json!(250), &json!(null)));
    }

    #[test]
    fn switched_off_nothing_is_counted() {
        let metrics = Metrics::new(None);
        metrics.count(Counter::EndpointsDisabled, 1);
        assert_eq!(metrics.take(NOW), [json!(null); 0]);
    }

    #[test]
    fn every_name_is_listed_once() {
        let names: std::collections::BTreeSet<_> = NAMES.into_iter().collect();
        assert_eq!(names.len(), Counter::ALL.len() + 3);
    }
}
