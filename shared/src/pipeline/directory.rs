//! The tenants' endpoints, as deliver needs them: read again only when they have changed.
//!
//! A batch asks once, for all its tenants together, for the tenants' items, which count the changes of their endpoints. Where the count is that of
//! the cached list, the list is in force; so a new endpoint gets the very next event, a change is in force at once, and an instance that
//! serves the same tenants reads one small item per tenant and batch.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::try_join_all;

use crate::aws_error::AwsError;
use crate::domain::endpoint::Endpoint;
use crate::domain::id::EndpointId;
use crate::domain::tenant::Scope;
use crate::store::Store;

/// How many lists an instance keeps; over that it begins anew.
const LISTS_CACHED_MAX: usize = 1_000;

/// The endpoints of one tenant in one mode, by id.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    all: Arc<Vec<Arc<Endpoint>>>,
    /// Whether any of them is failing; which, the store knows.
    pub any_unwell: bool,
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
}

/// A list and the count of changes that it is of.
type List = (u64, Arc<Vec<Arc<Endpoint>>>);

/// The cached lists. Clones share them.
#[derive(Clone, Debug)]
pub struct Directory {
    store: Store,
    lists: Arc<Mutex<HashMap<Scope, List>>>,
}

impl Directory {
    /// An empty directory over the store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, lists: Arc::default() }
    }

    /// The endpoints of each of these scopes as they are now; none of a deleted tenant's. A scope whose tenant never was is not in the answer.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn endpoints(&self, scopes: &BTreeSet<Scope>) -> Result<HashMap<Scope, Endpoints>, AwsError> {
        let ids: Vec<_> = scopes.iter().map(|scope| scope.tenant_id).collect();
        let tenants = self.store.tenants(&ids).await?;
        let versions = scopes.iter().filter_map(|scope| {
            let tenant = tenants.get(&scope.tenant_id)?;
            let alive = tenant.tenant.deleted_at.is_none();
            Some((*scope, alive.then(|| (tenant.endpoints_version(*scope), tenant.has_failing(*scope)))))
        });
        let lists = versions.map(|(scope, known)| async move {
            match known {
                Some((version, any_unwell)) => {
                    let all = self.list(scope, version).await?;
                    Ok((scope, Endpoints { all, any_unwell }))
                }
                None => Ok((scope, Endpoints::default())),
            }
        });
        Ok(try_join_all(lists).await?.into_iter().collect())
    }

    async fn list(&self, scope: Scope, version: u64) -> Result<Arc<Vec<Arc<Endpoint>>>, AwsError> {
        let cached = self.lists.lock().unwrap_or_else(PoisonError::into_inner).get(&scope).cloned();
        if let Some((cached_version, all)) = cached
            && cached_version == version
        {
            return Ok(all);
        }
        // Read after the version: the list is at least as new. A newer one under an old version is only read once more.
        let mut all: Vec<_> = self.store.all_endpoints(scope).await?.into_iter().map(Arc::new).collect();
        all.sort_by_key(|endpoint| endpoint.id);
        let all = Arc::new(all);
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if lists.len() >= LISTS_CACHED_MAX {
            lists.clear();
        }
        lists.insert(scope, (version, Arc::clone(&all)));
        Ok(all)
    }
}
