//! A delivery: one event on its way to one endpoint, named by the two, with the record of every attempt.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::attempt::{Attempt, AttemptOutcome, Outcome, Trigger};
use super::endpoint::Endpoint;
use super::event::Event;
use super::event_type::EventType;
use super::id::{EndpointId, EventId};
use super::payload::{FieldsHash, PayloadField};
use super::retry::next_attempt_at;
use super::tenant::Scope;

/// The most attempts that a record keeps; with manual retries and replays there can be more, and the oldest give way.
pub const ATTEMPTS_KEPT_MAX: usize = 50;

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum DeliveryStatus {
    /// The first attempt or a retry is due.
    Pending,
    /// The receiver took it.
    Succeeded,
    /// The attempts are used up, or the receiver is gone.
    Failed,
    /// It matched while the endpoint was paused or disabled.
    Skipped,
    /// The endpoint was deleted, paused or disabled before it got through.
    Cancelled,
}

impl DeliveryStatus {
    /// Every status there is.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Succeeded, Self::Failed, Self::Skipped, Self::Cancelled];

    /// The name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }
}

impl std::str::FromStr for DeliveryStatus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| "must be pending, succeeded, failed, skipped or cancelled".to_owned())
    }
}

/// One event on its way to one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The endpoint's id.
    pub endpoint_id: EndpointId,
    /// The event's id.
    pub event_id: EventId,
    /// Whose it is and in which mode.
    pub scope: Scope,
    /// What happened.
    pub event_type: EventType,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// How many attempts there were; more than are kept in `attempts` where the oldest gave way.
    pub attempt_count: u32,
    /// How many attempts of the retry policy were used up in the present round: a replay begins a new one, with the whole schedule again.
    pub counted_attempts: u32,
    /// Names the payload fields that its body was made of at the first attempt; none for the standard body.
    pub payload_fields_hash: Option<FieldsHash>,
    /// Every attempt, oldest first; at most [`ATTEMPTS_KEPT_MAX`].
    pub attempts: Vec<Attempt>,
    /// When the next attempt is due; only while it is pending.
    pub next_attempt_at: Option<Timestamp>,
    /// What the next attempt is made for; only while it is pending.
    pub next_trigger: Trigger,
    /// When the schedule goes on after a manual retry that fails; `None` where it had ended.
    pub resume_at: Option<Timestamp>,
    /// Whether the receiver's `Retry-After` is why it waits for so long.
    pub retry_after: bool,
    /// Whether what follows from its end is still to be done: telling of it, disabling a receiver that is gone.
    pub effects_due: bool,
    /// When the event was matched to the endpoint.
    pub created_at: Timestamp,
    /// When it was recorded last.
    pub updated_at: Timestamp,
}

/// What a delivery's body is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChosenFields<'a> {
    /// These fields; the standard body, if there are none.
    Known(&'a [PayloadField]),
    /// Fields that the endpoint had at the first attempt, and has no more.
    Earlier(&'a FieldsHash),
}

/// Why a pending delivery waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum WaitingFor {
    /// Its retry schedule.
    Schedule,
    /// The time that the receiver asked for by `Retry-After`.
    RetryAfter,
    /// Its endpoint, which hangs or fails.
    EndpointHealth,
}

impl Delivery {
    /// A delivery whose first attempt is due at `now`.
    #[must_use]
    pub fn new(event: &Event, endpoint_id: EndpointId, now: Timestamp) -> Self {
        Self {
            endpoint_id,
            event_id: event.id,
            scope: event.scope,
            event_type: event.event_type.clone(),
            status: DeliveryStatus::Pending,
            attempt_count: 0,
            counted_attempts: 0,
            payload_fields_hash: None,
            attempts: Vec::new(),
            next_attempt_at: Some(now),
            next_trigger: Trigger::Automatic,
            resume_at: None,
            retry_after: false,
            effects_due: false,
            created_at: now,
            updated_at: now,
        }
    }

    /// Whether this is what was written as `other`: the same state after the same attempt, which no two workers make in the same millisecond and for
    /// the same time.
    #[must_use]
    pub fn is_same_record(&self, other: &Self) -> bool {
        let last = |delivery: &Self| {
            let attempt = delivery.attempts.last();
            attempt.map(|attempt| (attempt.at.as_millisecond(), attempt.duration_ms, attempt.outcome))
        };
        let milliseconds = |at: Option<Timestamp>| at.map(Timestamp::as_millisecond);
        self.status == other.status
            && self.attempt_count == other.attempt_count
            && milliseconds(self.next_attempt_at) == milliseconds(other.next_attempt_at)
            && last(self) == last(other)
    }

    /// The same, ended without an attempt: `skipped` for an endpoint that gets no events now, `cancelled` for one that is no more, `failed` for one
    /// whose event is gone.
    #[must_use]
    pub fn ended(mut self, status: DeliveryStatus, now: Timestamp) -> Self {
        self.status = status;
        self.updated_at = now;
        self.no_longer_due()
    }

