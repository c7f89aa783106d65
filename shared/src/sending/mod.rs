//! The sender: one signed request to a receiver, within limits, through the address guard, judged by status and headers.
//!
//! The only place that speaks HTTP to the outside. It follows no redirect, uses no proxy, keeps no cookie, decompresses nothing, and reads no
//! more of an answer than is kept. Connections are reused between attempts to the same host; one that turns out to have been closed meanwhile, as it
//! happens while Lambda holds a process still, is no failure of the receiver: the request goes out once more on a new one.

pub mod address_guard;
mod failure;
mod pool;
pub mod request;
mod stage;
#[cfg(test)]
mod tests;
mod tls;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, USER_AGENT};
use http::{HeaderValue, Method, Version};
use reqwest::{Client, Request, Response};
use rustls::RootCertStore;

use crate::cache::{Cache, Dated};
use crate::clock::{Clock, Moment};
use crate::domain::address::AddressPolicy;
use crate::domain::attempt::{self, Failure, Outcome, RESPONSE_KEPT_BYTES_MAX, SendResult, printable_body};
use address_guard::{GuardedResolver, Lookup, SystemLookup};
use failure::NoAnswer;
use pool::{CONNECTIONS_PER_CLIENT_MAX, Pool};
use request::WebhookRequest;
use stage::{Reached, StageLayer};

/// How long reading the body of an answer may take once its head is there, in seconds; it is part of the whole.
pub const BODY_SECONDS_MAX: u64 = 5;
/// How much of a body is read so that the connection can be used again, in bytes; one that is longer costs its connection.
const BODY_READ_BYTES_MAX: usize = 16 * 1_024;
/// How long an unused connection is kept, in seconds: less than the minute after which common servers close theirs.
const CONNECTION_IDLE_SECONDS_MAX: u64 = 50;
/// The most headers of an answer; one with more is no answer. Receivers behind several proxies have over a hundred, which is what is usual at the most.
const ANSWER_HEADERS_MAX: usize = 1_000;
/// How long resolving, connecting and the TLS handshake may take together, in seconds.
const CONNECT_SECONDS_MAX: u64 = 10;
/// How many unused connections are kept per receiver: what a batch has under way at once, so that the next one finds them.
const CONNECTIONS_IDLE_MAX: usize = 64;

/// A used connection that ends within this time, in milliseconds, had been closed before the request came: the receiver's host says so in one round trip.
/// One that ends later is taken for the receiver's answer to the request.
const CLOSED_BEFORE_MILLISECONDS: u64 = 1_000;

/// For how long a receiver is taken to close its connections, in seconds.
const CLOSING_SECONDS: i64 = 600;
/// How many such receivers are remembered; over that it begins anew.
const CLOSING_MAX: usize = 1_000;

/// What every request says of its sender.
pub const PRODUCT: &str = concat!("Outhook/", env!("CARGO_PKG_VERSION"));

/// Sends webhooks. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Sender {
    /// Keeps connections and uses them again.
    pool: Pool,
    /// Makes a new connection for every request.
    fresh: Client,
    /// Receivers that close every connection, by scheme, host and port: theirs are not worth a place among those that are kept.
    closing: Cache<String, Dated<()>>,
    policy: Arc<AddressPolicy>,
    /// Measures the time limits.
    clock: Clock,
}

/// The sender could not be set up; nothing about a receiver.
#[derive(Debug, thiserror::Error)]
pub enum SenderError {
    /// The TLS library refuses its own defaults.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The HTTP client refuses its settings.
    #[error("the HTTP client cannot be set up: {0}")]
    Http(#[from] reqwest::Error),
}

impl Sender {
    /// A sender that connects to nothing but what the policy permits.
    ///
    /// # Errors
    /// When the TLS library or the HTTP client refuses its own defaults.
    pub fn new(policy: AddressPolicy, clock: Clock) -> Result<Self, SenderError> {
        Self::build(policy, clock, Arc::new(SystemLookup), tls::public_roots(), CONNECTIONS_PER_CLIENT_MAX)
    }

    fn build(
        policy: AddressPolicy,
        clock: Clock,
        lookup: Arc<dyn Lookup>,
        roots: RootCertStore,
        connections_max: usize,
    ) -> Result<Self, SenderError> {
        let policy = Arc::new(policy);
        let resolver = Arc::new(GuardedResolver { policy: Arc::clone(&policy), lookup });
        let tls = tls::config(roots)?;
        let client = move |idle_max: usize| {
            Client::builder()
                .dns_resolver(Arc::clone(&resolver))
                .connector_layer(StageLayer)
                .tls_backend_preconfigured(tls.clone())
                // Of a name with several addresses each has its share, so that one that swallows packets does not use up all the time.
                .connect_timeout(Duration::from_secs(CONNECT_SECONDS_MAX))
                .tcp_nodelay(true)
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .http1_only()
                .http1_max_headers(ANSWER_HEADERS_MAX)
                .pool_idle_timeout(Duration::from_secs(CONNECTION_IDLE_SECONDS_MAX))
                .pool_max_idle_per_host(idle_max)
        };
        let fresh = client(0).build()?;
        let pool = Pool::new(connections_max, move || client(CONNECTIONS_IDLE_MAX))?;
        Ok(Self { pool, fresh, closing: Cache::new(CLOSING_MAX), policy, clock })
    }

