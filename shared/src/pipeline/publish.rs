//! Accepting an event over HTTP: it is accepted when the events queue has it, not before.
//!
//! With an idempotency key the event id is written down first, as not yet queued. Whoever finds it so sends again under the same id, and deliver looks
//! before it repeats anything; so a crash or an outage between the two calls costs neither the event nor the key.

use futures::StreamExt;
use sha2::{Digest, Sha256};

use crate::aws_error::AwsError;
use crate::domain::event::NewEvent;
use crate::domain::id::EventId;
use crate::domain::tenant::Scope;
use crate::queue::messages::EventMessage;
use crate::random;
use crate::services::Services;

/// How many events with idempotency keys of their own are being accepted at once.
const KEYED_IN_FLIGHT_MAX: usize = 10;

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// The queue has it, now or since an earlier call with the same key.
    Yes(EventId),
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
    let now = services.clock.now();
    let key = event.idempotency_key.take();
    let mut message = EventMessage {
        event_id: EventId::from_parts(now, random::bytes()),
        scope,
        event,
        request_id: Some(request_id),
        resend: false,
    };
    let Some(key) = key else {
        services.queues.send_event(&message).await?;
        return Ok(Published::Yes(message.event_id));
    };
    let body_hash = hex::encode(Sha256::digest(body));
    let store = &services.store;
    let claimed =
        store.claim_idempotency_key(scope, &key, message.event_id, Some(body_hash.clone()), false, now).await?;
    if let Some(earlier) = claimed {
        if earlier.body_hash.is_some_and(|hash| hash != body_hash) {
            return Ok(Published::KeyReused);
        }
        if earlier.queued {
            return Ok(Published::Yes(earlier.event_id));
        }
        message.event_id = earlier.event_id;
        message.resend = true;
    }
    services.queues.send_event(&message).await?;
    if let Err(error) = store.confirm_idempotency_key(scope, &key).await {
        // The queue has it; a repeated call will send it once more under the same id, and deliver will look.
        tracing::warn!(%error, event_id = %message.event_id, "idempotency key stays unconfirmed");
    }
    Ok(Published::Yes(message.event_id))
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
        results[index] = Some(result.map(|()| Published::Yes(message.event_id)));
    }
    let keyed: Vec<_> = futures::stream::iter(keyed).buffer_unordered(KEYED_IN_FLIGHT_MAX).collect().await;
    for (index, result) in keyed {
        results[index] = Some(result);
    }
    results.into_iter().flatten().collect()
}
