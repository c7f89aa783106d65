//! The sweeper: a tick of the schedule in, what was done out.

use aws_lambda_events::eventbridge::EventBridgeEvent;
use serde::Serialize;
use shared::pipeline::sweep::sweep;
use shared::services::Services;

/// What one run did, for those who invoke it by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Backlogs woken, and replays sent on.
    pub woken: usize,
    /// Flows that had nothing more to do.
    pub ended: usize,
    /// Secrets removed.
    pub secrets_removed: usize,
    /// Endpoints whose secrets were converted to the form that is configured.
    pub secrets_converted: usize,
    /// Things that failed and are tried again at the next run.
    pub failed: usize,
}

/// Makes one run; what the tick says plays no part. Repeating is safe.
pub async fn handle(services: &Services, _tick: EventBridgeEvent) -> Report {
    let swept = sweep(services).await;
    Report {
        woken: swept.woken,
        ended: swept.ended,
        secrets_removed: swept.secrets_removed,
        secrets_converted: swept.secrets_converted,
        failed: swept.failed,
    }
}
