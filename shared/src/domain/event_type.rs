//! Event types and the patterns that subscribe to them.
//!
//! A type is a dotted name, `cases.tasks.created`. A pattern is a type, a type's beginning with `.*`, or `*`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest type or pattern, in characters.
pub const EVENT_TYPE_CHARACTERS_MAX: usize = 128;

/// The rule for an event type, as an error says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be a dotted name of A-Z a-z 0-9 _ -, such as cases.created, of at most {EVENT_TYPE_CHARACTERS_MAX} characters"
)]
pub struct InvalidEventType;

/// The rule for a pattern, as an error says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be an event type such as cases.created, a prefix such as cases.*, or *, of at most {EVENT_TYPE_CHARACTERS_MAX} characters"
)]
pub struct InvalidPattern;

/// The dotted name of what happened, `cases.created`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventType(String);

impl EventType {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_dotted_name(text: &str) -> bool {
    text.len() <= EVENT_TYPE_CHARACTERS_MAX
        && text.split('.').all(|segment| {
            !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        })
}

impl FromStr for EventType {
    type Err = InvalidEventType;

    fn from_str(text: &str) -> Result<Self, InvalidEventType> {
        if is_dotted_name(text) { Ok(Self(text.to_owned())) } else { Err(InvalidEventType) }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which event types an endpoint subscribes to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EventTypePattern {
    /// `*`: every type.
    All,
    /// `cases.*`: every type below `cases`, at any depth, but not `cases` itself. Holds `cases.`.
    Below(String),
    /// `cases.created`: this type only.
    Exact(EventType),
}

impl EventTypePattern {
    /// Whether events of this type reach a subscriber of this pattern. Case matters.
    #[must_use]
    pub fn matches(&self, event_type: &EventType) -> bool {
        match self {
            Self::All => true,
            Self::Below(prefix) => event_type.0.starts_with(prefix.as_str()),
            Self::Exact(exact) => exact == event_type,
        }
    }
}

impl FromStr for EventTypePattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        if text.len() > EVENT_TYPE_CHARACTERS_MAX {
            return Err(InvalidPattern);
        }
        if text == "*" {
            return Ok(Self::All);
        }
        match text.strip_suffix(".*") {
            Some(prefix) if is_dotted_name(prefix) => Ok(Self::Below(format!("{prefix}."))),
            Some(_) => Err(InvalidPattern),
            None => text.parse().map(Self::Exact).map_err(|_| InvalidPattern),
        }
    }
}

impl fmt::Display for EventTypePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Below(prefix) => write!(f, "{prefix}*"),
            Self::Exact(exact) => exact.fmt(f),
        }
    }
}

macro_rules! as_text {
    ($name:ty) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
as_text!(EventType);
as_text!(EventTypePattern);

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, event_type: &str) -> bool {
        pattern.parse::<EventTypePattern>().unwrap().matches(&event_type.parse().unwrap())
    }

    #[test]
    fn pattern_matches_what_lies_below_it_and_nothing_beside_it() {
        assert!(matches("cases.*", "cases.created"));
        assert!(matches("cases.*", "cases.tasks.created"));
        assert!(!matches("cases.*", "cases"));
        assert!(!matches("cases.*", "casesx.created"));
        assert!(!matches("cases.tasks.*", "cases.created"));
        assert!(matches("assignments.billing-details.*", "assignments.billing-details.changed"));
        assert!(matches("*", "anything"));
        assert!(matches("cases.created", "cases.created"));
        assert!(!matches("cases.created", "cases.created.twice"));
        assert!(!matches("cases.created", "Cases.created"));
    }

    #[test]
    fn malformed_types_and_patterns_are_refused() {
        for text in ["", ".", "a.", ".a", "a..b", "a b", "a.*", "ä", "*", &"x".repeat(129)] {
            assert!(text.parse::<EventType>().is_err(), "{text}");
        }
        for text in ["", "*.a", "a.*.b", "a*", "a.**", ".*", "**", "a..*"] {
            assert!(text.parse::<EventTypePattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn patterns_are_written_as_they_were_read() {
        for text in ["*", "cases.*", "cases.tasks.created"] {
            assert_eq!(text.parse::<EventTypePattern>().unwrap().to_string(), text);
        }
    }
}
