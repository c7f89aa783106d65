//! The sweeper: wakes backlogs whose wakes are not the queue's or got lost, ends flows that have nothing more to do, and cleans up what deleted endpoints
//! leave. It checks flows, never deliveries, so a run costs as much whether one delivery waits or a million.
//!
//! It takes over each wake by a conditional write before it sends the message, so two sweepers at once send one that is valid; a crash between the two is a lost
//! wake like any other. Wakes come before everything else, and have index partitions of their own.

use std::collections::HashMap;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;

use crate::aws_error::AwsError;
use crate::clock::Moment;
use crate::domain::backlog::{SweepAction, sweep_action, wake_delay};
use crate::domain::endpoint::EndpointStatus;
use crate::domain::time::plus_seconds;
use crate::pipeline::endpoints::{expire_previous, remove_secret, settle_labels};
use crate::pipeline::operational::{self, OperationalEvent};
use crate::pipeline::tenants::clear_tenant;
use crate::pipeline::{conversion, replay, wakes};
use crate::services::Services;
use crate::store::Recorded;
use crate::store::cleanups::{Cleanup, Due};
use crate::store::flows::{Flow, new_token, rewake_flow};
use crate::store::keys::{CLEANUP_SHARDS, SWEEP_SHARDS};

/// How long a run goes on with new pages, in seconds; the next one begins a minute after it.
const RUN_SECONDS_MAX: u64 = 40;
/// How many pages of things to be cleaned up one run takes from each of the index's partitions.
const CLEANUP_PAGES_MAX: usize = 20;
/// How long after a failure something is cleaned up again, in seconds.
const CLEANUP_AGAIN_SECONDS: i64 = 60;

/// By how many seconds the check of a backlog may be late before somebody should know: a few minutes are as they should be after a crash.
const LATE_SECONDS_MAX: i64 = 600;

/// What one run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Backlogs woken, and replays sent on.
    pub woken: usize,
    /// Flows that had nothing more to do.
    pub ended: usize,
    /// Secrets removed.
    pub secrets_removed: usize,
    /// Endpoints whose secrets were converted to the form that is configured.
    pub secrets_converted: usize,
    /// Things that failed and are tried again at the next run.
    pub failed: usize,
    /// By how many seconds the check of a backlog is late that is the latest.
    pub latest_seconds: i64,
}

impl Swept {
    fn add(&mut self, other: Self) {
        self.woken += other.woken;
        self.ended += other.ended;
        self.secrets_removed += other.secrets_removed;
        self.secrets_converted += other.secrets_converted;
        self.failed += other.failed;
        self.latest_seconds = self.latest_seconds.max(other.latest_seconds);
    }
}

/// Makes one run. Repeating it, also at the same time, is safe.
pub async fn sweep(services: &Services) -> Swept {
    run(services, Leases::Hold).await
}

/// Makes a run that takes every lease for over: for a start after a kill, when nobody is left who could have one.
pub async fn recover(services: &Services) -> Swept {
    run(services, Leases::AreOver).await
}

/// Whether somebody may be draining.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leases {
    Hold,
    AreOver,
}

async fn run(services: &Services, leases: Leases) -> Swept {
    let until = services.clock.moment() + Duration::from_secs(RUN_SECONDS_MAX);
    let mut total = Swept::default();
    for swept in join_all((0..SWEEP_SHARDS).map(|shard| sweep_flows(services, shard, leases, until))).await {
        total.add(swept);
    }
    for swept in join_all((0..CLEANUP_SHARDS).map(|shard| sweep_due(services, shard, until))).await {
        total.add(swept);
    }
    match Box::pin(conversion::convert(services, until)).await {
        Ok(converted) => total.secrets_converted = converted,
        Err(error) => {
            tracing::error!(%error, "secrets could not be converted; the next run goes on");
            total.failed += 1;
        }
    }
    log(total, leases);
    total
}

/// A run that found nothing to do is no line for those who do not ask for it: there is one every minute.
fn log(total: Swept, leases: Leases) {
    let Swept { woken, ended, secrets_removed, secrets_converted, failed, latest_seconds } = total;
    if leases == Leases::Hold && latest_seconds > LATE_SECONDS_MAX {
        tracing::error!(latest_seconds, "backlogs are checked late: wakes got lost, or the retries lane is behind");
    }
    if total == Swept::default() {
        tracing::debug!("nothing was due");
    } else {
        tracing::info!(woken, ended, secrets_removed, secrets_converted, failed, latest_seconds, "swept");
    }
}

