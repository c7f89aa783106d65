//! The routes of signing secrets.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use shared::domain::schema::SecretInput;
use shared::domain::signing_secret::SigningSecret;
use shared::domain::tenant::SecretVisibility;
use shared::domain::time::Time;
use shared::domain::validation::Fields;
use shared::pipeline::endpoints::{Changed, end_overlap, rotate};

use crate::Api;
use crate::auth::Caller;
use crate::body::OptionalBody;
use crate::endpoints::{find, find_id, refused};
use crate::error::ApiError;
use crate::idempotent::{MadeFrom, ShownSecret, secrets_not_required};
use crate::respond;

/// How long both secrets sign unless the caller says otherwise, in seconds.
pub(crate) const OVERLAP_SECONDS_DEFAULT: u32 = 86_400;
/// The longest that both secrets can sign, in seconds: a week.
pub(crate) const OVERLAP_SECONDS_MAX: u32 = 604_800;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Secret")]
pub(crate) struct SecretView {
    /// `whsec_…`, `whsk_…` for an ed25519 signature, or the caller's own.
    secret: String,
    previous: Vec<PreviousView>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
pub(crate) struct PreviousView {
    /// `whsec_…`, `whsk_…` for an ed25519 signature, or the caller's own.
    secret: String,
    /// From when on it no longer signs.
    expires_at: Time,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RotatedSecret", transform = secrets_not_required)]
pub(crate) struct RotatedView {
    /// The new secret. Left out where an answer is given again and the secret can no longer be shown.
    secret: String,
    /// Until when the previous one signs too.
    previous_expires_at: Option<Time>,
}

pub(crate) async fn show(
    caller: Caller,
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    if caller.tenant.settings.secret_visibility == SecretVisibility::Once {
        return Err(ApiError::WrongKind("a tenant whose secrets can be read again; this one's are shown once"));
    }
    let endpoint = find(&api.services, caller.scope(), &name).await?;
    let document = api.services.secrets.document(&endpoint).await?;
    let previous = document.previous_at(api.services.clock.now()).map(|previous| PreviousView {
        secret: previous.secret.expose().to_owned(),
        expires_at: previous.expires_at.into(),
    });
    let view = SecretView { secret: document.current.expose().to_owned(), previous: previous.into_iter().collect() };
    Ok(respond::data(StatusCode::OK, view))
}

pub(crate) async fn rotate_secret(
    caller: Caller,
    State(api): State<Api>,
    Path(name): Path<String>,
    MadeFrom(origin): MadeFrom,
    OptionalBody(body): OptionalBody,
) -> Result<Response, ApiError> {
    let Rotation { secret, overlap_seconds } = read_rotation(&body)?;
    let id = find_id(&api.services, caller.scope(), &name).await?;
    let by = caller.key.id;
    let changed = rotate(&api.services, caller.scope(), id, secret.as_ref(), overlap_seconds, by, origin);
    let endpoint = match changed.await? {
        Changed::Updated(endpoint) => endpoint,
        other => return Err(refused(other)),
    };
    let document = api.services.secrets.document(&endpoint).await?;
    let view = RotatedView {
        secret: document.current.expose().to_owned(),
        previous_expires_at: endpoint.signing.previous_expires_at.map(Time),
    };
    let mut response = respond::data(StatusCode::OK, view);
    response.extensions_mut().insert(ShownSecret { endpoint_id: id, version: endpoint.signing.secret_version });
    Ok(response)
}

pub(crate) async fn end_previous(
    caller: Caller,
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let id = find_id(&api.services, caller.scope(), &name).await?;
    match end_overlap(&api.services, caller.scope(), id, caller.key.id).await? {
        Changed::Updated(_) => Ok(StatusCode::NO_CONTENT.into_response()),
        other => Err(refused(other)),
    }
}

/// What a rotation is asked for.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Rotation {
    #[schemars(with = "Option<SecretInput>")]
    secret: Option<SigningSecret>,
    /// For how long the previous secret signs too.
    #[schemars(with = "Option<u32>", range(max = OVERLAP_SECONDS_MAX), extend("default" = OVERLAP_SECONDS_DEFAULT))]
    overlap_seconds: u32,
}

fn read_rotation(body: &[u8]) -> Result<Rotation, ApiError> {
    let mut fields = Fields::from_body(body)?;
    let secret = fields.optional("secret", "must be text", |text: String| {
        SigningSecret::parse(&text).map_err(|rule| rule.to_string())
    });
    let rule = format!("must be a whole number of seconds from 0 to {OVERLAP_SECONDS_MAX}");
    let overlap_seconds = fields.optional("overlap_seconds", &rule, |seconds: u32| {
        if seconds <= OVERLAP_SECONDS_MAX { Ok(seconds) } else { Err(rule.clone()) }
    });
    fields.finish().finish(Some(()))?;
    Ok(Rotation { secret, overlap_seconds: overlap_seconds.unwrap_or(OVERLAP_SECONDS_DEFAULT) })
}
