//! Beginning what was decided: each request, write or drain of a message is a part of its work. Nothing is decided here and nothing is waited for.

use std::sync::Arc;

use super::batch::Batch;
use super::drain;
use super::first::{self, EventWrite};
use super::ledger::MessageRef;
use super::plan::{Look, Plan};
use super::working::Working;
use crate::aws_error::AwsError;
use crate::config::Config;
use crate::domain::endpoint::Endpoint;
use crate::domain::event::Event;
use crate::pipeline::{replay, retention};
use crate::queue::messages::RetryMessage;
use crate::store::Write;
use crate::store::events::insert_event;

/// Begins everything that a message was found to stand for.
pub(super) fn planned(batch: &Batch, message: MessageRef, plan: Plan, working: &mut Working) {
    // Written with its first delivery, or by itself where that is not now.
    let is_alone = plan.attempts.is_empty() && plan.deferred.is_empty() && plan.skipped.is_empty();
    let Plan { event, attempts, deferred, skipped, fan_out, redone, replay, lacks_endpoints: _, dead_letter: _ } = plan;
    let write = event.map(|(event, matched)| event_write(&batch.services.config, &event, &matched, &fan_out));
    let event = match write.transpose() {
        Ok(write) => EventWrite::new(write),
        Err(error) => {
            working.begin(message, async move { Err(error) });
            return;
        }
    };
    for first in attempts {
        let (batch, event) = (batch.clone(), event.clone());
        working.begin(message, async move { first::deliver(&batch, &event, &first).await });
    }
    for first in deferred {
        let (batch, event) = (batch.clone(), event.clone());
        working.begin(message, async move {
            let now = batch.services.clock.now();
            first::defer(&batch, &event, &first, now).await
        });
    }
    for (_, delivery) in skipped {
        let (batch, event) = (batch.clone(), event.clone());
        working.begin(message, async move { first::skip(&batch, &event, &delivery).await });
    }
    for (endpoint, delivery) in redone {
        let batch = batch.clone();
        working.begin(message, async move { first::redo(&batch, &endpoint, &delivery).await });
    }
    if is_alone {
        let batch = batch.clone();
        working.begin(message, async move {
            event.carry_out(&batch).await?;
            let parts: Vec<_> = fan_out.into_iter().map(|part| (part, 0)).collect();
            batch.services.queues.send_retries(&parts).await.into_iter().collect()
        });
    }
    if let Some((scope, replay_id)) = replay {
        let batch = batch.clone();
        working.begin(message, async move {
            replay::take_up(&batch.services, scope, replay_id, || batch.has_time_for(0)).await
        });
    }
}

/// The write that keeps an event. One that is fanned out in parts is not said to be delivered to anyone yet.
fn event_write(
    config: &Config,
    event: &Event,
    matched: &[Arc<Endpoint>],
    fan_out: &[RetryMessage],
) -> Result<Write, AwsError> {
    let kept = retention::event_kept(config, event.id, matched.iter().map(AsRef::as_ref));
    let delivered_to: Vec<_> = if fan_out.is_empty() { matched.iter().map(|e| e.id).collect() } else { Vec::new() };
    insert_event(event, &delivered_to, kept)
}

/// Begins to drain a backlog.
pub(super) fn backlog(batch: &Batch, look: Look, working: &mut Working) {
    let Look { message, flow, token } = look;
    let batch = batch.clone();
    working.begin(message, async move { drain::take_and_drain(batch, flow, &token).await });
}