/// The flows of one of the index's partitions, page by page.
async fn sweep_flows(services: &Services, shard: u8, leases: Leases, until: Moment) -> Swept {
    let mut swept = Swept::default();
    let mut after = None;
    loop {
        let now = services.clock.now();
        // After a kill every flow is checked, whenever that was to be.
        let look_until = if leases == Leases::AreOver { Timestamp::MAX } else { now };
        let page = async {
            let (ids, next) = services.store.flows_to_sweep(shard, look_until, after.take()).await?;
            Ok::<_, AwsError>((services.store.flows(&ids).await?, next))
        };
        let (flows, next) = match page.await {
            Ok(page) => page,
            Err(error) => {
                tracing::error!(%error, shard, "flows could not be read");
                swept.failed += 1;
                return swept;
            }
        };
        // The index follows the table after a moment: somebody else may just have handled some of these.
        let flows = flows.into_values().filter(|flow| flow.sweep_at.is_some_and(|at| at <= look_until));
        swept.add(settle_flows(services, flows.collect(), leases, now).await);
        after = next;
        if after.is_none() || services.clock.moment() >= until {
            return swept;
        }
    }
}

/// A flow to be woken: when its backlog is to be checked, and how many of its wakes have got lost.
type ToWake = (Flow, Timestamp, u32);

/// What is to be done about the flows of a page.
#[derive(Debug, Default)]
struct Sorted {
    wake: Vec<ToWake>,
    last_looks: Vec<Flow>,
    /// By how many seconds the check is late that is the latest.
    latest_seconds: i64,
}

/// Sorts flows whose time to be swept has come by what is to be done about them; the others are left alone. Pure.
fn sort(flows: impl IntoIterator<Item = Flow>, leases: Leases, now: Timestamp) -> Sorted {
    let mut sorted = Sorted::default();
    for mut flow in flows {
        if leases == Leases::AreOver && flow.lease_until.is_some() {
            flow.lease_until = None;
            flow.next_at = flow.next_at.or(Some(now));
        }
        match sweep_action(flow.looked(), now) {
            SweepAction::Leave => {}
            SweepAction::Wake { wakes_lost, .. } => {
                let next_at = flow.next_at.unwrap_or(now);
                sorted.latest_seconds = sorted.latest_seconds.max(now.as_second() - next_at.as_second());
                sorted.wake.push((flow, next_at, wakes_lost));
            }
            SweepAction::LastLook => sorted.last_looks.push(flow),
        }
    }
    sorted
}

async fn settle_flows(services: &Services, flows: Vec<Flow>, leases: Leases, now: Timestamp) -> Swept {
    let Sorted { mut wake, last_looks, latest_seconds } = sort(flows, leases, now);
    let mut swept = Swept { latest_seconds, ..Swept::default() };
    for (looked, flow) in join_all(last_looks.into_iter().map(|flow| last_look(services, flow, now))).await {
        match looked {
            Ok(Some(next_at)) => wake.push((flow, next_at, 0)),
            Ok(None) => swept.ended += 1,
            Err(error) => {
                tracing::error!(%error, endpoint_id = %flow.endpoint_id, "a flow could not be ended");
                swept.failed += 1;
            }
        }
    }
    swept.add(take_over(services, wake, now).await);
    swept
}

/// Takes over the wakes of these flows and sends them.
async fn take_over(services: &Services, flows: Vec<ToWake>, now: Timestamp) -> Swept {
    let mut swept = Swept::default();
    let taken = flows.into_iter().map(|(flow, next_at, wakes_lost)| {
        let token = new_token();
        let write = rewake_flow(&flow, next_at, &token, wakes_lost, now);
        let message = wakes::message(flow.scope, flow.endpoint_id, token.clone(), next_at, now);
        ((flow.endpoint_id, token, message), write)
    });
    let (wakes, writes): (Vec<_>, Vec<_>) = taken.unzip();
    let mut sent = Vec::new();
    let mut refused = HashMap::new();
    for ((id, token, message), recorded) in wakes.into_iter().zip(services.store.record(&writes).await) {
        match recorded {
            Recorded::Done => sent.extend(message),
            Recorded::Refused => {
                refused.insert((id, token), message);
            }
            Recorded::Failed(error) => {
                tracing::error!(%error, "a wake could not be taken over");
                swept.failed += 1;
            }
        }
    }
    // Overtaken by somebody else, or taken over here and the answer got lost.
    let wakes: Vec<_> = refused.keys().cloned().collect();
    match services.store.valid_wakes(&wakes).await {
        Ok(valid) => sent
            .extend(refused.into_iter().filter(|((id, _), _)| valid.contains(id)).filter_map(|(_, message)| message)),
        Err(error) => {
            tracing::error!(%error, "whether wakes were taken over is not known; they are sent as lost ones are");
            swept.failed += 1;
        }
    }
    for result in services.queues.send_retries(&sent).await {
        match result {
            Ok(()) => swept.woken += 1,
            Err(error) => {
                tracing::error!(%error, "a wake could not be sent; it is sent again as a lost one is");
                swept.failed += 1;
            }
        }
    }
    swept
}

