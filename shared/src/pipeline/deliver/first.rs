//! First deliveries of an event: attempted at once, or put into the endpoint's backlog.
//!
//! A first attempt waits [`ANSWER_SECONDS_MAX`] for its answer, however long the endpoint may take: longer, and it would hold up other tenants' events. What takes
//! longer is given up, counts for nothing, and goes on in the backlog with all its time; the endpoint is known to be slow from then on, and new
//! events wait in its backlog from the start.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Mutex;

use super::attempt::{self, Made};
use super::batch::Batch;
use super::effects;
use super::plan::FirstAttempt;
use crate::aws_error::AwsError;
use crate::domain::attempt::{Outcome, Trigger};
use crate::domain::backlog::look_for_deferred;
use crate::domain::delivery::{Delivery, DeliveryStatus};
use crate::domain::endpoint::Endpoint;
use crate::domain::health::{Health, HealthSample, SLOW_AFTER_SECONDS};
use crate::domain::time::plus_seconds;
use crate::metrics::Counter;
use crate::pipeline::retention;
use crate::random;
use crate::store::deliveries::insert_delivery;
use crate::store::flows::{Failing, Touch};
use crate::store::{Recorded, Write};

/// How long a first attempt waits for its answer, in seconds, even where the endpoint may take longer.
const ANSWER_SECONDS_MAX: u32 = 5;
/// How long a delivery waits whose signing secret could not be read, in seconds.
pub(super) const NO_SECRET_WAIT_SECONDS: i64 = 30;

/// The event of a message, which is written together with the first of its deliveries.
#[derive(Clone, Debug)]
pub(super) struct EventWrite(Arc<Mutex<EventState>>);

#[derive(Debug)]
enum EventState {
    Unwritten(Write),
    Written(Result<(), AwsError>),
}

impl EventWrite {
    pub(super) fn new(write: Option<Write>) -> Self {
        Self(Arc::new(Mutex::new(write.map_or(EventState::Written(Ok(())), EventState::Unwritten))))
    }

    /// Writes the event, if there is one to be written, once; a task that comes meanwhile waits for that.
    ///
    /// # Errors
    /// When DynamoDB does not answer, for everybody: no delivery goes on whose event is not on record.
    pub(super) async fn carry_out(&self, batch: &Batch) -> Result<(), AwsError> {
        let mut state = self.0.lock().await;
        let write = match &*state {
            EventState::Written(written) => return written.clone(),
            EventState::Unwritten(write) => write.clone(),
        };
        let written = match batch.write(write).await {
            Recorded::Done | Recorded::Refused => Ok(()),
            Recorded::Failed(error) => Err(error),
        };
        *state = EventState::Written(written.clone());
        written
    }
}

/// Attempts a first delivery, or puts it into its endpoint's backlog where there is no place soon enough.
///
/// # Errors
/// When AWS does not answer; the message comes again.
pub(super) async fn deliver(batch: &Batch, event: &EventWrite, first: &FirstAttempt) -> Result<(), AwsError> {
    let now = batch.services.clock.now();
    let Some(slot) = batch.slot().await else { return defer(batch, event, first, now).await };
    let busy = batch.busy();
    let made = attempt(batch, first).await;
    drop(slot);
    let made = match made {
        Ok(made) => made,
        Err(error) => {
            tracing::error!(%error, endpoint_id = %first.endpoint.id, "signing secret cannot be read; the delivery waits");
            drop(busy);
            return defer(batch, event, first, plus_seconds(now, NO_SECRET_WAIT_SECONDS)).await;
        }
    };
    let begun = Delivery::new(&first.event, first.endpoint.id, made.outcome.attempt.at);
    let schedule = &batch.services.config.retry_schedule_seconds;
    let jitter = random::unit_interval();
    let after = begun.after_attempt(&made.outcome, &first.endpoint, schedule, made.ended_at, jitter);
    let until = retention::delivery_kept_until(&batch.services.config, &first.endpoint, &after, made.ended_at);
    let write = insert_delivery(&after, until)?;
    drop(busy);
    let (kept, recorded) = futures::join!(event.carry_out(batch), batch.record(&after, write));
    kept?;
    match recorded {
        Recorded::Done => follow_up(batch, first, &after, &made).await,
        Recorded::Refused => {
            tracing::info!("already on record; this result is dropped");
            Ok(())
        }
        Recorded::Failed(error) => Err(error),
    }
}

