//! Log lines as Lambda and CloudWatch read them: one JSON object a line, flat.
//!
//! Lambda's filter by level needs a `timestamp` (RFC 3339) and a `level` in every line, or takes the line for INFO (Lambda developer guide, "Log-level
//! filtering"). Names that Powertools for AWS Lambda has are used as they are: `service`, `cold_start`, `function_request_id`, `xray_trace_id`.

use std::fmt::{Debug, Write as _};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::clock::Clock;

/// The most bytes of one text in a line; a longer one is cut. CloudWatch cuts lines at 1 MiB, and a cut line is no JSON.
pub(super) const VALUE_BYTES_MAX: usize = 4_096;

/// The span that `lambda_runtime` makes for each invocation.
const INVOCATION: &str = "Lambda runtime invoke";

/// Writes events as JSON lines.
pub(super) struct LambdaLines<W> {
    service: String,
    writer: W,
    /// Whether an invocation has begun in this process.
    warm: AtomicBool,
}

impl<W> LambdaLines<W> {
    /// Lines of a service, to a writer.
    pub(super) fn new(service: String, writer: W) -> Self {
        Self { service, writer, warm: AtomicBool::new(false) }
    }
}

/// The fields of a span, as they stand in the lines of its events.
struct SpanFields(Fields);

impl<S, W> Layer<S> for LambdaLines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        if attributes.metadata().name() == INVOCATION {
            fields.put("cold_start", Value::Bool(!self.warm.swap(true, Ordering::Relaxed)));
        }
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(SpanFields(fields));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(SpanFields(fields)) = span.extensions_mut().get_mut()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut own = Fields::default();
        event.record(&mut own);
        let mut line = Fields::default();
        line.put("timestamp", Value::String(Clock::System.now().to_string()));
        line.put("level", Value::String(event.metadata().level().to_string()));
        line.put("message", own.0.remove("message").unwrap_or_default());
        line.put("service", Value::String(self.service.clone()));
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(SpanFields(fields)) = span.extensions().get() {
                line.0.extend(fields.0.clone());
            }
        }
        line.0.extend(own.0);
        let mut text = Value::Object(line.0).to_string();
        text.push('\n');
        // A line that cannot be written must fail nothing.
        let _ = self.writer.make_writer_for(event.metadata()).write_all(text.as_bytes());
    }
}

/// Fields by name, in the order in which they came.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, name: &str, value: Value) {
        let name = match name {
            "requestId" => "function_request_id",
            "xrayTraceId" => "xray_trace_id",
            other => other,
        };
        self.0.insert(name.to_owned(), value);
    }

    fn put_text(&mut self, field: &Field, mut text: String) {
        if text.len() > VALUE_BYTES_MAX {
            text.truncate(text.floor_char_boundary(VALUE_BYTES_MAX));
            text.push('…');
        }
        self.put(field.name(), Value::String(text));
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, value.to_owned());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        // Writing to a string fails only if the value's own `Debug` does.
        let _ = write!(text, "{value:?}");
        self.put_text(field, text);
    }
}
