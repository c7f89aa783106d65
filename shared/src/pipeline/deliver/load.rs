//! Reading what the decisions about a batch need.
//!
//! One call reads what every batch needs, for all tenants together, and does not wait for anyone: what is throttled then is not read. Tenants for which that is all
//! there is to know go on at once. Every other one reads what it still needs by itself, so that nobody waits for another's reading.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::slice;

use futures::future::join_all;

use super::guarded;
use super::intake::{Intake, Keyed, Task, Work};
use super::ledger::Ledger;
use super::plan::{self, Known};
use crate::aws_error::AwsError;
use crate::domain::id::{EndpointId, TenantId};
use crate::services::Services;
use crate::store::flows::Flow;
use crate::store::items::TenantItem;

/// What has been read for all tenants together.
#[derive(Debug, Default)]
pub(super) struct Shared {
    tenants: HashMap<TenantId, TenantItem>,
    flows: HashMap<EndpointId, Flow>,
    /// The endpoints whose flows are known, there or not.
    asked: BTreeSet<EndpointId>,
}

/// Messages that go on together.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) tasks: Vec<Task>,
    pub(super) keyed: Vec<Keyed>,
}

/// Reads the tenants of a batch and the flows of the endpoints that its tasks are for, as far as this process remembers those. What cannot be read at once is left out.
pub(super) async fn read_shared(services: &Services, intake: &Intake) -> Shared {
    let of_tasks = intake.tasks.iter().map(|task| task.work.scope());
    let scopes = of_tasks.chain(intake.keyed.iter().map(|keyed| keyed.scope));
    let tenants: BTreeSet<_> = scopes.map(|scope| scope.tenant_id).collect();
    let tenants: Vec<_> = tenants.into_iter().collect();
    let flows: BTreeSet<_> = intake.tasks.iter().flat_map(|task| remembered(services, task)).collect();
    let flows: Vec<_> = flows.into_iter().collect();
    match services.store.tenants_and_flows_at_once(&tenants, &flows).await {
        Ok((tenants, flows, asked)) => Shared { tenants, flows, asked },
        Err(error) => {
            tracing::warn!(%error, "the tenants of a batch could not be read together");
            Shared::default()
        }
    }
}

/// The messages of tenants about which nothing more has to be read, in one group; and those of each other tenant in one of their own. Pure.
pub(super) fn groups(intake: Intake, is_known: impl Fn(&Task) -> bool) -> Vec<Group> {
    let mut by_tenant: BTreeMap<TenantId, Group> = BTreeMap::new();
    for task in intake.tasks {
        by_tenant.entry(task.work.scope().tenant_id).or_default().tasks.push(task);
    }
    for keyed in intake.keyed {
        by_tenant.entry(keyed.scope.tenant_id).or_default().keyed.push(keyed);
    }
    let mut at_once = Group::default();
    let mut groups = Vec::new();
    for group in by_tenant.into_values() {
        if group.keyed.is_empty() && group.tasks.iter().all(&is_known) {
            at_once.tasks.extend(group.tasks);
        } else {
            groups.push(group);
        }
    }
    groups.push(at_once);
    groups
}

/// Whether a task can be decided on with what has been read.
pub(super) fn is_known(services: &Services, task: &Task, shared: &Shared) -> bool {
    let tenant = shared.tenants.get(&task.work.scope().tenant_id);
    let is_list_current = tenant.is_some_and(|tenant| services.directory.is_current(task.work.scope(), tenant));
    let is_new = matches!(task.work, Work::Event { check_existing: false, .. } | Work::Wake { .. });
    is_list_current && is_new && remembered(services, task).iter().all(|id| shared.asked.contains(id))
}

/// Reads what a group needs, or, where that fails, each task by itself; then a message for which it could not be read has failed in the ledger. So what is throttled or
/// cannot be read for one endpoint or event brings back the messages that are about it and no others.
pub(super) async fn load(services: &Services, ledger: &mut Ledger, shared: &Shared) -> Known {
    let (messages, tasks): (Vec<_>, Vec<_>) = ledger.tasks().unzip();
    match load_together(services, &tasks, shared).await {
        Ok(known) => return known,
        Err(error) => tracing::warn!(%error, "what a batch is about could not be read together"),
    }
    let each = tasks.iter().map(|task| load_together(services, slice::from_ref(task), shared));
    let read = join_all(each).await;
    let mut known = Known::default();
    for (message, read) in messages.into_iter().zip(read) {
        match read {
            Ok(more) => known.extend(more),
            Err(error) => {
                let message_id = &ledger.task(message).message_id;
                tracing::error!(%error, message_id, "what a message is about cannot be read; it comes again");
                ledger.fail(message);
            }
        }
    }
    known
}

