//! DynamoDB, SQS and Secrets Manager on one loopback port, for the local stack and the tests.
//!
//! The real AWS SDK clients, the AWS CLI and the real Lambda binaries talk to it over HTTP, so nothing above it knows
//! that it is not AWS. The cast:
//!
//! - the front (`front`) accepts connections, reads which service and operation a request names, applies faults
//!   ([`Faults`]) and roles ([`Roles`]), writes down what was called ([`CallLog`]);
//! - DynamoDB (`dynamodb`) is dynoxide on a thread of its own, to which requests are passed on;
//! - SQS (`sqs`) and Secrets Manager (`secrets`) are stand-ins written here, because no crate has what the tests need: a
//!   clock that tests move, duplicates, reordering and faults on demand, and durability. They hold their state in memory
//!   and are faithful in what they cover; anything else they refuse, naming it;
//! - the journal (`journal`) keeps their state in a file, when there is a data directory: what they have answered
//!   survives a killed process.
//!
//! Signatures are not checked, and a caller without a role may do everything: it must never listen on anything but loopback.

mod calls;
mod disk;
mod dynamodb;
mod faults;
mod front;
mod journal;
mod partition;
mod protocol;
mod random;
mod roles;
mod secrets;
mod sqs;

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use jiff::Timestamp;
use shared::cache::lock;
use shared::clock::Clock;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::disk::Disk;
use self::dynamodb::DynamoDb;
use self::front::Front;
use self::journal::Journal;
use self::secrets::Secrets;
use self::sqs::Sqs;
use crate::serve;

pub use self::calls::{CALLS_KEPT_MAX, Call, CallLog};
pub use self::faults::{Fault, FaultRule, Faults};
pub use self::protocol::Service;
pub use self::roles::{Grant, Roles};

/// The file whose lock says that a process uses the data directory.
const LOCK_FILE: &str = "lock";

/// The tables.
const DYNAMODB_FILE: &str = "dynamodb.sqlite";

/// The queues and the secrets.
const JOURNAL_FILE: &str = "queues-and-secrets.sqlite";

/// How to start.
#[derive(Clone, Debug)]
pub struct AwsOptions {
    /// Where to listen; port 0 takes a free one. A loopback address, unless `open` says otherwise.
    pub listen: SocketAddr,
    /// Whether it may be another address. Everybody who reaches it may do everything.
    pub open: bool,
    /// The directory that keeps tables, queues and secrets, made when it is not there; `None` keeps them in memory.
    pub data: Option<PathBuf>,
    /// The time of SQS and Secrets Manager. (DynamoDB has no use for it.)
    pub clock: Clock,
    /// Whether calls are kept for [`Aws::calls`], which takes memory.
    pub keeps_calls: bool,
}

