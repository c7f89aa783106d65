//! The receivers: what they answer is in the path of the endpoint's URL.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, Uri};
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
    taken: Taken,
    serving: JoinHandle<()>,
}

/// What the receivers have answered with 2xx, and which events a receiver under `/flaky` has refused once. Cheap to clone.
#[derive(Clone, Debug, Default)]
struct Taken {
    count: Arc<AtomicUsize>,
    refused: Arc<Mutex<HashSet<(String, String)>>>,
}

#[derive(Clone)]
struct Receiving {
    noted: Arrivals,
    taken: Taken,
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Sink {
    pub(crate) async fn start() -> io::Result<Self> {
        let noted = Arrivals::default();
        let taken = Taken::default();
        let receiving = Receiving { noted: noted.clone(), taken: taken.clone() };
        let router = Router::new().fallback(take).layer(DefaultBodyLimit::disable()).with_state(receiving);
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
        Ok(Self { url, noted, connections, taken, serving })
    }

    /// How many connections were made to it.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// How many requests were answered with 2xx.
    pub(crate) fn taken(&self) -> usize {
        self.taken.count.load(Ordering::Relaxed)
    }
}

async fn take(State(receiving): State<Receiving>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let at = Instant::now();
    let Receiving { noted, taken } = receiving;
    let response = match uri.path() {
        path if path.starts_with("/flaky") => {
            let event = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
            let is_first = lock(&taken.refused).insert((path.to_owned(), event.to_owned()));
            if is_first { StatusCode::INTERNAL_SERVER_ERROR.into_response() } else { StatusCode::OK.into_response() }
        }
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
    };
    if response.status().is_success() {
        taken.count.fetch_add(1, Ordering::Relaxed);
    }
    response
}
