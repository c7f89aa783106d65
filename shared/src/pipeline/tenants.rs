//! Deleting a tenant: at once for its keys, and bit by bit for all the rest.

use jiff::Timestamp;

use crate::aws_error::AwsError;
use crate::domain::id::TenantId;
use crate::domain::tenant::{Mode, Scope};
use crate::domain::time::plus_seconds;
use crate::pipeline::endpoints;
use crate::services::Services;
use crate::store::cleanups::Cleanup;

/// How long a request that deletes a tenant can last, in seconds: the API's own time limit is 29 (`template.yaml`).
const REQUEST_SECONDS_MAX: i64 = 30;

/// Deletes a tenant: its keys open nothing from now on, its pending deliveries are cancelled when they come due, and the sweeper cleans up its
/// endpoints with their secrets. Events and deliveries expire. Whether there was one.
///
/// # Errors
/// When AWS does not answer; repeating is safe.
pub async fn delete(services: &Services, id: TenantId, now: Timestamp) -> Result<bool, AwsError> {
    if services.store.tenant(id).await?.is_none() {
        return Ok(false);
    }
    // The note first: a tenant that is marked is always cleaned up. It is due when this request is over, so that the sweeper cannot find the tenant unmarked.
    let due = plus_seconds(now, REQUEST_SECONDS_MAX);
    services.store.schedule_cleanup(Cleanup::Tenant { tenant_id: id }, due).await?;
    services.store.mark_tenant_deleted(id, now).await
}

/// Clears away what a deleted tenant leaves. Repeating is safe; a tenant that is not deleted keeps everything.
///
/// # Errors
/// When AWS does not answer; the note stays and the rest is done next time.
pub async fn clear_tenant(services: &Services, id: TenantId) -> Result<(), AwsError> {
    let deleted = services.store.tenant(id).await?.is_some_and(|item| item.is_deleted());
    if deleted {
        // What is sealed opens no more from here on, whatever becomes of the rest; at the end again, for a request that was under way.
        services.store.remove_data_key(id).await?;
        for mode in [Mode::Live, Mode::Test] {
            let scope = Scope { tenant_id: id, mode };
            for endpoint in services.store.all_endpoints(scope).await? {
                endpoints::delete(services, scope, endpoint.id).await?;
                endpoints::remove_secret(services, scope, endpoint.id).await?;
            }
        }
        services.store.remove_data_key(id).await?;
        services.store.remove_tenant_entries(id).await?;
    }
    services.store.forget_cleanup(Cleanup::Tenant { tenant_id: id }).await
}
