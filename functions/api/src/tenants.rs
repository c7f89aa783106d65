//! The operator's routes: tenants and their API keys.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use shared::domain::api_key::{ApiKey, ApiKeySecret, KEYS_PER_TENANT_MAX, NewApiKey, Permission};
use shared::domain::id::{KeyId, TenantId};
use shared::domain::tenant::{Mode, NewTenant, Scope, SecretVisibility, Tenant};
use shared::domain::time::{rfc3339, rfc3339_option};
use shared::random;
use shared::store::tenants::KeyAdded;

use crate::Api;
use crate::auth::Operator;
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::respond;

#[derive(Serialize)]
struct TenantView {
    id: TenantId,
    name: String,
    max_endpoints: u32,
    secret_visibility: SecretVisibility,
    #[serde(with = "rfc3339")]
    created_at: Timestamp,
}

impl From<Tenant> for TenantView {
    fn from(tenant: Tenant) -> Self {
        Self {
            id: tenant.id,
            name: tenant.name,
            max_endpoints: tenant.max_endpoints,
            secret_visibility: tenant.secret_visibility,
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
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let new = NewTenant::from_body(&body)?;
    let now = api.services.clock.now();
    let tenant = Tenant {
        id: TenantId::from_parts(now, random::bytes()),
        name: new.name,
        max_endpoints: new.max_endpoints,
        secret_visibility: new.secret_visibility,
        created_at: now,
    };
    api.services.store.create_tenant(tenant.clone()).await?;
    Ok(respond::data(StatusCode::CREATED, TenantView::from(tenant)))
}

pub(crate) async fn show(
    _: Operator,
    State(api): State<Api>,
    Path(tenant): Path<String>,
) -> Result<Response, ApiError> {
    let found = api.services.store.tenant(tenant_id(&tenant)?).await?.ok_or(ApiError::NotFound("tenant"))?;
    Ok(respond::data(StatusCode::OK, TenantView::from(found.tenant)))
}

pub(crate) async fn create_key(
    _: Operator,
    State(api): State<Api>,
    Path(tenant): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let now = api.services.clock.now();
    let tenant_id = tenant_id(&tenant)?;
    let new = NewApiKey::from_body(&body, now)?;
    let scope = Scope { tenant_id, mode: new.mode };
    let secret = ApiKeySecret::from_random(scope, random::bytes());
    let key = ApiKey {
        id: KeyId::from_parts(now, random::bytes()),
        scope,
        name: new.name,
        permissions: new.permissions,
        created_at: now,
        valid_until: new.valid_until,
    };
    match api.services.store.add_key(&key, &secret).await? {
        KeyAdded::Yes => Ok(respond::data(StatusCode::CREATED, KeyView::new(key, Some(&secret)))),
        KeyAdded::NoTenant => Err(ApiError::NotFound("tenant")),
        KeyAdded::LimitReached => {
            const { assert!(KEYS_PER_TENANT_MAX == 100, "the message names the limit") };
            Err(ApiError::LimitExceeded("a tenant has at most 100 API keys"))
        }
    }
}

pub(crate) async fn list_keys(
    _: Operator,
    State(api): State<Api>,
    Path(tenant): Path<String>,
) -> Result<Response, ApiError> {
    let tenant_id = tenant_id(&tenant)?;
    if api.services.store.tenant(tenant_id).await?.is_none() {
        return Err(ApiError::NotFound("tenant"));
    }
    let keys = api.services.store.keys(tenant_id).await?;
    let entries = keys.into_iter().map(|key| KeyView::new(key, None)).collect();
    Ok(respond::page(shared::store::cursor::Page { entries, next_cursor: None }))
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

fn tenant_id(text: &str) -> Result<TenantId, ApiError> {
    text.parse().map_err(|_| ApiError::NotFound("tenant"))
}
