//! SQS: sending, receiving, deleting, visibility, batches, as callers can tell.

use std::collections::HashSet;

use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::operation::receive_message::builders::ReceiveMessageFluentBuilder;
use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, MessageAttributeValue,
    MessageSystemAttributeName, SendMessageBatchRequestEntry,
};

use crate::aws_services::{Services, bodies};

#[tokio::test]
async fn message_is_visible_again_after_its_timeout() {
    let services = Services::start().await;
    let url = services.queue("due", &[("VisibilityTimeout", "30")]).await;
    services.send(&url, "hello").await;
    assert_eq!(bodies(&services.receive(&url).await), ["hello"]);
    services.advance_seconds(29);
    assert!(services.receive(&url).await.is_empty());
    services.advance_seconds(1);
    let again = services.receive(&url).await;
    assert_eq!(bodies(&again), ["hello"]);
    assert_eq!(attribute(&again[0], &MessageSystemAttributeName::ApproximateReceiveCount), Some("2"));
    let first = attribute(&again[0], &MessageSystemAttributeName::ApproximateFirstReceiveTimestamp);
    assert_eq!(first, attribute(&again[0], &MessageSystemAttributeName::SentTimestamp));
}

#[tokio::test]
async fn message_is_delayed_by_its_own_delay_or_the_queues_and_0_overrides() {
    let services = Services::start().await;
    let url = services.queue("due", &[("DelaySeconds", "60"), ("VisibilityTimeout", "3600")]).await;
    services.send(&url, "queue's").await;
    let send =
        |body: &str, seconds| services.sqs.send_message().queue_url(&url).message_body(body).delay_seconds(seconds);
    send("at once", 0).send().await.unwrap();
    send("longest", 900).send().await.unwrap();
    assert_eq!(code(send("too long", 901).send().await), "InvalidParameterValue");
    assert_eq!(bodies(&services.receive(&url).await), ["at once"]);
    services.advance_seconds(60);
    assert_eq!(bodies(&services.receive(&url).await), ["queue's"]);
    services.advance_seconds(839);
    assert!(services.receive(&url).await.is_empty());
    services.advance_seconds(1);
    assert_eq!(bodies(&services.receive(&url).await), ["longest"]);
}

#[tokio::test]
async fn message_is_dropped_after_the_retention_period() {
    let services = Services::start().await;
    let url = services.queue("due", &[("MessageRetentionPeriod", "60")]).await;
    services.send(&url, "old").await;
    services.advance_seconds(59);
    assert_eq!(services.counts(&url).await, (1, 0, 0));
    services.advance_seconds(1);
    assert_eq!(services.counts(&url).await, (0, 0, 0));
}

#[tokio::test]
async fn long_poll_wakes_when_a_message_arrives() {
    let services = Services::start().await;
    let url = services.queue("due", &[]).await;
    let poll = tokio::spawn(long_poll(&services, &url).send());
    services.until_called_and_waiting().await;
    services.send(&url, "hello").await;
    assert_eq!(bodies(poll.await.unwrap().unwrap().messages()), ["hello"]);
}

#[tokio::test]
async fn long_poll_wakes_when_the_clock_makes_a_message_visible() {
    let services = Services::start().await;
    let url = services.queue("due", &[("DelaySeconds", "300")]).await;
    services.send(&url, "later").await;
    let poll = tokio::spawn(long_poll(&services, &url).send());
    services.until_called_and_waiting().await;
    services.advance_seconds(300);
    assert_eq!(bodies(poll.await.unwrap().unwrap().messages()), ["later"]);
}

#[tokio::test]
async fn long_poll_wakes_when_a_message_is_given_back() {
    let services = Services::start().await;
    let url = services.queue("due", &[]).await;
    services.send(&url, "hello").await;
    let received = services.receive(&url).await;
    let poll = tokio::spawn(long_poll(&services, &url).send());
    services.until_called_and_waiting().await;
    let change = services.sqs.change_message_visibility().queue_url(&url).visibility_timeout(0);
    change.receipt_handle(received[0].receipt_handle().unwrap()).send().await.unwrap();
    assert_eq!(bodies(poll.await.unwrap().unwrap().messages()), ["hello"]);
}

