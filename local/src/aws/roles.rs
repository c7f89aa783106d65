//! Roles: what a caller may do, and refusing what it may not.
//!
//! Callers are known by their access key; one without a role may do everything, as the deployer and the tests' own looks do. A role is a set
//! of grants, an action on a resource each; conditions and denials are not read, and Outhook's roles have none.

use std::collections::{BTreeMap, BTreeSet};

use super::calls::{Call, Mentioned};
use super::protocol::{AwsError, Service};

const ACCOUNT: &str = "us-east-1:000000000000";

/// An action that is allowed, or needed, and on which ARN; an allowed ARN may end in `*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// Such as `sqs:SendMessage`.
    pub action: String,
    /// Such as `arn:aws:sqs:us-east-1:000000000000:outhook-events`.
    pub resource: String,
}

impl Grant {
    /// Whether it allows what is needed.
    #[must_use]
    pub fn covers(&self, needed: &Self) -> bool {
        let on_it = match self.resource.strip_suffix('*') {
            Some(beginning) => needed.resource.starts_with(beginning),
            None => self.resource == needed.resource,
        };
        on_it && self.action == needed.action
    }
}

/// The roles of callers, by access key.
pub type Roles = BTreeMap<String, BTreeSet<Grant>>;

impl Call {
    /// What a role needs to allow for this call.
    #[must_use]
    pub fn needs(&self) -> Vec<Grant> {
        needs(self.service, &self.actions, &self.resources)
    }
}

fn needs(service: Service, actions: &BTreeSet<String>, resources: &[String]) -> Vec<Grant> {
    let (name, place) = match service {
        Service::DynamoDb => ("dynamodb", "table/"),
        Service::Sqs => ("sqs", ""),
        Service::SecretsManager => ("secretsmanager", "secret:"),
    };
    let of = |action: &String| {
        let grant = |resource: &String| Grant {
            action: format!("{name}:{action}"),
            resource: format!("arn:aws:{name}:{ACCOUNT}:{place}{resource}"),
        };
        resources.iter().map(grant).collect::<Vec<_>>()
    };
    actions.iter().flat_map(of).collect()
}

/// The refusal, if the caller has a role and it does not allow the call.
pub(super) fn refusal(
    roles: &Roles,
    identity: &str,
    service: Service,
    actions: &BTreeSet<String>,
    mentioned: &Mentioned,
) -> Option<AwsError> {
    let granted = roles.get(identity)?;
    let needed = needs(service, actions, &mentioned.resources).into_iter();
    let missing = needed.into_iter().find(|needed| !granted.iter().any(|grant| grant.covers(needed)))?;
    let message = format!(
        "User: {identity} is not authorized to perform: {} on resource: {} because no identity-based policy allows it",
        missing.action, missing.resource
    );
    let kind = match service {
        Service::DynamoDb => "com.amazon.coral.service#AccessDeniedException",
        Service::Sqs => "com.amazonaws.sqs#AccessDenied",
        Service::SecretsManager => "AccessDeniedException",
    };
    Some(AwsError::client(kind, message))
}
