//! Bulk replays: what is asked for, how far it has come, and, while it runs, when the sweeper should look at it.

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Recorded, Store, Write, keys, number, text, to_item};
use crate::aws_error::AwsError;
use crate::domain::delivery::DeliveryStatus;
use crate::domain::event_type::EventType;
use crate::domain::id::{EndpointId, EventId, ReplayId};
use crate::domain::tenant::Scope;
use crate::domain::time::plus_seconds;

/// A running replay that has not got on for so long, in seconds, has lost its message.
const STALLED_AFTER_SECONDS: i64 = 600;

/// Whether a replay still goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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
    /// The last event examined.
    pub position: Option<EventId>,
    /// How many deliveries have been queued.
    pub queued: u64,
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
struct ReplayItem<'a> {
    #[serde(flatten)]
    replay: &'a Replay,
    #[serde(rename = "GSI1PK")]
    index_pk: String,
    #[serde(rename = "GSI1SK")]
    index_sk: String,
}

impl Store {
    /// Keeps a new replay; until it gets on, the sweeper looks at it at `look_at`.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn create_replay(&self, replay: &Replay, look_at: Timestamp) -> Result<(), AwsError> {
        let item = ReplayItem {
            replay,
            index_pk: keys::due_partition_of(&replay.id.to_bytes()),
            index_sk: keys::due_sort(look_at),
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

    /// Records how far a replay has come, over `before` and nothing else. Whether it was so; otherwise somebody else has got on with it.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn advance_replay(&self, before: &Replay, after: &Replay, now: Timestamp) -> Result<bool, AwsError> {
        let state = serde_dynamo::to_attribute_value(after.state)
            .map_err(|error| AwsError::unreadable("dynamodb:Put", error))?;
        let mut set = vec![
            ("state", state),
            ("queued", number(after.queued)),
            ("updated_at", number(now.as_millisecond())),
            ("position", after.position.map_or(AttributeValue::Null(true), |id| text(id.to_string()))),
        ];
        let mut remove = Vec::new();
        if after.state == ReplayState::Running {
            set.push((keys::INDEX_SK, text(keys::due_sort(plus_seconds(now, STALLED_AFTER_SECONDS)))));
        } else {
            remove = vec![keys::INDEX_PK, keys::INDEX_SK];
        }
        let write = Write::Update {
            key: keys::replay(before.scope, before.id),
            set,
            remove,
            only_if: vec![
                ("updated_at", number(before.updated_at.as_millisecond())),
                ("queued", number(before.queued)),
            ],
        };
        match self.record(&[write]).await.pop() {
            Some(Recorded::Done) => Ok(true),
            Some(Recorded::Failed(error)) => Err(error),
            Some(Recorded::Refused) | None => Ok(false),
        }
    }
}
