//! A delivery: one event on its way to one endpoint, named by the two, with the record of every attempt.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::attempt::{Attempt, Outcome, Trigger, Verdict};
use super::endpoint::Endpoint;
use super::event::Event;
use super::event_type::EventType;
use super::id::{EndpointId, EventId};
use super::payload::PayloadField;
use super::retry::next_attempt_at;
use super::tenant::Scope;

/// The most attempts that a record keeps; with manual retries and replays there can be more, and the oldest give way.
pub const ATTEMPTS_KEPT_MAX: usize = 50;

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// To whom.
    pub endpoint_id: EndpointId,
    /// What.
    pub event_id: EventId,
    /// Whose it is and in which mode.
    #[serde(flatten)]
    pub scope: Scope,
    /// What happened.
    pub event_type: EventType,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// How many attempts there were; more than are kept in `attempts` where the oldest gave way.
    pub attempt_count: u32,
    /// How many attempts there were before the present round: a replay begins a new one, with the whole schedule again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempts_before: u32,
    /// The payload fields that the first attempt was made with: every later one sends the same bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub payload_fields: Vec<PayloadField>,
    /// Every attempt, oldest first; at most [`ATTEMPTS_KEPT_MAX`].
    pub attempts: Vec<Attempt>,
    /// When the next attempt is due; only while it is pending.
    #[serde(
        default,
        with = "jiff::fmt::serde::timestamp::millisecond::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub next_attempt_at: Option<Timestamp>,
    /// When the event was matched to the endpoint.
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub created_at: Timestamp,
    /// When it was recorded last.
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub updated_at: Timestamp,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
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
            attempts_before: 0,
            payload_fields: Vec::new(),
            attempts: Vec::new(),
            next_attempt_at: Some(now),
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

    /// The same, ended without an attempt: `skipped` for an endpoint that gets no events now, `cancelled` for one that is no more.
    #[must_use]
    pub fn ended(mut self, status: DeliveryStatus, now: Timestamp) -> Self {
        self.status = status;
        self.next_attempt_at = None;
        self.updated_at = now;
        self
    }

    /// The same, due again at `now`, though it had ended. A replay begins the schedule anew; a manual retry goes on where it was, so that one more
    /// attempt is all that a delivery with its attempts used up gets.
    #[must_use]
    pub fn reopened(mut self, trigger: Trigger, now: Timestamp) -> Self {
        if trigger == Trigger::Replay {
            self.attempts_before = self.attempt_count;
        }
        self.status = DeliveryStatus::Pending;
        self.next_attempt_at = Some(now);
        self.updated_at = now;
        self
    }

    /// What the body is made of: what it was made of at the first attempt, or what the endpoint says now if there was none.
    #[must_use]
    pub fn payload_fields<'a>(&'a self, endpoint: &'a Endpoint) -> &'a [PayloadField] {
        if self.attempt_count == 0 { &endpoint.settings.payload_fields } else { &self.payload_fields }
    }

    /// The delivery after an attempt at this endpoint that ended at `now`; `schedule_seconds` are the waits of endpoints that have none of their
    /// own, and `jitter` lies in 0 to 1.
    #[must_use]
    pub fn after_attempt(
        mut self,
        verdict: &Verdict,
        endpoint: &Endpoint,
        schedule_seconds: &[u32],
        now: Timestamp,
        jitter: f64,
    ) -> Self {
        self.payload_fields = self.payload_fields(endpoint).to_vec();
        self.attempt_count += 1;
        if self.attempts.len() >= ATTEMPTS_KEPT_MAX {
            self.attempts.remove(0);
        }
        self.attempts.push(verdict.attempt.clone());
        self.updated_at = now;
        self.next_attempt_at = None;
        if verdict.attempt.outcome == Outcome::Succeeded {
            self.status = DeliveryStatus::Succeeded;
            return self;
        }
        let next = if verdict.gone {
            None
        } else {
            next_attempt_at(
                &endpoint.settings.retry,
                schedule_seconds,
                self.attempt_count - self.attempts_before,
                verdict.hint,
                now,
                jitter,
            )
        };
        self.status = if next.is_some() { DeliveryStatus::Pending } else { DeliveryStatus::Failed };
        self.next_attempt_at = next;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::attempt::{Answer, Response, judge};
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

    fn answered(delivery: Delivery, status: u16) -> Delivery {
        let response = Response { status, retry_after: None, body: String::new() };
        let verdict = judge(Answer { result: Ok(response), duration_ms: 3 }, Trigger::Automatic, NOW, NOW);
        let mut endpoint = Endpoint::sample(0);
        endpoint.settings.retry.max_attempts = 3;
        delivery.after_attempt(&verdict, &endpoint, SCHEDULE_SECONDS_DEFAULT, NOW, 0.0)
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
        let retried = answered(failed.clone().reopened(Trigger::Manual, NOW), 500);
        assert_eq!((retried.status, retried.attempt_count), (DeliveryStatus::Failed, 4));
        let replayed = answered(failed.reopened(Trigger::Replay, NOW), 500);
        assert_eq!((replayed.status, replayed.attempt_count), (DeliveryStatus::Pending, 4));
        let again = answered(answered(replayed, 500), 500);
        assert_eq!((again.status, again.attempt_count), (DeliveryStatus::Failed, 6));
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
