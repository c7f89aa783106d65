//! Whether Outhook and what it depends on answer.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use shared::aws_error::AwsError;
use shared::cache::{Cache, Dated};

use crate::Api;
use crate::respond;

/// For how long an answer is given again, in seconds: nobody needs a key to ask, so asking often must not cost.
const CACHED_SECONDS: i64 = 5;

/// The last answer.
pub(crate) type HealthCache = Cache<(), Dated<HealthView>>;

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Health")]
pub(crate) struct HealthView {
    status: Status,
    version: &'static str,
    dependencies: DependenciesView,
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Status {
    Ok,
    Degraded,
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub(crate) struct DependenciesView {
    dynamodb: Answering,
    sqs: Answering,
    secrets_manager: Answering,
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Answering {
    Ok,
    Unavailable,
}

pub(crate) async fn show(State(api): State<Api>) -> Response {
    let now = api.services.clock.now();
    let health = match api.health.fresh(&(), now, CACHED_SECONDS) {
        Some(health) => health,
        None => {
            let health = ask(&api).await;
            api.health.put_now((), health.clone(), now);
            health
        }
    };
    respond::data(StatusCode::OK, health)
}

async fn ask(api: &Api) -> HealthView {
    let services = &api.services;
    let (table, queue, secrets) = tokio::join!(services.store.ping(), services.queues.ping(), services.secrets.ping());
    let healthy = table.is_ok() && queue.is_ok() && secrets.is_ok();
    HealthView {
        status: if healthy { Status::Ok } else { Status::Degraded },
        version: env!("CARGO_PKG_VERSION"),
        dependencies: DependenciesView {
            dynamodb: answering(table),
            sqs: answering(queue),
            secrets_manager: answering(secrets),
        },
    }
}

fn answering(answer: Result<(), AwsError>) -> Answering {
    match answer {
        Ok(()) => Answering::Ok,
        Err(error) => {
            tracing::error!(%error, "a dependency does not answer");
            Answering::Unavailable
        }
    }
}
