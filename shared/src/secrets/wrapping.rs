//! Tenants' data keys, and the ring of wrapping keys that they are kept under.
//!
//! The ring is one secret of the stack in Secrets Manager. It is read when an instance first needs it, and again when a data key names a wrapping key that is not
//! in it. A data key lies wrapped in an item of its own beside the tenant's; where that is gone, what the key has sealed opens no more.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::sealing::{KEY_BYTES, SealingKey};
use crate::aws_error::AwsError;
use crate::cache::{Cache, Dated};
use crate::clock::Clock;
use crate::domain::id::TenantId;
use crate::random;
use crate::store::Store;
use crate::store::data_keys::{Conversion, SEALED_GOAL, WrappedKey};

/// What the ring is called behind the stack's prefix.
const RING_NAME: &str = "wrapping-keys";
/// How old the ring may be when a new data key is wrapped, in seconds.
const RING_CURRENT_SECONDS: i64 = 60;
/// How many missing keys of the ring are remembered.
const MISSING_CACHED_MAX: usize = 100;
/// How often at most the ring is read again for a key that is not in it, in seconds.
const RING_AGAIN_SECONDS: i64 = 10;
/// How many tenants' data keys an instance keeps; over that it begins anew.
const DATA_KEYS_CACHED_MAX: usize = 10_000;

/// The wrapping keys of a stack, as its secret holds them: `{"current": "…", "keys": {"…": "<base64 of 32 bytes>"}}`.
#[derive(Serialize, Deserialize)]
struct Ring {
    current: String,
    keys: BTreeMap<String, String>,
}

impl Ring {
    fn key(&self, id: &str) -> Option<SealingKey> {
        SealingKey::new(&STANDARD.decode(self.keys.get(id)?).ok()?)
    }
}

/// The wrapping keys and what they wrap. Clones share what is cached.
#[derive(Clone)]
pub(super) struct Wrapping {
    client: Client,
    store: Store,
    clock: Clock,
    /// What the names of this stack's secrets begin with.
    prefix: String,
    kms_key_id: Option<String>,
    ring: Cache<(), Dated<Arc<Ring>>>,
    /// Keys that the ring was read again for, in vain.
    missing: Cache<String, Dated<()>>,
    /// Each with what it was wrapped as.
    data_keys: Cache<TenantId, (WrappedKey, Arc<SealingKey>)>,
}

impl Wrapping {
    pub(super) fn new(client: Client, store: Store, clock: Clock, prefix: String, kms_key_id: Option<String>) -> Self {
        let (ring, missing, data_keys) =
            (Cache::new(1), Cache::new(MISSING_CACHED_MAX), Cache::new(DATA_KEYS_CACHED_MAX));
        Self { client, store, clock, prefix, kms_key_id, ring, missing, data_keys }
    }

    /// The data key of a tenant that has one.
    pub(super) async fn data_key(&self, tenant_id: TenantId) -> Result<Arc<SealingKey>, AwsError> {
        if let Some((_, key)) = self.data_keys.get(&tenant_id) {
            return Ok(key);
        }
        let wrapped = self.store.data_key(tenant_id).await?;
        let wrapped = wrapped.ok_or_else(|| unreadable("the tenant has no data key"))?;
        self.open(tenant_id, wrapped).await
    }

    /// The data key of a tenant, which gets one if it has none. It is the one that the table holds now: what is remembered may be of a table that has been restored since.
    pub(super) async fn data_key_or_new(&self, tenant_id: TenantId) -> Result<Arc<SealingKey>, AwsError> {
        let mut found = self.store.data_key(tenant_id).await?;
        if found.is_none() {
            let wrapped = self.wrap(tenant_id, &random::bytes::<KEY_BYTES>()).await?;
            // Somebody else may be quicker: theirs is the key then.
            self.store.insert_data_key(tenant_id, &wrapped).await?;
            found = self.store.data_key(tenant_id).await?;
        }
        let wrapped = found.ok_or_else(|| unreadable("the tenant has no data key"))?;
        match self.data_keys.get(&tenant_id) {
            Some((known, key)) if known == wrapped => Ok(key),
            _ => self.open(tenant_id, wrapped).await,
        }
    }

    async fn open(&self, tenant_id: TenantId, wrapped: WrappedKey) -> Result<Arc<SealingKey>, AwsError> {
        let bytes = self.unwrap(tenant_id, &wrapped).await?;
        let key = Arc::new(SealingKey::new(&bytes).ok_or_else(|| unreadable("a data key has a wrong length"))?);
        self.data_keys.put(tenant_id, (wrapped, Arc::clone(&key)));
        Ok(key)
    }

    /// Has a tenant's data key wrapped by the ring's current key; whether it was not. What it has sealed stays as it is. Repeating is safe.
    pub(super) async fn rewrap(&self, tenant_id: TenantId) -> Result<bool, AwsError> {
        let Some(wrapped) = self.store.data_key(tenant_id).await? else { return Ok(false) };
        if wrapped.wrapped_by == self.current_ring().await?.current {
            return Ok(false);
        }
        let bytes = self.unwrap(tenant_id, &wrapped).await?;
        let rewrapped = self.wrap(tenant_id, &bytes).await?;
        self.store.replace_data_key(tenant_id, &wrapped, &rewrapped).await?;
        Ok(true)
    }

