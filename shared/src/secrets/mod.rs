//! Signing keys and receivers' credentials: one document per endpoint, kept in one of two ways ([`SigningSecrets`]).
//!
//! - Dedicated: in Secrets Manager, in a secret of its own ([`manager`]).
//! - Sealed: in the endpoint's item, under a data key of its tenant, which is wrapped by a key of the stack ([`wrapping`]).
//!
//! Both are read, wherever a document is; what is configured is written. A document is read once per version and instance: the endpoint's item carries the
//! current version, so what is cached under it is never stale. Nothing here logs or formats a document.

mod manager;
mod root_key;
mod sealing;
mod wrapping;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_sdk_secretsmanager::Client;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use jiff::Timestamp;

use crate::aws_error::AwsError;
use crate::cache::{Cache, lock};
use crate::clock::Clock;
use crate::config::Config;
use crate::domain::endpoint::Endpoint;
use crate::domain::id::{EndpointId, TenantId};
use crate::domain::signing_secret::{Sealed, SecretDocument, SigningSecrets};
use crate::domain::tenant::Scope;
use crate::random;
use crate::store::Store;
use crate::store::data_keys::SEALED_GOAL;
use manager::Manager;
use root_key::RootKey;
use wrapping::Wrapping;

/// How many endpoints' documents an instance keeps; over that it begins anew.
const DOCUMENTS_CACHED_MAX: usize = 10_000;

/// A document that is being read, for others that want it meanwhile.
type Reading = Shared<BoxFuture<'static, Result<Arc<SecretDocument>, AwsError>>>;

/// The secrets of this stack and the clients that reach them. Clones share what is cached.
#[derive(Clone)]
pub struct Secrets {
    /// How documents are written.
    form: SigningSecrets,
    prefix: String,
    manager: Manager,
    wrapping: Wrapping,
    root_key: RootKey,
    store: Store,
    /// Each with the version that it is of.
    documents: Cache<EndpointId, (String, Arc<SecretDocument>)>,
    readings: Arc<Mutex<HashMap<(EndpointId, String), Reading>>>,
}

