//! Log lines for people, on standard error. Whatever becomes of that, closed, full or slow, nothing waits for it.

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// How many lines may wait to be written; more are lost.
const LINES_WAITING_MAX: usize = 10_000;

/// Logs readable text to standard error: Outhook's own lines from `info`, others' from `warn`, unless `filter` says otherwise
/// (`tracing_subscriber`'s directives, such as `debug` or `shared=debug`). The last lines are written when the guard is dropped.
pub fn to_stderr(filter: Option<&str>) -> WorkerGuard {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).parse_lossy(
        filter.unwrap_or("warn,dynoxide=error,outhook=info,shared=info,api=info,deliver=info,sweep=info,local=info"),
    );
    let lines = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES_WAITING_MAX);
    let (writer, guard) = lines.finish(std::io::stderr());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_target(false);
    // Fails only where a subscriber is set already, which is as good.
    let _ = log.log_internal_errors(false).try_init();
    guard
}
