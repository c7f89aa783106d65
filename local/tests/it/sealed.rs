//! Signing secrets that are sealed into the table: what they hold, and how they are switched to and from.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use local::aws::{Fault, FaultRule, Service};
use local::clients::sdk_config;
use serde_json::{Value, json};
use shared::domain::tenant::{Mode, Scope};
use shared::store::keys::{self, Key};

use crate::world::{Reply, World};

const SEALED: &[(&str, &str)] = &[("SigningSecrets", "Sealed")];
const RING: &str = "outhook/endpoints/wrapping-keys";

async fn sealed_world() -> World {
    let mut world = World::start().await;
    world.redeploy(SEALED).await;
    world
}

/// Lets minutes pass, each with a run of the sweeper and all that is due.
async fn minutes(world: &World, minutes: u32) {
    for _ in 0..minutes {
        world.advance_seconds(60);
        assert_eq!(world.sweep().await.failed, 0);
        world.settle().await;
    }
}

async fn manager(world: &World) -> aws_sdk_secretsmanager::Client {
    aws_sdk_secretsmanager::Client::new(&sdk_config(world.aws.endpoint_url(), "test").await)
}

/// The endpoints' secrets that Secrets Manager holds.
async fn dedicated(world: &World) -> Vec<String> {
    let listed = manager(world).await.list_secrets().max_results(100).send().await.unwrap().secret_list.unwrap();
    let names = listed.into_iter().filter_map(|secret| secret.name);
    names.filter(|name| name.starts_with("outhook/endpoints/") && name != RING).collect()
}

async fn ring(world: &World) -> Value {
    let text = manager(world).await.get_secret_value().secret_id(RING).send().await.unwrap().secret_string.unwrap();
    serde_json::from_str(&text).unwrap()
}

async fn put_ring(world: &World, ring: &Value) {
    manager(world).await.put_secret_value().secret_id(RING).secret_string(ring.to_string()).send().await.unwrap();
}

async fn item(world: &World, key: &Key) -> Option<HashMap<String, AttributeValue>> {
    let text = |text: &String| AttributeValue::S(text.clone());
    let get = world.tables.get_item().table_name(&world.services.config.table_name);
    get.key("PK", text(&key.pk)).key("SK", text(&key.sk)).send().await.unwrap().item
}

fn endpoint_key(world: &World, endpoint: &str) -> Key {
    let scope = Scope { tenant_id: world.demo.tenant_id, mode: Mode::Live };
    keys::endpoint(scope, endpoint.parse().unwrap())
}

/// Sends an event and holds that it arrives, signed.
async fn arrives(world: &World, path: &str) {
    let before = world.receiver.got(path).len();
    world.send("a", json!({})).await;
    world.settle().await;
    assert_eq!(world.receiver.got(path).len(), before + 1, "{path}");
}

#[tokio::test]
async fn sealed_endpoints_are_signed_and_neither_table_nor_secrets_manager_holds_their_secrets_alone() {
    let world = sealed_world().await;
    let secret = "a secret of my own that is long enough";
    let credential = "correct-horse-battery";
    let settings = json!({ "secret": secret, "authorization": { "type": "bearer", "token": credential } });
    let endpoint = world.endpoint("/a", settings).await;
    arrives(&world, "/a").await;
    assert_eq!(world.receiver.got("/a")[0].header("authorization"), format!("Bearer {credential}"));
    assert_eq!(dedicated(&world).await, [""; 0]);
    let table = world.table_texts().await;
    for hidden in [secret, credential, &STANDARD.encode(secret), &STANDARD.encode(credential)] {
        assert!(!table.contains(hidden), "{hidden}");
    }
    let shown = world.api.get(&format!("/v1/endpoints/{endpoint}/secret")).await.expect(200);
    assert_eq!(shown["secret"], secret);
}

