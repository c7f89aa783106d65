//! The operator's root key, in Secrets Manager under a name of its own.

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::SdkError;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::aws_error::AwsError;
use crate::cache::{Cache, Dated};

/// For how long an instance keeps the key's hash, in seconds; after a rotation the old key works so much longer.
const CACHED_SECONDS: i64 = 60;

/// The root key and where it is.
#[derive(Clone)]
pub(super) struct RootKey {
    client: Client,
    name: String,
    /// Its SHA-256.
    hash: Cache<(), Dated<[u8; 32]>>,
}

impl RootKey {
    pub(super) fn new(client: Client, name: String) -> Self {
        Self { client, name, hash: Cache::new(1) }
    }

    /// Whether this is the operator's root key. Takes as long for a wrong key as for the right one; reads Secrets Manager once a minute.
    ///
    /// # Errors
    /// When Secrets Manager does not answer.
    pub(super) async fn is(&self, candidate: &str, now: Timestamp) -> Result<bool, AwsError> {
        let hash = match self.hash.fresh(&(), now, CACHED_SECONDS) {
            Some(hash) => hash,
            None => {
                let hash = self.read().await?;
                self.hash.put_now((), hash, now);
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
    pub(super) async fn ping(&self) -> Result<(), AwsError> {
        self.read().await.map(|_| ())
    }

    async fn read(&self) -> Result<[u8; 32], AwsError> {
        const OPERATION: &str = "secretsmanager:GetSecretValue";
        let answer: Result<_, SdkError<GetSecretValueError, _>> =
            self.client.get_secret_value().secret_id(&self.name).send().await;
        let key = answer.map_err(|error| AwsError::from_sdk(OPERATION, &error))?.secret_string.unwrap_or_default();
        if key.is_empty() {
            return Err(AwsError::unreadable(OPERATION, "the root key is empty"));
        }
        Ok(Sha256::digest(key.as_bytes()).into())
    }
}
