//! Converting endpoints' secrets to the form that is configured, and data keys to the current wrapping key. The sweeper does it bit by bit.
//!
//! Both forms are read at any time, so nothing waits for a conversion, and one that dies goes on where it was. While a deployment goes on, instances of the version
//! before still write the form before; so a pass in which something was found is followed by another, a while later.

use futures::StreamExt;
use jiff::Timestamp;

use crate::aws_error::AwsError;
use crate::clock::Moment;
use crate::domain::endpoint::Endpoint;
use crate::domain::id::TenantId;
use crate::domain::tenant::{Mode, Scope};
use crate::domain::time::plus_seconds;
use crate::pipeline::endpoints::{self, Changed};
use crate::services::Services;
use crate::store::cleanups::Cleanup;
use crate::store::data_keys::Conversion;

/// How long after one pass the next begins, in seconds: longer than instances of two versions run beside each other.
const PASS_AGAIN_SECONDS: i64 = 900;
/// How many tenants are read at once.
const TENANTS_AT_ONCE: usize = 20;
/// How many endpoints one run tries to convert at the most.
const TRIES_MAX: usize = 200;
/// How many of them side by side.
const IN_FLIGHT_MAX: usize = 8;

/// How long the note of a secret that has been removed stays, in seconds: longer than a run that still removes it can last (`template.yaml`).
const REMOVALS_END_SECONDS: i64 = 120;

/// Goes on converting until `until`; how many endpoints were converted. Repeating is safe, also at the same time.
///
/// # Errors
/// When AWS does not answer; what is left is done next time.
pub async fn convert(services: &Services, until: Moment) -> Result<usize, AwsError> {
    let now = services.clock.now();
    let noted = services.store.conversion().await?;
    if noted.is_none() && services.secrets.are_dedicated() {
        // Never was anything sealed here.
        return Ok(0);
    }
    if noted.as_ref().is_some_and(|pass| pass.is_done) && !is_looked_into(now) {
        return Ok(0);
    }
    let goal = services.secrets.goal().await?;
    let Some(mut pass) = next_pass(noted, goal, now) else { return Ok(0) };
    let gone_on = go_on(services, &mut pass, until).await;
    // Also where it was cut off: it goes on behind what is done.
    services.store.note_conversion(&if matches!(gone_on, Ok((_, true))) { ended(pass, now) } else { pass }).await?;
    gone_on.map(|(converted, _)| converted)
}

/// Goes on with a pass: how many endpoints were converted, and whether it has come to its end.
async fn go_on(services: &Services, pass: &mut Conversion, until: Moment) -> Result<(usize, bool), AwsError> {
    let (mut converted, mut tried) = (0, 0);
    loop {
        let page = services.store.list_tenants(pass.after, TENANTS_AT_ONCE).await?;
        for tenant in &page.entries {
            let of_tenant = match convert_tenant(services, tenant.id, TRIES_MAX - tried, until).await {
                Err(error) if !error.retryable => {
                    tracing::error!(%error, tenant_id = %tenant.id, "a tenant's secrets could not be converted; a later pass tries again");
                    Converted { converted: 0, tried: 0, has_found: true, is_complete: true }
                }
                of_tenant => of_tenant?,
            };
            converted += of_tenant.converted;
            tried += of_tenant.tried;
            pass.has_found |= of_tenant.has_found;
            if of_tenant.is_complete {
                pass.after = Some(tenant.id);
            }
            if !of_tenant.is_complete || services.clock.moment() >= until {
                return Ok((converted, false));
            }
        }
        if page.next.is_none() {
            return Ok((converted, true));
        }
        pass.after = page.next;
    }
}

/// Whether a run at this time looks whether what is done is still what is wanted: every quarter of an hour. Pure.
fn is_looked_into(now: Timestamp) -> bool {
    (now.as_second() / 60) % 15 == 0
}

/// The pass that is to go on now; `None` if there is nothing to do. Pure.
fn next_pass(noted: Option<Conversion>, goal: String, now: Timestamp) -> Option<Conversion> {
    match noted {
        Some(pass) if pass.goal == goal => Some(pass).filter(|pass| !pass.is_done && pass.begins_at <= now),
        _ => Some(Conversion { goal, after: None, has_found: true, begins_at: now, is_done: false }),
    }
}

/// What follows a pass that has come to its end: nothing, or another. Pure.
fn ended(pass: Conversion, now: Timestamp) -> Conversion {
    let is_done = !pass.has_found;
    Conversion { after: None, has_found: false, begins_at: plus_seconds(now, PASS_AGAIN_SECONDS), is_done, ..pass }
}

