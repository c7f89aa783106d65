//! How receivers are trusted.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

/// Mozilla's roots, built in: loading the system's costs more than all the rest of a cold start.
pub(super) fn public_roots() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
}

/// TLS 1.2 and 1.3, trusting these roots.
///
/// # Errors
/// When the TLS library refuses its own defaults.
pub(super) fn config(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}