#[tokio::test]
async fn sealed_secret_is_rotated_with_an_overlap_that_ends() {
    let world = sealed_world().await;
    let endpoint = world.endpoint("/a", json!({})).await;
    let rotate = format!("/v1/endpoints/{endpoint}/secret/rotate");
    let rotated = world.api.post(&rotate, json!({ "overlap_seconds": 120 })).await.expect(200);
    // The receiver has the first secret alone: both sign.
    arrives(&world, "/a").await;
    let signatures = |world: &World| {
        let got = world.receiver.got("/a");
        got.last().unwrap().header("webhook-signature").split(' ').count()
    };
    assert_eq!(signatures(&world), 2);
    world.receiver.trust("/a", rotated["secret"].as_str().unwrap());
    world.run(180).await;
    arrives(&world, "/a").await;
    assert_eq!(signatures(&world), 1);
    let shown = world.api.get(&format!("/v1/endpoints/{endpoint}/secret")).await.expect(200);
    assert_eq!((shown["secret"].clone(), shown["previous"].clone()), (rotated["secret"].clone(), json!([])));
}

#[tokio::test]
async fn switching_converts_both_ways_while_every_attempt_is_signed() {
    let mut world = World::start().await;
    let mut endpoints = Vec::new();
    for n in 0..8 {
        endpoints.push(world.endpoint(&format!("/{n}"), json!({ "event_types": ["a"] })).await);
    }
    assert_eq!(dedicated(&world).await.len(), 8);
    let version = world.api.get(&format!("/v1/endpoints/{}", endpoints[0])).await.expect(200)["updated_at"].clone();
    world.redeploy(SEALED).await;
    let mut sent = 0;
    for _ in 0..40 {
        world.send("a", json!({})).await;
        sent += 1;
        minutes(&world, 1).await;
    }
    assert_eq!(dedicated(&world).await, [""; 0]);
    for endpoint in &endpoints {
        let sealed = item(&world, &endpoint_key(&world, endpoint)).await.unwrap()["signing"].as_m().unwrap().clone();
        assert!(sealed.contains_key("sealed"), "{endpoint}");
    }
    // Nobody has changed anything that a caller sees.
    let now = world.api.get(&format!("/v1/endpoints/{}", endpoints[0])).await.expect(200);
    assert_eq!(now["updated_at"], version);

    world.redeploy(&[("SigningSecrets", "Dedicated")]).await;
    for _ in 0..40 {
        world.send("a", json!({})).await;
        sent += 1;
        minutes(&world, 1).await;
    }
    assert_eq!(dedicated(&world).await.len(), 8);
    assert!(!world.table_texts().await.contains("\"sealed\""));
    for n in 0..8 {
        // The receiver has verified every one of them.
        assert_eq!(world.receiver.got(&format!("/{n}")).len(), sent, "{n}");
    }
}

#[tokio::test]
async fn secret_that_is_gone_and_data_key_that_does_not_open_hold_up_nobody_else() {
    let mut world = World::start().await;
    let gone = world.endpoint("/gone", json!({ "event_types": ["gone"] })).await;
    world.endpoint("/well", json!({})).await;
    let other = world.other_tenant().await;
    world.endpoint_of(&other, "/other", json!({})).await;
    let name = format!("outhook/endpoints/{}/live/{gone}", world.demo.tenant_id);
    let delete = manager(&world).await.delete_secret().secret_id(name).force_delete_without_recovery(true);
    delete.send().await.unwrap();
    world.redeploy(SEALED).await;
    minutes(&world, 40).await;
    assert_eq!(dedicated(&world).await, [""; 0]);
    arrives(&world, "/well").await;

    // The first tenant's data key is spoiled, and the wrapping key rotated: the second tenant's follows all the same.
    let mut spoiled = item(&world, &keys::data_key(world.demo.tenant_id)).await.unwrap();
    spoiled.insert("wrapped".to_owned(), AttributeValue::S(STANDARD.encode([0; 60])));
    world.put_item(spoiled).await;
    world.restart_functions().await;
    let mut rotated = ring(&world).await;
    rotated["keys"]["second"] = json!(STANDARD.encode([7; 32]));
    rotated["current"] = json!("second");
    put_ring(&world, &rotated).await;
    minutes(&world, 40).await;
    other.post("/v1/events", json!({ "type": "a", "data": {} })).await.expect(202);
    world.settle().await;
    assert_eq!(world.receiver.got("/other").len(), 1);
    assert!(world.table_texts().await.contains("\"wrapped_by\": S(\"second\")"));
}

