//! Header names and values that callers choose: nothing that could split a request, or stand in for what the connection or Outhook sets.

use std::collections::{BTreeMap, BTreeSet};

use http::{HeaderName, HeaderValue};

/// The most headers of an endpoint.
pub const HEADERS_MAX: usize = 20;
/// The longest name of a header, in bytes.
pub const HEADER_NAME_BYTES_MAX: usize = 256;
/// The longest value of a header, in bytes.
pub const HEADER_VALUE_BYTES_MAX: usize = 1_024;

/// How much of a wrong name an error shows, in characters.
const HEADER_NAME_SHOWN_MAX: usize = 64;

/// The headers of an endpoint, by lower-case name.
///
/// # Errors
/// The rule.
pub(super) fn check_headers(headers: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
    if headers.len() > HEADERS_MAX {
        return Err(format!("must be at most {HEADERS_MAX} headers"));
    }
    let mut checked = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (name, value) in headers {
        let lower = check_header_name(&name).map_err(|rule| {
            let shown: String = name.chars().take(HEADER_NAME_SHOWN_MAX).collect();
            format!("name {shown:?} {rule}")
        })?;
        if lower == "authorization" {
            return Err("must not hold authorization; use the authorization field, which keeps it secret".to_owned());
        }
        if value.len() > HEADER_VALUE_BYTES_MAX {
            return Err(format!("value of {lower} must be at most {HEADER_VALUE_BYTES_MAX} bytes"));
        }
        let value = check_header_value(value).map_err(|rule| format!("value of {lower} {rule}"))?;
        if !seen.insert(lower.clone()) {
            return Err(format!("must not name {lower} twice"));
        }
        checked.insert(lower, value);
    }
    Ok(checked)
}

/// Headers that describe the connection, or that receivers trust to be ours; in lower case.
pub const RESERVED_HEADERS: &[&str] = &[
    "connection",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];
/// What headers begin with that describe the message or carry its signature.
pub const RESERVED_HEADER_BEGINNINGS: &[&str] = &["content-", "webhook-"];

fn is_reserved_header(name: &str) -> bool {
    RESERVED_HEADERS.contains(&name) || RESERVED_HEADER_BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

pub(super) fn check_header_name(name: &str) -> Result<String, String> {
    if name.len() > HEADER_NAME_BYTES_MAX {
        return Err(format!("must be at most {HEADER_NAME_BYTES_MAX} bytes"));
    }
    let lower =
        HeaderName::from_bytes(name.as_bytes()).map_err(|_| "must be a header name (RFC 9110 5.1)".to_owned())?;
    if is_reserved_header(lower.as_str()) {
        return Err("must not be a header that Outhook or the connection sets".to_owned());
    }
    Ok(lower.as_str().to_owned())
}

pub(super) fn check_header_value(value: String) -> Result<String, String> {
    let visible = value.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b));
    if !visible || HeaderValue::from_str(&value).is_err() {
        return Err("must be visible ASCII characters, spaces and tabs".to_owned());
    }
    if value.trim() != value {
        return Err("must not begin or end with white space".to_owned());
    }
    Ok(value)
}
