//! Requesting a check of an endpoint's backlog: first the flow says when, and then a wake with that delay is sent. A crash between the two, or a wake that gets
//! lost, is made good by the sweeper.

use futures::StreamExt;
use jiff::Timestamp;

use crate::aws_error::AwsError;
use crate::domain::backlog::wake_delay;
use crate::domain::id::EndpointId;
use crate::domain::tenant::Scope;
use crate::queue::messages::RetryMessage;
use crate::services::Services;
use crate::store::flows::Touch;

/// How many flows are changed at once.
const IN_FLIGHT_MAX: usize = 25;

/// Requests a check of each of these backlogs, unless one is set for then or earlier. Repeating is safe.
///
/// # Errors
/// When DynamoDB does not answer; some may have been asked for. That SQS does not is no error.
pub async fn wake(services: &Services, touches: &[Touch]) -> Result<(), AwsError> {
    let now = services.clock.now();
    let touched = touches.iter().copied().map(|touch| touch_one(services, touch, now));
    let results: Vec<_> = futures::stream::iter(touched).buffer_unordered(IN_FLIGHT_MAX).collect().await;
    let mut messages = Vec::new();
    let mut failed = None;
    for result in results {
        match result {
            Ok(message) => messages.extend(message),
            Err(error) => failed = Some(error),
        }
    }
    for (result, (message, _)) in services.queues.send_retries(&messages).await.into_iter().zip(&messages) {
        if let Err(error) = result {
            tracing::warn!(%error, ?message, "a wake could not be sent; the sweeper will find it");
        }
    }
    failed.map_or(Ok(()), Err)
}

async fn touch_one(services: &Services, touch: Touch, now: Timestamp) -> Result<Option<(RetryMessage, u32)>, AwsError> {
    let token = services.store.touch_flow(&touch, now).await?;
    Ok(token.and_then(|token| message(touch.scope, touch.endpoint_id, token, touch.at, now)))
}

/// Requests a check of one backlog now.
///
/// # Errors
/// When DynamoDB does not answer.
pub async fn wake_now(services: &Services, scope: Scope, endpoint_id: EndpointId) -> Result<(), AwsError> {
    wake(services, &[Touch { endpoint_id, scope, at: services.clock.now(), health: None }]).await
}

/// The wake for a check at `at`, with its delay; `None` where that is the sweeper's.
#[must_use]
pub fn message(
    scope: Scope,
    endpoint_id: EndpointId,
    token: String,
    at: Timestamp,
    now: Timestamp,
) -> Option<(RetryMessage, u32)> {
    Some((RetryMessage::Wake { scope, endpoint_id, token }, wake_delay(at, now)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::endpoint::Endpoint;
    use crate::domain::time::plus_seconds;

    const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

    #[test]
    fn wake_carries_the_token_and_the_wait_unless_that_is_the_sweepers() {
        let Endpoint { id, scope, .. } = Endpoint::sample(0);
        for (name, seconds, expected) in [
            ("overdue", -60, Some(0)),
            ("now", 0, Some(0)),
            ("soon", 5, Some(5)),
            ("as long as a queue waits", 900, Some(900)),
            ("longer", 901, None),
        ] {
            let made = message(scope, id, "token".to_owned(), plus_seconds(NOW, seconds), NOW);
            let wake = RetryMessage::Wake { scope, endpoint_id: id, token: "token".to_owned() };
            assert_eq!(made, expected.map(|delay| (wake, delay)), "{name}");
        }
    }
}
