//! The resolver that no connection gets around: it judges every address that a name leads to, and hands out only those that are permitted.
//!
//! The HTTP client connects to what this resolver returns and to nothing else, so an answer that changes between check and connection
//! gains nothing. Addresses that stand in a URL itself never reach a resolver; the sender judges those before it asks for a connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use futures::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::stage;
use crate::domain::address::AddressPolicy;

/// How long resolving a name may take, in seconds.
pub const RESOLVE_SECONDS_MAX: u64 = 5;

/// Why a name led nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Every address it leads to is internal, or the name itself is.
    Blocked,
    /// It does not exist, or the resolver does not know.
    NotFound(String),
    /// Resolving took too long.
    Timeout,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blocked => f.write_str("the name leads to an internal address"),
            Self::NotFound(detail) => write!(f, "the name could not be resolved: {detail}"),
            Self::Timeout => write!(f, "resolving the name took longer than {RESOLVE_SECONDS_MAX} s"),
        }
    }
}

impl std::error::Error for Refusal {}

/// Finds the addresses of a name; without judging them.
pub trait Lookup: fmt::Debug + Send + Sync {
    /// The name's addresses; the port of each is the caller's business.
    fn addresses(&self, name: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;
}

/// The system's resolver.
#[derive(Clone, Copy, Debug)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn addresses(&self, name: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) })
    }
}

/// Resolves names and keeps what the policy permits.
#[derive(Clone, Debug)]
pub(super) struct GuardedResolver {
    pub(super) policy: Arc<AddressPolicy>,
    pub(super) lookup: Arc<dyn Lookup>,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let Self { policy, lookup } = self.clone();
        Box::pin(async move {
            if !policy.permits_name(name.as_str()) {
                return Err(Refusal::Blocked.into());
            }
            let looking_up = lookup.addresses(name.as_str().to_owned());
            let limit = Duration::from_secs(RESOLVE_SECONDS_MAX);
            let found = match stage::resolving(tokio::time::timeout(limit, looking_up)).await {
                Ok(Ok(found)) => found,
                Ok(Err(error)) => return Err(Refusal::NotFound(error.to_string()).into()),
                Err(_) => return Err(Refusal::Timeout.into()),
            };
            Ok(Box::new(permitted(&policy, found)?.into_iter()) as Addrs)
        })
    }
}

/// The addresses that may be dialled; a bad one among good ones is left out.
fn permitted(policy: &AddressPolicy, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Refusal> {
    if found.is_empty() {
        return Err(Refusal::NotFound("it has no address".to_owned()));
    }
    let kept: Vec<_> = found.into_iter().filter(|address| policy.permits(address.ip())).collect();
    if kept.is_empty() { Err(Refusal::Blocked) } else { Ok(kept) }
}
