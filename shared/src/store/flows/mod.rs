//! Flows: one item per endpoint that has something waiting or is not healthy. A healthy endpoint with nothing waiting has none.
//!
//! A flow says how its endpoint is doing, when its backlog is checked next (`next_at`), which wake is the valid one (`token`), and which drain has it until
//! when (`lease`). It lives in a partition of its own. Its place in the sweeper's index moves in whole minutes.

mod changes;
mod expressions;

use std::collections::{BTreeSet, HashMap, HashSet};

use jiff::Timestamp;
use serde::Deserialize;

pub use changes::Failing;

use super::batch::{Condition, Write, named, names};
use super::items::TenantItem;
use super::keys::{self, INDEX_PK, INDEX_SK, Key};
use super::{Item, Store, Stored, from_item, number, text};
use crate::aws_error::AwsError;
use crate::domain::backlog::{Looked, sweep_at};
use crate::domain::health::Health;
use crate::domain::id::{EndpointId, TenantId};
use crate::domain::tenant::Scope;
use crate::random;

/// How many flows the sweeper asks of one index partition at once.
const FLOWS_PER_PAGE: i32 = 500;

/// An endpoint's flow.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Flow {
    /// Whose backlog it is.
    pub endpoint_id: EndpointId,
    /// Whose endpoint, and in which mode.
    #[serde(flatten)]
    pub scope: Scope,
    /// How the endpoint is doing.
    #[serde(flatten)]
    pub health: Health,
    /// When the backlog is checked next; `None` while a drain has it, and when nothing waits.
    #[serde(default, with = "jiff::fmt::serde::timestamp::millisecond::optional")]
    pub next_at: Option<Timestamp>,
    /// What the valid wake carries.
    #[serde(default)]
    pub token: Option<String>,
    /// Which drain has it.
    #[serde(default)]
    pub lease: Option<String>,
    /// Until when.
    #[serde(default, with = "jiff::fmt::serde::timestamp::millisecond::optional")]
    pub lease_until: Option<Timestamp>,
    /// When somebody requested a check last.
    #[serde(default, with = "jiff::fmt::serde::timestamp::millisecond::optional")]
    pub touched_at: Option<Timestamp>,
    /// How many wakes have got lost in a row.
    #[serde(default)]
    pub wakes_lost: u32,
    /// When the sweeper should check it; `None` where it need not.
    #[serde(default, rename = "GSI1SK")]
    pub sweep_at: Option<Timestamp>,
}

impl Stored for Flow {
    const KIND: &'static str = "flow";
}

impl Flow {
    /// Whether a drain has it at `now`.
    #[must_use]
    pub fn is_leased(&self, now: Timestamp) -> bool {
        self.lease_until.is_some_and(|until| until > now)
    }

    /// What the sweeper needs to know of it.
    #[must_use]
    pub fn looked(&self) -> Looked {
        Looked { next_at: self.next_at, lease_until: self.lease_until, wakes_lost: self.wakes_lost }
    }
}

/// A check of a backlog that is requested.
#[derive(Clone, Copy, Debug)]
pub struct Touch {
    /// The endpoint's id.
    pub endpoint_id: EndpointId,
    /// Its tenant and mode.
    pub scope: Scope,
    /// When it was.
    pub at: Timestamp,
    /// How the endpoint is doing; `None` where nothing is to be noted.
    pub health: Option<Health>,
}

/// A drain's hold on a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What tells it from others.
    pub id: String,
    /// Until when it holds.
    pub until: Timestamp,
}

/// What became of a lease that was to be ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Released {
    /// The flow is as the drain wanted it. The token is that of the wake to be sent, where one is.
    Done {
        /// For the wake at the time that the drain named; `None` where nothing waits.
        token: Option<String>,
    },
    /// Somebody had requested a check meanwhile, earlier than the drain would have one. Their wake found the lease, if it came already.
    Touched {
        /// When they want it.
        at: Timestamp,
        /// For a wake that takes the place of theirs.
        token: String,
    },
    /// The lease was not the drain's any more.
    Lost,
}

