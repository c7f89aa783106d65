//! The shapes of success: `{"data": …}`, and lists with their cursor.

use std::fmt::Display;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use shared::store::page::Page;

use crate::cursor;

/// The most that the entries of one page take, in bytes. Lambda answers with 6 MB at the most (AWS Lambda quotas, synchronous invocations).
pub(crate) const PAGE_BYTES_MAX: usize = 4_000_000;

#[derive(Serialize)]
struct Data<T> {
    data: T,
}

#[derive(Serialize)]
struct List {
    data: Vec<Box<RawValue>>,
    has_more: bool,
    next_cursor: Option<String>,
}

/// `{"data": …}` with this status.
pub(crate) fn data(status: StatusCode, data: impl Serialize) -> Response {
    (status, Json(Data { data })).into_response()
}

/// A page of a list, each entry shown as `view` makes it. What would be over [`PAGE_BYTES_MAX`] is left to the next page, which goes on behind the cursor of the
/// last entry shown; one entry is always shown.
pub(crate) fn page<T, Id: Display, V: Serialize>(
    page: Page<T, Id>,
    id_of: impl Fn(&T) -> Id,
    view: impl FnMut(T) -> V,
) -> Response {
    let Page { entries, next } = page;
    let page = Page { entries, next: next.as_ref().map(cursor::encode) };
    page_with_cursors(page, |entry| cursor::encode(&id_of(entry)), view)
}

/// The same of a list that has cursors of its own.
pub(crate) fn page_with_cursors<T, V: Serialize>(
    page: Page<T, String>,
    cursor_of: impl Fn(&T) -> String,
    mut view: impl FnMut(T) -> V,
) -> Response {
    let Page { entries, next: mut next_cursor } = page;
    let (mut data, mut bytes, mut last) = (Vec::new(), 0, None);
    for entry in entries {
        let cursor = cursor_of(&entry);
        let shown = match to_raw_value(&view(entry)) {
            Ok(shown) => shown,
            Err(error) => {
                tracing::error!(%error, "an entry of a list cannot be shown; it is left out");
                continue;
            }
        };
        bytes += shown.get().len();
        if bytes > PAGE_BYTES_MAX && last.is_some() {
            next_cursor = last;
            break;
        }
        data.push(shown);
        last = Some(cursor);
    }
    Json(List { data, has_more: next_cursor.is_some(), next_cursor }).into_response()
}
