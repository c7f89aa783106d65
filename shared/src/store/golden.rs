//! Items as earlier versions have written them: every one can be read, and is written today as its latest version has it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::cleanups::{Cleanup, CleanupItem};
use super::data_keys::{Conversion, WrappedKey};
use super::endpoints::UidItem;
use super::flows::Flow;
use super::idempotency::IdempotencyRecord;
use super::items::{DeliveryItem, EndpointItem, EventItem, EventTypeItem, KeyItem, ReplayItem, TenantItem};
use super::keys::{Key, PK, SK};
use super::payload_fields::FieldsItem;
use super::replays::Replay;
use super::saved_responses::SavedResponse;
use super::{Item, Stored, from_item, kind_of, to_item};
use crate::domain::catalogue::CatalogueEntry;
use crate::domain::endpoint::Endpoint;
use crate::domain::health::Health;

/// Attributes that are changed in place and never read back into the shape.
const COUNTED: [&str; 2] = ["live_endpoint_bytes", "test_endpoint_bytes"];

fn attribute(value: &Value) -> AttributeValue {
    let (kind, value) = value.as_object().unwrap().iter().next().unwrap();
    let text = || value.as_str().unwrap().to_owned();
    match kind.as_str() {
        "S" => AttributeValue::S(text()),
        "N" => AttributeValue::N(text()),
        "BOOL" => AttributeValue::Bool(value.as_bool().unwrap()),
        "NULL" => AttributeValue::Null(true),
        "B" => AttributeValue::B(Blob::new(STANDARD.decode(text()).unwrap())),
        "L" => AttributeValue::L(value.as_array().unwrap().iter().map(attribute).collect()),
        "M" => AttributeValue::M(item(value)),
        other => panic!("{other}"),
    }
}

fn item(value: &Value) -> Item {
    value.as_object().unwrap().iter().map(|(name, value)| (name.clone(), attribute(value))).collect()
}

fn json_of(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => json!({ "S": text }),
        AttributeValue::N(number) => json!({ "N": number }),
        AttributeValue::Bool(is) => json!({ "BOOL": is }),
        AttributeValue::Null(_) => json!({ "NULL": true }),
        AttributeValue::B(bytes) => json!({ "B": STANDARD.encode(bytes) }),
        AttributeValue::L(values) => json!({ "L": values.iter().map(json_of).collect::<Vec<_>>() }),
        AttributeValue::M(values) => json!({ "M": json_of_item(values) }),
        other => panic!("{other:?}"),
    }
}

fn json_of_item(item: &HashMap<String, AttributeValue>) -> Value {
    Value::Object(item.iter().map(|(name, value)| (name.clone(), json_of(value))).collect())
}

/// The files by kind and variant, and then by version.
fn golden() -> BTreeMap<String, BTreeMap<u32, Value>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/items");
    let mut found: BTreeMap<String, BTreeMap<u32, Value>> = BTreeMap::new();
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().strip_suffix(".json").unwrap().to_owned();
        let (name, version) = name.rsplit_once(".v").unwrap();
        let value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        found.entry(name.to_owned()).or_default().insert(version.parse().unwrap(), value);
    }
    found
}

/// The item as it is written today, after it was read. `None` for a kind that is written by changes in place alone.
type Rewrite = fn(&Key, Item) -> Option<Item>;

fn rewrite<T: Stored + Serialize + DeserializeOwned>(key: &Key, item: Item) -> Option<Item> {
    Some(to_item(key, &from_item::<T>(item).unwrap()).unwrap())
}

fn index_of(item: &Item) -> (String, String) {
    let text = |name: &str| item[name].as_s().unwrap().clone();
    (text("GSI1PK"), text("GSI1SK"))
}

fn rewrite_cleanup(key: &Key, item: Item) -> Option<Item> {
    let (index_pk, index_sk) = index_of(&item);
    let cleanup: Cleanup = from_item(item).unwrap();
    Some(to_item(key, &CleanupItem { cleanup, index_pk, index_sk }).unwrap())
}

/// The same, by way of what the item stands for.
fn rewrite_as<T: Stored + Serialize + DeserializeOwned + From<D>, D: From<T>>(key: &Key, item: Item) -> Option<Item> {
    Some(to_item(key, &T::from(D::from(from_item::<T>(item).unwrap()))).unwrap())
}

