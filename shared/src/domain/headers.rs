//! Header names and values that callers choose: nothing that could split a request, or stand in for what the connection or Outhook sets.

use std::collections::{BTreeMap, BTreeSet};

use http::{HeaderName, HeaderValue};

/// The most headers of an endpoint.
pub const HEADERS_MAX: usize = 20;
/// The longest name of a header, in bytes.
pub const HEADER_NAME_BYTES_MAX: usize = 128;
/// The most bytes of all headers of an endpoint, names and values together. They are ASCII, so it is characters too.
pub const HEADERS_BYTES_MAX: usize = 8_192;

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
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > HEADERS_BYTES_MAX {
        return Err(format!("must be at most {HEADERS_BYTES_MAX} bytes, names and values together"));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(usize, usize)]) -> Result<(), String> {
        let headers = headers.iter().enumerate().map(|(n, (name, value))| {
            let start = format!("x{n:02}");
            (format!("{start}{}", "n".repeat(name - start.len())), "v".repeat(*value))
        });
        check_headers(headers.collect()).map(|_| ())
    }

    #[test]
    fn headers_are_bounded_in_number_in_their_names_and_all_together() {
        assert_eq!(check(&[(3, 0); HEADERS_MAX]), Ok(()));
        assert_eq!(check(&[(3, 0); HEADERS_MAX + 1]).unwrap_err(), "must be at most 20 headers");
        assert_eq!(check(&[(128, 8_064)]), Ok(()));
        let too_much = "must be at most 8192 bytes, names and values together";
        assert_eq!(check(&[(128, 8_065)]).unwrap_err(), too_much);
        assert_eq!(check(&[(8, 4_088), (8, 4_089)]).unwrap_err(), too_much);
        assert!(check(&[(129, 1)]).unwrap_err().ends_with("must be at most 128 bytes"));
    }
}
