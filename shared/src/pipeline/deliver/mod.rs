//! Delivering a batch of queue messages: the heart of Outhook.
//!
//! The cast, in the order in which a batch meets them:
//!
//! - [`Incoming`] is a message as a queue hands it over. [`intake`] reads it into a task: a new event, a part of a large fan-out, a look at a backlog, or a
//!   bulk replay. What cannot be read goes to the dead-letter queue at once, with the reason.
//! - [`load`] reads what the decisions need: the tenants with the flows of their endpoints, in one call for the whole batch; and for each tenant by itself
//!   what has changed, and what is on record, where something can be. A tenant that needs no more reading goes on at once.
//! - [`plan`] decides, purely: which first attempts are made now, which deliveries wait in their endpoint's backlog or end without a request, which events
//!   are fanned out in parts.
//! - [`first`] makes first attempts, side by side, and [`drain`] goes through backlogs; both by [`attempt`].
//! - [`coalesce`] puts their writes together, 25 a call, and their messages, ten a call.
//! - [`effects`] is what follows from a delivery that has failed for good.
//!
//! A message is done when all it stands for is in the table; only what is not is handed back to the queue.

mod attempt;
mod batch;
mod coalesce;
mod drain;
mod effects;
mod first;
mod intake;
mod load;
mod plan;

