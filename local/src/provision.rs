//! Tables, queues and secrets, made from the template as CloudFormation would make them. Doing it again changes only what differs.

use std::collections::HashMap;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType,
    ScalarAttributeType, TimeToLiveSpecification,
};
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::Value as Json;

use crate::template::{Template, TemplateError, scalar};

/// Why something of the template could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The template says something that cannot be read here.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The embedded services refused.
    #[error("{resource} could not be made: {detail}")]
    Refused {
        /// Its logical name.
        resource: String,
        /// What was said.
        detail: String,
    },
}

/// Properties of a queue that are attributes of the same name.
const QUEUE_ATTRIBUTES: &[&str] = &[
    "VisibilityTimeout",
    "MessageRetentionPeriod",
    "DelaySeconds",
    "ReceiveMessageWaitTimeSeconds",
    "MaximumMessageSize",
    "RedrivePolicy",
    "SqsManagedSseEnabled",
];

/// Makes everything that the template says and that is not there yet.
///
/// # Errors
/// The first resource that could not be made.
pub async fn provision(template: &Template, aws: &SdkConfig) -> Result<(), ProvisionError> {
    let queues = aws_sdk_sqs::Client::new(aws);
    for queue in template.resources("AWS::SQS::Queue") {
        make_queue(template, &queues, &queue).await?;
    }
    let dynamodb = aws_sdk_dynamodb::Client::new(aws);
    for table in template.resources("AWS::DynamoDB::Table") {
        make_table(template, &dynamodb, &table).await?;
    }
    let secrets = aws_sdk_secretsmanager::Client::new(aws);
    for secret in template.resources("AWS::SecretsManager::Secret") {
        make_secret(template, &secrets, &secret).await?;
    }
    Ok(())
}

async fn make_queue(template: &Template, client: &aws_sdk_sqs::Client, queue: &str) -> Result<(), ProvisionError> {
    let mut attributes = HashMap::new();
    for name in QUEUE_ATTRIBUTES {
        if let Some(value) = template.property(queue, name)? {
            let text = scalar(&value).unwrap_or_else(|| value.to_string());
            attributes.insert(QueueAttributeName::from(*name), text);
        }
    }
    let name = template.name_of(queue)?;
    let created = client.create_queue().queue_name(&name).set_attributes(Some(attributes.clone())).send().await;
    match created {
        Ok(_) => Ok(()),
        // Kept from an earlier version of the template: the template's word counts.
        Err(error) if error.as_service_error().is_some_and(|error| error.is_queue_name_exists()) => {
            let set = client.set_queue_attributes().queue_url(template.queue_url(&name));
            set.set_attributes(Some(attributes)).send().await.map(|_| ()).map_err(|error| refused(queue, error))
        }
        Err(error) => Err(refused(queue, error)),
    }
}

async fn make_table(template: &Template, client: &aws_sdk_dynamodb::Client, table: &str) -> Result<(), ProvisionError> {
    let name = template.name_of(table)?;
    if client.describe_table().table_name(&name).send().await.is_ok() {
        return Ok(());
    }
    let mut request = client.create_table().table_name(&name).billing_mode(BillingMode::PayPerRequest);
    for attribute in list(template.property(table, "AttributeDefinitions")?) {
        let definition = AttributeDefinition::builder()
            .attribute_name(text(&attribute, "AttributeName"))
            .attribute_type(ScalarAttributeType::from(text(&attribute, "AttributeType").as_str()))
            .build();
        request = request.attribute_definitions(definition.map_err(|error| refused(table, error))?);
    }
    request = request.set_key_schema(Some(key_schema(table, template.property(table, "KeySchema")?)?));
    for index in list(template.property(table, "GlobalSecondaryIndexes")?) {
        let projection = ProjectionType::from(text(&index["Projection"], "ProjectionType").as_str());
        let index = GlobalSecondaryIndex::builder()
            .index_name(text(&index, "IndexName"))
            .set_key_schema(Some(key_schema(table, Some(index["KeySchema"].clone()))?))
            .projection(Projection::builder().projection_type(projection).build())
            .build();
        request = request.global_secondary_indexes(index.map_err(|error| refused(table, error))?);
    }
    request.send().await.map_err(|error| refused(table, error))?;
    if let Some(ttl) = template.property(table, "TimeToLiveSpecification")? {
        let specification = TimeToLiveSpecification::builder()
            .attribute_name(text(&ttl, "AttributeName"))
            .enabled(ttl["Enabled"].as_bool().unwrap_or_default())
            .build()
            .map_err(|error| refused(table, error))?;
        let update = client.update_time_to_live().table_name(&name).time_to_live_specification(specification);
        update.send().await.map_err(|error| refused(table, error))?;
    }
    Ok(())
}

async fn make_secret(
    template: &Template,
    client: &aws_sdk_secretsmanager::Client,
    secret: &str,
) -> Result<(), ProvisionError> {
    let name = template.name_of(secret)?;
    if client.describe_secret().secret_id(&name).send().await.is_ok() {
        return Ok(());
    }
    let generate = template.property(secret, "GenerateSecretString")?.unwrap_or_default();
    let length = scalar(&generate["PasswordLength"]).and_then(|length| length.parse().ok()).unwrap_or(32);
    let password = client
        .get_random_password()
        .password_length(length)
        .exclude_punctuation(generate["ExcludePunctuation"].as_bool().unwrap_or_default())
        .send()
        .await
        .map_err(|error| refused(secret, error))?;
    let create = client.create_secret().name(name).set_secret_string(password.random_password);
    create.send().await.map(|_| ()).map_err(|error| refused(secret, error))
}

fn key_schema(table: &str, schema: Option<Json>) -> Result<Vec<KeySchemaElement>, ProvisionError> {
    let elements = list(schema).into_iter().map(|element| {
        KeySchemaElement::builder()
            .attribute_name(text(&element, "AttributeName"))
            .key_type(KeyType::from(text(&element, "KeyType").as_str()))
            .build()
    });
    elements.collect::<Result<_, _>>().map_err(|error| refused(table, error))
}

fn list(value: Option<Json>) -> Vec<Json> {
    match value {
        Some(Json::Array(values)) => values,
        _ => Vec::new(),
    }
}

fn text(value: &Json, name: &str) -> String {
    scalar(&value[name]).unwrap_or_default()
}

fn refused(resource: &str, error: impl std::error::Error) -> ProvisionError {
    let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    ProvisionError::Refused { resource: resource.to_owned(), detail: format!("{error}{cause}") }
}