    /// The same, to be tried at once because somebody asks for it: one attempt beside the schedule, which goes on where it was if that fails. `None` if it
    /// is to be tried so already.
    #[must_use]
    pub fn retried(mut self, now: Timestamp) -> Option<Self> {
        let is_pending = self.status == DeliveryStatus::Pending;
        if is_pending && self.next_trigger == Trigger::Manual {
            return None;
        }
        self.resume_at = self.next_attempt_at.filter(|_| is_pending);
        self.due(now, Trigger::Manual, now);
        Some(self)
    }

    /// The same, due again at `due` with its whole schedule, though it had ended.
    #[must_use]
    pub fn replayed(mut self, due: Timestamp, now: Timestamp) -> Self {
        self.counted_attempts = 0;
        self.resume_at = None;
        self.due(due, Trigger::Replay, now);
        self
    }

    fn due(&mut self, at: Timestamp, trigger: Trigger, now: Timestamp) {
        self.status = DeliveryStatus::Pending;
        self.next_attempt_at = Some(at);
        self.next_trigger = trigger;
        self.retry_after = false;
        self.updated_at = now;
    }

    fn no_longer_due(mut self) -> Self {
        self.next_attempt_at = None;
        self.next_trigger = Trigger::Automatic;
        self.resume_at = None;
        self.retry_after = false;
        self
    }

    /// The place in its endpoint's backlog: what somebody asked for goes first.
    #[must_use]
    pub fn backlog_order(&self) -> Option<Timestamp> {
        let due = self.next_attempt_at.filter(|_| self.status == DeliveryStatus::Pending)?;
        Some(if self.next_trigger == Trigger::Manual { Timestamp::UNIX_EPOCH } else { due })
    }

    /// Why it waits at `now`, as far as the delivery itself tells; `endpoint_unhealthy` is what its endpoint adds. `None` if it is about to be attempted.
    #[must_use]
    pub fn waiting_for(&self, endpoint_unhealthy: bool, now: Timestamp) -> Option<WaitingFor> {
        let due = self.next_attempt_at.filter(|_| self.status == DeliveryStatus::Pending)?;
        match (due > now, self.retry_after) {
            (true, true) => Some(WaitingFor::RetryAfter),
            (true, false) => Some(WaitingFor::Schedule),
            (false, _) => endpoint_unhealthy.then_some(WaitingFor::EndpointHealth),
        }
    }

    /// What the body is made of: what it was made of at the first attempt, or what the endpoint says now if there was none.
    #[must_use]
    pub fn chosen_fields<'a>(&'a self, endpoint: &'a Endpoint) -> ChosenFields<'a> {
        let current = &endpoint.settings.payload_fields;
        match &self.payload_fields_hash {
            _ if self.attempt_count == 0 => ChosenFields::Known(current),
            None => ChosenFields::Known(&[]),
            hash if *hash == FieldsHash::of(current) => ChosenFields::Known(current),
            Some(hash) => ChosenFields::Earlier(hash),
        }
    }