async fn load_together(services: &Services, tasks: &[&Task], shared: &Shared) -> Result<Known, AwsError> {
    let scopes: BTreeSet<_> = tasks.iter().map(|task| task.work.scope()).collect();
    let (mut tenants, mut unread) = (HashMap::new(), BTreeSet::new());
    for id in scopes.iter().map(|scope| scope.tenant_id) {
        match shared.tenants.get(&id) {
            Some(tenant) => {
                tenants.insert(id, tenant.clone());
            }
            None => {
                unread.insert(id);
            }
        }
    }
    let unread: Vec<_> = unread.into_iter().collect();
    // The endpoints as this process remembers them say which flows to ask for along with the tenants.
    let asked: BTreeSet<_> = tasks.iter().flat_map(|task| remembered(services, task)).collect();
    let to_ask: Vec<_> = asked.difference(&shared.asked).copied().collect();
    let stored_events: Vec<_> = tasks.iter().filter_map(|task| task.work.stored_event()).collect();
    let ((more_tenants, mut flows), events) =
        futures::try_join!(services.store.tenants_and_flows(&unread, &to_ask), services.store.events(&stored_events))?;
    tenants.extend(more_tenants);
    flows.extend(asked.iter().filter_map(|id| Some((*id, shared.flows.get(id)?.clone()))));
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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::intake::{self, Incoming, Lane};
    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

    /// A message of a tenant's event, with or without an idempotency key.
    fn message(id: &str, tenant: u8, key: bool) -> Incoming {
        let tenant = TenantId::from_parts(NOW, [tenant; 10]);
        let key = if key { r#","idempotency_key":"k""# } else { "" };
        let body = format!(r#"{{"tenant_id":"{tenant}","mode":"live","type":"a","data":{{}}{key}}}"#);
        Incoming {
            message_id: id.to_owned(),
            body,
            lane: Lane::Events,
            sent_at: NOW,
            receive_count: 1,
            event_id: None,
            request_id: None,
            resend: false,
        }
    }

    #[test]
    fn each_tenant_about_which_something_has_to_be_read_goes_by_itself_and_all_others_go_together() {
        // Messages with their tenant, and whether they have a key; those about which more has to be read. Then the groups: their tasks, and how many keys.
        for (name, messages, unknown, expected) in [
            ("nothing", vec![], "", vec![("", 0)]),
            ("all is known", vec![("a", 1, false), ("b", 2, false)], "", vec![("ab", 0)]),
            ("nothing is known", vec![("a", 1, false), ("b", 2, false)], "ab", vec![("a", 0), ("b", 0), ("", 0)]),
            // A tenant's messages stay together, so that two of them that stand for one event are seen as such.
            ("one of two of a tenant", vec![("a", 1, false), ("b", 1, false)], "b", vec![("ab", 0), ("", 0)]),
            ("a key", vec![("a", 1, true), ("b", 1, false), ("c", 2, false)], "", vec![("b", 1), ("c", 0)]),
            (
                "all of it",
                vec![
                    ("a", 1, false),
                    ("b", 2, false),
                    ("c", 3, false),
                    ("d", 1, false),
                    ("e", 4, true),
                    ("f", 4, false),
                ],
                "c",
                vec![("c", 0), ("f", 1), ("adb", 0)],
            ),
        ] {
            let messages = messages.into_iter().map(|(id, tenant, key)| message(id, tenant, key));
            let groups = groups(intake::read(messages.collect()), |task| !unknown.contains(&task.message_id));
            let seen: Vec<(String, usize)> = groups
                .iter()
                .map(|group| (group.tasks.iter().map(|task| task.message_id.as_str()).collect(), group.keyed.len()))
                .collect();
            let expected: Vec<_> = expected.into_iter().map(|(ids, keyed)| (ids.to_owned(), keyed)).collect();
            assert_eq!(seen, expected, "{name}");
        }
    }
}
