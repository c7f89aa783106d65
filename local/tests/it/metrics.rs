//! What deliver measures of its work, batch by batch, that alarms, dashboard and documents know the same names, and that alarms cost what the documents say.

use local::aws::Aws;
use local::clients::sdk_config;
use local::template::TEMPLATE;
use serde_json::{Value, json};
use serde_yaml_ng::Value as Yaml;
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
        "AttemptsFailed": [1], "AttemptDuration": 1, "AcceptToFirstAttempt": [waited],
    });
    assert_eq!(first.iter().map(values).collect::<Vec<_>>(), [expected]);

    // The same message again: nothing was attempted, so there is nothing to say.
    let again = batch.to_string().replace(r#""ApproximateReceiveCount":"1""#, r#""ApproximateReceiveCount":"2""#);
    assert_ne!(again, batch.to_string());
    assert_eq!(deliver(&world, &services, &again).await, [json!(null); 0]);

    // The receiver is gone: the delivery fails for good, and the endpoint is disabled.
    world.advance_seconds(7);
    let services = measured(&world, &world.aws, "DeliverRetriesFunction").await;
    let last = deliver(&world, &services, &wake_of(&world, &endpoint).await).await;
    let expected =
        json!({ "AttemptsFailed": [1], "AttemptDuration": 1, "DeliveriesFailed": 1, "EndpointsDisabled": 1 });
    assert_eq!(last.iter().map(values).collect::<Vec<_>>(), [expected]);
}

#[test]
fn dashboard_and_operations_guide_know_every_metric_and_no_other() {
    let guide = include_str!("../../../docs/operations.md");
    for name in NAMES {
        assert!(TEMPLATE.contains(&format!("\"{name}\"")), "{name} is not on the dashboard");
        assert!(guide.contains(&format!("`{name}`")), "{name} is not in docs/operations.md");
    }
    // Metrics of this namespace are ours, but for the one that filters make of lines that tell of trouble.
    let ours = TEMPLATE.split("[\"Outhook/${AWS::StackName}\", \"").skip(1);
    let ours = ours.map(|rest| rest.split('"').next().unwrap_or_default());
    let alarmed = TEMPLATE.split("Namespace: !Sub 'Outhook/${AWS::StackName}'").skip(1);
    let alarmed = alarmed.filter_map(|rest| rest.split("MetricName: ").nth(1)?.split_whitespace().next());
    let all: Vec<_> = ours.chain(alarmed).collect();
    assert!(all.len() > 5, "{all:?}");
    for name in all {
        assert!(NAMES.contains(&name) || name == "Trouble", "{name} is measured by nobody");
    }
}

/// Every alarm of the template: its name, whether it is there only with `Alarms=All`, and how many metrics it looks at, by which CloudWatch charges.
fn alarms() -> Vec<(String, bool, usize)> {
    let template: Yaml = serde_yaml_ng::from_str(TEMPLATE).unwrap();
    let resources = template["Resources"].as_mapping().unwrap();
    let alarms = resources.iter().filter(|(_, one)| one["Type"].as_str() == Some("AWS::CloudWatch::Alarm"));
    let looked_at = |one: &Yaml| match one["Properties"]["Metrics"].as_sequence() {
        Some(metrics) => metrics.iter().filter(|metric| !metric["MetricStat"].is_null()).count(),
        None => 1,
    };
    alarms
        .map(|(name, one)| {
            let is_extra = one["Condition"].as_str() == Some("HasAllAlarms");
            (name.as_str().unwrap().to_owned(), is_extra, looked_at(one))
        })
        .collect()
}

/// Dollars a month for so many metrics of alarms.
fn price(metrics: usize) -> String {
    format!("{}.{}0", metrics / 10, metrics % 10)
}

#[test]
fn every_alarm_is_in_the_guide_with_its_set_and_its_price() {
    let guide = include_str!("../../../docs/operations.md");
    for (name, is_extra, metrics) in alarms() {
        let set = if is_extra { "All" } else { "Essential" };
        let row = format!("| `{name}` | {set} | {} |", price(metrics));
        assert!(guide.contains(&row), "docs/operations.md does not have: {row}");
    }
    let (essential, all) = (watched(false), watched(true));
    assert!(guide.contains(&format!("Essential is {} a month, All {}", price(essential), price(all))));
    let rows = guide.lines().filter(|line| line.contains("Alarm` | Essential | ") || line.contains("Alarm` | All | "));
    assert_eq!(rows.count(), alarms().len());
}

fn watched(all: bool) -> usize {
    alarms().into_iter().filter(|(_, is_extra, _)| all || !is_extra).map(|(_, _, metrics)| metrics).sum()
}

#[test]
fn stack_that_does_nothing_costs_what_the_cost_page_says_and_no_more_than_a_dollar_and_a_half() {
    let page = include_str!("../../../docs/costs.md");
    let section = page.split("## A stack that does nothing").nth(1).unwrap().split("\n## ").next().unwrap();
    let (essential, all) = (watched(false), watched(true));
    let row = format!("| Alarms: {essential} metrics (`Alarms=Essential`), 0.10 each | {} |", price(essential));
    assert!(section.contains(&row), "the page does not have: {row}");
    let more = format!("there are {all} metrics in {} alarms, {} instead of", alarms().len(), price(all));
    assert!(section.contains(&more), "the page does not say: {more}");
    let (less, less_of_all) = (price(essential - 1), price(all - 1));
    assert!(section.contains(&format!("{less}, or {less_of_all}.")), "{less} {less_of_all}");
    // The rows add up.
    let prices = section.lines().filter(|line| line.starts_with("| ") && !line.contains("together"));
    let cents =
        prices.filter_map(|line| line.trim_end_matches(" |").rsplit("| ").next()?.replace('.', "").parse::<u32>().ok());
    let sum = cents.sum::<u32>();
    assert!(section.contains(&format!("| **together** | **{}.{:02}** |", sum / 100, sum % 100)), "{sum}");
    assert!(sum <= 150, "{sum}");
}
