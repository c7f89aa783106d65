//! Secrets Manager: versions, stages, deletion, lists, batches, as callers can tell.

use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
use aws_sdk_secretsmanager::primitives::Blob;
use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType, Tag};

use crate::aws_services::Services;

const TOKEN_1: &str = "11111111-1111-1111-1111-111111111111";
const TOKEN_2: &str = "22222222-2222-2222-2222-222222222222";
const TOKEN_3: &str = "33333333-3333-3333-3333-333333333333";

#[tokio::test]
async fn secret_is_found_by_name_arn_and_arn_without_its_end() {
    let services = Services::start().await;
    let made = services.secrets.create_secret().name("tenant/a-b").secret_string("value").send().await.unwrap();
    let arn = made.arn().unwrap();
    let partial = "arn:aws:secretsmanager:us-east-1:000000000000:secret:tenant/a-b";
    assert_eq!(arn.len(), partial.len() + 7);
    assert!(arn.starts_with(partial));
    for id in ["tenant/a-b", arn, partial] {
        let got = services.secrets.get_secret_value().secret_id(id).send().await.unwrap();
        assert_eq!(got.secret_string(), Some("value"));
        assert_eq!(got.version_id(), made.version_id());
        assert_eq!(got.created_date().unwrap().secs(), 1_795_132_800);
    }
    let error = services.secrets.get_secret_value().secret_id("missing").send().await.unwrap_err().into_service_error();
    assert!(error.is_resource_not_found_exception());
    assert_eq!(error.message(), Some("Secrets Manager can't find the specified secret."));
}

#[tokio::test]
async fn same_token_and_value_are_one_version_and_another_value_is_refused() {
    let services = Services::start().await;
    let create = |value: &str| {
        services.secrets.create_secret().name("a").client_request_token(TOKEN_1).secret_string(value).send()
    };
    let first = create("value").await.unwrap();
    assert_eq!(first.version_id(), Some(TOKEN_1));
    assert_eq!(create("value").await.unwrap().arn(), first.arn());
    assert!(create("other").await.unwrap_err().into_service_error().is_resource_exists_exception());
    let put = |value: &str| {
        services.secrets.put_secret_value().secret_id("a").client_request_token(TOKEN_2).secret_string(value).send()
    };
    put("new").await.unwrap();
    put("new").await.unwrap();
    assert!(put("other").await.unwrap_err().into_service_error().is_resource_exists_exception());
    let fresh = services.secrets.create_secret().name("a").secret_string("value").send().await;
    assert!(fresh.unwrap_err().into_service_error().is_resource_exists_exception());
}

#[tokio::test]
async fn stages_move_from_version_to_version() {
    let services = Services::start().await;
    let secrets = &services.secrets;
    secrets.create_secret().name("a").client_request_token(TOKEN_1).secret_string("1").send().await.unwrap();
    let put = |token: &str, value: &str| {
        secrets.put_secret_value().secret_id("a").client_request_token(token).secret_string(value)
    };
    put(TOKEN_2, "2").send().await.unwrap();
    let get = |stage: &str| secrets.get_secret_value().secret_id("a").version_stage(stage).send();
    assert_eq!(get("AWSCURRENT").await.unwrap().secret_string(), Some("2"));
    assert_eq!(get("AWSPREVIOUS").await.unwrap().secret_string(), Some("1"));
    put(TOKEN_3, "3").version_stages("AWSPENDING").send().await.unwrap();
    assert_eq!(get("AWSCURRENT").await.unwrap().secret_string(), Some("2"));
    assert_eq!(get("AWSPENDING").await.unwrap().secret_string(), Some("3"));

    let promote =
        || secrets.update_secret_version_stage().secret_id("a").version_stage("AWSCURRENT").move_to_version_id(TOKEN_3);
    assert!(promote().send().await.unwrap_err().into_service_error().is_invalid_parameter_exception());
    promote().remove_from_version_id(TOKEN_2).send().await.unwrap();
    assert_eq!(get("AWSCURRENT").await.unwrap().secret_string(), Some("3"));
    assert_eq!(get("AWSPREVIOUS").await.unwrap().secret_string(), Some("2"));
    let remove = secrets.update_secret_version_stage().secret_id("a").version_stage("AWSPENDING");
    remove.remove_from_version_id(TOKEN_3).send().await.unwrap();
    assert!(get("AWSPENDING").await.unwrap_err().into_service_error().is_resource_not_found_exception());

    let described = secrets.describe_secret().secret_id("a").send().await.unwrap();
    let stages = described.version_ids_to_stages().unwrap();
    assert_eq!(stages.len(), 2);
    assert_eq!(stages[TOKEN_3], ["AWSCURRENT"]);
    let by_id = secrets.get_secret_value().secret_id("a").version_id(TOKEN_1).send().await.unwrap();
    assert_eq!(by_id.secret_string(), Some("1"));
    let listed = secrets.list_secret_version_ids().secret_id("a").send().await.unwrap();
    assert_eq!(listed.versions().len(), 2);
    let listed = secrets.list_secret_version_ids().secret_id("a").include_deprecated(true).send().await.unwrap();
    assert_eq!(listed.versions().len(), 3);
}

