//! What was answered is still there after a restart on the same data directory.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use aws_sdk_dynamodb::types::AttributeValue;
use local::aws::AwsStartError;
use shared::clock::Clock;

use crate::aws_dynamodb::create_table;
use crate::aws_services::{Clients, Services, bodies, clock};

#[tokio::test]
async fn queues_messages_secrets_and_tables_survive_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let clock = clock();
    let services = Services::start_on(Some(data.path()), clock.clone()).await.unwrap();
    let url = services.queue("due", &[("VisibilityTimeout", "30")]).await;
    services.send(&url, "in flight").await;
    assert_eq!(services.receive(&url).await.len(), 1);
    services.send(&url, "visible").await;
    let gone = services.send(&url, "gone").await;
    let late = services.sqs.send_message().queue_url(&url).message_body("late").delay_seconds(600);
    late.send().await.unwrap();
    let received = services.receive(&url).await;
    for message in received.iter().filter(|message| message.message_id() == Some(gone.as_str())) {
        let handle = message.receipt_handle().unwrap();
        services.sqs.delete_message().queue_url(&url).receipt_handle(handle).send().await.unwrap();
    }
    services.secrets.create_secret().name("kept").secret_string("value").send().await.unwrap();
    create_table(&services.dynamodb).await;
    let put = services.dynamodb.put_item().table_name("things").item("id", AttributeValue::S("a".to_owned()));
    put.send().await.unwrap();
    services.aws.shutdown().await;

    let services = Services::start_on(Some(data.path()), clock).await.unwrap();
    assert_eq!(services.counts(&url).await, (0, 2, 1));
    services.advance_seconds(30);
    // By the old URL, with the port of before.
    let again = services.receive(&url).await;
    let mut found = bodies(&again);
    found.sort_unstable();
    assert_eq!(found, ["in flight", "visible"]);
    let counts = again.iter().map(|message| message.attributes().unwrap()[&"ApproximateReceiveCount".into()].as_str());
    assert_eq!(counts.collect::<Vec<_>>(), ["2", "2"]);
    let secret = services.secrets.get_secret_value().secret_id("kept").send().await.unwrap();
    assert_eq!(secret.secret_string(), Some("value"));
    let key = AttributeValue::S("a".to_owned());
    assert!(services.dynamodb.get_item().table_name("things").key("id", key).send().await.unwrap().item.is_some());
}

#[tokio::test]
async fn deleted_and_purged_queues_stay_empty_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let services = Services::start_on(Some(data.path()), clock()).await.unwrap();
    // A name that is the start of another, so that only the right records go.
    let purged = services.queue("due", &[]).await;
    let kept = services.queue("due-2", &[]).await;
    services.send(&purged, "a").await;
    services.send(&kept, "b").await;
    services.sqs.purge_queue().queue_url(&purged).send().await.unwrap();
    services.aws.shutdown().await;

    let services = Services::start_on(Some(data.path()), clock()).await.unwrap();
    assert_eq!(services.counts(&purged).await, (0, 0, 0));
    assert_eq!(services.counts(&kept).await, (1, 0, 0));
    services.sqs.delete_queue().queue_url(&kept).send().await.unwrap();
    services.aws.shutdown().await;

    let services = Services::start_on(Some(data.path()), clock()).await.unwrap();
    assert!(services.sqs.get_queue_url().queue_name("due-2").send().await.is_err());
}

#[tokio::test]
async fn second_start_on_a_data_directory_in_use_fails() {
    let data = tempfile::tempdir().unwrap();
    let services = Services::start_on(Some(data.path()), clock()).await.unwrap();
    let second = Services::start_on(Some(data.path()), clock()).await;
    assert!(matches!(second, Err(AwsStartError::InUse(path)) if path == data.path()));
    services.aws.shutdown().await;
    Services::start_on(Some(data.path()), clock()).await.unwrap();
}

#[tokio::test]
async fn killed_process_loses_nothing_that_it_answered() {
    let data = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_outhook"));
    command.args(["--json", "--api-port", "0", "--aws-port", "0", "--receiver-port", "0", "--data"]).arg(data.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    let url = ready["aws_endpoint_url"].as_str().unwrap();

    let services = Clients::of(url);
    let queue = services.sqs.create_queue().queue_name("due").send().await.unwrap().queue_url.unwrap();
    create_table(&services.dynamodb).await;
    for number in 0..50 {
        services.sqs.send_message().queue_url(&queue).message_body(number.to_string()).send().await.unwrap();
        let secret = services.secrets.create_secret().name(format!("secret-{number}")).secret_string("value");
        secret.send().await.unwrap();
        let id = AttributeValue::S(number.to_string());
        services.dynamodb.put_item().table_name("things").item("id", id).send().await.unwrap();
    }
    child.kill().unwrap();
    child.wait().unwrap();

    let services = Services::start_on(Some(data.path()), Clock::System).await.unwrap();
    assert_eq!(services.counts(&queue).await, (50, 0, 0));
    let secrets = services.secrets.list_secrets().max_results(100).send().await.unwrap().secret_list.unwrap();
    let kept = secrets.iter().filter(|secret| secret.name().is_some_and(|name| name.starts_with("secret-")));
    assert_eq!(kept.count(), 50);
    assert_eq!(services.dynamodb.scan().table_name("things").send().await.unwrap().count(), 50);
}
