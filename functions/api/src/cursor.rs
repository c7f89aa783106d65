//! Cursors: where a list goes on. Opaque to callers; inside is one id, so a cursor can name no other partition.

use std::fmt::Display;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The cursor behind the entry of this id.
pub(crate) fn encode(id: &impl Display) -> String {
    URL_SAFE_NO_PAD.encode(id.to_string())
}

/// The id in a cursor.
///
/// # Errors
/// The rule, when it is not a cursor of a list of such ids.
pub(crate) fn decode<Id: FromStr>(cursor: &str) -> Result<Id, String> {
    let decoded = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded
        .and_then(|id| id.parse().ok())
        .ok_or_else(|| "must be the next_cursor of an earlier page of this list".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::domain::id::{EndpointId, EventId};

    #[test]
    fn cursor_of_another_list_or_rubbish_is_refused() {
        let id: EventId = "evt_01HF7YAT004G2081040G208104".parse().unwrap();
        assert_eq!(decode::<EventId>(&encode(&id)), Ok(id));
        assert!(decode::<EndpointId>(&encode(&id)).is_err());
        for rubbish in ["", "x", "TENANT#ten_1", "🦀"] {
            assert!(decode::<EventId>(rubbish).is_err());
        }
    }
}