/// Where a document is kept: the endpoint's item has to name both to make it current.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The document's version.
    pub version: String,
    /// The document, where it is sealed into the endpoint's item.
    pub sealed: Option<Sealed>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").field("form", &self.form).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Secrets {
    /// The secrets of the stack that is configured. Names in Secrets Manager begin with the configured prefix and a slash; the root key has its own name.
    #[must_use]
    pub fn new(client: Client, store: Store, clock: Clock, config: &Config) -> Self {
        let (prefix, kms_key_id) = (config.secrets_prefix.clone(), config.secrets_kms_key_id.clone());
        Self {
            form: config.signing_secrets,
            prefix: prefix.clone(),
            manager: Manager::new(client.clone(), prefix.clone(), kms_key_id.clone()),
            wrapping: Wrapping::new(client.clone(), store.clone(), clock, prefix, kms_key_id),
            root_key: RootKey::new(client, config.root_key_secret_name.clone()),
            store,
            documents: Cache::new(DOCUMENTS_CACHED_MAX),
            readings: Arc::default(),
        }
    }

    /// Whether a new document lies outside the endpoint's item, so that it can be left behind.
    #[must_use]
    pub fn are_dedicated(&self) -> bool {
        self.form == SigningSecrets::Dedicated
    }

    /// Whether an endpoint's document is kept in the way that is configured.
    #[must_use]
    pub fn is_kept_as_configured(&self, endpoint: &Endpoint) -> bool {
        endpoint.signing.sealed.is_none() == self.are_dedicated()
    }

    /// Keeps the document of a new endpoint, also where an earlier try at making the endpoint has left one.
    ///
    /// # Errors
    /// When AWS does not take it.
    pub async fn create(&self, scope: Scope, id: EndpointId, document: SecretDocument) -> Result<Kept, AwsError> {
        match self.form {
            SigningSecrets::Sealed => self.seal(scope, id, document).await,
            SigningSecrets::Dedicated => {
                let version = self.manager.create(scope, id, &document).await?;
                Ok(self.remember(id, Kept { version, sealed: None }, document))
            }
        }
    }

    /// Keeps another document of an endpoint, in the way that is configured. One that has been sealed stays so while the secret that it had before is being
    /// removed.
    ///
    /// # Errors
    /// When AWS does not take it.
    pub async fn replace(&self, endpoint: &Endpoint, document: SecretDocument) -> Result<Kept, AwsError> {
        let (scope, id) = (endpoint.scope, endpoint.id);
        let was_sealed = endpoint.signing.sealed.is_some();
        let stays_sealed = was_sealed && self.store.leaves_secret(id).await?;
        if !self.are_dedicated() || stays_sealed {
            return self.seal(scope, id, document).await;
        }
        let version = match was_sealed {
            true => self.manager.create(scope, id, &document).await?,
            false => self.manager.replace(scope, id, &document).await?,
        };
        Ok(self.remember(id, Kept { version, sealed: None }, document))
    }

    async fn seal(&self, scope: Scope, id: EndpointId, document: SecretDocument) -> Result<Kept, AwsError> {
        let unwritable = || AwsError::unreadable("outhook:Seal", "the document cannot be sealed");
        let key = self.wrapping.data_key_or_new(scope.tenant_id).await?;
        let version = hex::encode(random::bytes::<16>());
        let text = serde_json::to_vec(&document).map_err(|_| unwritable())?;
        let sealed = key.seal(&self.name(scope, id, &version), random::bytes(), &text).ok_or_else(unwritable)?;
        Ok(self.remember(id, Kept { version, sealed: Some(Sealed::new(sealed)) }, document))
    }

    /// What a document is sealed under: it opens for this version of this endpoint of this stack alone.
    fn name(&self, scope: Scope, id: EndpointId, version: &str) -> String {
        format!("outhook/1/{}/{}/{}/{id}/{version}", self.prefix, scope.tenant_id, scope.mode)
    }

    fn remember(&self, id: EndpointId, kept: Kept, document: SecretDocument) -> Kept {
        self.documents.put(id, (kept.version.clone(), Arc::new(document)));
        kept
    }

    /// Has the version that a dedicated secret's endpoint names labelled as the current one, and no other labelled at all: what is in no labelled version is
    /// gone. Repeating is safe.
    ///
    /// # Errors
    /// When Secrets Manager does not answer.
    pub async fn settle_labels(&self, endpoint: &Endpoint) -> Result<(), AwsError> {
        match endpoint.signing.sealed {
            Some(_) => Ok(()),
            None => self.manager.settle_labels(endpoint.scope, endpoint.id, &endpoint.signing.secret_version).await,
        }
    }

    /// The current document of an endpoint: from the cache, or read once, however many ask for it at once.
    ///
    /// # Errors
    /// When AWS does not answer, or the document cannot be read.
    pub async fn document(&self, endpoint: &Endpoint) -> Result<Arc<SecretDocument>, AwsError> {
        let signing = &endpoint.signing;
        self.document_of(endpoint.scope, endpoint.id, &signing.secret_version, signing.sealed.as_ref()).await
    }

    /// The document of an endpoint in this version, which is in Secrets Manager where it is not given.
    ///
    /// # Errors
    /// When AWS does not answer, or the document cannot be read.
    pub async fn document_of(
        &self,
        scope: Scope,
        id: EndpointId,
        version: &str,
        sealed: Option<&Sealed>,
    ) -> Result<Arc<SecretDocument>, AwsError> {
        if let Some((_, document)) = self.documents.get(&id).filter(|(cached, _)| cached == version) {
            return Ok(document);
        }
        let name = (id, version.to_owned());
        let reading = {
            let mut readings = lock(&self.readings);
            let begin = || self.clone().read(scope, id, version.to_owned(), sealed.cloned()).boxed().shared();
            readings.entry(name.clone()).or_insert_with(begin).clone()
        };
        let document = reading.await;
        lock(&self.readings).remove(&name);
        document
    }

    async fn read(
        self,
        scope: Scope,
        id: EndpointId,
        version: String,
        sealed: Option<Sealed>,
    ) -> Result<Arc<SecretDocument>, AwsError> {
        let document = match sealed {
            None => self.manager.read(scope, id, &version).await?,
            Some(sealed) => {
                let unreadable = || AwsError::unreadable("outhook:Unseal", "a document does not open");
                let key = self.wrapping.data_key(scope.tenant_id).await?;
                let text = key.open(&self.name(scope, id, &version), sealed.as_str()).ok_or_else(unreadable)?;
                // The parser's message could quote the secret.
                serde_json::from_slice(&text).map_err(|_| unreadable())?
            }
        };
        let document = Arc::new(document);
        self.documents.put(id, (version, Arc::clone(&document)));
        Ok(document)
    }

    /// Removes the secret of an endpoint from Secrets Manager for good. Repeating is safe.
    ///
    /// # Errors
    /// When Secrets Manager does not answer.
    pub async fn remove(&self, scope: Scope, id: EndpointId) -> Result<(), AwsError> {
        self.documents.forget(&id);
        self.manager.remove(scope, id).await
    }

    /// Has a tenant's data key, if it has one, wrapped by the current wrapping key; whether it was not. Repeating is safe.
    ///
    /// # Errors
    /// When AWS does not answer, or the key cannot be read.
    pub async fn rewrap(&self, tenant_id: TenantId) -> Result<bool, AwsError> {
        self.wrapping.rewrap(tenant_id).await
    }

    /// How documents are to be kept, in a word that changes with the configuration and with the wrapping key.
    ///
    /// # Errors
    /// When Secrets Manager does not answer.
    pub async fn goal(&self) -> Result<String, AwsError> {
        match self.form {
            SigningSecrets::Dedicated => Ok("dedicated".to_owned()),
            SigningSecrets::Sealed => Ok(format!("{SEALED_GOAL}{}", self.wrapping.current_key_id().await?)),
        }
    }

    /// Whether this is the operator's root key. Takes as long for a wrong key as for the right one; reads Secrets Manager once a minute.
    ///
    /// # Errors
    /// When Secrets Manager does not answer.
    pub async fn is_root_key(&self, candidate: &str, now: Timestamp) -> Result<bool, AwsError> {
        self.root_key.is(candidate, now).await
    }

    /// Whether Secrets Manager answers: reads the root key.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), AwsError> {
        self.root_key.ping().await
    }
}
