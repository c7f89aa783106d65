//! The address guard at every door: where an endpoint is made, at every attempt, and at the test call. What a name leads to is judged in the sender's
//! own tests.

use http::StatusCode;
use serde_json::json;

use crate::world::World;

/// Parameters of a stack as an operator deploys it who allows nothing.
const STRICT: &[(&str, &str)] = &[("AllowedRanges", "")];

#[tokio::test]
async fn endpoint_that_has_come_to_lead_inside_gets_nothing_and_its_record_says_why() {
    let mut world = World::start().await;
    let id = world.endpoint("/a", json!({})).await;
    let by_name = world.receiver.url("/b").replace("127.0.0.1", "localhost");
    let named = world.endpoint("/b", json!({ "url": by_name })).await;
    let event = world.send("a", json!({})).await;
    world.settle().await;
    for (path, endpoint) in [("/a", &id), ("/b", &named)] {
        assert_eq!(world.receiver.got(path).len(), 1, "the operator allows it");
        assert_eq!(world.delivery(endpoint, &event).await["status"], "succeeded");
    }

    world.redeploy(STRICT).await;
    let event = world.send("a", json!({})).await;
    world.settle().await;
    for (path, endpoint) in [("/a", id), ("/b", named)] {
        assert_eq!(world.receiver.got(path).len(), 1);
        let delivery = world.delivery(&endpoint, &event).await;
        let attempt = &delivery["attempts"][0];
        assert_eq!((&delivery["status"], &attempt["status_code"]), (&json!("pending"), &json!(null)));
        assert!(attempt["error"].as_str().unwrap().starts_with("address_blocked: "), "{attempt}");
        assert_eq!(attempt["response_body"], "");

        let tested = world.api.post(&format!("/v1/endpoints/{endpoint}/test"), json!({})).await.expect(200);
        assert_eq!(tested["delivered"], false);
        assert!(tested["error"].as_str().unwrap().starts_with("address_blocked: "), "{tested}");
        assert_eq!(world.receiver.got(path).len(), 1);
    }
}

#[tokio::test]
async fn operator_allows_ranges_by_name_and_no_more_than_those() {
    let mut world = World::start().await;
    world.redeploy(STRICT).await;
    let make = |url: &str| {
        let url = url.to_owned();
        let api = world.api.clone();
        async move { api.post("/v1/endpoints", json!({ "url": url })).await }
    };
    let inside = ["http://127.0.0.1/", "http://10.1.2.3/", "http://[fd00::1]/", "http://billing.internal/"];
    for url in inside {
        assert_eq!(make(url).await.expect_error(StatusCode::BAD_REQUEST, "VALIDATION_ERROR"), ["url"], "{url}");
    }
    world.redeploy(&[("AllowedRanges", "10.1.0.0/16,fd00::/8")]).await;
    let make = |url: &str| {
        let url = url.to_owned();
        let api = world.api.clone();
        async move { api.post("/v1/endpoints", json!({ "url": url })).await.status }
    };
    for (url, status) in [
        ("http://10.1.2.3/", 201),
        ("http://10.2.2.3/", 400),
        ("http://[fd00::1]/", 201),
        ("http://[fe80::1]/", 400),
        ("http://127.0.0.1/", 400),
        ("http://169.254.169.254/latest/meta-data/", 400),
    ] {
        assert_eq!(make(url).await, status, "{url}");
    }
}