/// Makes the request. That the endpoint is slow is noted while its answer is still waited for, so that the batches after this one need not wait too.
async fn attempt(batch: &Batch, first: &FirstAttempt) -> Result<Made, AwsError> {
    let endpoint = &first.endpoint;
    let request = attempt::Request {
        event: &first.event,
        endpoint,
        payload_fields: &endpoint.settings.payload_fields,
        trigger: Trigger::Automatic,
        attempt: 1,
        is_new: true,
        seconds_max: batch.seconds_left_of(ANSWER_SECONDS_MAX),
        request_id: first.request_id.as_deref(),
    };
    let making = attempt::make(&batch.services, request);
    tokio::pin!(making);
    let soon = Duration::from_secs(u64::from(SLOW_AFTER_SECONDS));
    if let Ok(made) = batch.services.clock.timeout(soon, &mut making).await {
        return made;
    }
    let note = async {
        let health = Health::default().after(HealthSample::unanswered(), batch.services.clock.now());
        if let Err(error) = batch.note_health(endpoint.scope, endpoint.id, health, Failing::GoesOn).await {
            tracing::warn!(%error, endpoint_id = %endpoint.id, "an endpoint's slowness could not be noted");
        }
    };
    futures::join!(making, note).0
}

/// What follows from a first attempt that is on record: the next check of the backlog, the endpoint's health, and the end of a delivery that failed for good.
async fn follow_up(batch: &Batch, first: &FirstAttempt, after: &Delivery, made: &Made) -> Result<(), AwsError> {
    let FirstAttempt { endpoint, flow, .. } = first;
    let mut sample = HealthSample::default();
    sample.add(&made.outcome.attempt);
    let health = Health::default().after(sample, made.ended_at);
    if let (DeliveryStatus::Pending, Some(at)) = (after.status, after.next_attempt_at) {
        let touch = Touch { endpoint_id: endpoint.id, scope: endpoint.scope, at, health: Some(health) };
        return batch.touch(touch).await;
    }
    let noted = flow.as_ref().map(|flow| flow.health).unwrap_or_default();
    let succeeded = made.outcome.attempt.outcome == Outcome::Succeeded;
    if !succeeded {
        batch.services.metrics.count(Counter::DeliveriesFailed, 1);
    }
    match note_of(succeeded, health, noted) {
        Note::Nothing => {}
        Note::Unhealthy(failing) => batch.note_health(endpoint.scope, endpoint.id, health, failing).await?,
        Note::Healthy => batch.note_healthy(endpoint.id).await?,
    }
    if succeeded {
        return Ok(());
    }
    effects::carry_out(&batch.services, Some(endpoint), after).await
}

/// What is to be noted of an endpoint's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Note {
    Nothing,
    /// That it is slow or failing, and what that says about its failing before.
    Unhealthy(Failing),
    /// That it is healthy, after all.
    Healthy,
}

/// What is to be noted after a first attempt that was the delivery's last: `health` is what that alone says, and `noted` what is known already.
fn note_of(succeeded: bool, health: Health, noted: Health) -> Note {
    match succeeded {
        true if health.slow && (!noted.slow || noted.failing_since.is_some()) => Note::Unhealthy(Failing::IsOver),
        true if !health.slow && !noted.is_healthy() => Note::Healthy,
        false if health.adds_to(noted) => Note::Unhealthy(Failing::GoesOn),
        _ => Note::Nothing,
    }
}

