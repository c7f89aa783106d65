//! Documents in Secrets Manager: one secret per endpoint, named by stack, tenant and endpoint. The endpoint's item names the version that is current.

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata;

use crate::aws_error::AwsError;
use crate::domain::id::EndpointId;
use crate::domain::signing_secret::SecretDocument;
use crate::domain::tenant::Scope;

/// The label of the version that was written last.
const CURRENT: &str = "AWSCURRENT";
/// The label that Secrets Manager gives to the version before it, of itself.
const PREVIOUS: &str = "AWSPREVIOUS";

/// The endpoints' secrets of this stack.
#[derive(Clone)]
pub(super) struct Manager {
    client: Client,
    prefix: String,
    kms_key_id: Option<String>,
}

impl Manager {
    /// The secrets whose names begin with `prefix` and a slash. New ones are encrypted with the KMS key, or without one with the account's own for Secrets Manager.
    pub(super) fn new(client: Client, prefix: String, kms_key_id: Option<String>) -> Self {
        Self { client, prefix, kms_key_id }
    }

    fn name(&self, scope: Scope, endpoint_id: EndpointId) -> String {
        format!("{}/{}/{}/{endpoint_id}", self.prefix, scope.tenant_id, scope.mode)
    }

    /// Keeps the document of a new endpoint, also where an earlier try at making the endpoint has left one; the version it has from now on.
    ///
    /// # Errors
    /// When Secrets Manager does not take it.
    pub(super) async fn create(
        &self,
        scope: Scope,
        endpoint_id: EndpointId,
        document: &SecretDocument,
    ) -> Result<String, AwsError> {
        const OPERATION: &str = "secretsmanager:CreateSecret";
        let answer = self
            .client
            .create_secret()
            .name(self.name(scope, endpoint_id))
            .description("Outhook: signing key and receiver credentials of an endpoint")
            .set_kms_key_id(self.kms_key_id.clone())
            .secret_string(to_text(document, OPERATION)?)
            .send()
            .await;
        match answer {
            Ok(answer) => version_of(answer.version_id, OPERATION),
            Err(error) if error.code() == Some("ResourceExistsException") => {
                self.replace(scope, endpoint_id, document).await
            }
            Err(error) => Err(AwsError::from_sdk(OPERATION, &error)),
        }
    }

    /// Replaces the document of an endpoint; the version it has from now on. The endpoint's item has to name it to make it current.
    ///
    /// # Errors
    /// When Secrets Manager does not take it.
    pub(super) async fn replace(
        &self,
        scope: Scope,
        endpoint_id: EndpointId,
        document: &SecretDocument,
    ) -> Result<String, AwsError> {
        const OPERATION: &str = "secretsmanager:PutSecretValue";
        let answer = self
            .client
            .put_secret_value()
            .secret_id(self.name(scope, endpoint_id))
            .secret_string(to_text(document, OPERATION)?)
            .send()
            .await
            .map_err(|error| AwsError::from_sdk(OPERATION, &error))?;
        version_of(answer.version_id, OPERATION)
    }

    /// Has the version that the endpoint names labelled as the current one, and no other labelled at all: what is in no labelled version is gone. Repeating is
    /// safe.
    ///
    /// # Errors
    /// When Secrets Manager does not answer.
    pub(super) async fn settle_labels(
        &self,
        scope: Scope,
        endpoint_id: EndpointId,
        current: &str,
    ) -> Result<(), AwsError> {
        let describe = self.client.describe_secret().secret_id(self.name(scope, endpoint_id));
        let labels = match describe.send().await {
            Ok(answer) => answer.version_ids_to_stages.unwrap_or_default(),
            Err(error) if error.code() == Some("ResourceNotFoundException") => return Ok(()),
            Err(error) => return Err(AwsError::from_sdk("secretsmanager:DescribeSecret", &error)),
        };
        let holder = |stage: &str| {
            labels
                .iter()
                .find(|(_, stages)| stages.iter().any(|held| held == stage))
                .map(|(version, _)| version.clone())
        };
        let mut previous = holder(PREVIOUS);
        if let Some(other) = holder(CURRENT).filter(|version| version != current) {
            self.move_stage(scope, endpoint_id, CURRENT, Some(current), &other).await?;
            previous = Some(other);
        }
        match previous.filter(|version| version != current) {
            Some(version) => self.move_stage(scope, endpoint_id, PREVIOUS, None, &version).await,
            None => Ok(()),
        }
    }

    async fn move_stage(
        &self,
        scope: Scope,
        endpoint_id: EndpointId,
        stage: &str,
        to: Option<&str>,
        from: &str,
    ) -> Result<(), AwsError> {
        let update = self.client.update_secret_version_stage().secret_id(self.name(scope, endpoint_id));
        let update = update.version_stage(stage).remove_from_version_id(from);
        let moved = update.set_move_to_version_id(to.map(str::to_owned)).send().await;
        match moved {
            Ok(_) => Ok(()),
            // It does not have the label, or there is no such secret any more.
            Err(error) if matches!(error.code(), Some("InvalidParameterException" | "ResourceNotFoundException")) => {
                Ok(())
            }
            Err(error) => Err(AwsError::from_sdk("secretsmanager:UpdateSecretVersionStage", &error)),
        }
    }

    /// Reads the document of an endpoint in this version.
    ///
    /// # Errors
    /// When Secrets Manager does not answer.
    pub(super) async fn read(
        &self,
        scope: Scope,
        endpoint_id: EndpointId,
        version: &str,
    ) -> Result<SecretDocument, AwsError> {
        const OPERATION: &str = "secretsmanager:GetSecretValue";
        let get = self.client.get_secret_value().secret_id(self.name(scope, endpoint_id)).version_id(version);
        let answer = get.send().await.map_err(|error| AwsError::from_sdk(OPERATION, &error))?;
        let text = answer.secret_string.unwrap_or_default();
        // The parser's message could quote the secret.
        serde_json::from_str(&text).map_err(|_| AwsError::unreadable(OPERATION, "not a secret document"))
    }

    /// Removes the secret of an endpoint for good. Repeating is safe.
    ///
    /// # Errors
    /// When Secrets Manager does not answer.
    pub(super) async fn remove(&self, scope: Scope, endpoint_id: EndpointId) -> Result<(), AwsError> {
        let delete = self.client.delete_secret().secret_id(self.name(scope, endpoint_id));
        match delete.force_delete_without_recovery(true).send().await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("ResourceNotFoundException") => Ok(()),
            Err(error) => Err(AwsError::from_sdk("secretsmanager:DeleteSecret", &error)),
        }
    }
}

fn version_of(version: Option<String>, operation: &'static str) -> Result<String, AwsError> {
    version.ok_or_else(|| AwsError::unreadable(operation, "no version in the answer"))
}

fn to_text(document: &SecretDocument, operation: &'static str) -> Result<String, AwsError> {
    serde_json::to_string(document).map_err(|_| AwsError::unreadable(operation, "the document cannot be written"))
}
