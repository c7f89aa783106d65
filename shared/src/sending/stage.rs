//! How far a request has come, so that a missed time limit can say which phase it was missed in.
//!
//! The HTTP client keeps that to itself; what it lets us see is when a connection begins to be made and when it is there, and our own resolver knows
//! when it is asked. The stage belongs to the task that sends the request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use tower::{Layer, Service};

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    /// There is a connection, new or used before: the request is on its way or its answer awaited.
    Connected = 0,
    /// A connection is being made: TCP, then TLS.
    Connecting = 1,
    /// The name is being resolved.
    Resolving = 2,
}

tokio::task_local! {
    /// The stage of the request that the present task sends.
    static STAGE: Arc<AtomicU8>;
}

/// Runs a request; [`Reached`] says afterwards how far it came.
pub(super) async fn tracked<F: Future>(reached: &Reached, request: F) -> F::Output {
    STAGE.scope(Arc::clone(&reached.0), request).await
}

/// How far a request came.
#[derive(Clone, Debug, Default)]
pub(super) struct Reached(Arc<AtomicU8>);

impl Reached {
    pub(super) fn stage(&self) -> Stage {
        match self.0.load(Ordering::Relaxed) {
            stage if stage == Stage::Connecting as u8 => Stage::Connecting,
            stage if stage == Stage::Resolving as u8 => Stage::Resolving,
            _ => Stage::Connected,
        }
    }
}

/// Notes that the present request has come so far; elsewhere it does nothing.
pub(super) fn enter(stage: Stage) {
    // Connections are also made ahead, by no request's task.
    let _ = STAGE.try_with(|reached| reached.store(stage as u8, Ordering::Relaxed));
}

/// Notes when a connection begins to be made and when it is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct StageLayer;

impl<S> Layer<S> for StageLayer {
    type Service = StageService<S>;

    fn layer(&self, inner: S) -> StageService<S> {
        StageService { inner }
    }
}

/// See [`StageLayer`].
#[derive(Clone, Debug)]
pub(super) struct StageService<S> {
    inner: S,
}

impl<S, R> Service<R> for StageService<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        enter(Stage::Connecting);
        // The client may finish the connection on a task of its own.
        let reached = STAGE.try_with(Arc::clone).ok();
        let connecting = self.inner.call(request);
        Box::pin(async move {
            let connection = connecting.await;
            if let Some(reached) = reached {
                reached.store(Stage::Connected as u8, Ordering::Relaxed);
            }
            connection
        })
    }
}
