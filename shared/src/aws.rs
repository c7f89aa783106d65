//! How AWS is reached: where it is, who we are there, which certificates count, and the bounds of every call.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_http_client::HttpClientError;
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;

/// How long one try of a call to AWS may take, in seconds.
const AWS_TRY_SECONDS_MAX: u64 = 3;
/// How long a call to AWS may take with all its tries, in seconds; a caller of the API gets its 503 soon after.
const AWS_CALL_SECONDS_MAX: u64 = 8;
/// How often a call to AWS is tried.
const AWS_TRIES_MAX: u32 = 3;

/// The roots that AWS's own certificates lead to (Amazon Trust Services, "Certificate authorities"), and no others: loading all that the system trusts
/// is half of a cold start.
const AMAZON_ROOTS: [&str; 2] = ["Amazon Root CA ", "Starfield Services Root Certificate Authority"];

fn amazon_roots() -> Vec<String> {
    let is_amazons =
        |certificate: &&[u8]| AMAZON_ROOTS.iter().any(|name| memmem::find(certificate, name.as_bytes()).is_some());
    let all = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(AsRef::<[u8]>::as_ref);
    let pem = |certificate: &[u8]| {
        let encoded = STANDARD.encode(certificate);
        format!("-----BEGIN CERTIFICATE-----\n{encoded}\n-----END CERTIFICATE-----\n")
    };
    all.filter(is_amazons).map(pem).collect()
}

/// Where AWS is and who we are there, from Lambda's environment: region and credentials are always set, so the longer chain of the SDK is not asked.
///
/// # Errors
/// When the TLS library refuses its own defaults.
pub async fn from_env() -> Result<SdkConfig, HttpClientError> {
    let trusted = amazon_roots()
        .into_iter()
        .fold(TrustStore::empty(), |store, root| store.with_pem_certificate(root.into_bytes()));
    let https = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
        .tls_context(TlsContext::builder().with_trust_store(trusted).build()?)
        .build_https();
    let config = base()
        .http_client(https)
        .credentials_provider(aws_config::environment::EnvironmentVariableCredentialsProvider::new())
        .region(aws_config::environment::EnvironmentVariableRegionProvider::new())
        .load()
        .await;
    Ok(config)
}

/// The bounds of every call to AWS.
#[must_use]
pub fn base() -> aws_config::ConfigLoader {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(1))
        .operation_attempt_timeout(Duration::from_secs(AWS_TRY_SECONDS_MAX))
        .operation_timeout(Duration::from_secs(AWS_CALL_SECONDS_MAX))
        .build();
    aws_config::defaults(BehaviorVersion::latest())
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(AWS_TRIES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    #[test]
    fn five_roots_of_amazons_are_found_and_sound() {
        let mut store = rustls::RootCertStore::empty();
        for pem in amazon_roots() {
            store.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
        }
        assert_eq!(store.len(), 5);
    }

    #[tokio::test]
    async fn client_for_aws_can_be_made_with_them() {
        assert!(from_env().await.unwrap().http_client().is_some());
    }
}