/// Makes the last check of a flow that has nothing more to do: when its backlog is to be checked, if something waits in it after all.
async fn last_look(services: &Services, flow: Flow, now: Timestamp) -> (Result<Option<Timestamp>, AwsError>, Flow) {
    let looked = async {
        if let Some(waits) = services.store.backlog(flow.endpoint_id, None, 1).await?.first() {
            return Ok(Some(check_after_all(waits.due, now)));
        }
        let endpoint = services.store.endpoint(flow.scope, flow.endpoint_id).await?;
        let mut flow = flow.clone();
        match endpoint {
            Some(endpoint) if endpoint.status == EndpointStatus::Active => {}
            // Of an endpoint that gets nothing nothing is to be remembered. The one that disabled it may have died before the operational event.
            inactive => {
                if let Some(disabled) = inactive.filter(|endpoint| endpoint.status == EndpointStatus::Disabled) {
                    let event = OperationalEvent::endpoint_disabled(&disabled);
                    operational::emit(services, flow.scope, &[event]).await?;
                }
                services.store.note_healthy(flow.endpoint_id).await?;
                flow.health = crate::domain::health::Health::default();
            }
        }
        services.store.end_flow(&flow, now).await.map(|_| None)
    };
    (looked.await, flow)
}

/// When a backlog is to be checked in which something waits after all that is due at `due`: then, or now where a queue cannot wait for so long. Pure.
fn check_after_all(due: Timestamp, now: Timestamp) -> Timestamp {
    if wake_delay(due, now).is_some() { due.max(now) } else { now }
}

/// What is to be cleaned up, and replays that have died, of one of the index's partitions.
async fn sweep_due(services: &Services, shard: u8, until: Moment) -> Swept {
    let mut swept = Swept::default();
    for _ in 0..CLEANUP_PAGES_MAX {
        let now = services.clock.now();
        let found = match services.store.due(shard, now).await {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%error, shard, "what is to be cleaned up could not be read");
                swept.failed += 1;
                return swept;
            }
        };
        if found.is_empty() {
            return swept;
        }
        for one in found {
            match one {
                Due::Cleanup(cleanup) => clean_up(services, cleanup, now, &mut swept).await,
                Due::Replay(stalled) => match wake_replay(services, &stalled, now).await {
                    Ok(()) => swept.woken += 1,
                    Err(error) => {
                        tracing::error!(%error, replay_id = %stalled.id, "a replay could not be sent on");
                        swept.failed += 1;
                    }
                },
            }
            if services.clock.moment() >= until {
                return swept;
            }
        }
    }
    swept
}

/// Sends a replay on that has died.
async fn wake_replay(
    services: &Services,
    stalled: &crate::store::replays::Replay,
    now: Timestamp,
) -> Result<(), AwsError> {
    match services.store.advance_replay(stalled, stalled.clone(), now).await? {
        Some(replay) => replay::go_on(services, &replay).await,
        None => Ok(()),
    }
}

async fn clean_up(services: &Services, cleanup: Cleanup, now: Timestamp, swept: &mut Swept) {
    match try_clean_up(services, cleanup, now).await {
        Ok(removed) => swept.secrets_removed += usize::from(removed),
        Err(error) => {
            tracing::error!(%error, ?cleanup, "something could not be cleaned up");
            swept.failed += 1;
            let again = plus_seconds(now, CLEANUP_AGAIN_SECONDS);
            if let Err(error) = services.store.schedule_cleanup(cleanup, again).await {
                tracing::error!(%error, ?cleanup, "it stays due");
            }
        }
    }
}

