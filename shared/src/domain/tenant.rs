//! A tenant: one customer organisation of the operator. Everything but the operator's own API belongs to one tenant and one mode.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::id::TenantId;
use super::validation::{FieldErrors, Fields, printable};

/// The longest name of anything, in characters.
pub const NAME_CHARACTERS_MAX: usize = 128;
/// How many endpoints a tenant may have in each mode unless the operator says otherwise.
pub const ENDPOINTS_DEFAULT: u32 = 10;
/// The most endpoints that the operator can allow a tenant.
pub const ENDPOINTS_MAX: u32 = 10_000;

/// The two separate worlds inside a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Real events.
    Live,
    /// For trying things out.
    Test,
}

impl Mode {
    /// `live` or `test`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "live" => Ok(Self::Live),
            "test" => Ok(Self::Test),
            _ => Err("must be live or test".to_owned()),
        }
    }
}

/// A tenant in one mode: what every endpoint, event and delivery belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Scope {
    /// Whose it is.
    pub tenant_id: TenantId,
    /// In which of its worlds.
    pub mode: Mode,
}

/// Whether signing secrets can be read again after they were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretVisibility {
    /// By whoever holds `secrets:read`.
    #[default]
    Readable,
    /// Shown once, when made.
    Once,
}

/// One customer organisation of the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// What people call it.
    pub name: String,
    /// How many endpoints it may have in each mode.
    pub max_endpoints: u32,
    /// Whether its signing secrets can be read again.
    #[serde(default)]
    pub secret_visibility: SecretVisibility,
    /// When it was made.
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub created_at: Timestamp,
}

/// What the operator says of a new tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTenant {
    /// What people call it.
    pub name: String,
    /// How many endpoints it may have in each mode.
    pub max_endpoints: u32,
    /// Whether its signing secrets can be read again.
    pub secret_visibility: SecretVisibility,
}

impl NewTenant {
    /// Reads `{"name", "max_endpoints"?, "secret_visibility"?}`.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn from_body(body: &[u8]) -> Result<Self, FieldErrors> {
        let mut fields = Fields::from_body(body)?;
        let name = fields.required("name", "must be text", |name: String| printable(name, NAME_CHARACTERS_MAX));
        let max_endpoints_rule = format!("must be a whole number from 1 to {ENDPOINTS_MAX}");
        let max_endpoints = fields.optional("max_endpoints", &max_endpoints_rule, |count: u32| {
            if (1..=ENDPOINTS_MAX).contains(&count) { Ok(count) } else { Err(max_endpoints_rule.clone()) }
        });
        let secret_visibility = fields.optional("secret_visibility", "must be readable or once", Ok);
        fields.finish().finish(name.map(|name| Self {
            name,
            max_endpoints: max_endpoints.unwrap_or(ENDPOINTS_DEFAULT),
            secret_visibility: secret_visibility.unwrap_or_default(),
        }))
    }
}
