//! What teams bring along when they move: the signatures and payloads that their receivers already check, each verified as those receivers do.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::world::{Got, Reply, World};

const SECRET: &str = "receivers-know-this-one";

fn hmac(secret: &str, content: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(content);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sends one event to an endpoint with these settings; what came, unverified.
async fn sent(settings: Value, data: Value) -> (World, String, Got) {
    let world = World::start().await;
    let mut body = json!({ "url": world.receiver.url("/a"), "secret": SECRET });
    body.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let endpoint = world.api.post("/v1/endpoints", body).await.expect(201);
    let event = world.send("conversation.completed", data).await;
    world.settle().await;
    let got = world.receiver.got_unverified("/a");
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].header("webhook-id"), event);
    (world, endpoint["id"].as_str().unwrap().to_owned(), got[0].clone())
}

#[tokio::test]
async fn github_style_receivers_verify_the_body_under_their_header() {
    let signature =
        json!({ "scheme": "hmac", "header": "X-Hub-Signature-256", "encoding": "hex", "prefix": "sha256=" });
    let (_, _, got) = sent(json!({ "signature": signature }), json!({ "a": 1 })).await;
    assert_eq!(got.header("x-hub-signature-256"), format!("sha256={}", hex(&hmac(SECRET, &got.body))));
    assert_eq!(got.header("webhook-signature"), "");
}

