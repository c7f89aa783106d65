//! Changes to an endpoint that exists: read, apply, write if nobody else has written; and again if somebody has.

use jiff::Timestamp;

use super::{CHANGE_TRIES_MAX, Origin, before_try};
use crate::aws_error::AwsError;
use crate::domain::endpoint::{Author, Endpoint, EndpointStatus};
use crate::domain::endpoint_input::{EndpointChanges, NewEndpoint};
use crate::domain::id::{EndpointId, KeyId};
use crate::domain::signing_secret::{PreviousSecret, SecretDocument, SigningSecret};
use crate::domain::tenant::Scope;
use crate::domain::time::{self, plus_seconds};
use crate::domain::validation::{FieldErrors, Patch};
use crate::metrics::Counter;
use crate::pipeline::operational::{self, OperationalEvent};
use crate::random;
use crate::services::Services;
use crate::store::cleanups::Cleanup;
use crate::store::endpoints::{EndpointChanged, LABELS_SETTLED_SECONDS, Room};

/// What became of a change.
#[derive(Debug)]
pub enum Changed {
    /// The endpoint as it is now.
    Updated(Box<Endpoint>),
    /// It was to be disabled, and is; as it is now.
    Already(Box<Endpoint>),
    /// There is no such endpoint.
    NotFound,
    /// It is not at the version that the caller knows, or others keep changing it.
    Stale,
    /// Another endpoint has the uid.
    UidTaken,
    /// All endpoints of the tenant together would be too large.
    LimitReached,
    /// Two keys sign already.
    Overlapping,
    /// What is changed does not go with what stays; every field that is wrong.
    Contradictory(FieldErrors),
    /// The secret is not of the kind that the signature needs; the rule.
    WrongKind(&'static str),
}

/// A change.
pub(super) enum Edit<'a> {
    /// The fields that are given.
    Change(&'a EndpointChanges),
    /// Everything but the id, and the secret where none is given.
    Replace(&'a NewEndpoint),
    /// A new key; the one before it signs for so long too.
    Rotate { secret: Option<&'a SigningSecret>, overlap_seconds: u32 },
    /// The key before the current one is over, from now on or since it expired.
    EndOverlap { only_expired: bool },
    /// The receiver at this URL was found at this time to be gone, or to have been failing for too long.
    Disable { url: &'a str, reason: &'a str, found_at: Timestamp },
    /// The secrets are to be kept in the way that is configured.
    Convert,
}

impl Edit<'_> {
    /// Whether what it adds needs room: where a caller chooses how large the endpoint becomes, and where a secret gets into it.
    fn needs_room(&self) -> bool {
        matches!(self, Self::Change(_) | Self::Replace(_) | Self::Convert)
    }
}

enum Applied {
    /// To be written, with the document where that changes.
    Write(Option<SecretDocument>),
    /// Nothing to be done.
    Nothing,
    /// Not to be done.
    Refused(Changed),
}

/// Replaces the signing key; both sign for `overlap_seconds`. Without `secret` a new one is made. The secret that is current then, beside the endpoint.
///
/// # Errors
/// When AWS does not answer; then the old key is current or the new one, whichever the endpoint's item names.
pub async fn rotate(
    services: &Services,
    scope: Scope,
    id: EndpointId,
    secret: Option<&SigningSecret>,
    overlap_seconds: u32,
    by: KeyId,
    origin: Origin,
) -> Result<Changed, AwsError> {
    let changed = match rotated_before(services, scope, id, secret, by, origin).await? {
        Some(endpoint) => Changed::Updated(Box::new(endpoint)),
        None => {
            carry_out(services, scope, id, &Edit::Rotate { secret, overlap_seconds }, None, Author::Key(by)).await?
        }
    };
    if let Changed::Updated(endpoint) = &changed
        && let Err(error) = operational::emit(services, scope, &[OperationalEvent::secret_rotated(endpoint)]).await
    {
        // The new secret is current: an error would have the caller rotate again.
        tracing::warn!(%error, endpoint_id = %id, "the event of a rotation could not be emitted");
    }
    Ok(changed)
}

/// The endpoint, if an earlier request with the same idempotency key has rotated its secret: to the one that is asked for, by the same caller, since then.
async fn rotated_before(
    services: &Services,
    scope: Scope,
    id: EndpointId,
    secret: Option<&SigningSecret>,
    by: KeyId,
    origin: Origin,
) -> Result<Option<Endpoint>, AwsError> {
    if !origin.is_repeat {
        return Ok(None);
    }
    let is_since =
        |endpoint: &Endpoint| endpoint.signing.created_at >= origin.at && endpoint.updated_by == Author::Key(by);
    let Some(endpoint) = services.store.endpoint(scope, id).await?.filter(is_since) else { return Ok(None) };
    let document = services.secrets.document(&endpoint).await?;
    Ok(secret.is_none_or(|secret| *secret == document.current).then_some(endpoint))
}

/// Ends the overlap of two keys now; where there is none, nothing changes. Repeating is safe.
///
/// # Errors
/// When AWS does not answer.
pub async fn end_overlap(services: &Services, scope: Scope, id: EndpointId, by: KeyId) -> Result<Changed, AwsError> {
    carry_out(services, scope, id, &Edit::EndOverlap { only_expired: false }, None, Author::Key(by)).await
}

/// Removes a key whose overlap is over, from Secrets Manager too. Repeating is safe.
///
/// # Errors
/// When AWS does not answer.
pub async fn expire_previous(services: &Services, scope: Scope, id: EndpointId) -> Result<Changed, AwsError> {
    carry_out(services, scope, id, &Edit::EndOverlap { only_expired: true }, None, Author::Outhook).await
}

/// Disables an endpoint whose receiver said at `at` that it is gone for good, and emits the event of it. Repeating is safe: it is disabled once, and there is one event.
///
/// # Errors
/// When AWS does not answer; then it may be disabled without its event.
pub async fn disable_gone(services: &Services, seen: &Endpoint, at: Timestamp) -> Result<(), AwsError> {
    disable(services, seen, "the receiver answered 410 Gone", at).await
}

/// Disables an endpoint that has failed without a success since `since`, and emits the event of it. Repeating is safe: it is disabled once, and there is one event.
///
/// # Errors
/// When AWS does not answer; then it may be disabled without its event.
pub async fn disable_failing(services: &Services, seen: &Endpoint, since: Timestamp) -> Result<(), AwsError> {
    let now = services.clock.now();
    disable(services, seen, &format!("every attempt has failed since {}", time::format(since)), now).await
}

/// Has an endpoint's secrets kept in the way that is configured. Repeating is safe.
///
/// # Errors
/// When AWS does not answer.
pub async fn convert(services: &Services, scope: Scope, id: EndpointId) -> Result<Changed, AwsError> {
    carry_out(services, scope, id, &Edit::Convert, None, Author::Outhook).await
}

async fn disable(services: &Services, seen: &Endpoint, reason: &str, found_at: Timestamp) -> Result<(), AwsError> {
    let edit = Edit::Disable { url: &seen.settings.url, reason, found_at };
    match carry_out(services, seen.scope, seen.id, &edit, None, Author::Outhook).await? {
        Changed::Updated(now) => {
            tracing::info!(endpoint_id = %seen.id, reason, "endpoint disabled");
            services.metrics.count(Counter::EndpointsDisabled, 1);
            operational::emit(services, seen.scope, &[OperationalEvent::endpoint_disabled(&now)]).await
        }
        // The one that disabled it may have died before the operational event.
        Changed::Already(now) => {
            operational::emit(services, seen.scope, &[OperationalEvent::endpoint_disabled(&now)]).await
        }
        _ => Ok(()),
    }
}

pub(super) async fn carry_out(
    services: &Services,
    scope: Scope,
    id: EndpointId,
    edit: &Edit<'_>,
    expected_version: Option<u64>,
    by: Author,
) -> Result<Changed, AwsError> {
    for attempt in 0..CHANGE_TRIES_MAX {
        before_try(attempt).await;
        let Some(before) = services.store.endpoint(scope, id).await? else { return Ok(Changed::NotFound) };
        if expected_version.is_some_and(|expected| expected != before.version) {
            return Ok(Changed::Stale);
        }
        let now = services.clock.now();
        let mut after = Endpoint { version: before.version + 1, ..before.clone() };
        // Where a secret is kept is no change that anybody sees.
        if !matches!(edit, Edit::Convert) {
            (after.updated_at, after.updated_by) = (now, by);
        }
        match apply(services, edit, &before, &mut after, now).await? {
            Applied::Nothing => return Ok(Changed::Updated(Box::new(before))),
            Applied::Refused(why) => return Ok(why),
            Applied::Write(None) => {}
            Applied::Write(Some(document)) => {
                let kept = services.secrets.replace(&before, document).await?;
                (after.signing.secret_version, after.signing.sealed) = (kept.version, kept.sealed);
            }
        }
        let room = if edit.needs_room() { Room::Needed } else { Room::Given };
        let changed = services.store.update_endpoint(&before, &after, room, now).await;
        if before.signing.secret_version != after.signing.secret_version
            && after.signing.sealed.is_none()
            && let Err(error) = settle_labels(services, scope, id).await
        {
            tracing::warn!(%error, endpoint_id = %id, "the labels of a secret's versions are set right by the sweeper");
            if !matches!(changed, Ok(EndpointChanged::Updated)) {
                // Only a change that was made has left a note.
                let at = plus_seconds(now, LABELS_SETTLED_SECONDS);
                services.store.schedule_cleanup(Cleanup::PreviousKey { endpoint_id: id, scope }, at).await?;
            }
        }
        if before.signing.sealed.is_some()
            && after.signing.sealed.is_none()
            && !matches!(changed, Ok(EndpointChanged::Updated))
        {
            // The secret that was just made may be nobody's.
            let leftover = Cleanup::Secret { endpoint_id: id, scope };
            services.store.schedule_cleanup(leftover, plus_seconds(now, LABELS_SETTLED_SECONDS)).await?;
        }
        match changed? {
            EndpointChanged::Updated => {
                super::settle_flow(services, &before, Some(&after)).await;
                return Ok(Changed::Updated(Box::new(after)));
            }
            EndpointChanged::UidTaken => return Ok(Changed::UidTaken),
            EndpointChanged::LimitReached => return Ok(Changed::LimitReached),
            EndpointChanged::Stale => {}
        }
    }
    Ok(Changed::Stale)
}

/// Has the labels of a secret's versions follow its endpoint as it is now, and again if that has changed meanwhile. Repeating is safe.
///
/// # Errors
/// When AWS does not answer. The sweeper does it again: a change of a secret's version leaves a note.
pub async fn settle_labels(services: &Services, scope: Scope, id: EndpointId) -> Result<(), AwsError> {
    let mut settled = None;
    for _ in 0..CHANGE_TRIES_MAX {
        let Some(endpoint) = services.store.endpoint(scope, id).await? else { return Ok(()) };
        if settled.as_ref() == Some(&endpoint.signing.secret_version) {
            return Ok(());
        }
        services.secrets.settle_labels(&endpoint).await?;
        settled = Some(endpoint.signing.secret_version);
    }
    Ok(())
}

async fn apply(
    services: &Services,
    edit: &Edit<'_>,
    before: &Endpoint,
    after: &mut Endpoint,
    now: Timestamp,
) -> Result<Applied, AwsError> {
    let document = async || services.secrets.document(before).await.map(|document| (*document).clone());
    match edit {
        Edit::Change(changes) => {
            let credential = (*changes).clone().apply(&mut after.settings, &mut after.status);
            if after.status == EndpointStatus::Active {
                after.disabled_reason = None;
            }
            if let Err(clashes) = after.settings.check() {
                return Ok(Applied::Refused(Changed::Contradictory(clashes)));
            }
            let other_kind = before.settings.signature.is_asymmetric() != after.settings.signature.is_asymmetric();
            if credential == Patch::Keep && !other_kind {
                return Ok(Applied::Write(None));
            }
            let mut document = document().await?;
            let kept = document.clone();
            credential.apply_option(&mut document.credential);
            if other_kind {
                // No key serves both kinds, so a change of kind is a change of key, without an overlap.
                let secret = SigningSecret::generate(&after.settings.signature, random::bytes());
                replace_key(after, &mut document, secret, None, now);
            }
            // Secrets Manager takes about a hundred versions a day.
            Ok(Applied::Write((document != kept).then_some(document)))
        }
        Edit::Replace(new) => {
            after.settings = new.settings.clone();
            after.status = new.status;
            after.disabled_reason = None;
            let mut document = document().await?;
            let kept = document.clone();
            document.credential.clone_from(&new.credential);
            let other_kind = before.settings.signature.is_asymmetric() != after.settings.signature.is_asymmetric();
            match &new.secret {
                Some(secret) if *secret != document.current => {
                    replace_key(after, &mut document, secret.clone(), None, now);
                }
                None if other_kind => {
                    let secret = SigningSecret::generate(&after.settings.signature, random::bytes());
                    replace_key(after, &mut document, secret, None, now);
                }
                Some(_) | None => {}
            }
            Ok(Applied::Write((document != kept).then_some(document)))
        }
        Edit::Rotate { secret, overlap_seconds } => {
            if before.signing.previous_expires_at.is_some_and(|until| now < until) {
                return Ok(Applied::Refused(Changed::Overlapping));
            }
            let signature = &before.settings.signature;
            let secret = match secret {
                Some(secret) => (*secret).clone(),
                None => SigningSecret::generate(signature, random::bytes()),
            };
            if let Err(rule) = secret.fits(signature) {
                return Ok(Applied::Refused(Changed::WrongKind(rule)));
            }
            let mut document = document().await?;
            let expires_at = plus_seconds(now, i64::from(*overlap_seconds));
            let previous = PreviousSecret { secret: document.current.clone(), expires_at };
            replace_key(after, &mut document, secret, (*overlap_seconds > 0).then_some(previous), now);
            Ok(Applied::Write(Some(document)))
        }
        Edit::EndOverlap { only_expired } => {
            let Some(until) = before.signing.previous_expires_at else { return Ok(Applied::Nothing) };
            if *only_expired && now < until {
                return Ok(Applied::Nothing);
            }
            let mut document = document().await?;
            document.previous = None;
            after.signing.previous_expires_at = None;
            Ok(Applied::Write(Some(document)))
        }
        Edit::Convert if services.secrets.is_kept_as_configured(before) => Ok(Applied::Nothing),
        Edit::Convert => Ok(Applied::Write(Some(document().await?))),
        Edit::Disable { url, reason, found_at } => match before.status {
            EndpointStatus::Disabled if before.updated_by == Author::Outhook => {
                Ok(Applied::Refused(Changed::Already(Box::new(before.clone()))))
            }
            // An endpoint that was changed since, its URL perhaps, or activated again, is not the one that is gone.
            EndpointStatus::Active if before.settings.url == *url && before.updated_at <= *found_at => {
                after.status = EndpointStatus::Disabled;
                after.disabled_reason = Some((*reason).to_owned());
                Ok(Applied::Write(None))
            }
            _ => Ok(Applied::Refused(Changed::Stale)),
        },
    }
}

fn replace_key(
    endpoint: &mut Endpoint,
    document: &mut SecretDocument,
    secret: SigningSecret,
    previous: Option<PreviousSecret>,
    now: Timestamp,
) {
    endpoint.signing.created_at = now;
    endpoint.signing.public_key = secret.public_key();
    endpoint.signing.previous_expires_at = previous.as_ref().map(|previous| previous.expires_at);
    document.current = secret;
    document.previous = previous;
}
