//! The API as a Lambda function behind API Gateway.

use lambda_http::Error;
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
    lambda_http::run(api::router(services)).await
}
