//! Logging: readable text on a terminal, JSON where Lambda's own variables ask for it.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Logs readable text to standard error: Outhook's own lines from `info`, others' from `warn`, unless `filter` says otherwise
/// (`tracing_subscriber`'s directives, such as `debug` or `shared=debug`). Repeating does nothing.
pub fn log_text_to_stderr(filter: Option<&str>) {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).parse_lossy(
        filter.unwrap_or("warn,dynoxide=error,outhook=info,shared=info,api=info,deliver=info,sweep=info,local=info"),
    );
    // Fails only where a subscriber is set already, which is as good.
    let _ =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).try_init();
}
