//! Who is calling: a tenant's API key, or the operator's root key.
//!
//! A key is looked up by its hash, so nothing is compared byte by byte; the root key is compared as hashes in constant time. One read authorises a
//! request, and for a few seconds after it the instance remembers.

use axum::extract::FromRequestParts;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::request::Parts;
use jiff::Timestamp;
use shared::cache::{Cache, Dated};
use shared::domain::api_key::{ApiKey, ApiKeySecret, KeyHash};
use shared::domain::tenant::{Scope, Tenant};

use crate::Api;
use crate::access::ForTenants;
use crate::error::ApiError;

/// For how long an instance remembers a key, in seconds: so long a revoked one may still work.
const KEY_CACHED_SECONDS: i64 = 5;
/// How many keys an instance remembers; over that it begins anew.
const KEYS_CACHED_MAX: usize = 10_000;

/// A caller with a tenant's API key.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The key; never its text.
    pub(crate) key: ApiKey,
    /// The tenant it belongs to.
    pub(crate) tenant: Tenant,
}

impl Caller {
    /// The environment that the key opens.
    pub(crate) fn scope(&self) -> Scope {
        self.key.scope
    }
}

/// Keys that were good a moment ago.
pub(crate) type KeyCache = Cache<KeyHash, Dated<Caller>>;

/// An empty cache.
pub(crate) fn key_cache() -> KeyCache {
    Cache::new(KEYS_CACHED_MAX)
}

impl FromRequestParts<ForTenants> for Caller {
    type Rejection = ApiError;

    /// As the guard of the route has found them.
    async fn from_request_parts(parts: &mut Parts, _: &ForTenants) -> Result<Self, ApiError> {
        parts.extensions.remove().ok_or(ApiError::Unauthorized)
    }
}

/// The tenant's caller of a request.
///
/// # Errors
/// `UNAUTHORIZED` without a valid key; `FORBIDDEN` for the root key; when AWS does not answer.
pub(crate) async fn tenant(parts: &Parts, api: &Api) -> Result<Caller, ApiError> {
    let presented = presented(parts).ok_or(ApiError::Unauthorized)?;
    let now = api.services.clock.now();
    match ApiKeySecret::parse(&presented) {
        Some(secret) => caller(api, &secret, now).await?.ok_or(ApiError::Unauthorized),
        None if api.services.secrets.is_root_key(&presented, now).await? => {
            Err(ApiError::WrongKind("a tenant's API key, not the root key"))
        }
        None => Err(ApiError::Unauthorized),
    }
}

/// That the operator is calling.
///
/// # Errors
/// `UNAUTHORIZED` without a valid key; `FORBIDDEN` for a tenant's; when AWS does not answer.
pub(crate) async fn operator(parts: &Parts, api: &Api) -> Result<(), ApiError> {
    let presented = presented(parts).ok_or(ApiError::Unauthorized)?;
    let now = api.services.clock.now();
    match ApiKeySecret::parse(&presented) {
        Some(secret) if caller(api, &secret, now).await?.is_some() => Err(ApiError::WrongKind("the root key")),
        None if api.services.secrets.is_root_key(&presented, now).await? => Ok(()),
        _ => Err(ApiError::Unauthorized),
    }
}

async fn caller(api: &Api, secret: &ApiKeySecret, now: Timestamp) -> Result<Option<Caller>, ApiError> {
    let hash = secret.hash();
    let caller = match api.keys.fresh(&hash, now, KEY_CACHED_SECONDS) {
        Some(caller) => caller,
        None => match api.services.store.authorise(secret).await? {
            Some((key, tenant)) => {
                let caller = Caller { key, tenant };
                api.keys.put_now(hash, caller.clone(), now);
                caller
            }
            None => return Ok(None),
        },
    };
    // A key names its environment; one that names another than it was made for is no key.
    Ok((caller.key.is_valid(now) && caller.scope() == secret.scope()).then_some(caller))
}

/// The key in the `Authorization` header: as a bearer token, or as the password of Basic.
fn presented(parts: &Parts) -> Option<String> {
    let header = parts.headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, value) = header.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(value.trim().to_owned());
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let decoded = String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok()?;
        return decoded.split_once(':').map(|(_, password)| password.to_owned());
    }
    None
}
