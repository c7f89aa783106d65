//! The operator's routes of tenants.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use shared::domain::id::TenantId;
use shared::domain::tenant::{ENDPOINTS_MAX, RateLimits, SecretVisibility, Tenant, TenantChanges, TenantSettings};
use shared::domain::time::Time;

use crate::Api;
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::idempotent::MadeFrom;
use crate::query::Params;
use crate::respond;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Tenant")]
pub(crate) struct TenantView {
    id: TenantId,
    name: String,
    #[schemars(range(min = 1, max = ENDPOINTS_MAX))]
    max_endpoints: u32,
    secret_visibility: SecretVisibility,
    rate_limits: RateLimits,
    created_at: Time,
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
            created_at: tenant.created_at.into(),
        }
    }
}

pub(crate) async fn create(
    State(api): State<Api>,
    MadeFrom(origin): MadeFrom,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let settings = TenantSettings::from_body(&body)?;
    let id = TenantId::from_parts(origin.at, origin.entropy);
    let tenant = Tenant { id, settings, created_at: origin.at, deleted_at: None };
    api.services.store.create_tenant(tenant.clone()).await?;
    Ok(respond::data(StatusCode::CREATED, TenantView::from(tenant)))
}

pub(crate) async fn list(State(api): State<Api>, mut params: Params) -> Result<Response, ApiError> {
    let (limit, after) = params.paging::<TenantId>();
    params.finish()?;
    let page = api.services.store.list_tenants(after, limit).await?;
    Ok(respond::page(page, |tenant| tenant.id, TenantView::from))
}

pub(crate) async fn show(State(api): State<Api>, Path(tenant): Path<String>) -> Result<Response, ApiError> {
    let tenant = find(&api, tenant_id(&tenant)?).await?;
    Ok(respond::data(StatusCode::OK, TenantView::from(tenant)))
}

pub(crate) async fn change(
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

pub(crate) async fn delete(State(api): State<Api>, Path(tenant): Path<String>) -> Result<Response, ApiError> {
    let now = api.services.clock.now();
    if shared::pipeline::tenants::delete(&api.services, tenant_id(&tenant)?, now).await? {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Err(NO_TENANT)
}

pub(crate) const NO_TENANT: ApiError = ApiError::NotFound("tenant");

pub(crate) async fn find(api: &Api, id: TenantId) -> Result<Tenant, ApiError> {
    let found = api.services.store.tenant(id).await?.map(|item| item.tenant());
    found.filter(|tenant| tenant.deleted_at.is_none()).ok_or(NO_TENANT)
}

pub(crate) fn tenant_id(text: &str) -> Result<TenantId, ApiError> {
    text.parse().map_err(|_| NO_TENANT)
}
