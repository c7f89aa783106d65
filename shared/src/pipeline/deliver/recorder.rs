//! Carrying out plans: requests run side by side, and what comes of them is written together, as soon as there is a call's worth of it.
//!
//! The order within a message: the event and its deliveries are written, then the messages for what comes later are sent. A crash before the writing
//! leaves the message with the queue; a crash after it leaves due times in the table, which the sweeper finds.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tracing::Instrument;

use super::health::Findings;
use super::intake::{Lane, Task, put_task_aside};
use super::jobs::{self, IN_FLIGHT_MAX, Outcome, SlowNoted};
use super::plan::{self, InHand, Job, Plan, plan};
use super::turns;
use super::{Known, expires_at, guarded};
use crate::aws_error::AwsError;
use crate::domain::attempt::Trigger;
use crate::domain::delivery::{Delivery, DeliveryStatus};
use crate::domain::id::EndpointId;
use crate::domain::retry::{QUEUE_DELAY_SECONDS_MAX, Wake, put_off_seconds, seconds_until, wake};
use crate::domain::time::plus_seconds;
use crate::metrics::Counter;
use crate::pipeline::replay;
use crate::queue::messages::RetryMessage;
use crate::random;
use crate::services::Services;
use crate::store::deliveries::{insert_delivery, update_delivery};
use crate::store::events::insert_event;
use crate::store::{Recorded, Write};

/// A call's worth of writes.
const WRITES_PER_FLUSH: usize = 25;
/// How long a result waits for others to be written with, in milliseconds, while requests are still under way.
const FLUSH_AFTER_MILLISECONDS: u64 = 500;

/// Plans and carries out every task of a batch; the ids of the messages that did not get through.
pub(super) async fn carry_out(services: &Services, tasks: Vec<Task>, known: Known) -> Vec<String> {
    let now = services.clock.now();
    let mut recorder = Recorder::new(services, tasks.len());
    let mut requests = Requests::new(services);
    let mut in_hand = InHand::default();
    let mut shared_fates = Vec::new();
    let mut jobs = Vec::new();
    let mut steps = Vec::new();
    for (message, task) in tasks.iter().enumerate() {
        let planned = guarded(&task.message_id, || {
            tracing::debug!(message_id = task.message_id, request_id = task.request_id, "planning");
            plan(task, &known, now)
        });
        let Some(mut plan) = planned else {
            recorder.failed[message] = true;
            continue;
        };
        if let Some(reason) = plan.aside {
            recorder.failed[message] |= !put_task_aside(services, task, reason).await;
            continue;
        }
        if let Some((scope, replay_id)) = plan.replay {
            match replay::begin_step(services, scope, replay_id).await {
                Ok(Some(step)) => {
                    jobs.extend(plan::replayed(&step).map(|job| (message, job)));
                    steps.push((message, step));
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, %replay_id, "a step of a replay failed; it is made again");
                    recorder.failed[message] = true;
                }
            }
        }
        shared_fates.extend(in_hand.take(message, &mut plan).into_iter().map(|earlier| (message, earlier)));
        recorder.failed[message] |= guarded(&task.message_id, || recorder.begin(message, &plan)).is_none();
        jobs.extend(plan.jobs.into_iter().map(|job| (message, job)));
    }
    drop(known);
    let (mut ahead, waiting, turns) = turns::take(services, jobs).await;
    for (message, job) in &waiting {
        recorder.put_off(*message, job, put_off_seconds(job.times_put_off, random::unit_interval()));
    }
    // In order of time, which is the order of event ids.
    ahead.sort_by_key(|(_, job)| job.event.id);
    for (message, job) in ahead {
        requests.start(message, job);
    }
    loop {
        tokio::select! {
            finished = requests.next() => match finished {
                Some(Ok((message, job, outcome))) => {
                    let taken_in = guarded(&tasks[message].message_id, || recorder.add_outcome(message, &job, outcome));
                    recorder.failed[message] |= taken_in.is_none();
                }
                Some(Err((message, error))) => recorder.add_panic(message, &error),
                None => break,
            },
            () = tokio::time::sleep_until(recorder.flush_at()), if !recorder.ready.is_empty() => {
                recorder.flush().await;
            }
        }
        if recorder.ready.len() >= WRITES_PER_FLUSH {
            recorder.flush().await;
        }
    }
    recorder.flush().await;
    turns.end(services).await;
    for (message, step) in steps {
        if let Err(error) = replay::end_step(services, step).await {
            tracing::error!(%error, "a step of a replay could not be ended; it is made again");
            recorder.failed[message] = true;
        }
    }
    for (message, earlier) in shared_fates {
        recorder.failed[message] |= recorder.failed[earlier];
    }
    let failed = tasks.into_iter().zip(recorder.failed).filter(|(_, failed)| *failed);
    failed.map(|(task, _)| task.message_id).collect()
}

