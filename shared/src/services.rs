//! Everything a handler needs, made once per process: configuration, clock, and the clients behind store, queues, secrets and sender.

use aws_config::SdkConfig;

use crate::clock::Clock;
use crate::config::Config;
use crate::directory::Directory;
use crate::metrics::Metrics;
use crate::queue::Queues;
use crate::secrets::Secrets;
use crate::sending::{Sender, SenderError};
use crate::store::Store;

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
        let manager = aws_sdk_secretsmanager::Client::new(aws);
        let secrets = Secrets::new(manager, store.clone(), clock.clone(), &config);
        let sender = Sender::new(config.addresses.clone(), clock.clone())?;
        let directory = Directory::new(store.clone());
        let metrics = Metrics::new(config.metrics_namespace.clone());
        Ok(Self { config, clock, store, queues, secrets, sender, directory, metrics })
    }
}
