//! A panic over one message of a batch: that message alone comes back, wherever in its work it happened; the others are delivered and on record.
//!
//! Nothing in deliver panics that we know of. So the panic comes from outside: a log subscriber that panics at a chosen line of a chosen message.

use std::collections::BTreeSet;
use std::fmt::Debug;

use aws_lambda_events::sqs::SqsEvent;
use local::clients::sdk_config;
use serde_json::{Value, json};
use shared::services::Services;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Metadata, Subscriber};

use crate::samples::{TENANT, sample};
use crate::world::World;

/// Panics at the line with this text, if a field of it has this value.
struct PanicsAt {
    line: &'static str,
    value: String,
}

struct Seen<'a> {
    panics: &'a PanicsAt,
    line: bool,
    value: bool,
}

impl Visit for Seen<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let value = format!("{value:?}");
        self.line |= field.name() == "message" && value == self.panics.line;
        self.value |= value.trim_matches('"') == self.panics.value;
    }
}

impl Subscriber for PanicsAt {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("shared::pipeline::deliver")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut seen = Seen { panics: self, line: false, value: false };
        event.record(&mut seen);
        assert!(!(seen.line && seen.value), "a panic that a test has asked for");
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Ten messages like the sample's, each its own, sent now.
fn batch(world: &World, receives: u32) -> SqsEvent {
    let mut batch: Value = serde_json::from_str(&sample("sqs.json")).unwrap();
    let record = batch["Records"][0].clone();
    let records = (0..10).map(|n| {
        let mut record = record.clone();
        record["attributes"]["SentTimestamp"] = json!(world.clock.now().as_millisecond().to_string());
        record["attributes"]["ApproximateReceiveCount"] = json!(receives.to_string());
        record["messageId"] = json!(format!("message-{n}"));
        record["messageAttributes"]["RequestId"] =
            json!({ "stringValue": format!("request-{n}"), "dataType": "String" });
        record
    });
    batch["Records"] = records.collect();
    serde_json::from_str(&batch.to_string().replace(TENANT, &world.demo.tenant_id.to_string())).unwrap()
}

/// Delivers ten messages with a panic over the fourth; which came back.
async fn deliver_with_a_panic_at(world: &World, services: &Services, line: &'static str, value: &str) -> Vec<String> {
    // While there is one subscriber only, whichever test's thread first comes by a line decides for all whether anybody wants it.
    let _other = Dispatch::new(PanicsAt { line: "", value: String::new() });
    let _subscribed = tracing::subscriber::set_default(PanicsAt { line, value: value.to_owned() });
    let response = deliver::handle(services, batch(world, 1), world.deadline()).await;
    response.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect()
}

#[tokio::test]
async fn panic_over_one_message_brings_back_that_message_alone() {
    for (line, value) in [("reading", "message-3"), ("planning", "message-3"), ("attempt", "request-3")] {
        let world = World::start().await;
        let endpoint = world.endpoint("/a", json!({})).await;
        let services = world.services.clone();
        let came_back = deliver_with_a_panic_at(&world, &services, line, value).await;
        assert_eq!(came_back, ["message-3"], "at {line}");
        let on_record = async || {
            let list = world.api.get(&format!("/v1/endpoints/{endpoint}/deliveries")).await.expect(200);
            let list = list.as_array().unwrap().clone();
            assert!(list.iter().all(|delivery| delivery["status"] == "succeeded"));
            list.iter().map(|delivery| delivery["event_id"].to_string()).collect::<BTreeSet<_>>()
        };
        assert_eq!(on_record().await.len(), 9, "at {line}");
        // The queue hands it over again, to an instance without the fault.
        let aws = sdk_config(world.aws.endpoint_url(), "DeliverEventsFunction").await;
        let fresh = Services::new(services.config.clone(), world.clock.clone(), &aws).unwrap();
        assert!(deliver::handle(&fresh, batch(&world, 2), world.deadline()).await.batch_item_failures.is_empty());
        assert_eq!(on_record().await.len(), 10, "after {line}");
    }
}
