//! The real AWS SDK, pointed at the embedded services over plain HTTP.

use aws_config::{Region, SdkConfig};
use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
use shared::aws;

/// An SDK configuration for a caller of this name, which is its access key: what the embedded services know their callers by.
pub async fn sdk_config(aws_endpoint_url: &str, identity: &str) -> SdkConfig {
    let credentials = Credentials::new(identity, "local", None, None, "outhook-local");
    aws::base()
        .endpoint_url(aws_endpoint_url)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .region(Region::new("us-east-1"))
        .load()
        .await
}
