//! How an endpoint's requests are signed: Standard Webhooks, or a form that its receivers already check.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::headers::{HEADERS_MAX, check_header_name, check_header_value};
use super::validation::{Fields, word};

/// The longest template of what is signed, in bytes.
pub const TEMPLATE_BYTES_MAX: usize = 256;
/// The header of an `hmac` signature unless the endpoint says otherwise.
pub const HMAC_HEADER_DEFAULT: &str = "x-signature";

/// How an endpoint's requests are signed. `webhook-id` and `webhook-timestamp` go along in every scheme.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "scheme", rename_all = "lowercase")]
#[schemars(inline)]
pub enum Signature {
    /// Standard Webhooks with HMAC-SHA256 (`v1`).
    #[default]
    Standard,
    /// Standard Webhooks with Ed25519 (`v1a`).
    Ed25519,
    /// HMAC-SHA256 of the body, or of chosen payload fields, under one header.
    Hmac {
        /// The header, in lower case.
        header: String,
        /// How the bytes are written.
        encoding: Encoding,
        /// What stands before them, `sha256=`.
        prefix: String,
    },
    /// HMAC-SHA256 of a text that the template `signed` makes, in headers that their own templates make.
    Custom {
        /// What is signed, `{timestamp_ms}.{body}`.
        signed: String,
        /// Header values by lower-case name, `t={timestamp_ms},v1={hmac_hex}`.
        headers: BTreeMap<String, String>,
    },
}

/// How a signature's bytes are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Encoding {
    /// Lower-case hexadecimal.
    #[default]
    Hex,
    /// Base64 with padding.
    Base64,
}

/// What the templates of a `custom` signature may name.
pub const PLACEHOLDERS: &[&str] = &["id", "timestamp", "timestamp_ms", "body"];
/// What the headers of a `custom` signature may name beside them.
pub const HMAC_PLACEHOLDERS: &[&str] = &["hmac_hex", "hmac_base64"];

