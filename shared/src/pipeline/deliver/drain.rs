//! Draining a backlog: one drain at a time has an endpoint, by a lease that it takes before it reads anything.
//!
//! A drain goes through what waits in order of due time, in rounds. A round is as wide as the endpoint's health allows: one probe for an endpoint that is unhealthy,
//! then two, four, and so on. Each delivery is read before it is sent, so what was sent meanwhile is passed over. A drain ends when nothing is due, when a
//! probe has failed, or when its time is over; then it says when the next check is to be. If it dies, its lease ends by itself, and the sweeper goes on from there.

mod take;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinSet;
use tracing::Instrument;

use super::attempt::{self, Made};
use super::batch::Batch;
use super::effects;
use super::first::NO_SECRET_WAIT_SECONDS;
use crate::aws_error::AwsError;
use crate::directory::Endpoints;
use crate::domain::backlog::{Waiting, look_at, next_look};
use crate::domain::delivery::{Delivery, DeliveryStatus};
use crate::domain::endpoint::{Endpoint, EndpointStatus, TIMEOUT_SECONDS_MAX};
use crate::domain::health::{Health, HealthSample};
use crate::domain::id::EventId;
use crate::domain::time::plus_seconds;
use crate::metrics::Counter;
use crate::pipeline::operational::{self, OperationalEvent};
use crate::pipeline::{endpoints, retention, wakes};
use crate::random;
use crate::store::Recorded;
use crate::store::backlog::cancel_delivery;
use crate::store::deliveries::{StoredDelivery, update_delivery};
use crate::store::flows::{Flow, Lease, Released, Touch, lease_flow, new_token};
use crate::store::items::StoredEvent;
use crate::store::payload_fields::EarlierFields;

use take::{Ahead, Call, EventRead, Next, PAGE_MAX};

/// How many results of a drain wait for their records at the most before more requests are made.
const RECORDING_MAX: usize = 64;
/// When a drain that AWS did not answer is tried again, in seconds.
const AGAIN_SECONDS: i64 = 30;
/// How much longer than its batch a lease lasts, in seconds: what the last calls of the batch may take.
const LEASE_SPARE_SECONDS: u64 = 10;
/// When a delivery that cannot be read is looked at again, in seconds.
const UNREADABLE_SECONDS: i64 = 3_600;

/// Drains a backlog by taking its flow's lease, unless somebody else has it.
pub(super) async fn take_and_drain(batch: Batch, flow: Flow, token: &str) -> Result<(), AwsError> {
    let now = batch.services.clock.now();
    let left = batch.deadline.since(batch.services.clock.moment()) + Duration::from_secs(LEASE_SPARE_SECONDS);
    let until = plus_seconds(now, i64::try_from(left.as_secs()).unwrap_or(i64::MAX));
    let lease = Lease { id: new_token(), until };
    let is_taken = match batch.write(lease_flow(&flow, token, &lease, now)).await {
        Recorded::Done => true,
        // Somebody else has it, or it was taken here and the answer got lost.
        Recorded::Refused => batch.services.store.has_lease(flow.endpoint_id, &lease).await?,
        Recorded::Failed(error) => return Err(error),
    };
    if is_taken {
        drain(batch, flow, lease).await;
    }
    Ok(())
}

/// Drains a backlog whose lease has been taken, and ends the lease.
async fn drain(batch: Batch, flow: Flow, lease: Lease) {
    let mut drain = Drain {
        read_at: batch.services.clock.now(),
        health: flow.health,
        batch,
        flow,
        ahead: Ahead::default(),
        probed_due: None,
        timeout_seconds: TIMEOUT_SECONDS_MAX,
        recording: JoinSet::new(),
    };
    let stopped = drain.run().await;
    let recorded = drain.recorded(0).await;
    let first_due = match stopped.and_then(|first_due| recorded.map(|()| first_due)) {
        Ok(first_due) => first_due,
        Err(error) => {
            let endpoint_id = drain.flow.endpoint_id;
            tracing::error!(%error, %endpoint_id, "a backlog could not be drained to its end; it is checked again");
            Some(plus_seconds(drain.now(), AGAIN_SECONDS))
        }
    };
    drain.release(&lease, first_due).await;
}

struct Drain {
    batch: Batch,
    flow: Flow,
    /// How the endpoint is doing, as far as this drain has seen.
    health: Health,
    ahead: Ahead,
    /// When the index was read last.
    read_at: Timestamp,
    /// When the one that a probe attempted in vain is due again.
    probed_due: Option<Timestamp>,
    /// How long a request may take: the longest that there is, until the endpoint has been read.
    timeout_seconds: u32,
    recording: JoinSet<Result<(), AwsError>>,
}

