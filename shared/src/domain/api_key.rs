//! API keys: what callers prove themselves with. Only the SHA-256 of a key is kept; the key is shown once.
//!
//! A key names its tenant, `sk_live_<the tenant's ULID>_<secret>`, so that the key and the tenant are read with one request and a key cannot be
//! looked for across tenants. The name is no secret; the 160 random bits after it are.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use schemars::{JsonSchema, json_schema};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::id::{KeyId, TenantId};
use super::schema::{Printable, TimeInput, inlined};
use super::tenant::{Mode, NAME_CHARACTERS_MAX, Scope};
use super::time;
use super::validation::{FieldErrors, Fields, printable, word};

/// How many random bytes a key holds.
pub const KEY_SECRET_BYTES: usize = 20;
/// The most keys that a tenant can have, both modes together.
pub const KEYS_PER_TENANT_MAX: usize = 100;

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident = $text:literal),+ $(,)?) => {
        /// Something that a key allows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[schemars(inline)]
        pub enum Permission {
            $($(#[$doc])* #[serde(rename = $text)] $name),+
        }

        impl Permission {
            /// Every permission there is.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The name in the API, `endpoints:read`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }
        }
    };
}

permissions! {
    /// Read and list endpoints.
    EndpointsRead = "endpoints:read",
    /// Create, change, delete and test endpoints.
    EndpointsWrite = "endpoints:write",
    /// Read signing secrets again.
    SecretsRead = "secrets:read",
    /// Rotate signing secrets.
    SecretsWrite = "secrets:write",
    /// Send and replay events.
    EventsWrite = "events:write",
    /// Read events.
    EventsRead = "events:read",
    /// Change the catalogue of event types.
    EventTypesWrite = "event_types:write",
    /// Read delivery logs.
    DeliveriesRead = "deliveries:read",
    /// Retry and replay deliveries.
    DeliveriesWrite = "deliveries:write",
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A key as its holder sends it. Has no `Display`; `Debug` is silent.
pub struct ApiKeySecret {
    scope: Scope,
    text: String,
}

impl ApiKeySecret {
    /// A new key from random bytes.
    #[must_use]
    pub fn from_random(scope: Scope, random: [u8; KEY_SECRET_BYTES]) -> Self {
        let tenant = scope.tenant_id.to_string();
        let ulid = tenant.trim_start_matches(TenantId::PREFIX);
        Self { scope, text: format!("sk_{}_{ulid}_{}", scope.mode, hex::encode(random)) }
    }

    /// Reads the form of a key; says nothing about whether there is such a key.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("sk_")?;
        let (mode, rest) = rest.split_once('_')?;
        let (ulid, secret) = rest.split_once('_')?;
        let tenant_id = format!("{}{ulid}", TenantId::PREFIX).parse().ok()?;
        let mode = mode.parse().ok()?;
        let well_formed = secret.len() == KEY_SECRET_BYTES * 2 && secret.bytes().all(|b| b.is_ascii_hexdigit());
        well_formed.then(|| Self { scope: Scope { tenant_id, mode }, text: text.to_owned() })
    }

    /// The environment that the key claims to open.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// What is kept of the key.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash(hex::encode(Sha256::digest(self.text.as_bytes())))
    }

    /// The key itself, to be shown once.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for ApiKeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKeySecret(hidden)")
    }
}

/// The SHA-256 of a key, in hex. A key has 160 random bits, so a plain hash is enough: there is nothing to guess.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyHash(String);

impl KeyHash {
    /// The hash in lower-case hex.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is known of a key; the key itself is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its public name.
    pub id: KeyId,
    /// The environment it opens.
    pub scope: Scope,
    /// What it is for.
    pub name: String,
    /// What it allows.
    pub permissions: BTreeSet<Permission>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is refused.
    pub valid_until: Option<Timestamp>,
    /// Whether it is the token of a portal session: short-lived, and not listed.
    pub portal: bool,
}

impl ApiKey {
    /// Whether the key still opens anything at `now`.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.valid_until.is_none_or(|until| now < until)
    }
}

