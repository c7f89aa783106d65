//! `Idempotency-Key` on POST: the same key and body within 24 hours gives the first response again and does nothing twice.
//!
//! What is saved holds no secret: a secret in a response is taken out, and read again from Secrets Manager when the response is given again. A request that was
//! refused gives its key back. One of which nobody knows what became is taken up by the next with the same key, which makes what the first one made, under the same id; if the
//! first died, after a minute.

use std::convert::Infallible;

use axum::extract::{FromRef, FromRequestParts, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use schemars::Schema;
use serde_json::Value;
use sha2::{Digest, Sha256};
use shared::domain::event::IDEMPOTENCY_KEY_CHARACTERS_MAX;
use shared::domain::id::EndpointId;
use shared::domain::tenant::Scope;
use shared::domain::time::plus_seconds;
use shared::domain::validation::printable;
use shared::pipeline::endpoints::Origin;
use shared::random;
use shared::store::idempotency::IDEMPOTENCY_SECONDS;
use shared::store::saved_responses::{ResponseClaim, SavedResponse};

use crate::Api;
use crate::body::BODY_BYTES_MAX;
use crate::error::{ApiError, Unsettled};

/// The largest response that is saved, in bytes; none of the routes' is larger.
const RESPONSE_BYTES_MAX: usize = 256 * 1_024;

/// Whose keys: one caller's never meet another's.
pub(crate) struct Owner {
    name: String,
    /// A tenant's, whose secrets responses may show.
    scope: Option<Scope>,
}

impl Owner {
    pub(crate) fn operator() -> Self {
        Self { name: "operator".to_owned(), scope: None }
    }

    pub(crate) fn tenant(scope: Scope) -> Self {
        Self { name: format!("{}#{}", scope.tenant_id, scope.mode), scope: Some(scope) }
    }
}

/// What an answer shows the first time that it is given, and never again.
const SHOWN_ONCE: [&str; 3] = ["secret", "key", "token"];
/// The link of a portal session, which holds its token. An endpoint has a field of this name that is none.
const LINK: &str = "url";

/// A secret that a response shows: of which endpoint and version.
#[derive(Clone, Debug)]
pub(crate) struct ShownSecret {
    pub(crate) endpoint_id: EndpointId,
    pub(crate) version: String,
}

/// Where what a request makes has its id from: under the same idempotency key, always the same.
pub(crate) struct MadeFrom(pub(crate) Origin);

impl<S: Sync> FromRequestParts<S> for MadeFrom
where
    Api: FromRef<S>,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let origin = parts.extensions.get::<Origin>().copied();
        Ok(Self(origin.unwrap_or_else(|| Origin::new(Api::from_ref(state).services.clock.now()))))
    }
}

/// The key of a request, if it has one.
///
/// # Errors
/// When it is not a key.
pub(crate) fn key_of(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().to_owned();
    let key = printable(text, IDEMPOTENCY_KEY_CHARACTERS_MAX);
    key.map(Some).map_err(|rule| ApiError::field("Idempotency-Key", rule))
}

/// Carries a request out once per key: the first time by its handler, afterwards with what was saved then.
///
/// # Errors
/// `CONFLICT` when the key stands for another request, or its request is still being carried out; a body that is too large; when AWS does not answer.
pub(crate) async fn idempotent(api: &Api, owner: Owner, request: Request, next: Next) -> Result<Response, ApiError> {
    let Some(key) = key_of(request.headers())? else { return Ok(next.run(request).await) };
    let now = api.services.clock.now();
    let (mut parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, BODY_BYTES_MAX).await;
    let body = body.map_err(|_| ApiError::PayloadTooLarge(BODY_BYTES_MAX))?;
    let key_hash = hash(&[key.as_bytes()]);
    // A body that is left out is an empty object.
    let meant: &[u8] = if body.is_empty() { b"{}" } else { &body };
    let request_hash = hash(&[parts.uri.path().as_bytes(), meant]);
    let store = &api.services.store;
    let claim = hex::encode(random::bytes::<16>());
    let origin = match store.claim_response(&owner.name, &key_hash, &request_hash, &claim, now).await? {
        ResponseClaim::Known(saved) => return replay_response(api, saved, &request_hash, owner.scope).await,
        ResponseClaim::Taken { began_at, is_repeat } => {
            let mut entropy = [0; 10];
            let seed = digest(&[owner.name.as_bytes(), key_hash.as_bytes(), request_hash.as_bytes()]);
            entropy.copy_from_slice(&seed[..10]);
            Origin { at: began_at, entropy, is_repeat }
        }
    };
    parts.extensions.insert(origin);
    let response = next.run(Request::from_parts(parts, body.into())).await;
    if response.status().is_success() {
        let saved = SavedResponse {
            request_hash,
            status: Some(response.status().as_u16()),
            body: None,
            secret_of: None,
            claim,
            claimed_at: now,
            began_at: origin.at,
            expires_at: plus_seconds(now, IDEMPOTENCY_SECONDS),
        };
        return save(api, &owner.name, &key_hash, saved, response).await;
    }
    // Where AWS did not answer, it may have been done all the same.
    let settled = match response.extensions().get::<Unsettled>() {
        Some(Unsettled) => store.abandon_response(&owner.name, &key_hash, &claim).await,
        None => store.release_response(&owner.name, &key_hash, &claim).await,
    };
    if let Err(error) = settled {
        tracing::warn!(%error, "an idempotency key stays taken for a minute");
    }
    Ok(response)
}

