//! Faults on demand, as clients without retries see them.

use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use local::aws::{Fault, FaultRule, Service};

use crate::aws_services::{Services, bodies};

#[tokio::test]
async fn throttling_is_the_services_own_error_and_nothing_is_done() {
    let services = Services::start().await;
    let url = services.queue("due", &[]).await;
    for service in [Service::Sqs, Service::SecretsManager, Service::DynamoDb] {
        let rule = FaultRule::once(service, "", Fault::Throttle);
        services.aws.faults().inject(FaultRule { operation: None, ..rule });
    }
    let sent = services.sqs.send_message().queue_url(&url).message_body("a").send().await;
    assert!(sent.unwrap_err().into_service_error().is_request_throttled());
    assert_eq!(services.counts(&url).await, (0, 0, 0));
    let secret = services.secrets.get_secret_value().secret_id("a").send().await;
    assert_eq!(secret.unwrap_err().code(), Some("ThrottlingException"));
    let tables = services.dynamodb.list_tables().send().await;
    assert_eq!(tables.unwrap_err().code(), Some("ProvisionedThroughputExceededException"));
    services.dynamodb.list_tables().send().await.unwrap();
}

#[tokio::test]
async fn unavailable_service_answers_503_until_the_rules_are_cleared() {
    let services = Services::start().await;
    let rule = FaultRule::once(Service::Sqs, "ListQueues", Fault::Unavailable);
    services.aws.faults().inject(FaultRule { times: u32::MAX, ..rule });
    for _ in 0..3 {
        let error = services.sqs.list_queues().send().await.unwrap_err();
        assert_eq!(error.raw_response().map(|response| response.status().as_u16()), Some(503));
    }
    services.aws.faults().clear();
    services.sqs.list_queues().send().await.unwrap();
    let statuses: Vec<u16> = services.aws.calls().take().iter().map(|call| call.status).collect();
    assert_eq!(statuses, [503, 503, 503, 200]);
}

#[tokio::test]
async fn dropped_request_is_not_done_and_a_dropped_answer_is() {
    let services = Services::start().await;
    let url = services.queue("due", &[]).await;
    let send = || services.sqs.send_message().queue_url(&url).message_body("a").send();
    services.aws.faults().inject(FaultRule::once(Service::Sqs, "SendMessage", Fault::DropBefore));
    assert!(matches!(send().await, Err(SdkError::DispatchFailure(_))));
    assert_eq!(services.counts(&url).await, (0, 0, 0));
    services.aws.faults().inject(FaultRule::once(Service::Sqs, "SendMessage", Fault::DropAnswer));
    assert!(matches!(send().await, Err(SdkError::DispatchFailure(_))));
    assert_eq!(services.counts(&url).await, (1, 0, 0));
}

#[tokio::test]
async fn duplicated_message_is_handed_out_twice_with_handles_of_its_own() {
    let services = Services::start().await;
    services.aws.faults().duplicate_messages(true);
    let url = services.queue("due", &[]).await;
    let id = services.send(&url, "hello").await;
    let first = services.receive(&url).await;
    let delete = services.sqs.delete_message().queue_url(&url).receipt_handle(first[0].receipt_handle().unwrap());
    delete.send().await.unwrap();
    let second = services.receive(&url).await;
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_eq!(second[0].message_id(), Some(id.as_str()));
    assert_ne!(second[0].receipt_handle(), first[0].receipt_handle());
    assert_eq!(second[0].attributes().unwrap()[&"ApproximateReceiveCount".into()], "1");
    assert!(services.receive(&url).await.is_empty());
}

#[tokio::test]
async fn reordered_messages_come_last_first() {
    let services = Services::start().await;
    services.aws.faults().reorder_messages(true);
    let url = services.queue("due", &[]).await;
    for body in ["a", "b", "c"] {
        services.send(&url, body).await;
    }
    assert_eq!(bodies(&services.receive(&url).await), ["c", "b", "a"]);
}