/// The body that makes a key.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "NewKey", deny_unknown_fields)]
pub struct NewKeyInput {
    /// Which environment it opens.
    mode: Mode,
    /// What it allows; by default everything.
    #[schemars(with = "Option<Vec<Permission>>", length(min = 1))]
    permissions: Option<BTreeSet<Permission>>,
    /// What it is for.
    #[schemars(with = "Option<Printable<NAME_CHARACTERS_MAX>>")]
    name: Option<String>,
    /// From when on it is refused; in the future.
    #[schemars(with = "Option<TimeInput>")]
    expires_at: Option<Timestamp>,
}

enum PortalPermission {}
inlined!(PortalPermission, json_schema!({ "type": "string", "enum": PORTAL_PERMISSIONS }));

/// The body that makes a portal session.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "NewPortalSession", deny_unknown_fields)]
pub struct PortalSessionInput {
    /// Which environment it opens.
    mode: Mode,
    /// What it allows; by default all of these.
    #[schemars(with = "Option<Vec<PortalPermission>>", length(min = 1))]
    permissions: Option<BTreeSet<Permission>>,
    /// For how long it is good.
    #[schemars(range(min = PORTAL_SECONDS_MIN, max = PORTAL_SECONDS_MAX), extend("default" = PORTAL_SECONDS_DEFAULT))]
    expires_in_seconds: Option<u32>,
}

/// What the operator says of a new key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewApiKey {
    /// Which environment it opens.
    pub mode: Mode,
    /// What it allows; everything where nothing is said.
    pub permissions: BTreeSet<Permission>,
    /// What it is for.
    pub name: String,
    /// From when on it is refused.
    pub valid_until: Option<Timestamp>,
    /// Whether it is the token of a portal session.
    pub portal: bool,
}

impl NewApiKey {
    /// Reads `{"mode", "permissions"?, "name"?, "expires_at"?}`; `expires_at` lies after `now`.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn from_body(body: &[u8], now: Timestamp) -> Result<Self, FieldErrors> {
        let mut fields = Fields::from_body(body)?;
        let mode = fields.required("mode", "must be live or test", |mode: String| mode.parse::<Mode>());
        let permissions_rule = format!(
            "must be a list of at least one of {}",
            Permission::ALL.iter().map(|p| p.as_str()).collect::<Vec<_>>().join(", ")
        );
        let permissions = fields.optional("permissions", &permissions_rule, |texts: Vec<String>| {
            let permissions = permissions_of(texts, &permissions_rule)?;
            if permissions.is_empty() { Err(permissions_rule.clone()) } else { Ok(permissions) }
        });
        let name = fields.optional("name", "must be text", |name: String| printable(name, NAME_CHARACTERS_MAX));
        let expires_at = fields.optional("expires_at", "must be text", |text: String| {
            let at = time::parse(&text)?;
            if at > now { Ok(at) } else { Err("must be in the future".to_owned()) }
        });
        let input = mode.map(|mode| NewKeyInput { mode, permissions, name, expires_at });
        let NewKeyInput { mode, permissions, name, expires_at } = fields.finish().finish(input)?;
        Ok(Self {
            mode,
            permissions: permissions.unwrap_or_else(|| Permission::ALL.iter().copied().collect()),
            name: name.unwrap_or_else(|| format!("{mode} key")),
            valid_until: expires_at,
            portal: false,
        })
    }

    /// Reads the body of a portal session: `{"mode", "permissions"?, "expires_in_seconds"?}`. Without permissions it has those of
    /// [`PORTAL_PERMISSIONS`]; it can have no others.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn portal_session(body: &[u8], now: Timestamp) -> Result<Self, FieldErrors> {
        let mut fields = Fields::from_body(body)?;
        let mode = fields.required("mode", "must be live or test", |mode: String| mode.parse::<Mode>());
        let allowed: Vec<_> = PORTAL_PERMISSIONS.iter().map(|p| p.as_str()).collect();
        let permissions_rule = format!("must be a list of at least one of {}", allowed.join(", "));
        let permissions = fields.optional("permissions", &permissions_rule, |texts: Vec<String>| {
            let permissions = permissions_of(texts, &permissions_rule)?;
            let allowed = !permissions.is_empty() && permissions.iter().all(|p| PORTAL_PERMISSIONS.contains(p));
            if allowed { Ok(permissions) } else { Err(permissions_rule.clone()) }
        });
        let seconds_rule =
            format!("must be a whole number of seconds from {PORTAL_SECONDS_MIN} to {PORTAL_SECONDS_MAX}");
        let expires_in_seconds = fields.optional("expires_in_seconds", &seconds_rule, |seconds: u32| {
            if (PORTAL_SECONDS_MIN..=PORTAL_SECONDS_MAX).contains(&seconds) {
                Ok(seconds)
            } else {
                Err(seconds_rule.clone())
            }
        });
        let input = mode.map(|mode| PortalSessionInput { mode, permissions, expires_in_seconds });
        let PortalSessionInput { mode, permissions, expires_in_seconds } = fields.finish().finish(input)?;
        let seconds = expires_in_seconds.unwrap_or(PORTAL_SECONDS_DEFAULT);
        Ok(Self {
            mode,
            permissions: permissions.unwrap_or_else(|| PORTAL_PERMISSIONS.iter().copied().collect()),
            name: "portal session".to_owned(),
            valid_until: Some(time::plus_seconds(now, i64::from(seconds))),
            portal: true,
        })
    }
}