/// The requests of a batch, each a task of its own, so that a panic in one ends only that one.
struct Requests {
    services: Services,
    slots: Arc<Semaphore>,
    begun: Instant,
    slow_noted: Arc<SlowNoted>,
    running: JoinSet<(Job, Outcome)>,
    messages: HashMap<Id, usize>,
    /// The latest replayed request to each endpoint: the next one waits for it, so that they arrive in order.
    replayed: HashMap<EndpointId, oneshot::Receiver<()>>,
}

impl Requests {
    fn new(services: &Services) -> Self {
        Self {
            services: services.clone(),
            slots: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            begun: Instant::now(),
            slow_noted: Arc::default(),
            running: JoinSet::new(),
            messages: HashMap::new(),
            replayed: HashMap::new(),
        }
    }

    fn start(&mut self, message: usize, job: Job) {
        let (services, slots, begun) = (self.services.clone(), Arc::clone(&self.slots), self.begun);
        let slow_noted = Arc::clone(&self.slow_noted);
        let (ended, next_may_begin) = oneshot::channel();
        let is_replay = job.trigger == Trigger::Replay;
        let before = is_replay.then(|| self.replayed.insert(job.endpoint.id, next_may_begin)).flatten();
        // Its lines belong to the invocation's span.
        let request = async move {
            if let Some(before) = before {
                // Ended well or not: its end is dropped.
                let _ = before.await;
            }
            let outcome = jobs::run(&services, &job, &slots, &slow_noted, begun).await;
            drop::<oneshot::Sender<()>>(ended);
            (job, outcome)
        };
        let handle = self.running.spawn(request.in_current_span());
        self.messages.insert(handle.id(), message);
    }

    /// The next request that ended, with its message; `None` when all have.
    async fn next(&mut self) -> Option<Result<(usize, Job, Outcome), (usize, JoinError)>> {
        let ended = self.running.join_next_with_id().await?;
        let message_of = |id: Id| self.messages.get(&id).copied().unwrap_or_default();
        Some(match ended {
            Ok((id, (job, outcome))) => Ok((message_of(id), job, outcome)),
            Err(error) => Err((message_of(error.id()), error)),
        })
    }
}

/// A write that is ready, and what follows once it is done.
struct Ready {
    message: usize,
    write: Write,
    then: Then,
}

enum Then {
    Nothing,
    /// Of an event: its parts, if it is large.
    FanOut(Vec<RetryMessage>),
    PutOff {
        delivery: Box<Delivery>,
        wake: RetryMessage,
        delay_seconds: u32,
    },
    Attempted {
        job: Box<Job>,
        after: Box<Delivery>,
    },
}

impl Then {
    /// The delivery as it was to be written, where something follows from that.
    fn delivery(&self) -> Option<&Delivery> {
        match self {
            Self::Nothing | Self::FanOut(_) => None,
            Self::PutOff { delivery, .. } => Some(delivery),
            Self::Attempted { after, .. } => Some(after),
        }
    }
}

struct Recorder<'a> {
    services: &'a Services,
    failed: Vec<bool>,
    events: HashMap<usize, Ready>,
    ready: Vec<Ready>,
    flushed_at: Instant,
    findings: Findings,
}

impl<'a> Recorder<'a> {
    fn new(services: &'a Services, messages: usize) -> Self {
        Self {
            services,
            failed: vec![false; messages],
            events: HashMap::new(),
            ready: Vec::new(),
            flushed_at: Instant::now(),
            findings: Findings::default(),
        }
    }