fn rewrite_delivery(key: &Key, item: Item) -> Option<Item> {
    let read: DeliveryItem = from_item(item).unwrap();
    let (replay_id, expires_at) = (read.replay_id, read.state.expires_at);
    let mut written = DeliveryItem::new(read.into_delivery(), expires_at);
    written.replay_id = replay_id;
    Some(to_item(key, &written).unwrap())
}

fn rewrite_key(key: &Key, item: Item) -> Option<Item> {
    let read: KeyItem = from_item(item).unwrap();
    let hash = read.hash.clone();
    Some(to_item(key, &KeyItem::new(read.into(), hash)).unwrap())
}

fn rewrite_replay(key: &Key, item: Item) -> Option<Item> {
    let sweep_at = item.contains_key("GSI1SK").then(|| index_of(&item).1.parse().unwrap());
    let replay = Replay::from(from_item::<ReplayItem>(item).unwrap());
    Some(to_item(key, &ReplayItem::new(replay, sweep_at)).unwrap())
}

fn read_flow(_: &Key, item: Item) -> Option<Item> {
    let flow: Flow = from_item(item).unwrap();
    let at = |milliseconds| Some(jiff::Timestamp::from_millisecond(milliseconds).unwrap());
    let health = Health { failing_since: at(1_795_132_800_000), slow: true, probes_failed: 3, width: Some(4) };
    assert_eq!(flow.health, health);
    assert_eq!((flow.next_at, flow.token.as_deref()), (at(1_795_132_801_000), Some("a3a5333a438c822d")));
    assert_eq!((flow.lease.as_deref(), flow.lease_until), (Some("0123456789abcdef"), at(1_795_132_861_000)));
    assert_eq!((flow.touched_at, flow.wakes_lost), (at(1_795_132_801_000), 2));
    assert_eq!(flow.sweep_at, Some("2026-11-20T00:03:00.000Z".parse().unwrap()));
    None
}

const KINDS: [(&str, Rewrite); 16] = [
    (TenantItem::KIND, rewrite::<TenantItem>),
    (KeyItem::KIND, rewrite_key),
    (EndpointItem::KIND, rewrite_as::<EndpointItem, Endpoint>),
    (UidItem::KIND, rewrite::<UidItem>),
    (FieldsItem::KIND, rewrite::<FieldsItem>),
    (EventItem::KIND, rewrite::<EventItem>),
    (DeliveryItem::KIND, rewrite_delivery),
    (Flow::KIND, read_flow),
    (ReplayItem::KIND, rewrite_replay),
    (Cleanup::KIND, rewrite_cleanup),
    (EventTypeItem::KIND, rewrite_as::<EventTypeItem, CatalogueEntry>),
    (IdempotencyRecord::KIND, rewrite::<IdempotencyRecord>),
    (SavedResponse::KIND, rewrite::<SavedResponse>),
    (WrappedKey::KIND, rewrite::<WrappedKey>),
    (Conversion::KIND, rewrite::<Conversion>),
    // Counted in place, and never read as a whole.
    ("rate", |_, _| None),
];

#[test]
fn every_item_that_was_ever_written_is_read_and_its_latest_version_is_what_is_written() {
    let kinds: BTreeMap<_, _> = KINDS.into_iter().collect();
    let mut seen = BTreeSet::from(["rate"]);
    for (name, versions) in golden() {
        let latest = *versions.keys().max().unwrap();
        for (version, value) in versions {
            let stored = item(&value);
            let text = |name: &str| stored[name].as_s().unwrap().clone();
            let key = Key { pk: text(PK), sk: text(SK) };
            let kind = kind_of(&stored).unwrap();
            let (kind, rewrite) = kinds.get_key_value(kind).unwrap();
            assert_eq!(Some(*kind), name.split('.').next(), "{name}");
            seen.insert(kind);
            let Some(written) = rewrite(&key, stored.clone()) else { continue };
            if version == latest {
                let mut expected = value.as_object().unwrap().clone();
                expected.retain(|name, _| !COUNTED.contains(&name.as_str()));
                assert_eq!(json_of_item(&written), Value::Object(expected), "{name}.v{version}");
            }
        }
    }
    assert_eq!(seen, kinds.into_keys().collect());
}

#[test]
fn item_of_another_kind_is_refused() {
    let golden = golden();
    let uid = item(&golden["uid"][&1]);
    let error = from_item::<Flow>(uid).unwrap_err();
    assert!(error.detail.contains("uid") && error.detail.contains("flow"), "{error}");
}
