//! What each function may call on AWS, held against what it does call: every route and every path of deliver and the sweeper is walked, each
//! function under its own identity, and the roles of the template must allow each call on what it was made on, and nothing that was never called.
//!
//! The roles are written out in the template, so SAM's transformation leaves them as they are.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

use http::StatusCode;
use local::aws::{Aws, AwsOptions, Call, Fault, FaultRule, Grant, Service};
use local::clients::sdk_config;
use local::grants::{grants, roles};
use local::provision::provision;
use local::stack::{OVERRIDES, function};
use local::template::{TEMPLATE, Template};
use reqwest::Method;
use serde_json::json;
use shared::clock::Clock;
use tokio::sync::OnceCell;
use tower::ServiceExt;

use crate::samples::sample;
use crate::world::{Answer, Reply, World};

const FUNCTIONS: [&str; 4] = ["ApiFunction", "DeliverEventsFunction", "DeliverRetriesFunction", "SweepFunction"];

/// How a role differs from what its function needs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Difference {
    /// What was called and is not allowed.
    missing: BTreeSet<Grant>,
    /// What is allowed and was not called, or is allowed on more than one thing.
    spare: BTreeSet<Grant>,
}

fn template() -> &'static Template {
    static READ: LazyLock<Template> = LazyLock::new(|| Template::read(TEMPLATE, &[], "http://localhost").unwrap());
    &READ
}

fn granted(function: &str) -> BTreeSet<Grant> {
    grants(template(), &template().role_of(function).unwrap()).unwrap()
}

fn grant(action: &str, resource: &str) -> Grant {
    Grant { action: action.to_owned(), resource: resource.to_owned() }
}

/// What Lambda itself does with the role, which no call of ours shows: it writes the log, and its poller looks at the queue.
fn is_lambdas(function: &str, grant: &Grant) -> bool {
    let logs = format!("arn:aws:logs:us-east-1:000000000000:log-group:/aws/lambda/{}:*", physical(function));
    let queues = template().queue_sources().unwrap();
    match grant.action.as_str() {
        "logs:CreateLogStream" | "logs:PutLogEvents" => grant.resource == logs,
        "sqs:GetQueueAttributes" => {
            queues.iter().any(|queue| queue.function == function && queue.queue_arn == grant.resource)
        }
        _ => false,
    }
}

/// The name that the template gives a function.
fn physical(function: &str) -> String {
    template().name_of(function).unwrap()
}

/// Holds what a function was seen to need against what is allowed.
fn difference(function: &str, granted: &BTreeSet<Grant>, needed: &BTreeSet<Grant>) -> Difference {
    let missing = needed.iter().filter(|needed| !granted.iter().any(|grant| grant.covers(needed)));
    let is_spare = |grant: &&Grant| {
        let wide = grant.resource.contains('*') && !grant.resource.ends_with(":secret:outhook/endpoints/*");
        !is_lambdas(function, grant) && (wide || !needed.iter().any(|needed| grant.covers(needed)))
    };
    Difference { missing: missing.cloned().collect(), spare: granted.iter().filter(is_spare).cloned().collect() }
}

/// What a function needed on a walk through the whole system. Its event source calls under the same role.
async fn needed(function: &str) -> BTreeSet<Grant> {
    static CALLS: OnceCell<Vec<Call>> = OnceCell::const_new();
    let walked = async {
        let mut world = World::start().await;
        walk(&world).await;
        convert_secrets(&mut world).await;
        world.aws.calls().take()
    };
    let poller = format!("{function}Poller");
    let calls = CALLS.get_or_init(|| walked).await.iter();
    calls.filter(|call| call.identity == function || call.identity == poller).flat_map(Call::needs).collect()
}

