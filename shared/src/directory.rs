//! The tenants' endpoints, as deliver needs them: read again only when they have changed.
//!
//! A batch asks once, for all its tenants together, for the tenants' items, which count the changes of their endpoints. Where the count is that of
//! the cached list, the list is current; so a new endpoint gets the very next event, a change applies at once, and an instance that
//! serves the same tenants reads one small item per tenant and batch.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures::future::try_join_all;

use crate::aws_error::AwsError;
use crate::cache::Cache;
use crate::domain::endpoint::Endpoint;
use crate::domain::id::{EndpointId, TenantId};
use crate::domain::tenant::Scope;
use crate::store::Store;
use crate::store::endpoints::{TENANT_ENDPOINTS_BYTES_MAX, bytes_of};
use crate::store::items::TenantItem;

/// How much an instance keeps of the endpoints of all tenants together, as JSON, in bytes; over that it begins anew. In memory it is some three times as much.
const CACHED_BYTES_MAX: usize = TENANT_ENDPOINTS_BYTES_MAX;
/// What an empty list counts for, in bytes.
const LIST_BYTES: usize = 1_024;

/// The endpoints of one tenant in one mode, by id.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    all: Arc<Vec<Arc<Endpoint>>>,
    lacks_some: bool,
}

impl Endpoints {
    /// All of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.all.iter()
    }

    /// The one of this id.
    #[must_use]
    pub fn get(&self, id: EndpointId) -> Option<&Arc<Endpoint>> {
        self.all.binary_search_by_key(&id, |endpoint| endpoint.id).ok().map(|index| &self.all[index])
    }

    /// Whether there are others that cannot be read. What is for them has to come again.
    #[must_use]
    pub fn lacks_some(&self) -> bool {
        self.lacks_some
    }
}

#[cfg(test)]
impl Endpoints {
    /// The same, with others that cannot be read.
    pub(crate) fn lacking_some(self) -> Self {
        Self { lacks_some: true, ..self }
    }
}

impl FromIterator<Endpoint> for Endpoints {
    fn from_iter<I: IntoIterator<Item = Endpoint>>(endpoints: I) -> Self {
        let mut all: Vec<_> = endpoints.into_iter().map(Arc::new).collect();
        all.sort_by_key(|endpoint| endpoint.id);
        Self { all: Arc::new(all), lacks_some: false }
    }
}

/// A list.
#[derive(Clone, Debug)]
struct List {
    /// The count of changes that it is of.
    version: u64,
    endpoints: Endpoints,
}

/// The cached lists. Clones share them.
#[derive(Clone, Debug)]
pub struct Directory {
    store: Store,
    lists: Cache<Scope, List>,
}

impl Directory {
    /// An empty directory over the store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, lists: Cache::new(CACHED_BYTES_MAX) }
    }

    /// The endpoints of each of these scopes as they are now; none of a deleted tenant's. A scope whose tenant never was is not in the answer.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn endpoints(&self, scopes: &BTreeSet<Scope>) -> Result<HashMap<Scope, Endpoints>, AwsError> {
        let ids: Vec<_> = scopes.iter().map(|scope| scope.tenant_id).collect();
        let tenants = self.store.tenants(&ids).await?;
        self.endpoints_of(scopes, &tenants).await
    }

    /// The same, where the tenants have been read already.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn endpoints_of(
        &self,
        scopes: &BTreeSet<Scope>,
        tenants: &HashMap<TenantId, TenantItem>,
    ) -> Result<HashMap<Scope, Endpoints>, AwsError> {
        let known =
            scopes.iter().filter_map(|scope| Some((*scope, current_version(*scope, tenants.get(&scope.tenant_id)?))));
        let lists = known.map(|(scope, version)| self.at_version(scope, version));
        Ok(try_join_all(lists).await?.into_iter().collect())
    }

    async fn at_version(&self, scope: Scope, version: Option<u64>) -> Result<(Scope, Endpoints), AwsError> {
        match version {
            Some(version) => Ok((scope, self.list(scope, version).await?)),
            None => Ok((scope, Endpoints::default())),
        }
    }

    /// The endpoints of a tenant that has been read just now.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn of_tenant(&self, scope: Scope, tenant: &TenantItem) -> Result<Endpoints, AwsError> {
        self.at_version(scope, current_version(scope, tenant)).await.map(|(_, endpoints)| endpoints)
    }

    /// Whether the endpoints of a tenant that has been read just now are known without reading them.
    #[must_use]
    pub fn is_current(&self, scope: Scope, tenant: &TenantItem) -> bool {
        match current_version(scope, tenant) {
            Some(version) => self.lists.get(&scope).is_some_and(|list| list.version == version),
            None => true,
        }
    }

    /// The endpoints as this process has seen them last; `None` if it has not.
    #[must_use]
    pub fn remembered(&self, scope: Scope) -> Option<Endpoints> {
        self.lists.get(&scope).map(|list| list.endpoints)
    }

    async fn list(&self, scope: Scope, version: u64) -> Result<Endpoints, AwsError> {
        if let Some(list) = self.lists.get(&scope).filter(|list| list.version == version) {
            return Ok(list.endpoints);
        }
        // Read after the version: the list is at least as new. A newer one under an old version is only read once more.
        let (all, unreadable) = self.store.readable_endpoints(scope).await?;
        let bytes = LIST_BYTES + all.iter().map(bytes_of).sum::<usize>();
        let mut endpoints: Endpoints = all.into_iter().collect();
        if unreadable > 0 {
            endpoints.lacks_some = true;
            // Not remembered: when the item is mended, nothing else says so.
            return Ok(endpoints);
        }
        self.lists.put_weighing(scope, List { version, endpoints: endpoints.clone() }, bytes);
        Ok(endpoints)
    }
}

/// The count of changes that a tenant's list is of; a deleted tenant has none.
fn current_version(scope: Scope, tenant: &TenantItem) -> Option<u64> {
    (!tenant.is_deleted()).then(|| tenant.endpoints_version(scope))
}
