//! `Idempotency-Key` on POST: the same key and body within 24 hours gives the first answer again and does nothing twice.
//!
//! What is kept holds no secret: a secret in an answer is taken out, and read again from Secrets Manager when the answer is given again. A request that was
//! refused gives its key back. One of which nobody knows what became is taken up by whoever repeats it, who makes what the first one made, under the same id; if it died, after
//! a minute.

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use sha2::{Digest, Sha256};
use shared::domain::event::IDEMPOTENCY_KEY_CHARACTERS_MAX;
use shared::domain::id::EndpointId;
use shared::domain::tenant::Scope;
use shared::domain::time::plus_seconds;
use shared::domain::validation::printable;
use shared::pipeline::endpoints::Origin;
use shared::random;
use shared::store::answers::{AnswerClaim, KeptAnswer};
use shared::store::idempotency::IDEMPOTENCY_SECONDS;

use crate::Api;
use crate::auth::Caller;
use crate::error::ApiError;

/// The largest answer that is kept, in bytes; none of the routes' is larger.
const ANSWER_BYTES_MAX: usize = 256 * 1_024;

/// Whose keys: one caller's never meet another's.
pub(crate) enum Owner<'a> {
    /// A tenant's in one mode.
    Tenant(&'a Caller),
    /// The operator's.
    Operator,
}

/// A secret that an answer shows: of which endpoint and version.
#[derive(Clone, Debug)]
pub(crate) struct ShownSecret {
    pub(crate) endpoint_id: EndpointId,
    pub(crate) version: String,
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

/// Answers a POST once per key: with `answer` the first time, with what that was afterwards. What `answer` makes has its id from the [`Origin`].
///
/// # Errors
/// Those of `answer`; `CONFLICT` when the key stands for another request, or its request is still being carried out.
pub(crate) async fn once<F: Future<Output = Result<Response, ApiError>>>(
    api: &Api,
    owner: Owner<'_>,
    headers: &HeaderMap,
    path: &str,
    body: &[u8],
    answer: impl FnOnce(Origin) -> F,
) -> Result<Response, ApiError> {
    let now = api.services.clock.now();
    let Some(key) = key_of(headers)? else { return answer(Origin::new(now)).await };
    let (owner_name, scope) = match owner {
        Owner::Tenant(caller) => {
            let scope = caller.scope();
            (format!("{}#{}", scope.tenant_id, scope.mode), Some(scope))
        }
        Owner::Operator => ("operator".to_owned(), None),
    };
    let key_hash = hash(&[key.as_bytes()]);
    let request_hash = hash(&[path.as_bytes(), body]);
    let store = &api.services.store;
    let claim = hex::encode(random::bytes::<16>());
    let origin = match store.claim_answer(&owner_name, &key_hash, &request_hash, &claim, now).await? {
        AnswerClaim::Known(kept) => return again(api, kept, &request_hash, scope).await,
        AnswerClaim::Taken { began_at, is_repeat } => {
            let mut entropy = [0; 10];
            let seed = digest(&[owner_name.as_bytes(), key_hash.as_bytes(), request_hash.as_bytes()]);
            entropy.copy_from_slice(&seed[..10]);
            Origin { at: began_at, entropy, is_repeat }
        }
    };
    match answer(origin).await {
        Ok(response) => {
            let kept = KeptAnswer {
                request_hash,
                status: Some(response.status().as_u16()),
                body: None,
                secret_of: None,
                claim,
                claimed_at: now,
                began_at: origin.at,
                expires_at: plus_seconds(now, IDEMPOTENCY_SECONDS),
            };
            keep(api, &owner_name, &key_hash, kept, response).await
        }
        Err(error) => {
            // Where AWS did not answer, it may have been done all the same.
            let settled = match &error {
                ApiError::Aws(_) => store.abandon_answer(&owner_name, &key_hash, &claim).await,
                _ => store.release_answer(&owner_name, &key_hash, &claim).await,
            };
            if let Err(error) = settled {
                tracing::warn!(%error, "an idempotency key stays taken for a minute");
            }
            Err(error)
        }
    }
}

async fn keep(
    api: &Api,
    owner: &str,
    key_hash: &str,
    answer: KeptAnswer,
    response: Response,
) -> Result<Response, ApiError> {
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, ANSWER_BYTES_MAX).await.unwrap_or_default();
    let mut kept: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let mut shows_key = false;
    if let Some(data) = kept.get_mut("data").and_then(Value::as_object_mut) {
        data.remove("secret");
        shows_key = data.remove("key").is_some();
        // A portal session's link holds its token.
        if data.remove("token").is_some() {
            data.remove("url");
            shows_key = true;
        }
    }
    let shown = parts.extensions.get::<ShownSecret>();
    let answer = KeptAnswer {
        body: (!bytes.is_empty()).then(|| kept.to_string()),
        secret_of: shown.map(|shown| (shown.endpoint_id.to_string(), shown.version.clone())),
        ..answer
    };
    if let Err(error) = api.services.store.keep_answer(owner, key_hash, &answer).await {
        tracing::warn!(%error, "an answer was not kept; its key is free again in a minute");
        if shows_key {
            // Whoever repeats the request makes another in its place, so this one must not be in use.
            if let Err(error) = api.services.store.abandon_answer(owner, key_hash, &answer.claim).await {
                tracing::warn!(%error, "an idempotency key stays taken for a minute");
            }
            return Err(error.into());
        }
    }
    Ok(Response::from_parts(parts, axum::body::Body::from(bytes)))
}

async fn again(api: &Api, kept: KeptAnswer, request_hash: &str, scope: Option<Scope>) -> Result<Response, ApiError> {
    if kept.request_hash != request_hash {
        return Err(ApiError::Conflict("the idempotency key was used with another request"));
    }
    let Some(status) = kept.status.and_then(|status| StatusCode::from_u16(status).ok()) else {
        return Err(ApiError::Conflict("the first request with this idempotency key is still being carried out"));
    };
    let Some(body) = kept.body else { return Ok(status.into_response()) };
    let mut body: Value = serde_json::from_str(&body).unwrap_or_default();
    if let (Some((endpoint, version)), Some(scope)) = (kept.secret_of, scope)
        && let Ok(endpoint_id) = endpoint.parse()
        && let Some(data) = body.get_mut("data").and_then(Value::as_object_mut)
    {
        let document = match api.services.secrets.document(scope, endpoint_id, &version).await {
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
