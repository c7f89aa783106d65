//! The shapes of success: `{"data": …}`, and lists with their cursor.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;
use shared::store::cursor::Page;

#[derive(Serialize)]
struct Data<T> {
    data: T,
}

#[derive(Serialize)]
struct List<T> {
    data: Vec<T>,
    has_more: bool,
    next_cursor: Option<String>,
}

/// `{"data": …}` with this status.
pub(crate) fn data(status: StatusCode, data: impl Serialize) -> Response {
    (status, Json(Data { data })).into_response()
}

/// A page of a list.
pub(crate) fn page(page: Page<impl Serialize>) -> Response {
    let Page { entries, next_cursor } = page;
    Json(List { data: entries, has_more: next_cursor.is_some(), next_cursor }).into_response()
}
