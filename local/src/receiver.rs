//! A receiver to try things on: verifies signatures with the official library, prints what it gets, and answers as its path says.
//!
//! `/status/500` answers 500, `/hang` never answers, `/sequence/500,500,200` answers so to each event in turn and then goes on with the last.
//! Everything else is answered with 200. What came is readable at `GET /requests`, newest last.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use http::{HeaderMap, Method, StatusCode, Uri};
use serde::Serialize;
use shared::cache::lock;
use shared::clock::Clock;
use shared::domain::id::TenantId;
use shared::domain::tenant::{Mode, Scope};
use shared::domain::time;
use shared::services::Services;
use standardwebhooks::Webhook;

/// How many requests are remembered.
const REQUESTS_KEPT_MAX: usize = 1_000;
/// How long `/hang` holds a request, in seconds: longer than any sender waits.
const HANG_SECONDS: u64 = 600;
/// How many tenants' secrets are known.
const TENANTS_READ_MAX: usize = 100;
/// How long a request waits until it is known whose signature it has.
const VERIFY_WITHIN: Duration = Duration::from_secs(1);
/// How many secrets are read at most to find the one that a request was signed with.
const SECRETS_READ_MAX: usize = 1_000;

/// A request that came, as `GET /requests` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct Received {
    /// When it was.
    pub at: String,
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers, by lower-case name.
    pub headers: HashMap<String, String>,
    /// The body as text.
    pub body: String,
    /// Whether a signing secret of this stack signed exactly this.
    pub verified: bool,
    /// What was answered; `None` while it hangs.
    pub status: Option<u16>,
}

/// The requests that are remembered, and how many before them are not.
#[derive(Default)]
struct Kept {
    requests: VecDeque<Received>,
    dropped: u64,
}

/// The receiver's state. Clones share it.
#[derive(Clone)]
pub struct Receiver {
    clock: Clock,
    secrets: SigningSecrets,
    received: Arc<Mutex<Kept>>,
    turns: Arc<Mutex<HashMap<(String, String), usize>>>,
}

impl Receiver {
    /// A receiver that knows the signing secrets which these services read.
    #[must_use]
    pub fn new(clock: Clock, services: Services) -> Self {
        let secrets = SigningSecrets { services, known: Arc::default(), reading: Arc::default() };
        Self { clock, secrets, received: Arc::default(), turns: Arc::default() }
    }

    /// Its routes.
    pub fn router(self) -> Router {
        Router::new()
            .route("/requests", get(requests))
            .route("/status/{status}", any(status))
            .route("/sequence/{statuses}", any(sequence))
            .route("/hang", any(hang))
            .fallback(any(ok))
            .with_state(self)
    }

    /// Records a request at once, and then whether it is signed by this stack.
    async fn take(&self, method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes, status: Option<u16>) {
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let received = Received {
            at: time::format(self.clock.now()),
            method: method.to_string(),
            path: uri.path_and_query().map_or_else(String::new, ToString::to_string),
            headers: headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            body: String::from_utf8_lossy(body).into_owned(),
            verified: self.secrets.fits(headers, body),
            status,
        };
        let known = received.verified;
        let number = self.keep(received.clone());
        let verified = known || self.secrets.verify_anew(headers, body).await;
        if verified && !known {
            self.mark_verified(number);
        }
        tracing::info!(
            path = received.path,
            webhook_id = received.headers.get("webhook-id"),
            verified,
            status,
            body = received.body,
            "the receiver got a webhook"
        );
    }

    fn keep(&self, received: Received) -> u64 {
        let mut kept = lock(&self.received);
        if kept.requests.len() >= REQUESTS_KEPT_MAX {
            kept.requests.pop_front();
            kept.dropped += 1;
        }
        kept.requests.push_back(received);
        kept.dropped + kept.requests.len() as u64 - 1
    }

    fn mark_verified(&self, number: u64) {
        let mut kept = lock(&self.received);
        let place = number.checked_sub(kept.dropped).and_then(|place| usize::try_from(place).ok());
        if let Some(received) = place.and_then(|place| kept.requests.get_mut(place)) {
            received.verified = true;
        }
    }

