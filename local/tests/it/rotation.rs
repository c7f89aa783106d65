//! Rotating signing secrets: both sign during the overlap, the old one no longer after it, and nobody can be surprised by a third.

use futures::future::join_all;
use http::StatusCode;
use local::aws::{Fault, FaultRule, Service};
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Answer, World};

async fn signatures(world: &World, path: &str) -> usize {
    world.send("a", json!({})).await;
    world.settle().await;
    world.receiver.got(path).last().unwrap().header("webhook-signature").split(' ').count()
}

async fn rotate(world: &World, id: &str, body: Value) -> Answer {
    world.api.post(&format!("/v1/endpoints/{id}/secret/rotate"), body).await
}

#[tokio::test]
async fn both_secrets_sign_until_the_overlap_ends_and_then_the_old_one_is_gone_everywhere() {
    let world = World::start().await;
    let id = world.endpoint("/a", json!({})).await;
    assert_eq!(signatures(&world, "/a").await, 1);
    let rotated = rotate(&world, &id, json!({ "overlap_seconds": 3_600 })).await.expect(200);
    world.receiver.trust("/a", rotated["secret"].as_str().unwrap());
    assert_eq!(rotated["previous_expires_at"], "2026-11-20T01:00:00.000Z");
    assert_eq!(signatures(&world, "/a").await, 2);
    let path = format!("/v1/endpoints/{id}");
    assert_eq!(world.api.get(&path).await.expect(200)["signing"]["state"], "overlapping");
    let shown = world.api.get(&format!("{path}/secret")).await.expect(200);
    assert_eq!(shown["secret"], rotated["secret"]);
    assert_eq!(shown["previous"][0]["expires_at"], rotated["previous_expires_at"]);
    rotate(&world, &id, json!({})).await.expect_error(StatusCode::CONFLICT, "CONFLICT");

    world.advance_seconds(3_601);
    assert_eq!(signatures(&world, "/a").await, 1);
    assert_eq!(world.api.get(&path).await.expect(200)["signing"]["state"], "stable");
    world.sweep().await;
    let documents = world.secret_texts().await;
    assert!(documents.iter().all(|text| !text.contains("previous")), "the old key is still in Secrets Manager");
    assert_eq!(signatures(&world, "/a").await, 1);
    rotate(&world, &id, json!({})).await.expect(200);
}

#[tokio::test]
async fn overlap_can_be_ended_early_or_left_out() {
    let world = World::start().await;
    let id = world.endpoint("/a", json!({})).await;
    let first = rotate(&world, &id, json!({})).await.expect(200);
    world.receiver.trust("/a", first["secret"].as_str().unwrap());
    assert_eq!(signatures(&world, "/a").await, 2);
    let path = format!("/v1/endpoints/{id}/secret/previous");
    assert_eq!(world.api.delete(&path).await.status, 204);
    assert_eq!(world.api.delete(&path).await.status, 204);
    assert_eq!(signatures(&world, "/a").await, 1);
    let own = json!({ "secret": "a-secret-of-my-own", "overlap_seconds": 0 });
    let second = rotate(&world, &id, own).await.expect(200);
    assert_eq!(
        (second["secret"].clone(), second["previous_expires_at"].clone()),
        (json!("a-secret-of-my-own"), Value::Null)
    );
    world.receiver.trust("/a", "a-secret-of-my-own");
    assert_eq!(signatures(&world, "/a").await, 1);
}

#[tokio::test]
async fn of_several_rotations_at_once_one_wins_and_its_secret_is_current() {
    let world = World::start().await;
    let id = world.endpoint("/a", json!({})).await;
    let answers = join_all((0..4).map(|_| rotate(&world, &id, json!({})))).await;
    let won: Vec<_> = answers.into_iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(won.len(), 1);
    let secret = won[0].body["data"]["secret"].as_str().unwrap();
    let shown = world.api.get(&format!("/v1/endpoints/{id}/secret")).await.expect(200);
    assert_eq!(shown["secret"], secret);
    world.receiver.trust("/a", secret);
    assert_eq!(signatures(&world, "/a").await, 2);
}

