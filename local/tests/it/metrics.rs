//! What deliver measures of its work, batch by batch, and that alarms, dashboard and documents know the same names.

use local::aws::Aws;
use local::clients::sdk_config;
use local::template::TEMPLATE;
use serde_json::{Value, json};
use shared::config::Config;
use shared::metrics::NAMES;
use shared::services::Services;

use crate::samples::{TENANT, sample, wake_of};
use crate::world::{Reply, World};

/// A function's services with metrics switched on, which the local stack has not.
async fn measured(world: &World, aws: &Aws, function: &str) -> Services {
    let config = Config { metrics_namespace: Some("Outhook/outhook".to_owned()), ..world.services.config.clone() };
    let aws = sdk_config(aws.endpoint_url(), function).await;
    Services::new(config, world.clock.clone(), &aws).unwrap()
}

/// Delivers a batch as Lambda hands it over; what was measured in it.
async fn deliver(world: &World, services: &Services, batch: &str) -> Vec<Value> {
    let batch = batch.replace(TENANT, &world.demo.tenant_id.to_string());
    let response = deliver::handle(services, serde_json::from_str(&batch).unwrap(), world.deadline()).await;
    assert!(response.batch_item_failures.is_empty());
    services.metrics.take(world.clock.now())
}

/// The values of a line, without what CloudWatch is told about them.
fn values(line: &Value) -> Value {
    let mut values = line.clone();
    let told = values.as_object_mut().unwrap().remove("_aws").unwrap();
    let directive = &told["CloudWatchMetrics"][0];
    assert_eq!((&directive["Namespace"], &directive["Dimensions"]), (&json!("Outhook/outhook"), &json!([[]])));
    let named = directive["Metrics"].as_array().unwrap().iter().map(|metric| metric["Name"].as_str().unwrap());
    assert_eq!(named.collect::<Vec<_>>().len(), values.as_object().unwrap().len());
    // How long a request took is nobody's to say.
    if let Some(durations) = values.get("AttemptDuration").and_then(Value::as_array) {
        values["AttemptDuration"] = json!(durations.len());
    }
    values
}

#[tokio::test]
async fn batch_says_in_one_line_what_was_accepted_attempted_and_how_long_it_waited() {
    let world = World::start().await;
    let services = measured(&world, &world.aws, "DeliverEventsFunction").await;
    let policy = json!({ "retry": { "max_attempts": 2, "schedule_seconds": [5] } });
    let endpoint = world.endpoint("/a", policy).await;
    world.receiver.reply("/a", [Reply::Status(500), Reply::Status(410)]);

    let batch: Value = serde_json::from_str(&sample("sqs.json")).unwrap();
    let sent_at: i64 = batch["Records"][0]["attributes"]["SentTimestamp"].as_str().unwrap().parse().unwrap();
    let first = deliver(&world, &services, &batch.to_string()).await;
    let waited = world.clock.now().as_millisecond() - sent_at;
    let expected = json!({
        "EventsAccepted": 1, "AttemptsFailed": 1, "AttemptDuration": 1, "AcceptToFirstAttempt": [waited],
    });
    assert_eq!(first.iter().map(values).collect::<Vec<_>>(), [expected]);

    // The same message again: nothing was accepted, nothing attempted, so there is nothing to say.
    let again = batch.to_string().replace(r#""ApproximateReceiveCount":"1""#, r#""ApproximateReceiveCount":"2""#);
    assert_ne!(again, batch.to_string());
    assert_eq!(deliver(&world, &services, &again).await, [json!(null); 0]);

    // The receiver is gone: the delivery fails for good, and the endpoint is disabled.
    world.advance_seconds(7);
    let services = measured(&world, &world.aws, "DeliverRetriesFunction").await;
    let last = deliver(&world, &services, &wake_of(&world, &endpoint).await).await;
    let expected = json!({ "AttemptsFailed": 1, "AttemptDuration": 1, "DeliveriesFailed": 1, "EndpointsDisabled": 1 });
    assert_eq!(last.iter().map(values).collect::<Vec<_>>(), [expected]);
}

#[test]
fn dashboard_and_operations_guide_know_every_metric_and_no_other() {
    let guide = include_str!("../../../docs/operations.md");
    for name in NAMES {
        assert!(TEMPLATE.contains(&format!("\"{name}\"")), "{name} is not on the dashboard");
        assert!(guide.contains(&format!("`{name}`")), "{name} is not in docs/operations.md");
    }
    // Metrics of this namespace are ours, but for the one that a filter makes of error lines.
    let ours = TEMPLATE.split("[\"Outhook/${AWS::StackName}\", \"").skip(1);
    let ours = ours.map(|rest| rest.split('"').next().unwrap_or_default());
    let alarmed = TEMPLATE.split("Namespace: !Sub 'Outhook/${AWS::StackName}'").skip(1);
    let alarmed = alarmed.filter_map(|rest| rest.split("MetricName: ").nth(1)?.split_whitespace().next());
    let all: Vec<_> = ours.chain(alarmed).collect();
    assert!(all.len() > 8, "{all:?}");
    for name in all {
        assert!(NAMES.contains(&name) || name == "ErrorLines", "{name} is measured by nobody");
    }
}