#[tokio::test]
async fn ciphertext_that_is_moved_to_another_endpoint_tenant_or_version_does_not_open() {
    let mut world = sealed_world().await;
    let own = world.endpoint("/own", json!({ "event_types": ["a"] })).await;
    let other = world.endpoint("/other", json!({ "event_types": ["b"] })).await;
    let moved = item(&world, &endpoint_key(&world, &own)).await.unwrap()["signing"].clone();
    let mut target = item(&world, &endpoint_key(&world, &other)).await.unwrap();
    target.insert("signing".to_owned(), moved);
    world.put_item(target).await;
    world.restart_functions().await;
    let event = world.send("b", json!({})).await;
    world.settle().await;
    assert_eq!(world.receiver.got("/other").len() + world.receiver.got_unverified("/other").len(), 0);
    let attempts = world.delivery(&other, &event).await["attempts"].clone();
    assert!(attempts[0]["error"].as_str().unwrap().starts_with("secret_unreadable"), "{attempts}");

    // Under another version of the same endpoint.
    let mut signing = item(&world, &endpoint_key(&world, &own)).await.unwrap()["signing"].as_m().unwrap().clone();
    signing.insert("secret_version".to_owned(), AttributeValue::S("0".repeat(32)));
    let mut target = item(&world, &endpoint_key(&world, &own)).await.unwrap();
    target.insert("signing".to_owned(), AttributeValue::M(signing));
    world.put_item(target).await;
    world.restart_functions().await;
    let event = world.send("a", json!({})).await;
    world.settle().await;
    assert_eq!(world.receiver.got("/own").len(), 0);
    let attempts = world.delivery(&own, &event).await["attempts"].clone();
    assert!(attempts[0]["error"].as_str().unwrap().starts_with("secret_unreadable"), "{attempts}");
}

#[tokio::test]
async fn outage_of_secrets_manager_touches_only_instances_that_start() {
    let mut world = sealed_world().await;
    world.endpoint("/a", json!({})).await;
    arrives(&world, "/a").await;
    let outage = FaultRule::once(Service::SecretsManager, "GetSecretValue", Fault::Unavailable);
    world.aws.faults().inject(FaultRule { times: 1_000_000, ..outage });
    for _ in 0..3 {
        arrives(&world, "/a").await;
    }
    // A new endpoint of a tenant that has a data key needs nothing from there.
    world.endpoint("/b", json!({ "event_types": ["b"] })).await;
    // An instance that starts waits for it, and loses nothing.
    world.restart_functions().await;
    world.send("b", json!({})).await;
    world.settle().await;
    assert_eq!(world.receiver.got("/b").len(), 0);
    world.aws.faults().clear();
    world.run(120).await;
    assert_eq!(world.receiver.got("/b").len(), 1);
}

#[tokio::test]
async fn wrapping_key_is_rotated_while_deliveries_go_on() {
    let mut world = sealed_world().await;
    world.endpoint("/a", json!({})).await;
    arrives(&world, "/a").await;
    minutes(&world, 20).await;
    let mut rotated = ring(&world).await;
    let old = rotated["current"].as_str().unwrap().to_owned();
    rotated["keys"]["second"] = json!(STANDARD.encode([7; 32]));
    rotated["current"] = json!("second");
    put_ring(&world, &rotated).await;
    // A new tenant's key is wrapped by the new one, which instances that run do not know yet.
    world.advance_seconds(61);
    let tenant = world.other_tenant().await;
    world.endpoint_of(&tenant, "/new", json!({})).await;
    tenant.post("/v1/events", json!({ "type": "a", "data": {} })).await.expect(202);
    for _ in 0..40 {
        arrives(&world, "/a").await;
        minutes(&world, 1).await;
    }
    assert_eq!(world.receiver.got("/new").len(), 1);
    let data_key = item(&world, &keys::data_key(world.demo.tenant_id)).await.unwrap();
    assert_eq!(data_key["wrapped_by"].as_s().unwrap(), "second");
    // Without the old key everything goes on, in new instances too.
    rotated["keys"].as_object_mut().unwrap().remove(&old);
    put_ring(&world, &rotated).await;
    world.restart_functions().await;
    arrives(&world, "/a").await;
}