/// Switches how secrets are kept, there and back, with a wrapping key that is rotated.
async fn convert_secrets(world: &mut World) {
    for form in ["Sealed", "Dedicated"] {
        world.redeploy(&[("SigningSecrets", form)]).await;
        if form == "Sealed" {
            world.endpoint("/sealed", json!({})).await;
            world.send("a", json!({})).await;
        }
        for _ in 0..20 {
            world.advance_seconds(60);
            world.sweep().await;
            world.settle().await;
        }
    }
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
    show_secret_from_a_cold_instance(world).await;
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
    world.run(3 * 60).await;
    // A message that comes a second time, and a large fan-out.
    world.aws.faults().duplicate_messages(true);
    let large = world.tenant_with(json!({ "name": "Large", "max_endpoints": 30 })).await;
    for n in 0..26 {
        world.endpoint_of(&large, &format!("/{n}"), json!({})).await;
    }
    large.post("/v1/events", json!({ "type": "a", "data": {} })).await.expect(202);
    world.settle().await;
    world.aws.faults().duplicate_messages(false);
    heal(world).await;
    fall_ill_and_recover(world).await;
}

/// Endpoints that begin to fail, get slow, and are well again, in either lane; and somebody who wants to hear of deliveries that failed for good.
async fn fall_ill_and_recover(world: &World) {
    let client = world.other_tenant().await;
    world.endpoint_of(&client, "/ops", json!({ "event_types": ["delivery.failed"] })).await;
    let once = json!({ "max_attempts": 1 });
    let again = json!({ "schedule_seconds": [5, 5] });
    let (failed, well) = (Reply::Status(500), Reply::Status(200));
    for (name, retry, timeout_seconds, replies) in [
        ("moody", &once, 15, vec![failed.clone(), well.clone(), failed.clone()]),
        ("sorry", &again, 15, vec![failed.clone(), failed.clone(), failed.clone(), well]),
        ("lost", &again, 15, vec![failed.clone()]),
        ("tired", &once, 3, vec![failed, Reply::Hang]),
    ] {
        let path = format!("/{name}");
        world.receiver.reply(&path, replies);
        let settings = json!({ "event_types": [name], "retry": retry, "timeout_seconds": timeout_seconds });
        world.endpoint_of(&client, &path, settings).await;
        for _ in 0..2 {
            client.post("/v1/events", json!({ "type": name, "data": {} })).await.expect(202);
            world.settle().await;
        }
    }
    for _ in 0..2 {
        world.advance_seconds(7);
        world.settle().await;
    }
    let moody =
        client.get("/v1/events?event_type=moody&limit=1").await.expect(200)[0]["id"].as_str().unwrap().to_owned();
    client.post(&format!("/v1/events/{moody}/replay"), json!({})).await.expect(202);
    world.settle().await;
    give_up(world).await;
}

/// An endpoint that is disabled after six days of failures, whose event cannot be emitted at once.
async fn give_up(world: &World) {
    let client = &world.other_tenant().await;
    world.receiver.reply("/doomed", [Reply::Status(500)]);
    world.endpoint_of(client, "/told", json!({ "event_types": ["endpoint.disabled"] })).await;
    let once = json!({ "event_types": ["doomed"], "retry": { "max_attempts": 1 } });
    world.endpoint_of(client, "/doomed", once).await;
    let doomed = async || {
        client.post("/v1/events", json!({ "type": "doomed", "data": {} })).await.expect(202);
        world.settle().await;
    };
    doomed().await;
    world.run(6 * 86_400).await;
    let rule = FaultRule::once(Service::Sqs, "SendMessage", Fault::Unavailable);
    let identity = Some("DeliverRetriesFunction".to_owned());
    world.aws.faults().inject(FaultRule { times: 3, identity, ..rule });
    doomed().await;
    world.run(600).await;
    assert_eq!(world.receiver.got("/told").len(), 1);
}

/// What is left for the sweeper: a key whose overlap is over, and a replay whose message got lost.
async fn heal(world: &World) {
    let rotated = world.endpoint("/rotated", json!({ "uid": "rotated" })).await;
    let overlap = json!({ "overlap_seconds": 60 });
    let secret = world.api.post("/v1/endpoints/rotated/secret/rotate", overlap).await.expect(200);
    world.receiver.trust("/rotated", secret["secret"].as_str().unwrap());
    world.send("a", json!({})).await;
    world.settle().await;
    let range = json!({ "since": "2026-11-19T00:00:00Z" });
    world.api.post(&format!("/v1/endpoints/{rotated}/replay"), range).await.expect(202);
    world.queues.purge_queue().queue_url(&world.services.config.retries_queue_url).send().await.unwrap();
    world.run(5 * 60).await;
}

