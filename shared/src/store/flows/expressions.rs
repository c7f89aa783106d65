//! Pieces of update expressions that several changes of flows share, and what became of a change.

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;

use super::Flow;
use crate::aws_error::AwsError;
use crate::domain::health::Health;
use crate::domain::id::EndpointId;
use crate::domain::tenant::Scope;
use crate::store::{Stored, from_item, keys, number, text};

pub(super) fn names_of(update: UpdateItemFluentBuilder, id: EndpointId, scope: Scope) -> UpdateItemFluentBuilder {
    update
        .expression_attribute_names("#mode", "mode")
        .expression_attribute_values(":kind", text(Flow::KIND))
        .expression_attribute_values(":endpoint", text(id.to_string()))
        .expression_attribute_values(":tenant", text(scope.tenant_id.to_string()))
        .expression_attribute_values(":mode", text(scope.mode.to_string()))
        .expression_attribute_values(":zero", number(0))
        .expression_attribute_values(":index", text(keys::sweep_partition_of(id)))
}

/// What adds to what is noted of the health, to be set beside other attributes.
pub(super) fn with_health(update: UpdateItemFluentBuilder, health: Health) -> (String, UpdateItemFluentBuilder) {
    let mut set = String::new();
    let mut update = update;
    if let Some(since) = health.failing_since {
        set.push_str(", failing_since = if_not_exists(failing_since, :since)");
        update = update.expression_attribute_values(":since", number(since.as_millisecond()));
    }
    if health.slow {
        set.push_str(", slow = :slow");
        update = update.expression_attribute_values(":slow", AttributeValue::Bool(true));
    }
    if let Some(width) = health.width {
        set.push_str(", width = if_not_exists(width, :width)");
        update = update.expression_attribute_values(":width", number(width));
    }
    (set, update)
}

/// Sets what is noted of the health, and removes what is not, with other attributes that go.
pub(super) fn replaced_health(
    update: UpdateItemFluentBuilder,
    set: &str,
    health: Health,
    remove: &[&str],
) -> UpdateItemFluentBuilder {
    let mut set = set.to_owned();
    let mut remove = remove.to_vec();
    let mut update = update;
    let parts = [
        ("failing_since", ":since", health.failing_since.map(|since| number(since.as_millisecond()))),
        ("slow", ":slow", health.slow.then_some(AttributeValue::Bool(true))),
        ("probes_failed", ":probes", Some(health.probes_failed).filter(|count| *count > 0).map(number)),
        ("width", ":width", health.width.map(number)),
    ];
    for (name, placeholder, value) in parts {
        match value {
            Some(value) => {
                set.push_str(&format!(", {name} = {placeholder}"));
                update = update.expression_attribute_values(placeholder, value);
            }
            None => remove.push(name),
        }
    }
    update.update_expression(format!("{set} REMOVE {}", remove.join(", ")))
}

pub(super) enum Settled {
    Done,
    /// The flow as it is, if it is there.
    Refused(Option<Box<Flow>>),
}

pub(super) fn settled<T>(answer: Result<T, SdkError<UpdateItemError, HttpResponse>>) -> Result<Settled, AwsError> {
    let Err(error) = answer else { return Ok(Settled::Done) };
    match error.as_service_error() {
        Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
            Ok(Settled::Refused(refused.item().cloned().map(from_item).transpose()?.map(Box::new)))
        }
        _ => Err(AwsError::from_sdk("dynamodb:UpdateItem", &error)),
    }
}
