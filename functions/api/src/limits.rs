//! Rate limits: how many requests a minute a tenant may make, by class, and the headers that say so.

use std::sync::{Arc, Mutex, PoisonError};

use axum::response::Response;
use http::{HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use shared::domain::tenant::{RateLimits, Tenant};

use crate::Api;
use crate::error::ApiError;

pub(crate) const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
pub(crate) const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
pub(crate) const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// Where a tenant stands in the present minute.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    limit: u32,
    remaining: u32,
    reset_seconds: i64,
}

/// Carries a request's standing from where it is counted to where the answer is made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slot(Arc<Mutex<Option<Standing>>>);

impl Slot {
    /// Puts the standing into the answer's headers.
    pub(crate) fn write(&self, response: &mut Response) {
        let standing = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(standing) = standing {
            let headers = response.headers_mut();
            headers.insert(LIMIT, HeaderValue::from(standing.limit));
            headers.insert(REMAINING, HeaderValue::from(standing.remaining));
            headers.insert(RESET, HeaderValue::from(standing.reset_seconds));
        }
    }
}

/// Counts a request against its tenant's limit.
///
/// # Errors
/// `RATE_LIMITED` when there were too many in this minute.
pub(crate) async fn count(
    api: &Api,
    tenant: &Tenant,
    method: &Method,
    path: &str,
    slot: Option<&Slot>,
    now: Timestamp,
) -> Result<(), ApiError> {
    let (class, limit) = class_of(method, path, &tenant.settings.rate_limits);
    if limit == 0 {
        return Ok(());
    }
    let made = api.services.store.count_request(tenant.id, class, now).await?;
    let reset_seconds = 60 - now.as_second().rem_euclid(60);
    if let Some(Slot(slot)) = slot {
        let standing = Standing { limit, remaining: limit.saturating_sub(made), reset_seconds };
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(standing);
    }
    if made > limit { Err(ApiError::RateLimited { limit, reset_seconds }) } else { Ok(()) }
}

fn class_of(method: &Method, path: &str, limits: &RateLimits) -> (&'static str, u32) {
    if *method != Method::GET && *method != Method::HEAD {
        let sends_events = *method == Method::POST && matches!(path, "/v1/events" | "/v1/events/batch");
        return if sends_events { ("events", limits.events) } else { ("writes", limits.writes) };
    }
    let asks_logs = ["/deliveries", "/event-status", "/stats"].iter().any(|part| path.contains(part));
    if asks_logs { ("delivery_queries", limits.delivery_queries) } else { ("reads", limits.reads) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_has_one_class() {
        let class = |method, path| class_of(&method, path, &RateLimits::default()).0;
        assert_eq!(class(Method::POST, "/v1/events"), "events");
        assert_eq!(class(Method::POST, "/v1/events/batch"), "events");
        assert_eq!(class(Method::POST, "/v1/events/evt_1/replay"), "writes");
        assert_eq!(class(Method::GET, "/v1/events"), "reads");
        assert_eq!(class(Method::GET, "/v1/endpoints/ep_1/deliveries/evt_1"), "delivery_queries");
        assert_eq!(class(Method::POST, "/v1/endpoints/ep_1/deliveries/evt_1/retry"), "writes");
        assert_eq!(class(Method::DELETE, "/v1/endpoints/ep_1"), "writes");
    }
}
