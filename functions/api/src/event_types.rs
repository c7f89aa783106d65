//! The routes of the catalogue of event types, and the check of an event's data against it.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use shared::cache::{Cache, Dated};
use shared::domain::catalogue::{CatalogueEntry, DataChecker, Enforcement};
use shared::domain::event::NewEvent;
use shared::domain::event_type::EventType;
use shared::domain::id::TenantId;
use shared::domain::schema::AnyObject;
use shared::domain::time::Time;

use crate::Api;
use crate::auth::Caller;
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::query::Params;
use crate::respond;

/// For how long an instance remembers an entry, or that there is none, in seconds.
const ENTRY_CACHED_SECONDS: i64 = 5;
/// How many entries an instance remembers; over that it begins anew.
const ENTRIES_CACHED_MAX: usize = 500;

/// An entry with its schema as it was compiled.
#[derive(Debug)]
pub(crate) struct Remembered {
    entry: CatalogueEntry,
    checker: Option<DataChecker>,
}

impl From<CatalogueEntry> for Remembered {
    fn from(entry: CatalogueEntry) -> Self {
        Self { checker: entry.checker(), entry }
    }
}

/// Entries as they were read last, and where there are none.
pub(crate) type CatalogueCache = Cache<(TenantId, EventType), Dated<Option<Arc<Remembered>>>>;

/// An empty cache.
pub(crate) fn catalogue_cache() -> CatalogueCache {
    Cache::new(ENTRIES_CACHED_MAX)
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EventType")]
pub(crate) struct EventTypeView {
    name: EventType,
    description: Option<String>,
    #[schemars(with = "Option<AnyObject>")]
    schema: Option<Box<RawValue>>,
    enforcement: Enforcement,
    archived: bool,
    created_at: Time,
    updated_at: Time,
}

impl From<CatalogueEntry> for EventTypeView {
    fn from(entry: CatalogueEntry) -> Self {
        Self {
            name: entry.name,
            description: entry.description,
            schema: entry.schema.and_then(|schema| RawValue::from_string(schema).ok()),
            enforcement: entry.enforcement,
            archived: entry.archived,
            created_at: entry.created_at.into(),
            updated_at: entry.updated_at.into(),
        }
    }
}

pub(crate) async fn list(caller: Caller, State(api): State<Api>, mut params: Params) -> Result<Response, ApiError> {
    let (limit, after) = params.paging::<EventType>();
    params.finish()?;
    let page = api.services.store.list_event_types(caller.scope().tenant_id, after.as_ref(), limit).await?;
    Ok(respond::page(page, |entry| entry.name.clone(), EventTypeView::from))
}

pub(crate) async fn show(
    caller: Caller,
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let name = name.parse().map_err(|_| NO_EVENT_TYPE)?;
    let entry = api.services.store.event_type(caller.scope().tenant_id, &name).await?.ok_or(NO_EVENT_TYPE)?;
    Ok(respond::data(StatusCode::OK, EventTypeView::from(entry)))
}

pub(crate) async fn put(
    caller: Caller,
    State(api): State<Api>,
    Path(name): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let name: EventType = name.parse().map_err(|rule| ApiError::field("name", format!("{rule}")))?;
    let tenant_id = caller.scope().tenant_id;
    let mut entry = CatalogueEntry::from_body(name, &body, api.services.clock.now())?;
    if let Some(before) = api.services.store.event_type(tenant_id, &entry.name).await? {
        entry.created_at = before.created_at;
    }
    let is_new = api.services.store.put_event_type(tenant_id, &entry).await?;
    api.catalogue.forget(&(tenant_id, entry.name.clone()));
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(respond::data(status, EventTypeView::from(entry)))
}

pub(crate) async fn delete(
    caller: Caller,
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let name = name.parse().map_err(|_| NO_EVENT_TYPE)?;
    let tenant_id = caller.scope().tenant_id;
    let deleted = api.services.store.delete_event_type(tenant_id, &name).await?;
    api.catalogue.forget(&(tenant_id, name));
    if deleted { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(NO_EVENT_TYPE) }
}

const NO_EVENT_TYPE: ApiError = ApiError::NotFound("event type");

/// Holds an event's data against the schema of its type, where the catalogue has one.
///
/// # Errors
/// Every place that breaks it, where the type says so.
pub(crate) async fn check(api: &Api, tenant_id: TenantId, event: &NewEvent) -> Result<(), ApiError> {
    let now = api.services.clock.now();
    let name = (tenant_id, event.event_type.clone());
    let entry = match api.catalogue.fresh(&name, now, ENTRY_CACHED_SECONDS) {
        Some(entry) => entry,
        None => {
            let entry = api.services.store.event_type(tenant_id, &event.event_type).await?;
            let before = api.catalogue.get(&name).and_then(|before| before.value);
            let entry = entry.map(|entry| compiled(before, entry));
            api.catalogue.put_now(name, entry.clone(), now);
            entry
        }
    };
    let Some(remembered) = entry.filter(|known| known.entry.enforcement != Enforcement::Off) else { return Ok(()) };
    let data = Arc::clone(&event.data);
    let held = Arc::clone(&remembered);
    // Beside the thread that serves other requests.
    let checking = tokio::task::spawn_blocking(move || held.checker.as_ref().map_or(Ok(()), |it| it.check(data.get())));
    let checked = checking.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a schema could not be held against data");
        Ok(())
    });
    let entry = &remembered.entry;
    match checked {
        Err(errors) if entry.enforcement == Enforcement::Reject => Err(errors.into()),
        Err(errors) => {
            let places = errors.0.len();
            tracing::warn!(%tenant_id, event_type = %event.event_type, places, "data does not satisfy the schema of its type");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// The entry with its schema compiled: as it was before, where it has not changed.
fn compiled(before: Option<Arc<Remembered>>, entry: CatalogueEntry) -> Arc<Remembered> {
    before.filter(|before| before.entry == entry).unwrap_or_else(|| Arc::new(entry.into()))
}
