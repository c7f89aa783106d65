//! Operations that change secrets.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::secret::{CURRENT, NewValue, Secret, Tag};
use super::{Change, date, errors, new_arn};
use crate::aws::protocol::AwsError;

/// The longest name of a secret. Source: `CreateSecret`.
const NAME_CHARACTERS_MAX: usize = 512;

/// The longest description. Source: `CreateSecret`.
const DESCRIPTION_CHARACTERS_MAX: usize = 2_048;

/// The recovery window in days: least, most, default. Source: `DeleteSecret`.
const RECOVERY_DAYS: (i64, i64, i64) = (7, 30, 30);

const DAY_MILLISECONDS: i64 = 24 * 60 * 60 * 1_000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Create {
    name: String,
    description: Option<String>,
    kms_key_id: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    add_replica_regions: Vec<IgnoredAny>,
    #[serde(flatten)]
    value: NewValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Put {
    secret_id: String,
    version_stages: Option<Vec<String>>,
    #[serde(flatten)]
    value: NewValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MoveStage {
    secret_id: String,
    version_stage: String,
    remove_from_version_id: Option<String>,
    move_to_version_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Delete {
    secret_id: String,
    recovery_window_in_days: Option<i64>,
    #[serde(default)]
    force_delete_without_recovery: bool,
}

/// What all these operations answer, with more or less of it.
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Written {
    #[serde(rename = "ARN")]
    arn: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version_stages: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deletion_date: Option<f64>,
}

pub(super) fn create(change: &mut Change<'_>, request: Create) -> Result<Written, AwsError> {
    let Create { name, description, kms_key_id, tags, add_replica_regions, value: new } = request;
    if !add_replica_regions.is_empty() {
        return Err(errors::invalid_parameter("the local stack does not cover replication to other regions"));
    }
    check_name(&name)?;
    check_description(description.as_deref())?;
    let value = new.value()?;
    let version_id = new.version_id()?;
    if let Some(existing) = change.state.by_name.get(name.as_str()) {
        if existing.deleted_at.is_some() {
            return Err(errors::invalid_request(
                "You can't create this secret because a secret with this name is already scheduled for deletion.",
            ));
        }
        return match (existing.versions.get(&version_id), value) {
            (Some(version), Some(value)) if version.value == value => Ok(written(existing, Some(version_id))),
            (Some(_), _) => Err(errors::token_in_use(&version_id, &existing.arn)),
            (None, _) => Err(errors::name_exists(&name)),
        };
    }
    let now = change.now;
    let mut secret = Secret {
        arn: new_arn(&name),
        name: name.into(),
        description,
        kms_key_id,
        tags: BTreeMap::new(),
        created_at: now,
        changed_at: now,
        accessed_at: None,
        deleted_at: None,
        versions: BTreeMap::new(),
    };
    secret.add_tags(tags)?;
    let mut version = None;
    if let Some(value) = value {
        secret.add_version(&version_id, value, &[CURRENT.to_owned()], now)?;
        version = Some(version_id);
    }
    let answer = written(&secret, version);
    change.save(secret);
    Ok(answer)
}

pub(super) fn put(change: &mut Change<'_>, request: Put) -> Result<Written, AwsError> {
    let now = change.now;
    let stages = request.version_stages.unwrap_or_else(|| vec![CURRENT.to_owned()]);
    if !(1..=20).contains(&stages.len()) || stages.iter().any(|stage| !(1..=256).contains(&stage.len())) {
        return Err(errors::validation("VersionStages holds 1 to 20 stages of 1 to 256 characters"));
    }
    let mut secret = change.find_usable(&request.secret_id)?.clone();
    let missing = || errors::invalid_parameter("You must provide either SecretString or SecretBinary.");
    let value = request.value.value()?.ok_or_else(missing)?;
    let version_id = request.value.version_id()?;
    secret.add_version(&version_id, value, &stages, now)?;
    let version_stages = secret.versions.get(&version_id).map(|version| version.stages.iter().cloned().collect());
    let answer = Written { version_stages, ..written(&secret, Some(version_id)) };
    change.save(secret);
    Ok(answer)
}

pub(super) fn move_stage(change: &mut Change<'_>, request: &MoveStage) -> Result<Written, AwsError> {
    let mut secret = change.find_usable(&request.secret_id)?.clone();
    let stage = request.version_stage.as_str();
    let from = request.remove_from_version_id.as_deref();
    let to = request.move_to_version_id.as_deref();
    if let Some(missing) = [from, to].into_iter().flatten().find(|id| !secret.versions.contains_key(*id)) {
        return Err(errors::value_not_found("VersionId", missing));
    }
    let holder = secret.holder(stage).map(str::to_owned);
    match (from, holder.as_deref()) {
        (Some(from), holder) if holder != Some(from) => {
            let message = format!("The staging label {stage} is not attached to version {from}.");
            return Err(errors::invalid_parameter(message));
        }
        (None, Some(holder)) if to != Some(holder) => {
            return Err(errors::invalid_parameter(format!(
                "The parameter RemoveFromVersionId can't be empty. Staging label {stage} is currently attached to \
                 version {holder}, so you must explicitly reference that version in RemoveFromVersionId."
            )));
        }
        _ => {}
    }
    match (to, from.and_then(|from| secret.versions.get_mut(from))) {
        (Some(to), _) => secret.move_stage(stage, to),
        (None, Some(_)) if stage == CURRENT => {
            return Err(errors::invalid_parameter(format!(
                "You can only move staging label {stage} to a different secret version. It can't be completely removed."
            )));
        }
        (None, Some(version)) => {
            version.stages.remove(stage);
        }
        (None, None) => {
            return Err(errors::invalid_parameter("You must provide MoveToVersionId or RemoveFromVersionId."));
        }
    }
    secret.changed_at = change.now;
    let answer = written(&secret, None);
    change.save(secret);
    Ok(answer)
}

/// Marks for deletion, or deletes at once when forced; forcing what is not there succeeds, as on AWS.
pub(super) fn delete(change: &mut Change<'_>, request: Delete) -> Result<Written, AwsError> {
    let Delete { secret_id, recovery_window_in_days, force_delete_without_recovery } = request;
    let now = change.now;
    if force_delete_without_recovery {
        if recovery_window_in_days.is_some() {
            return Err(errors::invalid_parameter(
                "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.",
            ));
        }
        let Ok(secret) = change.find(&secret_id) else {
            let arn = if secret_id.starts_with("arn:") { secret_id.clone() } else { new_arn(&secret_id) };
            return Ok(Written { arn, name: secret_id, deletion_date: Some(date(now)), ..Written::default() });
        };
        let answer = Written { deletion_date: Some(date(now)), ..written(secret, None) };
        change.remove(&answer.name);
        return Ok(answer);
    }
    let (least, most, default) = RECOVERY_DAYS;
    let days = recovery_window_in_days.unwrap_or(default);
    if !(least..=most).contains(&days) {
        return Err(errors::invalid_parameter(format!(
            "The RecoveryWindowInDays value must be between {least} and {most} days (inclusive)."
        )));
    }
    let mut secret = change.find_usable(&secret_id)?.clone();
    let deleted_at = now + days * DAY_MILLISECONDS;
    secret.deleted_at = Some(deleted_at);
    let answer = Written { deletion_date: Some(date(deleted_at)), ..written(&secret, None) };
    change.save(secret);
    Ok(answer)
}

fn written(secret: &Secret, version_id: Option<String>) -> Written {
    Written { arn: secret.arn.clone(), name: secret.name.to_string(), version_id, ..Written::default() }
}

fn check_name(name: &str) -> Result<(), AwsError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+=.@-".contains(&byte);
    if (1..=NAME_CHARACTERS_MAX).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(errors::validation(
        "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@",
    ))
}

fn check_description(description: Option<&str>) -> Result<(), AwsError> {
    if description.is_some_and(|text| text.chars().count() > DESCRIPTION_CHARACTERS_MAX) {
        return Err(errors::validation(format!("a description is at most {DESCRIPTION_CHARACTERS_MAX} characters")));
    }
    Ok(())
}
