//! What all the work of one batch shares: the way to the services, the time that is left, and calls that are made together.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use super::coalesce::{Busy, BusyGuard, Coalescer};
use crate::aws_error::AwsError;
use crate::clock::Moment;
use crate::domain::attempt::Trigger;
use crate::domain::backlog::look_at;
use crate::domain::delivery::{Delivery, DeliveryStatus};
use crate::domain::health::Health;
use crate::domain::id::EndpointId;
use crate::domain::payload::{BODY_BYTES_MAX, PAYLOAD_FIELDS_MAX};
use crate::domain::tenant::Scope;
use crate::pipeline::wakes;
use crate::queue::messages::RetryMessage;
use crate::services::Services;
use crate::store::deliveries::update_delivery;
use crate::store::flows::{Failing, Touch};
use crate::store::{Recorded, TRIES_MAX, Tried, Write, back_off};

/// How many first attempts of one batch are under way at once.
const IN_FLIGHT_MAX: usize = 64;
/// How long after the start of a batch first attempts are still begun, in seconds; the others wait in their endpoints' backlogs. A change of an endpoint
/// applies so soon at the latest.
const BEGIN_SECONDS_MAX: u64 = 4;
/// How much of the memory of an invocation the drains of one batch take for what they read and send, in KiB: a quarter of the least that deliver is deployed
/// with. Ten of them with the largest events would take three times as much.
const DRAINS_KIB_MAX: u32 = 64 * 1_024;
/// What a delivery takes at the most while it is sent, in KiB: its event as it is stored and as it is read, and its body.
const DELIVERY_KIB_MAX: usize = 3 * 256 + 512;
/// What it takes beside its event, in KiB: its attempts, and the request.
const DELIVERY_KIB: usize = 32;

/// How much time a batch keeps for its records after the last request, in seconds.
pub(super) const RECORD_SECONDS: u64 = 5;

pub(super) type Writes = Coalescer<Arc<Write>, Tried>;
pub(super) type Wakes = Coalescer<(RetryMessage, u32), Result<(), AwsError>>;

/// The context of a batch. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) services: Services,
    writes: Writes,
    wakes: Wakes,
    busy: Busy,
    slots: Arc<Semaphore>,
    room: Arc<Semaphore>,
    begun: Moment,
    /// When what it is about had been read.
    read_at: Moment,
    /// When the batch has to be over.
    pub(super) deadline: Moment,
    touched: Arc<Mutex<HashMap<EndpointId, Arc<Mutex<Touched>>>>>,
}

/// Room in memory, until it is dropped.
#[derive(Debug)]
pub(super) struct Room {
    deliveries: usize,
    permit: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// Gives back what is not needed, for events of so many bytes each: they are there as they are stored and as they are read, and as the bodies that are sent.
    /// Those grow where fields are chosen, which can contain one another.
    pub(super) fn shrink_to(&mut self, event_bytes: impl Iterator<Item = usize>, grows: bool) {
        let body_of = |bytes: usize| if grows { (bytes * PAYLOAD_FIELDS_MAX).min(BODY_BYTES_MAX) } else { bytes };
        let bytes: usize = event_bytes.map(|bytes| bytes * 3 + body_of(bytes)).sum();
        let needed = self.deliveries * DELIVERY_KIB + bytes.div_ceil(1_024);
        if let Some(permit) = &mut self.permit {
            let spare = permit.num_permits().saturating_sub(needed);
            drop(permit.split(spare));
        }
    }
}

/// What this batch has said of an endpoint's flow.
#[derive(Debug, Default)]
struct Touched {
    at: Option<Timestamp>,
    health: Option<Health>,
    healthy: bool,
}

impl Batch {
    pub(super) fn new(services: &Services, writes: Writes, wakes: Wakes, busy: Busy, deadline: Moment) -> Self {
        Self {
            services: services.clone(),
            writes,
            wakes,
            busy,
            slots: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            room: Arc::new(Semaphore::new(DRAINS_KIB_MAX as usize)),
            begun: services.clock.moment(),
            read_at: services.clock.moment(),
            deadline,
            touched: Arc::default(),
        }
    }

    /// Counts a request as under way until the guard is dropped: its record is waited for.
    pub(super) fn busy(&self) -> BusyGuard {
        self.busy.begin()
    }

    /// The same, where what it is about has been read by now.
    pub(super) fn read(self) -> Self {
        let read_at = self.services.clock.moment();
        Self { read_at, ..self }
    }

    /// How long a first attempt that begins now may wait for its answer, in seconds, of `seconds` for all of them: those that waited for a place have less.
    pub(super) fn seconds_left_of(&self, seconds: u32) -> u32 {
        let waited = self.services.clock.moment().since(self.read_at).as_millis().div_ceil(1_000);
        let waited = u32::try_from(waited).unwrap_or(seconds);
        // The first second is not counted: planning is part of it.
        seconds.saturating_sub(waited.saturating_sub(1)).max(1)
    }