#[tokio::test]
async fn instance_that_has_just_read_the_ring_meets_a_key_that_is_newer_still() {
    let mut world = sealed_world().await;
    world.endpoint("/a", json!({})).await;
    world.advance_seconds(61);
    world.restart_functions().await;
    arrives(&world, "/a").await;
    let mut rotated = ring(&world).await;
    rotated["keys"]["second"] = json!(STANDARD.encode([7; 32]));
    rotated["current"] = json!("second");
    put_ring(&world, &rotated).await;
    let tenant = world.other_tenant().await;
    world.endpoint_of(&tenant, "/new", json!({})).await;
    tenant.post("/v1/events", json!({ "type": "a", "data": {} })).await.expect(202);
    world.settle().await;
    assert_eq!(world.receiver.got("/new").len(), 1);
}

#[tokio::test]
async fn warm_instance_seals_under_the_data_key_that_the_table_holds() {
    let mut world = sealed_world().await;
    let endpoint = world.endpoint("/a", json!({})).await;
    arrives(&world, "/a").await;
    // As in a table that was restored to a time before the tenant had one.
    let key = keys::data_key(world.demo.tenant_id);
    let text = |text: &String| AttributeValue::S(text.clone());
    let delete = world.tables.delete_item().table_name(&world.services.config.table_name);
    delete.key("PK", text(&key.pk)).key("SK", text(&key.sk)).send().await.unwrap();
    let rotate = format!("/v1/endpoints/{endpoint}/secret/rotate");
    let rotated = world.api.post(&rotate, json!({ "overlap_seconds": 0 })).await.expect(200);
    world.receiver.trust("/a", rotated["secret"].as_str().unwrap());
    world.restart_functions().await;
    arrives(&world, "/a").await;
}

#[tokio::test]
async fn deleting_a_tenant_shreds_its_secrets() {
    let world = sealed_world().await;
    let endpoint = world.endpoint("/a", json!({})).await;
    arrives(&world, "/a").await;
    let kept = item(&world, &endpoint_key(&world, &endpoint)).await.unwrap();
    let tenant = world.demo.tenant_id;
    assert!(item(&world, &keys::data_key(tenant)).await.is_some());
    world.root.delete(&format!("/v1/tenants/{tenant}")).await.expect(204);
    world.run(300).await;
    assert!(item(&world, &keys::data_key(tenant)).await.is_none());
    assert!(item(&world, &endpoint_key(&world, &endpoint)).await.is_none());
    // An old copy of the item gives nothing away.
    let (_, signing) = kept.get_key_value("signing").unwrap();
    assert!(!format!("{signing:?}").contains("whsec_"));
}

#[tokio::test]
async fn table_of_an_earlier_time_opens_with_the_ring_of_today() {
    let mut world = sealed_world().await;
    let endpoint = world.endpoint("/a", json!({})).await;
    arrives(&world, "/a").await;
    let (endpoint_key, data_key) = (endpoint_key(&world, &endpoint), keys::data_key(world.demo.tenant_id));
    let earlier = [item(&world, &endpoint_key).await.unwrap(), item(&world, &data_key).await.unwrap()];
    // Since then the wrapping key was rotated, and the endpoint's secret too.
    let mut rotated = ring(&world).await;
    rotated["keys"]["second"] = json!(STANDARD.encode([7; 32]));
    rotated["current"] = json!("second");
    put_ring(&world, &rotated).await;
    minutes(&world, 40).await;
    world
        .api
        .post(&format!("/v1/endpoints/{endpoint}/secret/rotate"), json!({ "overlap_seconds": 0 }))
        .await
        .expect(200);
    for item in earlier {
        world.put_item(item).await;
    }
    world.restart_functions().await;
    world.receiver.reply("/a", [Reply::Status(200)]);
    // Signed with the secret of then, which the receiver knows.
    arrives(&world, "/a").await;
}
