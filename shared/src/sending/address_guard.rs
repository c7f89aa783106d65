//! The resolver that no connection gets around: it judges every address that a name leads to, and hands out only those that are permitted.
//!
//! The HTTP client connects to what this resolver returns and to nothing else, so an answer that changes between check and connection
//! gains nothing. Addresses that stand in a URL itself never reach a resolver; the sender judges those before it asks for a connection.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::stage::{self, Stage};
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

/// Resolves names by the system's resolver and keeps what the policy permits.
#[derive(Clone, Debug)]
pub(super) struct GuardedResolver {
    pub(super) policy: Arc<AddressPolicy>,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = Arc::clone(&self.policy);
        Box::pin(async move {
            if !policy.permits_name(name.as_str()) {
                return Err(Refusal::Blocked.into());
            }
            stage::enter(Stage::Resolving);
            // The port is the client's business; it puts the URL's in.
            let lookup = tokio::net::lookup_host((name.as_str(), 0));
            let found = match tokio::time::timeout(Duration::from_secs(RESOLVE_SECONDS_MAX), lookup).await {
                Ok(Ok(found)) => found.collect::<Vec<_>>(),
                Ok(Err(error)) => return Err(Refusal::NotFound(error.to_string()).into()),
                Err(_) => return Err(Refusal::Timeout.into()),
            };
            stage::enter(Stage::Connecting);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| format!("{text}:0").parse().unwrap()).collect()
    }

    #[test]
    fn a_bad_address_among_good_ones_is_never_dialled() {
        let policy = AddressPolicy::default();
        let kept = permitted(&policy, addresses(&["8.8.8.8", "127.0.0.1", "[::1]", "1.1.1.1"])).unwrap();
        assert_eq!(kept, addresses(&["8.8.8.8", "1.1.1.1"]));
        assert_eq!(permitted(&policy, addresses(&["10.0.0.1"])), Err(Refusal::Blocked));
        assert!(matches!(permitted(&policy, vec![]), Err(Refusal::NotFound(_))));
    }
}
