//! Writes the API's description: `cargo run -p api --example openapi > docs/openapi.json`.

use std::io::Write;

fn main() -> std::io::Result<()> {
    let text = serde_json::to_string_pretty(api::document())?;
    writeln!(std::io::stdout(), "{text}")
}