/// What a round found.
enum Round {
    /// It was made, of so many requests.
    Made { sent: usize },
    /// The endpoint gets nothing any more: it is gone, paused or disabled.
    Inactive(Option<Arc<Endpoint>>),
    /// Nothing can be sent until then.
    NotBefore(Timestamp),
}

/// A delivery to be sent.
struct Due {
    before: StoredDelivery,
    event: StoredEvent,
}

impl Drain {
    fn now(&self) -> Timestamp {
        self.batch.services.clock.now()
    }

    /// Goes through the backlog; when the first of what is left is due, if anything is left.
    async fn run(&mut self) -> Result<Option<Timestamp>, AwsError> {
        loop {
            if self.ahead.needs_page() {
                self.read_page().await?;
            }
            let now = self.now();
            let has_time = self.batch.has_time_for(self.timeout_seconds);
            let ids = match self.ahead.take(self.health.width(now), has_time, now) {
                Next::Round(ids) => ids,
                Next::Stop(first_due) => return Ok(first_due),
            };
            let sent = match self.round(&ids).await? {
                Round::Made { sent } => sent,
                Round::Inactive(endpoint) => return self.cancel_all(endpoint).await,
                Round::NotBefore(at) => return Ok(Some(at)),
            };
            // Where nothing was to be sent, or could be, those behind are not held up by it.
            if sent > 0 && self.health.is_unhealthy(self.now()) {
                // A probe, or what made it unhealthy.
                return Ok(self.ahead.left_after_probe(now));
            }
            self.recorded(RECORDING_MAX).await?;
        }
    }

    async fn read_page(&mut self) -> Result<(), AwsError> {
        self.read_at = self.now();
        let cursor = self.ahead.cursor();
        let page = self.batch.services.store.backlog(self.flow.endpoint_id, cursor, PAGE_MAX).await?;
        self.ahead.add_page(page);
        Ok(())
    }

    async fn round(&mut self, ids: &[EventId]) -> Result<Round, AwsError> {
        let services = self.batch.services.clone();
        let (scope, endpoint_id) = (self.flow.scope, self.flow.endpoint_id);
        let mut room = self.batch.room(ids.len()).await;
        if !self.batch.has_time_for(self.timeout_seconds) {
            return Ok(Round::NotBefore(self.now()));
        }
        let mut found = services.store.round(scope, endpoint_id, ids).await?;
        let endpoints = match &found.tenant {
            Some(tenant) => services.directory.of_tenant(scope, tenant).await?,
            None => Endpoints::default(),
        };
        let endpoint = match endpoints.get(endpoint_id) {
            Some(endpoint) if endpoint.status == EndpointStatus::Active => Arc::clone(endpoint),
            None if endpoints.lacks_some() => {
                return Err(AwsError::unreadable("dynamodb:Query", "the endpoint cannot be read"));
            }
            inactive => return Ok(Round::Inactive(inactive.cloned())),
        };
        self.timeout_seconds = endpoint.settings.timeout_seconds;
        let deliveries = || found.deliveries.values().map(|stored| &stored.delivery);
        let earlier = services.store.earlier_fields(&endpoint, deliveries()).await?;
        let grows = deliveries().any(|delivery| !earlier.of(delivery, &endpoint).is_empty());
        room.shrink_to(found.events.values().map(|stored| stored.event.data.get().len()), grows);
        let now = self.now();
        for (event_id, error) in &found.unreadable {
            tracing::error!(%error, %endpoint_id, %event_id, "a delivery or its event cannot be read");
            self.ahead.is_due_again(plus_seconds(now, UNREADABLE_SECONDS));
        }
        let mut due = Vec::new();
        for id in ids {
            let Some(before) = found.deliveries.remove(id) else { continue };
            let event = found.events.remove(id);
            let event_read = match &event {
                Some(_) => EventRead::There,
                None if found.unreadable.iter().any(|(unreadable, _)| unreadable == id) => EventRead::Unreadable,
                None => EventRead::Missing,
            };
            match take::call_of(&before.delivery, event_read, now) {
                Call::Send => due.extend(event.map(|event| Due { before, event })),
                Call::CheckAt(at) => self.ahead.is_due_again(at),
                Call::EndWithoutEvent => self.end_without_event(&endpoint, &endpoints, before),
                Call::Settle => self.settle(&endpoint, before.delivery, before.expires_at),
                Call::Nothing => {}
            }
        }
        self.send(&endpoint, &endpoints, due, earlier).await
    }