    /// Which key of the ring wraps now.
    pub(super) async fn current_key_id(&self) -> Result<String, AwsError> {
        Ok(self.current_ring().await?.current.clone())
    }

    fn name(&self, tenant_id: TenantId) -> String {
        format!("outhook/1/{}/{tenant_id}/data-key", self.prefix)
    }

    async fn wrap(&self, tenant_id: TenantId, bytes: &[u8]) -> Result<WrappedKey, AwsError> {
        let ring = self.current_ring().await?;
        let key = ring.key(&ring.current).ok_or_else(|| unreadable("the ring lacks its current key"))?;
        let wrapped = key.seal(&self.name(tenant_id), random::bytes(), bytes);
        let wrapped = wrapped.ok_or_else(|| unreadable("a data key cannot be wrapped"))?;
        Ok(WrappedKey { wrapped_by: ring.current.clone(), wrapped })
    }

    async fn unwrap(&self, tenant_id: TenantId, wrapped: &WrappedKey) -> Result<Vec<u8>, AwsError> {
        let mut ring = match self.ring.get(&()) {
            Some(read) => read.value,
            None => self.read_ring().await?,
        };
        if ring.key(&wrapped.wrapped_by).is_none() {
            // It was added since. Where it is in no ring, asking for it again and again does not help.
            let now = self.clock.now();
            if self.missing.fresh(&wrapped.wrapped_by, now, RING_AGAIN_SECONDS).is_none() {
                ring = self.read_ring().await?;
                if ring.key(&wrapped.wrapped_by).is_none() {
                    self.missing.put_now(wrapped.wrapped_by.clone(), (), now);
                }
            }
        }
        let key = ring.key(&wrapped.wrapped_by).ok_or_else(|| unreadable("the ring lacks a key"))?;
        key.open(&self.name(tenant_id), &wrapped.wrapped).ok_or_else(|| unreadable("a data key does not open"))
    }

    /// The ring, which is made if there is none.
    async fn current_ring(&self) -> Result<Arc<Ring>, AwsError> {
        if let Some(ring) = self.ring.fresh(&(), self.clock.now(), RING_CURRENT_SECONDS) {
            return Ok(ring);
        }
        match (self.find_ring().await, self.ring.get(&())) {
            (Ok(Some(ring)), _) => Ok(ring),
            (Ok(None), _) => {
                let was_sealed = |conversion: Conversion| conversion.goal.starts_with(SEALED_GOAL);
                if self.store.conversion().await?.is_some_and(was_sealed) {
                    return Err(no_ring("the ring of wrapping keys is gone"));
                }
                self.make_ring().await?;
                self.read_ring().await
            }
            // An older one wraps as well.
            (Err(error), Some(read)) if error.retryable => Ok(read.value),
            (Err(error), _) => Err(error),
        }
    }

    async fn read_ring(&self) -> Result<Arc<Ring>, AwsError> {
        self.find_ring().await?.ok_or_else(|| no_ring("there is no ring of wrapping keys"))
    }

    async fn find_ring(&self) -> Result<Option<Arc<Ring>>, AwsError> {
        let answer = self.client.get_secret_value().secret_id(self.ring_name()).send().await;
        let text = match answer {
            Ok(answer) => answer.secret_string.unwrap_or_default(),
            Err(error) if error.code() == Some("ResourceNotFoundException") => return Ok(None),
            // Whatever it is: what needs the ring waits until that is mended, and fails nobody's attempts.
            Err(error) => {
                return Err(AwsError {
                    retryable: true,
                    ..AwsError::from_sdk("secretsmanager:GetSecretValue", &error)
                });
            }
        };
        // The parser's message could quote a key.
        let ring: Ring = serde_json::from_str(&text).map_err(|_| no_ring("not a ring of wrapping keys"))?;
        let ring = Arc::new(ring);
        self.ring.put_now((), Arc::clone(&ring), self.clock.now());
        Ok(Some(ring))
    }

    /// Makes a ring with one key, unless somebody else does.
    async fn make_ring(&self) -> Result<(), AwsError> {
        let id = hex::encode(random::bytes::<4>());
        let key = STANDARD.encode(random::bytes::<KEY_BYTES>());
        let ring = Ring { current: id.clone(), keys: BTreeMap::from([(id, key)]) };
        let text = serde_json::to_string(&ring).map_err(|_| unreadable("a ring cannot be written"))?;
        let create = self.client.create_secret().name(self.ring_name()).secret_string(text);
        let create = create
            .description("Outhook: the keys that wrap tenants' data keys")
            .set_kms_key_id(self.kms_key_id.clone());
        match create.send().await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("ResourceExistsException") => Ok(()),
            Err(error) => Err(AwsError::from_sdk("secretsmanager:CreateSecret", &error)),
        }
    }

    fn ring_name(&self) -> String {
        format!("{}/{RING_NAME}", self.prefix)
    }
}

/// There is no ring that can be read: all tenants wait until somebody mends that.
fn no_ring(detail: &'static str) -> AwsError {
    AwsError { retryable: true, ..unreadable(detail) }
}

fn unreadable(detail: &'static str) -> AwsError {
    AwsError::unreadable("outhook:Unseal", detail)
}