    /// The delivery after an attempt at this endpoint that ended at `now`; `schedule_seconds` are the waits of endpoints that have none of their
    /// own, and `jitter` lies in 0 to 1.
    #[must_use]
    pub fn after_attempt(
        mut self,
        made: &AttemptOutcome,
        endpoint: &Endpoint,
        schedule_seconds: &[u32],
        now: Timestamp,
        jitter: f64,
    ) -> Self {
        if self.attempt_count == 0 {
            self.payload_fields_hash = FieldsHash::of(&endpoint.settings.payload_fields);
        }
        self.attempt_count += 1;
        self.counted_attempts += u32::from(made.attempt.is_counted());
        if self.attempts.len() >= ATTEMPTS_KEPT_MAX {
            self.attempts.remove(0);
        }
        self.attempts.push(made.attempt.clone());
        self.updated_at = now;
        if made.attempt.outcome == Outcome::Succeeded {
            self.status = DeliveryStatus::Succeeded;
            return self.no_longer_due();
        }
        let next = if made.is_final {
            None
        } else if made.attempt.is_counted() {
            let policy = &endpoint.settings.retry;
            next_attempt_at(policy, schedule_seconds, self.counted_attempts, made.hint, now, jitter)
        } else if made.attempt.is_manual() {
            self.resume_at
        } else {
            // It was given up early, and is made again with all its time.
            Some(now)
        };
        let resumed = self.no_longer_due();
        Self {
            status: if next.is_some() { DeliveryStatus::Pending } else { DeliveryStatus::Failed },
            next_attempt_at: next,
            retry_after: next.is_some() && made.hint.retry_after_seconds.is_some() && made.attempt.is_counted(),
            ..resumed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::attempt::{Failure, Response, SendResult, classify};
    use crate::domain::event::NewEvent;
    use crate::domain::id::TenantId;
    use crate::domain::retry::SCHEDULE_SECONDS_DEFAULT;
    use crate::domain::tenant::Mode;

    const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

    fn delivery() -> Delivery {
        let scope = Scope { tenant_id: TenantId::from_parts(NOW, [0; 10]), mode: Mode::Live };
        let event = NewEvent::from_body(br#"{"type":"a","data":{}}"#).unwrap();
        Delivery::new(
            &event.accepted(EventId::from_parts(NOW, [0; 10]), scope, NOW),
            EndpointId::from_parts(NOW, [0; 10]),
            NOW,
        )
    }

    fn attempted(delivery: Delivery, sent: Result<u16, Outcome>, early: bool) -> Delivery {
        let result = match sent {
            Ok(status) => Ok(Response { status, retry_after: None, body: String::new() }),
            Err(outcome) => Err(Failure { outcome, message: "no answer".to_owned() }),
        };
        let made = classify(SendResult { result, duration_ms: 3 }, delivery.next_trigger, NOW, NOW);
        let made = if early { made.given_up_early(5) } else { made };
        let mut endpoint = Endpoint::sample(0);
        endpoint.settings.retry.max_attempts = 3;
        delivery.after_attempt(&made, &endpoint, SCHEDULE_SECONDS_DEFAULT, NOW, 0.0)
    }

    fn answered(delivery: Delivery, status: u16) -> Delivery {
        attempted(delivery, Ok(status), false)
    }

    #[test]
    fn success_ends_it() {
        let delivered = answered(answered(delivery(), 500), 204);
        assert_eq!(delivered.status, DeliveryStatus::Succeeded);
        assert_eq!((delivered.attempt_count, delivered.attempts.len(), delivered.next_attempt_at), (2, 2, None));
    }

    #[test]
    fn failure_keeps_it_pending_until_the_attempts_are_used_up() {
        let once = answered(delivery(), 500);
        assert_eq!(once.status, DeliveryStatus::Pending);
        assert!(once.next_attempt_at.is_some_and(|next| next > NOW));
        let thrice = answered(answered(once, 301), 404);
        assert_eq!((thrice.status, thrice.next_attempt_at), (DeliveryStatus::Failed, None));
    }

    #[test]
    fn gone_receiver_gets_no_further_attempt() {
        assert_eq!(answered(delivery(), 410).status, DeliveryStatus::Failed);
    }

    #[test]
    fn manual_retry_of_a_failed_delivery_is_one_attempt_and_a_replay_a_whole_schedule() {
        let failed = answered(answered(answered(delivery(), 500), 500), 500);
        let retried = answered(failed.clone().retried(NOW).unwrap(), 500);
        assert_eq!((retried.status, retried.attempt_count), (DeliveryStatus::Failed, 4));
        let replayed = answered(failed.replayed(NOW, NOW), 500);
        assert_eq!((replayed.status, replayed.attempt_count), (DeliveryStatus::Pending, 4));
        let again = answered(answered(replayed, 500), 500);
        assert_eq!((again.status, again.attempt_count), (DeliveryStatus::Failed, 6));
    }

    #[test]
    fn manual_retries_use_up_none_of_the_schedule_and_leave_its_time_as_it_was() {
        let waiting = answered(delivery(), 500);
        let due = waiting.next_attempt_at;
        let mut retried = waiting;
        for _ in 0..10 {
            retried = retried.retried(NOW).unwrap();
            assert_eq!(retried.clone().retried(NOW), None);
            assert_eq!((retried.next_attempt_at, retried.backlog_order()), (Some(NOW), Some(Timestamp::UNIX_EPOCH)));
            retried = answered(retried, 500);
            assert_eq!((retried.status, retried.next_attempt_at), (DeliveryStatus::Pending, due));
        }
        let failed = answered(answered(retried, 500), 500);
        assert_eq!((failed.status, failed.attempt_count), (DeliveryStatus::Failed, 13));
    }

    #[test]
    fn attempt_that_was_given_up_early_is_made_again_at_once_and_counts_for_nothing() {
        let given_up = attempted(delivery(), Err(Outcome::Timeout), true);
        assert_eq!((given_up.status, given_up.next_attempt_at), (DeliveryStatus::Pending, Some(NOW)));
        let failed = answered(answered(answered(given_up, 500), 500), 500);
        assert_eq!((failed.status, failed.attempt_count, failed.counted_attempts), (DeliveryStatus::Failed, 4, 3));
    }

    #[test]
    fn waiting_delivery_says_what_it_waits_for() {
        let fresh = delivery();
        assert_eq!(fresh.waiting_for(false, NOW), None);
        assert_eq!(fresh.waiting_for(true, NOW), Some(WaitingFor::EndpointHealth));
        let mut waiting = answered(fresh, 500);
        assert_eq!(waiting.waiting_for(true, NOW), Some(WaitingFor::Schedule));
        waiting.retry_after = true;
        assert_eq!(waiting.waiting_for(false, NOW), Some(WaitingFor::RetryAfter));
        assert_eq!(answered(waiting, 200).waiting_for(true, NOW), None);
    }

    #[test]
    fn record_is_bounded_and_still_counts_every_attempt() {
        let mut delivery = delivery();
        for _ in 0..ATTEMPTS_KEPT_MAX + 5 {
            delivery = answered(delivery, 500);
        }
        assert_eq!(delivery.attempts.len(), ATTEMPTS_KEPT_MAX);
        assert_eq!(delivery.attempt_count as usize, ATTEMPTS_KEPT_MAX + 5);
    }
}
