//! Parameters of the stack that callers notice.

use http::StatusCode;
use reqwest::Method;
use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn pages_of_allowed_origins_may_call_the_api_and_no_others() {
    let mut world = World::start().await;
    let preflight = async |world: &World, origin: &str| {
        let request = reqwest::Client::new().request(Method::OPTIONS, format!("{}/v1/endpoints", world.api_url));
        let request = request.header("origin", origin).header("access-control-request-method", "POST");
        request.header("access-control-request-headers", "authorization,content-type").send().await.unwrap()
    };
    let app = "https://app.example.com";
    let refused = preflight(&world, app).await;
    assert_eq!((refused.status().as_u16(), refused.headers().get("access-control-allow-origin")), (405, None));

    world.redeploy(&[("CorsOrigins", "https://app.example.com, http://localhost:3000")]).await;
    let allowed = preflight(&world, app).await;
    let header = |name: &str| allowed.headers()[name].to_str().unwrap().to_lowercase();
    assert_eq!((allowed.status().as_u16(), header("access-control-allow-origin")), (200, app.to_owned()));
    assert!(header("access-control-allow-methods").contains("post"));
    assert!(header("access-control-allow-headers").contains("authorization"));
    assert!(allowed.headers().get("access-control-allow-credentials").is_none());
    assert_eq!(preflight(&world, "https://evil.example.com").await.headers().get("access-control-allow-origin"), None);
    let listed = world.api.request(Method::GET, "/v1/endpoints").header("origin", app).send().await.unwrap();
    assert_eq!(listed.status().as_u16(), 200);
    assert_eq!(listed.headers()["access-control-allow-origin"], app);
    assert!(listed.headers()["access-control-expose-headers"].to_str().unwrap().contains("x-request-id"));
}

#[tokio::test]
async fn secrets_are_encrypted_with_the_operators_own_key_if_there_is_one() {
    let mut world = World::start().await;
    let key = "arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let secrets = aws_sdk_secretsmanager::Client::new(&local::clients::sdk_config(world.aws.endpoint_url(), "t").await);
    let key_of = async |world: &World, endpoint: &str| {
        let name = format!("outhook/endpoints/{}/live/{endpoint}", world.demo.tenant_id);
        secrets.describe_secret().secret_id(name).send().await.unwrap().kms_key_id
    };
    let before = world.endpoint("/a", json!({})).await;
    assert_eq!(key_of(&world, &before).await, None);
    world.redeploy(&[("KmsKeyArn", key)]).await;
    let after = world.endpoint("/b", json!({})).await;
    assert_eq!(key_of(&world, &after).await.as_deref(), Some(key));
    world.send("a", json!({})).await;
    world.settle().await;
    assert_eq!((world.receiver.got("/a").len(), world.receiver.got("/b").len()), (1, 1));
}

#[tokio::test]
async fn batch_of_four_mebibytes_is_accepted_and_one_byte_more_is_refused_by_us() {
    let world = World::start().await;
    world.endpoint("/a", json!({})).await;
    let _ = world.aws.calls().take();
    let batch = |bytes: usize| {
        let events: Vec<_> =
            (0..20).map(|n| json!({ "type": "a", "data": { "n": n, "x": "x".repeat(200_000) } })).collect();
        let mut body = json!({ "events": events }).to_string();
        assert!(body.len() < bytes);
        body.extend(std::iter::repeat_n(' ', bytes - body.len()));
        body
    };
    let path = "/v1/events/batch";
    let larger = world.api.send(Method::POST, path, batch(4 * 1_024 * 1_024 + 1)).await;
    larger.expect_error(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE");
    world.assert_nothing_changed();
    world.api.send(Method::POST, path, batch(4 * 1_024 * 1_024)).await.expect(202);
    world.settle().await;
    assert_eq!(world.receiver.got("/a").len(), 20);
}
