//! Rate limits: how many requests a minute a tenant may make, by class, and the headers that say so.

use std::sync::{Arc, Mutex};

use axum::response::Response;
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use shared::cache::lock;
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
        let standing = *lock(&self.0);
        if let Some(standing) = standing {
            let headers = response.headers_mut();
            headers.insert(LIMIT, HeaderValue::from(standing.limit));
            headers.insert(REMAINING, HeaderValue::from(standing.remaining));
            headers.insert(RESET, HeaderValue::from(standing.reset_seconds));
        }
    }
}

/// Which of a tenant's limits a request counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RateClass {
    Reads,
    Writes,
    DeliveryQueries,
    Events,
}

impl RateClass {
    /// Its name, and how many a minute these limits allow; 0 is without a limit.
    fn limit_in(self, limits: &RateLimits) -> (&'static str, u32) {
        match self {
            Self::Reads => ("reads", limits.reads),
            Self::Writes => ("writes", limits.writes),
            Self::DeliveryQueries => ("delivery_queries", limits.delivery_queries),
            Self::Events => ("events", limits.events),
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
    class: RateClass,
    slot: Option<&Slot>,
    now: Timestamp,
) -> Result<(), ApiError> {
    let (class, limit) = class.limit_in(&tenant.settings.rate_limits);
    if limit == 0 {
        return Ok(());
    }
    let made = api.services.store.count_request(tenant.id, class, now).await?;
    let reset_seconds = 60 - now.as_second().rem_euclid(60);
    if let Some(Slot(slot)) = slot {
        let standing = Standing { limit, remaining: limit.saturating_sub(made), reset_seconds };
        *lock(slot) = Some(standing);
    }
    if made > limit { Err(ApiError::RateLimited { limit, reset_seconds }) } else { Ok(()) }
}