/// An instance of the API that has not made the endpoint itself has to read its secret.
async fn show_secret_from_a_cold_instance(world: &World) {
    let services = function(&world.template, "ApiFunction", &world.clock, world.aws.endpoint_url()).await.unwrap();
    let request = http::Request::get("/v1/endpoints/down/secret");
    let request = request.header("authorization", format!("Bearer {}", world.demo.live_key));
    let request = request.body(axum::body::Body::empty()).unwrap();
    assert_eq!(api::router(services).oneshot(request).await.unwrap().status(), StatusCode::OK);
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
    world.run(5 * 60).await;
    world.api.get(&format!("/v1/replays/{}", replay["id"].as_str().unwrap())).await.expect(200);
    for query in ["status=failed", "event_type=a", "sort_by=-status", "include=payload"] {
        world.api.get(&format!("/v1/endpoints/well/deliveries?{query}")).await.expect(200);
    }
}

#[tokio::test]
async fn roles_allow_what_the_functions_call_on_what_they_call_it_on_and_nothing_else() {
    for function in FUNCTIONS {
        let difference = difference(function, &granted(function), &needed(function).await);
        assert_eq!(difference, Difference::default(), "{function}");
    }
}

#[tokio::test]
async fn any_grant_that_is_taken_away_or_added_or_widened_is_noticed() {
    for function in FUNCTIONS {
        let (right, needed) = (granted(function), needed(function).await);
        assert!(right.len() > 5);
        for taken in right.iter().filter(|grant| !is_lambdas(function, grant)) {
            let mut less = right.clone();
            less.remove(taken);
            let found = difference(function, &less, &needed);
            assert!(found.missing.iter().all(|needed| taken.covers(needed)) && !found.missing.is_empty(), "{taken:?}");
            assert_eq!(found.spare, BTreeSet::new());

            let wide = grant(&taken.action, "*");
            less.insert(wide.clone());
            assert_eq!(difference(function, &less, &needed).spare, BTreeSet::from([wide]));
        }
        let everywhere: BTreeSet<_> = right.iter().map(|grant| &grant.resource).collect();
        for action in ["dynamodb:Scan", "dynamodb:BatchWriteItem", "sqs:PurgeQueue", "secretsmanager:UpdateSecret"] {
            for on in &everywhere {
                let added = grant(action, on);
                let more: BTreeSet<_> = right.iter().cloned().chain([added.clone()]).collect();
                let expected = Difference { missing: BTreeSet::new(), spare: BTreeSet::from([added]) };
                assert_eq!(difference(function, &more, &needed), expected);
            }
        }
        // What it may do in one place, in another.
        let elsewhere = grant(&right.first().unwrap().action, "arn:aws:dynamodb:us-east-1:000000000000:table/another");
        let more: BTreeSet<_> = right.iter().cloned().chain([elsewhere.clone()]).collect();
        assert_eq!(difference(function, &more, &needed).spare, BTreeSet::from([elsewhere]));
    }
}

