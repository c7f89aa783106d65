//! The whole of Outhook in one process: embedded AWS, the API, deliver behind its pollers, the sweeper behind its timer, a receiver.
//!
//! Each function has its own services under its own identity, made from the environment that the template gives it, as on AWS.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use aws_lambda_events::eventbridge::EventBridgeEvent;
use axum::Router;
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use shared::clock::Clock;
use shared::config::Config;
use shared::pipeline::sweep::recover;
use shared::services::Services;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::aws::{Aws, AwsOptions, url_of};
use crate::clients::sdk_config;
use crate::demo::Demo;
use crate::grants::roles;
use crate::poller::Poller;
use crate::provision::provision;
use crate::receiver::Receiver;
use crate::serve::{listen, serve};
use crate::template::{TEMPLATE, Template};

/// The sweeper's period, in seconds, as the template's schedule has it.
const SWEEP_SECONDS: u64 = 60;
/// What is different from a deployment: receivers on this machine, over plain http, and no metrics, which nobody would read. Nothing else.
pub const OVERRIDES: &[(&str, &str)] =
    &[("AllowHttp", "true"), ("AllowedRanges", "127.0.0.0/8,::1/128"), ("MetricsEnabled", "false")];

/// Where to listen and what to keep.
#[derive(Clone, Debug)]
pub struct StackOptions {
    /// Where the API listens.
    pub api: SocketAddr,
    /// Where the embedded AWS services listen.
    pub aws: SocketAddr,
    /// Whether these may be other addresses than loopback.
    pub open: bool,
    /// Where the receiver listens.
    pub receiver: SocketAddr,
    /// The directory that keeps everything; `None` keeps nothing.
    pub data: Option<PathBuf>,
}

/// The running stack.
pub struct Stack {
    aws: Aws,
    /// Where the API is.
    pub api_url: String,
    /// Where the receiver is.
    pub receiver_url: String,
    /// The operator's key.
    pub root_key: String,
    /// A tenant with keys.
    pub demo: Demo,
    /// What the functions were told.
    pub config: Config,
    stop: watch::Sender<bool>,
    running: JoinSet<()>,
}

/// Why the stack did not start, for people.
pub type StartError = Box<dyn std::error::Error + Send + Sync>;

impl Stack {
    /// Starts everything.
    ///
    /// # Errors
    /// When a port or the data directory cannot be used, or the template says something that cannot be had on one machine.
    pub async fn start(options: StackOptions) -> Result<Self, StartError> {
        let clock = Clock::System;
        let aws = Aws::start(AwsOptions {
            listen: options.aws,
            open: options.open,
            data: options.data,
            clock: clock.clone(),
            keeps_calls: false,
        })
        .await?;
        // The receivers of messages from before this start died with the process.
        aws.release_in_flight().await;
        let url = aws.endpoint_url().to_owned();
        let template = Template::read(TEMPLATE, OVERRIDES, &url)?;
        let deployer = sdk_config(&url, "deployer").await;
        provision(&template, &deployer).await?;
        aws.enforce(roles(&template)?);
        let (stop, stopped) = watch::channel(false);
        let mut running = JoinSet::new();

        let api = function(&template, "ApiFunction", &clock, &url).await?;
        let config = api.config.clone();
        let secrets = aws_sdk_secretsmanager::Client::new(&deployer);
        let demo = Demo::find_or_make(&api, &secrets).await?;
        let root_key = secrets.get_secret_value().secret_id(&config.root_key_secret_name).send().await?;
        let root_key = root_key.secret_string.unwrap_or_default();
        let reading = api.clone();
        let api_url = begin_serving(&mut running, options.api, api::router(api), &stopped).await?;

        for source in template.queue_sources()? {
            let services = function(&template, &source.function, &clock, &url).await?;
            let poller_identity = format!("{}Poller", source.function);
            let queues = aws_sdk_sqs::Client::new(&sdk_config(&url, &poller_identity).await);
            running.spawn(Poller::new(source, services, queues).run(stopped.clone()));
        }
        running.spawn(tick(function(&template, "SweepFunction", &clock, &url).await?, stopped.clone()));

        let receiver = Receiver::new(clock, reading);
        let receiver_url = begin_serving(&mut running, options.receiver, receiver.router(), &stopped).await?;
        Ok(Self { aws, api_url, receiver_url, root_key, demo, config, stop, running })
    }

    /// Where the embedded AWS services are.
    #[must_use]
    pub fn aws_endpoint_url(&self) -> &str {
        self.aws.endpoint_url()
    }

    /// Finishes the work in hand and stops.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.running.join_next().await.is_some() {}
        self.aws.shutdown().await;
    }
}

/// The services of a function as the template deploys it, under its logical name as identity.
///
/// # Errors
/// When the template gives it an environment that it does not start with.
pub async fn function(
    template: &Template,
    name: &str,
    clock: &Clock,
    aws_endpoint_url: &str,
) -> Result<Services, StartError> {
    let environment = template.environment(name)?;
    let config = Config::read(|variable| environment.get(variable).cloned())?;
    Ok(Services::new(config, clock.clone(), &sdk_config(aws_endpoint_url, name).await)?)
}

async fn begin_serving(
    running: &mut JoinSet<()>,
    address: SocketAddr,
    router: Router,
    stopped: &watch::Receiver<bool>,
) -> Result<String, StartError> {
    let listener = listen(address).map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let url = url_of(listener.local_addr()?);
    running.spawn(serve(listener, TowerToHyperService::new(router), stopped.clone()));
    Ok(url)
}

/// In the place of the schedule: heals what an earlier run left, and then ticks once a minute.
async fn tick(services: Services, mut stopped: watch::Receiver<bool>) {
    recover(&services).await;
    let mut ticks = tokio::time::interval(Duration::from_secs(SWEEP_SECONDS));
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.changed() => return,
        }
        sweep::handle(&services, scheduled_event()).await;
    }
}

/// The event that the schedule would send.
#[must_use]
pub fn scheduled_event() -> EventBridgeEvent {
    let event = json!({
        "version": "0", "id": "local", "detail-type": "Scheduled Event", "source": "aws.scheduler",
        "account": "000000000000", "time": "2026-01-01T00:00:00Z", "region": "us-east-1", "resources": [], "detail": {},
    });
    serde_json::from_value(event).unwrap_or_default()
}
