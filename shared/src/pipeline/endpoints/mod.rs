//! Making, changing and deleting endpoints: the table and Secrets Manager together, in an order that a crash cannot harm.
//!
//! A secret is made before the endpoint that names it, under a note that has it removed if the endpoint never comes; the note goes with the
//! endpoint's creation, in one transaction. A new version of a secret is in force when the endpoint's item names it, not before.

mod edit;

use crate::aws_error::AwsError;
use crate::domain::endpoint::{Endpoint, EndpointStatus, Signing};
use crate::domain::endpoint_input::{EndpointChanges, NewEndpoint};
use crate::domain::id::{EndpointId, KeyId};
use crate::domain::tenant::Scope;
use crate::domain::time::plus_seconds;
use crate::pipeline::wakes;
use crate::random;
use crate::services::Services;
use crate::signing::{SecretDocument, SigningSecret};
use crate::store::endpoints::{EndpointChanged, EndpointCreated};
use crate::store::removals::Removal;

pub use edit::{Changed, disable_failing, disable_gone, end_overlap, expire_previous, rotate};

use edit::Edit;

/// After this time a secret without an endpoint is taken for a leftover, in seconds; making an endpoint takes at most the API's 29.
const LEFTOVER_AFTER_SECONDS: i64 = 900;
/// How often a change is tried again over somebody else's.
const CHANGE_TRIES_MAX: u32 = 5;

/// What became of a create.
#[derive(Debug)]
pub enum Created {
    /// The endpoint, and its signing secret to be shown.
    Yes(Box<Endpoint>, SigningSecret),
    /// The tenant has its maximum.
    LimitReached,
    /// Another endpoint has the uid.
    UidTaken,
}

/// What became of a create-or-replace.
#[derive(Debug)]
pub enum Put {
    /// There was none; the endpoint, and its signing secret to be shown.
    Created(Box<Endpoint>, SigningSecret),
    /// There was one; as it is now.
    Replaced(Box<Endpoint>),
    /// There was none, and the tenant has its maximum.
    LimitReached,
    /// It is not at the version that the caller knows, or others keep changing it.
    Stale,
}

/// Makes an endpoint with its secret.
///
/// # Errors
/// When AWS does not answer; then there is no endpoint, or one whose id nobody was told and which counts as any other.
pub async fn create(
    services: &Services,
    scope: Scope,
    created_by: KeyId,
    new: &NewEndpoint,
) -> Result<Created, AwsError> {
    let now = services.clock.now();
    let id = EndpointId::from_parts(now, random::bytes());
    let secret =
        new.secret.clone().unwrap_or_else(|| SigningSecret::generate(&new.settings.signature, random::bytes()));
    let leftover = Removal::Secret { endpoint_id: id, scope };
    services.store.note_removal(leftover, plus_seconds(now, LEFTOVER_AFTER_SECONDS)).await?;
    let document = SecretDocument::new(secret.clone(), new.credential.clone());
    let secret_version = services.secrets.create(scope, id, document).await?;
    let endpoint = Endpoint {
        id,
        scope,
        settings: new.settings.clone(),
        status: new.status,
        disabled_reason: None,
        signing: Signing {
            secret_version,
            created_at: now,
            public_key: secret.public_key(),
            previous_expires_at: None,
        },
        version: 1,
        created_at: now,
        created_by,
        updated_at: now,
        updated_by: Some(created_by),
    };
    let refused = match services.store.create_endpoint(&endpoint).await? {
        EndpointCreated::Yes => return Ok(Created::Yes(Box::new(endpoint), secret)),
        EndpointCreated::LimitReached => Created::LimitReached,
        EndpointCreated::UidTaken => Created::UidTaken,
    };
    if let Err(error) = remove_secret(services, scope, id).await {
        tracing::warn!(%error, endpoint_id = %id, "a leftover secret stays until the sweeper removes it");
    }
    Ok(refused)
}