    /// Sends one request and says what came of it. A receiver's failure is a result, never an error.
    pub async fn send(&self, request: WebhookRequest) -> SendResult {
        let begun = self.clock.moment();
        let result = self.exchange(request, begun).await;
        let duration_ms = u32::try_from(self.clock.moment().since(begun).as_millis()).unwrap_or(u32::MAX);
        SendResult { result, duration_ms }
    }

    async fn exchange(&self, request: WebhookRequest, begun: Moment) -> Result<attempt::Response, Failure> {
        let outgoing = self.outgoing(&request)?;
        let limit = Duration::from_secs(u64::from(request.timeout_seconds));
        let left = || limit.saturating_sub(self.clock.moment().since(begun));
        let again = outgoing.try_clone();
        let body = || request.body.clone();
        let receiver = outgoing.url().origin().ascii_serialization();
        let is_closing = self.closing.fresh(&receiver, self.clock.now(), CLOSING_SECONDS).is_some();
        let client = if is_closing { self.fresh.clone() } else { self.pool.client() };
        let response = match (self.answer_head(&client, outgoing, body(), left()).await, again) {
            (Err(NoAnswer::ClosedBefore(_)), Some(again)) => self.answer_head(&self.fresh, again, body(), left()).await,
            (first, _) => first,
        };
        let response = response.map_err(|reason| reason.failure(&request))?;
        if !is_closing && closes(&response) {
            self.closing.put_now(receiver, (), self.clock.now());
        }
        let status = response.status().as_u16();
        let retry_after = response.headers().get(http::header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let left = left().min(Duration::from_secs(BODY_SECONDS_MAX));
        Ok(attempt::Response { status, retry_after, body: self.first_of_body(response, left).await })
    }

    /// The request as it goes out, if its URL is still permitted: the rules of the stack may have changed since it was stored.
    fn outgoing(&self, request: &WebhookRequest) -> Result<Request, Failure> {
        let not_permitted = |rule: String| Failure {
            outcome: Outcome::AddressBlocked,
            message: format!("the endpoint's URL is not permitted: it {rule}"),
        };
        let url = self.policy.check_url(&request.url).map_err(not_permitted)?;
        let mut outgoing = Request::new(Method::POST, url);
        *outgoing.headers_mut() = request.headers.clone();
        outgoing.headers_mut().insert(USER_AGENT, HeaderValue::from_static(PRODUCT));
        // Some receivers' firewalls refuse requests without it.
        outgoing.headers_mut().insert(ACCEPT, HeaderValue::from_static("*/*"));
        Ok(outgoing)
    }

    /// Sends a request and waits for the head of its answer.
    async fn answer_head(
        &self,
        client: &Client,
        mut request: Request,
        body: Bytes,
        within: Duration,
    ) -> Result<Response, NoAnswer> {
        let reached = Reached::default();
        *request.body_mut() = Some(reached.body(body));
        let begun = Instant::now();
        let answered = stage::tracked(&reached, self.clock.timeout(within, client.execute(request))).await;
        match answered {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => {
                let at_once = begun.elapsed() < Duration::from_millis(CLOSED_BEFORE_MILLISECONDS);
                if !reached.began_to_connect() && at_once && failure::is_silent_end(&error) {
                    return Err(NoAnswer::ClosedBefore(error));
                }
                Err(NoAnswer::Failed(error))
            }
            Err(_) => Err(NoAnswer::TooLate(reached.waiting_for())),
        }
    }

    /// The first bytes of a body. Whatever is wrong with the rest of it, status and headers have already decided.
    async fn first_of_body(&self, mut response: Response, within: Duration) -> String {
        let mut kept = Vec::new();
        let reading = async {
            let mut read = 0;
            while let Ok(Some(chunk)) = response.chunk().await {
                let room = RESPONSE_KEPT_BYTES_MAX - kept.len();
                kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
                read += chunk.len();
                if read > BODY_READ_BYTES_MAX {
                    break;
                }
            }
        };
        // A body that trickles is cut, which is no failure.
        let _ = self.clock.timeout(within, reading).await;
        printable_body(&kept)
    }
}

/// Whether a receiver closes the connection after this answer (RFC 9112 9.3).
fn closes(response: &Response) -> bool {
    let says_close =
        |value: &HeaderValue| value.to_str().is_ok_and(|value| value.to_ascii_lowercase().contains("close"));
    response.version() < Version::HTTP_11 || response.headers().get_all(CONNECTION).iter().any(says_close)
}
