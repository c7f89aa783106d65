//! Whether Outhook and what it depends on answer.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use shared::aws_error::AwsError;
use shared::cache::{Cache, Dated};

use crate::Api;
use crate::respond;

/// For how long an answer is given again, in seconds: nobody needs a key to ask, so asking often must not cost.
const CACHED_SECONDS: i64 = 5;

/// The last answer.
pub(crate) type HealthCache = Cache<(), Dated<Health>>;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Health {
    status: &'static str,
    version: &'static str,
    dependencies: BTreeMap<&'static str, &'static str>,
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

async fn ask(api: &Api) -> Health {
    let services = &api.services;
    let (table, queue, secrets) = tokio::join!(services.store.ping(), services.queues.ping(), services.secrets.ping());
    let healthy = table.is_ok() && queue.is_ok() && secrets.is_ok();
    Health {
        status: if healthy { "ok" } else { "degraded" },
        version: env!("CARGO_PKG_VERSION"),
        dependencies: BTreeMap::from([
            ("dynamodb", word(table)),
            ("sqs", word(queue)),
            ("secrets_manager", word(secrets)),
        ]),
    }
}

fn word(answer: Result<(), AwsError>) -> &'static str {
    match answer {
        Ok(()) => "ok",
        Err(error) => {
            tracing::error!(%error, "a dependency does not answer");
            "unavailable"
        }
    }
}
