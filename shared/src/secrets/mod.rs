//! Signing keys and receivers' credentials, in Secrets Manager: one secret per endpoint, named by stack, tenant and endpoint.
//!
//! A document is read once per version and instance: the endpoint's item carries the current version, so what is cached under it is never
//! stale. Nothing here logs or formats a document.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::aws_error::AwsError;
use crate::cache::{Cache, Dated, lock};
use crate::domain::id::EndpointId;
use crate::domain::signing_secret::SecretDocument;
use crate::domain::tenant::Scope;

/// How many endpoints' documents an instance keeps; over that it begins anew.
const DOCUMENTS_CACHED_MAX: usize = 10_000;
/// For how long an instance keeps the root key's hash, in seconds; after a rotation the old key works so much longer.
const ROOT_KEY_CACHED_SECONDS: i64 = 60;

/// A document that is being read, for others that want it meanwhile.
type Reading = Shared<BoxFuture<'static, Result<Arc<SecretDocument>, AwsError>>>;

/// The label of the version that was written last.
const CURRENT: &str = "AWSCURRENT";
/// The label that Secrets Manager gives to the version before it, of itself.
const PREVIOUS: &str = "AWSPREVIOUS";

/// The secrets of this stack and the client that reaches them. Clones share what is cached.
#[derive(Clone)]
pub struct Secrets {
    client: Client,
    prefix: String,
    root_key_name: String,
    kms_key_id: Option<String>,
    /// Each with the version that it is of.
    documents: Cache<EndpointId, (String, Arc<SecretDocument>)>,
    readings: Arc<Mutex<HashMap<(EndpointId, String), Reading>>>,
    /// Its SHA-256.
    root_key: Cache<(), Dated<[u8; 32]>>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Secrets {
    /// The secrets whose names begin with `prefix` and a slash, and the root key under its own name. New ones are encrypted with the KMS key, or
    /// without one with the account's own for Secrets Manager.
    #[must_use]
    pub fn new(client: Client, prefix: String, root_key_name: String, kms_key_id: Option<String>) -> Self {
        Self {
            client,
            prefix,
            root_key_name,
            kms_key_id,
            documents: Cache::new(DOCUMENTS_CACHED_MAX),
            readings: Arc::default(),
            root_key: Cache::new(1),
        }
    }

    fn name(&self, scope: Scope, endpoint_id: EndpointId) -> String {
        format!("{}/{}/{}/{endpoint_id}", self.prefix, scope.tenant_id, scope.mode)
    }

    /// Keeps the document of a new endpoint, also where an earlier try at making the endpoint has left one; the version it has from now on.
    ///
    /// # Errors
    /// When Secrets Manager does not take it.
    pub async fn create(
        &self,
        scope: Scope,
        endpoint_id: EndpointId,
        document: SecretDocument,
    ) -> Result<String, AwsError> {
        const OPERATION: &str = "secretsmanager:CreateSecret";
        let answer = self
            .client
            .create_secret()
            .name(self.name(scope, endpoint_id))
            .description("Outhook: signing key and receiver credentials of an endpoint")
            .set_kms_key_id(self.kms_key_id.clone())
            .secret_string(to_text(&document, OPERATION)?)
            .send()
            .await;
        match answer {
            Ok(answer) => self.remember(endpoint_id, answer.version_id, document, OPERATION),
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
    pub async fn replace(
        &self,
        scope: Scope,
        endpoint_id: EndpointId,
        document: SecretDocument,
    ) -> Result<String, AwsError> {
        const OPERATION: &str = "secretsmanager:PutSecretValue";
        let answer = self
            .client
            .put_secret_value()
            .secret_id(self.name(scope, endpoint_id))
            .secret_string(to_text(&document, OPERATION)?)
            .send()
            .await
            .map_err(|error| AwsError::from_sdk(OPERATION, &error))?;
        self.remember(endpoint_id, answer.version_id, document, OPERATION)
    }

    /// Has the version that the endpoint names labelled as the current one, and no other labelled at all: what is in no labelled version is gone. Repeating is
    /// safe.
    ///
    /// # Errors
    /// When Secrets Manager does not answer.
    pub async fn settle_labels(&self, scope: Scope, endpoint_id: EndpointId, current: &str) -> Result<(), AwsError> {
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

    /// The document of an endpoint in the version that its item names: from the cache, or with one call, however many ask for it at once.
    ///
    /// # Errors
    /// When Secrets Manager does not answer.
    pub async fn document(
        &self,
        scope: Scope,
        endpoint_id: EndpointId,
        version: &str,
    ) -> Result<Arc<SecretDocument>, AwsError> {
        if let Some((_, document)) = self.documents.get(&endpoint_id).filter(|(cached, _)| cached == version) {
            return Ok(document);
        }
        let name = (endpoint_id, version.to_owned());
        let reading = {
            let mut readings = lock(&self.readings);
            let begin = || self.clone().read_document(scope, endpoint_id, version.to_owned()).boxed().shared();
            readings.entry(name.clone()).or_insert_with(begin).clone()
        };
        let document = reading.await;
        lock(&self.readings).remove(&name);
        document
    }

    async fn read_document(
        self,
        scope: Scope,
        endpoint_id: EndpointId,
        version: String,
    ) -> Result<Arc<SecretDocument>, AwsError> {
        const OPERATION: &str = "secretsmanager:GetSecretValue";
        let get = self.client.get_secret_value().secret_id(self.name(scope, endpoint_id)).version_id(&version);
        let answer = get.send().await.map_err(|error| AwsError::from_sdk(OPERATION, &error))?;
        let text = answer.secret_string.unwrap_or_default();
        // The parser's message could quote the secret.
        let document: SecretDocument =
            serde_json::from_str(&text).map_err(|_| AwsError::unreadable(OPERATION, "not a secret document"))?;
        let document = Arc::new(document);
        self.documents.put(endpoint_id, (version, Arc::clone(&document)));
        Ok(document)
    }

    /// Removes the secret of an endpoint for good. Repeating is safe.
    ///
    /// # Errors
    /// When Secrets Manager does not answer.
    pub async fn remove(&self, scope: Scope, endpoint_id: EndpointId) -> Result<(), AwsError> {
        self.documents.forget(&endpoint_id);
        let delete = self.client.delete_secret().secret_id(self.name(scope, endpoint_id));
        match delete.force_delete_without_recovery(true).send().await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("ResourceNotFoundException") => Ok(()),
            Err(error) => Err(AwsError::from_sdk("secretsmanager:DeleteSecret", &error)),
        }
    }

    /// Whether this is the operator's root key. Takes as long for a wrong key as for the right one; reads Secrets Manager once a minute.
    ///
    /// # Errors
    /// When Secrets Manager does not answer.
    pub async fn is_root_key(&self, candidate: &str, now: Timestamp) -> Result<bool, AwsError> {
        let hash = match self.root_key.fresh(&(), now, ROOT_KEY_CACHED_SECONDS) {
            Some(hash) => hash,
            None => {
                let hash = self.read_root_key().await?;
                self.root_key.put_now((), hash, now);
                hash
            }
        };
        let candidate: [u8; 32] = Sha256::digest(candidate.as_bytes()).into();
        Ok(candidate.ct_eq(&hash).into())
    }

    /// Whether Secrets Manager answers: reads the root key.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), AwsError> {
        self.read_root_key().await.map(|_| ())
    }

    async fn read_root_key(&self) -> Result<[u8; 32], AwsError> {
        const OPERATION: &str = "secretsmanager:GetSecretValue";
        let answer: Result<_, SdkError<GetSecretValueError, _>> =
            self.client.get_secret_value().secret_id(&self.root_key_name).send().await;
        let key = answer.map_err(|error| AwsError::from_sdk(OPERATION, &error))?.secret_string.unwrap_or_default();
        if key.is_empty() {
            return Err(AwsError::unreadable(OPERATION, "the root key is empty"));
        }
        Ok(Sha256::digest(key.as_bytes()).into())
    }

    fn remember(
        &self,
        endpoint_id: EndpointId,
        version: Option<String>,
        document: SecretDocument,
        operation: &'static str,
    ) -> Result<String, AwsError> {
        let version = version.ok_or_else(|| AwsError::unreadable(operation, "no version in the answer"))?;
        self.documents.put(endpoint_id, (version.clone(), Arc::new(document)));
        Ok(version)
    }
}

fn to_text(document: &SecretDocument, operation: &'static str) -> Result<String, AwsError> {
    serde_json::to_string(document).map_err(|_| AwsError::unreadable(operation, "the document cannot be written"))
}
