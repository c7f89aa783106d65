//! What each function may call on AWS, held against what it does call: every route and every path of deliver and the sweeper is walked, and the
//! roles of the template must allow each call on what it was made on, and nothing that was never called.

use std::collections::{BTreeMap, BTreeSet};

use http::StatusCode;
use local::aws::{Call, Fault, FaultRule, Service};
use local::template::TEMPLATE;
use reqwest::Method;
use serde_json::json;
use serde_yaml_ng::Value;

use crate::world::{Answer, Reply, World};

/// A function's actions, and on what, in the words of the template's logical names.
type Allowed = BTreeMap<String, BTreeSet<String>>;

const FUNCTIONS: [&str; 4] = ["ApiFunction", "DeliverEventsFunction", "DeliverRetriesFunction", "SweepFunction"];

/// The actions that a call needs, as a role names them.
fn actions(call: &Call) -> Vec<String> {
    let service = match call.service {
        Service::DynamoDb => "dynamodb",
        Service::Sqs => "sqs",
        Service::SecretsManager => "secretsmanager",
    };
    call.actions.iter().map(|action| format!("{service}:{action}")).collect()
}

/// What a call was made on, as the template's roles name it.
fn places(call: &Call) -> Vec<&'static str> {
    let resources = if call.resources.is_empty() { vec!["table".to_owned()] } else { call.resources.clone() };
    let place = |resource: &String| match resource.as_str() {
        index if index.contains("/index/") => "Table.Arn}/index",
        queue if queue.ends_with("-events") => "EventsQueue.Arn",
        queue if queue.ends_with("-retries") => "RetriesQueue.Arn",
        queue if queue.ends_with("-dead-letters") => "DeadLetterQueue.Arn",
        secret if secret.ends_with("/root-key") => "RootKey",
        secret if secret.contains("/endpoints/") => "/endpoints/",
        _ => "Table.Arn",
    };
    resources.iter().map(place).collect()
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Sequence(values) => values.iter().flat_map(texts).collect(),
        Value::Tagged(tagged) => texts(&tagged.value),
        Value::String(text) => vec![text.clone()],
        _ => Vec::new(),
    }
}

fn allowed(function: &str) -> Allowed {
    let template: Value = serde_yaml_ng::from_str(TEMPLATE).unwrap();
    let role = function.replace("Function", "Role");
    let mut allowed = Allowed::new();
    for policy in template["Resources"][&*role]["Properties"]["Policies"].as_sequence().unwrap() {
        for statement in policy["PolicyDocument"]["Statement"].as_sequence().unwrap() {
            for action in texts(&statement["Action"]) {
                allowed.entry(action).or_default().extend(texts(&statement["Resource"]));
            }
        }
    }
    assert!(!allowed.is_empty());
    allowed
}

/// Walks every path that calls AWS.
async fn walk(world: &World) {
    let root = &world.root;
    world.api.get("/v1/health").await.expect(200);
    let tenant = root.post("/v1/tenants", json!({ "name": "x" })).await.expect(201);
    let tenant = format!("/v1/tenants/{}", tenant["id"].as_str().unwrap());
    let key = root.post(&format!("{tenant}/keys"), json!({ "mode": "live" })).await.expect(201);
    root.get(&format!("{tenant}/keys")).await.expect(200);
    root.delete(&format!("{tenant}/keys/{}", key["id"].as_str().unwrap())).await.expect(204);

    world.receiver.reply("/gone", [Reply::Status(410)]);
    // The test event and another one fail; their retries meet a receiver that is gone.
    world.receiver.reply("/down", [Reply::Status(500), Reply::Status(500), Reply::Status(410)]);
    world.endpoint("/gone", json!({})).await;
    let down = world
        .endpoint("/down", json!({ "uid": "down", "event_types": ["once"], "retry": { "schedule_seconds": [1_800] } }))
        .await;
    let deleted = world.endpoint("/deleted", json!({ "uid": "deleted" })).await;
    world
        .api
        .patch("/v1/endpoints/deleted", json!({ "authorization": { "type": "bearer", "token": "t" } }))
        .await
        .expect(200);
    world.api.get("/v1/endpoints").await.expect(200);
    world.api.get("/v1/endpoints/down/secret").await.expect(200);
    manage(world).await;
    // A uid that is taken leaves a secret to be removed.
    let taken = json!({ "url": world.receiver.url("/taken"), "uid": "down" });
    world.api.post("/v1/endpoints", taken).await.expect_error(StatusCode::CONFLICT, "CONFLICT");
    let once = world.send("once", json!({})).await;
    let event = world.send("a", json!({})).await;
    let keyed = json!({ "type": "a", "data": {}, "idempotency_key": "k" });
    world.api.post("/v1/events", keyed).await.expect(202);
    world.send_message(&world.message("a", json!({ "idempotency_key": "k" })).to_string()).await;
    world.send_message("poison").await;
    world.send_retry("poison").await;
    world.settle().await;
    world.api.delete(&format!("/v1/endpoints/{deleted}")).await.expect(204);
    // A secret that cannot be removed at once is noted for later.
    let rule = FaultRule::once(Service::SecretsManager, "DeleteSecret", Fault::Throttle);
    world.aws.faults().inject(FaultRule { times: 3, ..rule });
    world.sweep().await;
    world.run(86_400).await;
    world.delivery(&down, &once).await;
    for path in ["/v1/endpoints/down/deliveries", "/v1/events", &format!("/v1/events/{event}")] {
        world.api.get(path).await.expect(200);
    }
    send_again(world, &event).await;
    root.delete(&tenant).await.expect(204);
    world.run_minutes(3).await;
    // A message that comes a second time, and a large fan-out.
    world.aws.faults().duplicate_messages(true);
    let large = world.tenant_with(json!({ "name": "Large", "max_endpoints": 30 })).await;
    for n in 0..26 {
        world.endpoint_of(&large, &format!("/{n}"), json!({})).await;
    }
    large.post("/v1/events", json!({ "type": "a", "data": {} })).await.expect(202);
    world.settle().await;
}

