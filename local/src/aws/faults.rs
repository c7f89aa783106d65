//! Faults on demand: throttling, outages, lost requests, lost answers, and SQS handing out twice or out of order.
//!
//! They are applied at the front port, the same for all three services. AWS SDK clients repeat throttled, failed and
//! lost requests on their own, so a fault that is to be seen by the caller must hit as often as the client tries.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;

use super::lock;
use super::protocol::{Answer, AwsError, Service};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Refused with the service's own throttling error; not done.
    Throttle,
    /// Refused with 503; not done.
    Unavailable,
    /// The connection is closed; not done.
    DropBefore,
    /// Done, but the connection is closed without an answer.
    DropAnswer,
}

/// Which requests a fault hits. A field that is `None` matches everything.
#[derive(Clone, Debug)]
pub struct FaultRule {
    /// Only this service.
    pub service: Option<Service>,
    /// Only this operation, for example `SendMessageBatch`.
    pub operation: Option<String>,
    /// Only this caller (access key id).
    pub identity: Option<String>,
    /// How many matching requests pass before the first hit.
    pub skip: u32,
    /// How many matching requests are hit after that; `u32::MAX` means until the rules are cleared.
    pub times: u32,
    /// What goes wrong.
    pub fault: Fault,
}

impl FaultRule {
    /// The fault hits the next request of this operation, once; change the fields for anything else.
    #[must_use]
    pub fn once(service: Service, operation: &str, fault: Fault) -> Self {
        let operation = Some(operation.to_owned());
        Self { service: Some(service), operation, identity: None, skip: 0, times: 1, fault }
    }

    fn matches(&self, service: Service, operation: &str, identity: &str) -> bool {
        self.service.is_none_or(|wanted| wanted == service)
            && self.operation.as_deref().is_none_or(|wanted| wanted == operation)
            && self.identity.as_deref().is_none_or(|wanted| wanted == identity)
    }
}

/// The faults that are switched on; none at the start.
#[derive(Debug, Default)]
pub struct Faults {
    /// Whether there are rules at all, so that requests without faults pay nothing.
    any: AtomicBool,
    rules: Mutex<Vec<FaultRule>>,
    partitions: Mutex<Vec<String>>,
    duplicate: AtomicBool,
    reorder: AtomicBool,
}

impl Faults {
    /// Adds a rule. The first rule that hits a request decides; rules before it that are still skipping count it too.
    pub fn inject(&self, rule: FaultRule) {
        lock(&self.rules).push(rule);
        self.any.store(true, Ordering::SeqCst);
    }

    /// Throttles the partitions of DynamoDB whose keys contain `text`: batches are answered without what is in them, everything else that touches
    /// them is refused.
    pub fn throttle_partitions(&self, text: &str) {
        lock(&self.partitions).push(text.to_owned());
    }

    pub(super) fn throttled_partitions(&self) -> Vec<String> {
        lock(&self.partitions).clone()
    }

    /// Removes all rules and throttles no partition any more; duplicating and reordering stay as they are.
    pub fn clear(&self) {
        lock(&self.rules).clear();
        lock(&self.partitions).clear();
        self.any.store(false, Ordering::SeqCst);
    }

    /// Whether SQS hands out every message twice: its first receive leaves a copy behind (same id and body, a receive
    /// count of its own) that is visible at once. The copy is not copied again.
    pub fn duplicate_messages(&self, on: bool) {
        self.duplicate.store(on, Ordering::SeqCst);
    }

    /// Whether SQS hands out the latest message first.
    pub fn reorder_messages(&self, on: bool) {
        self.reorder.store(on, Ordering::SeqCst);
    }

    pub(super) fn duplicates(&self) -> bool {
        self.duplicate.load(Ordering::SeqCst)
    }

    pub(super) fn reorders(&self) -> bool {
        self.reorder.load(Ordering::SeqCst)
    }

    /// What hits this request, if anything; counts it.
    pub(super) fn hit(&self, service: Service, operation: &str, identity: &str) -> Option<Fault> {
        if !self.any.load(Ordering::SeqCst) {
            return None;
        }
        let mut rules = lock(&self.rules);
        for rule in rules.iter_mut().filter(|rule| rule.matches(service, operation, identity)) {
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            if rule.times == 0 {
                continue;
            }
            if rule.times != u32::MAX {
                rule.times -= 1;
            }
            return Some(rule.fault);
        }
        None
    }
}

/// The throttling error as the service itself answers it.
pub(super) fn throttled(service: Service) -> Answer {
    let mut error = match service {
        Service::DynamoDb => AwsError::client(
            "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
            "The level of configured provisioned throughput for the table was exceeded. Consider increasing your \
             provisioning level with the UpdateTable API.",
        ),
        Service::Sqs => AwsError::client("com.amazonaws.sqs#RequestThrottled", "Request is throttled."),
        Service::SecretsManager => AwsError::client("ThrottlingException", "Rate exceeded"),
    };
    if service == Service::Sqs {
        error.query_code = Some("RequestThrottled");
    }
    error.answer(service)
}

/// The answer of a service that is down.
pub(super) fn unavailable(service: Service) -> Answer {
    let kind = "com.amazon.coral.service#ServiceUnavailableException";
    let mut error = AwsError::client(kind, "Service is unavailable.");
    error.status = StatusCode::SERVICE_UNAVAILABLE;
    if service == Service::Sqs {
        error.query_code = Some("ServiceUnavailable");
    }
    error.answer(service)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_skips_then_hits_as_often_as_it_says_and_only_what_it_names() {
        let faults = Faults::default();
        let rule = FaultRule::once(Service::Sqs, "SendMessage", Fault::Throttle);
        faults.inject(FaultRule { identity: Some("A".to_owned()), skip: 1, times: 2, ..rule });
        let hits = [("SendMessage", "A"), ("SendMessage", "B"), ("DeleteMessage", "A"), ("SendMessage", "A")]
            .map(|(operation, identity)| faults.hit(Service::Sqs, operation, identity));
        assert_eq!(hits, [None, None, None, Some(Fault::Throttle)]);
        assert_eq!(faults.hit(Service::Sqs, "SendMessage", "A"), Some(Fault::Throttle));
        assert_eq!(faults.hit(Service::Sqs, "SendMessage", "A"), None);
    }

    #[test]
    fn rule_without_end_hits_until_it_is_cleared() {
        let faults = Faults::default();
        let rule = FaultRule::once(Service::DynamoDb, "GetItem", Fault::Unavailable);
        faults.inject(FaultRule { times: u32::MAX, ..rule });
        assert!((0..100).all(|_| faults.hit(Service::DynamoDb, "GetItem", "").is_some()));
        faults.clear();
        assert_eq!(faults.hit(Service::DynamoDb, "GetItem", ""), None);
    }
}