/// All tests run under these roles, so that what this walk forgets is noticed where it is tested.
#[tokio::test]
async fn embedded_services_refuse_what_a_role_does_not_allow() {
    let listen = "127.0.0.1:0".parse().unwrap();
    let aws = Aws::start(AwsOptions { listen, open: false, data: None, clock: Clock::System, keeps_calls: true })
        .await
        .unwrap();
    let template = Template::read(TEMPLATE, OVERRIDES, aws.endpoint_url()).unwrap();
    provision(&template, &sdk_config(aws.endpoint_url(), "deployer").await).await.unwrap();
    let mut roles = roles(&template).unwrap();
    let deliver = roles.get_mut("DeliverEventsFunction").unwrap();
    deliver.retain(|grant| grant.action != "dynamodb:BatchGetItem");
    aws.enforce(roles);
    let services = function(&template, "DeliverEventsFunction", &Clock::System, aws.endpoint_url()).await.unwrap();
    let deadline = services.clock.moment() + Duration::from_secs(60);
    let response = deliver::handle(&services, serde_json::from_str(&sample("sqs.json")).unwrap(), deadline).await;
    assert_eq!(response.batch_item_failures.len(), 1);
    let refused = aws.refused();
    assert_eq!(refused.len(), 1);
    assert!(
        refused[0].contains("dynamodb:BatchGetItem on resource: arn:aws:dynamodb:us-east-1:000000000000:table/outhook")
    );
    aws.shutdown().await;
}

#[test]
fn other_roles_allow_their_one_thing() {
    let roles = template().resources("AWS::IAM::Role");
    let functions = ["ApiRole", "DeliverEventsRole", "DeliverRetriesRole"];
    assert_eq!(roles, [&functions[..], &["DeploymentRole", "ScheduleRole", "SweepRole"]].concat());
    let sweep = format!("arn:aws:lambda:us-east-1:000000000000:function:{}", physical("SweepFunction"));
    let invoke = |resource: &str| grant("lambda:InvokeFunction", resource);
    let schedule = grants(template(), "ScheduleRole").unwrap();
    assert_eq!(schedule, BTreeSet::from([invoke(&sweep), invoke(&format!("{sweep}:live"))]));
    let deployment = grants(template(), "DeploymentRole").unwrap();
    let aliases = |action: &str| grant(action, "arn:aws:lambda:us-east-1:000000000000:function:outhook-*");
    let expected = [
        aliases("lambda:GetAlias"),
        aliases("lambda:GetProvisionedConcurrencyConfig"),
        aliases("lambda:UpdateAlias"),
        grant("cloudwatch:DescribeAlarms", "*"),
    ];
    assert_eq!(deployment, BTreeSet::from(expected));
    assert_eq!(template().resources("AWS::IAM::Policy"), [""; 0]);
    assert_eq!(template().resources("AWS::IAM::ManagedPolicy"), [""; 0]);
    for function in FUNCTIONS {
        let of = |property: &str| template().property(function, property);
        assert_eq!((of("Policies"), of("PermissionsBoundary")), (Ok(None), Ok(None)));
        let trust = template().property(&template().role_of(function).unwrap(), "AssumeRolePolicyDocument");
        let trusted = &trust.unwrap().unwrap()["Statement"];
        assert_eq!(trusted.as_array().unwrap().len(), 1);
        assert_eq!(trusted[0]["Principal"], json!({ "Service": "lambda.amazonaws.com" }));
    }
}

#[test]
fn parameter_adds_to_every_functions_role_what_it_needs_and_nothing_else() {
    const KEY: &str = "arn:aws:kms:us-east-1:000000000000:key/1";
    let vpc = ["Assign", "Create", "Delete", "Describe", "Unassign"];
    for (parameter, value, service, resource) in [
        ("Tracing", "Active", "xray:Put", "*"),
        ("KmsKeyArn", KEY, "kms:", KEY),
        ("VpcSubnetIds", "subnet-1,subnet-2", "ec2:", "*"),
    ] {
        let with = Template::read(TEMPLATE, &[(parameter, value)], "http://localhost").unwrap();
        for function in FUNCTIONS {
            let more = grants(&with, &with.role_of(function).unwrap()).unwrap();
            let before = granted(function);
            let added: Vec<_> = more.difference(&before).collect();
            assert!(!added.is_empty() && more.is_superset(&before), "{parameter} {function}");
            for grant in added {
                assert!(grant.action.starts_with(service) && grant.resource == resource, "{grant:?}");
                let action = &grant.action["ec2:".len()..];
                assert!(service != "ec2:" || vpc.iter().any(|verb| action.starts_with(verb)), "{grant:?}");
            }
        }
    }
}