use std::collections::{BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::task::{Id, JoinSet};
use tracing::Instrument;

use crate::aws_error::AwsError;
use crate::clock::Moment;
use crate::directory::Endpoints;
use crate::domain::time::plus_seconds;
use crate::pipeline::{replay, retention};
use crate::queue::messages::RetryMessage;
use crate::services::Services;
use crate::store::events::insert_event;
use crate::store::flows::{Lease, lease_flow, new_token};
use crate::store::{Recorded, Tried, Write};

pub use intake::{Incoming, Lane};

use batch::Batch;
use coalesce::{Busy, Coalescer, serve};
use first::EventWrite;
use intake::{Identified, Task, Work};
use load::{Group, Shared};
use plan::{BatchDedup, Known, Plan};

/// The most writes of one call (DynamoDB, `BatchExecuteStatement`).
const WRITES_MAX: usize = 25;
/// The most messages of one call (SQS).
const MESSAGES_MAX: usize = 10;
/// How much longer than its batch a lease lasts, in seconds: what the last calls of the batch may take.
const LEASE_SPARE_SECONDS: u64 = 10;

/// Delivers a batch and answers with the ids of the messages that the queue has to hand over again, because the pipeline itself failed. It is over by
/// `deadline`, unless AWS lets it wait.
///
/// A receiver's failure is on record and its message is done. Repeating a message is safe: what is on record is not done again.
pub async fn deliver(services: &Services, messages: Vec<Incoming>, deadline: Moment) -> Vec<String> {
    let mut intake = intake::read(messages);
    let (poison, mut failed) = (std::mem::take(&mut intake.poison), std::mem::take(&mut intake.failed));
    let shared = load::read_shared(services, &intake).await;
    let groups = load::groups(intake, |task| load::is_known(services, task, &shared));
    let (writes, asked_writes) = Coalescer::new();
    let (wakes, asked_wakes) = Coalescer::new();
    let busy = Busy::default();
    let batch = Batch::new(services, writes, wakes, busy.clone(), deadline);
    let writing = serve(asked_writes, WRITES_MAX, busy.clone(), |writes| record(services.clone(), writes));
    let waking = serve(asked_wakes, MESSAGES_MAX, busy, |wakes| send(services.clone(), wakes));
    let working = async move {
        let working = groups.into_iter().map(|group| work_on(batch.clone(), group, &shared));
        let working: Vec<_> = working.collect();
        // The writes end when nobody can ask for one any more.
        drop(batch);
        join_all(working).await.into_iter().flatten().collect::<Vec<_>>()
    };
    let burying = join_all(poison.iter().map(|poison| intake::dead_letter_poison(services, poison)));
    let (worked, buried, (), ()) = futures::join!(working, burying, writing, waking);
    let unburied = poison.iter().zip(buried).filter(|(_, is_buried)| !is_buried);
    failed.extend(unburied.map(|(poison, _)| poison.message_id.clone()));
    failed.extend(worked);
    failed
}

/// Does everything that the messages of a group ask for; the ids of those that have to come again.
async fn work_on(batch: Batch, group: Group, shared: &Shared) -> Vec<String> {
    let Group { mut tasks, keyed } = group;
    let mut failed = Vec::new();
    for identified in join_all(keyed.into_iter().map(|keyed| intake::identify(&batch.services, keyed))).await {
        match identified {
            Identified::Task(task) => tasks.push(task),
            Identified::Duplicate => {}
            Identified::Failed(message_id) => failed.push(message_id),
        }
    }
    let (known, unread) = load::load(&batch.services, &tasks, shared).await;
    let ledger = carry_out(batch.read(), &tasks, known, unread).await;
    failed.extend(ledger.failed(tasks));
    failed
}

async fn record(services: Services, writes: Vec<Arc<Write>>) -> Vec<Tried> {
    services.store.record_once(&writes).await
}

async fn send(services: Services, wakes: Vec<(RetryMessage, u32)>) -> Vec<Result<(), AwsError>> {
    services.queues.send_retries(&wakes).await
}

/// Which messages have not got through.
#[derive(Debug)]
struct Ledger {
    failed: Vec<bool>,
    /// Messages that stand for the same as an earlier one, with that one.
    duplicates_of: Vec<(usize, usize)>,
}

impl Ledger {
    fn new(messages: usize) -> Self {
        Self { failed: vec![false; messages], duplicates_of: Vec::new() }
    }

    /// The ids of the messages that have to come again.
    fn failed(mut self, tasks: Vec<Task>) -> impl Iterator<Item = String> {
        for (message, earlier) in &self.duplicates_of {
            self.failed[*message] |= self.failed[*earlier];
        }
        tasks.into_iter().zip(self.failed).filter(|(_, failed)| *failed).map(|(task, _)| task.message_id)
    }
}

/// The work of a batch, each a task of its own, so that a panic in one fails the message that it is for and no other.
struct Working {
    running: JoinSet<Result<(), AwsError>>,
    messages: HashMap<Id, usize>,
}

impl Working {
    fn begin(&mut self, message: usize, work: impl Future<Output = Result<(), AwsError>> + Send + 'static) {
        // Its lines belong to the invocation's span.
        let handle = self.running.spawn(work.in_current_span());
        self.messages.insert(handle.id(), message);
    }

    /// Waits until everything is done.
    async fn finish(mut self, ledger: &mut Ledger) {
        while let Some(ended) = self.running.join_next_with_id().await {
            let (id, error) = match ended {
                Ok((_, Ok(()))) => continue,
                Ok((id, Err(error))) => (id, error.to_string()),
                Err(error) => (error.id(), error.to_string()),
            };
            tracing::error!(error, "a part of a message was not done; it goes back to the queue");
            if let Some(message) = self.messages.get(&id) {
                ledger.failed[*message] = true;
            }
        }
    }
}

async fn carry_out(batch: Batch, tasks: &[Task], known: Known, unread: BTreeSet<usize>) -> Ledger {
    let now = batch.services.clock.now();
    let mut ledger = Ledger::new(tasks.len());
    let mut working = Working { running: JoinSet::new(), messages: HashMap::new() };
    let mut dedup = BatchDedup::default();
    for (message, task) in tasks.iter().enumerate() {
        if unread.contains(&message) {
            ledger.failed[message] = true;
            continue;
        }
        let planned = guarded(&task.message_id, || {
            tracing::debug!(message_id = task.message_id, request_id = task.request_id, "planning");
            plan::plan(task, &known, now)
        });
        let Some(mut plan) = planned else {
            ledger.failed[message] = true;
            continue;
        };
        if let Some(reason) = plan.dead_letter {
            ledger.failed[message] |= !intake::dead_letter_task(&batch.services, task, reason).await;
            continue;
        }
        let earlier = dedup.take(message, &mut plan);
        ledger.duplicates_of.extend(earlier.into_iter().map(|earlier| (message, earlier)));
        let begun = guarded(&task.message_id, || begin_deliveries(&batch, message, plan, &mut working));
        ledger.failed[message] |= begun.is_none();
        if known.endpoints.get(&task.work.scope()).is_some_and(Endpoints::lacks_some) {
            // The others get theirs now; what comes again is for those that could not be read.
            ledger.failed[message] |= !matches!(task.work, Work::Wake { .. } | Work::Replay { .. });
        }
        if let Work::Replay { scope, replay_id } = task.work {
            let batch = batch.clone();
            working.begin(message, async move {
                replay::take_up(&batch.services, scope, replay_id, || batch.has_time_for(0)).await
            });
        }
    }
    begin_drains(&batch, tasks, &known, &mut working);
    drop((known, batch));
    working.finish(&mut ledger).await;
    ledger
}

/// Begins everything that a message of a new event, or of a part of one, stands for.
fn begin_deliveries(batch: &Batch, message: usize, plan: Plan, working: &mut Working) {
    let Plan { event, attempts, deferred, skipped, fan_out, redone, dead_letter: _ } = plan;
    let write = event.map(|(event, matched)| {
        let kept = retention::event_kept(&batch.services.config, event.id, matched.iter().map(AsRef::as_ref));
        let delivered_to: Vec<_> = if fan_out.is_empty() { matched.iter().map(|e| e.id).collect() } else { Vec::new() };
        insert_event(&event, &delivered_to, kept)
    });
    let event = match write.transpose() {
        Ok(write) => EventWrite::new(write),
        Err(error) => {
            working.begin(message, async move { Err(error) });
            return;
        }
    };
    // Written with its first delivery, or by itself where that is not now.
    let is_alone = attempts.is_empty() && deferred.is_empty() && skipped.is_empty();
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
}

/// Begins to drain the backlogs whose valid wakes have come, each by taking its flow's lease.
fn begin_drains(batch: &Batch, tasks: &[Task], known: &Known, working: &mut Working) {
    let now = batch.services.clock.now();
    let left = batch.deadline.since(batch.services.clock.moment()) + Duration::from_secs(LEASE_SPARE_SECONDS);
    let until = plus_seconds(now, i64::try_from(left.as_secs()).unwrap_or(i64::MAX));
    let mut taken = BTreeSet::new();
    for (message, task) in tasks.iter().enumerate() {
        let Work::Wake { endpoint_id, token, .. } = &task.work else { continue };
        let Some(flow) = known.flows.get(endpoint_id) else { continue };
        let is_valid = flow.token.as_deref() == Some(token) && !flow.is_leased(now);
        if is_valid && taken.insert(*endpoint_id) {
            let lease = Lease { id: new_token(), until };
            let write = lease_flow(flow, token, &lease, now);
            let (batch, flow) = (batch.clone(), flow.clone());
            working.begin(message, async move {
                let is_taken = match batch.write(write).await {
                    Recorded::Done => true,
                    // Somebody else has it, or it was taken here and the answer got lost.
                    Recorded::Refused => batch.services.store.has_lease(flow.endpoint_id, &lease).await?,
                    Recorded::Failed(error) => return Err(error),
                };
                if is_taken {
                    drain::drain(batch, flow, lease).await;
                }
                Ok(())
            });
        }
    }
}

/// Does one message's part of the work; `None` if that panicked, which must cost no other message of the batch anything.
fn guarded<T>(message_id: &str, work: impl FnOnce() -> T) -> Option<T> {
    let done = std::panic::catch_unwind(AssertUnwindSafe(work));
    done.inspect_err(|_| tracing::error!(message_id, "a message's work panicked; it goes back to the queue")).ok()
}
