//! Making, changing and deleting endpoints: the table and Secrets Manager together, in an order that a crash cannot harm.
//!
//! A secret is made before the endpoint that names it, under a note that has it removed if the endpoint never comes; the note goes with the
//! endpoint's creation, in one transaction. A new version of a secret is current when the endpoint's item names it, not before.

mod edit;

use std::time::Duration;

use jiff::Timestamp;

use crate::aws_error::AwsError;
use crate::domain::endpoint::{Author, Endpoint, EndpointStatus, Signing};
use crate::domain::endpoint_input::{EndpointChanges, NewEndpoint};
use crate::domain::id::{EndpointId, KeyId};
use crate::domain::signing_secret::{SecretDocument, SigningSecret};
use crate::domain::tenant::Scope;
use crate::domain::time::plus_seconds;
use crate::pipeline::wakes;
use crate::random;
use crate::services::Services;
use crate::store::cleanups::Cleanup;
use crate::store::endpoints::{EndpointChanged, EndpointCreated};

pub use edit::{Changed, convert, disable_failing, disable_gone, end_overlap, expire_previous, rotate, settle_labels};

use edit::Edit;

/// After this time a secret without an endpoint is taken for a leftover, in seconds; making an endpoint takes at most the API's 29.
const LEFTOVER_AFTER_SECONDS: i64 = 900;
/// How often a change is tried again over somebody else's.
const CHANGE_TRIES_MAX: u32 = 12;
/// The wait before the first of those tries, at most, in milliseconds; doubles with each up to half a second.
const CHANGE_WAIT_MILLISECONDS: f64 = 10.0;

/// Where the id of something new comes from: of a request that is repeated under an idempotency key, it is that of the first one.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// When the first request began.
    pub at: Timestamp,
    /// The same for every repeat.
    pub entropy: [u8; 10],
    /// Whether an earlier request may have made it.
    pub is_repeat: bool,
}

impl Origin {
    /// Of something that nobody has asked for before.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { at: now, entropy: random::bytes(), is_repeat: false }
    }
}

/// Waits a little before a change is tried again, so that those who change one thing at once do not meet again.
async fn before_try(attempt: u32) {
    if attempt > 0 {
        let longest = (CHANGE_WAIT_MILLISECONDS * 2_f64.powi(i32::try_from(attempt).unwrap_or(i32::MAX))).min(500.0);
        tokio::time::sleep(Duration::from_secs_f64(longest * random::unit_interval() / 1_000.0)).await;
    }
}

/// What became of a create.
#[derive(Debug)]
pub enum Created {
    /// The endpoint, and its signing secret to be shown.
    Created(Box<Endpoint>, SigningSecret),
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
    origin: Origin,
) -> Result<Created, AwsError> {
    let now = services.clock.now();
    let id = EndpointId::from_parts(origin.at, origin.entropy);
    if origin.is_repeat
        && let Some(made) = made_before(services, scope, id).await?
    {
        return Ok(made);
    }
    let secret =
        new.secret.clone().unwrap_or_else(|| SigningSecret::generate(&new.settings.signature, random::bytes()));
    if services.secrets.are_dedicated() {
        let leftover = Cleanup::Secret { endpoint_id: id, scope };
        services.store.schedule_cleanup(leftover, plus_seconds(now, LEFTOVER_AFTER_SECONDS)).await?;
    }
    let document = SecretDocument::new(secret.clone(), new.credential.clone());
    let kept = services.secrets.create(scope, id, document).await?;
    let endpoint = Endpoint {
        id,
        scope,
        settings: new.settings.clone(),
        status: new.status,
        disabled_reason: None,
        signing: Signing {
            secret_version: kept.version,
            created_at: now,
            public_key: secret.public_key(),
            previous_expires_at: None,
            sealed: kept.sealed,
        },
        version: 1,
        created_at: now,
        created_by,
        updated_at: now,
        updated_by: Author::Key(created_by),
    };
    let refused = match services.store.create_endpoint(&endpoint).await? {
        EndpointCreated::Created => return Ok(Created::Created(Box::new(endpoint), secret)),
        EndpointCreated::Exists => {
            // The first request was still under way. The version that this one has put is not the endpoint's.
            settle_labels(services, scope, id).await?;
            let made = made_before(services, scope, id).await?;
            return made.ok_or_else(|| AwsError::gave_up("dynamodb:TransactWriteItems"));
        }
        EndpointCreated::LimitReached => Created::LimitReached,
        EndpointCreated::UidTaken => Created::UidTaken,
    };
    // The first of several requests may still be making the endpoint: then the sweeper removes the secret, if there is none in the end.
    if !origin.is_repeat
        && endpoint.signing.sealed.is_none()
        && let Err(error) = remove_secret(services, scope, id).await
    {
        tracing::warn!(%error, endpoint_id = %id, "a leftover secret stays until the sweeper removes it");
    }
    Ok(refused)
}

/// The endpoint of this id with its secret, if there is one.
async fn made_before(services: &Services, scope: Scope, id: EndpointId) -> Result<Option<Created>, AwsError> {
    let Some(endpoint) = services.store.endpoint(scope, id).await? else { return Ok(None) };
    let document = services.secrets.document(&endpoint).await?;
    Ok(Some(Created::Created(Box::new(endpoint), document.current.clone())))
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
    for attempt in 0..CHANGE_TRIES_MAX {
        before_try(attempt).await;
        if let Some(id) = services.store.endpoint_id_of_uid(scope, uid).await? {
            let edit = Edit::Replace(new);
            match edit::carry_out(services, scope, id, &edit, expected_version, Author::Key(by)).await? {
                Changed::Updated(endpoint) => return Ok(Put::Replaced(endpoint)),
                Changed::Stale => return Ok(Put::Stale),
                Changed::LimitReached => return Ok(Put::LimitReached),
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
        match create(services, scope, by, new, Origin::new(services.clock.now())).await? {
            Created::Created(endpoint, secret) => return Ok(Put::Created(endpoint, secret)),
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
    edit::carry_out(services, scope, id, &Edit::Change(changes), expected_version, Author::Key(changed_by)).await
}

/// Deletes an endpoint; its secret goes after it. Whether there was one.
///
/// # Errors
/// When AWS does not answer.
pub async fn delete(services: &Services, scope: Scope, id: EndpointId) -> Result<bool, AwsError> {
    for attempt in 0..CHANGE_TRIES_MAX {
        before_try(attempt).await;
        let Some(endpoint) = services.store.endpoint(scope, id).await? else { return Ok(false) };
        let now = services.clock.now();
        if services.store.delete_endpoint(&endpoint, now).await? == EndpointChanged::Updated {
            settle_flow(services, &endpoint, None).await;
            return Ok(true);
        }
    }
    Err(AwsError::gave_up("dynamodb:TransactWriteItems"))
}

/// Has the endpoint's flow follow a change that is made: what waits for an endpoint that gets nothing any more ends, and one that is active again or points
/// elsewhere begins anew. Where this fails, the next check of the backlog comes at its time.
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
        tracing::warn!(%error, endpoint_id = %before.id, "a backlog is checked only at its time");
    }
}

/// Removes the secret of an endpoint that is no more, and the note that asks for it. Repeating is safe.
///
/// # Errors
/// When AWS does not answer; the note stays.
pub async fn remove_secret(services: &Services, scope: Scope, id: EndpointId) -> Result<(), AwsError> {
    services.secrets.remove(scope, id).await?;
    services.store.forget_cleanup(Cleanup::Secret { endpoint_id: id, scope }).await
}