#[tokio::test]
async fn long_poll_of_several_consumers_gives_each_message_once() {
    let services = Services::start().await;
    let url = services.queue("due", &[]).await;
    let polls: Vec<_> = (0..8).map(|_| tokio::spawn(long_poll(&services, &url).send())).collect();
    services.until_called_and_waiting().await;
    for number in 0..8 {
        services.send(&url, &number.to_string()).await;
    }
    let mut seen = HashSet::new();
    for poll in polls {
        for message in poll.await.unwrap().unwrap().messages() {
            assert!(seen.insert(message.body().unwrap().to_owned()), "handed out twice");
        }
        // Those that got nothing yet wait on; what is left comes to them.
        if seen.len() == 8 {
            break;
        }
    }
    assert_eq!(seen.len(), 8);
}

#[tokio::test]
async fn shutdown_ends_long_polls_at_once() {
    let services = Services::start().await;
    let url = services.queue("due", &[]).await;
    let poll = tokio::spawn(long_poll(&services, &url).send());
    services.until_called_and_waiting().await;
    services.aws.shutdown().await;
    assert!(poll.await.unwrap().unwrap().messages().is_empty());
}

#[tokio::test]
async fn system_attributes_come_only_when_asked_for() {
    let services = Services::start().await;
    let url = services.queue("due", &[("VisibilityTimeout", "0")]).await;
    let send = services.sqs.send_message().queue_url(&url).message_body("hello").message_group_id("tenant-1");
    send.send().await.unwrap();
    let receive = || services.sqs.receive_message().queue_url(&url);
    let none = receive().send().await.unwrap().messages.unwrap();
    assert_eq!(none[0].attributes(), None);
    let one = receive().message_system_attribute_names("SentTimestamp".into()).send().await.unwrap().messages.unwrap();
    assert_eq!(attribute(&one[0], &MessageSystemAttributeName::SentTimestamp), Some("1795132800000"));
    assert_eq!(attribute(&one[0], &MessageSystemAttributeName::ApproximateReceiveCount), None);
    let all = services.receive(&url).await;
    assert_eq!(attribute(&all[0], &MessageSystemAttributeName::MessageGroupId), Some("tenant-1"));
    assert_eq!(attribute(&all[0], &MessageSystemAttributeName::SenderId), Some("AKIDTEST"));
    assert_eq!(attribute(&all[0], &MessageSystemAttributeName::ApproximateReceiveCount), Some("3"));
}

#[tokio::test]
async fn message_attributes_come_back_as_asked_for_with_the_digest_of_aws() {
    let services = Services::start().await;
    let url = services.queue("due", &[("VisibilityTimeout", "0")]).await;
    let text =
        |kind: &str, value: &str| MessageAttributeValue::builder().data_type(kind).string_value(value).build().unwrap();
    let raw =
        MessageAttributeValue::builder().data_type("Binary").binary_value(Blob::new([0, 1, 255])).build().unwrap();
    let send = services.sqs.send_message().queue_url(&url).message_body("hello");
    let send = send.message_attributes("trace", text("String", "é")).message_attributes("raw", raw.clone());
    let sent = send.message_attributes("count", text("Number.int", "7")).send().await.unwrap();
    // Computed apart, from the description in the developer guide.
    assert_eq!(sent.md5_of_message_attributes(), Some("27bb5711e96b33bb4990a17dfb6c0218"));
    assert_eq!(sent.md5_of_message_body(), Some("5d41402abc4b2a76b9719d911017c592"));

    let receive = |names: &[&str]| {
        let names = names.iter().map(ToString::to_string).collect();
        services.sqs.receive_message().queue_url(&url).set_message_attribute_names(Some(names))
    };
    let all = receive(&["All"]).send().await.unwrap().messages.unwrap();
    assert_eq!(all[0].md5_of_message_attributes(), Some("27bb5711e96b33bb4990a17dfb6c0218"));
    assert_eq!(all[0].message_attributes().unwrap()["raw"], raw);
    for (names, expected) in
        [(&["t.*", "count"][..], 2), (&["tr.*"], 1), (&[".*"], 3), (&["count", "raw"], 2), (&[], 0)]
    {
        let some = receive(names).send().await.unwrap().messages.unwrap();
        let count = some[0].message_attributes().map_or(0, |attributes| attributes.len());
        assert_eq!(count, expected, "{names:?}");
    }
}

