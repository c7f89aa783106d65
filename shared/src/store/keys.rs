//! The key design: every key in the table is made here and nowhere else.
//!
//! | item | PK | SK |
//! | --- | --- | --- |
//! | tenant, with its counters | `TENANT#ten` | `META` |
//! | API key | `TENANT#ten` | `KEY#sha256` |
//! | token of a portal session | `TENANT#ten` | `SESSION#sha256` |
//! | endpoint | `TENANT#ten#mode` | `ENDPOINT#ep` |
//! | an endpoint's flow | `FLOW#ep` | `META` |
//! | payload fields that an endpoint has or had | `FIELDS#ep` | sha256 |
//! | uid | `TENANT#ten#mode` | `UID#uid` |
//! | event | `EVENTS#ten#mode#shard` | `evt` |
//! | delivery | `DELIVERIES#ep#shard` | `evt` |
//! | idempotency | `IDEMPOTENCY#ten#mode#sha256` | `META` |
//! | saved response to a request with an idempotency key | `RESPONSE#owner#sha256` | `META` |
//! | entry of the list of tenants | `TENANTS` | `ten` |
//! | event type | `TENANT#ten` | `TYPE#name` |
//! | bulk replay | `TENANT#ten#mode` | `REPLAY#rpl` |
//! | rate | `RATE#ten#class` | minute |
//! | what is to be cleaned up | `CLEANUP#id` | `META` or `PREVIOUS` |
//!
//! The sparse index GSI1 holds what needs attention and nothing else, and of that only the keys:
//!
//! | partition | sorted by | holds |
//! | --- | --- | --- |
//! | `BACKLOG#ep#shard` | due time and event id | deliveries that wait for the endpoint |
//! | `FAILED#ep`, `SKIPPED#ep` | event id | deliveries that failed or were skipped |
//! | `SWEEP#shard` | when the sweeper should look | flows |
//! | `CLEANUP#shard` | when the sweeper should look | bulk replays that run, and notes of what is to be cleaned up |
//!
//! A delivery that succeeds at once never enters it. What belongs to one endpoint is in partitions of its own; what all share is one entry per endpoint in
//! trouble, moved once a minute at the most, and spread over many partitions by a hash of its id.
//!
//! A partition takes 1,000 writes a second. Events and deliveries are spread over shards by a hash of the event id, so that one tenant or one
//! endpoint can exceed that; because shards share the order of their sort keys, readers merge them and a page's cursor is one sort key.

use std::fmt::Display;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::domain::api_key::KeyHash;
use crate::domain::id::{EndpointId, EventId, ReplayId, TenantId};
use crate::domain::payload::FieldsHash;
use crate::domain::tenant::Scope;
use crate::domain::time;

/// The partition key's attribute.
pub const PK: &str = "PK";
/// The sort key's attribute.
pub const SK: &str = "SK";
/// The sparse index.
pub const INDEX: &str = "GSI1";
/// The sparse index's partition key.
pub const INDEX_PK: &str = "GSI1PK";
/// The sparse index's sort key.
pub const INDEX_SK: &str = "GSI1SK";
/// The attribute that DynamoDB's TTL reads, in seconds of the epoch.
pub const TTL: &str = "expires_at";

/// How many partitions one tenant's events are spread over.
pub const EVENT_SHARDS: u8 = 4;
/// How many partitions one endpoint's deliveries are spread over.
pub const DELIVERY_SHARDS: u8 = 2;
/// How many index partitions one endpoint's backlog is spread over: as many as its deliveries, so that neither is the narrower.
pub const BACKLOG_SHARDS: u8 = DELIVERY_SHARDS;
/// How many index partitions the sweeper's flows are spread over: each takes 1,000 changes a second, and a flow makes one a minute at the most.
pub const SWEEP_SHARDS: u8 = 16;
/// How many index partitions what is to be cleaned up is spread over.
pub const CLEANUP_SHARDS: u8 = 4;

/// What all endpoints' sort keys begin with.
pub const ENDPOINT_PREFIX: &str = "ENDPOINT#";
/// What all API keys' sort keys begin with.
pub const API_KEY_PREFIX: &str = "KEY#";
/// What the sort keys of all portal sessions begin with.
pub const PORTAL_SESSION_PREFIX: &str = "SESSION#";
/// What all event types' sort keys begin with.
pub const EVENT_TYPE_PREFIX: &str = "TYPE#";
/// The partition of the list of tenants.
pub const TENANTS_PARTITION: &str = "TENANTS";

const META: &str = "META";

/// A primary key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The partition.
    pub pk: String,
    /// The item in it.
    pub sk: String,
}

/// A tenant, which also is the head of its endpoint list: counters and version.
#[must_use]
pub fn tenant(id: TenantId) -> Key {
    Key { pk: tenant_partition(id), sk: META.to_owned() }
}

/// The partition of a tenant and its API keys.
#[must_use]
pub fn tenant_partition(id: TenantId) -> String {
    format!("TENANT#{id}")
}

/// A tenant's data key.
#[must_use]
pub fn data_key(tenant_id: TenantId) -> Key {
    Key { pk: tenant_partition(tenant_id), sk: "DATAKEY".to_owned() }
}

