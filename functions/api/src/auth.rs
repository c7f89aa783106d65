//! Who is calling: a tenant's API key, or the operator's root key.
//!
//! A key is looked up by its hash, so nothing is compared byte by byte; the root key is compared as hashes in constant time. One read authorises a
//! request, and for a few seconds after it the instance remembers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::FromRequestParts;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::request::Parts;
use jiff::Timestamp;
use shared::domain::api_key::{ApiKey, ApiKeySecret, KeyHash, Permission};
use shared::domain::tenant::{Scope, Tenant};
use shared::domain::time::plus_seconds;

use crate::Api;
use crate::error::ApiError;
use crate::limits::{self, Slot};

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
    /// The world that the key opens.
    pub(crate) fn scope(&self) -> Scope {
        self.key.scope
    }

    /// Goes on only with this permission.
    ///
    /// # Errors
    /// `FORBIDDEN`, naming it.
    pub(crate) fn needs(&self, permission: Permission) -> Result<(), ApiError> {
        if self.key.permissions.contains(&permission) { Ok(()) } else { Err(ApiError::Forbidden(permission)) }
    }
}

/// The operator, with the root key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operator;

/// Keys that were good a moment ago. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct KeyCache(Arc<Mutex<HashMap<KeyHash, (Timestamp, Caller)>>>);

impl KeyCache {
    fn get(&self, hash: &KeyHash, now: Timestamp) -> Option<Caller> {
        let cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (read_at, caller) = cached.get(hash)?;
        (now < plus_seconds(*read_at, KEY_CACHED_SECONDS)).then(|| caller.clone())
    }

    fn put(&self, hash: KeyHash, now: Timestamp, caller: Caller) {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.len() >= KEYS_CACHED_MAX {
            cached.clear();
        }
        cached.insert(hash, (now, caller));
    }
}

impl FromRequestParts<Api> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let presented = presented(parts).ok_or(ApiError::Unauthorized)?;
        let now = api.services.clock.now();
        match ApiKeySecret::parse(&presented) {
            Some(secret) => {
                let caller = caller(api, &secret, now).await?.ok_or(ApiError::Unauthorized)?;
                let slot = parts.extensions.get::<Slot>();
                limits::count(api, &caller.tenant, &parts.method, parts.uri.path(), slot, now).await?;
                Ok(caller)
            }
            None if api.services.secrets.is_root_key(&presented, now).await? => {
                Err(ApiError::WrongKind("a tenant's API key, not the root key"))
            }
            None => Err(ApiError::Unauthorized),
        }
    }
}

impl FromRequestParts<Api> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let presented = presented(parts).ok_or(ApiError::Unauthorized)?;
        let now = api.services.clock.now();
        match ApiKeySecret::parse(&presented) {
            Some(secret) if caller(api, &secret, now).await?.is_some() => Err(ApiError::WrongKind("the root key")),
            None if api.services.secrets.is_root_key(&presented, now).await? => Ok(Self),
            _ => Err(ApiError::Unauthorized),
        }
    }
}

async fn caller(api: &Api, secret: &ApiKeySecret, now: Timestamp) -> Result<Option<Caller>, ApiError> {
    let hash = secret.hash();
    let caller = match api.keys.get(&hash, now) {
        Some(caller) => caller,
        None => match api.services.store.authorise(secret).await? {
            Some((key, tenant)) => {
                let caller = Caller { key, tenant };
                api.keys.put(hash, now, caller.clone());
                caller
            }
            None => return Ok(None),
        },
    };
    // A key names its world; one that names another than it was made for is no key.
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