#[tokio::test]
async fn message_that_breaks_a_rule_is_refused() {
    let services = Services::start().await;
    let url = services.queue("due", &[]).await;
    let send = |body: &str| services.sqs.send_message().queue_url(&url).message_body(body);
    let text = |value: &str| MessageAttributeValue::builder().data_type("String").string_value(value).build().unwrap();
    assert_eq!(code(send("").send().await), "MissingParameter");
    assert_eq!(code(send("a\u{B}").send().await), "InvalidMessageContents");
    assert_eq!(code(send("a").message_attributes("aws.x", text("a")).send().await), "InvalidParameterValue");
    assert_eq!(code(send("a").message_attributes("x", text("")).send().await), "InvalidParameterValue");
    assert_eq!(code(send("a").message_group_id("with space").send().await), "InvalidParameterValue");
    assert_eq!(code(send(&"a".repeat(1_048_577)).send().await), "InvalidParameterValue");
    send(&"a".repeat(1_048_576)).send().await.unwrap();
    let eleven = (0..11).fold(send("a"), |send, number| send.message_attributes(format!("n{number}"), text("a")));
    assert_eq!(code(eleven.send().await), "InvalidParameterValue");
    let missing = services.sqs.send_message().queue_url("http://x/000000000000/missing").message_body("a");
    assert!(missing.send().await.unwrap_err().into_service_error().is_queue_does_not_exist());
    let receive = services.sqs.receive_message().queue_url(&url).max_number_of_messages(11);
    assert_eq!(code(receive.send().await), "InvalidParameterValue");
}

#[tokio::test]
async fn batch_sends_what_is_allowed_and_tells_the_rest() {
    let services = Services::start().await;
    let url = services.queue("due", &[]).await;
    let entry = |id: &str, body: &str| SendMessageBatchRequestEntry::builder().id(id).message_body(body);
    let batch = services.sqs.send_message_batch().queue_url(&url);
    let batch = batch.entries(entry("ok", "hello").build().unwrap());
    let batch = batch.entries(entry("late", "hello").delay_seconds(901).build().unwrap());
    let answer = batch.entries(entry("bad", "\u{1}").build().unwrap()).send().await.unwrap();
    assert_eq!(answer.successful()[0].id(), "ok");
    assert_eq!(answer.successful().len(), 1);
    let failed: Vec<_> = answer.failed().iter().map(|entry| (entry.id(), entry.code(), entry.sender_fault())).collect();
    assert_eq!(failed, [("late", "InvalidParameterValue", true), ("bad", "InvalidMessageContents", true)]);
    assert_eq!(services.counts(&url).await, (1, 0, 0));
}

#[tokio::test]
async fn batch_as_a_whole_is_refused_for_its_ids_number_and_size() {
    let services = Services::start().await;
    let url = services.queue("due", &[]).await;
    let entry =
        |id: String, body: &str| SendMessageBatchRequestEntry::builder().id(id).message_body(body).build().unwrap();
    let send = |ids: &[&str], body: &str| {
        let entries = ids.iter().map(|id| entry((*id).to_owned(), body)).collect();
        services.sqs.send_message_batch().queue_url(&url).set_entries(Some(entries)).send()
    };
    assert_eq!(code(send(&[], "a").await), "AWS.SimpleQueueService.EmptyBatchRequest");
    assert_eq!(code(send(&["a", "a"], "a").await), "AWS.SimpleQueueService.BatchEntryIdsNotDistinct");
    assert_eq!(code(send(&["a b"], "a").await), "AWS.SimpleQueueService.InvalidBatchEntryId");
    let eleven = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"];
    assert_eq!(code(send(&eleven, "a").await), "AWS.SimpleQueueService.TooManyEntriesInBatchRequest");
    assert_eq!(code(send(&["a", "b"], &"a".repeat(524_289)).await), "AWS.SimpleQueueService.BatchRequestTooLong");
    assert_eq!(send(&["a", "b"], &"a".repeat(524_288)).await.unwrap().successful().len(), 2);
    let typed = send(&["a", "a"], "a").await.unwrap_err().into_service_error();
    assert!(typed.is_batch_entry_ids_not_distinct());
}

#[tokio::test]
async fn deleted_message_never_comes_back_and_an_old_handle_deletes_too() {
    let services = Services::start().await;
    let url = services.queue("due", &[("VisibilityTimeout", "30")]).await;
    services.send(&url, "hello").await;
    let first = services.receive(&url).await;
    services.advance_seconds(30);
    let second = services.receive(&url).await;
    assert_ne!(first[0].receipt_handle(), second[0].receipt_handle());
    let delete = |handle: &str| services.sqs.delete_message().queue_url(&url).receipt_handle(handle).send();
    delete(first[0].receipt_handle().unwrap()).await.unwrap();
    delete(second[0].receipt_handle().unwrap()).await.unwrap();
    services.advance_seconds(60);
    assert_eq!(services.counts(&url).await, (0, 0, 0));
    assert!(delete("rubbish").await.unwrap_err().into_service_error().is_receipt_handle_is_invalid());
}

