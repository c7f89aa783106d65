//! Whether what is answered can be kept: the data directory is there and has room.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

/// How long an answer counts.
const CHECKED_EVERY: Duration = Duration::from_secs(1);
/// How much room there has to be, in bytes: what a few transactions of SQLite take.
const ROOM_BYTES: usize = 256 * 1_024;
/// The file that is written and removed to find out.
const PROBE_FILE: &str = "probe";

/// The data directory, if there is one.
#[derive(Debug)]
pub(super) struct Disk {
    directory: Option<PathBuf>,
    /// Held while it is found out, so that only one does at a time.
    checked: Mutex<Option<(Instant, bool)>>,
}

impl Disk {
    pub(super) fn new(directory: Option<PathBuf>) -> Self {
        Self { directory, checked: Mutex::default() }
    }

    /// Whether there is room; always, where nothing is kept.
    pub(super) async fn has_room(&self) -> bool {
        let Some(directory) = self.directory.clone() else { return true };
        let mut checked = self.checked.lock().await;
        if let Some((at, has_room)) = *checked
            && at.elapsed() < CHECKED_EVERY
        {
            return has_room;
        }
        let probed =
            tokio::task::spawn_blocking(move || probe(&directory)).await.unwrap_or_else(|error| Err(error.into()));
        if let Err(error) = &probed
            && checked.is_none_or(|(_, had_room)| had_room)
        {
            tracing::error!(%error, "the data directory cannot be written; everything is refused until it can");
        }
        *checked = Some((Instant::now(), probed.is_ok()));
        probed.is_ok()
    }
}

fn probe(directory: &Path) -> io::Result<()> {
    let file = directory.join(PROBE_FILE);
    let written = std::fs::write(&file, vec![0; ROOM_BYTES]);
    let removed = std::fs::remove_file(&file);
    written.and(removed)
}
