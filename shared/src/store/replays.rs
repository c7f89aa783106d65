//! Bulk replays: what is asked for, how far it has come, and, while it runs, when the sweeper should check it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::items::ReplayItem;
use super::{Condition, Recorded, Store, Write, changes, keys, number, to_item};
use crate::aws_error::AwsError;
use crate::domain::delivery::DeliveryStatus;
use crate::domain::event_type::EventType;
use crate::domain::id::{EndpointId, EventId, ReplayId};
use crate::domain::tenant::Scope;
use crate::domain::time::plus_seconds;

/// A running replay that has not got on for so long, in seconds, has died: twice as long as a batch can last.
const STALLED_AFTER_SECONDS: i64 = 120;

/// Whether a replay still goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum ReplayState {
    /// It does.
    Running,
    /// All that matched has been queued.
    Completed,
    /// Its endpoint was deleted, paused or disabled.
    Cancelled,
}

/// A bulk replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// Its id.
    pub id: ReplayId,
    /// Whose it is and in which mode.
    pub scope: Scope,
    /// Which endpoint's deliveries.
    pub endpoint_id: EndpointId,
    /// Deliveries of events made at this time or later.
    pub since: Timestamp,
    /// Deliveries of events made before this time.
    pub until: Timestamp,
    /// Deliveries in one of these states.
    pub statuses: Vec<DeliveryStatus>,
    /// Deliveries of these event types; all, if there are none.
    pub event_types: Vec<EventType>,
    /// Whether it still goes on.
    pub state: ReplayState,
    /// The last event that is done with.
    pub position: Option<EventId>,
    /// The page that is being taken up: events whose deliveries are to be marked. After a crash it says what may be marked already.
    pub page: Vec<EventId>,
    /// The last event that the page was made of; `None` if it is the last page.
    pub page_end: Option<EventId>,
    /// How many deliveries have been taken up, each once.
    pub queued: u64,
    /// Counts the changes of this record.
    pub version: u64,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it got on last.
    pub updated_at: Timestamp,
    /// Until when it is kept.
    pub expires_at: Timestamp,
}

impl Store {
    /// Keeps a new replay; unless it gets on, the sweeper checks it.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn create_replay(&self, replay: &Replay) -> Result<(), AwsError> {
        let item = ReplayItem::new(replay.clone(), stalled_at(replay));
        let write = Write::Insert(to_item(&keys::replay(replay.scope, replay.id), &item)?);
        match self.record(&[write]).await.pop() {
            Some(Recorded::Failed(error)) => Err(error),
            Some(Recorded::Done | Recorded::Refused) | None => Ok(()),
        }
    }

    /// Reads a replay.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn replay(&self, scope: Scope, id: ReplayId, now: Timestamp) -> Result<Option<Replay>, AwsError> {
        let found: Option<ReplayItem> = self.get(&keys::replay(scope, id), true).await?;
        Ok(found.map(Replay::from).filter(|replay| replay.expires_at > now))
    }

    /// Records how far a replay has come, over `before` and nothing else: the replay as it is then, or `None` if somebody else has got on with it.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn advance_replay(
        &self,
        before: &Replay,
        after: Replay,
        now: Timestamp,
    ) -> Result<Option<Replay>, AwsError> {
        let after = Replay { version: before.version + 1, updated_at: now, ..after };
        let (set, remove) = changes(&ReplayItem::new(after.clone(), stalled_at(&after)).progress)?;
        let key = keys::replay(before.scope, before.id);
        let only_if = vec![Condition::Is("version", number(before.version))];
        match self.record(&[Write::Update { key, set, remove, only_if }]).await.pop() {
            Some(Recorded::Done) => Ok(Some(after)),
            Some(Recorded::Failed(error)) => Err(error),
            // Overtaken by somebody else, or written and the answer got lost.
            Some(Recorded::Refused) | None => {
                let found: Option<ReplayItem> = self.get(&keys::replay(before.scope, before.id), true).await?;
                Ok(found.map(Replay::from).filter(|found| {
                    found.version == after.version && found.updated_at.as_millisecond() == now.as_millisecond()
                }))
            }
        }
    }
}

/// When the sweeper checks a replay that has not got on; `None` where it has ended.
fn stalled_at(replay: &Replay) -> Option<Timestamp> {
    (replay.state == ReplayState::Running).then(|| plus_seconds(replay.updated_at, STALLED_AFTER_SECONDS))
}
