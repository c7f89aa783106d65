//! What a drain takes next of a backlog, when it stops, and what each delivery that it has read calls for. Pure.

use std::collections::VecDeque;

use jiff::Timestamp;

use crate::domain::delivery::{Delivery, DeliveryStatus};
use crate::domain::id::EventId;
use crate::domain::time::plus_seconds;
use crate::store::backlog::Waits;
use crate::store::deliveries::ROUND_MAX;

/// How many waiting deliveries are read of the index at once; only their names.
pub(super) const PAGE_MAX: usize = 200;
/// How long a delivery waits for its event to be written, in seconds: the message that it is of comes again for an hour, and is in the dead-letter queue then,
/// until somebody sends it back.
const EVENT_LATE_SECONDS_MAX: i64 = 14 * 86_400;
/// When it is checked again, in seconds.
const EVENT_AGAIN_SECONDS: i64 = 300;

/// What lies before a drain, as far as it knows.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// What is to be checked next, by due time.
    next: VecDeque<Waits>,
    /// The last delivery that was checked: what the index still shows of those before it is over.
    cursor: Option<Waits>,
    is_last_page: bool,
    /// When the first of those is due again that this drain has attempted in vain. The index may not show them yet.
    own_due: Option<Timestamp>,
}

/// What a drain does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A round with these deliveries.
    Round(Vec<EventId>),
    /// It stops; when the first of what is left is due, if anything is left.
    Stop(Option<Timestamp>),
}

impl Ahead {
    /// Whether more has to be read of the index before anything can be taken.
    pub(super) fn needs_page(&self) -> bool {
        self.next.is_empty() && !self.is_last_page
    }

    /// Behind what the next page begins.
    pub(super) fn cursor(&self) -> Option<Waits> {
        self.cursor
    }

    /// Takes in a page of the index, which was asked for [`PAGE_MAX`].
    pub(super) fn add_page(&mut self, page: Vec<Waits>) {
        self.is_last_page = page.len() < PAGE_MAX;
        self.next.extend(page);
    }

    /// Takes what the next round is about, of at most `width` deliveries, or says that there is none.
    pub(super) fn take(&mut self, width: u32, has_time: bool, now: Timestamp) -> Next {
        match self.next.front() {
            None => return Next::Stop(self.own_due),
            Some(first) if first.due > now => return Next::Stop(self.earliest(Some(first.due))),
            Some(_) if !has_time => return Next::Stop(Some(now)),
            Some(_) => {}
        }
        let width = (width as usize).min(ROUND_MAX);
        let due = self.next.iter().take(width).take_while(|waits| waits.due <= now).count();
        let taken: Vec<_> = self.next.drain(..due).collect();
        self.cursor = taken.last().copied().or(self.cursor);
        Next::Round(taken.into_iter().map(|waits| waits.event_id).collect())
    }

    /// Takes everything that has been read, due or not.
    pub(super) fn take_page(&mut self) -> Vec<EventId> {
        self.cursor = self.next.back().copied().or(self.cursor);
        self.next.drain(..).map(|waits| waits.event_id).collect()
    }

    /// Notes that a delivery which was looked at is due again.
    pub(super) fn is_due_again(&mut self, at: Timestamp) {
        self.own_due = self.earliest(Some(at));
    }

    /// When the first of what is left is due after a round that began at `now` and was the last: everything else waits, and is due already if there is more.
    pub(super) fn left_after_probe(&self, now: Timestamp) -> Option<Timestamp> {
        self.earliest(self.next.front().map(|waits| waits.due).or((!self.is_last_page).then_some(now)))
    }

    fn earliest(&self, other: Option<Timestamp>) -> Option<Timestamp> {
        self.own_due.into_iter().chain(other).min()
    }
}

/// What has been read of a delivery's event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventRead {
    /// It is there.
    There,
    /// It is not.
    Missing,
    /// It, or the delivery, cannot be read.
    Unreadable,
}

