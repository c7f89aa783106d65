//! What is in the log: at INFO what failed or is unusual, at DEBUG what went well too.

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tracing::Level;
use tracing::subscriber::DefaultGuard;

use crate::world::{Reply, World};

/// The lines of this test's own thread, which is where everything of its world runs.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn from(level: Level) -> (Self, DefaultGuard) {
        let lines = Self::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .without_time()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        (lines, tracing::subscriber::set_default(subscriber))
    }

    /// The lines of the pipeline since the last time.
    fn take(&self) -> Vec<String> {
        let text = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
        text.lines().filter(|line| line.contains("shared::pipeline")).map(str::to_owned).collect()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn service_whose_receivers_all_answer_logs_nothing_at_info() {
    let world = World::start().await;
    world.endpoint("/a", json!({})).await;
    let (lines, _guard) = Lines::from(Level::INFO);
    world.send("a", json!({})).await;
    world.settle().await;
    world.sweep().await;
    assert_eq!(world.receiver.got("/a").len(), 1);
    assert_eq!(lines.take(), [""; 0]);
}

#[tokio::test]
async fn attempt_that_succeeded_is_one_line_at_debug() {
    let world = World::start().await;
    world.endpoint("/a", json!({})).await;
    let (lines, _guard) = Lines::from(Level::DEBUG);
    let event = world.send("a", json!({})).await;
    world.settle().await;
    let attempts: Vec<_> = lines.take().into_iter().filter(|line| line.contains(": attempt ")).collect();
    assert_eq!(attempts.len(), 1, "{attempts:?}");
    assert!(attempts[0].contains("DEBUG") && attempts[0].contains(&event), "{attempts:?}");
    world.sweep().await;
    assert!(lines.take().iter().any(|line| line.contains("nothing was due")));
}

#[tokio::test]
async fn attempt_that_failed_is_one_line_at_info() {
    let world = World::start().await;
    world.endpoint("/a", json!({})).await;
    world.receiver.reply("/a", [Reply::Status(500)]);
    let (lines, _guard) = Lines::from(Level::INFO);
    let event = world.send("a", json!({})).await;
    world.poll_once().await;
    let attempts = lines.take();
    assert_eq!(attempts.len(), 1, "{attempts:?}");
    let named = [": attempt ", "INFO", "http_error", &event];
    assert!(named.iter().all(|text| attempts[0].contains(text)), "{attempts:?}");
}

#[tokio::test]
async fn backlog_that_is_checked_over_ten_minutes_late_is_a_line_of_level_error_until_it_is() {
    let world = World::start().await;
    world.endpoint("/a", json!({ "retry": { "schedule_seconds": [5] } })).await;
    world.receiver.reply("/a", [Reply::Status(500)]);
    world.send("a", json!({})).await;
    world.poll_once().await;
    let (lines, _guard) = Lines::from(Level::INFO);
    let late = |lines: &Lines| lines.take().iter().any(|line| line.contains("ERROR") && line.contains("checked late"));
    // Nobody takes the wake from its queue.
    world.advance_seconds(590);
    world.sweep().await;
    assert!(!late(&lines));
    world.advance_seconds(600);
    world.sweep().await;
    assert!(late(&lines));
}
