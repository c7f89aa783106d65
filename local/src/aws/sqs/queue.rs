//! One queue: its messages, and where each of them stands.
//!
//! Every message is in exactly one place: visible (in [`Ready`]), or waiting for its time (delayed, or in flight when it
//! was received). Places are indexed by time, so nothing scans all messages. Time passes only in [`Queue::settle`], which
//! comes first in every operation.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::attributes::Settings;
use super::message::Message;
use super::ready::Ready;
use super::redrive::MoveTask;
use crate::aws::journal::Changes;

/// What is stored of a queue besides its messages.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct QueueRecord {
    pub(super) name: Arc<str>,
    /// As they were set; what is not in here has its default.
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) tags: BTreeMap<String, String>,
    /// In seconds since 1970.
    pub(super) created_at: i64,
    /// In seconds since 1970.
    pub(super) modified_at: i64,
    /// Latest first.
    pub(super) move_tasks: Vec<MoveTask>,
}

/// What changes about a message: its deliveries. Times in milliseconds since 1970.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Delivery {
    pub(super) visible_at: i64,
    pub(super) receive_count: u32,
    pub(super) first_received_at: Option<i64>,
    pub(super) received_at: Option<i64>,
}

/// A queue.
pub(super) struct Queue {
    pub(super) record: QueueRecord,
    pub(super) settings: Settings,
    /// Told when a message becomes available, or when the next one becomes visible sooner than was known.
    pub(super) available: Arc<Notify>,
    /// In milliseconds since 1970.
    pub(super) purged_at: Option<i64>,
    entries: HashMap<u64, Entry>,
    ready: Ready,
    /// Delayed and in flight, by when they become visible.
    waiting: BTreeSet<(i64, u64)>,
    in_flight: usize,
    /// All, by when they were sent.
    by_age: BTreeSet<(i64, u64)>,
}

/// A message in its queue.
pub(super) struct Entry {
    pub(super) message: Arc<Message>,
    pub(super) delivery: Delivery,
    pub(super) place: Place,
}

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Visible,
    Delayed,
    InFlight,
}

/// The numbers that `GetQueueAttributes` gives.
pub(super) struct Counts {
    pub(super) visible: usize,
    pub(super) in_flight: usize,
    pub(super) delayed: usize,
}

impl Queue {
    pub(super) fn new(record: QueueRecord, settings: Settings) -> Self {
        Self {
            record,
            settings,
            available: Arc::new(Notify::new()),
            purged_at: None,
            entries: HashMap::new(),
            ready: Ready::default(),
            waiting: BTreeSet::new(),
            in_flight: 0,
            by_age: BTreeSet::new(),
        }
    }

    /// Lets time pass: drops what is older than the retention period, makes visible what is due.
    pub(super) fn settle(&mut self, now: i64, changes: &mut Changes) {
        let retention_milliseconds = self.settings.retention_seconds * 1_000;
        while let Some((sent_at, number)) = self.by_age.first().copied() {
            if sent_at + retention_milliseconds > now {
                break;
            }
            self.remove(number, changes);
        }
        while let Some((visible_at, number)) = self.waiting.first().copied() {
            if visible_at > now {
                break;
            }
            self.place(number, Place::Visible);
        }
    }

    /// Adds a message; it stands where its delivery says.
    pub(super) fn insert(&mut self, number: u64, message: Arc<Message>, delivery: Delivery, now: i64) {
        let place = match (delivery.visible_at > now, delivery.receive_count) {
            (false, _) => Place::Visible,
            (true, 0) => Place::Delayed,
            (true, _) => Place::InFlight,
        };
        self.by_age.insert((message.sent_at, number));
        let entry = Entry { message, delivery, place };
        self.index(&entry, number);
        self.entries.insert(number, entry);
    }

    /// [`Queue::insert`] for a new message: stored, too.
    pub(super) fn send(
        &mut self,
        number: u64,
        message: Arc<Message>,
        delivery: Delivery,
        now: i64,
        changes: &mut Changes,
    ) {
        changes.put(|| self.message_key(number), &*message);
        changes.put(|| self.delivery_key(number), &delivery);
        let is_visible = delivery.visible_at <= now;
        let looked_next_at = self.next_visible_at();
        self.insert(number, message, delivery, now);
        if is_visible {
            self.available.notify_one();
        }
        self.wake_if_sooner_than(looked_next_at);
    }

    /// The number of the visible message whose turn it is.
    pub(super) fn next(&self, last: bool) -> Option<u64> {
        self.ready.next(last)
    }

    /// Hands a visible message out: counts the receive and hides it until `visible_at`.
    pub(super) fn hand_out(&mut self, number: u64, now: i64, visible_at: i64, changes: &mut Changes) -> Option<&Entry> {
        let entry = self.entries.get_mut(&number)?;
        let mut delivery = entry.delivery.clone();
        delivery.receive_count += 1;
        delivery.received_at = Some(now);
        delivery.first_received_at.get_or_insert(now);
        delivery.visible_at = visible_at;
        self.deliver(number, delivery, Place::InFlight, changes);
        self.entries.get(&number)
    }