/// How far secrets are converted to the form that is configured.
#[must_use]
pub fn conversion() -> Key {
    Key { pk: "CONVERSION".to_owned(), sk: META.to_owned() }
}

/// An API key.
#[must_use]
pub fn api_key(tenant_id: TenantId, hash: &KeyHash) -> Key {
    Key { pk: tenant_partition(tenant_id), sk: format!("{API_KEY_PREFIX}{}", hash.as_str()) }
}

/// Payload fields that an endpoint has or had.
#[must_use]
pub fn payload_fields(endpoint_id: EndpointId, hash: &FieldsHash) -> Key {
    Key { pk: format!("FIELDS#{endpoint_id}"), sk: hash.as_str().to_owned() }
}

/// The token of a portal session.
#[must_use]
pub fn portal_session(tenant_id: TenantId, hash: &KeyHash) -> Key {
    Key { pk: tenant_partition(tenant_id), sk: format!("{PORTAL_SESSION_PREFIX}{}", hash.as_str()) }
}

/// The partition of a tenant's endpoints in one mode.
#[must_use]
pub fn endpoints_partition(scope: Scope) -> String {
    format!("TENANT#{}#{}", scope.tenant_id, scope.mode)
}

/// An endpoint.
#[must_use]
pub fn endpoint(scope: Scope, id: EndpointId) -> Key {
    Key { pk: endpoints_partition(scope), sk: format!("{ENDPOINT_PREFIX}{id}") }
}

/// An endpoint's flow: how it is doing, and when its backlog is checked.
#[must_use]
pub fn flow(id: EndpointId) -> Key {
    Key { pk: format!("FLOW#{id}"), sk: META.to_owned() }
}

/// The owner of a uid.
#[must_use]
pub fn uid(scope: Scope, uid: &str) -> Key {
    Key { pk: endpoints_partition(scope), sk: format!("UID#{uid}") }
}

/// An event.
#[must_use]
pub fn event(scope: Scope, id: EventId) -> Key {
    Key { pk: events_partition(scope, shard_of(&id.to_bytes(), EVENT_SHARDS)), sk: id.to_string() }
}

/// One of the partitions of a tenant's events in one mode.
#[must_use]
pub fn events_partition(scope: Scope, shard: u8) -> String {
    format!("EVENTS#{}#{}#{shard}", scope.tenant_id, scope.mode)
}

/// A delivery.
#[must_use]
pub fn delivery(endpoint_id: EndpointId, event_id: EventId) -> Key {
    let shard = shard_of(&event_id.to_bytes(), DELIVERY_SHARDS);
    Key { pk: deliveries_partition(endpoint_id, shard), sk: event_id.to_string() }
}

/// One of the partitions of an endpoint's deliveries.
#[must_use]
pub fn deliveries_partition(endpoint_id: EndpointId, shard: u8) -> String {
    format!("DELIVERIES#{endpoint_id}#{shard}")
}

/// What is known of an idempotency key. Hashed, because callers' keys may hold anything.
#[must_use]
pub fn idempotency(scope: Scope, key: &str) -> Key {
    let hash = hex::encode(Sha256::digest(key.as_bytes()));
    Key { pk: format!("IDEMPOTENCY#{}#{}#{hash}", scope.tenant_id, scope.mode), sk: META.to_owned() }
}

/// A note that what this thing leaves is to be cleaned up.
#[must_use]
pub fn cleanup(id: impl Display) -> Key {
    Key { pk: format!("CLEANUP#{id}"), sk: META.to_owned() }
}

/// The note that a secret which an endpoint has left is to be removed.
#[must_use]
pub fn left_secret_cleanup(id: EndpointId) -> Key {
    Key { sk: "LEFT".to_owned(), ..cleanup(id) }
}

/// A note that an endpoint's previous signing key is to be cleaned up.
#[must_use]
pub fn previous_key_cleanup(endpoint_id: EndpointId) -> Key {
    Key { pk: format!("CLEANUP#{endpoint_id}"), sk: "PREVIOUS".to_owned() }
}

/// A bulk replay.
#[must_use]
pub fn replay(scope: Scope, id: ReplayId) -> Key {
    Key { pk: endpoints_partition(scope), sk: format!("REPLAY#{id}") }
}

/// An entry of the list of tenants.
#[must_use]
pub fn tenant_entry(id: TenantId) -> Key {
    Key { pk: TENANTS_PARTITION.to_owned(), sk: id.to_string() }
}

/// An event type in a tenant's catalogue.
#[must_use]
pub fn event_type(tenant_id: TenantId, name: &str) -> Key {
    Key { pk: tenant_partition(tenant_id), sk: format!("{EVENT_TYPE_PREFIX}{name}") }
}

/// How many requests of a class a tenant has made in a minute.
#[must_use]
pub fn rate(tenant_id: TenantId, class: &str, minute: i64) -> Key {
    Key { pk: format!("RATE#{tenant_id}#{class}"), sk: minute.to_string() }
}

