//! SQS: queues themselves, their attributes, tags, purging, dead letters.

use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName};

use crate::aws_services::{Services, bodies};

const DEAD_ARN: &str = "arn:aws:sqs:us-east-1:000000000000:dead";

#[tokio::test]
async fn queue_made_again_is_the_same_unless_its_attributes_differ() {
    let services = Services::start().await;
    let url = services.queue("due", &[("VisibilityTimeout", "60")]).await;
    assert_eq!(url, format!("{}/000000000000/due", services.aws.endpoint_url()));
    assert_eq!(services.queue("due", &[("VisibilityTimeout", "60")]).await, url);
    assert_eq!(services.queue("due", &[]).await, url);
    let other = services.sqs.create_queue().queue_name("due").attributes(QueueAttributeName::VisibilityTimeout, "61");
    assert!(other.send().await.unwrap_err().into_service_error().is_queue_name_exists());
    let fifo = services.sqs.create_queue().queue_name("due.fifo").attributes(QueueAttributeName::FifoQueue, "true");
    assert!(fifo.send().await.unwrap_err().into_service_error().is_unsupported_operation());
}

#[tokio::test]
async fn queues_are_found_by_name_prefix_and_page() {
    let services = Services::start().await;
    for name in ["a-1", "a-2", "a-3", "b-1"] {
        services.queue(name, &[]).await;
    }
    let found = services.sqs.get_queue_url().queue_name("b-1").send().await.unwrap();
    assert!(found.queue_url().unwrap().ends_with("/b-1"));
    let missing = services.sqs.get_queue_url().queue_name("c").send().await.unwrap_err().into_service_error();
    assert!(missing.is_queue_does_not_exist());
    let pages = services.sqs.list_queues().queue_name_prefix("a-").max_results(2).into_paginator().items().send();
    let urls: Vec<String> = pages.collect::<Result<_, _>>().await.unwrap();
    assert_eq!(urls.len(), 3);
    assert!(urls[2].ends_with("/a-3"));
}

#[tokio::test]
async fn attributes_have_defaults_and_can_be_set() {
    let services = Services::start().await;
    let url = services.queue("due", &[]).await;
    let get = || services.sqs.get_queue_attributes().queue_url(&url).attribute_names(QueueAttributeName::All).send();
    let attributes = get().await.unwrap().attributes.unwrap();
    assert_eq!(attributes[&QueueAttributeName::VisibilityTimeout], "30");
    assert_eq!(attributes[&QueueAttributeName::MessageRetentionPeriod], "345600");
    assert_eq!(attributes[&QueueAttributeName::QueueArn], "arn:aws:sqs:us-east-1:000000000000:due");
    let set = |name: QueueAttributeName, value: &str| {
        services.sqs.set_queue_attributes().queue_url(&url).attributes(name, value)
    };
    set(QueueAttributeName::VisibilityTimeout, "45").send().await.unwrap();
    assert_eq!(get().await.unwrap().attributes.unwrap()[&QueueAttributeName::VisibilityTimeout], "45");
    let refused = set(QueueAttributeName::VisibilityTimeout, "43201").send().await.unwrap_err().into_service_error();
    assert!(refused.is_invalid_attribute_value());
    let refused = set("Colour".into(), "blue").send().await.unwrap_err().into_service_error();
    assert!(refused.is_invalid_attribute_name());
}

#[tokio::test]
async fn purge_empties_a_queue_once_a_minute() {
    let services = Services::start().await;
    let url = services.queue("due", &[]).await;
    services.send(&url, "a").await;
    services.send(&url, "b").await;
    services.sqs.receive_message().queue_url(&url).send().await.unwrap();
    let purge = || services.sqs.purge_queue().queue_url(&url).send();
    purge().await.unwrap();
    assert_eq!(services.counts(&url).await, (0, 0, 0));
    assert!(purge().await.unwrap_err().into_service_error().is_purge_queue_in_progress());
    services.advance_seconds(60);
    purge().await.unwrap();
}

#[tokio::test]
async fn deleted_queue_is_gone_with_its_messages() {
    let services = Services::start().await;
    let url = services.queue("due", &[]).await;
    services.send(&url, "a").await;
    services.sqs.delete_queue().queue_url(&url).send().await.unwrap();
    let send = services.sqs.send_message().queue_url(&url).message_body("b").send().await;
    assert!(send.unwrap_err().into_service_error().is_queue_does_not_exist());
    services.queue("due", &[]).await;
    assert!(services.receive(&url).await.is_empty());
}

#[tokio::test]
async fn message_received_too_often_goes_to_the_dead_letter_queue_and_can_be_moved_back() {
    let services = Services::start().await;
    let dead = services.queue("dead", &[]).await;
    let policy = format!(r#"{{"deadLetterTargetArn":"{DEAD_ARN}","maxReceiveCount":"2"}}"#);
    let url = services.queue("due", &[("RedrivePolicy", &policy), ("VisibilityTimeout", "30")]).await;
    let id = services.send(&url, "poison").await;
    for _ in 0..2 {
        assert_eq!(services.receive(&url).await.len(), 1);
        services.advance_seconds(30);
    }
    assert!(services.receive(&url).await.is_empty());
    let buried = services.receive(&dead).await;
    assert_eq!(bodies(&buried), ["poison"]);
    assert_eq!(buried[0].message_id(), Some(id.as_str()));
    let source = &buried[0].attributes().unwrap()[&MessageSystemAttributeName::DeadLetterQueueSourceArn];
    assert_eq!(source, "arn:aws:sqs:us-east-1:000000000000:due");

    services.advance_seconds(30);
    services.sqs.start_message_move_task().source_arn(DEAD_ARN).send().await.unwrap();
    assert_eq!(services.counts(&dead).await, (0, 0, 0));
    let back = services.receive(&url).await;
    assert_eq!(bodies(&back), ["poison"]);
    assert_eq!(back[0].attributes().unwrap()[&MessageSystemAttributeName::ApproximateReceiveCount], "1");
    let tasks = services.sqs.list_message_move_tasks().source_arn(DEAD_ARN).send().await.unwrap();
    assert_eq!(tasks.results()[0].status(), Some("COMPLETED"));
    assert_eq!(tasks.results()[0].approximate_number_of_messages_moved(), 1);
}

#[tokio::test]
async fn redrive_needs_a_dead_letter_queue_that_exists_and_a_move_one_that_is_one() {
    let services = Services::start().await;
    let policy = format!(r#"{{"deadLetterTargetArn":"{DEAD_ARN}","maxReceiveCount":2}}"#);
    let create = services.sqs.create_queue().queue_name("due").attributes(QueueAttributeName::RedrivePolicy, &policy);
    assert!(create.send().await.is_err());
    services.queue("dead", &[]).await;
    let start = |arn: &str| services.sqs.start_message_move_task().source_arn(arn).send();
    assert!(start(DEAD_ARN).await.is_err());
    let missing = start("arn:aws:sqs:us-east-1:000000000000:nowhere").await.unwrap_err().into_service_error();
    assert!(missing.is_resource_not_found_exception());
}
