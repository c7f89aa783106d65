//! What results say about endpoints: which begin or cease to fail or to be slow, which are given up, and what the tenant is told.
//!
//! Done after the results are on record, and only where something changes: a good answer of an endpoint that is well costs nothing. A note that
//! fails here is made at the next result. What somebody is to be told of has no next result: its message comes again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::plan::{Ended, Job};
use crate::aws_error::AwsError;
use crate::domain::attempt::Attempt;
use crate::domain::delivery::{Delivery, DeliveryStatus};
use crate::domain::health::Signs;
use crate::domain::id::EndpointId;
use crate::domain::tenant::Scope;
use crate::metrics::Counter;
use crate::pipeline::endpoints;
use crate::pipeline::operational::{self, Notice};
use crate::services::Services;

/// What the results of one flush say.
#[derive(Debug, Default)]
pub(super) struct Findings {
    endpoints: HashMap<EndpointId, Found>,
    /// Deliveries that failed for good, with their messages.
    ended: Vec<(usize, Ended)>,
    /// How many of those ended just now.
    newly_ended: usize,
}

/// What they say about one endpoint.
#[derive(Debug)]
struct Found {
    job: Job,
    signs: Signs,
    /// The messages that the attempts were for.
    messages: BTreeSet<usize>,
}

impl Findings {
    /// Takes in the result of an attempt that is on record.
    pub(super) fn add(&mut self, message: usize, job: &Job, after: &Delivery) {
        let Some(attempt) = after.attempts.last() else { return };
        let found = self.endpoints.entry(job.endpoint.id);
        let found =
            found.or_insert_with(|| Found { job: job.clone(), signs: Signs::default(), messages: BTreeSet::new() });
        found.signs.add(attempt);
        found.messages.insert(message);
        if after.status == DeliveryStatus::Failed {
            self.newly_ended += 1;
            self.add_ended(message, Ended { delivery: after.clone(), endpoint: Arc::clone(&job.endpoint) });
        }
    }

    /// Takes in a delivery that is on record as failed.
    pub(super) fn add_ended(&mut self, message: usize, ended: Ended) {
        self.ended.push((message, ended));
    }

    /// Acts on them; the messages of which not everything could be done.
    pub(super) async fn act(self, services: &Services) -> BTreeSet<usize> {
        let mut undone = BTreeSet::new();
        services.metrics.count(Counter::DeliveriesFailed, self.newly_ended);
        for found in self.endpoints.into_values() {
            if let Err(error) = act_on_health(services, &found).await {
                tracing::error!(%error, endpoint_id = %found.job.endpoint.id, "what follows from failures comes again");
                undone.extend(found.messages);
            }
        }
        let mut notices: BTreeMap<Scope, (Vec<Notice>, BTreeSet<usize>)> = BTreeMap::new();
        for (message, Ended { delivery, endpoint }) in self.ended {
            if delivery.attempts.last().is_some_and(Attempt::says_gone)
                && let Err(error) = endpoints::disable_gone(services, &endpoint, delivery.updated_at).await
            {
                tracing::error!(%error, endpoint_id = %endpoint.id, "what follows from a 410 comes again");
                undone.insert(message);
            }
            let (of_scope, messages) = notices.entry(delivery.scope).or_default();
            of_scope.push(Notice::delivery_failed(&delivery));
            messages.insert(message);
        }
        for (scope, (notices, messages)) in notices {
            if let Err(error) = operational::tell(services, scope, &notices).await {
                tracing::error!(%error, tenant_id = %scope.tenant_id, "news of failed deliveries comes again");
                undone.extend(messages);
            }
        }
        undone
    }
}

/// Notes how the endpoint is doing now, and disables it where it has failed for too long.
async fn act_on_health(services: &Services, Found { job, signs, .. }: &Found) -> Result<(), AwsError> {
    let endpoint = &job.endpoint;
    let after = job.health.after(*signs);
    if let Err(error) = services.store.note_health(endpoint.scope, endpoint.id, job.health, after).await {
        tracing::warn!(%error, endpoint_id = %endpoint.id, "an endpoint's health could not be noted");
    }
    let given_up =
        job.health.given_up(endpoint.updated_at, services.clock.now(), services.config.disable_after_seconds);
    match given_up.filter(|_| signs.only_failures()) {
        Some(since) => endpoints::disable_given_up(services, endpoint, since).await,
        None => Ok(()),
    }
}
