//! Delivering a batch of queue messages: the heart of Outhook.
//!
//! The cast, in the order in which a batch meets them:
//!
//! - [`Incoming`] is a message as a queue hands it over. [`intake`] reads it into a task: a new event, a part of a large fan-out, a check of a backlog, or a
//!   bulk replay. What cannot be read goes to the dead-letter queue at once, with the reason.
//! - [`load`] reads what the decisions need: the tenants with the flows of their endpoints, in one call for the whole batch; and for each tenant by itself
//!   what has changed, and what is on record, where something can be. A tenant that needs no more reading goes on at once.
//! - [`plan`] decides, purely: which first attempts are made now, which deliveries wait in their endpoint's backlog or end without a request, which events
//!   are fanned out in parts.
//! - [`begin`] begins what was decided, in parts side by side: [`first`] makes first attempts, and [`drain`] goes through backlogs; both by [`attempt`].
//! - [`ledger`] knows what each message still owes, and [`working`] the parts that are under way.
//! - [`coalesce`] puts their writes together, 25 a call, and their messages, ten a call.
//! - [`effects`] is what follows from a delivery that has failed for good.
//!
//! A message is done when all it stands for is in the table; only what is not is handed back to the queue.

mod attempt;
mod batch;
mod begin;
mod coalesce;
mod drain;
mod effects;
mod first;
mod intake;
mod ledger;
mod load;
mod plan;
mod working;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::future::join_all;

use crate::aws_error::AwsError;
use crate::clock::Moment;
use crate::queue::messages::RetryMessage;
use crate::services::Services;
use crate::store::{Tried, Write};

pub use intake::{Incoming, Lane};

use batch::Batch;
use coalesce::{Busy, Coalescer, serve};
use intake::Identified;
use ledger::Ledger;
use load::{Group, Shared};
use plan::Known;
use working::Working;

/// The most writes of one call (DynamoDB, `BatchExecuteStatement`).
const WRITES_MAX: usize = 25;
/// The most messages of one call (SQS).
const MESSAGES_MAX: usize = 10;

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
    let mut ledger = Ledger::new(tasks);
    let known = load::load(&batch.services, &mut ledger, shared).await;
    let ledger = carry_out(batch.read(), ledger, known).await;
    failed.extend(ledger.come_again());
    failed
}

async fn record(services: Services, writes: Vec<Arc<Write>>) -> Vec<Tried> {
    services.store.record_once(&writes).await
}

async fn send(services: Services, wakes: Vec<(RetryMessage, u32)>) -> Vec<Result<(), AwsError>> {
    services.queues.send_retries(&wakes).await
}

/// Decides what the messages of a group mean, begins it, and waits until it has ended; what they owe then.
async fn carry_out(batch: Batch, mut ledger: Ledger, known: Known) -> Ledger {
    let now = batch.services.clock.now();
    let plans = plan::plan_all(&mut ledger, &known, now);
    let looks = plan::looks(&ledger, &known, now);
    drop(known);
    let mut working = Working::new(ledger);
    let mut senseless = Vec::new();
    for (message, plan) in plans {
        match plan.dead_letter {
            Some(reason) => senseless.push((message, reason)),
            None => working.begin_guarded(message, |working| begin::planned(&batch, message, plan, working)),
        }
    }
    for look in looks {
        begin::backlog(&batch, look, &mut working);
    }
    // Last, so that no other message waits for it to begin.
    for (message, reason) in senseless {
        if !intake::dead_letter_task(&batch.services, working.ledger.task(message), reason).await {
            working.ledger.fail(message);
        }
    }
    drop(batch);
    working.finish().await
}

/// Does one message's part of the work; `None` if that panicked, which must cost no other message of the batch anything.
fn guarded<T>(message_id: &str, work: impl FnOnce() -> T) -> Option<T> {
    let done = std::panic::catch_unwind(AssertUnwindSafe(work));
    done.inspect_err(|_| tracing::error!(message_id, "a message's work panicked; it goes back to the queue")).ok()
}
