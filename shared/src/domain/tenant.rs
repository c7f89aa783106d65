//! A tenant: one customer organisation of the operator. Everything but the operator's own API belongs to one tenant and one mode.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::id::TenantId;
use super::schema::{Printable, none_required};
use super::validation::{FieldErrors, Fields, Patch, printable, word};

/// The longest name of anything, in characters.
pub const NAME_CHARACTERS_MAX: usize = 128;
/// How many endpoints a tenant may have in each mode unless the operator says otherwise.
pub const ENDPOINTS_DEFAULT: u32 = 10;
/// The most endpoints that the operator can allow a tenant.
pub const ENDPOINTS_MAX: u32 = 10_000;

/// Which of a tenant's two separate environments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
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
    /// In which of its environments.
    pub mode: Mode,
}

/// Whether signing secrets can be read again after they were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum SecretVisibility {
    /// By keys with `secrets:read`.
    #[default]
    Readable,
    /// Shown once, when made.
    Once,
}

/// How many requests a minute a tenant may make, by class; 0 means any number, and then none is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RateLimits {
    /// Reading anything but delivery logs.
    #[schemars(range(max = RATE_LIMIT_MAX))]
    pub reads: u32,
    /// Changing anything.
    #[schemars(range(max = RATE_LIMIT_MAX))]
    pub writes: u32,
    /// Reading delivery logs.
    #[schemars(range(max = RATE_LIMIT_MAX))]
    pub delivery_queries: u32,
    /// Sending events.
    #[schemars(range(max = RATE_LIMIT_MAX))]
    pub events: u32,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self { reads: 600, writes: 120, delivery_queries: 120, events: 0 }
    }
}

/// The largest rate limit, in requests a minute.
pub const RATE_LIMIT_MAX: u32 = 1_000_000;

/// One customer organisation of the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// What the operator says of it.
    pub settings: TenantSettings,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was deleted; what it leaves is being cleaned up since.
    pub deleted_at: Option<Timestamp>,
}

/// What the operator says of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantSettings {
    /// What people call it.
    pub name: String,
    /// How many endpoints it may have in each mode.
    pub max_endpoints: u32,
    /// Whether its signing secrets can be read again.
    pub secret_visibility: SecretVisibility,
    /// How many requests a minute it may make.
    pub rate_limits: RateLimits,
}

/// Changes of a tenant: the fields given; `null` sets one back to its default.
#[derive(Clone, Debug, Default, JsonSchema)]
#[schemars(deny_unknown_fields, transform = none_required)]
pub struct TenantChanges {
    /// What people call it.
    #[schemars(with = "Printable<NAME_CHARACTERS_MAX>")]
    name: Option<String>,
    /// How many endpoints it may have in each mode.
    #[schemars(range(min = 1, max = ENDPOINTS_MAX), extend("default" = ENDPOINTS_DEFAULT))]
    max_endpoints: Patch<u32>,
    /// Whether its signing secrets can be read again.
    #[schemars(extend("default" = SecretVisibility::default()))]
    secret_visibility: Patch<SecretVisibility>,
    /// How many requests a minute it may make, by class; `null` means the defaults.
    rate_limits: Patch<RateLimitChanges>,
}

#[derive(Clone, Copy, Debug, Default, JsonSchema)]
#[schemars(inline, deny_unknown_fields, transform = none_required)]
struct RateLimitChanges {
    /// Reading anything but delivery logs; 0 means any number.
    #[schemars(range(max = RATE_LIMIT_MAX))]
    reads: Option<u32>,
    /// Changing anything; 0 means any number.
    #[schemars(range(max = RATE_LIMIT_MAX))]
    writes: Option<u32>,
    /// Reading delivery logs; 0 means any number.
    #[schemars(range(max = RATE_LIMIT_MAX))]
    delivery_queries: Option<u32>,
    /// Sending events; 0 means any number.
    #[schemars(range(max = RATE_LIMIT_MAX))]
    events: Option<u32>,
}

/// The body of a create: changes of which the name must be there.
impl JsonSchema for TenantSettings {
    fn schema_name() -> Cow<'static, str> {
        "NewTenant".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = TenantChanges::json_schema(generator);
        schema.insert("description".to_owned(), json!("a new tenant; everything but `name` has a default"));
        schema.insert("required".to_owned(), json!(["name"]));
        schema
    }
}