fn permissions_of(texts: Vec<String>, rule: &str) -> Result<BTreeSet<Permission>, String> {
    texts.into_iter().map(|text| word(text, rule)).collect()
}

/// How long a portal session lasts unless the operator says otherwise, in seconds.
pub const PORTAL_SECONDS_DEFAULT: u32 = 3_600;
/// The shortest that a portal session can last, in seconds.
pub const PORTAL_SECONDS_MIN: u32 = 60;
/// The longest that a portal session can last, in seconds.
pub const PORTAL_SECONDS_MAX: u32 = 86_400;
/// What the token of a portal session may allow: what a tenant's own people do, and not what its backend does.
pub const PORTAL_PERMISSIONS: &[Permission] = &[
    Permission::EndpointsRead,
    Permission::EndpointsWrite,
    Permission::SecretsRead,
    Permission::SecretsWrite,
    Permission::EventsRead,
    Permission::DeliveriesRead,
    Permission::DeliveriesWrite,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        Scope {
            tenant_id: TenantId::from_parts(Timestamp::from_second(1_700_000_000).unwrap(), [3; 10]),
            mode: Mode::Live,
        }
    }

    #[test]
    fn key_names_its_tenant_and_mode_and_reads_back() {
        let key = ApiKeySecret::from_random(scope(), [9; KEY_SECRET_BYTES]);
        let read = ApiKeySecret::parse(key.expose()).unwrap();
        assert!(key.expose().starts_with("sk_live_"));
        assert_eq!(read.scope(), scope());
        assert_eq!(read.hash(), key.hash());
        assert_eq!(format!("{key:?}"), "ApiKeySecret(hidden)");
    }

    #[test]
    fn what_is_not_a_key_is_not_taken_for_one() {
        let key = ApiKeySecret::from_random(scope(), [9; KEY_SECRET_BYTES]);
        for text in ["", "sk_live_", &key.expose()[..key.expose().len() - 1], &key.expose().replace("live", "prod")] {
            assert!(ApiKeySecret::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn key_is_refused_from_the_moment_it_expires() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let body = br#"{"mode":"live","expires_at":"2023-11-14T22:13:21Z"}"#;
        let new = NewApiKey::from_body(body, now).unwrap();
        let key = ApiKey {
            id: KeyId::from_parts(now, [0; 10]),
            scope: scope(),
            name: new.name,
            permissions: new.permissions,
            created_at: now,
            valid_until: new.valid_until,
            portal: false,
        };
        assert!(key.is_valid(now));
        assert!(!key.is_valid(time::plus_seconds(now, 1)));
        assert!(NewApiKey::from_body(body, time::plus_seconds(now, 1)).is_err());
    }
}