#[tokio::test]
async fn value_is_text_or_bytes_of_at_most_65536_bytes() {
    let services = Services::start().await;
    let create = |name: &str| services.secrets.create_secret().name(name);
    create("bytes").secret_binary(Blob::new([0, 159])).send().await.unwrap();
    let got = services.secrets.get_secret_value().secret_id("bytes").send().await.unwrap();
    assert_eq!(got.secret_binary().unwrap().as_ref(), [0, 159]);
    let both = create("both").secret_string("a").secret_binary(Blob::new("a")).send().await;
    assert!(both.unwrap_err().into_service_error().is_invalid_parameter_exception());
    create("large").secret_string("a".repeat(65_536)).send().await.unwrap();
    assert!(create("larger").secret_string("a".repeat(65_537)).send().await.is_err());
    assert!(create("no spaces").secret_string("a").send().await.is_err());
}

#[tokio::test]
async fn secret_marked_deleted_is_gone_when_its_window_is_over() {
    let services = Services::start().await;
    let secrets = &services.secrets;
    secrets.create_secret().name("a").secret_string("1").send().await.unwrap();
    let delete = |days| secrets.delete_secret().secret_id("a").recovery_window_in_days(days).send();
    assert!(delete(6).await.unwrap_err().into_service_error().is_invalid_parameter_exception());
    assert_eq!(delete(7).await.unwrap().deletion_date().unwrap().secs(), 1_795_132_800 + 7 * 86_400);
    let get = || secrets.get_secret_value().secret_id("a").send();
    assert!(get().await.unwrap_err().into_service_error().is_invalid_request_exception());
    let create = secrets.create_secret().name("a").secret_string("2").send().await;
    assert!(create.unwrap_err().into_service_error().is_invalid_request_exception());
    assert!(secrets.list_secrets().send().await.unwrap().secret_list().is_empty());
    let planned = secrets.list_secrets().include_planned_deletion(true).send().await.unwrap();
    assert!(planned.secret_list()[0].deleted_date().is_some());
    services.advance_seconds(7 * 86_400);
    assert!(get().await.unwrap_err().into_service_error().is_resource_not_found_exception());
    secrets.create_secret().name("a").secret_string("2").send().await.unwrap();
}

#[tokio::test]
async fn forced_deletion_is_at_once_and_excludes_a_window() {
    let services = Services::start().await;
    let secrets = &services.secrets;
    let first = secrets.create_secret().name("a").secret_string("1").send().await.unwrap();
    let force = || secrets.delete_secret().secret_id("a").force_delete_without_recovery(true);
    let both = force().recovery_window_in_days(7).send().await.unwrap_err().into_service_error();
    assert!(both.is_invalid_parameter_exception());
    force().send().await.unwrap();
    force().send().await.unwrap();
    let second = secrets.create_secret().name("a").secret_string("2").send().await.unwrap();
    assert_ne!(first.arn(), second.arn());
    let old = secrets.get_secret_value().secret_id(first.arn().unwrap()).send().await.unwrap_err();
    assert!(old.into_service_error().is_resource_not_found_exception());
}

