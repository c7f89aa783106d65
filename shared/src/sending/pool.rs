//! The HTTP client, and a bound on the connections that it keeps.
//!
//! A client keeps what it may use again, per receiver, and has no bound for all of them together; a process has one, on its file descriptors, and one that exceeds it can
//! reach nobody. So a client that has made its share of connections makes way for a new one: what it keeps unused is closed, what is in use ends by itself.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use reqwest::{Client, ClientBuilder};
use tower::{Layer, Service};

use crate::cache::lock;

/// How many connections a client makes before it makes way. Lambda gives a process 1,024 file descriptors (AWS Lambda quotas); those of two clients, and of what
/// is in use beside them, are well below.
pub(super) const CONNECTIONS_PER_CLIENT_MAX: usize = 256;

/// How a client is built, but for the layer that counts.
type Build = dyn Fn() -> ClientBuilder + Send + Sync;

/// Gives out a client that keeps connections. Clones share it.
#[derive(Clone)]
pub(super) struct Pool {
    build: Arc<Build>,
    connections_max: usize,
    current: Arc<Mutex<Counted>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("connections_max", &self.connections_max).finish_non_exhaustive()
    }
}

struct Counted {
    client: Client,
    made: Arc<AtomicUsize>,
}

impl Counted {
    fn new(build: &Build) -> Result<Self, reqwest::Error> {
        let made = Arc::new(AtomicUsize::new(0));
        let client = build().connector_layer(CountLayer(Arc::clone(&made))).build()?;
        Ok(Self { client, made })
    }
}

impl Pool {
    /// A pool of clients that are built so, each for so many connections.
    ///
    /// # Errors
    /// When the client refuses its settings.
    pub(super) fn new(
        connections_max: usize,
        build: impl Fn() -> ClientBuilder + Send + Sync + 'static,
    ) -> Result<Self, reqwest::Error> {
        let current = Arc::new(Mutex::new(Counted::new(&build)?));
        Ok(Self { build: Arc::new(build), connections_max, current })
    }

    /// The client for the next request.
    pub(super) fn client(&self) -> Client {
        let mut current = lock(&self.current);
        if current.made.load(Ordering::Relaxed) >= self.connections_max {
            match Counted::new(self.build.as_ref()) {
                Ok(next) => *current = next,
                // It was built so before.
                Err(error) => tracing::error!(%error, "the HTTP client cannot be made anew; it keeps its connections"),
            }
        }
        current.client.clone()
    }
}

/// Counts the connections that are made.
#[derive(Clone, Debug)]
struct CountLayer(Arc<AtomicUsize>);

/// A connector whose connections are counted.
#[derive(Clone, Debug)]
struct Counting<S> {
    connector: S,
    made: Arc<AtomicUsize>,
}

impl<S> Layer<S> for CountLayer {
    type Service = Counting<S>;

    fn layer(&self, connector: S) -> Counting<S> {
        Counting { connector, made: Arc::clone(&self.0) }
    }
}

impl<S: Service<R>, R> Service<R> for Counting<S>
where
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.connector.poll_ready(context)
    }

    fn call(&mut self, to: R) -> Self::Future {
        let (connecting, made) = (self.connector.call(to), Arc::clone(&self.made));
        Box::pin(async move {
            let connection = connecting.await?;
            made.fetch_add(1, Ordering::Relaxed);
            Ok(connection)
        })
    }
}
