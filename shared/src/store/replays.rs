//! Bulk replays: what is asked for, how far it has come, and, while it runs, when the sweeper should look at it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Condition, Item, Recorded, Store, Stored, Write, keys, number, text, to_item};
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// Its id.
    pub id: ReplayId,
    /// Whose it is and in which mode.
    pub scope: Scope,
    /// Which endpoint's deliveries.
    pub endpoint_id: EndpointId,
    /// Deliveries of events made at this time or later.
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub since: Timestamp,
    /// Deliveries of events made before this time.
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
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
    #[serde(default)]
    pub page: Vec<EventId>,
    /// The last event that the page was made of; `None` if it is the last page.
    #[serde(default)]
    pub page_end: Option<EventId>,
    /// How many deliveries have been taken up, each once.
    pub queued: u64,
    /// Counts the changes of this record.
    #[serde(default)]
    pub version: u64,
    /// When it was asked for.
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub created_at: Timestamp,
    /// When it got on last.
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub updated_at: Timestamp,
    /// Until when it is kept.
    #[serde(with = "jiff::fmt::serde::timestamp::second::required")]
    pub expires_at: Timestamp,
}

#[derive(Serialize)]
pub(super) struct ReplayItem<'a> {
    #[serde(flatten)]
    pub(super) replay: &'a Replay,
    #[serde(rename = "GSI1PK")]
    pub(super) index_pk: String,
    #[serde(rename = "GSI1SK")]
    pub(super) index_sk: String,
}

impl Stored for Replay {
    const KIND: &'static str = "replay";
}

impl Stored for ReplayItem<'_> {
    const KIND: &'static str = "replay";
}

impl Store {
    /// Keeps a new replay; unless it gets on, the sweeper looks at it.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn create_replay(&self, replay: &Replay) -> Result<(), AwsError> {
        let item = ReplayItem {
            replay,
            index_pk: keys::cleanup_partition_of(&replay.id.to_bytes()),
            index_sk: keys::sweep_sort(plus_seconds(replay.updated_at, STALLED_AFTER_SECONDS)),
        };
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
        let found: Option<Replay> = self.get(&keys::replay(scope, id), true).await?;
        Ok(found.filter(|replay| replay.expires_at > now))
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
        /// What changes while a replay goes on.
        const CHANGING: [&str; 7] = ["state", "position", "page", "page_end", "queued", "version", "updated_at"];
        let after = Replay { version: before.version + 1, updated_at: now, ..after };
        let mut shape: Item =
            serde_dynamo::to_item(&after).map_err(|error| AwsError::unreadable("dynamodb:Put", error))?;
        let mut set: Vec<_> = CHANGING.into_iter().filter_map(|name| Some((name, shape.remove(name)?))).collect();
        let mut remove = Vec::new();
        if after.state == ReplayState::Running {
            set.push((keys::INDEX_SK, text(keys::sweep_sort(plus_seconds(now, STALLED_AFTER_SECONDS)))));
        } else {
            remove = vec![keys::INDEX_PK, keys::INDEX_SK];
        }
        let key = keys::replay(before.scope, before.id);
        let only_if = vec![Condition::Is("version", number(before.version))];
        match self.record(&[Write::Update { key, set, remove, only_if }]).await.pop() {
            Some(Recorded::Done) => Ok(Some(after)),
            Some(Recorded::Failed(error)) => Err(error),
            // Overtaken by somebody else, or written and the answer got lost.
            Some(Recorded::Refused) | None => {
                let found: Option<Replay> = self.get(&keys::replay(before.scope, before.id), true).await?;
                Ok(found.filter(|found| {
                    found.version == after.version && found.updated_at.as_millisecond() == now.as_millisecond()
                }))
            }
        }
    }
}
