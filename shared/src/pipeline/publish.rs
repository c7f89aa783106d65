//! Accepting an event: it is accepted when the events queue has it, not before.
//!
//! With an idempotency key the key is claimed first, for an event id. Only the holder of the claim sends; others wait until the event is queued and answer with its
//! id. A claim that is over, or was given up because the queue did not answer, is taken over under the same event id, and the message says that the event
//! may have been sent before. So a crash or an outage between the calls costs neither the event nor the key, and two callers at once send once.

use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::aws_error::AwsError;
use crate::domain::event::NewEvent;
use crate::domain::id::EventId;
use crate::domain::tenant::Scope;
use crate::queue::messages::EventMessage;
use crate::random;
use crate::services::Services;
use crate::store::flows::new_token;
use crate::store::idempotency::IdempotencyRecord;

/// How many events with idempotency keys of their own are being accepted at once.
const KEYED_IN_FLIGHT_MAX: usize = 10;
/// How often a caller looks whether the event of a claimed key is queued.
const LOOKS_MAX: u32 = 40;
/// The wait between two looks, in milliseconds. With [`LOOKS_MAX`] some 6 s, after which the caller is to come again.
const LOOK_AGAIN_MILLISECONDS: u64 = 150;

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// The queue has it, now or since an earlier call with the same key.
    Accepted(EventId),
    /// The idempotency key stands for another body.
    KeyReused,
}

/// Puts an event onto the events queue. `body` is what the caller sent, to tell whether a key is used for the same thing again.
///
/// # Errors
/// When AWS does not answer. The event may be on its way all the same; calling again with the same key finds out.
pub async fn publish(
    services: &Services,
    scope: Scope,
    mut event: NewEvent,
    body: &[u8],
    request_id: String,
) -> Result<Published, AwsError> {
    let key = event.idempotency_key.take();
    let event_id = EventId::from_parts(services.clock.now(), random::bytes());
    let message = EventMessage { event_id, scope, event, request_id: Some(request_id), resend: false };
    match key {
        Some(key) => publish_once(services, message, &key, Some(hex::encode(Sha256::digest(body)))).await,
        None => {
            services.queues.send_event(&message).await?;
            Ok(Published::Accepted(event_id))
        }
    }
}

/// Puts an event onto the events queue unless one was put there under this key in the last 24 hours.
///
/// # Errors
/// When AWS does not answer; calling again with the same key finds out.
pub(super) async fn publish_once(
    services: &Services,
    mut message: EventMessage,
    key: &str,
    body_hash: Option<String>,
) -> Result<Published, AwsError> {
    let (scope, claim, store) = (message.scope, new_token(), &services.store);
    let now = services.clock.now();
    let record = IdempotencyRecord::new(message.event_id, body_hash.clone(), false, claim.clone(), now);
    let mut found = store.claim_idempotency_key(scope, key, &record, now).await?;
    for _ in 0..LOOKS_MAX {
        let Some(earlier) = found else { return send_claimed(services, &message, key, &claim).await };
        // Taken over, and the answer got lost.
        if earlier.claim == claim {
            message.event_id = earlier.event_id;
            message.resend = true;
            return send_claimed(services, &message, key, &claim).await;
        }
        match decide(&earlier, body_hash.as_deref(), services.clock.now()) {
            Claimed::Done => return Ok(Published::Accepted(earlier.event_id)),
            Claimed::ForAnother => return Ok(Published::KeyReused),
            Claimed::Over => {
                // The new holder is seen by the next check.
                store.take_over_claim(scope, key, &earlier, &claim, services.clock.now()).await?;
            }
            Claimed::UnderWay => tokio::time::sleep(Duration::from_millis(LOOK_AGAIN_MILLISECONDS)).await,
        }
        found = store.idempotency_record(scope, key).await?;
    }
    Err(AwsError::gave_up("an earlier request with the same idempotency key"))
}

/// What an earlier claim on a key means for a later caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claimed {
    /// Its event is queued.
    Done,
    /// It stands for something else.
    ForAnother,
    /// Its holder is about to send.
    UnderWay,
    /// Its holder has died or given it up.
    Over,
}

/// Whether an earlier claim on a key stands for this body, as far as both are known.
fn is_for_body(earlier: &IdempotencyRecord, body_hash: Option<&str>) -> bool {
    match (earlier.body_hash.as_deref(), body_hash) {
        (Some(earlier), Some(now)) => earlier == now,
        _ => true,
    }
}

