//! The body that a receiver gets: `{"type","timestamp","data"}`, the same bytes at every attempt.

use super::event::Event;
use super::time;

/// The body of every delivery of this event. `data` goes in as it came, so nothing about it changes.
#[must_use]
pub fn standard_body(event: &Event) -> Vec<u8> {
    // An event type needs no escaping: it is letters, digits, dots, dashes and underscores.
    format!(
        r#"{{"type":"{}","timestamp":"{}","data":{}}}"#,
        event.event_type,
        time::format(event.timestamp),
        event.data.get()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::NewEvent;
    use crate::domain::id::{EventId, TenantId};
    use crate::domain::tenant::{Mode, Scope};
    use jiff::Timestamp;

    #[test]
    fn body_is_type_timestamp_and_data_in_the_senders_own_spelling() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let event = NewEvent::from_body(br#"{"data":{"n": 1.0, "big":12345678901234567890},"type":"cases.created"}"#)
            .unwrap()
            .accepted(
                EventId::from_parts(now, [0; 10]),
                Scope { tenant_id: TenantId::from_parts(now, [0; 10]), mode: Mode::Live },
                now,
            );
        assert_eq!(
            String::from_utf8(standard_body(&event)).unwrap(),
            r#"{"type":"cases.created","timestamp":"2023-11-14T22:13:20.000Z","data":{"n": 1.0, "big":12345678901234567890}}"#
        );
    }
}
