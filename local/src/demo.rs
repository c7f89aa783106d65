//! The demo tenant: made at the first start, kept with the data, so that the same keys work after a restart.

use aws_sdk_secretsmanager::Client;
use serde::{Deserialize, Serialize};
use shared::domain::api_key::{ApiKey, ApiKeySecret, Permission};
use shared::domain::id::{KeyId, TenantId};
use shared::domain::tenant::{Mode, RateLimits, Scope, Tenant, TenantSettings};
use shared::random;
use shared::services::Services;

const SECRET_NAME: &str = "outhook-local/demo-tenant";

/// Requests a minute: answers carry the headers, and nobody who tries things out in a loop meets the limit.
const RATE_LIMITS: RateLimits = RateLimits { reads: 100_000, writes: 100_000, delivery_queries: 100_000, events: 0 };

/// A tenant with a key for each mode, both with every permission.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Demo {
    /// The tenant.
    pub tenant_id: TenantId,
    /// Opens its live environment.
    pub live_key: String,
    /// Opens its test environment.
    pub test_key: String,
}

impl Demo {
    /// The demo tenant of this data, made if it is not there yet.
    ///
    /// # Errors
    /// What the embedded services said.
    pub async fn find_or_make(services: &Services, secrets: &Client) -> Result<Self, String> {
        if let Ok(kept) = secrets.get_secret_value().secret_id(SECRET_NAME).send().await
            && let Ok(demo) = serde_json::from_str(kept.secret_string().unwrap_or_default())
        {
            return Ok(demo);
        }
        let now = services.clock.now();
        let mut settings = TenantSettings::named("Demo".to_owned());
        settings.rate_limits = RATE_LIMITS;
        let id = TenantId::from_parts(now, random::bytes());
        let tenant = Tenant { id, settings, created_at: now, deleted_at: None };
        let tenant_id = tenant.id;
        services.store.create_tenant(tenant).await.map_err(|error| error.to_string())?;
        let demo = Self {
            tenant_id,
            live_key: make_key(services, tenant_id, Mode::Live).await?,
            test_key: make_key(services, tenant_id, Mode::Test).await?,
        };
        let kept = serde_json::to_string(&demo).map_err(|error| error.to_string())?;
        let create = secrets.create_secret().name(SECRET_NAME).secret_string(kept);
        create.send().await.map_err(|error| error.to_string())?;
        Ok(demo)
    }
}

async fn make_key(services: &Services, tenant_id: TenantId, mode: Mode) -> Result<String, String> {
    let now = services.clock.now();
    let scope = Scope { tenant_id, mode };
    let secret = ApiKeySecret::from_random(scope, random::bytes());
    let key = ApiKey {
        id: KeyId::from_parts(now, random::bytes()),
        scope,
        name: format!("demo {mode} key"),
        permissions: Permission::ALL.iter().copied().collect(),
        created_at: now,
        valid_until: None,
        portal: false,
    };
    services.store.add_key(&key, &secret).await.map_err(|error| error.to_string())?;
    Ok(secret.expose().to_owned())
}
