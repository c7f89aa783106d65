//! The terms of the table of routes: who may call, how a request is counted, why repeating it is safe; and what handlers are given accordingly.

use axum::extract::FromRef;
use http::Method;
use shared::domain::api_key::Permission;

use crate::Api;
use crate::limits::RateClass;

/// What a row of the table says of one method of one path.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// The method.
    pub(crate) method: Method,
    /// The path, `/v1/endpoints/{endpoint}`.
    pub(crate) path: &'static str,
    /// Who may call.
    pub(crate) access: Access,
    /// Against which of a tenant's limits it counts; tenants' routes only.
    pub(crate) rate_class: Option<RateClass>,
    /// Why repeating it is safe.
    pub(crate) idempotency: Idempotency,
}

impl Rule {
    /// Whether an `Idempotency-Key` is heeded.
    pub(crate) fn is_idempotent_by_key(&self) -> bool {
        self.idempotency != Idempotency::Natural
    }
}

/// Who may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody, without a key.
    Public,
    /// The operator, with the root key.
    Root,
    /// A tenant's key with this permission.
    Key(Permission),
    /// Any of a tenant's keys.
    AnyKey,
}

/// Why repeating a request is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Idempotency {
    /// It is by itself, as its method says (RFC 9110 9.2.2), or by the version that it names.
    Natural,
    /// With an `Idempotency-Key`, the saved response is given again.
    ByResponse,
    /// With an `Idempotency-Key`, it is the same event.
    ByEvent,
}

/// What handlers for tenants are given.
#[derive(Clone)]
pub(crate) struct ForTenants(Api);

/// What handlers for the operator are given.
#[derive(Clone)]
pub(crate) struct ForRoot(Api);

impl FromRef<ForTenants> for Api {
    fn from_ref(state: &ForTenants) -> Self {
        state.0.clone()
    }
}

impl FromRef<ForRoot> for Api {
    fn from_ref(state: &ForRoot) -> Self {
        state.0.clone()
    }
}

impl ForTenants {
    pub(crate) fn new(api: &Api) -> Self {
        Self(api.clone())
    }
}

impl ForRoot {
    pub(crate) fn new(api: &Api) -> Self {
        Self(api.clone())
    }
}
