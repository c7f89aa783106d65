//! One endpoint per uid: created, replaced and deleted by the caller's own key, also by several at once.

use futures::future::join_all;
use http::StatusCode;
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::World;

async fn put(world: &World, uid: &str, body: &Value) -> crate::world::Answer {
    world.api.send(Method::PUT, &format!("/v1/endpoints/{uid}"), body.to_string()).await
}

#[tokio::test]
async fn put_creates_with_a_secret_and_replaces_without_one() {
    let world = World::start().await;
    let first = json!({ "url": world.receiver.url("/a"), "name": "First", "headers": { "x-a": "1" } });
    let created = put(&world, "agent-7:escalation", &first).await.expect(201);
    assert!(created["secret"].as_str().unwrap().starts_with("whsec_"));
    assert_eq!(created["uid"], "agent-7:escalation");

    let second = json!({ "url": world.receiver.url("/b") });
    let replaced = put(&world, "agent-7:escalation", &second).await.expect(200);
    assert_eq!(replaced["id"], created["id"]);
    assert_eq!(replaced["secret"], Value::Null);
    assert_eq!((replaced["name"].clone(), replaced["headers"].clone()), (Value::Null, json!({})));
    assert_eq!(replaced["version"], 2);
    let listed = world.api.get("/v1/endpoints").await.expect(200);
    assert_eq!(listed.as_array().unwrap().len(), 1);

    world.receiver.trust("/b", created["secret"].as_str().unwrap());
    world.send("a", json!({})).await;
    world.settle().await;
    assert_eq!((world.receiver.got("/a").len(), world.receiver.got("/b").len()), (0, 1));
}

#[tokio::test]
async fn delete_by_uid_is_always_done_and_by_id_only_once() {
    let world = World::start().await;
    let body = json!({ "url": world.receiver.url("/a") });
    let id = put(&world, "mine", &body).await.expect(201)["id"].as_str().unwrap().to_owned();
    assert_eq!(world.api.delete("/v1/endpoints/mine").await.status, 204);
    assert_eq!(world.api.delete("/v1/endpoints/mine").await.status, 204);
    let gone = world.api.delete(&format!("/v1/endpoints/{id}")).await;
    gone.expect_error(StatusCode::NOT_FOUND, "NOT_FOUND");
    let again = put(&world, "mine", &body).await.expect(201);
    assert_ne!(again["id"], id.as_str());
    // What can be no uid names nothing.
    for neither in ["a,b", "ep_x", &"x".repeat(129)] {
        let gone = world.api.delete(&format!("/v1/endpoints/{neither}")).await;
        gone.expect_error(StatusCode::NOT_FOUND, "NOT_FOUND");
    }
}

#[tokio::test]
async fn several_puts_of_one_uid_at_once_make_one_endpoint() {
    let world = World::start().await;
    let bodies: Vec<_> = (0..8).map(|n| json!({ "url": world.receiver.url(&format!("/{n}")) })).collect();
    let answers = join_all(bodies.iter().map(|body| put(&world, "one", body))).await;
    let created: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
    assert_eq!(created.len(), 1);
    // A caller that keeps being overtaken is told so.
    assert!(answers.iter().all(|answer| [200, 201, 409].contains(&answer.status)));
    let listed = world.api.get("/v1/endpoints").await.expect(200);
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(listed[0]["id"], created[0].body["data"]["id"]);
}

#[tokio::test]
async fn wrong_uids_are_refused() {
    let world = World::start().await;
    let body = json!({ "url": world.receiver.url("/a") });
    let long = "x".repeat(129);
    for uid in ["ep_x", "a%20b", "%C3%A4", long.as_str()] {
        assert_eq!(put(&world, uid, &body).await.expect_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR"), ["uid"]);
    }
    let other = json!({ "url": world.receiver.url("/a"), "uid": "other" });
    assert_eq!(put(&world, "mine", &other).await.expect_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR"), ["uid"]);
    put(&world, "taken", &body).await.expect(201);
    let taken = json!({ "url": world.receiver.url("/a"), "uid": "taken" });
    world.api.post("/v1/endpoints", taken).await.expect_error(StatusCode::CONFLICT, "CONFLICT");
}

#[tokio::test]
async fn the_last_free_place_is_taken_once() {
    let world = World::start().await;
    for n in 0..9 {
        world.endpoint(&format!("/{n}"), json!({})).await;
    }
    let body = json!({ "url": world.receiver.url("/last") });
    let answers = join_all((0..5).map(|_| world.api.post("/v1/endpoints", body.clone()))).await;
    let created = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(created, 1);
    for answer in answers.into_iter().filter(|answer| answer.status != 201) {
        answer.expect_error(StatusCode::CONFLICT, "LIMIT_EXCEEDED");
    }
    // A deleted one makes room, in this mode and in no other.
    let listed = world.api.get("/v1/endpoints").await.expect(200);
    world.api.delete(&format!("/v1/endpoints/{}", listed[0]["id"].as_str().unwrap())).await;
    world.api.post("/v1/endpoints", body).await.expect(201);
}

#[tokio::test]
async fn stale_version_is_refused_and_changes_nothing() {
    let world = World::start().await;
    let id = world.endpoint("/a", json!({})).await;
    let path = format!("/v1/endpoints/{id}");
    let change = async |version: &str, name: &str| {
        let request = world.api.request(Method::PATCH, &path).header("if-match", version);
        let body = json!({ "name": name }).to_string();
        crate::world::Answer::of(request.header("content-type", "application/json").body(body)).await
    };
    let read = world.api.get(&path).await;
    let etag = read.headers["etag"].to_str().unwrap().to_owned();
    change(&etag, "first").await.expect(200);
    change(&etag, "second").await.expect_error(StatusCode::CONFLICT, "CONFLICT");
    assert_eq!(change("x", "third").await.expect_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR"), ["If-Match"]);
    let now = world.api.get(&path).await.expect(200);
    assert_eq!((now["name"].clone(), now["version"].clone()), (json!("first"), json!(2)));
    // Without a version a change goes over others' changes.
    let changes = join_all((0..4).map(|n| world.api.patch(&path, json!({ "timeout_seconds": n + 1 })))).await;
    let done = changes.iter().filter(|answer| answer.status == 200).count() as u64;
    assert!(done >= 1);
    assert_eq!(world.api.get(&path).await.expect(200)["version"], 2 + done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_at_once_that_name_no_version_are_all_made() {
    let world = World::start().await;
    let id = world.endpoint("/a", json!({ "uid": "one" })).await;
    let patches = (0..12).map(|n| {
        let body = json!({ "description": format!("{n}"), "headers": { "x-n": format!("{n}") } });
        let (world, path) = (&world, format!("/v1/endpoints/{id}"));
        async move { world.api.patch(&path, body).await.status }
    });
    let puts = (0..12).map(|n| {
        let body = json!({ "url": world.receiver.url("/a"), "description": format!("{n}") }).to_string();
        let world = &world;
        async move { world.api.send(Method::PUT, "/v1/endpoints/one", body).await.status }
    });
    let (patched, put) = tokio::join!(join_all(patches), join_all(puts));
    assert!(patched.iter().chain(&put).all(|status| *status == 200), "{patched:?} {put:?}");
    assert_eq!(world.api.get("/v1/endpoints/one").await.expect(200)["version"], 25);
}