#[tokio::test]
async fn helpgenie_receivers_get_chosen_fields_and_a_signature_over_those_that_count() {
    let settings = json!({
        "signature": { "scheme": "hmac", "header": "X-HelpGenie-Signature" },
        "payload_fields": ["summary", { "key": "caller", "path": "customer.name", "hint": "who called", "use_for_signature": true }, "type"],
    });
    let (world, id, got) = sent(settings.clone(), json!({ "summary": "s", "customer": { "name": "Zoë" } })).await;
    let body = String::from_utf8(got.body.to_vec()).unwrap();
    assert_eq!(body, r#"{"summary":"s","caller":"Zoë","type":"conversation.completed"}"#);
    assert_eq!(got.header("x-helpgenie-signature"), hex(&hmac(SECRET, r#"{"caller":"Zoë"}"#.as_bytes())));
    let read = world.api.get(&format!("/v1/endpoints/{id}")).await.expect(200);
    assert_eq!(read["payload_fields"], settings["payload_fields"]);
    let expected = json!({ "scheme": "hmac", "header": "x-helpgenie-signature", "encoding": "hex", "prefix": "" });
    assert_eq!(read["signature"], expected);
}

#[tokio::test]
async fn amigo_receivers_verify_a_versioned_content_beside_id_and_time() {
    let signature = json!({
        "scheme": "custom",
        "signed": "v1:{timestamp_ms}:{body}",
        "headers": {
            "x-amigo-request-signature": "{hmac_hex}",
            "x-amigo-request-timestamp": "{timestamp_ms}",
            "x-amigo-webhook-id": "{id}",
        },
    });
    let (_, _, got) = sent(json!({ "signature": signature }), json!({ "a": 1 })).await;
    let at = got.header("x-amigo-request-timestamp");
    assert_eq!(at.len(), 13);
    let content = [format!("v1:{at}:").as_bytes(), &got.body].concat();
    assert_eq!(got.header("x-amigo-request-signature"), hex(&hmac(SECRET, &content)));
    assert_eq!(got.header("x-amigo-webhook-id"), got.header("webhook-id"));
}

#[tokio::test]
async fn stripe_and_dixa_style_receivers_verify_time_and_body_in_one_header_also_during_a_rotation() {
    let signature = json!({
        "scheme": "custom",
        "signed": "{timestamp_ms}.{body}",
        "headers": { "X-DIXA-SIGNATURE": "t={timestamp_ms},v1={hmac_hex}" },
    });
    let (world, id, got) = sent(json!({ "signature": signature }), json!({ "a": 1 })).await;
    let verify = |got: &Got, secret: &str| {
        let header = got.header("x-dixa-signature");
        let at = header.split(',').find_map(|part| part.strip_prefix("t=")).unwrap();
        let expected = hex(&hmac(secret, &[format!("{at}.").as_bytes(), &got.body].concat()));
        header.split(',').any(|part| part.strip_prefix("v1=") == Some(expected.as_str()))
    };
    assert!(verify(&got, SECRET) && !verify(&got, "another-secret-of-ours"));
    let new = json!({ "secret": "another-secret-of-ours" });
    world.api.post(&format!("/v1/endpoints/{id}/secret/rotate"), new).await.expect(200);
    world.send("a", json!({})).await;
    world.settle().await;
    let got = world.receiver.got_unverified("/a")[1].clone();
    assert!(verify(&got, SECRET) && verify(&got, "another-secret-of-ours"));
}

#[tokio::test]
async fn ed25519_receivers_verify_with_the_public_key_that_readers_of_endpoints_see() {
    let world = World::start().await;
    let body = json!({ "url": world.receiver.url("/a"), "signature": { "scheme": "ed25519" } });
    let created = world.api.post("/v1/endpoints", body).await.expect(201);
    assert!(created["secret"].as_str().unwrap().starts_with("whsk_"));
    let read = world.api.get(&format!("/v1/endpoints/{}", created["id"].as_str().unwrap())).await.expect(200);
    let public = read["signature"]["public_key"].as_str().unwrap().strip_prefix("whpk_").unwrap();
    let key = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, STANDARD.decode(public).unwrap());
    world.send("a", json!({})).await;
    world.settle().await;
    let got = world.receiver.got_unverified("/a")[0].clone();
    let content = format!("{}.{}.", got.header("webhook-id"), got.header("webhook-timestamp"));
    let signature = STANDARD.decode(got.header("webhook-signature").strip_prefix("v1a,").unwrap()).unwrap();
    assert!(key.verify(&[content.as_bytes(), &got.body].concat(), &signature).is_ok());
}

/// One operation after another as the users of five webhook APIs make them.
#[tokio::test]
async fn what_five_webhook_apis_offer_can_be_done_here() {
    let world = World::start().await;
    let url = |path: &str| world.receiver.url(path);
    // An agent's one webhook, upserted with its own secret and header, tested, and deleted without complaint.
    let agent = json!({ "url": url("/agent"), "secret": SECRET, "signature": { "scheme": "hmac", "header": "x-helpgenie-signature" } });
    let put = async |status| {
        let answer = world.api.send(reqwest::Method::PUT, "/v1/endpoints/agent-1", agent.to_string()).await;
        answer.expect(status)
    };
    assert_eq!(put(201).await["status"], "active");
    put(200).await;
    let tested = world.api.post("/v1/endpoints/agent-1/test", json!({})).await.expect(200);
    assert_eq!((tested["delivered"].clone(), tested["status"].clone()), (json!(true), json!(200)));
    assert_eq!(
        [
            world.api.delete("/v1/endpoints/agent-1").await.status,
            world.api.delete("/v1/endpoints/agent-1").await.status
        ],
        [204, 204]
    );
    let gone = world.api.post("/v1/endpoints/agent-1/test", json!({})).await;
    gone.expect_error(http::StatusCode::NOT_FOUND, "NOT_FOUND");

    // Backend keys with two environments: list, create, read, test all, read the secret again, delete.
    let test = crate::world::Client::new(&world.api_url, &world.demo.test_key);
    let made = test.post("/v1/endpoints", json!({ "url": url("/test") })).await.expect(201);
    let path = format!("/v1/endpoints/{}", made["id"].as_str().unwrap());
    assert_eq!(test.get("/v1/endpoints").await.expect(200).as_array().unwrap().len(), 1);
    assert_eq!(world.api.get("/v1/endpoints").await.expect(200), json!([]));
    assert_eq!(test.get(&format!("{path}/secret")).await.expect(200)["secret"], made["secret"]);
    test.post("/v1/endpoints/test", json!({})).await.expect(200);
    world.settle().await;
    assert_eq!(world.receiver.got_unverified("/test").len(), 1);
    assert_eq!(test.delete(&path).await.status, 204);

    // Dotted events with wildcards, paused and active again, changed in part; authorization to the receiver; who changed it.
    let settings = json!({
        "event_types": ["cases.*", "assignments.billing-details.*"],
        "authorization": { "type": "header", "name": "X-Api-Key", "value": "k3y" },
    });
    let id = world.endpoint("/cases", settings).await;
    let path = format!("/v1/endpoints/{id}");
    world.api.patch(&path, json!({ "status": "paused" })).await.expect(200);
    let changed = world.api.patch(&path, json!({ "status": "active", "name": "Cases" })).await.expect(200);
    assert_eq!(changed["authorization"], json!({ "type": "header", "name": "x-api-key" }));
    assert_eq!((changed["created_by"].clone(), changed["version"].clone()), (changed["updated_by"].clone(), json!(3)));
    world.send("assignments.billing-details.changed", json!({})).await;
    world.advance_seconds(1);
    let event = world.send("cases.tasks.created", json!({ "n": 1 })).await;
    world.settle().await;
    let got = world.receiver.got("/cases");
    assert_eq!((got.len(), got[0].header("x-api-key")), (2, "k3y"));

    // The latest log with payloads, and the latest status per subscribed event.
    let log = world
        .api
        .get(&format!("{path}/deliveries?status=succeeded&include=payload&sort_by=-created_at,status&limit=1"))
        .await;
    assert_eq!(log.body["data"][0]["payload"]["data"], json!({ "n": 1 }));
    assert_eq!(log.body["data"][0]["event_id"], event);
    assert_eq!(log.body["has_more"], true);
    let status = world.api.get(&format!("{path}/event-status")).await.expect(200);
    assert_eq!(status.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn chosen_fields_stay_those_of_the_first_attempt_at_every_later_one_and_at_a_replay() {
    let world = World::start().await;
    world.receiver.reply("/a", [Reply::Status(500), Reply::Status(200)]);
    let endpoint = world.endpoint("/a", json!({ "payload_fields": ["id", "n"] })).await;
    let event = world.send("a", json!({ "n": 1.0, "m": 2 })).await;
    world.settle().await;
    let path = format!("/v1/endpoints/{endpoint}");
    world.api.patch(&path, json!({ "payload_fields": ["m"] })).await.expect(200);
    world.advance_seconds(7);
    world.settle().await;
    world.api.post(&format!("/v1/events/{event}/replay"), json!({})).await.expect(202);
    world.settle().await;
    let got = world.receiver.got("/a");
    let sent = format!(r#"{{"id":"{event}","n":1.0}}"#);
    assert_eq!(got.iter().map(|got| &got.body[..]).collect::<Vec<_>>(), vec![sent.as_bytes(); 3]);
    let shown = world.api.get(&format!("{path}/deliveries/{event}")).await.expect(200);
    assert_eq!(shown["payload"], json!({ "id": event, "n": 1.0 }));

    let later = world.send("a", json!({ "n": 1.0, "m": 2 })).await;
    world.settle().await;
    assert_eq!(world.receiver.got("/a").last().unwrap().body[..], *br#"{"m":2}"#);
    assert_eq!(world.delivery(&endpoint, &later).await["payload"], json!({ "m": 2 }));
}
