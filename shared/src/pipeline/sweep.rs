//! The sweeper: finds what is due and hands it to the retries queue, heals what a crash left behind, removes what deleted endpoints leave.
//!
//! It looks one period ahead and leaves the rest of a wait to the queue's delay, so retries are on time to the second. It takes each delivery by a
//! conditional write before it sends the message, so two sweepers at once send one; a crash between the two is healed as a lost message is.

use futures::future::join_all;
use jiff::Timestamp;

use crate::aws_error::AwsError;
use crate::domain::attempt::Trigger;
use crate::domain::retry::{HEAL_AFTER_SECONDS, QUEUE_DELAY_SECONDS_MAX, SWEEP_LOOK_AHEAD_SECONDS, seconds_until};
use crate::domain::time::plus_seconds;
use crate::pipeline::endpoints::{expire_previous, remove_secret};
use crate::pipeline::tenants::clear_tenant;
use crate::queue::messages::RetryMessage;
use crate::services::Services;
use crate::store::Recorded;
use crate::store::deliveries::{Due, StoredDelivery, take_due};
use crate::store::keys::DUE_SHARDS;
use crate::store::removals::Removal;
use crate::store::replays::Replay;

/// How many rounds of up to 250 items one run makes in each of the index's partitions: some 20,000 items in all, a run's worth of time.
const ROUNDS_MAX: usize = 20;
/// How long after a failure the removal of a secret is tried again, in seconds.
const REMOVAL_AGAIN_SECONDS: i64 = 3_600;

/// What one run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Deliveries handed to the retries queue.
    pub queued: usize,
    /// Secrets removed.
    pub secrets_removed: usize,
    /// Things that failed and are tried again at the next run.
    pub failed: usize,
}

/// Makes one run. Repeating it, also at the same time, is safe.
pub async fn sweep(services: &Services) -> Swept {
    sweep_ahead(services, SWEEP_LOOK_AHEAD_SECONDS, ROUNDS_MAX).await
}

/// Makes a run that takes every message for the next minute for lost: for a start after a kill, when nobody is left who could be about to send one.
/// Where a message is there all the same, its delivery has two, of which one turns out stale.
pub async fn recover(services: &Services) -> Swept {
    // One round: what it takes lies within its own sight again. What is left over is healed as any lost message is.
    sweep_ahead(services, SWEEP_LOOK_AHEAD_SECONDS + HEAL_AFTER_SECONDS, 1).await
}

async fn sweep_ahead(services: &Services, look_ahead_seconds: u32, rounds_max: usize) -> Swept {
    let mut total = Swept::default();
    let shards = (0..DUE_SHARDS).map(|shard| sweep_shard(services, shard, look_ahead_seconds, rounds_max));
    for swept in join_all(shards).await {
        total.queued += swept.queued;
        total.secrets_removed += swept.secrets_removed;
        total.failed += swept.failed;
    }
    tracing::info!(queued = total.queued, secrets_removed = total.secrets_removed, failed = total.failed, "swept");
    total
}

async fn sweep_shard(services: &Services, shard: u8, look_ahead_seconds: u32, rounds_max: usize) -> Swept {
    let mut swept = Swept::default();
    for _ in 0..rounds_max {
        let now = services.clock.now();
        let until = plus_seconds(now, i64::from(look_ahead_seconds));
        let found = match services.store.due(shard, until).await {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%error, shard, "what is due could not be read");
                swept.failed += 1;
                return swept;
            }
        };
        let mut deliveries = Vec::new();
        let mut removals = Vec::new();
        let mut replays = Vec::new();
        for due in found {
            match due {
                Due::Delivery(stored) => deliveries.push(*stored),
                Due::Removal(removal) => removals.push(removal),
                Due::Replay(replay) => replays.push(*replay),
            }
        }
        let before = swept;
        hand_over(services, &deliveries, now, &mut swept).await;
        for removal in removals {
            remove(services, removal, now, &mut swept).await;
        }
        for replay in replays {
            wake_replay(services, &replay, now, &mut swept).await;
        }
        if (swept.queued, swept.secrets_removed) == (before.queued, before.secrets_removed) {
            break;
        }
    }
    swept
}

async fn hand_over(services: &Services, deliveries: &[StoredDelivery], now: Timestamp, swept: &mut Swept) {
    let taken: Vec<_> = deliveries.iter().filter_map(|stored| Some((stored, take_due(stored, now)?))).collect();
    let writes: Vec<_> = taken.iter().map(|(_, write)| write.clone()).collect();
    let mut messages = Vec::new();
    for ((stored, _), result) in taken.into_iter().zip(services.store.record(&writes).await) {
        match result {
            Recorded::Done => messages.push(wake_message(stored, now)),
            Recorded::Refused => {}
            Recorded::Failed(error) => {
                tracing::error!(%error, "a due delivery could not be taken");
                swept.failed += 1;
            }
        }
    }
    for result in services.queues.send_retries(&messages).await {
        match result {
            Ok(()) => swept.queued += 1,
            Err(error) => {
                tracing::error!(%error, "a due delivery could not be queued; it is looked at again");
                swept.failed += 1;
            }
        }
    }
}

fn wake_message(stored: &StoredDelivery, now: Timestamp) -> (RetryMessage, u32) {
    let delivery = &stored.delivery;
    let message = RetryMessage::next_attempt(delivery, Trigger::Automatic);
    let due = delivery.next_attempt_at.unwrap_or(now);
    (message, seconds_until(due, now).min(QUEUE_DELAY_SECONDS_MAX))
}

/// Sends a replay on whose message got lost.
async fn wake_replay(services: &Services, replay: &Replay, now: Timestamp, swept: &mut Swept) {
    let touched = Replay { updated_at: now, ..replay.clone() };
    let woken = async {
        if services.store.advance_replay(replay, &touched, now).await? {
            let message = RetryMessage::Replay { scope: replay.scope, replay_id: replay.id };
            services.queues.send_retries(&[(message, 0)]).await.into_iter().collect::<Result<(), _>>()?;
        }
        Ok::<_, AwsError>(())
    };
    match woken.await {
        Ok(()) => swept.queued += 1,
        Err(error) => {
            tracing::error!(%error, replay_id = %replay.id, "a replay could not be woken");
            swept.failed += 1;
        }
    }
}

async fn remove(services: &Services, removal: Removal, now: Timestamp, swept: &mut Swept) {
    match try_remove(services, removal).await {
        Ok(removed) => swept.secrets_removed += usize::from(removed),
        Err(error) => {
            tracing::error!(%error, ?removal, "something could not be cleared away");
            swept.failed += 1;
            let again = plus_seconds(now, REMOVAL_AGAIN_SECONDS);
            if let Err(error) = services.store.note_removal(removal, again).await {
                tracing::error!(%error, ?removal, "it stays due");
            }
        }
    }
}

/// Whether a secret was removed.
async fn try_remove(services: &Services, removal: Removal) -> Result<bool, AwsError> {
    match removal {
        Removal::Secret { endpoint_id, scope } => {
            if services.store.endpoint(scope, endpoint_id).await?.is_none() {
                remove_secret(services, scope, endpoint_id).await?;
                return Ok(true);
            }
            services.store.forget_removal(removal).await?;
            Ok(false)
        }
        Removal::PreviousKey { endpoint_id, scope } => {
            expire_previous(services, scope, endpoint_id).await?;
            services.store.forget_removal(removal).await?;
            Ok(true)
        }
        Removal::Tenant { tenant_id } => clear_tenant(services, tenant_id).await.map(|()| false),
    }
}
