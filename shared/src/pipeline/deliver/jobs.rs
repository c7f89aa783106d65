//! Making requests side by side, without letting one receiver hold up the others.
//!
//! Two bounds keep a batch moving: so many requests at once, and a time after which no request is begun. What meets a bound is put off to the retries
//! lane, where it waits at nobody's expense.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::intake::Lane;
use super::plan::Job;
use crate::domain::attempt::{self, Attempt, Trigger, Verdict, judge};
use crate::domain::health::{Health, SLOW_AFTER_SECONDS};
use crate::domain::id::EndpointId;
use crate::domain::retry::put_off_seconds;
use crate::random;
use crate::sending::request::WebhookRequest;
use crate::services::Services;

/// How many requests of one batch are under way at once.
pub(super) const IN_FLIGHT_MAX: usize = 64;
/// How long after the start of a batch requests are still begun, in seconds. With the longest attempt (30 s) and room for the records it makes
/// deliver's timeout of 60 s.
const BEGIN_SECONDS_MAX: u64 = 20;
/// How long a delivery waits whose signing key could not be read, in seconds.
const NO_SECRET_WAIT_SECONDS: u32 = 30;

/// The slow endpoints that a batch has noted as such.
pub(super) type SlowNoted = Mutex<HashSet<EndpointId>>;

/// What came of a request that was to be made.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It was made.
    Attempted {
        /// What its answer means.
        verdict: Box<Verdict>,
        /// When it ended.
        ended_at: Timestamp,
    },
    /// It was not, and is to be tried through the retries lane after this delay.
    PutOff {
        /// Seconds, 0 to 900.
        delay_seconds: u32,
    },
}

/// Makes one request, or puts it off.
pub(super) async fn run(
    services: &Services,
    job: &Job,
    slots: &Semaphore,
    slow_noted: &SlowNoted,
    batch_begun: Instant,
) -> Outcome {
    let delay_seconds = match job.lane {
        Lane::Events => 0,
        Lane::Retries => put_off_seconds(job.times_put_off, random::unit_interval()),
    };
    let Ok(_slot) = slots.acquire().await else { return Outcome::PutOff { delay_seconds } };
    if batch_begun.elapsed() > Duration::from_secs(BEGIN_SECONDS_MAX) {
        return Outcome::PutOff { delay_seconds };
    }
    let endpoint = &job.endpoint;
    let secrets = services.secrets.document(endpoint.scope, endpoint.id, &endpoint.signing.secret_version).await;
    let secrets = match secrets {
        Ok(secrets) => secrets,
        Err(error) => {
            tracing::error!(%error, endpoint_id = %endpoint.id, "signing key cannot be read; the delivery waits");
            return Outcome::PutOff { delay_seconds: NO_SECRET_WAIT_SECONDS };
        }
    };
    let at = services.clock.now();
    let request = WebhookRequest::new(endpoint, job.payload_fields(), &secrets, &job.event, at);
    let sending = async { (services.sender.send(request).await, services.clock.now()) };
    let (answer, ended_at) = noting_slowness(services, job, slow_noted, sending).await;
    let verdict = judge(answer, job.trigger, at, ended_at);
    measure(services, job, &verdict.attempt);
    tracing::info!(
        tenant_id = %endpoint.scope.tenant_id,
        event_id = %job.event.id,
        endpoint_id = %endpoint.id,
        attempt = job.before.as_ref().map_or(0, |before| before.attempt_count) + 1,
        outcome = verdict.attempt.outcome.as_str(),
        status_code = verdict.attempt.status_code,
        duration_ms = verdict.attempt.duration_ms,
        error = verdict.attempt.error,
        request_id = job.request_id,
        "attempt"
    );
    Outcome::Attempted { verdict: Box::new(verdict), ended_at }
}

/// Waits for an answer; one that does not come soon is noted while it is waited for, so that the batches after this one need not wait too.
async fn noting_slowness<T>(
    services: &Services,
    job: &Job,
    slow_noted: &SlowNoted,
    sending: impl Future<Output = T>,
) -> T {
    tokio::pin!(sending);
    let soon = Duration::from_secs(u64::from(SLOW_AFTER_SECONDS));
    if let Ok(answer) = tokio::time::timeout(soon, &mut sending).await {
        return answer;
    }
    let endpoint = &job.endpoint;
    let is_noted = !slow_noted.lock().unwrap_or_else(PoisonError::into_inner).insert(endpoint.id);
    if job.health.slow || is_noted {
        return sending.await;
    }
    let note = async {
        let after = Health { slow: true, ..job.health };
        if let Err(error) = services.store.note_health(endpoint.scope, endpoint.id, job.health, after).await {
            tracing::warn!(%error, endpoint_id = %endpoint.id, "an endpoint's slowness could not be noted");
        }
    };
    futures::join!(sending, note).0
}

fn measure(services: &Services, job: &Job, made: &Attempt) {
    let is_first = job.before.as_ref().is_none_or(|before| before.attempt_count == 0);
    let waited = made.at.as_millisecond() - job.event.id.created_at().as_millisecond();
    // What was put off waited for its receiver, not for Outhook.
    let counts = is_first && job.lane == Lane::Events && made.trigger == Trigger::Automatic;
    let waited_ms = u64::try_from(waited).ok().filter(|_| counts);
    services.metrics.attempt(made.outcome == attempt::Outcome::Succeeded, made.duration_ms, waited_ms);
}