impl Store {
    /// Reads tenants and flows together, one call per hundred, as they are now.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn tenants_and_flows(
        &self,
        tenants: &[TenantId],
        flows: &[EndpointId],
    ) -> Result<(HashMap<TenantId, TenantItem>, HashMap<EndpointId, Flow>), AwsError> {
        let mut items = self.get_many(&keys_of(tenants, flows), true).await?;
        let found =
            take_tenants(&mut items, tenants).map(|(id, tenant)| Ok((id, tenant?))).collect::<Result<_, _>>()?;
        Ok((found, read_flows(items)))
    }

    /// The same without waiting for what is throttled: that is left out, and so is a tenant that cannot be read. Also gives the endpoints whose flows have been
    /// read, there or not.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn tenants_and_flows_at_once(
        &self,
        tenants: &[TenantId],
        flows: &[EndpointId],
    ) -> Result<(HashMap<TenantId, TenantItem>, HashMap<EndpointId, Flow>, BTreeSet<EndpointId>), AwsError> {
        let (mut items, unread) = self.get_at_once(&keys_of(tenants, flows), true).await?;
        let asked = flows.iter().copied().filter(|id| !unread.contains(&keys::flow(*id))).collect();
        let found = take_tenants(&mut items, tenants).filter_map(|(id, tenant)| Some((id, tenant.ok()?))).collect();
        Ok((found, read_flows(items), asked))
    }

    /// Reads the flows that there are of these endpoints.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn flows(&self, ids: &[EndpointId]) -> Result<HashMap<EndpointId, Flow>, AwsError> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        self.tenants_and_flows(&[], ids).await.map(|(_, flows)| flows)
    }

    /// Whether this drain has the flow.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn has_lease(&self, id: EndpointId, lease: &Lease) -> Result<bool, AwsError> {
        let flow: Option<Flow> = self.get(&keys::flow(id), true).await?;
        Ok(flow.is_some_and(|flow| flow.lease.as_ref() == Some(&lease.id)))
    }

    /// Of these wakes, by endpoint and token, those that are valid.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn valid_wakes(&self, wakes: &[(EndpointId, String)]) -> Result<HashSet<EndpointId>, AwsError> {
        let ids: Vec<_> = wakes.iter().map(|(id, _)| *id).collect();
        let flows = self.flows(&ids).await?;
        let is_valid =
            |id: &EndpointId, token: &String| flows.get(id).is_some_and(|flow| flow.token.as_ref() == Some(token));
        Ok(wakes.iter().filter(|(id, token)| is_valid(id, token)).map(|(id, _)| *id).collect())
    }

    /// The endpoints whose flows the sweeper should check by `until`, from one index partition, from behind `after`; and where the rest begins.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn flows_to_sweep(
        &self,
        shard: u8,
        until: Timestamp,
        after: Option<Item>,
    ) -> Result<(Vec<EndpointId>, Option<Item>), AwsError> {
        let (items, next) = self.query_sweep(keys::sweep_partition(shard), until, FLOWS_PER_PAGE, after).await?;
        let ids = items.iter().filter_map(|item| item.get(keys::PK)?.as_s().ok()?.strip_prefix("FLOW#")?.parse().ok());
        Ok((ids.collect(), next))
    }
}

fn keys_of(tenants: &[TenantId], flows: &[EndpointId]) -> Vec<Key> {
    tenants.iter().map(|id| keys::tenant(*id)).chain(flows.iter().map(|id| keys::flow(*id))).collect()
}

/// Takes the tenants' items out.
fn take_tenants<'a>(
    items: &'a mut HashMap<Key, Item>,
    tenants: &'a [TenantId],
) -> impl Iterator<Item = (TenantId, Result<TenantItem, AwsError>)> + 'a {
    tenants.iter().filter_map(|id| Some((*id, from_item(items.remove(&keys::tenant(*id))?))))
}

fn read_flows(items: HashMap<Key, Item>) -> HashMap<EndpointId, Flow> {
    let read = |(key, item): (Key, Item)| match from_item::<Flow>(item) {
        Ok(flow) => Some((flow.endpoint_id, flow)),
        // Its endpoint alone is as if it had none: new events go to it at once, and what waits waits until this is mended.
        Err(error) => {
            tracing::error!(%error, key = key.pk, "a flow cannot be read");
            None
        }
    };
    items.into_iter().filter_map(read).collect()
}

/// The write by which one drain, and no other, takes a flow: only with the valid wake, and only if no other drain has it.
#[must_use]
pub fn lease_flow(flow: &Flow, token: &str, lease: &Lease, now: Timestamp) -> Write {
    Write::Update {
        key: keys::flow(flow.endpoint_id),
        set: named([("lease", text(&lease.id)), ("lease_until", number(lease.until.as_millisecond()))]),
        remove: names(["next_at"]),
        only_if: vec![
            Condition::Is("token", text(token)),
            Condition::MissingOrAtMost("lease_until", number(now.as_millisecond())),
        ],
    }
}

/// The write by which one sweeper, and no other, takes over the wake of a flow: sets another token, and when to look again.
#[must_use]
pub fn rewake_flow(flow: &Flow, next_at: Timestamp, token: &str, wakes_lost: u32, now: Timestamp) -> Write {
    let seen = match &flow.token {
        Some(token) => Condition::Is("token", text(token)),
        None => Condition::Missing("token"),
    };
    Write::Update {
        key: keys::flow(flow.endpoint_id),
        set: named([
            ("next_at", number(next_at.as_millisecond())),
            ("token", text(token)),
            ("wakes_lost", number(wakes_lost)),
            (INDEX_PK, text(keys::sweep_partition_of(flow.endpoint_id))),
            (INDEX_SK, text(keys::sweep_sort(sweep_at(next_at, now, wakes_lost)))),
        ]),
        remove: names(["lease", "lease_until"]),
        only_if: vec![seen, Condition::MissingOrAtMost("lease_until", number(now.as_millisecond()))],
    }
}

/// What the one valid wake of a flow carries.
#[must_use]
pub fn new_token() -> String {
    hex::encode(random::bytes::<8>())
}
