//! What a secret is: its versions, and the stages that move between them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::errors;
use crate::aws::protocol::AwsError;

/// The stage of the version that is given out when none is named.
pub(super) const CURRENT: &str = "AWSCURRENT";

/// The stage of the version that was current before.
pub(super) const PREVIOUS: &str = "AWSPREVIOUS";

/// The most bytes of a value. Source: `CreateSecret`.
const VALUE_BYTES_MAX: usize = 65_536;

/// The most versions of a secret; unstaged ones go first, oldest first. Source: Secrets Manager quotas.
const VERSIONS_MAX: usize = 100;

/// The most tags of a secret. Source: Secrets Manager quotas.
const TAGS_MAX: usize = 50;

/// A secret. Times in milliseconds since 1970.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Secret {
    pub(super) name: Arc<str>,
    pub(super) arn: String,
    pub(super) description: Option<String>,
    pub(super) kms_key_id: Option<String>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) created_at: i64,
    pub(super) changed_at: i64,
    /// To the day.
    pub(super) accessed_at: Option<i64>,
    /// When it will be gone, if it is marked for deletion.
    pub(super) deleted_at: Option<i64>,
    pub(super) versions: BTreeMap<String, Version>,
}

/// A version of a secret.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) value: Value,
    pub(super) stages: BTreeSet<String>,
    pub(super) created_at: i64,
    /// To the day.
    pub(super) accessed_at: Option<i64>,
}

/// The value of a secret; without `Debug` on purpose.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Value {
    /// `SecretString`.
    Text(Arc<str>),
    /// `SecretBinary`, in base64.
    Binary(Arc<str>),
}

/// A tag as requests and answers carry it.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tag {
    pub(super) key: String,
    #[serde(default)]
    pub(super) value: String,
}

/// The value in a request, and its version id.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NewValue {
    client_request_token: Option<String>,
    secret_string: Option<String>,
    secret_binary: Option<String>,
}

impl NewValue {
    /// The value, if there is one.
    ///
    /// # Errors
    /// When there are two, or it is too large.
    pub(super) fn value(&self) -> Result<Option<Value>, AwsError> {
        let too_large = |bytes: usize| {
            let message = format!("a secret value is at most {VALUE_BYTES_MAX} bytes, got {bytes}");
            (bytes > VALUE_BYTES_MAX).then(|| errors::validation(message))
        };
        let text = self.secret_string.as_deref().filter(|text| !text.is_empty());
        match (text, self.secret_binary.as_deref().filter(|base64| !base64.is_empty())) {
            (None, None) => Ok(None),
            (Some(text), None) => too_large(text.len()).map_or(Ok(Some(Value::Text(text.into()))), Err),
            (None, Some(base64)) => match STANDARD.decode(base64) {
                Ok(bytes) => too_large(bytes.len()).map_or(Ok(Some(Value::Binary(base64.into()))), Err),
                Err(_) => Err(errors::validation("SecretBinary is not base64")),
            },
            (Some(_), Some(_)) => Err(errors::invalid_parameter(
                "You can't specify both a binary secret value and a string secret value in the same secret.",
            )),
        }
    }

    /// The id of the version that this value becomes: the request's token, or a new one.
    ///
    /// # Errors
    /// When the token is shorter or longer than allowed.
    pub(super) fn version_id(&self) -> Result<String, AwsError> {
        match &self.client_request_token {
            Some(token) if (32..=64).contains(&token.len()) => Ok(token.clone()),
            Some(_) => Err(errors::invalid_parameter("ClientRequestToken must be 32-64 characters long.")),
            None => Ok(crate::aws::random::uuid()),
        }
    }
}