    /// When what is ready is written at the latest, full call or not.
    fn flush_at(&self) -> Instant {
        self.flushed_at + Duration::from_millis(FLUSH_AFTER_MILLISECONDS)
    }

    /// Takes up a plan: its event waits for the first delivery to be written with; what needs no request is ready.
    fn begin(&mut self, message: usize, plan: &Plan) {
        let now = self.services.clock.now();
        if let Some((event, delivered_to)) = &plan.event {
            let write = insert_event(event, delivered_to, expires_at(self.services, event.id));
            if let Some(write) = self.sound(message, write) {
                let then = Then::FanOut(plan.fan_out.clone());
                self.events.insert(message, Ready { message, write, then });
            }
        }
        for delivery in &plan.ended {
            let write = insert_delivery(delivery, now, expires_at(self.services, delivery.event_id));
            self.add(message, write, Then::Nothing);
        }
        for (before, after) in &plan.cancelled {
            self.add(message, update_delivery(before, after, now), Then::Nothing);
        }
        for job in &plan.put_off {
            self.put_off(message, job, 0);
        }
        for ended in &plan.seen_to_again {
            self.findings.add_ended(message, ended.clone());
        }
        if plan.jobs.is_empty() {
            self.ready.extend(self.events.remove(&message));
        }
    }

    fn add_outcome(&mut self, message: usize, job: &Job, outcome: Outcome) {
        match outcome {
            Outcome::Attempted { verdict, ended_at } => {
                let before = job
                    .before
                    .clone()
                    .unwrap_or_else(|| Delivery::new(&job.event, job.endpoint.id, verdict.attempt.at));
                let after = before.clone().after_attempt(
                    &verdict,
                    &job.endpoint,
                    &self.services.config.retry_schedule_seconds,
                    ended_at,
                    random::unit_interval(),
                );
                let then = Then::Attempted { job: Box::new(job.clone()), after: Box::new(after.clone()) };
                let write = match &job.before {
                    None => insert_delivery(&after, ended_at, expires_at(self.services, job.event.id)),
                    Some(before) => update_delivery(before, &after, ended_at),
                };
                self.add(message, write, then);
            }
            Outcome::PutOff { delay_seconds } => self.put_off(message, job, delay_seconds),
        }
    }

    /// A request that was not made: its delivery goes on record as due then.
    fn put_off(&mut self, message: usize, job: &Job, delay_seconds: u32) {
        let now = self.services.clock.now();
        let due = |delivery: Delivery| {
            let next_attempt_at = Some(plus_seconds(now, i64::from(delay_seconds)));
            Delivery { next_attempt_at, ..delivery }
        };
        let (delivery, write) = match &job.before {
            Some(before) => {
                let delivery = due(before.clone());
                let write = update_delivery(before, &delivery, now);
                (delivery, write)
            }
            None => {
                let delivery = due(Delivery::new(&job.event, job.endpoint.id, now));
                let write = insert_delivery(&delivery, now, expires_at(self.services, job.event.id));
                (delivery, write)
            }
        };
        let times = if job.lane == Lane::Retries { job.times_put_off + 1 } else { 0 };
        let wake = RetryMessage::next_attempt(&delivery, job.trigger).put_off(times);
        self.add(message, write, Then::PutOff { delivery: Box::new(delivery), wake, delay_seconds });
    }

    fn add_panic(&mut self, message: usize, error: &JoinError) {
        tracing::error!(%error, "a request panicked; its message goes back to the queue");
        self.failed[message] = true;
    }

    fn add(&mut self, message: usize, write: Result<Write, AwsError>, then: Then) {
        self.ready.extend(self.events.remove(&message));
        if let Some(write) = self.sound(message, write) {
            self.ready.push(Ready { message, write, then });
        }
    }

    fn sound(&mut self, message: usize, write: Result<Write, AwsError>) -> Option<Write> {
        write
            .inspect_err(|error| {
                tracing::error!(%error, "a record cannot be written");
                self.failed[message] = true;
            })
            .ok()
    }

