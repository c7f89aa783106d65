//! The operator's route of portal sessions: links by which a tenant's people manage their endpoints themselves.

use axum::extract::{Path, State};
use axum::response::Response;
use http::header::HOST;
use http::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;
use shared::domain::api_key::NewApiKey;
use shared::domain::time::Time;
use shared::store::api_keys::KeyAdded;

use crate::Api;
use crate::api_keys::new_key;
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::idempotent::{MadeFrom, secrets_not_required};
use crate::respond;
use crate::tenants::{NO_TENANT, tenant_id};

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PortalSession", transform = secrets_not_required)]
pub(crate) struct PortalSessionView {
    /// The link; left out where an answer is given again.
    url: String,
    /// The key in the link; left out where an answer is given again.
    token: String,
    expires_at: Option<Time>,
}

pub(crate) async fn create(
    State(api): State<Api>,
    Path(tenant): Path<String>,
    MadeFrom(origin): MadeFrom,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let now = api.services.clock.now();
    let new = NewApiKey::portal_session(&body, now)?;
    let (key, secret) = new_key(tenant_id(&tenant)?, new, now, origin);
    match api.services.store.add_key(&key, &secret).await? {
        KeyAdded::Added => {}
        KeyAdded::NoTenant => return Err(NO_TENANT),
        KeyAdded::LimitReached => return Err(SESSIONS_REACHED),
    }
    let token = secret.expose().to_owned();
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let forwarded = headers.get("x-forwarded-proto").and_then(|scheme| scheme.to_str().ok());
    let scheme = forwarded.unwrap_or("http");
    // Behind the #, where it reaches no server and no log.
    let url = format!("{scheme}://{host}/console#{token}");
    let expires_at = key.valid_until.map(Time);
    Ok(respond::data(StatusCode::CREATED, PortalSessionView { url, token, expires_at }))
}

const SESSIONS_REACHED: ApiError = ApiError::LimitExceeded("the tenant has its maximum of portal sessions");
