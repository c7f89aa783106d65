//! SQS: what its callers can tell.

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
    assert_eq!(bodies(&services.receive(&url).await), ["hello"]);
}
