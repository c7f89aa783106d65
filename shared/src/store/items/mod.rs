//! The shapes in which things are stored. They are the table's and nobody else's: a field of the domain gets here by a conversion that the compiler checks,
//! and a stored name changes by a new version of a golden item (`shared/tests/golden/`).
//!
//! Words (states, triggers, modes) and what an endpoint's settings are made of (authorization, signature, payload fields, retry policy) stand in items as the
//! API has them; the golden items hold them too.

mod api_key;
mod delivery;
mod endpoint;
mod event;
mod event_type;
mod replay;
mod tenant;

use jiff::Timestamp;

pub(super) use api_key::KeyItem;
pub(super) use delivery::DeliveryItem;
pub(super) use endpoint::EndpointItem;
pub(super) use event::EventItem;
pub use event::{Kept, StoredEvent};
pub(super) use event_type::EventTypeItem;
pub(super) use replay::ReplayItem;
pub use tenant::TenantItem;
pub(super) use tenant::TenantSettingsItem;

use crate::domain::time::plus_seconds;

/// Conversions between an item and what it stands for, where both have the same fields. Both sides are named in full, so that a field that one of them has
/// and the other has not does not compile.
macro_rules! converts {
    ($item:ident, $thing:ident { $($field:ident),+ $(,)? }) => {
        impl From<$thing> for $item {
            fn from(thing: $thing) -> Self {
                let $thing { $($field),+ } = thing;
                Self { $($field: $field.into()),+ }
            }
        }

        impl From<$item> for $thing {
            fn from(item: $item) -> Self {
                let $item { $($field),+ } = item;
                Self { $($field: $field.into()),+ }
            }
        }
    };
}
use converts;

/// When something that is made at `created_at` is no longer there.
#[must_use]
pub fn expires_at(created_at: Timestamp, retention_days: u32) -> Timestamp {
    plus_seconds(created_at, i64::from(retention_days) * 86_400)
}
