//! Which endpoints an event reaches.

use super::endpoint::{Endpoint, EndpointStatus};
use super::event::Event;
use super::event_type::{EventType, EventTypePattern};

/// The type of test events, which reach every active endpoint whatever it subscribes to.
pub const TEST_EVENT_TYPE: &str = "endpoint.test";

/// What Outhook itself has to say. Reaches only endpoints that ask for it by name or by prefix; a subscription to everything does not.
pub const OPERATIONAL_EVENT_TYPES: [&str; 3] = ["endpoint.disabled", "endpoint.secret.rotated", "delivery.failed"];

/// Whether this is a type of operational events.
#[must_use]
pub fn is_operational(event_type: &EventType) -> bool {
    OPERATIONAL_EVENT_TYPES.contains(&event_type.as_str())
}

/// Whether the event reaches the endpoint: it is named (where the event names endpoints), its subscription matches, and the channels meet.
///
/// The endpoint's status plays no part, but for tests: a paused endpoint's events are recorded as skipped.
#[must_use]
pub fn reaches(event: &Event, endpoint: &Endpoint) -> bool {
    let settings = &endpoint.settings;
    if event.event_type.as_str() == TEST_EVENT_TYPE {
        return endpoint.status == EndpointStatus::Active;
    }
    let named = event.endpoint_ids.is_empty() || event.endpoint_ids.contains(&endpoint.id);
    let channels_meet = event.channels.is_empty()
        || settings.channels.is_empty()
        || event.channels.iter().any(|channel| settings.channels.contains(channel));
    named && subscribes(&event.event_type, endpoint) && channels_meet
}

/// Whether the endpoint's subscription takes in events of this type. Operational ones it has to ask for by name or by prefix.
#[must_use]
pub fn subscribes(event_type: &EventType, endpoint: &Endpoint) -> bool {
    let patterns = &endpoint.settings.event_types;
    let matches = |pattern: &EventTypePattern| pattern.matches(event_type);
    if is_operational(event_type) {
        return patterns.iter().any(|pattern| *pattern != EventTypePattern::All && matches(pattern));
    }
    patterns.is_empty() || patterns.iter().any(matches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::endpoint::EndpointSettings;
    use crate::domain::event::NewEvent;
    use crate::domain::id::{EventId, TenantId};
    use crate::domain::tenant::{Mode, Scope};
    use jiff::Timestamp;

    const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

    fn scope() -> Scope {
        Scope { tenant_id: TenantId::from_parts(NOW, [0; 10]), mode: Mode::Live }
    }

    fn endpoint(entropy: u8, patterns: &[&str], channels: &[&str]) -> Endpoint {
        let mut settings = EndpointSettings::with_defaults("https://example.com/".to_owned());
        settings.event_types = patterns.iter().map(|p| p.parse().unwrap()).collect();
        settings.channels = channels.iter().map(|c| (*c).to_owned()).collect();
        Endpoint { settings, ..Endpoint::sample(entropy) }
    }

    fn event(body: &str) -> Event {
        NewEvent::from_body(body.as_bytes()).unwrap().accepted(EventId::from_parts(NOW, [0; 10]), scope(), NOW)
    }

    #[test]
    fn endpoint_without_patterns_gets_everything_and_with_patterns_what_matches_one() {
        let created = event(r#"{"type":"cases.created","data":{}}"#);
        assert!(reaches(&created, &endpoint(1, &[], &[])));
        assert!(reaches(&created, &endpoint(1, &["x", "cases.*"], &[])));
        assert!(!reaches(&created, &endpoint(1, &["x", "cases.tasks.*"], &[])));
    }

    #[test]
    fn operational_events_reach_only_who_asks_for_them() {
        let failed = event(r#"{"type":"delivery.failed","data":{}}"#);
        assert!(!reaches(&failed, &endpoint(1, &[], &[])));
        assert!(!reaches(&failed, &endpoint(1, &["*"], &[])));
        assert!(reaches(&failed, &endpoint(1, &["delivery.*"], &[])));
        assert!(reaches(&failed, &endpoint(1, &["a", "delivery.failed"], &[])));
    }

    #[test]
    fn channels_restrict_only_where_both_sides_have_some() {
        let to_a = event(r#"{"type":"t","data":{},"channels":["a"]}"#);
        let to_all = event(r#"{"type":"t","data":{}}"#);
        assert!(reaches(&to_a, &endpoint(1, &[], &["b", "a"])));
        assert!(reaches(&to_a, &endpoint(1, &[], &[])));
        assert!(!reaches(&to_a, &endpoint(1, &[], &["b"])));
        assert!(reaches(&to_all, &endpoint(1, &[], &["b"])));
    }

    #[test]
    fn named_endpoints_still_need_the_subscription() {
        let wanted = endpoint(1, &["t"], &[]);
        let named = event(&format!(r#"{{"type":"t","data":{{}},"endpoint_ids":["{}"]}}"#, wanted.id));
        assert!(reaches(&named, &wanted));
        assert!(!reaches(&named, &endpoint(2, &["t"], &[])));
        assert!(!reaches(&named, &endpoint(1, &["u"], &[])));
    }
}