    /// A place among the first attempts; `None` if there is none soon enough.
    pub(super) async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        let until = (self.begun + Duration::from_secs(BEGIN_SECONDS_MAX)).min(self.deadline);
        let clock = &self.services.clock;
        let left = until.since(clock.moment());
        if left.is_zero() {
            return None;
        }
        clock.timeout(left, Arc::clone(&self.slots).acquire_owned()).await.ok()?.ok()
    }

    /// Room in memory for so many deliveries, as large as they can be, until it is known how large they are.
    pub(super) async fn room(&self, deliveries: usize) -> Room {
        let kib = u32::try_from(deliveries * DELIVERY_KIB_MAX).unwrap_or(DRAINS_KIB_MAX).min(DRAINS_KIB_MAX);
        Room { deliveries, permit: Arc::clone(&self.room).acquire_many_owned(kib).await.ok() }
    }

    /// Whether a request that may take `seconds` can be begun and recorded before the batch is over.
    pub(super) fn has_time_for(&self, seconds: u32) -> bool {
        self.services.clock.moment() + Duration::from_secs(u64::from(seconds) + RECORD_SECONDS) <= self.deadline
    }

    /// Carries out a write, together with others. One that is throttled is tried again by itself, so that no other waits for it.
    pub(super) async fn write(&self, write: Write) -> Recorded {
        let write = Arc::new(write);
        let mut tries = 0;
        loop {
            let tried = self.writes.ask(Arc::clone(&write)).await;
            let Some(Tried { recorded, is_throttled }) = tried else {
                return Recorded::Failed(AwsError::gave_up("dynamodb:BatchExecuteStatement"));
            };
            tries += 1;
            if !is_throttled || tries == TRIES_MAX {
                return recorded;
            }
            back_off(tries).await;
        }
    }

    /// Records a delivery as `after`. A write that was refused is read back: it may be this one, repeated by the AWS client because its answer got lost.
    pub(super) async fn record(&self, after: &Delivery, write: Write) -> Recorded {
        let recorded = self.write(write).await;
        if !matches!(recorded, Recorded::Refused) {
            return recorded;
        }
        let name = (after.endpoint_id, after.event_id);
        match self.services.store.deliveries(&[name]).await {
            Ok(found) if found.get(&name).is_some_and(|stored| stored.delivery.is_same_record(after)) => Recorded::Done,
            Ok(_) => Recorded::Refused,
            Err(error) => Recorded::Failed(error),
        }
    }

    /// Records a result that was refused because somebody asked for a retry while its request was under way: that is still to be made, unless the request got through.
    /// A result of an attempt that is on record already is dropped.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub(super) async fn record_beside_a_retry(
        &self,
        before: &Delivery,
        after: Delivery,
        until: Timestamp,
    ) -> Result<(), AwsError> {
        let name = (before.endpoint_id, before.event_id);
        let found = self.services.store.deliveries(&[name]).await?.remove(&name).map(|stored| stored.delivery);
        let is_beside = |found: &Delivery| {
            let is_same_attempt = found.attempt_count == before.attempt_count && found.status == before.status;
            is_same_attempt && found.next_trigger == Trigger::Manual && before.next_trigger != Trigger::Manual
        };
        let Some(asked) = found.filter(is_beside) else {
            tracing::info!("already on record; this result is dropped");
            return Ok(());
        };
        let now = self.services.clock.now();
        let succeeded = after.status == DeliveryStatus::Succeeded;
        let after = if succeeded { after } else { after.clone().retried(now).unwrap_or(after) };
        let after = Delivery { effects_due: false, ..after };
        match self.record(&after, update_delivery(&asked, &after, until)?).await {
            Recorded::Failed(error) => Err(error),
            Recorded::Done | Recorded::Refused => Ok(()),
        }
    }

    /// Requests a check of an endpoint's backlog, unless this batch has requested one as early, and notes how its endpoint is doing, if that adds to what is noted.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub(super) async fn touch(&self, touch: Touch) -> Result<(), AwsError> {
        let touched = self.touched_of(touch.endpoint_id).await;
        let mut touched = touched.lock().await;
        let now = self.services.clock.now();
        let touch = Touch { at: look_at(touch.at, now), ..touch };
        let adds = |health: Health| touched.health.is_none_or(|noted| health.adds_to(noted));
        if touched.at.is_some_and(|at| at <= touch.at) && !touch.health.is_some_and(adds) {
            return Ok(());
        }
        let token = self.services.store.touch_flow(&touch, now).await?;
        touched.at = Some(touched.at.map_or(touch.at, |at| at.min(touch.at)));
        touched.health = touch.health.or(touched.health);
        if let Some((message, delay)) =
            token.and_then(|token| wakes::message(touch.scope, touch.endpoint_id, token, touch.at, now))
        {
            self.send_wake(message, delay).await;
        }
        Ok(())
    }

    /// Sends a wake, together with others. One that cannot be sent is the sweeper's.
    pub(super) async fn send_wake(&self, message: RetryMessage, delay_seconds: u32) {
        if let Some(Err(error)) = self.wakes.ask((message.clone(), delay_seconds)).await {
            tracing::warn!(%error, ?message, "a wake could not be sent; the sweeper will find it");
        }
    }

    /// Notes that an endpoint is failing or slow, once.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub(super) async fn note_health(
        &self,
        scope: Scope,
        id: EndpointId,
        health: Health,
        failing: Failing,
    ) -> Result<(), AwsError> {
        let touched = self.touched_of(id).await;
        let mut touched = touched.lock().await;
        let ends_failing = failing == Failing::IsOver && !touched.healthy;
        if ends_failing || touched.health.is_none_or(|noted| health.adds_to(noted)) {
            self.services.store.note_health(id, scope, health, failing, self.services.clock.now()).await?;
            touched.health = Some(health);
            touched.healthy |= ends_failing;
        }
        Ok(())
    }

    /// Notes that an endpoint is healthy, once.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub(super) async fn note_healthy(&self, id: EndpointId) -> Result<(), AwsError> {
        let touched = self.touched_of(id).await;
        let mut touched = touched.lock().await;
        if !touched.healthy {
            self.services.store.note_healthy(id).await?;
            touched.healthy = true;
        }
        Ok(())
    }

    async fn touched_of(&self, id: EndpointId) -> Arc<Mutex<Touched>> {
        Arc::clone(self.touched.lock().await.entry(id).or_default())
    }
}
