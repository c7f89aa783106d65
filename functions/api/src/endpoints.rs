//! The routes of endpoints.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header::{ETAG, IF_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::Timestamp;
use shared::domain::endpoint::{Endpoint, EndpointStatus};
use shared::domain::endpoint_input::{EndpointChanges, NewEndpoint, UID_CHARACTERS_MAX, check_uid};
use shared::domain::event_type::EventType;
use shared::domain::id::EndpointId;
use shared::domain::tenant::Scope;
use shared::pipeline::endpoints::{self, Changed, Created, Put};
use shared::services::Services;

use crate::Api;
use crate::auth::Caller;
use crate::body::JsonBody;
use crate::endpoint_health::{self, HealthView};
use crate::endpoint_view::EndpointView;
use crate::error::ApiError;
use crate::idempotent::{MadeFrom, ShownSecret};
use crate::query::Params;
use crate::respond;

pub(crate) async fn create(
    caller: Caller,
    State(api): State<Api>,
    MadeFrom(origin): MadeFrom,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let new = NewEndpoint::from_body(&body, &api.services.config.addresses)?;
    match endpoints::create(&api.services, caller.scope(), caller.key.id, &new, origin).await? {
        Created::Created(endpoint, secret) => {
            let now = api.services.clock.now();
            Ok(answer(StatusCode::CREATED, *endpoint, Some(secret.expose()), HealthView::default(), now))
        }
        Created::LimitReached => Err(LIMIT_REACHED),
        Created::UidTaken => Err(UID_TAKEN),
    }
}

pub(crate) async fn put(
    caller: Caller,
    State(api): State<Api>,
    Path(uid): Path<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let uid = check_uid(uid).map_err(|rule| ApiError::field("uid", rule))?;
    let mut new = NewEndpoint::from_body(&body, &api.services.config.addresses)?;
    if new.settings.uid.as_ref().is_some_and(|given| *given != uid) {
        return Err(ApiError::field("uid", "must be that of the path, or left out"));
    }
    new.settings.uid = Some(uid.clone());
    let expected_version = if_match(&headers)?;
    let put = endpoints::put(&api.services, caller.scope(), &uid, &new, expected_version, caller.key.id);
    let now = api.services.clock.now();
    match put.await? {
        Put::Created(endpoint, secret) => {
            Ok(answer(StatusCode::CREATED, *endpoint, Some(secret.expose()), HealthView::default(), now))
        }
        Put::Replaced(endpoint) => {
            let health = endpoint_health::of_one(&api.services, endpoint.id).await?;
            Ok(answer(StatusCode::OK, *endpoint, None, health, now))
        }
        Put::LimitReached => Err(LIMIT_REACHED),
        Put::Stale => Err(STALE),
    }
}

pub(crate) async fn list(caller: Caller, State(api): State<Api>, mut params: Params) -> Result<Response, ApiError> {
    let (limit, after) = params.paging::<EndpointId>();
    let status = params.one("status", |text| match text {
        "active" => Ok(EndpointStatus::Active),
        "paused" => Ok(EndpointStatus::Paused),
        "disabled" => Ok(EndpointStatus::Disabled),
        _ => Err("must be active, paused or disabled".to_owned()),
    });
    let event_type = params.one("event_type", |text| text.parse::<EventType>().map_err(|rule| rule.to_string()));
    params.finish()?;
    let keep = |endpoint: &Endpoint| {
        let patterns = &endpoint.settings.event_types;
        let subscribed = |wanted| patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(wanted));
        status.is_none_or(|status| endpoint.status == status) && event_type.as_ref().is_none_or(subscribed)
    };
    let page = api.services.store.list_endpoints(caller.scope(), after, limit, keep).await?;
    let now = api.services.clock.now();
    let mut health = endpoint_health::of(&api.services, page.entries.iter().map(|endpoint| endpoint.id)).await?;
    Ok(respond::page(
        page,
        |endpoint| endpoint.id,
        |endpoint| {
            let health = health.remove(&endpoint.id).unwrap_or_default();
            EndpointView::new(endpoint, None, health, now)
        },
    ))
}

