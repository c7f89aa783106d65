//! Reading what the decisions about a batch need: one call for what every batch needs, and a second round only where something may be on record or has changed.

use std::collections::BTreeSet;
use std::slice;

use futures::future::join_all;

use super::guarded;
use super::intake::{Task, Work};
use super::plan::{self, Known};
use crate::aws_error::AwsError;
use crate::domain::id::EndpointId;
use crate::services::Services;

/// Reads it for the whole batch, or, where that fails, for each task by itself; then with the places of the tasks for which it could not be read. So what is
/// throttled or cannot be read for one tenant, endpoint or event brings back the messages that are about it and no others.
pub(super) async fn load(services: &Services, tasks: &[Task]) -> (Known, BTreeSet<usize>) {
    match load_together(services, tasks).await {
        Ok(known) => return (known, BTreeSet::new()),
        Err(error) => tracing::warn!(%error, "what a batch is about could not be read together"),
    }
    let (mut known, mut unread) = (Known::default(), BTreeSet::new());
    let each = tasks.iter().map(|task| load_together(services, slice::from_ref(task)));
    for (message, (task, read)) in tasks.iter().zip(join_all(each).await).enumerate() {
        match read {
            Ok(more) => known.extend(more),
            Err(error) => {
                tracing::error!(%error, message_id = task.message_id, "what a message is about cannot be read; it comes again");
                unread.insert(message);
            }
        }
    }
    (known, unread)
}

async fn load_together(services: &Services, tasks: &[Task]) -> Result<Known, AwsError> {
    let scopes: BTreeSet<_> = tasks.iter().map(|task| task.work.scope()).collect();
    let tenants: BTreeSet<_> = scopes.iter().map(|scope| scope.tenant_id).collect();
    let tenants: Vec<_> = tenants.into_iter().collect();
    // The endpoints as this process remembers them say which flows to ask for along with the tenants.
    let asked: BTreeSet<_> = tasks.iter().flat_map(|task| remembered(services, task)).collect();
    let flows: Vec<_> = asked.iter().copied().collect();
    let stored_events: Vec<_> = tasks.iter().filter_map(|task| task.work.stored_event()).collect();
    let ((tenants, flows), events) =
        futures::try_join!(services.store.tenants_and_flows(&tenants, &flows), services.store.events(&stored_events))?;
    let endpoints = services.directory.endpoints_of(&scopes, &tenants).await?;
    let mut known = Known { endpoints, flows, events, ..Known::default() };
    // What an event or a fan-out may have on record is known only when the endpoints are. A task that cannot be looked into here cannot be planned
    // either, and fails there.
    let mut names = Vec::new();
    let mut more = BTreeSet::new();
    for task in tasks {
        let looked = guarded(&task.message_id, || {
            let endpoints = plan::endpoints_of(task, &known, known.endpoints.get(&task.work.scope()));
            (plan::may_be_on_record(task, &known), endpoints)
        });
        let (on_record, endpoints) = looked.unwrap_or_default();
        names.extend(on_record);
        more.extend(endpoints.iter().map(|endpoint| endpoint.id).filter(|id| !asked.contains(id)));
    }
    let more: Vec<_> = more.into_iter().collect();
    let (deliveries, flows) = futures::try_join!(services.store.deliveries(&names), services.store.flows(&more))?;
    known.flows.extend(flows);
    Ok(Known { deliveries, ..known })
}

/// The endpoints whose flows a task needs, as far as this process can tell before it reads anything.
fn remembered(services: &Services, task: &Task) -> Vec<EndpointId> {
    if let Work::Wake { endpoint_id, .. } = &task.work {
        return vec![*endpoint_id];
    }
    let Some(endpoints) = services.directory.remembered(task.work.scope()) else { return Vec::new() };
    let matched = guarded(&task.message_id, || plan::endpoints_of(task, &Known::default(), Some(&endpoints)));
    matched.unwrap_or_default().iter().map(|endpoint| endpoint.id).collect()
}
