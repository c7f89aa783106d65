//! Times as callers see them: RFC 3339 in UTC with milliseconds, `2026-11-21T09:30:00.000Z`.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

/// Writes a time the way every answer and every webhook does.
#[must_use]
pub fn format(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Reads an RFC 3339 time with any offset, to the millisecond.
///
/// # Errors
/// The rule as text, for the field's error.
pub fn parse(text: &str) -> Result<Timestamp, String> {
    const RULE: &str = "must be an RFC 3339 time such as 2026-11-21T09:30:00Z";
    let parsed: Timestamp = text.parse().map_err(|_| RULE.to_owned())?;
    let at = Timestamp::from_millisecond(parsed.as_millisecond()).map_err(|_| RULE.to_owned())?;
    if at >= Timestamp::UNIX_EPOCH { Ok(at) } else { Err("must lie in the years 1970 to 9999, in UTC".to_owned()) }
}

/// `at` moved by whole seconds; at the ends of time it stays there.
#[must_use]
pub fn plus_seconds(at: Timestamp, seconds: i64) -> Timestamp {
    at.saturating_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(at)
}

/// A time as answers show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Timestamp);

impl From<Timestamp> for Time {
    fn from(at: Timestamp) -> Self {
        Self(at)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc_with_milliseconds() {
        assert_eq!(format(parse("2026-11-21T10:30:00.1239+01:00").unwrap()), "2026-11-21T09:30:00.123Z");
    }

    #[test]
    fn times_lie_in_the_years_1970_to_9999_in_utc() {
        for (text, is_time) in [
            ("1970-01-01T00:00:00Z", true),
            ("1970-01-01T00:00:00+00:01", false),
            ("0000-01-01T00:00:00+01:00", false),
            ("9999-12-30T22:00:00Z", true),
            ("9999-12-31T23:59:59-01:00", false),
        ] {
            assert_eq!(parse(text).is_ok(), is_time, "{text}");
        }
    }

    #[test]
    fn times_without_an_offset_are_refused() {
        assert!(parse("2026-11-21T10:30:00").is_err());
        assert!(parse("yesterday").is_err());
    }
}
