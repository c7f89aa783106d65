//! What results say about endpoints: which begin or cease to fail, which are given up, and what the tenant is told.
//!
//! Done after the results are on record, and only where something changes: a success at an endpoint that does not fail costs nothing. What
//! fails here is done at the next result.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::plan::Job;
use crate::domain::delivery::{Delivery, DeliveryStatus};
use crate::domain::id::EndpointId;
use crate::domain::retry::is_given_up;
use crate::domain::tenant::Scope;
use crate::pipeline::endpoints;
use crate::pipeline::operational::{self, Notice};
use crate::services::Services;

/// What the results of one flush say.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// By endpoint: a job of it, whether any attempt succeeded, and when the first that failed began.
    endpoints: HashMap<EndpointId, (Job, bool, Option<Timestamp>)>,
    /// Deliveries that failed for good.
    used_up: Vec<Delivery>,
    /// Endpoints whose receivers are gone.
    gone: Vec<Job>,
}

impl Findings {
    /// Takes in the result of an attempt that is on record.
    pub(super) fn add(&mut self, job: &Job, after: &Delivery, gone: bool) {
        let Some(attempt) = after.attempts.last() else { return };
        let entry = self.endpoints.entry(job.endpoint.id).or_insert_with(|| (job.clone(), false, None));
        if attempt.outcome == crate::domain::attempt::Outcome::Succeeded {
            entry.1 = true;
        } else {
            entry.2 = Some(entry.2.map_or(attempt.at, |earlier| earlier.min(attempt.at)));
        }
        if after.status == DeliveryStatus::Failed {
            self.used_up.push(after.clone());
        }
        if gone {
            self.gone.push(job.clone());
        }
    }

    /// Acts on them.
    pub(super) async fn act(self, services: &Services) {
        let now = services.clock.now();
        for (job, succeeded, failed_at) in self.endpoints.into_values() {
            let endpoint = &job.endpoint;
            let noted = match (job.failing_since, succeeded, failed_at) {
                (Some(_), true, _) => services.store.end_failing(endpoint.scope, endpoint.id).await,
                (None, false, Some(since)) => services.store.begin_failing(endpoint.scope, endpoint.id, since).await,
                (Some(since), false, Some(_)) if is_given_up(since, now, services.config.disable_after_seconds) => {
                    endpoints::disable_given_up(services, endpoint, since).await;
                    Ok(())
                }
                _ => Ok(()),
            };
            if let Err(error) = noted {
                tracing::warn!(%error, endpoint_id = %endpoint.id, "an endpoint's health could not be noted");
            }
        }
        for job in self.gone {
            endpoints::disable_gone(services, &job.endpoint).await;
        }
        let mut notices: BTreeMap<Scope, Vec<Notice>> = BTreeMap::new();
        for delivery in self.used_up {
            notices.entry(delivery.scope).or_default().push(Notice::delivery_failed(&delivery));
        }
        for (scope, notices) in notices {
            operational::tell(services, scope, &notices).await;
        }
    }
}