/// Puts a delivery into its endpoint's backlog, unattempted and due at `due`: one write, and nothing more where the backlog is checked soon enough anyway.
///
/// # Errors
/// When AWS does not answer; the message comes again.
pub(super) async fn defer(
    batch: &Batch,
    event: &EventWrite,
    first: &FirstAttempt,
    due: Timestamp,
) -> Result<(), AwsError> {
    let endpoint = &first.endpoint;
    let now = batch.services.clock.now();
    let delivery = Delivery { next_attempt_at: Some(due), ..Delivery::new(&first.event, endpoint.id, now) };
    let until = retention::delivery_kept_until(&batch.services.config, endpoint, &delivery, now);
    let write = insert_delivery(&delivery, until)?;
    let (kept, recorded) = futures::join!(event.carry_out(batch), batch.record(&delivery, write));
    kept?;
    if let Recorded::Failed(error) = recorded {
        return Err(error);
    }
    let known = first.flow.as_ref().map(|flow| (flow.health, flow.next_at, flow.is_leased(now)));
    let (health, next_at, is_leased) = known.unwrap_or_default();
    match look_for_deferred(health, next_at, is_leased, due, now, random::unit_interval()) {
        Some(at) => batch.touch(Touch { endpoint_id: endpoint.id, scope: endpoint.scope, at, health: None }).await,
        None => Ok(()),
    }
}

/// Keeps a delivery that ends without a request.
///
/// # Errors
/// When AWS does not answer; the message comes again.
pub(super) async fn skip(batch: &Batch, event: &EventWrite, skipped: &Delivery) -> Result<(), AwsError> {
    let until = retention::ended_until(&batch.services.config, skipped.event_id, skipped.updated_at);
    let write = insert_delivery(skipped, until)?;
    let (kept, recorded) = futures::join!(event.carry_out(batch), batch.write(write));
    kept?;
    if let Recorded::Failed(error) = recorded { Err(error) } else { Ok(()) }
}

/// Sees once more to what follows from a delivery on record, of a message that comes again: it may have been cut off before.
///
/// # Errors
/// When AWS does not answer; the message comes again.
pub(super) async fn redo(batch: &Batch, endpoint: &Arc<Endpoint>, delivery: &Delivery) -> Result<(), AwsError> {
    match delivery.next_attempt_at.filter(|_| delivery.status == DeliveryStatus::Pending) {
        Some(at) => batch.touch(Touch { endpoint_id: endpoint.id, scope: endpoint.scope, at, health: None }).await,
        None => effects::carry_out(&batch.services, Some(endpoint), delivery).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

    #[test]
    fn health_is_noted_only_where_it_adds_something() {
        let well = Health::default();
        let slow = Health { slow: true, ..well };
        let failing = Health { failing_since: Some(NOW), ..well };
        let hanging = Health { slow: true, ..failing };
        let recovering = Health { width: Some(2), ..well };
        for (name, succeeded, health, noted, expected) in [
            ("quick answer of a healthy endpoint", true, well, well, Note::Nothing),
            ("quick answer of a failing one", true, well, failing, Note::Healthy),
            ("quick answer of a slow one", true, well, slow, Note::Healthy),
            ("quick answer of one that recovers", true, well, recovering, Note::Healthy),
            ("slow answer of a healthy one", true, slow, well, Note::Unhealthy(Failing::IsOver)),
            ("slow answer of a slow one", true, slow, slow, Note::Nothing),
            ("slow answer of a failing one", true, slow, failing, Note::Unhealthy(Failing::IsOver)),
            ("slow answer of a hanging one", true, slow, hanging, Note::Unhealthy(Failing::IsOver)),
            ("failure of a healthy one", false, failing, well, Note::Unhealthy(Failing::GoesOn)),
            ("failure of a failing one", false, failing, failing, Note::Nothing),
            ("no answer of a failing one", false, hanging, failing, Note::Unhealthy(Failing::GoesOn)),
            ("no answer of a hanging one", false, hanging, hanging, Note::Nothing),
            ("nothing was sent", false, well, failing, Note::Nothing),
        ] {
            assert_eq!(note_of(succeeded, health, noted), expected, "{name}");
        }
    }
}