    async fn send(
        &mut self,
        endpoint: &Arc<Endpoint>,
        endpoints: &Endpoints,
        due: Vec<Due>,
        earlier: EarlierFields,
    ) -> Result<Round, AwsError> {
        let earlier = Arc::new(earlier);
        let mut requests = JoinSet::new();
        for one in due {
            let (batch, endpoint, earlier) = (self.batch.clone(), Arc::clone(endpoint), Arc::clone(&earlier));
            let request = async move {
                let _busy = batch.busy();
                let delivery = &one.before.delivery;
                let request = attempt::Request {
                    event: &one.event.event,
                    endpoint: &endpoint,
                    payload_fields: earlier.of(delivery, &endpoint),
                    trigger: delivery.next_trigger,
                    attempt: delivery.attempt_count + 1,
                    is_new: false,
                    seconds_max: endpoint.settings.timeout_seconds,
                    request_id: None,
                };
                let made = attempt::make(&batch.services, request).await;
                (one.before, made)
            };
            requests.spawn(request.in_current_span());
        }
        let mut sample = HealthSample::default();
        let (mut sent, mut first_due, mut no_secret) = (0, None, None);
        while let Some(ended) = requests.join_next().await {
            match ended {
                Ok((before, Ok(made))) => {
                    sample.add(&made.outcome.attempt);
                    sent += usize::from(!made.outcome.attempt.outcome.is_unsent());
                    first_due = self.record(endpoint, endpoints, before, &made)?;
                }
                Ok((_, Err(error))) => no_secret = Some(error),
                Err(error) => {
                    tracing::error!(%error, endpoint_id = %endpoint.id, "a request panicked; its delivery is looked at again");
                    self.ahead.is_due_again(plus_seconds(self.now(), UNREADABLE_SECONDS));
                }
            }
        }
        let now = self.now();
        if let Some(error) = no_secret {
            tracing::error!(%error, endpoint_id = %endpoint.id, "signing secret cannot be read; the backlog waits");
            return Ok(Round::NotBefore(plus_seconds(now, NO_SECRET_WAIT_SECONDS)));
        }
        self.probed_due = first_due.filter(|_| sent == 1);
        self.health = self.health.after(sample, now);
        let disable_after = self.batch.services.config.disable_after_seconds;
        if let Some(since) =
            self.health.disable_due(endpoint.updated_at, now, disable_after).filter(|_| sample.only_failures())
        {
            // Before what failed to be recorded is returned: nobody may come this way again.
            let recorded = self.recorded(0).await;
            endpoints::disable_failing(&self.batch.services, endpoint, since).await?;
            recorded?;
            return Ok(Round::Inactive(None));
        }
        Ok(Round::Made { sent })
    }

    /// Records a result, beside the requests that follow; when the delivery is due again, if it is.
    fn record(
        &mut self,
        endpoint: &Arc<Endpoint>,
        endpoints: &Endpoints,
        before: StoredDelivery,
        made: &Made,
    ) -> Result<Option<Timestamp>, AwsError> {
        let services = self.batch.services.clone();
        let (config, now) = (&services.config, made.ended_at);
        let (schedule, jitter) = (&config.retry_schedule_seconds, random::unit_interval());
        let mut after = before.delivery.clone().after_attempt(&made.outcome, endpoint, schedule, now, jitter);
        let due = after.next_attempt_at;
        if let Some(at) = due {
            self.ahead.is_due_again(at);
        }
        let failed = after.status == DeliveryStatus::Failed;
        after.effects_due = failed && effects::has_effects(&after, endpoints);
        let until = retention::delivery_kept_until(config, endpoint, &after, now);
        self.write(endpoint, before.delivery, after, until, failed)?;
        Ok(due)
    }

    /// Ends a delivery whose event is there no more, and emits the event of it.
    fn end_without_event(&mut self, endpoint: &Arc<Endpoint>, endpoints: &Endpoints, before: StoredDelivery) {
        let now = self.now();
        let mut after = before.delivery.clone().ended(DeliveryStatus::Failed, now);
        after.effects_due = effects::has_effects(&after, endpoints);
        let until = retention::ended_until(&self.batch.services.config, after.event_id, now);
        tracing::error!(endpoint_id = %endpoint.id, event_id = %after.event_id, "the event of a waiting delivery is gone; the delivery has failed");
        // It cannot but be written.
        let _ = self.write(endpoint, before.delivery, after, until, true);
    }

