//! The operator's routes: tenants and their API keys.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header::HOST;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use shared::domain::api_key::{ApiKey, ApiKeySecret, KEYS_PER_TENANT_MAX, NewApiKey, Permission};
use shared::domain::id::{KeyId, TenantId};
use shared::domain::tenant::{Mode, RateLimits, Scope, SecretVisibility, Tenant, TenantChanges, TenantSettings};
use shared::domain::time::{rfc3339, rfc3339_option};
use shared::pipeline::endpoints::Origin;
use shared::random;
use shared::store::cursor;
use shared::store::tenants::KeyAdded;

use crate::Api;
use crate::auth::Operator;
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::idempotent::{self, Owner};
use crate::query::Params;
use crate::respond;

#[derive(Serialize)]
struct TenantView {
    id: TenantId,
    name: String,
    max_endpoints: u32,
    secret_visibility: SecretVisibility,
    rate_limits: RateLimits,
    #[serde(with = "rfc3339")]
    created_at: Timestamp,
}

impl From<Tenant> for TenantView {
    fn from(tenant: Tenant) -> Self {
        let settings = tenant.settings;
        Self {
            id: tenant.id,
            name: settings.name,
            max_endpoints: settings.max_endpoints,
            secret_visibility: settings.secret_visibility,
            rate_limits: settings.rate_limits,
            created_at: tenant.created_at,
        }
    }
}