/// Makes the endpoint of this uid, or replaces it; there is never a second. `new.settings.uid` is the uid.
///
/// A replaced endpoint keeps its id and, unless the caller brings one, its signing secret; everything else is as `new` says.
///
/// # Errors
/// When AWS does not answer; repeating is safe.
pub async fn put(
    services: &Services,
    scope: Scope,
    uid: &str,
    new: &NewEndpoint,
    expected_version: Option<u64>,
    by: KeyId,
) -> Result<Put, AwsError> {
    for _ in 0..CHANGE_TRIES_MAX {
        if let Some(id) = services.store.endpoint_id_of_uid(scope, uid).await? {
            let edit = Edit::Replace(new);
            match edit::carry_out(services, scope, id, &edit, expected_version, Some(by)).await? {
                Changed::Yes(endpoint) => return Ok(Put::Replaced(endpoint)),
                Changed::Stale => return Ok(Put::Stale),
                // Deleted or renamed in between: look again.
                Changed::Already(_)
                | Changed::NotFound
                | Changed::UidTaken
                | Changed::Overlapping
                | Changed::Contradictory(_)
                | Changed::WrongKind(_) => continue,
            }
        }
        if expected_version.is_some() {
            return Ok(Put::Stale);
        }
        match create(services, scope, by, new).await? {
            Created::Yes(endpoint, secret) => return Ok(Put::Created(endpoint, secret)),
            Created::LimitReached => return Ok(Put::LimitReached),
            Created::UidTaken => {}
        }
    }
    Ok(Put::Stale)
}

/// Changes an endpoint; over others' changes, unless the caller names the version that it must have.
///
/// # Errors
/// When AWS does not answer; then the endpoint is as it was or as it was to be, never between.
pub async fn change(
    services: &Services,
    scope: Scope,
    id: EndpointId,
    changes: &EndpointChanges,
    expected_version: Option<u64>,
    changed_by: KeyId,
) -> Result<Changed, AwsError> {
    edit::carry_out(services, scope, id, &Edit::Change(changes), expected_version, Some(changed_by)).await
}

/// Deletes an endpoint; its secret goes after it. Whether there was one.
///
/// # Errors
/// When AWS does not answer.
pub async fn delete(services: &Services, scope: Scope, id: EndpointId) -> Result<bool, AwsError> {
    for _ in 0..CHANGE_TRIES_MAX {
        let Some(endpoint) = services.store.endpoint(scope, id).await? else { return Ok(false) };
        let now = services.clock.now();
        if services.store.delete_endpoint(&endpoint, now).await? == EndpointChanged::Yes {
            settle_flow(services, &endpoint, None).await;
            return Ok(true);
        }
    }
    Err(AwsError::gave_up("dynamodb:TransactWriteItems"))
}

/// Has the endpoint's flow follow a change that is made: what waits for an endpoint that gets nothing any more ends, and one that is active again or points
/// elsewhere begins anew. Where this fails, the next look at the backlog comes at its time.
async fn settle_flow(services: &Services, before: &Endpoint, after: Option<&Endpoint>) {
    let gets_events = |endpoint: &Endpoint| endpoint.status == EndpointStatus::Active;
    let ends = gets_events(before) && !after.is_some_and(gets_events);
    let begins_anew = after.is_some_and(|after| {
        let is_active_again = gets_events(after) && !gets_events(before);
        is_active_again || before.settings.url != after.settings.url
    });
    if !ends && !begins_anew {
        return;
    }
    let settled = async {
        if services.store.flows(&[before.id]).await?.is_empty() {
            return Ok(());
        }
        if begins_anew {
            services.store.note_healthy(before.id).await?;
        }
        wakes::wake_now(services, before.scope, before.id).await
    };
    let settled: Result<(), AwsError> = settled.await;
    if let Err(error) = settled {
        tracing::warn!(%error, endpoint_id = %before.id, "a backlog is looked at only at its time");
    }
}

/// Removes the secret of an endpoint that is no more, and the note that asks for it. Repeating is safe.
///
/// # Errors
/// When AWS does not answer; the note stays.
pub async fn remove_secret(services: &Services, scope: Scope, id: EndpointId) -> Result<(), AwsError> {
    services.secrets.remove(scope, id).await?;
    services.store.forget_removal(Removal::Secret { endpoint_id: id, scope }).await
}
