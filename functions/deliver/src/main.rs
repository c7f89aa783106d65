//! Deliver as a Lambda function behind a queue.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use shared::clock::Clock;
use shared::config::Config;
use shared::services::{Services, aws_from_env};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::tracing::init_default_subscriber();
    let config = Config::from_env()?;
    let services = Services::new(config, Clock::System, &aws_from_env().await?)?;
    let handle = |event: LambdaEvent<_>| async {
        let response = deliver::handle(&services, event.payload).await;
        services.metrics.emit(services.clock.now());
        Ok::<_, Error>(response)
    };
    lambda_runtime::run(service_fn(handle)).await
}