fn decide(earlier: &IdempotencyRecord, body_hash: Option<&str>, now: Timestamp) -> Claimed {
    match (is_for_body(earlier, body_hash), earlier.queued) {
        (false, _) => Claimed::ForAnother,
        (true, true) => Claimed::Done,
        (true, false) if earlier.claimed_until > now => Claimed::UnderWay,
        (true, false) => Claimed::Over,
    }
}

async fn send_claimed(
    services: &Services,
    message: &EventMessage,
    key: &str,
    claim: &str,
) -> Result<Published, AwsError> {
    let (scope, store) = (message.scope, &services.store);
    if let Err(error) = services.queues.send_event(message).await {
        if let Err(error) = store.give_up_claim(scope, key, claim).await {
            tracing::warn!(%error, event_id = %message.event_id, "an idempotency key stays claimed for half a minute");
        }
        return Err(error);
    }
    if let Err(error) = store.confirm_claim(scope, key, claim).await {
        // The queue has it; a later call will send it once more under the same id, and deliver will look.
        tracing::warn!(%error, event_id = %message.event_id, "an idempotency key stays unconfirmed");
    }
    Ok(Published::Accepted(message.event_id))
}

/// Takes an idempotency key for a whole batch, before any of its events is sent; whether it stands for this body, as it does when the batch is repeated.
///
/// # Errors
/// When AWS does not answer.
pub async fn claim_batch(services: &Services, scope: Scope, key: &str, body: &[u8]) -> Result<bool, AwsError> {
    let now = services.clock.now();
    let hash = hex::encode(Sha256::digest(body));
    let id = EventId::from_parts(now, random::bytes());
    let record = IdempotencyRecord::new(id, Some(hash.clone()), true, new_token(), now);
    let earlier = services.store.claim_idempotency_key(scope, key, &record, now).await?;
    Ok(earlier.is_none_or(|earlier| is_for_body(&earlier, Some(&hash))))
}

/// Accepts many events, ten a call where they have no idempotency keys. The results stand in their order, each its own.
pub async fn publish_batch(
    services: &Services,
    scope: Scope,
    events: Vec<(NewEvent, &[u8])>,
    request_id: &str,
) -> Vec<Result<Published, AwsError>> {
    let now = services.clock.now();
    let mut results: Vec<Option<Result<Published, AwsError>>> = events.iter().map(|_| None).collect();
    let mut plain = Vec::new();
    let mut keyed = Vec::new();
    for (index, (event, body)) in events.into_iter().enumerate() {
        if event.idempotency_key.is_some() {
            keyed.push(async move { (index, publish(services, scope, event, body, request_id.to_owned()).await) });
        } else {
            let event_id = EventId::from_parts(now, random::bytes());
            let request_id = Some(request_id.to_owned());
            plain.push((index, EventMessage { event_id, scope, event, request_id, resend: false }));
        }
    }
    let (indexes, messages): (Vec<_>, Vec<_>) = plain.into_iter().unzip();
    let sent = services.queues.send_events(&messages).await;
    for ((index, message), result) in indexes.into_iter().zip(&messages).zip(sent) {
        results[index] = Some(result.map(|()| Published::Accepted(message.event_id)));
    }
    let keyed: Vec<_> = futures::stream::iter(keyed).buffer_unordered(KEYED_IN_FLIGHT_MAX).collect().await;
    for (index, result) in keyed {
        results[index] = Some(result);
    }
    results.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::plus_seconds;

    const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

    #[test]
    fn later_caller_waits_while_the_first_may_still_send_and_takes_over_when_it_cannot() {
        let of = |hash: Option<&str>, queued| {
            let event_id = EventId::from_parts(NOW, [1; 10]);
            IdempotencyRecord::new(event_id, hash.map(str::to_owned), queued, "claim".to_owned(), NOW)
        };
        for (name, earlier, hash, seconds, expected) in [
            ("queued", of(Some("a"), true), Some("a"), 0, Claimed::Done),
            ("queued, for another body", of(Some("a"), true), Some("b"), 0, Claimed::ForAnother),
            ("queued, for a body that is not known", of(None, true), Some("b"), 0, Claimed::Done),
            ("its holder may send", of(Some("a"), false), Some("a"), 29, Claimed::UnderWay),
            ("its holder cannot send", of(Some("a"), false), Some("a"), 30, Claimed::Over),
            ("the later body is not known", of(Some("a"), false), None, 30, Claimed::Over),
            ("not queued, for another body", of(Some("a"), false), Some("b"), 30, Claimed::ForAnother),
        ] {
            assert_eq!(decide(&earlier, hash, plus_seconds(NOW, seconds)), expected, "{name}");
        }
    }
}