impl Secret {
    /// Adds a version with these stages, which leave the versions that had them. The same version again changes nothing.
    ///
    /// # Errors
    /// When the version exists with another value, or too many versions have stages.
    pub(super) fn add_version(&mut self, id: &str, value: Value, stages: &[String], now: i64) -> Result<(), AwsError> {
        if let Some(version) = self.versions.get(id) {
            return if version.value == value { Ok(()) } else { Err(errors::token_in_use(id, &self.arn)) };
        }
        self.make_room()?;
        let is_first = self.versions.is_empty();
        let version = Version { value, stages: BTreeSet::new(), created_at: now, accessed_at: None };
        self.versions.insert(id.to_owned(), version);
        for stage in stages {
            self.move_stage(stage, id);
        }
        if is_first && !stages.iter().any(|stage| stage == CURRENT) {
            self.move_stage(CURRENT, id);
        }
        self.changed_at = now;
        Ok(())
    }

    /// Moves a stage to a version; the version that was current becomes the previous one.
    pub(super) fn move_stage(&mut self, stage: &str, to: &str) {
        let from = self.holder(stage).map(str::to_owned);
        if from.as_deref() == Some(to) {
            return;
        }
        for version in self.versions.values_mut() {
            version.stages.remove(stage);
        }
        if let Some(version) = self.versions.get_mut(to) {
            version.stages.insert(stage.to_owned());
            if stage == CURRENT {
                version.stages.remove(PREVIOUS);
            }
        }
        if let (CURRENT, Some(from)) = (stage, from) {
            self.move_stage(PREVIOUS, &from);
        }
    }

    /// The id of the version with this stage.
    pub(super) fn holder(&self, stage: &str) -> Option<&str> {
        self.versions.iter().find(|(_, version)| version.stages.contains(stage)).map(|(id, _)| id.as_str())
    }

    /// The version asked for: by id, by stage, or the current one.
    ///
    /// # Errors
    /// When there is none, or id and stage are of different versions.
    pub(super) fn version(&self, id: Option<&str>, stage: Option<&str>) -> Result<(&str, &Version), AwsError> {
        if let Some(id) = id {
            let version = self.versions.get_key_value(id);
            let (id, version) = version.ok_or_else(|| errors::value_not_found("VersionId", id))?;
            if stage.is_some_and(|stage| !version.stages.contains(stage)) {
                let message = "You provided a VersionStage that is not associated to the provided VersionId.";
                return Err(errors::invalid_request(message));
            }
            return Ok((id, version));
        }
        let stage = stage.unwrap_or(CURRENT);
        let found = self.versions.iter().find(|(_, version)| version.stages.contains(stage));
        let (id, version) = found.ok_or_else(|| errors::value_not_found("staging label", stage))?;
        Ok((id, version))
    }

    /// Versions with their stages, without those that have none.
    pub(super) fn staged(&self) -> BTreeMap<&str, &BTreeSet<String>> {
        let staged = self.versions.iter().filter(|(_, version)| !version.stages.is_empty());
        staged.map(|(id, version)| (id.as_str(), &version.stages)).collect()
    }

    /// Tags as answers carry them.
    pub(super) fn tag_list(&self) -> Vec<Tag> {
        self.tags.iter().map(|(key, value)| Tag { key: key.clone(), value: value.clone() }).collect()
    }

    /// Adds tags.
    ///
    /// # Errors
    /// When a tag is not allowed or there are too many.
    pub(super) fn add_tags(&mut self, tags: Vec<Tag>) -> Result<(), AwsError> {
        for Tag { key, value } in tags {
            if !(1..=128).contains(&key.chars().count()) || value.chars().count() > 256 || key.starts_with("aws:") {
                return Err(errors::invalid_parameter(format!("the tag \"{key}\" is not valid")));
            }
            self.tags.insert(key, value);
        }
        if self.tags.len() > TAGS_MAX {
            return Err(errors::limit_exceeded(format!("a secret has at most {TAGS_MAX} tags")));
        }
        Ok(())
    }

    fn make_room(&mut self) -> Result<(), AwsError> {
        if self.versions.len() < VERSIONS_MAX {
            return Ok(());
        }
        let unstaged = self.versions.iter().filter(|(_, version)| version.stages.is_empty());
        let oldest = unstaged.min_by_key(|(_, version)| version.created_at).map(|(id, _)| id.clone());
        let full = || errors::limit_exceeded(format!("a secret has at most {VERSIONS_MAX} versions"));
        self.versions.remove(&oldest.ok_or_else(full)?);
        Ok(())
    }
}
