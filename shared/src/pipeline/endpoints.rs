//! Making, changing and deleting endpoints: the table and Secrets Manager together, in an order that a crash cannot harm.
//!
//! A secret is made before the endpoint that names it, under a note that has it removed if the endpoint never comes; the note goes with the
//! endpoint's creation, in one transaction. A new version of a secret is in force when the endpoint's item names it, not before.

use jiff::Timestamp;

use crate::aws_error::AwsError;
use crate::domain::endpoint::{Endpoint, EndpointStatus, Signing};
use crate::domain::endpoint_input::{EndpointChanges, NewEndpoint};
use crate::domain::id::{EndpointId, KeyId};
use crate::domain::tenant::Scope;
use crate::domain::time::plus_seconds;
use crate::domain::validation::Patch;
use crate::random;
use crate::services::Services;
use crate::signing::{Credential, SecretDocument, SigningSecret};
use crate::store::endpoints::{EndpointChanged, EndpointCreated};

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

/// What became of a change.
#[derive(Debug)]
pub enum Changed {
    /// The endpoint as it is now.
    Yes(Box<Endpoint>),
    /// There is no such endpoint.
    NotFound,
    /// It is not at the version that the caller knows, or others keep changing it.
    Stale,
    /// Another endpoint has the uid.
    UidTaken,
}

/// Makes an endpoint with its secret.
///
/// # Errors
/// When AWS does not answer; then there is no endpoint, or one whose id nobody was told and which counts as any other.
pub async fn create(
    services: &Services,
    scope: Scope,
    created_by: KeyId,
    new: NewEndpoint,
) -> Result<Created, AwsError> {
    let now = services.clock.now();
    let id = EndpointId::from_parts(now, random::bytes());
    let secret = new.secret.unwrap_or_else(|| SigningSecret::from_random(random::bytes()));
    services.store.note_removal(scope, id, plus_seconds(now, LEFTOVER_AFTER_SECONDS)).await?;
    let document = SecretDocument::new(secret.clone(), new.credential);
    let secret_version = services.secrets.create(scope, id, document).await?;
    let endpoint = Endpoint {
        id,
        scope,
        settings: new.settings,
        status: new.status,
        disabled_reason: None,
        signing: Signing { secret_version, created_at: now, previous_expires_at: None },
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
    for _ in 0..CHANGE_TRIES_MAX {
        let Some(before) = services.store.endpoint(scope, id).await? else { return Ok(Changed::NotFound) };
        if expected_version.is_some_and(|expected| expected != before.version) {
            return Ok(Changed::Stale);
        }
        let now = services.clock.now();
        let mut after = next_version(&before, now, Some(changed_by));
        let credential = changes.clone().apply(&mut after.settings, &mut after.status);
        if after.status == EndpointStatus::Active {
            after.disabled_reason = None;
        }
        if credential != Patch::Keep {
            after.signing.secret_version = replace_credential(services, &before, credential).await?;
        }
        match services.store.update_endpoint(&before, &after).await? {
            EndpointChanged::Yes => return Ok(Changed::Yes(Box::new(after))),
            EndpointChanged::UidTaken => return Ok(Changed::UidTaken),
            EndpointChanged::Stale => {}
        }
    }
    Ok(Changed::Stale)
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
            return Ok(true);
        }
    }
    Err(AwsError::gave_up("dynamodb:TransactWriteItems"))
}

/// Disables an endpoint whose receiver says that it is gone for good. What fails here is done at the next such answer.
pub async fn disable_gone(services: &Services, seen: &Endpoint) {
    for _ in 0..CHANGE_TRIES_MAX {
        match try_disable(services, seen, "the receiver answered 410 Gone").await {
            Ok(EndpointChanged::Stale) => {}
            Ok(EndpointChanged::Yes | EndpointChanged::UidTaken) => return,
            Err(error) => {
                tracing::warn!(%error, endpoint_id = %seen.id, "endpoint could not be disabled");
                return;
            }
        }
    }
}

async fn try_disable(services: &Services, seen: &Endpoint, reason: &str) -> Result<EndpointChanged, AwsError> {
    let Some(before) = services.store.endpoint(seen.scope, seen.id).await? else { return Ok(EndpointChanged::Yes) };
    // An endpoint that was changed since, its URL perhaps, is not the one that is gone.
    if before.status != EndpointStatus::Active || before.settings.url != seen.settings.url {
        return Ok(EndpointChanged::Yes);
    }
    let mut after = next_version(&before, services.clock.now(), None);
    after.status = EndpointStatus::Disabled;
    after.disabled_reason = Some(reason.to_owned());
    let changed = services.store.update_endpoint(&before, &after).await?;
    if changed == EndpointChanged::Yes {
        tracing::info!(endpoint_id = %seen.id, reason, "endpoint disabled");
    }
    Ok(changed)
}

/// Removes the secret of an endpoint that is no more, and the note that asks for it. Repeating is safe.
///
/// # Errors
/// When AWS does not answer; the note stays.
pub async fn remove_secret(services: &Services, scope: Scope, id: EndpointId) -> Result<(), AwsError> {
    services.secrets.remove(scope, id).await?;
    services.store.forget_removal(id).await
}

async fn replace_credential(
    services: &Services,
    endpoint: &Endpoint,
    credential: Patch<Credential>,
) -> Result<String, AwsError> {
    let document = services.secrets.document(endpoint.scope, endpoint.id, &endpoint.signing.secret_version).await?;
    let mut document = (*document).clone();
    credential.apply_option(&mut document.credential);
    services.secrets.replace(endpoint.scope, endpoint.id, document).await
}

fn next_version(before: &Endpoint, now: Timestamp, changed_by: Option<KeyId>) -> Endpoint {
    Endpoint { version: before.version + 1, updated_at: now, updated_by: changed_by, ..before.clone() }
}