    /// Changes when a message in flight becomes visible.
    pub(super) fn set_visible_at(&mut self, number: u64, visible_at: i64, now: i64, changes: &mut Changes) {
        let Some(entry) = self.entries.get(&number) else { return };
        let delivery = Delivery { visible_at, ..entry.delivery.clone() };
        let place = if visible_at > now { Place::InFlight } else { Place::Visible };
        self.deliver(number, delivery, place, changes);
        if place == Place::Visible {
            self.available.notify_one();
        }
    }

    /// Makes everything in flight visible: its receivers are no more.
    pub(super) fn release_in_flight(&mut self, now: i64, changes: &mut Changes) {
        let held = self.entries.iter().filter(|(_, entry)| entry.place == Place::InFlight);
        let held: Vec<_> = held.map(|(number, _)| *number).collect();
        for number in held {
            self.set_visible_at(number, now, now, changes);
        }
    }

    /// Takes a message out.
    pub(super) fn remove(&mut self, number: u64, changes: &mut Changes) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        self.unindex(&entry, number);
        self.by_age.remove(&(entry.message.sent_at, number));
        changes.delete(|| self.message_key(number));
        changes.delete(|| self.delivery_key(number));
        Some(entry)
    }

    /// Takes all messages out.
    pub(super) fn clear(&mut self, changes: &mut Changes) {
        changes.delete_under(|| format!("sqs/message/{}/", self.record.name));
        changes.delete_under(|| format!("sqs/delivery/{}/", self.record.name));
        self.entries.clear();
        self.ready = Ready::default();
        self.waiting.clear();
        self.by_age.clear();
        self.in_flight = 0;
    }

    pub(super) fn get(&self, number: u64) -> Option<&Entry> {
        self.entries.get(&number)
    }

    /// The numbers of the visible messages, oldest first.
    pub(super) fn visible(&self) -> Vec<u64> {
        let numbers = self.by_age.iter().map(|(_, number)| *number);
        numbers.filter(|number| self.get(*number).is_some_and(|entry| entry.place == Place::Visible)).collect()
    }

    /// When the next message becomes visible, in milliseconds since 1970.
    pub(super) fn next_visible_at(&self) -> Option<i64> {
        self.waiting.first().map(|(visible_at, _)| *visible_at)
    }

    pub(super) fn counts(&self) -> Counts {
        let delayed = self.waiting.len() - self.in_flight;
        Counts { visible: self.ready.len(), in_flight: self.in_flight, delayed }
    }

    /// Stores what [`Queue::record`] holds now.
    pub(super) fn save(&self, changes: &mut Changes) {
        changes.put(|| format!("sqs/queue/{}", self.record.name), &self.record);
    }

    fn deliver(&mut self, number: u64, delivery: Delivery, place: Place, changes: &mut Changes) {
        changes.put(|| self.delivery_key(number), &delivery);
        let looked_next_at = self.next_visible_at();
        let Some(mut entry) = self.entries.remove(&number) else { return };
        self.unindex(&entry, number);
        entry.delivery = delivery;
        entry.place = place;
        self.index(&entry, number);
        self.entries.insert(number, entry);
        self.wake_if_sooner_than(looked_next_at);
    }

    /// Long polls sleep until the next message becomes visible; they have to learn when that is sooner now.
    fn wake_if_sooner_than(&self, looked_next_at: Option<i64>) {
        let next_at = self.next_visible_at().unwrap_or(i64::MAX);
        if next_at < looked_next_at.unwrap_or(i64::MAX) {
            self.available.notify_waiters();
        }
    }

    fn place(&mut self, number: u64, place: Place) {
        let Some(mut entry) = self.entries.remove(&number) else { return };
        self.unindex(&entry, number);
        entry.place = place;
        self.index(&entry, number);
        self.entries.insert(number, entry);
    }

    fn index(&mut self, entry: &Entry, number: u64) {
        let position = (entry.delivery.visible_at, number);
        match entry.place {
            Place::Visible => self.ready.add(&entry.message.group, position),
            Place::Delayed => {
                self.waiting.insert(position);
            }
            Place::InFlight => {
                self.waiting.insert(position);
                self.in_flight += 1;
                self.ready.started(&entry.message.group);
            }
        }
    }

    fn unindex(&mut self, entry: &Entry, number: u64) {
        let position = (entry.delivery.visible_at, number);
        match entry.place {
            Place::Visible => self.ready.remove(&entry.message.group, position),
            Place::Delayed => {
                self.waiting.remove(&position);
            }
            Place::InFlight => {
                self.waiting.remove(&position);
                self.in_flight -= 1;
                self.ready.ended(&entry.message.group);
            }
        }
    }

    fn message_key(&self, number: u64) -> String {
        format!("sqs/message/{}/{number:020}", self.record.name)
    }

    fn delivery_key(&self, number: u64) -> String {
        format!("sqs/delivery/{}/{number:020}", self.record.name)
    }
}
