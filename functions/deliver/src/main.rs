//! Deliver as a Lambda function behind a queue.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use shared::aws;
use shared::clock::Clock;
use shared::config::{Config, LambdaLogging};
use shared::services::Services;
use shared::telemetry::log_for_lambda;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    log_for_lambda(&LambdaLogging::from_env());
    let config = Config::from_env()?;
    let services = Services::new(config, Clock::System, &aws::from_env().await?)?;
    let services = &services;
    let handle = |event: LambdaEvent<_>| async move {
        let left = event.context.deadline().duration_since(services.clock.now().into()).unwrap_or_default();
        let response = deliver::handle(services, event.payload, services.clock.moment() + left).await;
        services.metrics.emit(services.clock.now());
        Ok::<_, Error>(response)
    };
    lambda_runtime::run(service_fn(handle)).await
}
