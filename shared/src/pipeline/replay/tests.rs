//! What is delivered again, and how a bulk replay gets on, as tables of cases.

use super::*;
use crate::domain::attempt::{Attempt, Outcome};
use crate::domain::event::NewEvent;
use crate::domain::time::plus_seconds;
use DeliveryStatus::{Cancelled, Failed, Pending, Skipped, Succeeded};

const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

fn at(seconds: i64) -> Timestamp {
    plus_seconds(NOW, seconds)
}

fn event_id(n: u8) -> EventId {
    EventId::from_parts(NOW, [n; 10])
}

fn replay_id(n: u8) -> ReplayId {
    ReplayId::from_parts(NOW, [n; 10])
}

fn event() -> Event {
    let event = NewEvent::from_body(br#"{"type":"case.created","data":{}}"#).unwrap();
    event.accepted(event_id(1), Endpoint::sample(0).scope, NOW)
}

fn delivery(status: DeliveryStatus) -> Delivery {
    Delivery { status, counted_attempts: 3, attempt_count: 3, ..Delivery::new(&event(), Endpoint::sample(0).id, NOW) }
}

fn stored(status: DeliveryStatus, replay_id: Option<ReplayId>) -> StoredDelivery {
    StoredDelivery { delivery: delivery(status), replay_id, expires_at: NOW }
}

fn replay(statuses: &[DeliveryStatus]) -> Replay {
    Replay {
        id: replay_id(1),
        scope: Endpoint::sample(0).scope,
        endpoint_id: Endpoint::sample(0).id,
        since: at(-60),
        until: NOW,
        statuses: statuses.to_vec(),
        event_types: Vec::new(),
        state: ReplayState::Running,
        position: Some(event_id(1)),
        page: Vec::new(),
        page_end: None,
        queued: 7,
        version: 0,
        created_at: NOW,
        updated_at: NOW,
        expires_at: NOW,
    }
}

#[test]
fn retry_is_made_when_somebody_has_tried_by_hand_since_it_was_asked_for() {
    for (name, attempts, expected) in [
        ("no attempt", vec![], false),
        ("a manual one since", vec![(Trigger::Manual, 1)], true),
        ("a manual one at that time", vec![(Trigger::Manual, 0)], true),
        ("a manual one before", vec![(Trigger::Manual, -1)], false),
        ("an automatic one since", vec![(Trigger::Automatic, 1)], false),
        ("a manual one, and then an automatic one", vec![(Trigger::Manual, 1), (Trigger::Automatic, 2)], false),
    ] {
        let attempts = attempts.into_iter().map(|(trigger, seconds)| Attempt {
            at: at(seconds),
            trigger,
            outcome: Outcome::Succeeded,
            status_code: None,
            error: None,
            duration_ms: 0,
            response_body: String::new(),
            counted: true,
        });
        let delivery = Delivery { attempts: attempts.collect(), ..delivery(Succeeded) };
        assert_eq!(is_retried_since(&delivery, NOW), expected, "{name}");
    }
}

#[test]
fn event_is_delivered_again_with_its_whole_schedule_unless_it_is_on_its_way() {
    // The status on record; attempts in all, and of the schedule, that it begins with.
    for (on_record, expected) in [
        (None, Some((0, 0))),
        (Some(Pending), None),
        (Some(Succeeded), Some((3, 0))),
        (Some(Failed), Some((3, 0))),
        (Some(Skipped), Some((3, 0))),
        (Some(Cancelled), Some((3, 0))),
    ] {
        let before = on_record.map(delivery);
        let again = delivered_again(before.as_ref(), &event(), Endpoint::sample(0).id, at(9));
        let seen = again.as_ref().map(|again| (again.attempt_count, again.counted_attempts));
        assert_eq!(seen, expected, "{on_record:?}");
        if let Some(again) = again {
            let stands = (again.status, again.next_attempt_at, again.next_trigger);
            assert_eq!(stands, (Pending, Some(at(9)), Trigger::Replay), "{on_record:?}");
        }
    }
}

#[test]
fn bulk_replay_matches_what_has_ended_is_of_its_types_and_that_it_has_not_taken_up() {
    let created: EventType = "case.created".parse().unwrap();
    let closed: EventType = "case.closed".parse().unwrap();
    for (name, event_types, status, replay_id, expected) in [
        ("any type", vec![], Failed, None, true),
        ("its type", vec![&created, &closed], Failed, None, true),
        ("another type", vec![&closed], Failed, None, false),
        ("on its way", vec![], Pending, None, false),
        ("taken up by another replay", vec![], Succeeded, Some(replay_id(2)), true),
        ("taken up by this replay", vec![], Succeeded, Some(replay_id(1)), false),
    ] {
        let types = event_types.into_iter().collect();
        assert_eq!(is_matched(&replay(&[]), &types, &stored(status, replay_id)), expected, "{name}");
    }
}

#[test]
fn delivery_of_a_page_is_marked_once_and_only_where_it_still_stands_as_it_did() {
    for (name, status, replay_id, expected) in [
        ("as it was", Failed, None, Stands::Ended),
        ("taken up by another replay, and ended again", Failed, Some(replay_id(2)), Stands::Ended),
        ("taken up by this one", Pending, Some(replay_id(1)), Stands::TakenUp),
        ("taken up by this one, and ended again", Failed, Some(replay_id(1)), Stands::TakenUp),
        ("delivered meanwhile", Succeeded, None, Stands::Elsewhere),
        ("on its way", Pending, None, Stands::Elsewhere),
    ] {
        assert_eq!(stands(&replay(&[Failed, Pending]), &stored(status, replay_id)), expected, "{name}");
    }
}

#[test]
fn bulk_replay_goes_on_until_nothing_is_left() {
    use ReplayState::{Completed, Running};
    let [before, end] = [1, 9].map(event_id);
    // Whether deliveries were found, and where the page ended; then position and state with the page written down, and with it taken up.
    for (name, is_found, page_end, noted, done) in [
        ("a page, and more", true, Some(end), (Some(before), Running), (Some(end), Running)),
        ("the last page", true, None, (Some(before), Running), (None, Completed)),
        ("nothing yet, and more", false, Some(end), (Some(end), Running), (Some(end), Running)),
        ("nothing more", false, None, (None, Completed), (None, Completed)),
    ] {
        let page = if is_found { vec![event_id(2), event_id(3)] } else { Vec::new() };
        let with_page = with_next_page(&replay(&[]), page.clone(), page_end);
        assert_eq!((with_page.position, with_page.state), noted, "{name}");
        assert_eq!((&with_page.page, with_page.page_end, with_page.queued), (&page, page_end, 7), "{name}");
        let after = with_page_taken_up(&with_page, 2);
        assert_eq!((after.position, after.state), done, "{name}");
        assert_eq!((after.page.len(), after.page_end, after.queued), (0, None, 9), "{name}");
    }
}
