//! The sender: one signed request to a receiver, within limits, through the address guard, judged by status and headers.
//!
//! The only place that speaks HTTP to the outside. It follows no redirect, uses no proxy, keeps no cookie, decompresses nothing, and reads no
//! more of an answer than is kept. Connections are reused between attempts to the same host.

pub mod address_guard;
mod failure;
pub mod request;
mod stage;

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::redirect::Policy;
use reqwest::{Client, Response};

use crate::domain::address::AddressPolicy;
use crate::domain::attempt::{self, Answer, Failure, Outcome, RESPONSE_KEPT_BYTES_MAX, printable_body};
use address_guard::GuardedResolver;
use request::WebhookRequest;
use stage::{Reached, StageLayer};

/// How long resolving, connecting and the TLS handshake may take together, in seconds.
pub const CONNECT_SECONDS_MAX: u64 = 10;
/// How long reading the body of an answer may take once its head is there, in seconds; it is part of the whole.
pub const BODY_SECONDS_MAX: u64 = 5;
/// How much of a body is read so that the connection can be used again, in bytes; one that is longer costs its connection.
const BODY_READ_BYTES_MAX: usize = 16 * 1_024;
/// How long an unused connection is kept, in seconds: less than the minute after which common servers close theirs.
const CONNECTION_IDLE_SECONDS_MAX: u64 = 50;
/// How many unused connections are kept per receiver.
const CONNECTIONS_IDLE_MAX: usize = 8;

/// What every request says of its sender.
pub const USER_AGENT: &str = concat!("Outhook/", env!("CARGO_PKG_VERSION"));

/// Sends webhooks. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Sender {
    client: Client,
    policy: Arc<AddressPolicy>,
}

/// The sender could not be set up; nothing about a receiver.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot be set up: {0}")]
pub struct SenderError(String);

impl Sender {
    /// A sender that connects to nothing but what the policy permits.
    ///
    /// # Errors
    /// When the TLS library refuses its own defaults.
    pub fn new(policy: AddressPolicy) -> Result<Self, SenderError> {
        let policy = Arc::new(policy);
        #[expect(clippy::disallowed_methods, reason = "this is the one guarded client")]
        let client = Client::builder()
            .dns_resolver(GuardedResolver { policy: Arc::clone(&policy) })
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .user_agent(USER_AGENT)
            .connect_timeout(Duration::from_secs(CONNECT_SECONDS_MAX))
            .pool_idle_timeout(Duration::from_secs(CONNECTION_IDLE_SECONDS_MAX))
            .pool_max_idle_per_host(CONNECTIONS_IDLE_MAX)
            .connector_layer(StageLayer)
            .tls_backend_preconfigured(tls_config().map_err(|error| SenderError(error.to_string()))?)
            .build()
            .map_err(|error| SenderError(error.to_string()))?;
        Ok(Self { client, policy })
    }

    /// Sends one request and says what came of it. A receiver's failure is an answer, never an error.
    pub async fn send(&self, request: WebhookRequest) -> Answer {
        let begun = Instant::now();
        let result = self.exchange(request, begun).await;
        let duration_ms = u32::try_from(begun.elapsed().as_millis()).unwrap_or(u32::MAX);
        Answer { result, duration_ms }
    }

    async fn exchange(&self, request: WebhookRequest, begun: Instant) -> Result<attempt::Response, Failure> {
        let url = self.policy.check_url(&request.url).map_err(|rule| Failure {
            outcome: Outcome::AddressBlocked,
            message: format!("the endpoint's URL is not permitted: it {rule}"),
        })?;
        let whole = Duration::from_secs(u64::from(request.timeout_seconds));
        let sending = self.client.post(url).headers(request.headers).body(request.body).send();
        let reached = Reached::default();
        let response = match stage::tracked(&reached, tokio::time::timeout(whole, sending)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(failure::of(&error)),
            Err(_) => return Err(failure::too_late(reached.stage(), request.timeout_seconds)),
        };
        let status = response.status().as_u16();
        let retry_after = response.headers().get(http::header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let left = whole.saturating_sub(begun.elapsed()).min(Duration::from_secs(BODY_SECONDS_MAX));
        Ok(attempt::Response { status, retry_after, body: first_of_body(response, left).await })
    }
}

/// The first bytes of a body. Whatever is wrong with the rest of it, status and headers have already decided.
async fn first_of_body(mut response: Response, within: Duration) -> String {
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
    let _ = tokio::time::timeout(within, reading).await;
    printable_body(&kept)
}

/// TLS 1.2 and 1.3 with Mozilla's roots built in: loading the system's costs more than all the rest of a cold start.
fn tls_config() -> Result<rustls::ClientConfig, rustls::Error> {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}
