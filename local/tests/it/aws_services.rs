//! What the tests of the embedded AWS services share: running services with a clock that stands still, and real SDK
//! clients for them.

use std::path::Path;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
use jiff::Timestamp;
use local::aws::{Aws, AwsOptions, AwsStartError};
use shared::clock::Clock;

/// The caller, unless a test says otherwise.
pub(crate) const ACCESS_KEY_ID: &str = "AKIDTEST";

/// Running services and the clock they go by.
pub(crate) struct Services {
    pub(crate) aws: Aws,
    pub(crate) clock: Clock,
    pub(crate) sqs: aws_sdk_sqs::Client,
    pub(crate) secrets: aws_sdk_secretsmanager::Client,
    pub(crate) dynamodb: aws_sdk_dynamodb::Client,
}

/// Real clients.
pub(crate) struct Clients {
    pub(crate) sqs: aws_sdk_sqs::Client,
    pub(crate) secrets: aws_sdk_secretsmanager::Client,
    pub(crate) dynamodb: aws_sdk_dynamodb::Client,
}

impl Clients {
    /// For the services at a URL. They do not retry, so that faults are seen by the test.
    pub(crate) fn of(url: &str) -> Self {
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(url)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
                ACCESS_KEY_ID,
                "secret",
                None,
                None,
                "test",
            )))
            .region(Region::new("us-east-1"))
            .retry_config(RetryConfig::disabled())
            .build();
        Self {
            sqs: aws_sdk_sqs::Client::new(&config),
            secrets: aws_sdk_secretsmanager::Client::new(&config),
            dynamodb: aws_sdk_dynamodb::Client::new(&config),
        }
    }
}

impl Services {
    /// In memory.
    pub(crate) async fn start() -> Self {
        Self::start_on(None, clock()).await.unwrap()
    }

    /// On a data directory, with a clock that goes on from an earlier start.
    pub(crate) async fn start_on(data: Option<&Path>, clock: Clock) -> Result<Self, AwsStartError> {
        let listen = "127.0.0.1:0".parse().unwrap();
        let options =
            AwsOptions { listen, open: false, data: data.map(Path::to_owned), clock: clock.clone(), keeps_calls: true };
        let aws = Aws::start(options).await?;
        let Clients { sqs, secrets, dynamodb } = Clients::of(aws.endpoint_url());
        Ok(Self { aws, clock, sqs, secrets, dynamodb })
    }

    /// Lets time pass.
    pub(crate) fn advance_seconds(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// A queue with these attributes; gives its URL.
    pub(crate) async fn queue(&self, name: &str, attributes: &[(&str, &str)]) -> String {
        let mut request = self.sqs.create_queue().queue_name(name);
        for (name, value) in attributes {
            request = request.attributes((*name).into(), *value);
        }
        request.send().await.unwrap().queue_url.unwrap()
    }

    /// Sends one message; gives its id.
    pub(crate) async fn send(&self, url: &str, body: &str) -> String {
        let sent = self.sqs.send_message().queue_url(url).message_body(body).send().await.unwrap();
        sent.message_id.unwrap()
    }

    /// Receives up to 10 messages without waiting.
    pub(crate) async fn receive(&self, url: &str) -> Vec<aws_sdk_sqs::types::Message> {
        let request = self.sqs.receive_message().queue_url(url).max_number_of_messages(10).wait_time_seconds(0);
        let request = request.message_system_attribute_names("All".into()).message_attribute_names("All");
        request.send().await.unwrap().messages.unwrap_or_default()
    }
}

/// A clock that stands at the start of 2026-11-20.
pub(crate) fn clock() -> Clock {
    Clock::manual(Timestamp::from_second(1_795_132_800).unwrap())
}

/// The bodies of messages, in order.
pub(crate) fn bodies(messages: &[aws_sdk_sqs::types::Message]) -> Vec<&str> {
    messages.iter().filter_map(|message| message.body()).collect()
}