    /// Writes what is ready and then sends what follows from it.
    async fn flush(&mut self) {
        self.flushed_at = Instant::now();
        let ready = std::mem::take(&mut self.ready);
        let writes: Vec<_> = ready.iter().map(|ready| ready.write.clone()).collect();
        let results = self.services.store.record(&writes).await;
        let own = self.own_earlier(&ready, &results).await;
        let mut wakes = Vec::new();
        for (place, (Ready { message, then, .. }, result)) in ready.into_iter().zip(results).enumerate() {
            let result = if own.contains(&place) { Recorded::Done } else { result };
            match (result, then) {
                (Recorded::Failed(error), _) => {
                    tracing::error!(%error, "a record was not written; its message goes back to the queue");
                    self.failed[message] = true;
                }
                // A part of the fan-out may not have been sent before a crash, whoever wrote the event.
                (result @ (Recorded::Done | Recorded::Refused), Then::FanOut(parts)) => {
                    let is_new = usize::from(matches!(result, Recorded::Done));
                    self.services.metrics.count(Counter::EventsAccepted, is_new);
                    self.fan_out(message, parts).await;
                }
                (Recorded::Refused, _) => tracing::info!("already on record; this result is dropped"),
                (Recorded::Done, Then::Nothing) => {}
                (Recorded::Done, Then::PutOff { wake, delay_seconds, .. }) => wakes.push((wake, delay_seconds)),
                (Recorded::Done, Then::Attempted { job, after }) => {
                    wakes.extend(wake_message(&after, self.services.clock.now()));
                    self.findings.add(message, &job, &after);
                }
            }
        }
        for (result, (message, _)) in self.services.queues.send_retries(&wakes).await.into_iter().zip(&wakes) {
            if let Err(error) = result {
                tracing::warn!(%error, ?message, "a retry could not be queued; the sweeper will find it");
            }
        }
        for message in std::mem::take(&mut self.findings).act(self.services).await {
            self.failed[message] = true;
        }
    }

    /// Of the writes that were refused, those whose own earlier try, unanswered and repeated by the client, had been carried out.
    async fn own_earlier(&mut self, ready: &[Ready], results: &[Recorded]) -> HashSet<usize> {
        let refused = ready.iter().zip(results).enumerate();
        let refused = refused.filter(|(_, (_, result))| matches!(result, Recorded::Refused));
        let refused: Vec<_> = refused.filter_map(|(place, (ready, _))| Some((place, ready.then.delivery()?))).collect();
        if refused.is_empty() {
            return HashSet::new();
        }
        let names: Vec<_> = refused.iter().map(|(_, after)| (after.endpoint_id, after.event_id)).collect();
        let stored = match self.services.store.deliveries(&names).await {
            Ok(stored) => stored,
            Err(error) => {
                tracing::error!(%error, "records cannot be read back; their messages go back to the queue");
                for (place, _) in refused {
                    self.failed[ready[place].message] = true;
                }
                return HashSet::new();
            }
        };
        let is_own = |after: &Delivery| {
            let on_record = stored.get(&(after.endpoint_id, after.event_id)).map(|stored| &stored.delivery);
            on_record.is_some_and(|on_record| on_record.is_same_record(after))
        };
        refused.into_iter().filter(|(_, after)| is_own(after)).map(|(place, _)| place).collect()
    }

    async fn fan_out(&mut self, message: usize, parts: Vec<RetryMessage>) {
        let messages: Vec<_> = parts.into_iter().map(|part| (part, 0)).collect();
        for result in self.services.queues.send_retries(&messages).await {
            if let Err(error) = result {
                tracing::error!(%error, "a part of a fan-out could not be queued; the event goes back to the queue");
                self.failed[message] = true;
            }
        }
    }
}

/// The message that wakes a pending delivery, with its delay; `None` where the sweeper does.
fn wake_message(delivery: &Delivery, now: Timestamp) -> Option<(RetryMessage, u32)> {
    let due = delivery.next_attempt_at.filter(|_| delivery.status == DeliveryStatus::Pending)?;
    match wake(due, now) {
        Wake::Sweeper => None,
        Wake::Message { .. } => {
            let message = RetryMessage::next_attempt(delivery, Trigger::Automatic);
            Some((message, seconds_until(due, now).min(QUEUE_DELAY_SECONDS_MAX)))
        }
    }
}
