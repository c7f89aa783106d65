//! Cursors: where a list goes on. Opaque to callers; inside is one id, so a cursor can name no other partition.

use std::fmt::Display;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// How many entries a page has unless the caller says otherwise.
pub const PAGE_DEFAULT: u32 = 50;
/// The most entries of a page.
pub const PAGE_MAX: u32 = 100;

/// A part of a list, and where the next one begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// The cursor of the next page; `None` when this was the last.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A page of the first `limit` entries; what is beyond them says only that there is more. `id_of` names the last entry shown.
    #[must_use]
    pub fn cut<Id: Display>(mut entries: Vec<T>, limit: usize, id_of: impl Fn(&T) -> Id) -> Self {
        let more = entries.len() > limit;
        entries.truncate(limit);
        let next_cursor = if more { entries.last().map(|last| encode(&id_of(last))) } else { None };
        Self { entries, next_cursor }
    }

    /// The same page of something else.
    #[must_use]
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page { entries: self.entries.into_iter().map(change).collect(), next_cursor: self.next_cursor }
    }
}

/// The cursor behind the entry of this id.
#[must_use]
pub fn encode(id: &impl Display) -> String {
    URL_SAFE_NO_PAD.encode(id.to_string())
}

/// The id in a cursor.
///
/// # Errors
/// The rule, when it is not a cursor of a list of such ids.
pub fn decode<Id: FromStr>(cursor: &str) -> Result<Id, String> {
    let decoded = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded
        .and_then(|id| id.parse().ok())
        .ok_or_else(|| "must be the next_cursor of an earlier page of this list".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::{EndpointId, EventId};

    #[test]
    fn cursor_of_another_list_or_rubbish_is_refused() {
        let id: EventId = "evt_01HF7YAT004G2081040G208104".parse().unwrap();
        assert_eq!(decode::<EventId>(&encode(&id)), Ok(id));
        assert!(decode::<EndpointId>(&encode(&id)).is_err());
        for rubbish in ["", "x", "TENANT#ten_1", "🦀"] {
            assert!(decode::<EventId>(rubbish).is_err());
        }
    }

    #[test]
    fn last_page_has_no_cursor() {
        assert_eq!(Page::cut(vec![1, 2], 2, |n| *n).next_cursor, None);
        let first = Page::cut(vec![1, 2, 3], 2, |n| *n);
        assert_eq!((first.entries, first.next_cursor), (vec![1, 2], Some(encode(&2))));
    }
}
