//! Whether Outhook and what it depends on answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use shared::aws_error::AwsError;
use shared::domain::time::plus_seconds;

use crate::Api;
use crate::respond;

/// For how long an answer is given again, in seconds: nobody needs a key to ask, so asking often must not cost.
const CACHED_SECONDS: i64 = 5;

/// The last answer. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct HealthCache(Arc<Mutex<Option<(Timestamp, Health)>>>);

#[derive(Clone, Serialize)]
struct Health {
    status: &'static str,
    version: &'static str,
    dependencies: BTreeMap<&'static str, &'static str>,
}

pub(crate) async fn show(State(api): State<Api>) -> Response {
    let now = api.services.clock.now();
    let cached = api.health.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let health = match cached {
        Some((asked_at, health)) if now < plus_seconds(asked_at, CACHED_SECONDS) => health,
        _ => {
            let health = ask(&api).await;
            *api.health.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, health.clone()));
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
