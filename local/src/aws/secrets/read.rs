//! Operations that read secrets: values, descriptions, versions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::list::{self, Filter};
use super::secret::{CURRENT, Secret, Tag, Value, Version};
use super::{Change, date, errors};
use crate::aws::protocol::AwsError;

/// The most secrets that one batch gives. Source: `BatchGetSecretValue`.
const BATCH_MAX: usize = 20;

/// The most versions that one list gives. Source: `ListSecretVersionIds`.
const VERSIONS_LISTED_MAX: usize = 100;

const DAY_MILLISECONDS: i64 = 24 * 60 * 60 * 1_000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetValue {
    secret_id: String,
    version_id: Option<String>,
    version_stage: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SecretValue {
    #[serde(rename = "ARN")]
    arn: String,
    name: Arc<str>,
    version_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_string: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_binary: Option<Arc<str>>,
    version_stages: Vec<String>,
    created_date: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct BatchGet {
    secret_id_list: Option<Vec<String>>,
    filters: Option<Vec<Filter>>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct BatchGot {
    secret_values: Vec<SecretValue>,
    errors: Vec<Failed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Failed {
    secret_id: String,
    error_code: String,
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Describe {
    secret_id: String,
}

/// What `DescribeSecret` and `ListSecrets` say about a secret.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Description {
    #[serde(rename = "ARN")]
    arn: String,
    name: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kms_key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_accessed_date: Option<f64>,
    last_changed_date: f64,
    created_date: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted_date: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<Tag>,
    /// In `DescribeSecret`.
    #[serde(skip_serializing_if = "Option::is_none")]
    version_ids_to_stages: Option<BTreeMap<String, BTreeSet<String>>>,
    /// The same in `ListSecrets`.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_versions_to_stages: Option<BTreeMap<String, BTreeSet<String>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListVersions {
    secret_id: String,
    max_results: Option<usize>,
    next_token: Option<String>,
    #[serde(default)]
    include_deprecated: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Versions {
    #[serde(rename = "ARN")]
    arn: String,
    name: Arc<str>,
    versions: Vec<VersionEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct VersionEntry {
    version_id: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    version_stages: Vec<String>,
    created_date: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_accessed_date: Option<f64>,
}

pub(super) fn value(change: &mut Change<'_>, request: GetValue) -> Result<SecretValue, AwsError> {
    let GetValue { secret_id, version_id, version_stage } = request;
    get(change, &secret_id, version_id.as_deref(), version_stage.as_deref())
}

/// By ids, or by filters; secrets that cannot be given are told one by one.
pub(super) fn batch(change: &mut Change<'_>, request: BatchGet) -> Result<BatchGot, AwsError> {
    let BatchGet { secret_id_list, filters, max_results, next_token } = request;
    let mut next = None;
    let ids = match (secret_id_list, filters) {
        (Some(ids), None) => {
            if !(1..=BATCH_MAX).contains(&ids.len()) {
                return Err(errors::validation(format!("SecretIdList holds 1 to {BATCH_MAX} ids, got {}", ids.len())));
            }
            if max_results.is_some() {
                return Err(errors::invalid_parameter("MaxResults goes with Filters only."));
            }
            ids
        }
        (None, Some(filters)) => {
            let page = list::Page { max_results, limit: BATCH_MAX, next_token: next_token.as_deref() };
            let found = list::page(change, &filters, &page, &list::Order::default(), false)?;
            next = found.next_token;
            found.names.iter().map(ToString::to_string).collect()
        }
        _ => {
            return Err(errors::invalid_parameter(
                "Either 'SecretIdList' or 'Filters' must be provided, but not both.",
            ));
        }
    };
    let (mut secret_values, mut failed) = (Vec::new(), Vec::new());
    for secret_id in ids {
        match get(change, &secret_id, None, None) {
            Ok(value) => secret_values.push(value),
            Err(error) => {
                failed.push(Failed { secret_id, error_code: error.kind.into_owned(), message: error.message });
            }
        }
    }
    Ok(BatchGot { secret_values, errors: failed, next_token: next })
}

pub(super) fn describe(change: &mut Change<'_>, request: &Describe) -> Result<Description, AwsError> {
    let secret = change.find(&request.secret_id)?;
    let stages = owned_stages(secret);
    Ok(Description { version_ids_to_stages: (!stages.is_empty()).then_some(stages), ..Description::of(secret) })
}

pub(super) fn versions(change: &mut Change<'_>, request: ListVersions) -> Result<Versions, AwsError> {
    let secret = change.find(&request.secret_id)?;
    let count = request.max_results.unwrap_or(VERSIONS_LISTED_MAX);
    if !(1..=VERSIONS_LISTED_MAX).contains(&count) {
        return Err(errors::validation(format!("MaxResults is 1 to {VERSIONS_LISTED_MAX}, got {count}")));
    }
    let after = request.next_token.unwrap_or_default();
    let wanted = |(id, version): &(&String, &Version)| {
        **id > after && (request.include_deprecated || !version.stages.is_empty())
    };
    let mut found: Vec<_> = secret.versions.iter().filter(wanted).take(count + 1).collect();
    let more = found.len() > count;
    found.truncate(count);
    let next_token = found.last().filter(|_| more).map(|(id, _)| (*id).clone());
    let entry = |(id, version): (&String, &Version)| VersionEntry {
        version_id: id.clone(),
        version_stages: version.stages.iter().cloned().collect(),
        created_date: date(version.created_at),
        last_accessed_date: version.accessed_at.map(date),
    };
    let versions = found.into_iter().map(entry).collect();
    Ok(Versions { arn: secret.arn.clone(), name: Arc::clone(&secret.name), versions, next_token })
}

impl Description {
    fn of(secret: &Secret) -> Self {
        Self {
            arn: secret.arn.clone(),
            name: Arc::clone(&secret.name),
            description: secret.description.clone(),
            kms_key_id: secret.kms_key_id.clone(),
            last_accessed_date: secret.accessed_at.map(date),
            last_changed_date: date(secret.changed_at),
            created_date: date(secret.created_at),
            deleted_date: secret.deleted_at.map(date),
            tags: secret.tag_list(),
            version_ids_to_stages: None,
            secret_versions_to_stages: None,
        }
    }

    /// As an entry of `ListSecrets`.
    pub(super) fn entry(secret: &Secret) -> Self {
        let stages = owned_stages(secret);
        Self { secret_versions_to_stages: (!stages.is_empty()).then_some(stages), ..Self::of(secret) }
    }
}

fn get(
    change: &mut Change<'_>,
    secret_id: &str,
    version_id: Option<&str>,
    stage: Option<&str>,
) -> Result<SecretValue, AwsError> {
    let today = change.now - change.now.rem_euclid(DAY_MILLISECONDS);
    let secret = change.find_usable(secret_id)?;
    let (id, version) = secret.version(version_id, stage.or(version_id.is_none().then_some(CURRENT)))?;
    let (secret_string, secret_binary) = match &version.value {
        Value::Text(text) => (Some(Arc::clone(text)), None),
        Value::Binary(base64) => (None, Some(Arc::clone(base64))),
    };
    let value = SecretValue {
        arn: secret.arn.clone(),
        name: Arc::clone(&secret.name),
        version_id: id.to_owned(),
        secret_string,
        secret_binary,
        version_stages: version.stages.iter().cloned().collect(),
        created_date: date(version.created_at),
    };
    // The first read of a day is all that is kept of reads.
    if secret.accessed_at != Some(today) || version.accessed_at != Some(today) {
        let mut secret = secret.clone();
        secret.accessed_at = Some(today);
        if let Some(version) = secret.versions.get_mut(&value.version_id) {
            version.accessed_at = Some(today);
        }
        change.save(secret);
    }
    Ok(value)
}

fn owned_stages(secret: &Secret) -> BTreeMap<String, BTreeSet<String>> {
    secret.staged().into_iter().map(|(id, stages)| (id.to_owned(), stages.clone())).collect()
}
