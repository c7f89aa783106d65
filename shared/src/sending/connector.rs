//! How connections are made: the guarded resolver, TCP, TLS, each noted as a stage, and all of them within one time limit.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::RootCertStore;
use tower_service::Service;

use super::address_guard::GuardedResolver;
use super::stage::{self, Stage};

/// How long resolving, connecting and the TLS handshake may take together, in seconds.
pub(super) const CONNECT_SECONDS_MAX: u64 = 10;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Makes every connection to receivers.
pub(super) type Connector = InTime<HttpsConnector<Dialler>>;

/// A connector that dials nothing but what the resolver lets through, and addresses that stand in the URL itself.
pub(super) fn connector(resolver: GuardedResolver, tls: rustls::ClientConfig) -> Connector {
    let mut tcp = HttpConnector::new_with_resolver(resolver);
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    // Shared out among a name's addresses, so that one that swallows packets does not use up all the time.
    tcp.set_connect_timeout(Some(Duration::from_secs(CONNECT_SECONDS_MAX)));
    let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1();
    InTime(builder.wrap_connector(Dialler(tcp)))
}

/// Mozilla's roots, built in: loading the system's costs more than all the rest of a cold start.
pub(super) fn public_roots() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
}

/// TLS 1.2 and 1.3, trusting these roots.
///
/// # Errors
/// When the TLS library refuses its own defaults.
pub(super) fn tls_config(roots: RootCertStore) -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// No connection within [`CONNECT_SECONDS_MAX`].
#[derive(Clone, Copy, Debug)]
pub(super) struct NotInTime;

impl fmt::Display for NotInTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no connection within {CONNECT_SECONDS_MAX} s")
    }
}

impl std::error::Error for NotInTime {}

/// TCP: notes when it begins, unless the resolver does, and when it is done.
#[derive(Clone, Debug)]
pub(super) struct Dialler(HttpConnector<GuardedResolver>);

impl Service<Uri> for Dialler {
    type Response = <HttpConnector<GuardedResolver> as Service<Uri>>::Response;
    type Error = <HttpConnector<GuardedResolver> as Service<Uri>>::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let dialling = self.0.call(to);
        Box::pin(async move {
            stage::enter(Stage::Connecting);
            let stream = dialling.await?;
            stage::enter(Stage::Handshaking);
            Ok(stream)
        })
    }
}

/// A connector with a time limit for all it does.
#[derive(Clone, Debug)]
pub(super) struct InTime<S>(S);

impl<S> Service<Uri> for InTime<S>
where
    S: Service<Uri, Error = Error>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = Error;
    type Future = BoxFuture<'static, Result<S::Response, Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting = self.0.call(to);
        Box::pin(async move {
            let limit = Duration::from_secs(CONNECT_SECONDS_MAX);
            tokio::time::timeout(limit, connecting).await.map_err(|_| NotInTime)?
        })
    }
}