/// What a delivery calls for that the index has named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// To be sent.
    Send,
    /// To be checked again then.
    CheckAt(Timestamp),
    /// To end as failed, because its event is gone.
    EndWithoutEvent,
    /// What follows from its end, which was cut off.
    Settle,
    /// Nothing: it has ended meanwhile, or its event cannot be read, which is noted to be checked again.
    Nothing,
}

/// What a delivery calls for at `now`.
pub(super) fn call_of(delivery: &Delivery, event: EventRead, now: Timestamp) -> Call {
    let Some(due) = delivery.next_attempt_at.filter(|_| delivery.status == DeliveryStatus::Pending) else {
        return if delivery.effects_due { Call::Settle } else { Call::Nothing };
    };
    if due > now {
        return Call::CheckAt(due);
    }
    match event {
        EventRead::There => Call::Send,
        EventRead::Unreadable => Call::Nothing,
        // It may not be there yet, because writing it failed.
        EventRead::Missing if delivery.created_at > plus_seconds(now, -EVENT_LATE_SECONDS_MAX) => {
            Call::CheckAt(plus_seconds(now, EVENT_AGAIN_SECONDS))
        }
        EventRead::Missing => Call::EndWithoutEvent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::endpoint::Endpoint;
    use crate::domain::event::NewEvent;

    const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

    fn at(seconds: i64) -> Timestamp {
        plus_seconds(NOW, seconds)
    }

    fn id(n: u8) -> EventId {
        EventId::from_parts(NOW, [n; 10])
    }

    /// Deliveries that are due after so many seconds, numbered from 0.
    fn waits(due: &[i64]) -> Vec<Waits> {
        (0..).zip(due).map(|(n, due)| Waits { due: at(*due), event_id: id(n) }).collect()
    }

    fn ids(numbers: std::ops::Range<u8>) -> Next {
        Next::Round(numbers.map(id).collect())
    }

    #[test]
    fn round_is_what_is_due_as_wide_as_allowed_and_a_drain_stops_where_nothing_is_or_time_is_over() {
        let stop = |seconds: i64| Next::Stop(Some(at(seconds)));
        // What waits, what is due again, how wide a round is, whether there is time.
        for (name, waiting, own_due, width, has_time, expected) in [
            ("nothing waits", vec![], None, 32, true, Next::Stop(None)),
            ("something is due again", vec![], Some(30), 32, true, stop(30)),
            ("nothing waits and time is over", vec![], None, 32, false, Next::Stop(None)),
            ("due now", vec![0], None, 32, true, ids(0..1)),
            ("due in a second", vec![1], None, 32, true, stop(1)),
            ("due later than what is due again", vec![60], Some(30), 32, true, stop(30)),
            ("due before what is due again", vec![20], Some(30), 32, true, stop(20)),
            ("some are due", vec![-9, -5, 0, 1, 2], None, 32, true, ids(0..3)),
            ("a probe", vec![-9, -5, 0], None, 1, true, ids(0..1)),
            ("as wide as a call", vec![0; 60], None, 60, true, ids(0..49)),
            ("time is over", vec![-9], Some(30), 32, false, stop(0)),
            ("time is over and nothing is due", vec![9], None, 32, false, stop(9)),
        ] {
            let mut ahead = Ahead::default();
            ahead.add_page(waits(&waiting));
            own_due.into_iter().for_each(|due| ahead.is_due_again(at(due)));
            assert_eq!(ahead.take(width, has_time, NOW), expected, "{name}");
        }
    }

    #[test]
    fn index_is_read_on_from_what_was_taken_last_until_a_page_is_not_full() {
        for (name, page, taken, needs_page, cursor) in [
            ("not a full page, taken in part", 3, 2, false, Some(1)),
            ("not a full page, taken in full", 3, 3, false, Some(2)),
            ("a full page, taken in part", PAGE_MAX, 2, false, Some(1)),
            ("a page without one, taken in full", PAGE_MAX - 1, PAGE_MAX - 1, false, Some(198)),
            ("a full page, taken in full", PAGE_MAX, PAGE_MAX, true, Some(199)),
            ("an empty page", 0, 0, false, None),
        ] {
            let mut ahead = Ahead::default();
            assert!(ahead.needs_page() && ahead.cursor().is_none(), "{name}");
            ahead.add_page(waits(&vec![0; page]));
            let mut left = taken;
            while left > 0 {
                let Next::Round(round) = ahead.take(u32::try_from(left).unwrap(), true, NOW) else { panic!("{name}") };
                left -= round.len();
            }
            let seen = (ahead.needs_page(), ahead.cursor().map(|waits| waits.event_id));
            assert_eq!(seen, (needs_page, cursor.map(id)), "{name}");
        }
        let mut ahead = Ahead::default();
        ahead.add_page(waits(&[0, 60]));
        assert_eq!(ahead.take_page(), [id(0), id(1)]);
        assert_eq!((ahead.needs_page(), ahead.cursor()), (false, waits(&[0, 60]).pop()));
    }

    #[test]
    fn after_a_probe_that_failed_the_rest_waits_as_due_as_it_is() {
        for (name, waiting, page_is_full, own_due, expected) in [
            ("nothing is left", vec![0], false, vec![], None),
            ("the probe itself is due again", vec![0], false, vec![30], Some(30)),
            ("the earliest of two that are", vec![0], false, vec![30, 10], Some(10)),
            ("another is due", vec![0, -5], false, vec![30], Some(-5)),
            ("another is due later", vec![0, 60], false, vec![30], Some(30)),
            ("more may wait than was read", vec![0], true, vec![30], Some(0)),
        ] {
            let mut ahead = Ahead::default();
            ahead.add_page(waits(&waiting));
            ahead.is_last_page = !page_is_full;
            assert_eq!(ahead.take(1, true, NOW), ids(0..1), "{name}");
            own_due.into_iter().for_each(|due| ahead.is_due_again(at(due)));
            assert_eq!(ahead.left_after_probe(NOW), expected.map(at), "{name}");
        }
    }

    #[test]
    fn delivery_is_sent_only_if_it_still_waits_is_due_and_has_its_event() {
        use DeliveryStatus::{Failed, Pending, Succeeded};
        use EventRead::{Missing, There, Unreadable};
        let scope = Endpoint::sample(0).scope;
        let event = NewEvent::from_body(br#"{"type":"a","data":{}}"#).unwrap().accepted(id(0), scope, NOW);
        // Its status, when it is due, whether something still follows from its end, its event, how long ago it was made.
        for (name, status, due, effects_due, event_read, age, expected) in [
            ("due", Pending, Some(0), false, There, 0, Call::Send),
            ("put off meanwhile", Pending, Some(1), false, There, 0, Call::CheckAt(at(1))),
            ("put off, without event", Pending, Some(1), false, Missing, EVENT_LATE_SECONDS_MAX, Call::CheckAt(at(1))),
            ("unreadable", Pending, Some(0), false, Unreadable, EVENT_LATE_SECONDS_MAX, Call::Nothing),
            ("event is late", Pending, Some(0), false, Missing, EVENT_LATE_SECONDS_MAX - 1, Call::CheckAt(at(300))),
            ("event is gone", Pending, Some(0), false, Missing, EVENT_LATE_SECONDS_MAX, Call::EndWithoutEvent),
            ("sent meanwhile", Succeeded, None, false, There, 0, Call::Nothing),
            ("failed, and its event is due", Failed, None, true, There, 0, Call::Settle),
            ("failed, and its event is out", Failed, None, false, There, 0, Call::Nothing),
            ("ended with a due time", Failed, Some(0), false, There, 0, Call::Nothing),
        ] {
            let delivery = Delivery {
                status,
                next_attempt_at: due.map(at),
                effects_due,
                created_at: at(-age),
                ..Delivery::new(&event, Endpoint::sample(0).id, NOW)
            };
            assert_eq!(call_of(&delivery, event_read, NOW), expected, "{name}");
        }
    }
}
