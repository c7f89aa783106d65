//! The API as a Lambda function behind API Gateway.

use lambda_http::Error;
use shared::clock::Clock;
use shared::config::Config;
use shared::services::{Services, aws_from_env};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_http::tracing::init_default_subscriber();
    let config = Config::from_env()?;
    let services = Services::new(config, Clock::System, &aws_from_env().await?)?;
    lambda_http::run(api::router(services)).await
}
