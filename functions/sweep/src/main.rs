//! The sweeper as a Lambda function behind a schedule.

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
    let handle = |event: LambdaEvent<_>| async { Ok::<_, Error>(sweep::handle(&services, event.payload).await) };
    lambda_runtime::run(service_fn(handle)).await
}
