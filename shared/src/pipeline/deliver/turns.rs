//! Turns at endpoints that hang: of all batches that are under way anywhere, one at a time sends to an endpoint that is slow and fails. So a receiver that
//! hangs holds one instance at the most, however much waits for it; what has no turn is put off for longer each time.

use std::collections::HashMap;

use futures::future::join_all;
use jiff::Timestamp;

use super::intake::Lane;
use super::plan::Job;
use crate::domain::id::EndpointId;
use crate::domain::tenant::Scope;
use crate::domain::time::plus_seconds;
use crate::services::Services;

/// How long a turn lasts that nobody ends, in seconds: as long as deliver may run.
const TURN_SECONDS: i64 = 60;

/// The turns that a batch has.
#[derive(Debug, Default)]
pub(super) struct Turns(Vec<(Scope, EndpointId, Timestamp)>);

/// Jobs with the messages that they are for.
pub(super) type Jobs = Vec<(usize, Job)>;

/// Takes turns at those of these endpoints that hang, and divides the jobs into those that may go ahead and those that wait.
pub(super) async fn take(services: &Services, jobs: Jobs) -> (Jobs, Jobs, Turns) {
    let now = services.clock.now();
    let until = plus_seconds(now, TURN_SECONDS);
    // In the events lane they are put off in any case.
    let hanging = jobs.iter().filter(|(_, job)| job.lane == Lane::Retries && job.health.takes_turns());
    let hanging: HashMap<_, _> = hanging.map(|(_, job)| (job.endpoint.id, job.endpoint.scope)).collect();
    let taken = join_all(hanging.into_iter().map(|(id, scope)| async move {
        let taken = services.store.take_turn(scope, id, now, until).await;
        let taken =
            taken.inspect_err(|error| tracing::warn!(%error, endpoint_id = %id, "a turn could not be asked for"));
        (id, scope, taken.unwrap_or(true))
    }));
    let mut turns = Turns::default();
    let mut refused = Vec::new();
    for (id, scope, is_taken) in taken.await {
        if is_taken { turns.0.push((scope, id, until)) } else { refused.push(id) }
    }
    let (waiting, ahead) = jobs.into_iter().partition(|(_, job)| refused.contains(&job.endpoint.id));
    (ahead, waiting, turns)
}

impl Turns {
    /// Ends them. One that cannot be ended ends by itself.
    pub(super) async fn end(self, services: &Services) {
        let ended = self.0.into_iter().map(|(scope, id, until)| services.store.end_turn(scope, id, until));
        for error in join_all(ended).await.into_iter().filter_map(Result::err) {
            tracing::warn!(%error, "a turn could not be ended; it ends by itself");
        }
    }
}