impl Signature {
    /// The headers that it sets beside `webhook-id` and `webhook-timestamp`, where the endpoint chooses them.
    pub fn chosen_headers(&self) -> impl Iterator<Item = &str> {
        let (one, many) = match self {
            Self::Standard | Self::Ed25519 => (None, None),
            Self::Hmac { header, .. } => (Some(header.as_str()), None),
            Self::Custom { headers, .. } => (None, Some(headers.keys().map(String::as_str))),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// Whether its key is an Ed25519 key pair and not a shared secret.
    #[must_use]
    pub fn is_asymmetric(&self) -> bool {
        *self == Self::Ed25519
    }

    /// Reads the object of the API; errors gather in `object`.
    pub(super) fn read(object: &mut Fields) -> Option<Self> {
        let scheme = object.required("scheme", "must be text", |scheme: String| match scheme.as_str() {
            "standard" | "ed25519" | "hmac" | "custom" => Ok(scheme),
            _ => Err("must be standard, ed25519, hmac or custom".to_owned()),
        })?;
        match scheme.as_str() {
            "hmac" => {
                let header = object.optional("header", "must be text", |name: String| check_header_name(&name));
                let rule = "must be hex or base64";
                let encoding = object.optional("encoding", rule, |text: String| word(text, rule));
                let prefix = object.optional("prefix", "must be text", |prefix: String| check_template(prefix, &[]));
                Some(Self::Hmac {
                    header: header.unwrap_or_else(|| HMAC_HEADER_DEFAULT.to_owned()),
                    encoding: encoding.unwrap_or_default(),
                    prefix: prefix.unwrap_or_default(),
                })
            }
            "custom" => {
                let signed = object.required("signed", "must be text", |template: String| {
                    if !template.contains("{body}") {
                        return Err("must contain {body}".to_owned());
                    }
                    check_template(template, PLACEHOLDERS)
                });
                let headers = object.required("headers", "must be an object of texts", check_custom_headers);
                Some(Self::Custom { signed: signed?, headers: headers? })
            }
            "ed25519" => Some(Self::Ed25519),
            _ => Some(Self::Standard),
        }
    }
}

fn check_custom_headers(headers: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
    if headers.is_empty() || headers.len() > HEADERS_MAX {
        return Err(format!("must be 1 to {HEADERS_MAX} headers"));
    }
    let mut checked = BTreeMap::new();
    for (name, template) in headers {
        let lower = check_header_name(&name).map_err(|rule| format!("name {name:?} {rule}"))?;
        let known: Vec<_> =
            PLACEHOLDERS.iter().chain(HMAC_PLACEHOLDERS).copied().filter(|name| *name != "body").collect();
        let template = check_template(template, &known).map_err(|rule| format!("value of {lower} {rule}"))?;
        if checked.insert(lower.clone(), template).is_some() {
            return Err(format!("must not name {lower} twice"));
        }
    }
    let is_signed = |template: &String| HMAC_PLACEHOLDERS.iter().any(|name| template.contains(&format!("{{{name}}}")));
    if !checked.values().any(is_signed) {
        return Err("must carry {hmac_hex} or {hmac_base64} in at least one header".to_owned());
    }
    Ok(checked)
}

/// Text in which every pair of braces names a known placeholder.
fn check_template(template: String, known: &[&str]) -> Result<String, String> {
    if template.len() > TEMPLATE_BYTES_MAX {
        return Err(format!("must be at most {TEMPLATE_BYTES_MAX} bytes"));
    }
    let mut rest = template.as_str();
    while let Some((_, after)) = rest.split_once('{') {
        let name = after.split_once('}').map(|(name, _)| name).unwrap_or_default();
        if !known.contains(&name) {
            let names: Vec<_> = known.iter().map(|name| format!("{{{name}}}")).collect();
            return Err(format!("may hold no placeholders but these: {}", names.join(" ")));
        }
        rest = &after[name.len()..];
    }
    check_header_value(template)
}

/// Fills a template; `value_of` gives the value of each placeholder.
#[must_use]
pub fn fill(template: &str, value_of: impl Fn(&str) -> Vec<u8>) -> Vec<u8> {
    let mut filled = Vec::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        filled.extend_from_slice(before.as_bytes());
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        filled.extend(value_of(name));
        rest = after;
    }
    filled.extend_from_slice(rest.as_bytes());
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Signature, Vec<String>> {
        let mut fields = Fields::from_body(json.as_bytes()).unwrap();
        let signature = Signature::read(&mut fields);
        fields.finish().finish(signature).map_err(|errors| errors.0.into_iter().map(|e| e.field).collect())
    }

    #[test]
    fn hmac_has_defaults() {
        let expected = Signature::Hmac { header: "x-signature".into(), encoding: Encoding::Hex, prefix: String::new() };
        assert_eq!(read(r#"{"scheme":"hmac"}"#), Ok(expected));
    }

    #[test]
    fn custom_needs_a_body_that_is_signed_and_a_header_that_says_so() {
        assert!(
            read(r#"{"scheme":"custom","signed":"v1:{timestamp_ms}:{body}","headers":{"X-Sig":"{hmac_hex}"}}"#).is_ok()
        );
        let wrong = |json| read(json).unwrap_err();
        assert_eq!(wrong(r#"{"scheme":"custom","signed":"{id}","headers":{"x-sig":"{hmac_hex}"}}"#), ["signed"]);
        assert_eq!(wrong(r#"{"scheme":"custom","signed":"{body}","headers":{"x-sig":"{id}"}}"#), ["headers"]);
        assert_eq!(
            wrong(r#"{"scheme":"custom","signed":"{body}{x}","headers":{"x-sig":"{body}{hmac_hex}"}}"#),
            ["signed", "headers"]
        );
        assert_eq!(
            wrong(r#"{"scheme":"custom","signed":"{body}","headers":{"webhook-id":"{hmac_hex}"}}"#),
            ["headers"]
        );
        assert_eq!(wrong(r#"{"scheme":"rot13"}"#), ["scheme"]);
        assert_eq!(wrong(r#"{"scheme":"standard","header":"x"}"#), ["header"]);
    }

    #[test]
    fn templates_are_filled_once() {
        let filled = fill("t={timestamp},v1={x}.", |name| format!("<{name}>").into_bytes());
        assert_eq!(filled, b"t=<timestamp>,v1=<x>.");
    }
}