impl TenantSettings {
    /// Reads the body of a create.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn from_body(body: &[u8]) -> Result<Self, FieldErrors> {
        let (changes, mut errors) = TenantChanges::read(body)?;
        let Some(name) = changes.name.clone() else {
            if !errors.0.iter().any(|error| error.field == "name") {
                errors.add("name", "is required");
            }
            return Err(errors);
        };
        let mut settings = Self::named(name);
        changes.apply(&mut settings);
        errors.finish(Some(settings))
    }

    /// The settings of a tenant of which only the name is said.
    #[must_use]
    pub fn named(name: String) -> Self {
        Self {
            name,
            max_endpoints: ENDPOINTS_DEFAULT,
            secret_visibility: SecretVisibility::default(),
            rate_limits: RateLimits::default(),
        }
    }
}

impl TenantChanges {
    /// Reads the body of a partial update.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn from_body(body: &[u8]) -> Result<Self, FieldErrors> {
        let (changes, errors) = Self::read(body)?;
        errors.finish(Some(changes))
    }

    fn read(body: &[u8]) -> Result<(Self, FieldErrors), FieldErrors> {
        let mut fields = Fields::from_body(body)?;
        let name = match fields.patch("name", "must be text", |name: String| printable(name, NAME_CHARACTERS_MAX)) {
            Patch::Set(name) => Some(name),
            Patch::Keep => None,
            Patch::Reset => {
                fields.error("name", "is required");
                None
            }
        };
        let endpoints_rule = format!("must be a whole number from 1 to {ENDPOINTS_MAX}");
        let max_endpoints = fields.patch("max_endpoints", &endpoints_rule, |count: u32| {
            if (1..=ENDPOINTS_MAX).contains(&count) { Ok(count) } else { Err(endpoints_rule.clone()) }
        });
        let visibility_rule = "must be readable or once";
        let secret_visibility =
            fields.patch("secret_visibility", visibility_rule, |text: String| word(text, visibility_rule));
        let rate_limits = fields.object("rate_limits", |limits| {
            let rule =
                format!("must be a whole number of requests a minute from 0 to {RATE_LIMIT_MAX}; 0 means any number");
            let mut limit = |name: &str| {
                limits.optional(
                    name,
                    &rule,
                    |limit: u32| if limit <= RATE_LIMIT_MAX { Ok(limit) } else { Err(rule.clone()) },
                )
            };
            Some(RateLimitChanges {
                reads: limit("reads"),
                writes: limit("writes"),
                delivery_queries: limit("delivery_queries"),
                events: limit("events"),
            })
        });
        Ok((Self { name, max_endpoints, secret_visibility, rate_limits }, fields.finish()))
    }

    /// Applies the changes.
    pub fn apply(self, settings: &mut TenantSettings) {
        if let Some(name) = self.name {
            settings.name = name;
        }
        self.max_endpoints.apply(&mut settings.max_endpoints, || ENDPOINTS_DEFAULT);
        self.secret_visibility.apply(&mut settings.secret_visibility, SecretVisibility::default);
        match self.rate_limits {
            Patch::Keep => {}
            Patch::Reset => settings.rate_limits = RateLimits::default(),
            Patch::Set(changes) => {
                let limits = &mut settings.rate_limits;
                limits.reads = changes.reads.unwrap_or(limits.reads);
                limits.writes = changes.writes.unwrap_or(limits.writes);
                limits.delivery_queries = changes.delivery_queries.unwrap_or(limits.delivery_queries);
                limits.events = changes.events.unwrap_or(limits.events);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenant_needs_a_name_and_has_defaults() {
        assert_eq!(TenantSettings::from_body(br#"{"name":"Acme"}"#), Ok(TenantSettings::named("Acme".to_owned())));
        let named = |body: &[u8]| {
            let errors = TenantSettings::from_body(body).unwrap_err();
            errors.0.into_iter().map(|error| error.field).collect::<Vec<_>>()
        };
        assert_eq!(named(b"{}"), ["name"]);
        assert_eq!(
            named(br#"{"max_endpoints":0,"rate_limits":{"reads":-1,"odd":1}}"#),
            ["max_endpoints", "rate_limits.reads", "rate_limits.odd", "name"]
        );
    }

    #[test]
    fn changes_leave_the_rest_as_it_is() {
        let mut settings = TenantSettings::named("Acme".to_owned());
        settings.max_endpoints = 3;
        let body = br#"{"rate_limits":{"reads":20},"secret_visibility":"once"}"#;
        TenantChanges::from_body(body).unwrap().apply(&mut settings);
        assert_eq!((settings.max_endpoints, settings.rate_limits.reads, settings.rate_limits.writes), (3, 20, 120));
        assert_eq!(settings.secret_visibility, SecretVisibility::Once);
    }
}
