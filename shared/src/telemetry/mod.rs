//! Logging: JSON lines for Lambda, readable text on a terminal.
//!
//! Only Outhook's own lines follow the level that was asked for; those of libraries are written from WARN. The debug lines of an HTTP client hold
//! headers and bodies, so no level may show them.

mod lambda_lines;

use tracing::{Level, Metadata};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterFn, LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LambdaLogging;
use lambda_lines::LambdaLines;

/// The crates whose lines follow the level; `lambda_runtime` makes the span that names the invocation.
const OWN: &[&str] = &["shared", "api", "deliver", "sweep", "local", "outhook"];

/// Logs to standard output as Lambda's advanced logging controls ask: JSON lines, or text where the format is not JSON. Repeating does nothing.
///
/// A panic becomes a line of level ERROR with its place in the code. Its message is left out, because it may quote data.
pub fn log_for_lambda(settings: &LambdaLogging) {
    let filter = own_from(settings.level);
    // Fails only where a subscriber is set already, which is as good.
    let _ = if settings.json {
        let lines = LambdaLines::new(settings.service.clone(), std::io::stdout);
        tracing_subscriber::registry().with(lines.with_filter(filter)).try_init()
    } else {
        let text = tracing_subscriber::fmt::layer().with_target(false);
        tracing_subscriber::registry().with(text.with_filter(filter)).try_init()
    };
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panicked");
    }));
}

/// Lines of our own from this level, all others from WARN, and spans of both, whose fields every line repeats.
fn own_from(level: LevelFilter) -> FilterFn<impl Fn(&Metadata<'_>) -> bool + Clone> {
    filter_fn(move |line| {
        let own = OWN.contains(&line.target().split("::").next().unwrap_or_default());
        let least = if own { level } else { level.min(LevelFilter::WARN) };
        let from_runtime = line.target().starts_with("lambda_runtime");
        if line.is_span() { (own || from_runtime) && line.level() <= &Level::INFO } else { line.level() <= &least }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    fn lines_at(level: LevelFilter, log: impl FnOnce()) -> Vec<serde_json::Value> {
        let out = Arc::new(Mutex::new(Vec::new()));
        let writer = Shared(Arc::clone(&out));
        let lines = LambdaLines::new("outhook-api".to_owned(), move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(lines.with_filter(own_from(level)));
        tracing::subscriber::with_default(subscriber, log);
        let text = String::from_utf8(out.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[derive(Clone)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn line_has_a_timestamp_a_level_and_flat_fields_of_the_event_and_its_spans() {
        let lines = lines_at(LevelFilter::INFO, || {
            for request in ["r-1", "r-2"] {
                let span = tracing::info_span!(
                    target: "lambda_runtime::layers::trace",
                    "Lambda runtime invoke",
                    requestId = request,
                    xrayTraceId = "Root=1-5759e988-bd862e3fe1be46a994272793",
                );
                let _in = span.enter();
                let _inner = tracing::info_span!("request", request_id = "g-1", method = %"GET").entered();
                tracing::warn!(attempt = 2, ok = false, "attempt \"failed\"");
            }
        });
        assert_eq!(lines.len(), 2);
        let timestamp = lines[0]["timestamp"].as_str().unwrap();
        assert!(timestamp.parse::<jiff::Timestamp>().is_ok() && timestamp.ends_with('Z'), "{timestamp}");
        let expected = serde_json::json!({
            "timestamp": timestamp,
            "level": "WARN",
            "message": "attempt \"failed\"",
            "service": "outhook-api",
            "cold_start": true,
            "function_request_id": "r-1",
            "xray_trace_id": "Root=1-5759e988-bd862e3fe1be46a994272793",
            "request_id": "g-1",
            "method": "GET",
            "attempt": 2,
            "ok": false,
        });
        assert_eq!(lines[0], expected);
        assert_eq!((&lines[1]["cold_start"], &lines[1]["function_request_id"]), (&false.into(), &"r-2".into()));
    }

    #[test]
    fn level_is_for_our_own_lines_and_no_level_shows_the_inside_of_a_library() {
        for (level, expected) in [
            (LevelFilter::TRACE, vec!["trace", "debug", "info", "error", "warn of a library"]),
            (LevelFilter::INFO, vec!["info", "error", "warn of a library"]),
            (LevelFilter::ERROR, vec!["error"]),
        ] {
            let lines = lines_at(level, || {
                tracing::trace!("trace");
                tracing::debug!("debug");
                tracing::info!("info");
                tracing::error!("error");
                tracing::info!(target: "hyper::proto", "header of a library");
                tracing::trace!(target: "aws_smithy_runtime", "body of a library");
                tracing::warn!(target: "hyper::proto", "warn of a library");
            });
            let messages: Vec<_> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
            assert_eq!(messages, expected, "{level}");
        }
    }

    #[test]
    fn spans_are_there_at_every_level() {
        let lines = lines_at(LevelFilter::ERROR, || {
            let _in = tracing::info_span!("request", request_id = "g-1").entered();
            tracing::error!("broken");
        });
        assert_eq!(lines[0]["request_id"], "g-1");
    }

    #[test]
    fn value_of_a_line_is_cut_at_its_limit() {
        let lines = lines_at(LevelFilter::INFO, || tracing::info!(error = "é".repeat(10_000), "long"));
        let kept = lines[0]["error"].as_str().unwrap();
        assert!(kept.len() <= lambda_lines::VALUE_BYTES_MAX + "…".len() && kept.ends_with('…'), "{}", kept.len());
    }
}