/// The routes that change or ask without sending what has been sent.
async fn manage(world: &World) {
    let api = &world.api;
    let put = json!({ "url": world.receiver.url("/well"), "event_types": ["a"] }).to_string();
    for status in [201, 200] {
        let answer = api.send(Method::PUT, "/v1/endpoints/well", put.clone()).await.expect(status);
        if let Some(secret) = answer["secret"].as_str() {
            world.receiver.trust("/well", secret);
        }
    }
    let request = api.request(Method::POST, "/v1/endpoints").header("idempotency-key", "k").body(put.clone());
    let made = Answer::of(request.header("content-type", "application/json")).await.expect(201);
    world.receiver.trust("/well", made["secret"].as_str().unwrap());
    let rotated = api.post("/v1/endpoints/well/secret/rotate", json!({})).await.expect(200);
    world.receiver.trust("/well", rotated["secret"].as_str().unwrap());
    api.delete("/v1/endpoints/well/secret/previous").await;
    api.post("/v1/endpoints/well/test", json!({})).await.expect(200);
    api.post("/v1/endpoints/test", json!({})).await;
    let catalogue = json!({ "description": "d", "schema": { "type": "object" } }).to_string();
    api.send(Method::PUT, "/v1/event-types/a", catalogue).await;
    for path in ["/v1/event-types", "/v1/event-types/a", "/v1/endpoints/well/event-status", "/v1/endpoints/well/stats"]
    {
        api.get(path).await.expect(200);
    }
    let batch = json!({ "events": [{ "type": "a", "data": {} }, { "type": "b", "data": {} }] });
    let batch = api.post("/v1/events/batch", batch).await;
    assert!(batch.status < 300, "{}", batch.body);
    api.delete("/v1/event-types/a").await.expect(204);
    let tenant = format!("/v1/tenants/{}", world.demo.tenant_id);
    world.root.get("/v1/tenants").await.expect(200);
    world.root.get(&tenant).await.expect(200);
    world.root.patch(&tenant, json!({ "name": "Demo" })).await.expect(200);
    let session = world.root.post(&format!("{tenant}/portal-sessions"), json!({ "mode": "live" })).await;
    assert!(session.status < 300, "{}", session.body);
}

/// Retries by hand and replays.
async fn send_again(world: &World, event: &str) {
    let retried = world.api.post(&format!("/v1/endpoints/well/deliveries/{event}/retry"), json!({})).await;
    assert_eq!(retried.status, 202, "{}", retried.body);
    let replayed = world.api.post(&format!("/v1/events/{event}/replay"), json!({})).await;
    assert_eq!(replayed.status, 202, "{}", replayed.body);
    let range = json!({ "since": "2026-11-19T00:00:00Z", "status": ["failed", "succeeded"] });
    let replay = world.api.post("/v1/endpoints/well/replay", range).await.expect(202);
    world.run_minutes(5).await;
    world.api.get(&format!("/v1/replays/{}", replay["id"].as_str().unwrap())).await.expect(200);
    for query in ["status=failed", "event_type=a", "sort_by=-status", "include=payload"] {
        world.api.get(&format!("/v1/endpoints/well/deliveries?{query}")).await.expect(200);
    }
}

#[tokio::test]
async fn roles_allow_what_the_functions_call_on_what_they_call_it_on() {
    let world = World::start().await;
    walk(&world).await;
    let calls = world.aws.calls().take();
    let (mut missing, mut idle) = (BTreeSet::new(), BTreeSet::new());
    for function in FUNCTIONS {
        let allowed = allowed(function);
        let mut used = BTreeSet::new();
        for call in calls.iter().filter(|call| call.identity == function) {
            for action in actions(call) {
                for place in places(call) {
                    if !allowed.get(&action).is_some_and(|on| on.iter().any(|on| on.contains(place))) {
                        missing.insert(format!("{function}: {action} on {place}"));
                    }
                }
                used.insert(action);
            }
        }
        // Lambda's own part: logs, and what its poller does with the queue.
        let lambda = |action: &String| {
            let poller = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"];
            action.starts_with("logs:") || (function.starts_with("Deliver") && poller.contains(&action.as_str()))
        };
        let unused = allowed.into_keys().filter(|action| !used.contains(action) && !lambda(action));
        idle.extend(unused.map(|action| format!("{function}: {action}")));
    }
    assert_eq!((missing, idle), (BTreeSet::new(), BTreeSet::new()), "needed but missing, and allowed but idle");
}