#[tokio::test]
async fn wrong_rotations_are_refused() {
    let world = World::start().await;
    let id = world.endpoint("/a", json!({})).await;
    let named = rotate(&world, &id, json!({ "secret": "short", "overlap_seconds": 604_801, "odd": 1 })).await;
    assert_eq!(named.expect_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR"), ["secret", "overlap_seconds", "odd"]);
    let missing = "ep_01J1C6ZGQ6FQTH2X6M2VS3P0XW";
    rotate(&world, missing, json!({})).await.expect_error(StatusCode::NOT_FOUND, "NOT_FOUND");
}

#[tokio::test]
async fn rotation_with_an_idempotency_key_is_done_once_and_answered_alike() {
    let world = World::start().await;
    let id = world.endpoint("/a", json!({})).await;
    let once = async || {
        let path = format!("/v1/endpoints/{id}/secret/rotate");
        Answer::of(world.api.request(Method::POST, &path).header("idempotency-key", "k1")).await.expect(200)
    };
    let first = once().await;
    assert_eq!(once().await, first);
    assert!(!world.table_texts().await.contains(first["secret"].as_str().unwrap()), "a secret is in the table");
}

#[tokio::test]
async fn tenant_that_shows_secrets_once_does_not_show_them_again() {
    let world = World::start().await;
    let id = world.endpoint("/a", json!({})).await;
    let path = format!("/v1/endpoints/{id}/secret");
    world.api.get(&path).await.expect(200);
    let tenant = format!("/v1/tenants/{}", world.demo.tenant_id);
    world.root.patch(&tenant, json!({ "secret_visibility": "once" })).await.expect(200);
    world.advance_seconds(6);
    world.api.get(&path).await.expect_error(StatusCode::FORBIDDEN, "FORBIDDEN");
    rotate(&world, &id, json!({})).await.expect(200);
}

#[tokio::test]
async fn key_that_is_rotated_out_is_in_no_labelled_version_two_minutes_after_its_time() {
    let world = World::start().await;
    let id = world.endpoint("/a", json!({})).await;
    let path = format!("/v1/endpoints/{id}");
    let first = world.api.get(&format!("{path}/secret")).await.expect(200)["secret"].as_str().unwrap().to_owned();
    rotate(&world, &id, json!({ "overlap_seconds": 3_600 })).await.expect(200);
    assert!(world.labelled_secrets(&id).await.iter().any(|text| text.contains(&first)));
    world.run(3_600 + 120).await;
    assert!(world.labelled_secrets(&id).await.iter().all(|text| !text.contains(&first)));
    let second = world.api.get(&format!("{path}/secret")).await.expect(200)["secret"].as_str().unwrap().to_owned();
    rotate(&world, &id, json!({ "overlap_seconds": 0 })).await.expect(200);
    assert!(world.labelled_secrets(&id).await.iter().all(|text| !text.contains(&second)));
}

#[tokio::test]
async fn labels_that_could_not_be_moved_are_moved_by_the_sweeper() {
    let world = World::start().await;
    let id = world.endpoint("/a", json!({ "authorization": { "type": "bearer", "token": "first-token" } })).await;
    let fails = FaultRule::once(Service::SecretsManager, "UpdateSecretVersionStage", Fault::Unavailable);
    world.aws.faults().inject(FaultRule { times: u32::MAX, ..fails });
    let change = json!({ "authorization": { "type": "bearer", "token": "second-token" } });
    world.api.patch(&format!("/v1/endpoints/{id}"), change).await.expect(200);
    world.aws.faults().clear();
    assert!(world.labelled_secrets(&id).await.iter().any(|text| text.contains("first-token")));
    world.run(180).await;
    assert!(world.labelled_secrets(&id).await.iter().all(|text| !text.contains("first-token")));
    assert_eq!(signatures(&world, "/a").await, 1);
    assert_eq!(world.receiver.got("/a")[0].header("authorization"), "Bearer second-token");
}

#[tokio::test]
async fn change_that_changes_nothing_or_is_refused_makes_no_version_that_stays() {
    let world = World::start().await;
    world.endpoint("/b", json!({ "uid": "taken" })).await;
    let id = world.endpoint("/a", json!({ "authorization": { "type": "bearer", "token": "first-token" } })).await;
    let path = format!("/v1/endpoints/{id}");
    let _ = world.aws.calls().take();
    for _ in 0..3 {
        let same = json!({ "authorization": { "type": "bearer", "token": "first-token" } });
        world.api.patch(&path, same).await.expect(200);
    }
    assert!(world.aws.calls().take().iter().all(|call| call.operation != "PutSecretValue"));
    let refused = json!({ "uid": "taken", "authorization": { "type": "bearer", "token": "second-token" } });
    world.api.patch(&path, refused).await.expect_error(StatusCode::CONFLICT, "CONFLICT");
    let labelled = world.labelled_secrets(&id).await;
    assert!(labelled.len() == 1 && labelled[0].contains("first-token"), "{}", labelled.len());
}
