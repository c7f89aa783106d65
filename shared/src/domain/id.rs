//! Ids: a prefix that names the kind and a ULID, `ep_01J1C6ZGQ6FQTH2X6M2VS3P0XW`. A type per kind, so that none is taken for another.
//!
//! Ids sort by the time they were made. They are made from a given time and given random bytes; nothing here reads a clock.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use ulid::Ulid;

use super::schema::{self, inlined};

/// The random part of an id: 80 bits.
pub type Entropy = [u8; 10];

/// A text that is not an id of the kind that was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be {prefix} followed by a ULID of 26 characters")]
pub struct InvalidId {
    /// The prefix that was expected, with its underscore.
    pub prefix: &'static str,
}

fn ulid_from(at: Timestamp, entropy: Entropy) -> Ulid {
    let mut random = [0; 16];
    random[6..].copy_from_slice(&entropy);
    let milliseconds = u64::try_from(at.as_millisecond()).unwrap_or(0);
    Ulid::from_parts(milliseconds, u128::from_be_bytes(random))
}

/// Strict where the `ulid` crate is lenient: only the canonical spelling, so that an id has one name.
fn parse_canonical(text: &str) -> Option<Ulid> {
    let ulid = Ulid::from_string(text).ok()?;
    (ulid.to_string() == text).then_some(ulid)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Ulid);

        impl $name {
            /// What every id of this kind begins with.
            pub const PREFIX: &'static str = $prefix;

            /// An id made at `at` (to the millisecond) from 80 random bits.
            #[must_use]
            pub fn from_parts(at: Timestamp, entropy: Entropy) -> Self {
                Self(ulid_from(at, entropy))
            }

            /// When the id was made, to the millisecond.
            #[must_use]
            pub fn created_at(&self) -> Timestamp {
                let milliseconds = i64::try_from(self.0.timestamp_ms()).unwrap_or(i64::MAX);
                Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MAX)
            }

            /// The 16 bytes behind the id, for hashing it onto shards.
            #[must_use]
            pub fn to_bytes(&self) -> [u8; 16] {
                self.0.to_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        inlined!($name, schema::id($prefix));

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.strip_prefix($prefix).and_then(parse_canonical).map(Self).ok_or(InvalidId { prefix: $prefix })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// A tenant: one customer organisation of the operator.
    TenantId, "ten_"
);
id!(
    /// An API key's public name; the key itself is a secret and is shown once.
    KeyId, "key_"
);
id!(
    /// An endpoint: a receiver's URL with all that belongs to it.
    EndpointId, "ep_"
);
id!(
    /// An event; also the `webhook-id` of each of its deliveries at every attempt.
    EventId, "evt_"
);

id!(
    /// A bulk replay.
    ReplayId, "rpl_"
);

impl EventId {
    /// The id of an event that came straight onto the queue: the message's send time and a hash of the queue's own id for it,
    /// so that the same message is the same event however often it is received.
    #[must_use]
    pub fn derived_from_message(sent_at: Timestamp, message_id: &str) -> Self {
        let digest = Sha256::digest(message_id.as_bytes());
        let mut entropy = Entropy::default();
        entropy.copy_from_slice(&digest[..10]);
        Self::from_parts(sent_at, entropy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(milliseconds).unwrap()
    }

    #[test]
    fn id_reads_back_as_it_was_written() {
        let id = EndpointId::from_parts(at(1_700_000_000_000), [7; 10]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.created_at(), at(1_700_000_000_000));
    }

    #[test]
    fn id_of_another_kind_or_another_spelling_is_refused() {
        let id = EndpointId::from_parts(at(1_700_000_000_000), [0xab; 10]).to_string();
        assert!(id.parse::<EventId>().is_err());
        assert!(id.to_lowercase().parse::<EndpointId>().is_err());
        assert!(format!("{id}0").parse::<EndpointId>().is_err());
        assert!("ep_".parse::<EndpointId>().is_err());
        // 27th bit set: more than 128 bits.
        assert!("ep_8ZZZZZZZZZZZZZZZZZZZZZZZZZ".parse::<EndpointId>().is_err());
    }

    #[test]
    fn ids_sort_by_time() {
        let older = EventId::from_parts(at(1_000), [0xff; 10]);
        let newer = EventId::from_parts(at(1_001), [0; 10]);
        assert!(older < newer && older.to_string() < newer.to_string());
    }

    #[test]
    fn same_message_is_the_same_event_and_another_message_another() {
        let first = EventId::derived_from_message(at(5), "3f1c");
        assert_eq!(first, EventId::derived_from_message(at(5), "3f1c"));
        assert_ne!(first, EventId::derived_from_message(at(5), "3f1d"));
    }
}
