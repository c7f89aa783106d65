//! Making one request, for a first attempt or a drain, and saying what came of it.

use jiff::Timestamp;

use crate::aws_error::AwsError;
use crate::domain::attempt::{AttemptOutcome, Outcome, Trigger, classify};
use crate::domain::endpoint::Endpoint;
use crate::domain::event::Event;
use crate::domain::payload::PayloadField;
use crate::sending::request::WebhookRequest;
use crate::services::Services;

/// A request to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    pub(super) event: &'a Event,
    pub(super) endpoint: &'a Endpoint,
    /// What the body is made of.
    pub(super) payload_fields: &'a [PayloadField],
    pub(super) trigger: Trigger,
    /// Which attempt of the delivery it is, from 1.
    pub(super) attempt: u32,
    /// Whether it is the first thing that is done about a new event.
    pub(super) is_new: bool,
    /// How long it may take at the most, in seconds, whatever the endpoint's own limit is.
    pub(super) seconds_max: u32,
    /// The HTTP request that the event came with, for the log.
    pub(super) request_id: Option<&'a str>,
}

/// An attempt that was made.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) outcome: AttemptOutcome,
    pub(super) ended_at: Timestamp,
}

/// Makes a request. A receiver's failure is an outcome.
///
/// # Errors
/// When Secrets Manager does not answer; then no request was made.
pub(super) async fn make(services: &Services, request: Request<'_>) -> Result<Made, AwsError> {
    let Request { event, endpoint, payload_fields, trigger, .. } = request;
    let secrets = services.secrets.document(endpoint).await;
    let at = services.clock.now();
    let outcome = match secrets {
        Ok(secrets) => match WebhookRequest::new(endpoint, payload_fields, &secrets, event, at) {
            Ok(webhook) => send(services, webhook, &request, at).await,
            Err(error) => AttemptOutcome::payload_too_large(error, trigger, at),
        },
        Err(error) if error.retryable => return Err(error),
        Err(error) => {
            tracing::error!(%error, endpoint_id = %endpoint.id, "a signing secret is not to be had");
            AttemptOutcome::secret_unreadable(trigger, at)
        }
    };
    let ended_at = services.clock.now();
    measure(services, &request, &outcome);
    log(&request, &outcome);
    Ok(Made { outcome, ended_at })
}

async fn send(
    services: &Services,
    mut webhook: WebhookRequest,
    request: &Request<'_>,
    at: Timestamp,
) -> AttemptOutcome {
    let is_shorter = request.seconds_max < webhook.timeout_seconds;
    webhook.timeout_seconds = webhook.timeout_seconds.min(request.seconds_max);
    let sent = services.sender.send(webhook).await;
    let outcome = classify(sent, request.trigger, at, services.clock.now());
    if is_shorter && outcome.attempt.outcome == Outcome::Timeout {
        return outcome.given_up_early(request.seconds_max);
    }
    outcome
}

fn measure(services: &Services, request: &Request<'_>, made: &AttemptOutcome) {
    let attempt = &made.attempt;
    // What comes out of a backlog waited for its receiver, not for Outhook.
    let waited = attempt.at.as_millisecond() - request.event.id.created_at().as_millisecond();
    let waited_ms = u64::try_from(waited).ok().filter(|_| request.is_new);
    services.metrics.attempt(attempt.outcome == Outcome::Succeeded, attempt.duration_ms, waited_ms);
}

/// A success is a number among the metrics, and a line only for those who follow events at DEBUG; everything else is a line.
fn log(request: &Request<'_>, made: &AttemptOutcome) {
    let Request { event, endpoint, .. } = request;
    let made = &made.attempt;
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                tenant_id = %endpoint.scope.tenant_id,
                event_id = %event.id,
                endpoint_id = %endpoint.id,
                attempt = request.attempt,
                outcome = made.outcome.as_str(),
                status_code = made.status_code,
                duration_ms = made.duration_ms,
                error = made.error,
                request_id = request.request_id,
                "attempt"
            )
        };
    }
    if made.outcome == Outcome::Succeeded { line!(debug) } else { line!(info) }
}
