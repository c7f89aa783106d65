//! An API key or portal session; of the key itself only its hash.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::fmt::serde::timestamp::{millisecond, second};
use serde::{Deserialize, Serialize};

use crate::domain::api_key::{ApiKey, KeyHash, Permission};
use crate::domain::id::{KeyId, TenantId};
use crate::domain::tenant::{Mode, Scope};
use crate::store::Stored;

/// A key. It is never changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::store) struct KeyItem {
    pub(in crate::store) id: KeyId,
    tenant_id: TenantId,
    mode: Mode,
    name: String,
    permissions: BTreeSet<Permission>,
    #[serde(with = "millisecond::required")]
    created_at: Timestamp,
    #[serde(default, with = "millisecond::optional")]
    valid_until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    portal: bool,
    pub(in crate::store) hash: KeyHash,
    /// Only tokens of portal sessions go by themselves; a key that has expired stays listed.
    #[serde(default, with = "second::optional", skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

impl Stored for KeyItem {
    const KIND: &'static str = "api_key";
}

impl KeyItem {
    /// The item of a key.
    pub(in crate::store) fn new(key: ApiKey, hash: KeyHash) -> Self {
        let ApiKey { id, scope: Scope { tenant_id, mode }, name, permissions, created_at, valid_until, portal } = key;
        let expires_at = valid_until.filter(|_| portal);
        Self { id, tenant_id, mode, name, permissions, created_at, valid_until, portal, hash, expires_at }
    }
}

impl From<KeyItem> for ApiKey {
    fn from(item: KeyItem) -> Self {
        let KeyItem { id, tenant_id, mode, name, permissions, created_at, valid_until, portal, hash: _, expires_at: _ } =
            item;
        Self { id, scope: Scope { tenant_id, mode }, name, permissions, created_at, valid_until, portal }
    }
}