/// What was answered to a request with this idempotency key.
#[must_use]
pub fn saved_response(owner: &str, key_hash: &str) -> Key {
    Key { pk: format!("RESPONSE#{owner}#{key_hash}"), sk: META.to_owned() }
}

/// The index partition of a delivery that waits.
#[must_use]
pub fn backlog_partition_of(endpoint_id: EndpointId, event_id: EventId) -> String {
    backlog_partition(endpoint_id, shard_of(&event_id.to_bytes(), BACKLOG_SHARDS))
}

/// One of the index partitions of an endpoint's backlog.
#[must_use]
pub fn backlog_partition(endpoint_id: EndpointId, shard: u8) -> String {
    format!("BACKLOG#{endpoint_id}#{shard}")
}

/// The index sort key of a delivery that waits: sorts as its due time does, and by event id at the same time.
#[must_use]
pub fn backlog_sort(due: Timestamp, event_id: EventId) -> String {
    format!("{}#{event_id}", time::format(due))
}

/// The due time in such a sort key.
#[must_use]
pub fn due_of_backlog_sort(sort: &str) -> Option<Timestamp> {
    time::parse(sort.split_once('#')?.0).ok()
}

/// The index partition of a flow.
#[must_use]
pub fn sweep_partition_of(endpoint_id: EndpointId) -> String {
    sweep_partition(shard_of(&endpoint_id.to_bytes(), SWEEP_SHARDS))
}

/// One of the index partitions of flows.
#[must_use]
pub fn sweep_partition(shard: u8) -> String {
    format!("SWEEP#{shard}")
}

/// The index partition of something to be cleaned up, or of a replay, spread by the bytes of its id.
#[must_use]
pub fn cleanup_partition_of(bytes: &[u8]) -> String {
    cleanup_partition(shard_of(bytes, CLEANUP_SHARDS))
}

/// One of the index partitions of what is to be cleaned up.
#[must_use]
pub fn cleanup_partition(shard: u8) -> String {
    format!("CLEANUP#{shard}")
}

/// The index sort key of what the sweeper checks: sorts as time does.
#[must_use]
pub fn sweep_sort(at: Timestamp) -> String {
    time::format(at)
}

/// The index partition of an endpoint's failed deliveries.
#[must_use]
pub fn failed_partition(endpoint_id: EndpointId) -> String {
    format!("FAILED#{endpoint_id}")
}

/// The index partition of an endpoint's skipped deliveries.
#[must_use]
pub fn skipped_partition(endpoint_id: EndpointId) -> String {
    format!("SKIPPED#{endpoint_id}")
}

/// FNV-1a: stable for ever, which a hash in a key has to be.
fn shard_of(bytes: &[u8], shards: u8) -> u8 {
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    u8::try_from((hash >> 32) % u64::from(shards)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::tenant::Mode;

    fn event_id(n: u8) -> EventId {
        EventId::from_parts(Timestamp::constant(1_700_000_000, 0), [n; 10])
    }

    #[test]
    fn shards_share_the_load() {
        let mut counts = [0; EVENT_SHARDS as usize];
        for n in 0..=255 {
            counts[shard_of(&event_id(n).to_bytes(), EVENT_SHARDS) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (32..=96).contains(count)), "{counts:?}");
    }

    #[test]
    fn an_id_has_one_key_for_ever() {
        // Keys are stored; a change here would lose what is in tables.
        let scope = Scope { tenant_id: "ten_01J1C6ZGQ6FQTH2X6M2VS3P0XW".parse().unwrap(), mode: Mode::Test };
        let key = event(scope, "evt_01HF7YAT004G2081040G208104".parse().unwrap());
        assert_eq!(key.sk, "evt_01HF7YAT004G2081040G208104");
        assert_eq!(
            key.pk,
            format!(
                "EVENTS#ten_01J1C6ZGQ6FQTH2X6M2VS3P0XW#test#{}",
                shard_of(&"evt_01HF7YAT004G2081040G208104".parse::<EventId>().unwrap().to_bytes(), 4)
            )
        );
        assert_eq!(shard_of(b"outhook", 4), 2);
    }

    #[test]
    fn modes_share_no_key() {
        let live = Scope { tenant_id: "ten_01J1C6ZGQ6FQTH2X6M2VS3P0XW".parse().unwrap(), mode: Mode::Live };
        let test = Scope { mode: Mode::Test, ..live };
        assert_ne!(event(live, event_id(1)), event(test, event_id(1)));
        assert_ne!(idempotency(live, "k"), idempotency(test, "k"));
        assert_ne!(endpoints_partition(live), endpoints_partition(test));
    }

    #[test]
    fn backlogs_sort_as_time_does_and_then_by_event() {
        let early = Timestamp::constant(1_700_000_000, 0);
        let late = time::plus_seconds(early, 1);
        assert!(backlog_sort(early, event_id(9)) < backlog_sort(late, event_id(1)));
        assert!(backlog_sort(early, event_id(1)) < backlog_sort(early, event_id(2)));
        assert!(backlog_sort(Timestamp::UNIX_EPOCH, event_id(9)) < backlog_sort(early, event_id(1)));
        assert_eq!(due_of_backlog_sort(&backlog_sort(late, event_id(1))), Some(late));
    }
}