#[derive(Serialize)]
struct KeyView {
    id: KeyId,
    tenant_id: TenantId,
    mode: Mode,
    name: String,
    permissions: Vec<Permission>,
    #[serde(with = "rfc3339")]
    created_at: Timestamp,
    #[serde(with = "rfc3339_option")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

#[derive(Serialize)]
struct PortalSessionView {
    url: String,
    token: String,
    #[serde(with = "rfc3339_option")]
    expires_at: Option<Timestamp>,
}

impl KeyView {
    fn new(key: ApiKey, secret: Option<&ApiKeySecret>) -> Self {
        Self {
            id: key.id,
            tenant_id: key.scope.tenant_id,
            mode: key.scope.mode,
            name: key.name,
            permissions: key.permissions.into_iter().collect(),
            created_at: key.created_at,
            expires_at: key.valid_until,
            key: secret.map(|secret| secret.expose().to_owned()),
        }
    }
}

pub(crate) async fn create(
    _: Operator,
    State(api): State<Api>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let create = async |origin: Origin| {
        let settings = TenantSettings::from_body(&body)?;
        let id = TenantId::from_parts(origin.at, origin.entropy);
        let tenant = Tenant { id, settings, created_at: origin.at, deleted_at: None };
        api.services.store.create_tenant(tenant.clone()).await?;
        Ok(respond::data(StatusCode::CREATED, TenantView::from(tenant)))
    };
    idempotent::once(&api, Owner::Operator, &headers, "/v1/tenants", &body, create).await
}

pub(crate) async fn list(_: Operator, State(api): State<Api>, mut params: Params) -> Result<Response, ApiError> {
    let (limit, after) = params.paging::<TenantId>();
    params.finish()?;
    let page = api.services.store.list_tenants(after, limit).await?;
    Ok(respond::page(page, |tenant| cursor::encode(&tenant.id), TenantView::from))
}

pub(crate) async fn show(
    _: Operator,
    State(api): State<Api>,
    Path(tenant): Path<String>,
) -> Result<Response, ApiError> {
    let tenant = find(&api, tenant_id(&tenant)?).await?;
    Ok(respond::data(StatusCode::OK, TenantView::from(tenant)))
}

pub(crate) async fn change(
    _: Operator,
    State(api): State<Api>,
    Path(tenant): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let changes = TenantChanges::from_body(&body)?;
    let mut tenant = find(&api, tenant_id(&tenant)?).await?;
    changes.apply(&mut tenant.settings);
    let changed = api.services.store.change_tenant_settings(tenant.id, &tenant.settings).await?;
    Ok(respond::data(StatusCode::OK, TenantView::from(changed.ok_or(NO_TENANT)?)))
}

pub(crate) async fn delete(
    _: Operator,
    State(api): State<Api>,
    Path(tenant): Path<String>,
) -> Result<Response, ApiError> {
    let now = api.services.clock.now();
    if shared::pipeline::tenants::delete(&api.services, tenant_id(&tenant)?, now).await? {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Err(NO_TENANT)
}

pub(crate) async fn create_key(
    _: Operator,
    State(api): State<Api>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let path = format!("/v1/tenants/{tenant}/keys");
    let create = async |origin: Origin| {
        let now = api.services.clock.now();
        let new = NewApiKey::from_body(&body, now)?;
        let (key, secret) = new_key(tenant_id(&tenant)?, new, now, origin);
        if origin.is_repeat {
            // What nobody has been shown opens nothing.
            api.services.store.delete_key(key.scope.tenant_id, key.id).await?;
        }
        match api.services.store.add_key(&key, &secret).await? {
            KeyAdded::Yes => Ok(respond::data(StatusCode::CREATED, KeyView::new(key, Some(&secret)))),
            KeyAdded::NoTenant => Err(NO_TENANT),
            KeyAdded::LimitReached => {
                const { assert!(KEYS_PER_TENANT_MAX == 100, "the message names the limit") };
                Err(ApiError::LimitExceeded("a tenant has at most 100 API keys"))
            }
        }
    };
    idempotent::once(&api, Owner::Operator, &headers, &path, &body, create).await
}

pub(crate) async fn create_portal_session(
    _: Operator,
    State(api): State<Api>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let path = format!("/v1/tenants/{tenant}/portal-sessions");
    let create = async |origin: Origin| {
        let now = api.services.clock.now();
        let new = NewApiKey::portal_session(&body, now)?;
        let (key, secret) = new_key(tenant_id(&tenant)?, new, now, origin);
        match api.services.store.add_key(&key, &secret).await? {
            KeyAdded::Yes => {}
            KeyAdded::NoTenant => return Err(NO_TENANT),
            KeyAdded::LimitReached => return Err(SESSIONS_REACHED),
        }
        let token = secret.expose().to_owned();
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let forwarded = headers.get("x-forwarded-proto").and_then(|scheme| scheme.to_str().ok());
        let scheme = forwarded.unwrap_or("http");
        // Behind the #, where it reaches no server and no log.
        let url = format!("{scheme}://{host}/console#{token}");
        let expires_at = key.valid_until;
        Ok(respond::data(StatusCode::CREATED, PortalSessionView { url, token, expires_at }))
    };
    idempotent::once(&api, Owner::Operator, &headers, &path, &body, create).await
}

fn new_key(tenant_id: TenantId, new: NewApiKey, now: Timestamp, origin: Origin) -> (ApiKey, ApiKeySecret) {
    let scope = Scope { tenant_id, mode: new.mode };
    let key = ApiKey {
        id: KeyId::from_parts(origin.at, origin.entropy),
        scope,
        name: new.name,
        permissions: new.permissions,
        created_at: now,
        valid_until: new.valid_until,
        portal: new.portal,
    };
    (key, ApiKeySecret::from_random(scope, random::bytes()))
}

pub(crate) async fn list_keys(
    _: Operator,
    State(api): State<Api>,
    Path(tenant): Path<String>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let (limit, after) = params.paging::<KeyId>();
    params.finish()?;
    let tenant_id = tenant_id(&tenant)?;
    find(&api, tenant_id).await?;
    let keys = api.services.store.keys(tenant_id).await?;
    let page = Params::page_of(keys, after.as_ref(), limit, |key| key.id);
    Ok(respond::page(page, |key| cursor::encode(&key.id), |key| KeyView::new(key, None)))
}

pub(crate) async fn delete_key(
    _: Operator,
    State(api): State<Api>,
    Path((tenant, key)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let key_id: KeyId = key.parse().map_err(|_| ApiError::NotFound("API key"))?;
    if api.services.store.delete_key(tenant_id(&tenant)?, key_id).await? {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Err(ApiError::NotFound("API key"))
}

const SESSIONS_REACHED: ApiError = ApiError::LimitExceeded("the tenant has its maximum of portal sessions");
const NO_TENANT: ApiError = ApiError::NotFound("tenant");

async fn find(api: &Api, id: TenantId) -> Result<Tenant, ApiError> {
    let found = api.services.store.tenant(id).await?.map(|item| item.tenant);
    found.filter(|tenant| tenant.deleted_at.is_none()).ok_or(NO_TENANT)
}

fn tenant_id(text: &str) -> Result<TenantId, ApiError> {
    text.parse().map_err(|_| NO_TENANT)
}
