//! The receivers: what they answer is in the path of the endpoint's URL.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use serde_json::Value as Json;
use shared::cache::lock;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How large the answer of a receiver that fails is, in bytes.
const FAILURE_BYTES: usize = 16 * 1_024;

/// What a tenant's own receivers got, and when. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrivals(Arc<Mutex<HashMap<String, Instant>>>);

impl Arrivals {
    /// When the event of this name came for the first time.
    pub(crate) fn of(&self, name: &str) -> Option<Instant> {
        lock(&self.0).get(name).copied()
    }
}

/// A server for all receivers, until it is dropped.
#[derive(Debug)]
pub(crate) struct Sink {
    /// Where it is.
    pub(crate) url: String,
    /// What came under `/noted`, by the `n` of its data.
    pub(crate) noted: Arrivals,
    connections: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Sink {
    pub(crate) async fn start() -> io::Result<Self> {
        let noted = Arrivals::default();
        let router = Router::new().fallback(take).layer(DefaultBodyLimit::disable()).with_state(noted.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let listener = listener.tap_io(move |stream| {
            counted.fetch_add(1, Ordering::Relaxed);
            let _ = stream.set_nodelay(true);
        });
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { url, noted, connections, serving })
    }

    /// How many connections were made to it.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn take(State(noted): State<Arrivals>, uri: Uri, body: Bytes) -> Response {
    let at = Instant::now();
    match uri.path() {
        path if path.starts_with("/hangs") => std::future::pending().await,
        path if path.starts_with("/fails") => {
            (StatusCode::INTERNAL_SERVER_ERROR, "x".repeat(FAILURE_BYTES)).into_response()
        }
        path if path.starts_with("/noted") => {
            let event: Json = serde_json::from_slice(&body).unwrap_or_default();
            let name = event["data"]["n"].as_str().unwrap_or_default().to_owned();
            lock(&noted.0).entry(name).or_insert(at);
            StatusCode::OK.into_response()
        }
        _ => StatusCode::OK.into_response(),
    }
}