    fn write(
        &mut self,
        endpoint: &Arc<Endpoint>,
        before: Delivery,
        after: Delivery,
        until: Timestamp,
        failed: bool,
    ) -> Result<(), AwsError> {
        let write = update_delivery(&before, &after, until)?;
        let (batch, endpoint) = (self.batch.clone(), Arc::clone(endpoint));
        let recording = async move {
            match batch.record(&after, write).await {
                Recorded::Done => {
                    batch.services.metrics.count(Counter::DeliveriesFailed, usize::from(failed));
                    if after.effects_due {
                        effects::settle(&batch, Some(&endpoint), after, until).await
                    } else {
                        Ok(())
                    }
                }
                Recorded::Refused => batch.record_beside_a_retry(&before, after, until).await,
                Recorded::Failed(error) => Err(error),
            }
        };
        self.recording.spawn(recording.in_current_span());
        Ok(())
    }

    /// Sees to what follows from the end of a delivery that is on record.
    fn settle(&mut self, endpoint: &Arc<Endpoint>, delivery: Delivery, until: Timestamp) {
        let (batch, endpoint) = (self.batch.clone(), Arc::clone(endpoint));
        let settling = async move { effects::settle(&batch, Some(&endpoint), delivery, until).await };
        self.recording.spawn(settling.in_current_span());
    }

    /// Waits until at most so many results are not on record.
    async fn recorded(&mut self, left: usize) -> Result<(), AwsError> {
        let mut failed = None;
        while self.recording.len() > left {
            match self.recording.join_next().await {
                Some(Ok(Err(error))) => failed = Some(error),
                Some(Err(error)) => {
                    tracing::error!(%error, endpoint_id = %self.flow.endpoint_id, "a record panicked");
                    failed = Some(AwsError::gave_up("a record"));
                }
                Some(Ok(Ok(()))) | None => {}
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Ends everything that waits, due or not, for an endpoint that gets nothing any more.
    async fn cancel_all(&mut self, endpoint: Option<Arc<Endpoint>>) -> Result<Option<Timestamp>, AwsError> {
        self.recorded(0).await?;
        // The one that disabled it may have died before the operational event.
        if let Some(disabled) = endpoint.as_ref().filter(|endpoint| endpoint.status == EndpointStatus::Disabled) {
            let event = OperationalEvent::endpoint_disabled(disabled);
            operational::emit(&self.batch.services, self.flow.scope, &[event]).await?;
        }
        self.health = Health::default();
        self.ahead = Ahead::default();
        while self.ahead.needs_page() {
            if !self.batch.has_time_for(0) {
                return Ok(Some(self.now()));
            }
            self.read_page().await?;
            let ids = self.ahead.take_page();
            let now = self.now();
            let endpoint_id = self.flow.endpoint_id;
            let store = &self.batch.services.store;
            let writes: Vec<_> = ids.iter().map(|id| cancel_delivery(endpoint_id, *id, now)).collect();
            let mut ended = Vec::new();
            for (recorded, id) in store.record(&writes).await.into_iter().zip(ids) {
                match recorded {
                    Recorded::Done => {}
                    Recorded::Refused => ended.push((endpoint_id, id)),
                    Recorded::Failed(error) => return Err(error),
                }
            }
            // What has ended is there only for what follows from it, which was cut off.
            for stored in store.deliveries(&ended).await?.into_values().filter(|stored| stored.delivery.effects_due) {
                effects::settle(&self.batch, endpoint.as_ref(), stored.delivery, stored.expires_at).await?;
            }
        }
        Ok(None)
    }

    async fn release(self, lease: &Lease, first_due: Option<Timestamp>) {
        let (services, now) = (&self.batch.services, self.now());
        let waiting = Waiting { first_due, probed_due: self.probed_due };
        let next_at = next_look(self.health, now, waiting, random::unit_interval()).map(|at| look_at(at, now));
        let (scope, endpoint_id) = (self.flow.scope, self.flow.endpoint_id);
        let released = services.store.release_flow(&self.flow, lease, self.health, next_at, self.read_at, now).await;
        let wake = match released {
            Ok(Released::Done { token }) => token.zip(next_at),
            Ok(Released::Touched { at, token }) => Some((token, at)),
            Ok(Released::Lost) => {
                // Another drain may have ended without knowing of what this one has deferred.
                if let Some(at) = first_due
                    && let Err(error) = wakes::wake(services, &[Touch { endpoint_id, scope, at, health: None }]).await
                {
                    tracing::warn!(%error, %endpoint_id, "a backlog is checked only by the sweeper's last check");
                }
                None
            }
            Err(error) => {
                tracing::warn!(%error, %endpoint_id, "a lease could not be ended; it ends by itself");
                None
            }
        };
        let message = wake.and_then(|(token, at)| wakes::message(scope, endpoint_id, token, at, now));
        if let Some((message, delay_seconds)) = message {
            self.batch.send_wake(message, delay_seconds).await;
        }
    }
}