async fn save(
    api: &Api,
    owner: &str,
    key_hash: &str,
    saved: SavedResponse,
    response: Response,
) -> Result<Response, ApiError> {
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, RESPONSE_BYTES_MAX).await.unwrap_or_default();
    let mut kept: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let mut shows_key = false;
    if let Some(data) = kept.get_mut("data").and_then(Value::as_object_mut) {
        let is_session = data.contains_key("token");
        shows_key = is_session || data.contains_key("key");
        let is_secret = |name: &str| SHOWN_ONCE.contains(&name) || is_session && name == LINK;
        data.retain(|name, _| !is_secret(name));
    }
    let shown = parts.extensions.get::<ShownSecret>();
    let saved = SavedResponse {
        body: (!bytes.is_empty()).then(|| kept.to_string()),
        secret_of: shown.map(|shown| (shown.endpoint_id.to_string(), shown.version.clone())),
        ..saved
    };
    if let Err(error) = api.services.store.save_response(owner, key_hash, &saved).await {
        tracing::warn!(%error, "a response was not saved; its key is free again in a minute");
        if shows_key {
            // The next request with this key makes another in its place, so this one must not be in use.
            if let Err(error) = api.services.store.abandon_response(owner, key_hash, &saved.claim).await {
                tracing::warn!(%error, "an idempotency key stays taken for a minute");
            }
            return Err(error.into());
        }
    }
    Ok(Response::from_parts(parts, axum::body::Body::from(bytes)))
}

async fn replay_response(
    api: &Api,
    saved: SavedResponse,
    request_hash: &str,
    scope: Option<Scope>,
) -> Result<Response, ApiError> {
    if saved.request_hash != request_hash {
        return Err(ApiError::Conflict("the idempotency key was used with another request"));
    }
    let Some(status) = saved.status.and_then(|status| StatusCode::from_u16(status).ok()) else {
        return Err(ApiError::Conflict("the first request with this idempotency key is still being carried out"));
    };
    let Some(body) = saved.body else { return Ok(status.into_response()) };
    let mut body: Value = serde_json::from_str(&body).unwrap_or_default();
    if let (Some((endpoint, version)), Some(scope)) = (saved.secret_of, scope)
        && let Ok(endpoint_id) = endpoint.parse()
        && let Some(data) = body.get_mut("data").and_then(Value::as_object_mut)
    {
        let endpoint = api.services.store.endpoint(scope, endpoint_id).await?;
        let signing = endpoint.map(|endpoint| endpoint.signing).filter(|signing| signing.secret_version == version);
        let sealed = signing.and_then(|signing| signing.sealed);
        let document = match api.services.secrets.document_of(scope, endpoint_id, &version, sealed.as_ref()).await {
            Ok(document) => document,
            Err(error) if error.retryable => return Err(error.into()),
            Err(_) => {
                return Err(ApiError::Conflict("the request was carried out, and the secret that it made is no more"));
            }
        };
        data.insert("secret".to_owned(), Value::from(document.current.expose()));
    }
    Ok((status, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response())
}

fn hash(parts: &[&[u8]]) -> String {
    hex::encode(digest(parts))
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

/// In the schema of an answer: what is left out where the answer is given again is not required.
pub(crate) fn secrets_not_required(schema: &mut Schema) {
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| !SHOWN_ONCE.iter().chain([&LINK]).any(|secret| name == secret));
    }
}
