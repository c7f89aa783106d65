//! The routes of endpoints.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header::{ETAG, IF_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use shared::domain::api_key::Permission;
use shared::domain::endpoint::{Authorization, Endpoint, EndpointStatus};
use shared::domain::endpoint_input::{EndpointChanges, NewEndpoint, UID_CHARACTERS_MAX};
use shared::domain::event_type::{EventType, EventTypePattern};
use shared::domain::id::{EndpointId, KeyId};
use shared::domain::retry::RetryPolicy;
use shared::domain::tenant::{Scope, SecretVisibility};
use shared::domain::time::{self, rfc3339, rfc3339_option};
use shared::pipeline::endpoints::{self, Changed, Created};
use shared::services::Services;

use crate::Api;
use crate::auth::Caller;
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::query::Params;
use crate::respond;

#[derive(Serialize)]
struct EndpointView {
    id: EndpointId,
    uid: Option<String>,
    url: String,
    name: Option<String>,
    description: Option<String>,
    event_types: Vec<EventTypePattern>,
    channels: Vec<String>,
    status: EndpointStatus,
    disabled_reason: Option<String>,
    authorization: Authorization,
    headers: BTreeMap<String, String>,
    signature: SignatureView,
    payload_fields: [(); 0],
    retry: RetryPolicy,
    timeout_seconds: u32,
    signing: SigningView,
    version: u64,
    #[serde(with = "rfc3339")]
    created_at: Timestamp,
    created_by: KeyId,
    #[serde(with = "rfc3339")]
    updated_at: Timestamp,
    updated_by: Option<KeyId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

#[derive(Serialize)]
struct SignatureView {
    scheme: &'static str,
}

#[derive(Serialize)]
struct SigningView {
    state: &'static str,
    #[serde(with = "rfc3339")]
    created_at: Timestamp,
    #[serde(with = "rfc3339_option")]
    previous_expires_at: Option<Timestamp>,
}

impl EndpointView {
    fn new(endpoint: Endpoint, secret: Option<String>, now: Timestamp) -> Self {
        let previous_expires_at = endpoint.signing.previous_expires_at.filter(|until| now < *until);
        let settings = endpoint.settings;
        Self {
            id: endpoint.id,
            uid: settings.uid,
            url: settings.url,
            name: settings.name,
            description: settings.description,
            event_types: settings.event_types,
            channels: settings.channels,
            status: endpoint.status,
            disabled_reason: endpoint.disabled_reason,
            authorization: settings.authorization,
            headers: settings.headers,
            signature: SignatureView { scheme: "standard" },
            payload_fields: [],
            retry: settings.retry,
            timeout_seconds: settings.timeout_seconds,
            signing: SigningView {
                state: if previous_expires_at.is_some() { "overlapping" } else { "stable" },
                created_at: endpoint.signing.created_at,
                previous_expires_at,
            },
            version: endpoint.version,
            created_at: endpoint.created_at,
            created_by: endpoint.created_by,
            updated_at: endpoint.updated_at,
            updated_by: endpoint.updated_by,
            secret,
        }
    }
}

#[derive(Serialize)]
struct SecretView {
    secret: String,
    previous: Vec<PreviousView>,
}

#[derive(Serialize)]
struct PreviousView {
    secret: String,
    expires_at: String,
}

pub(crate) async fn create(
    caller: Caller,
    State(api): State<Api>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    caller.needs(Permission::EndpointsWrite)?;
    let new = NewEndpoint::from_body(&body, &api.services.config.addresses)?;
    match endpoints::create(&api.services, caller.scope(), caller.key.id, new).await? {
        Created::Yes(endpoint, secret) => {
            let secret = secret.expose().to_owned();
            Ok(answer(StatusCode::CREATED, *endpoint, Some(secret), api.services.clock.now()))
        }
        Created::LimitReached => Err(ApiError::LimitExceeded("the tenant has its maximum of endpoints")),
        Created::UidTaken => Err(UID_TAKEN),
    }
}

pub(crate) async fn list(caller: Caller, State(api): State<Api>, mut params: Params) -> Result<Response, ApiError> {
    caller.needs(Permission::EndpointsRead)?;
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
    Ok(respond::page(page.map(|endpoint| EndpointView::new(endpoint, None, now))))
}

pub(crate) async fn show(
    caller: Caller,
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    caller.needs(Permission::EndpointsRead)?;
    let endpoint = find(&api.services, caller.scope(), &name).await?;
    Ok(answer(StatusCode::OK, endpoint, None, api.services.clock.now()))
}

pub(crate) async fn change(
    caller: Caller,
    State(api): State<Api>,
    Path(name): Path<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    caller.needs(Permission::EndpointsWrite)?;
    let changes = EndpointChanges::from_body(&body, &api.services.config.addresses)?;
    let expected_version = if_match(&headers)?;
    let id = find_id(&api.services, caller.scope(), &name).await?;
    let changed = endpoints::change(&api.services, caller.scope(), id, &changes, expected_version, caller.key.id);
    match changed.await? {
        Changed::Yes(endpoint) => Ok(answer(StatusCode::OK, *endpoint, None, api.services.clock.now())),
        Changed::NotFound => Err(NO_ENDPOINT),
        Changed::Stale => Err(ApiError::Conflict("the endpoint has been changed since; read it and try again")),
        Changed::UidTaken => Err(UID_TAKEN),
    }
}

pub(crate) async fn delete(
    caller: Caller,
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    caller.needs(Permission::EndpointsWrite)?;
    let by_uid = !name.starts_with(EndpointId::PREFIX);
    let deleted = match find_id(&api.services, caller.scope(), &name).await {
        Ok(id) => endpoints::delete(&api.services, caller.scope(), id).await?,
        Err(ApiError::NotFound(_)) => false,
        Err(error) => return Err(error),
    };
    // By uid a delete is the mirror of PUT: what is wanted is that there be none.
    if deleted || by_uid { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(NO_ENDPOINT) }
}

pub(crate) async fn show_secret(
    caller: Caller,
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    caller.needs(Permission::SecretsRead)?;
    if caller.tenant.secret_visibility == SecretVisibility::Once {
        return Err(ApiError::WrongKind("a tenant whose secrets can be read again; this one's are shown once"));
    }
    let endpoint = find(&api.services, caller.scope(), &name).await?;
    let version = &endpoint.signing.secret_version;
    let document = api.services.secrets.document(endpoint.scope, endpoint.id, version).await?;
    let previous = document.previous_at(api.services.clock.now()).map(|previous| PreviousView {
        secret: previous.secret.expose().to_owned(),
        expires_at: time::format(previous.expires_at),
    });
    let view = SecretView { secret: document.current.expose().to_owned(), previous: previous.into_iter().collect() };
    Ok(respond::data(StatusCode::OK, view))
}

const NO_ENDPOINT: ApiError = ApiError::NotFound("endpoint");
const UID_TAKEN: ApiError = ApiError::Conflict("another endpoint has this uid");

/// The endpoint that a path names, by id or uid.
pub(crate) async fn find(services: &Services, scope: Scope, name: &str) -> Result<Endpoint, ApiError> {
    let id = find_id(services, scope, name).await?;
    services.store.endpoint(scope, id).await?.ok_or(NO_ENDPOINT)
}

async fn find_id(services: &Services, scope: Scope, name: &str) -> Result<EndpointId, ApiError> {
    if name.starts_with(EndpointId::PREFIX) {
        return name.parse().map_err(|_| NO_ENDPOINT);
    }
    // Longer than any uid, and perhaps longer than a key may be.
    if name.len() > UID_CHARACTERS_MAX {
        return Err(NO_ENDPOINT);
    }
    services.store.endpoint_id_of_uid(scope, name).await?.ok_or(NO_ENDPOINT)
}

fn answer(status: StatusCode, endpoint: Endpoint, secret: Option<String>, now: Timestamp) -> Response {
    let etag = HeaderValue::from_str(&format!("\"{}\"", endpoint.version));
    let mut response = respond::data(status, EndpointView::new(endpoint, secret, now));
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