/// What became of a tenant.
struct Converted {
    /// How many endpoints were converted.
    converted: usize,
    /// How many were tried.
    tried: usize,
    /// Whether any was to be converted.
    has_found: bool,
    /// Whether all have been tried.
    is_complete: bool,
}

/// Tries up to `most` endpoints of a tenant, and its data key. What cannot be read holds up nothing else.
async fn convert_tenant(services: &Services, id: TenantId, most: usize, until: Moment) -> Result<Converted, AwsError> {
    let mut has_found = false;
    if !services.secrets.are_dedicated() {
        match services.secrets.rewrap(id).await {
            Ok(is_rewrapped) => has_found |= is_rewrapped,
            Err(error) if error.retryable => return Err(error),
            Err(error) => {
                has_found = true;
                tracing::error!(%error, tenant_id = %id, "a tenant's data key could not be wrapped anew; a later pass tries again");
            }
        }
    }
    let mut wrong: Vec<Endpoint> = Vec::new();
    for mode in [Mode::Live, Mode::Test] {
        let (endpoints, _) = services.store.readable_endpoints(Scope { tenant_id: id, mode }).await?;
        wrong.extend(endpoints.into_iter().filter(|endpoint| !services.secrets.is_kept_as_configured(endpoint)));
    }
    has_found |= !wrong.is_empty();
    let is_complete = wrong.len() <= most;
    // What has begun is carried to its end.
    let mut converting = futures::stream::iter(wrong.into_iter().take(most))
        .map(|endpoint| convert_one(services, endpoint, until))
        .buffer_unordered(IN_FLIGHT_MAX);
    let (mut converted, mut tried, mut is_in_time) = (0, 0, true);
    while let Some(is_converted) = converting.next().await {
        converted += usize::from(is_converted == Some(true));
        tried += usize::from(is_converted.is_some());
        is_in_time &= is_converted.is_some();
    }
    Ok(Converted { converted, tried, has_found, is_complete: is_complete && is_in_time })
}

/// Converts one endpoint; whether that could be done, and `None` where there is no time for it.
async fn convert_one(services: &Services, endpoint: Endpoint, until: Moment) -> Option<bool> {
    if services.clock.moment() >= until {
        return None;
    }
    let converted = endpoints::convert(services, endpoint.scope, endpoint.id).await;
    if let Err(error) = &converted {
        tracing::error!(%error, endpoint_id = %endpoint.id, "an endpoint's secrets could not be converted; a later pass tries again");
    }
    Some(matches!(converted, Ok(Changed::Updated(_))))
}

/// Removes a secret that an endpoint has left, and its note a while later; whether a secret was removed.
///
/// # Errors
/// When AWS does not answer; the note stays.
pub(super) async fn remove_left_secret(
    services: &Services,
    cleanup: Cleanup,
    now: Timestamp,
) -> Result<bool, AwsError> {
    match cleanup {
        Cleanup::LeftSecret { endpoint_id, scope, is_removed: false } => {
            services.secrets.remove(scope, endpoint_id).await?;
            let removed = Cleanup::LeftSecret { endpoint_id, scope, is_removed: true };
            services.store.schedule_cleanup(removed, plus_seconds(now, REMOVALS_END_SECONDS)).await?;
            Ok(true)
        }
        _ => services.store.forget_due_cleanup(cleanup, now).await.map(|()| false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(goal: &str, begins_at: i64, has_found: bool, is_done: bool) -> Conversion {
        let begins_at = Timestamp::from_second(begins_at).unwrap();
        Conversion { goal: goal.to_owned(), after: None, has_found, begins_at, is_done }
    }

    #[test]
    fn pass_begins_where_the_goal_is_another_and_goes_on_until_nothing_was_found() {
        let now = Timestamp::from_second(1_000).unwrap();
        let begins = Some(pass("b", 1_000, true, false));
        let table = [
            ("nothing was ever converted", None, begins.clone()),
            ("the goal is another", Some(pass("a", 0, false, true)), begins.clone()),
            ("the goal is another while a pass goes on", Some(pass("a", 0, true, false)), begins),
            ("a pass goes on", Some(pass("b", 0, true, false)), Some(pass("b", 0, true, false))),
            ("the next pass is later", Some(pass("b", 1_001, false, false)), None),
            ("all is done", Some(pass("b", 0, false, true)), None),
        ];
        for (name, noted, expected) in table {
            assert_eq!(next_pass(noted, "b".to_owned(), now), expected, "{name}");
        }
        assert_eq!(ended(pass("b", 0, true, false), now), pass("b", 1_900, false, false));
        assert!(ended(pass("b", 0, false, false), now).is_done);
    }
}
