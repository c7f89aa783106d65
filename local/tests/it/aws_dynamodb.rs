//! DynamoDB through the front: passed on as it is.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ReturnConsumedCapacity,
    ScalarAttributeType,
};
use local::aws::Service;

use crate::aws_services::{ACCESS_KEY_ID, Services};

/// A table `things` with the key `id`.
pub(crate) async fn create_table(dynamodb: &aws_sdk_dynamodb::Client) {
    let id = AttributeDefinition::builder().attribute_name("id").attribute_type(ScalarAttributeType::S);
    let key = KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash);
    let request = dynamodb.create_table().table_name("things").billing_mode(BillingMode::PayPerRequest);
    let request = request.attribute_definitions(id.build().unwrap()).key_schema(key.build().unwrap());
    request.send().await.unwrap();
}

#[tokio::test]
async fn item_that_was_put_is_got_back_and_a_failed_condition_is_typed() {
    let services = Services::start().await;
    create_table(&services.dynamodb).await;
    let put = || services.dynamodb.put_item().table_name("things").item("id", AttributeValue::S("a".to_owned()));
    put().send().await.unwrap();
    let got = services.dynamodb.get_item().table_name("things").key("id", AttributeValue::S("a".to_owned()));
    assert!(got.send().await.unwrap().item.is_some());
    let again = put().condition_expression("attribute_not_exists(id)").send().await.unwrap_err();
    assert!(again.into_service_error().is_conditional_check_failed_exception());
    services.aws.shutdown().await;
}

#[tokio::test]
async fn calls_name_the_caller_the_table_and_the_capacity() {
    let services = Services::start().await;
    create_table(&services.dynamodb).await;
    let _ = services.aws.calls().take();
    let put = services.dynamodb.put_item().table_name("things").item("id", AttributeValue::S("a".to_owned()));
    put.return_consumed_capacity(ReturnConsumedCapacity::Total).send().await.unwrap();
    assert_eq!(services.aws.calls().count(Service::DynamoDb, "PutItem"), 1);
    let calls = services.aws.calls().take();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].identity, ACCESS_KEY_ID);
    assert_eq!(calls[0].resources, ["things"]);
    assert_eq!(calls[0].consumed_capacity, Some(1.0));
    assert_eq!(calls[0].status, 200);
    assert!(services.aws.calls().take().is_empty());
}