pub(crate) async fn show(
    caller: Caller,
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let endpoint = find(&api.services, caller.scope(), &name).await?;
    let health = endpoint_health::of_one(&api.services, endpoint.id).await?;
    Ok(answer(StatusCode::OK, endpoint, None, health, api.services.clock.now()))
}

pub(crate) async fn change(
    caller: Caller,
    State(api): State<Api>,
    Path(name): Path<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let changes = EndpointChanges::from_body(&body, &api.services.config.addresses)?;
    let expected_version = if_match(&headers)?;
    let id = find_id(&api.services, caller.scope(), &name).await?;
    let changed = endpoints::change(&api.services, caller.scope(), id, &changes, expected_version, caller.key.id);
    match changed.await? {
        Changed::Updated(endpoint) => {
            let health = endpoint_health::of_one(&api.services, id).await?;
            Ok(answer(StatusCode::OK, *endpoint, None, health, api.services.clock.now()))
        }
        other => Err(refused(other)),
    }
}

pub(crate) async fn delete(
    caller: Caller,
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let by_uid = check_uid(name.clone()).is_ok();
    let deleted = match find_id(&api.services, caller.scope(), &name).await {
        Ok(id) => endpoints::delete(&api.services, caller.scope(), id).await?,
        Err(ApiError::NotFound(_)) => false,
        Err(error) => return Err(error),
    };
    // By uid a delete is the mirror of PUT: what is wanted is that there be none.
    if deleted || by_uid { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(NO_ENDPOINT) }
}

const NO_ENDPOINT: ApiError = ApiError::NotFound("endpoint");
const UID_TAKEN: ApiError = ApiError::Conflict("another endpoint has this uid");
const LIMIT_REACHED: ApiError =
    ApiError::LimitExceeded("the tenant has its maximum of endpoints, or of what they take together");
const STALE: ApiError = ApiError::Conflict("the endpoint has been changed since; read it and try again");

/// Why a change was not carried out.
pub(crate) fn refused(changed: Changed) -> ApiError {
    match changed {
        Changed::NotFound => NO_ENDPOINT,
        Changed::Stale | Changed::Updated(_) | Changed::Already(_) => STALE,
        Changed::UidTaken => UID_TAKEN,
        Changed::LimitReached => LIMIT_REACHED,
        Changed::Overlapping => {
            ApiError::Conflict("two secrets sign already; end their overlap first or wait for its end")
        }
        Changed::Contradictory(errors) => errors.into(),
        Changed::WrongKind(rule) => ApiError::field("secret", rule),
    }
}

/// The endpoint that a path names, by id or uid.
pub(crate) async fn find(services: &Services, scope: Scope, name: &str) -> Result<Endpoint, ApiError> {
    let id = find_id(services, scope, name).await?;
    services.store.endpoint(scope, id).await?.ok_or(NO_ENDPOINT)
}

pub(crate) async fn find_id(services: &Services, scope: Scope, name: &str) -> Result<EndpointId, ApiError> {
    if name.starts_with(EndpointId::PREFIX) {
        return name.parse().map_err(|_| NO_ENDPOINT);
    }
    // Longer than any uid, and perhaps longer than a key may be.
    if name.len() > UID_CHARACTERS_MAX {
        return Err(NO_ENDPOINT);
    }
    services.store.endpoint_id_of_uid(scope, name).await?.ok_or(NO_ENDPOINT)
}

fn answer(
    status: StatusCode,
    endpoint: Endpoint,
    secret: Option<&str>,
    health: HealthView,
    now: Timestamp,
) -> Response {
    let etag = HeaderValue::from_str(&format!("\"{}\"", endpoint.version));
    let shown = ShownSecret { endpoint_id: endpoint.id, version: endpoint.signing.secret_version.clone() };
    let mut response = respond::data(status, EndpointView::new(endpoint, secret.map(str::to_owned), health, now));
    if secret.is_some() {
        response.extensions_mut().insert(shown);
    }
    if let Ok(etag) = etag {
        response.headers_mut().insert(ETAG, etag);
    }
    response
}

/// The version in `If-Match`, quoted or not; `*` means any.
fn if_match(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(value) = headers.get(IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let version = text.trim_matches('"').parse();
    version.map(Some).map_err(|_| ApiError::field("If-Match", "must be the endpoint's version, as its ETag has it"))
}