#[tokio::test]
async fn delete_batch_deletes_what_it_can_and_tells_the_rest() {
    let services = Services::start().await;
    let url = services.queue("due", &[]).await;
    services.send(&url, "hello").await;
    let received = services.receive(&url).await;
    let entry =
        |id: &str, handle: &str| DeleteMessageBatchRequestEntry::builder().id(id).receipt_handle(handle).build();
    let batch = services.sqs.delete_message_batch().queue_url(&url);
    let batch = batch.entries(entry("good", received[0].receipt_handle().unwrap()).unwrap());
    let answer = batch.entries(entry("bad", "rubbish").unwrap()).send().await.unwrap();
    assert_eq!(answer.successful()[0].id(), "good");
    assert_eq!((answer.failed()[0].id(), answer.failed()[0].code()), ("bad", "ReceiptHandleIsInvalid"));
    assert_eq!(services.counts(&url).await, (0, 0, 0));
}

#[tokio::test]
async fn visibility_can_be_changed_while_in_flight_only_and_up_to_12_hours() {
    let services = Services::start().await;
    let url = services.queue("due", &[("VisibilityTimeout", "30")]).await;
    services.send(&url, "hello").await;
    let received = services.receive(&url).await;
    let handle = received[0].receipt_handle().unwrap();
    let change = |seconds| {
        services
            .sqs
            .change_message_visibility()
            .queue_url(&url)
            .receipt_handle(handle)
            .visibility_timeout(seconds)
            .send()
    };
    change(100).await.unwrap();
    services.advance_seconds(99);
    assert!(services.receive(&url).await.is_empty());
    assert_eq!(code(change(43_200).await), "InvalidParameterValue");
    assert_eq!(code(change(43_201).await), "InvalidParameterValue");
    services.advance_seconds(1);
    assert!(change(30).await.unwrap_err().into_service_error().is_message_not_inflight());
    let again = services.receive(&url).await;
    assert_eq!(again.len(), 1);
    let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id("one").visibility_timeout(0);
    let entry = entry.receipt_handle(again[0].receipt_handle().unwrap()).build().unwrap();
    let answer = services.sqs.change_message_visibility_batch().queue_url(&url).entries(entry).send().await.unwrap();
    assert_eq!(answer.successful().len(), 1);
    assert_eq!(services.counts(&url).await, (1, 0, 0));
}

#[tokio::test]
async fn quiet_group_is_not_held_up_by_a_noisy_one() {
    let services = Services::start().await;
    let url = services.queue("due", &[]).await;
    let send = |body: &str, group: &str| {
        services.sqs.send_message().queue_url(&url).message_body(body).message_group_id(group)
    };
    for number in 0..30 {
        send(&format!("noisy {number}"), "noisy").send().await.unwrap();
    }
    services.receive(&url).await;
    send("quiet", "quiet").send().await.unwrap();
    assert_eq!(bodies(&services.receive(&url).await)[0], "quiet");
}

fn long_poll(services: &Services, url: &str) -> ReceiveMessageFluentBuilder {
    services.sqs.receive_message().queue_url(url).wait_time_seconds(20)
}

fn attribute<'a>(message: &'a aws_sdk_sqs::types::Message, name: &MessageSystemAttributeName) -> Option<&'a str> {
    message.attributes()?.get(name).map(String::as_str)
}

/// The error code that a refused request was answered with.
fn code<O: std::fmt::Debug, E: ProvideErrorMetadata, R>(answer: Result<O, aws_sdk_sqs::error::SdkError<E, R>>) -> String
where
    aws_sdk_sqs::error::SdkError<E, R>: std::fmt::Debug + ProvideErrorMetadata,
{
    answer.unwrap_err().code().unwrap_or_default().to_owned()
}

impl Services {
    /// Visible, in flight, delayed.
    pub(crate) async fn counts(&self, url: &str) -> (usize, usize, usize) {
        let request = self.sqs.get_queue_attributes().queue_url(url).attribute_names("All".into());
        let attributes = request.send().await.unwrap().attributes.unwrap();
        let count = |name: &str| attributes[&name.into()].parse().unwrap();
        (
            count("ApproximateNumberOfMessages"),
            count("ApproximateNumberOfMessagesNotVisible"),
            count("ApproximateNumberOfMessagesDelayed"),
        )
    }

    /// Lets requests that were spawned reach the services before the test goes on: everything but DynamoDB is on the
    /// test's own thread, so they are there once a few others were answered.
    async fn until_called_and_waiting(&self) {
        for _ in 0..5 {
            self.sqs.list_queues().send().await.unwrap();
        }
    }
}