/// The running services. Dropping it closes everything without waiting; [`Aws::shutdown`] does it in good order.
pub struct Aws {
    endpoint_url: String,
    front: Arc<Front>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

/// Why the services did not start.
#[derive(Debug, thiserror::Error)]
pub enum AwsStartError {
    /// The address is not a loopback address; nothing here checks who calls.
    #[error("the embedded AWS services listen on loopback addresses only, got {0}")]
    NotLoopback(SocketAddr),
    /// The port could not be opened.
    #[error("could not listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// The data directory or its lock file could not be made.
    #[error("could not use the data directory {}: {source}", path.display())]
    Data {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another process (or another [`Aws`] in this one) uses the data directory.
    #[error("the data directory {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The tables could not be opened or served.
    #[error("the embedded DynamoDB did not start: {0}")]
    DynamoDb(String),
    /// The file of queues and secrets could not be opened.
    #[error("could not open {}: {source}", path.display())]
    Journal {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: rusqlite::Error,
    },
    /// Of the two files of a data directory one is there without the other.
    #[error("the data directory has half of what it should: {} is missing. Put it back, or begin with another directory", .0.display())]
    Half(PathBuf),
    /// The file of queues and secrets holds something that this version cannot read.
    #[error("the data file holds a record that this version cannot read: {0}")]
    Unreadable(String),
}

/// The URL under which a server is reached from this machine.
#[must_use]
pub fn url_of(address: SocketAddr) -> String {
    match address.ip() {
        ip if ip.is_unspecified() => format!("http://127.0.0.1:{}", address.port()),
        _ => format!("http://{address}"),
    }
}

impl Aws {
    /// Starts all three services. With a data directory, what they had answered before is there again.
    ///
    /// # Errors
    /// When the port, the data directory or its files cannot be used, or another process uses the directory.
    pub async fn start(options: AwsOptions) -> Result<Self, AwsStartError> {
        if !options.open && !options.listen.ip().is_loopback() {
            return Err(AwsStartError::NotLoopback(options.listen));
        }
        let listen_error = |source| AwsStartError::Listen { address: options.listen, source };
        let listener = serve::listen(options.listen).map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;

        let held = options.data.as_deref().map(hold).transpose()?;
        let is_known = options.data.as_deref().map(both_files).transpose()?.unwrap_or(false);
        let (journal, records) = match (&options.data, &held) {
            (Some(data), Some(held)) => {
                let path = data.join(JOURNAL_FILE);
                let opened = Journal::open(&path, Arc::clone(held));
                opened.map_err(|source| AwsStartError::Journal { path, source })?
            }
            _ => (Journal::Memory, Vec::new()),
        };
        let journal = Arc::new(journal);
        let faults = Arc::new(Faults::default());
        let (stop, stopped) = watch::channel(false);

        let endpoint_url = url_of(address);
        let unreadable = |key: &str| AwsStartError::Unreadable(key.to_owned());
        let sqs = Sqs::load(sqs::Setup {
            endpoint_url: endpoint_url.clone(),
            clock: options.clock.clone(),
            journal: Arc::clone(&journal),
            faults: Arc::clone(&faults),
            stopped: stopped.clone(),
            records: &records,
        });
        let sqs = sqs.map_err(unreadable)?;
        let secrets = Secrets::load(options.clock, Arc::clone(&journal), &records).map_err(unreadable)?;
        let dynamodb_file = options.data.as_deref().map(|data| data.join(DYNAMODB_FILE));
        if let Some(missing) = dynamodb_file.as_ref().filter(|file| !is_known && !records.is_empty() && !file.exists())
        {
            return Err(AwsStartError::Half(missing.clone()));
        }
        let dynamodb = DynamoDb::start(dynamodb_file, held).await;
        let dynamodb = dynamodb.map_err(|error| AwsStartError::DynamoDb(error.to_string()))?;

        let front = Front {
            dynamodb: Mutex::new(Some(Arc::new(dynamodb))),
            sqs,
            secrets,
            faults,
            disk: Disk::new(options.data),
            calls: CallLog::new(options.keeps_calls),
            roles: OnceLock::new(),
            refused: Mutex::default(),
            journal,
        };
        let front = Arc::new(front);
        let serving = tokio::spawn(front::serve(listener, Arc::clone(&front), stopped));
        Ok(Self { endpoint_url, front, stop, serving })
    }

    /// Where it listens, for example `http://127.0.0.1:4566`.
    #[must_use]
    pub fn endpoint_url(&self) -> &str {
        &self.endpoint_url
    }

    /// The faults that can be switched on.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.front.faults
    }

    /// From now on, callers with a role get no more than it allows. Only the first call counts.
    pub fn enforce(&self, roles: Roles) {
        let _ = self.front.roles.set(roles);
    }

    /// What callers were refused because their roles do not allow it, each once.
    #[must_use]
    pub fn refused(&self) -> Vec<String> {
        lock(&self.front.refused).iter().cloned().collect()
    }

    /// What was called.
    #[must_use]
    pub fn calls(&self) -> &CallLog {
        &self.front.calls
    }

    /// When the next queue message can be received, of those that are delayed or in flight.
    #[must_use]
    pub fn next_message_at(&self) -> Option<Timestamp> {
        self.front.sqs.next_visible_at()
    }

    /// Makes every queue message in flight visible at once. For a start after a kill, when their receivers are no more;
    /// on AWS they would come back when their visibility timeout ends.
    pub async fn release_in_flight(&self) {
        self.front.sqs.release_in_flight().await;
    }

    /// Finishes the requests in hand (long polls answer at once), closes the port and the files. The same data directory
    /// can be used again afterwards.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        let _ = (&mut self.serving).await;
        self.front.close().await;
    }
}

impl Drop for Aws {
    fn drop(&mut self) {
        // Ends the accepting task and with it all connections; what is left is freed with them.
        self.serving.abort();
    }
}

/// Whether the tables of a data directory are there; not without the queues and secrets.
fn both_files(data: &Path) -> Result<bool, AwsStartError> {
    let (tables, journal) = (data.join(DYNAMODB_FILE), data.join(JOURNAL_FILE));
    match (tables.exists(), journal.exists()) {
        (true, false) => Err(AwsStartError::Half(journal)),
        (has_tables, _) => Ok(has_tables),
    }
}

/// Makes the data directory and takes its lock, which lasts as long as the file is open.
fn hold(data: &Path) -> Result<Arc<File>, AwsStartError> {
    let failed = |source| AwsStartError::Data { path: data.to_owned(), source };
    std::fs::create_dir_all(data).map_err(failed)?;
    let options = OpenOptions::new().create(true).truncate(false).write(true).open(data.join(LOCK_FILE));
    let file = options.map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Arc::new(file)),
        Err(TryLockError::WouldBlock) => Err(AwsStartError::InUse(data.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}
