//! Keeps what SQS and Secrets Manager have answered.
//!
//! Both hold their whole state in memory. Each request notes the records it changed, and its answer waits until they
//! are on disk. One thread writes; requests that arrive while it writes share the next transaction. Without a data
//! directory nothing is kept and nothing waits.
//!
//! The write-ahead log with `synchronous = NORMAL` survives a killed process; a power cut may take the last moments.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use rusqlite::{Connection, Transaction};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::lock;

/// The most requests whose changes share one transaction, so that the first of them does not wait for ever.
const REQUESTS_PER_COMMIT_MAX: usize = 256;

/// Keys are paths, for example `sqs/queue/due`; values are JSON.
const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS records (key TEXT PRIMARY KEY, value BLOB NOT NULL);
";

/// Where changes go.
pub(super) enum Journal {
    /// Nowhere.
    Memory,
    /// Into a file.
    File(FileJournal),
}

/// The writing thread and the way to it.
pub(super) struct FileJournal {
    work: Mutex<Option<mpsc::Sender<Work>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Requests whose changes are not on disk yet.
    unwritten: Arc<AtomicUsize>,
}

/// One stored record.
pub(super) struct Record {
    pub(super) key: String,
    value: Vec<u8>,
}

/// The changes of one request, in order.
pub(super) struct Changes {
    kept: bool,
    list: Vec<Change>,
    unwritable: bool,
}

/// The promise that changes are on disk, or that nothing is kept.
#[must_use]
pub(super) struct Written(Option<oneshot::Receiver<bool>>);

/// The changes of a request could not be written.
#[derive(Debug, thiserror::Error)]
#[error("the data file could not be written")]
pub(super) struct NotWritten;

enum Change {
    Put { key: String, value: Vec<u8> },
    Delete { key: String },
    DeleteUnder { prefix: String },
}

struct Work {
    changes: Vec<Change>,
    done: oneshot::Sender<bool>,
}

impl Journal {
    /// Opens (or makes) the file and reads all records, sorted by key. `held` is kept until the file is closed.
    pub(super) fn open(path: &Path, held: Arc<File>) -> rusqlite::Result<(Self, Vec<Record>)> {
        let connection = Connection::open(path)?;
        connection.execute_batch(SCHEMA)?;
        let records = read(&connection)?;
        let (sender, work) = mpsc::channel();
        let unwritten = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&unwritten);
        let thread = std::thread::spawn(move || {
            write_all(connection, &work, &counter);
            drop(held);
        });
        let journal = FileJournal { work: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)), unwritten };
        Ok((Self::File(journal), records))
    }

    /// An empty list of changes.
    pub(super) fn begin(&self) -> Changes {
        let kept = match self {
            Self::Memory => false,
            Self::File(_) => true,
        };
        Changes { kept, list: Vec::new(), unwritable: false }
    }

    /// Hands changes to the writer. Call it under the lock of the state they belong to, so that they keep its order.
    /// A request that changed nothing waits for those before it, because its answer may tell of their changes.
    pub(super) fn submit(&self, changes: Changes) -> Written {
        let Self::File(file) = self else { return Written(None) };
        let is_all_written = file.unwritten.load(Ordering::SeqCst) == 0;
        if changes.list.is_empty() && !changes.unwritable && is_all_written {
            return Written(None);
        }
        let (done, written) = oneshot::channel();
        // An unsent or dropped `done` is seen by the waiter as "not written".
        if let Some(sender) = lock(&file.work).as_ref()
            && !changes.unwritable
        {
            file.unwritten.fetch_add(1, Ordering::SeqCst);
            let _ = sender.send(Work { changes: changes.list, done });
        }
        Written(Some(written))
    }

    /// Writes what is left and closes the file. Blocks for as long as that takes.
    pub(super) fn close(&self) {
        let Self::File(file) = self else { return };
        drop(lock(&file.work).take());
        let thread = lock(&file.thread).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Changes {
    /// The record under the key that `key` gives is now `value`.
    pub(super) fn put(&mut self, key: impl FnOnce() -> String, value: &impl Serialize) {
        if !self.kept {
            return;
        }
        match serde_json::to_vec(value) {
            Ok(value) => self.list.push(Change::Put { key: key(), value }),
            Err(_) => self.unwritable = true,
        }
    }

    /// There is no record under this key any more.
    pub(super) fn delete(&mut self, key: impl FnOnce() -> String) {
        if self.kept {
            self.list.push(Change::Delete { key: key() });
        }
    }

    /// There are no records any more whose key starts with this prefix, which ends with `/`.
    pub(super) fn delete_under(&mut self, prefix: impl FnOnce() -> String) {
        if self.kept {
            self.list.push(Change::DeleteUnder { prefix: prefix() });
        }
    }
}

impl Written {
    /// Returns when the changes are on disk.
    pub(super) async fn wait(self) -> Result<(), NotWritten> {
        match self.0 {
            None => Ok(()),
            Some(written) => written.await.unwrap_or(false).then_some(()).ok_or(NotWritten),
        }
    }
}

impl Record {
    /// The stored value, or `None` when it is of another shape.
    pub(super) fn value<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.value).ok()
    }
}

fn read(connection: &Connection) -> rusqlite::Result<Vec<Record>> {
    let mut statement = connection.prepare("SELECT key, value FROM records ORDER BY key")?;
    let records = statement.query_map([], |row| Ok(Record { key: row.get(0)?, value: row.get(1)? }))?;
    records.collect()
}

fn write_all(mut connection: Connection, work: &mpsc::Receiver<Work>, unwritten: &AtomicUsize) {
    while let Ok(first) = work.recv() {
        let batch: Vec<Work> =
            std::iter::once(first).chain(work.try_iter().take(REQUESTS_PER_COMMIT_MAX - 1)).collect();
        let written = write_batch(&mut connection, &batch);
        if let Err(error) = &written {
            tracing::error!(%error, "the data file could not be written");
        }
        unwritten.fetch_sub(batch.len(), Ordering::SeqCst);
        for request in batch {
            let _ = request.done.send(written.is_ok());
        }
    }
}

fn write_batch(connection: &mut Connection, batch: &[Work]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for change in batch.iter().flat_map(|request| &request.changes) {
        write_change(&transaction, change)?;
    }
    transaction.commit()
}

fn write_change(transaction: &Transaction<'_>, change: &Change) -> rusqlite::Result<()> {
    match change {
        Change::Put { key, value } => {
            let sql = "INSERT INTO records (key, value) VALUES (?1, ?2)
                       ON CONFLICT (key) DO UPDATE SET value = excluded.value";
            transaction.prepare_cached(sql)?.execute((key, value))?;
        }
        Change::Delete { key } => {
            transaction.prepare_cached("DELETE FROM records WHERE key = ?1")?.execute([key])?;
        }
        Change::DeleteUnder { prefix } => {
            // The character after "/" is "0".
            let end = format!("{}0", prefix.trim_end_matches('/'));
            let sql = "DELETE FROM records WHERE key >= ?1 AND key < ?2";
            transaction.prepare_cached(sql)?.execute([prefix, &end])?;
        }
    }
    Ok(())
}
