//! The operator's routes of tenants' API keys.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use shared::domain::api_key::{ApiKey, ApiKeySecret, KEYS_PER_TENANT_MAX, NewApiKey, Permission};
use shared::domain::id::{KeyId, TenantId};
use shared::domain::tenant::{Mode, Scope};
use shared::domain::time::Time;
use shared::pipeline::endpoints::Origin;
use shared::random;
use shared::store::api_keys::KeyAdded;

use crate::Api;
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::idempotent::MadeFrom;
use crate::query::Params;
use crate::respond;
use crate::tenants::{NO_TENANT, find, tenant_id};

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Key")]
pub(crate) struct KeyView {
    id: KeyId,
    tenant_id: TenantId,
    mode: Mode,
    name: String,
    permissions: Vec<Permission>,
    created_at: Time,
    expires_at: Option<Time>,
    /// The key itself; only in the answer that makes it, the first time that answer is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
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
            created_at: key.created_at.into(),
            expires_at: key.valid_until.map(Time),
            key: secret.map(|secret| secret.expose().to_owned()),
        }
    }
}

pub(crate) async fn create(
    State(api): State<Api>,
    Path(tenant): Path<String>,
    MadeFrom(origin): MadeFrom,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let now = api.services.clock.now();
    let new = NewApiKey::from_body(&body, now)?;
    let (key, secret) = new_key(tenant_id(&tenant)?, new, now, origin);
    if origin.is_repeat {
        // What nobody has been shown opens nothing.
        api.services.store.delete_key(key.scope.tenant_id, key.id).await?;
    }
    match api.services.store.add_key(&key, &secret).await? {
        KeyAdded::Added => Ok(respond::data(StatusCode::CREATED, KeyView::new(key, Some(&secret)))),
        KeyAdded::NoTenant => Err(NO_TENANT),
        KeyAdded::LimitReached => {
            const { assert!(KEYS_PER_TENANT_MAX == 100, "the message names the limit") };
            Err(ApiError::LimitExceeded("a tenant has at most 100 API keys"))
        }
    }
}

/// A key of a tenant and its text, which nobody has been shown yet.
pub(crate) fn new_key(tenant_id: TenantId, new: NewApiKey, now: Timestamp, origin: Origin) -> (ApiKey, ApiKeySecret) {
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

pub(crate) async fn list(
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
    Ok(respond::page(page, |key| key.id, |key| KeyView::new(key, None)))
}

pub(crate) async fn delete(
    State(api): State<Api>,
    Path((tenant, key)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let key_id: KeyId = key.parse().map_err(|_| ApiError::NotFound("API key"))?;
    if api.services.store.delete_key(tenant_id(&tenant)?, key_id).await? {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Err(ApiError::NotFound("API key"))
}
