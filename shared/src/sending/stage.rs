//! How far a request has come, so that a missed time limit can say which phase it was missed in.
//!
//! A connection that has to be made goes through all stages; one that is used again through none. The stage belongs to the task that sends the request:
//! the resolver and the connector, which that task polls, note it there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// What a connection in the making waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    /// The resolver, for the name's addresses.
    Resolving = 1,
    /// The receiver's host, to take the connection.
    Connecting = 2,
    /// The receiver, to finish the TLS handshake.
    Handshaking = 3,
}

tokio::task_local! {
    /// The stage of the request that the present task sends; 0 before the first.
    static STAGE: Arc<AtomicU8>;
}

/// How far the making of a connection came.
#[derive(Clone, Debug, Default)]
pub(super) struct Reached(Arc<AtomicU8>);

impl Reached {
    /// The last stage that was begun; `None` when no connection was begun to be made.
    pub(super) fn stage(&self) -> Option<Stage> {
        let all = [Stage::Resolving, Stage::Connecting, Stage::Handshaking];
        all.into_iter().find(|stage| *stage as u8 == self.0.load(Ordering::Relaxed))
    }
}

/// Runs a request; `reached` says afterwards how far it came.
pub(super) async fn tracked<F: Future>(reached: &Reached, request: F) -> F::Output {
    STAGE.scope(Arc::clone(&reached.0), request).await
}

/// Notes that the present request has come so far; elsewhere it does nothing.
pub(super) fn enter(stage: Stage) {
    // A connection that another request no longer needs is finished by a task of the client's.
    let _ = STAGE.try_with(|reached| reached.store(stage as u8, Ordering::Relaxed));
}
