//! How far a request has come, so that a missed time limit can say which phase it was missed in.
//!
//! A connection that has to be made is resolved and connected, TLS included; one that is used again is neither. The stages belong to the task that sends the request:
//! the resolver and the connector, which that task polls, note them there. That there is a connection is noted by the body, which is asked for only then.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use tower::{Layer, Service};

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitingFor {
    /// The resolver, for the name's addresses.
    Addresses,
    /// The receiver's host, to take the connection, or the receiver, to finish the TLS handshake.
    Connection,
    /// The receiver, to answer.
    Answer,
}

/// A connection is being made, or has been.
const CONNECTING: u8 = 1;
/// The name is being resolved.
const RESOLVING: u8 = 2;
/// The request has a connection: perhaps a used one, while the client still makes another.
const SENDING: u8 = 4;

tokio::task_local! {
    /// The stages of the request that the present task sends.
    static STAGES: Arc<AtomicU8>;
}

/// How far a request came.
#[derive(Clone, Debug, Default)]
pub(super) struct Reached(Arc<AtomicU8>);

impl Reached {
    /// What the request waits for, or waited for last.
    pub(super) fn waiting_for(&self) -> WaitingFor {
        match self.0.load(Ordering::Relaxed) {
            stages if stages & SENDING != 0 => WaitingFor::Answer,
            stages if stages & RESOLVING != 0 => WaitingFor::Addresses,
            stages if stages & CONNECTING != 0 => WaitingFor::Connection,
            _ => WaitingFor::Answer,
        }
    }

    /// Whether a connection was begun to be made for it.
    pub(super) fn began_to_connect(&self) -> bool {
        self.0.load(Ordering::Relaxed) & CONNECTING != 0
    }

    /// A body of these bytes that notes when the connection asks for it.
    pub(super) fn body(&self, bytes: Bytes) -> reqwest::Body {
        reqwest::Body::wrap(NotingBody { bytes: Full::new(bytes), reached: self.clone() })
    }
}

/// Runs a request; `reached` says afterwards how far it came.
pub(super) async fn tracked<F: Future>(reached: &Reached, request: F) -> F::Output {
    STAGES.scope(Arc::clone(&reached.0), request).await
}

/// Notes that the present request waits for the resolver, and no longer when `looking_up` is over.
pub(super) async fn resolving<F: Future>(looking_up: F) -> F::Output {
    // A connection that no request waits for any more is finished by a task of the client's, which has no stages.
    let _ = STAGES.try_with(|stages| stages.fetch_or(RESOLVING, Ordering::Relaxed));
    let found = looking_up.await;
    let _ = STAGES.try_with(|stages| stages.fetch_and(!RESOLVING, Ordering::Relaxed));
    found
}

struct NotingBody {
    bytes: Full<Bytes>,
    reached: Reached,
}

impl Body for NotingBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.reached.0.fetch_or(SENDING, Ordering::Relaxed);
        Pin::new(&mut self.bytes).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.bytes.size_hint()
    }
}

/// Notes when the client begins to make a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct StageLayer;

/// A connector that notes when it begins.
#[derive(Clone, Debug)]
pub(super) struct Noting<S>(S);

impl<S> Layer<S> for StageLayer {
    type Service = Noting<S>;

    fn layer(&self, connector: S) -> Noting<S> {
        Noting(connector)
    }
}

impl<S: Service<R>, R> Service<R> for Noting<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, to: R) -> S::Future {
        let _ = STAGES.try_with(|stages| stages.fetch_or(CONNECTING, Ordering::Relaxed));
        self.0.call(to)
    }
}
