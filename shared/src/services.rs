//! Everything a handler needs, made once per process: configuration, clock, and the clients behind store, queues, secrets and sender.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_http_client::tls;

use crate::clock::Clock;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::pipeline::directory::Directory;
use crate::queue::Queues;
use crate::secrets::Secrets;
use crate::sending::{Sender, SenderError};
use crate::store::Store;

/// How long one try of a call to AWS may take, in seconds.
const AWS_TRY_SECONDS_MAX: u64 = 3;
/// How long a call to AWS may take with all its tries, in seconds; a caller of the API gets its 503 soon after.
const AWS_CALL_SECONDS_MAX: u64 = 8;
/// How often a call to AWS is tried.
const AWS_TRIES_MAX: u32 = 3;

/// What every handler works with. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Services {
    /// What was said from outside.
    pub config: Config,
    /// The source of the current time.
    pub clock: Clock,
    /// The table.
    pub store: Store,
    /// The queues.
    pub queues: Queues,
    /// Signing keys and the root key.
    pub secrets: Secrets,
    /// The way to receivers.
    pub sender: Sender,
    /// The tenants' endpoints as they were read last.
    pub directory: Directory,
    /// What this process counts of its work.
    pub metrics: Metrics,
}

impl Services {
    /// Makes the clients for this configuration.
    ///
    /// # Errors
    /// When the sender cannot be set up.
    pub fn new(config: Config, clock: Clock, aws: &SdkConfig) -> Result<Self, SenderError> {
        let store = Store::new(aws_sdk_dynamodb::Client::new(aws), config.table_name.clone());
        let queues = Queues::new(
            aws_sdk_sqs::Client::new(aws),
            config.events_queue_url.clone(),
            config.retries_queue_url.clone(),
            config.dead_letter_queue_url.clone(),
        );
        let secrets = Secrets::new(
            aws_sdk_secretsmanager::Client::new(aws),
            config.secrets_prefix.clone(),
            config.root_key_secret_name.clone(),
        );
        let sender = Sender::new(config.addresses.clone())?;
        let directory = Directory::new(store.clone());
        let metrics = Metrics::new(config.metrics_namespace.clone());
        Ok(Self { config, clock, store, queues, secrets, sender, directory, metrics })
    }
}

/// Where AWS is and who we are there, from Lambda's environment: region and credentials are always set, so the longer chain of the SDK is not asked.
pub async fn aws_from_env() -> SdkConfig {
    let https = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
        .build_https();
    aws_base()
        .http_client(https)
        .credentials_provider(aws_config::environment::EnvironmentVariableCredentialsProvider::new())
        .region(aws_config::environment::EnvironmentVariableRegionProvider::new())
        .load()
        .await
}

/// The bounds of every call to AWS, whoever makes it.
#[must_use]
pub fn aws_base() -> aws_config::ConfigLoader {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(1))
        .operation_attempt_timeout(Duration::from_secs(AWS_TRY_SECONDS_MAX))
        .operation_timeout(Duration::from_secs(AWS_CALL_SECONDS_MAX))
        .build();
    aws_config::defaults(BehaviorVersion::latest())
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(AWS_TRIES_MAX))
}