    /// Which answer in a sequence it is this event's turn for.
    fn turn(&self, path: &str, headers: &HeaderMap) -> usize {
        let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
        let mut turns = lock(&self.turns);
        if turns.len() >= REQUESTS_KEPT_MAX {
            turns.clear();
        }
        let turn = turns.entry((path.to_owned(), id)).or_default();
        *turn += 1;
        *turn - 1
    }
}

async fn requests(State(receiver): State<Receiver>) -> Response {
    let kept = lock(&receiver.received).requests.clone();
    Json(kept).into_response()
}

async fn ok(State(receiver): State<Receiver>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    receiver.take(&method, &uri, &headers, &body, Some(200)).await;
    (StatusCode::OK, "ok\n").into_response()
}

async fn status(
    State(receiver): State<Receiver>,
    Path(status): Path<u16>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    answer(&receiver, status, &method, &uri, &headers, &body).await
}

async fn sequence(
    State(receiver): State<Receiver>,
    Path(statuses): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let statuses: Vec<u16> = statuses.split(',').filter_map(|status| status.trim().parse().ok()).collect();
    let turn = receiver.turn(uri.path(), &headers);
    let status = statuses.get(turn).or(statuses.last()).copied().unwrap_or(400);
    answer(&receiver, status, &method, &uri, &headers, &body).await
}

async fn hang(State(receiver): State<Receiver>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    receiver.take(&method, &uri, &headers, &body, None).await;
    tokio::time::sleep(Duration::from_secs(HANG_SECONDS)).await;
    StatusCode::OK.into_response()
}

async fn answer(
    receiver: &Receiver,
    status: u16,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &Bytes,
) -> Response {
    // 1xx is no final answer.
    let status = StatusCode::from_u16(status).ok().filter(|status| !status.is_informational());
    let status = status.unwrap_or(StatusCode::BAD_REQUEST);
    receiver.take(method, uri, headers, body, Some(status.as_u16())).await;
    (status, format!("{status}\n")).into_response()
}

/// The signing secrets of the stack, read again when none of the known ones fits.
#[derive(Clone)]
struct SigningSecrets {
    services: Services,
    known: Arc<Mutex<Vec<String>>>,
    /// Held while they are read, so that many requests at once read them once.
    reading: Arc<tokio::sync::Mutex<()>>,
}

impl SigningSecrets {
    /// Reads the secrets again, for so long at most as a sender does not mind, and looks whether one of them fits now.
    async fn verify_anew(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        let is_standard = headers.get("webhook-signature").is_some_and(|value| value.as_bytes().starts_with(b"v1,"));
        if !is_standard {
            return false;
        }
        let reading = async {
            let _turn = self.reading.lock().await;
            if !self.fits(headers, body) {
                let read = self.read().await;
                *lock(&self.known) = read;
            }
        };
        // Late is as good as not: the request is on record, unverified.
        let _ = tokio::time::timeout(VERIFY_WITHIN, reading).await;
        self.fits(headers, body)
    }

    fn fits(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        let known = lock(&self.known);
        known.iter().any(|secret| {
            let webhook = if secret.starts_with("whsec_") {
                Webhook::new(secret)
            } else {
                Webhook::from_bytes(secret.as_bytes().to_vec())
            };
            webhook.is_ok_and(|webhook| webhook.verify(body, headers).is_ok())
        })
    }

    /// Every secret that signs now, of both ways in which they are kept.
    async fn read(&self) -> Vec<String> {
        let Services { store, secrets, clock, .. } = &self.services;
        let tenants = store.list_tenants(None, TENANTS_READ_MAX).await.map(|page| page.entries).unwrap_or_default();
        let mut found = Vec::new();
        for scope in tenants.iter().flat_map(|tenant| both_modes(tenant.id)) {
            for endpoint in store.all_endpoints(scope).await.unwrap_or_default() {
                if found.len() >= SECRETS_READ_MAX {
                    return found;
                }
                if let Ok(document) = secrets.document(&endpoint).await {
                    found.push(document.current.expose().to_owned());
                    found.extend(document.previous_at(clock.now()).map(|previous| previous.secret.expose().to_owned()));
                }
            }
        }
        found
    }
}

fn both_modes(tenant_id: TenantId) -> [Scope; 2] {
    [Mode::Live, Mode::Test].map(|mode| Scope { tenant_id, mode })
}
