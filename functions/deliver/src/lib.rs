//! Deliver: a batch of queue messages in, the ids of those that the queue has to hand over again out.
//!
//! Deployed twice, once per queue; a record says which queue it came from, so both deployments are the same.

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use shared::clock::{Clock, Moment};
use shared::config::Config;
use shared::pipeline::deliver::{Incoming, Lane, deliver};
use shared::queue::messages::{ATTRIBUTE_EVENT_ID, ATTRIBUTE_REQUEST_ID, ATTRIBUTE_RESEND};
use shared::services::Services;

/// Delivers a batch, before `deadline`. Answers with partial failures: only messages that the pipeline itself failed on come back.
///
/// Repeating a batch is safe: what is on record is not done again.
pub async fn handle(services: &Services, event: SqsEvent, deadline: Moment) -> SqsBatchResponse {
    let records = event.records.into_iter();
    let batch = records.map(|record| incoming(record, &services.config, &services.clock)).collect();
    let mut response = SqsBatchResponse::default();
    // Boxed: the future of a whole batch is large.
    for message_id in Box::pin(deliver(services, batch, deadline)).await {
        response.add_failure(message_id);
    }
    response
}

fn incoming(record: SqsMessage, config: &Config, clock: &Clock) -> Incoming {
    let lane = lane_of(record.event_source_arn.as_deref().unwrap_or_default(), config);
    let text = |name: &str| record.message_attributes.get(name).and_then(|attribute| attribute.string_value.clone());
    let number = |name: &str| record.attributes.get(name).and_then(|value| value.parse::<i64>().ok());
    let sent_at = number("SentTimestamp").and_then(|milliseconds| jiff::Timestamp::from_millisecond(milliseconds).ok());
    Incoming {
        lane,
        sent_at: sent_at.unwrap_or_else(|| clock.now()),
        receive_count: number("ApproximateReceiveCount").and_then(|count| u32::try_from(count).ok()).unwrap_or(1),
        event_id: text(ATTRIBUTE_EVENT_ID).and_then(|id| id.parse().ok()),
        request_id: text(ATTRIBUTE_REQUEST_ID),
        resend: text(ATTRIBUTE_RESEND).is_some(),
        message_id: record.message_id.unwrap_or_default(),
        body: record.body.unwrap_or_default(),
    }
}

/// An ARN and a URL of a queue end alike, in its name.
fn lane_of(event_source_arn: &str, config: &Config) -> Lane {
    let name = event_source_arn.rsplit(':').next();
    if name == config.retries_queue_url.rsplit('/').next() { Lane::Retries } else { Lane::Events }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::read(|name| {
            Some(match name {
                "RETENTION_DAYS" => "30".to_owned(),
                "RETRY_SCHEDULE_SECONDS" => "5".to_owned(),
                "DISABLE_AFTER_SECONDS" => "432000".to_owned(),
                "ALLOW_HTTP" | "METRICS_ENABLED" => "false".to_owned(),
                "SIGNING_SECRETS" => "Dedicated".to_owned(),
                "ALLOWED_RANGES" | "CORS_ORIGINS" => String::new(),
                "RETRIES_QUEUE_URL" => "https://sqs.eu-west-1.amazonaws.com/1/outhook-retries".to_owned(),
                _ => "x".to_owned(),
            })
        })
        .unwrap()
    }

    #[test]
    fn record_of_the_retries_queue_is_of_the_retries_lane_and_every_other_of_the_events_lane() {
        assert_eq!(lane_of("arn:aws:sqs:eu-west-1:1:outhook-retries", &config()), Lane::Retries);
        assert_eq!(lane_of("arn:aws:sqs:eu-west-1:1:outhook-events", &config()), Lane::Events);
        assert_eq!(lane_of("", &config()), Lane::Events);
    }
}