/// Clears away what a note says; whether a secret was removed.
async fn try_clean_up(services: &Services, cleanup: Cleanup, now: Timestamp) -> Result<bool, AwsError> {
    match cleanup {
        Cleanup::Secret { endpoint_id, scope } => {
            let Some(endpoint) = services.store.endpoint(scope, endpoint_id).await? else {
                remove_secret(services, scope, endpoint_id).await?;
                return Ok(true);
            };
            if endpoint.signing.sealed.is_some() {
                // It goes as one that an endpoint has left.
                let left = Cleanup::LeftSecret { endpoint_id, scope, is_removed: false };
                services.store.schedule_cleanup(left, now).await?;
            }
            services.store.forget_cleanup(cleanup).await?;
            Ok(false)
        }
        Cleanup::LeftSecret { .. } => conversion::remove_left_secret(services, cleanup, now).await,
        Cleanup::PreviousKey { endpoint_id, scope } => {
            expire_previous(services, scope, endpoint_id).await?;
            let Some(endpoint) = services.store.endpoint(scope, endpoint_id).await? else {
                return services.store.forget_cleanup(cleanup).await.map(|()| false);
            };
            settle_labels(services, scope, endpoint_id).await?;
            match endpoint.signing.previous_expires_at {
                // Another rotation has begun since.
                Some(until) => services.store.schedule_cleanup(cleanup, until).await.map(|()| false),
                None => services.store.forget_due_cleanup(cleanup, now).await.map(|()| true),
            }
        }
        Cleanup::Tenant { tenant_id } => clear_tenant(services, tenant_id).await.map(|()| false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::endpoint::Endpoint;
    use crate::domain::health::Health;

    const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

    fn at(seconds: i64) -> Timestamp {
        plus_seconds(NOW, seconds)
    }

    fn flow(next_at: Option<i64>, lease_until: Option<i64>, wakes_lost: u32) -> Flow {
        Flow {
            endpoint_id: Endpoint::sample(0).id,
            scope: Endpoint::sample(0).scope,
            health: Health::default(),
            next_at: next_at.map(at),
            token: None,
            lease: None,
            lease_until: lease_until.map(at),
            touched_at: None,
            wakes_lost,
            sweep_at: None,
        }
    }

    #[test]
    fn flow_is_woken_looked_at_for_the_last_time_or_left_and_after_a_kill_nobody_has_a_lease() {
        use Leases::{AreOver, Hold};
        // What is woken, for when and with how many wakes lost; how many last looks; how late the latest is.
        for (name, flows, leases, woken, last_looks, latest) in [
            ("no flows", vec![], Hold, vec![], 0, 0),
            ("a wake that got lost", vec![flow(Some(-300), None, 1)], Hold, vec![(-300, 2)], 0, 300),
            ("a long wait that ends soon", vec![flow(Some(100), None, 0)], Hold, vec![(100, 0)], 0, 0),
            ("nothing waits", vec![flow(None, None, 0)], Hold, vec![], 1, 0),
            ("somebody drains", vec![flow(None, Some(30), 0)], Hold, vec![], 0, 0),
            ("somebody drained before the kill", vec![flow(None, Some(30), 0)], AreOver, vec![(0, 0)], 0, 0),
            ("and a check was requested", vec![flow(Some(20), Some(30), 0)], AreOver, vec![(20, 0)], 0, 0),
            ("nobody drained before the kill", vec![flow(None, None, 0)], AreOver, vec![], 1, 0),
            (
                "several",
                vec![flow(Some(-5), None, 0), flow(None, None, 0), flow(Some(-60), None, 0), flow(Some(9), None, 3)],
                Hold,
                vec![(-5, 1), (-60, 1), (9, 3)],
                1,
                60,
            ),
        ] {
            let sorted = sort(flows, leases, NOW);
            let seen: Vec<_> = sorted.wake.iter().map(|(_, next_at, lost)| (*next_at, *lost)).collect();
            let woken: Vec<_> = woken.into_iter().map(|(seconds, lost): (i64, u32)| (at(seconds), lost)).collect();
            assert_eq!((seen, sorted.last_looks.len(), sorted.latest_seconds), (woken, last_looks, latest), "{name}");
            assert!(leases == Hold || sorted.wake.iter().all(|(flow, ..)| flow.lease_until.is_none()), "{name}");
        }
    }

    #[test]
    fn what_waits_after_all_is_looked_at_when_it_is_due_or_now_where_that_is_too_far_away() {
        for (due, expected) in [(-60, 0), (0, 0), (60, 60), (900, 900), (901, 0)] {
            assert_eq!(check_after_all(at(due), NOW), at(expected), "{due}");
        }
    }

    #[test]
    fn runs_add_up_and_the_latest_look_is_the_latest_of_all() {
        let one = Swept { woken: 1, ended: 2, secrets_removed: 3, secrets_converted: 5, failed: 4, latest_seconds: 50 };
        let other =
            Swept { woken: 10, ended: 20, secrets_removed: 30, secrets_converted: 50, failed: 40, latest_seconds: 6 };
        let sum =
            Swept { woken: 11, ended: 22, secrets_removed: 33, secrets_converted: 55, failed: 44, latest_seconds: 50 };
        for (name, mut first, second) in [("one", one, other), ("the other", other, one)] {
            first.add(second);
            assert_eq!(first, sum, "{name} first");
        }
    }
}
