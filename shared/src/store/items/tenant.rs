//! A tenant, with what deliver and the limit of endpoints need to know of its endpoints.

use jiff::Timestamp;
use jiff::fmt::serde::timestamp::millisecond;
use serde::{Deserialize, Serialize};

use super::converts;
use crate::domain::id::TenantId;
use crate::domain::tenant::{Mode, RateLimits, Scope, SecretVisibility, Tenant, TenantSettings};
use crate::store::Stored;

/// A tenant, and how many endpoints it has. The numbers are changed in place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TenantItem {
    id: TenantId,
    #[serde(flatten)]
    pub(in crate::store) settings: TenantSettingsItem,
    #[serde(with = "millisecond::required")]
    created_at: Timestamp,
    #[serde(default, with = "millisecond::optional", skip_serializing_if = "Option::is_none")]
    deleted_at: Option<Timestamp>,
    #[serde(default)]
    live_endpoint_count: u32,
    #[serde(default)]
    live_endpoints_version: u64,
    #[serde(default)]
    test_endpoint_count: u32,
    #[serde(default)]
    test_endpoints_version: u64,
}

/// What a change of a tenant replaces as a whole.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::store) struct TenantSettingsItem {
    name: String,
    max_endpoints: u32,
    #[serde(default)]
    secret_visibility: SecretVisibility,
    #[serde(default)]
    rate_limits: RateLimits,
}

impl Stored for TenantItem {
    const KIND: &'static str = "tenant";
}

converts!(TenantSettingsItem, TenantSettings { name, max_endpoints, secret_visibility, rate_limits });

impl TenantItem {
    /// The item of a new tenant, which has no endpoints.
    pub(in crate::store) fn new(tenant: Tenant) -> Self {
        let Tenant { id, settings, created_at, deleted_at } = tenant;
        Self {
            id,
            settings: settings.into(),
            created_at,
            deleted_at,
            live_endpoint_count: 0,
            live_endpoints_version: 0,
            test_endpoint_count: 0,
            test_endpoints_version: 0,
        }
    }

    /// The tenant.
    #[must_use]
    pub fn tenant(&self) -> Tenant {
        let Self { id, settings, created_at, deleted_at, .. } = self.clone();
        Tenant { id, settings: settings.into(), created_at, deleted_at }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> TenantId {
        self.id
    }

    /// Whether it has been deleted, and is being cleaned up.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.deleted_at.is_some()
    }

    /// Counts changes of the endpoints of this environment; what is cached of them is good while this stays.
    #[must_use]
    pub fn endpoints_version(&self, scope: Scope) -> u64 {
        match scope.mode {
            Mode::Live => self.live_endpoints_version,
            Mode::Test => self.test_endpoints_version,
        }
    }
}