#[tokio::test]
async fn batch_gives_what_it_finds_and_tells_the_rest() {
    let services = Services::start().await;
    let secrets = &services.secrets;
    for name in ["a", "b", "c"] {
        secrets.create_secret().name(name).secret_string(name).send().await.unwrap();
    }
    secrets.delete_secret().secret_id("c").send().await.unwrap();
    let batch =
        ["a", "b", "c", "d"].into_iter().fold(secrets.batch_get_secret_value(), |batch, id| batch.secret_id_list(id));
    let got = batch.send().await.unwrap();
    let values: Vec<_> = got.secret_values().iter().filter_map(|value| value.secret_string()).collect();
    assert_eq!(values, ["a", "b"]);
    let errors: Vec<_> =
        got.errors().iter().map(|error| (error.secret_id().unwrap(), error.error_code().unwrap())).collect();
    assert_eq!(errors, [("c", "InvalidRequestException"), ("d", "ResourceNotFoundException")]);
    let filtered =
        secrets.batch_get_secret_value().filters(filter(FilterNameStringType::Name, "a")).send().await.unwrap();
    assert_eq!(filtered.secret_values().len(), 1);
    let many = (0..21).fold(secrets.batch_get_secret_value(), |batch, id| batch.secret_id_list(id.to_string()));
    assert_eq!(many.send().await.unwrap_err().code(), Some("ValidationException"));
}

#[tokio::test]
async fn list_filters_and_pages() {
    let services = Services::start().await;
    let secrets = &services.secrets;
    for number in 0..5 {
        let tag = Tag::builder().key("team").value(if number < 2 { "red" } else { "blue" }).build();
        let create = secrets.create_secret().name(format!("app/{number}")).description("Signing key").tags(tag);
        create.secret_string("a").send().await.unwrap();
    }
    secrets.create_secret().name("other").secret_string("a").send().await.unwrap();
    for (key, value, expected) in [
        (FilterNameStringType::Name, "app/", 5),
        (FilterNameStringType::Name, "!app/", 1),
        (FilterNameStringType::Description, "signing", 5),
        (FilterNameStringType::TagKey, "team", 5),
        (FilterNameStringType::TagValue, "red", 2),
        (FilterNameStringType::All, "blue", 3),
    ] {
        let listed = secrets.list_secrets().filters(filter(key.clone(), value)).send().await.unwrap();
        assert_eq!(listed.secret_list().len(), expected, "{key} {value}");
    }
    let pages = secrets.list_secrets().max_results(4).into_paginator().send();
    let pages: Vec<_> = pages.collect::<Result<Vec<_>, _>>().await.unwrap();
    let sizes: Vec<usize> = pages.iter().map(|page| page.secret_list().len()).collect();
    assert_eq!(sizes, [4, 2]);
    let bad = secrets.list_secrets().next_token("rubbish").send().await.unwrap_err().into_service_error();
    assert!(bad.is_invalid_next_token_exception());
}

#[tokio::test]
async fn random_password_has_the_length_and_kinds_asked_for() {
    let services = Services::start().await;
    let ask = || services.secrets.get_random_password();
    let password = ask().send().await.unwrap().random_password.unwrap();
    assert_eq!(password.len(), 32);
    let password = ask().password_length(8).exclude_punctuation(true).exclude_lowercase(true).exclude_characters("A");
    let password = password.send().await.unwrap().random_password.unwrap();
    assert_eq!(password.len(), 8);
    assert!(password.chars().all(|c| (c.is_ascii_uppercase() && c != 'A') || c.is_ascii_digit()));
}

#[tokio::test]
async fn operation_that_is_not_covered_is_named() {
    let services = Services::start().await;
    let error = services.secrets.rotate_secret().secret_id("a").send().await.unwrap_err();
    assert_eq!(error.code(), Some("UnknownOperationException"));
    assert!(error.message().unwrap().contains("secretsmanager.RotateSecret"));
}

fn filter(key: FilterNameStringType, value: &str) -> Filter {
    Filter::builder().key(key).values(value).build()
}
