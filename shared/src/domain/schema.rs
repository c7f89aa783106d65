//! The shapes of values in JSON Schema (2020-12), made from the constants and lists that their readers go by.
//!
//! Types that callers see derive theirs. Here is what no type says: the rules of texts, and requests that are read by their tag.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::json;

use super::endpoint::EndpointStatus;
use super::endpoint_input::{CREDENTIAL_BYTES_MAX, UID_CHARACTERS_MAX};
use super::event_type::{EVENT_TYPE_CHARACTERS_MAX, EventType, EventTypePattern};
use super::headers::{
    HEADER_NAME_BYTES_MAX, HEADERS_BYTES_MAX, HEADERS_MAX, RESERVED_HEADER_BEGINNINGS, RESERVED_HEADERS,
};
use super::id::EndpointId;
use super::signature::{Encoding, HMAC_HEADER_DEFAULT, HMAC_PLACEHOLDERS, PLACEHOLDERS, TEMPLATE_BYTES_MAX};
use super::signing_secret::{KEY_BYTES_MAX, KEY_BYTES_MIN, RAW_SECRET_CHARACTERS_MAX, RAW_SECRET_CHARACTERS_MIN};
use super::validation::{NONCHARACTERS, Patch};

/// A ULID in its canonical spelling: 26 characters of Crockford's base 32, at most 128 bits.
const ULID: &str = "[0-7][0-9A-HJKMNP-TV-Z]{25}";
/// The dotted name of an event type.
const DOTTED_NAME: &str = "[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)*";
/// Visible ASCII with spaces and tabs inside.
const HEADER_VALUE: &str = "^([!-~]([\\t -~]*[!-~])?)?$";

/// Gives a type this schema, written where it is used.
macro_rules! inlined {
    ($type:ty, $schema:expr) => {
        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $schema
            }
        }
    };
}
pub(super) use inlined;

/// A type that stands for a shape of JSON and has no values.
macro_rules! shape {
    ($(#[$doc:meta])* $name:ident, $schema:expr) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub enum $name {}
        inlined!($name, $schema);
    };
}

shape!(
    /// A JSON object of the caller's own.
    AnyObject,
    json_schema!({ "type": "object" })
);
shape!(
    /// A time that a caller sends: RFC 3339 with any offset.
    TimeInput,
    json_schema!({ "type": "string", "format": "date-time" })
);
shape!(
    /// The caller's own key of an endpoint.
    Uid,
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": UID_CHARACTERS_MAX,
        "pattern": "^[A-Za-z0-9_.:-]+$",
        "not": { "type": "string", "pattern": format!("^({}.*|test)$", EndpointId::PREFIX) },
    })
);
shape!(
    /// A receiver's URL: what every URL that is accepted has. The whole rule is the URL standard's.
    UrlInput,
    json_schema!({
        "type": "string",
        "maxLength": super::address::URL_CHARACTERS_MAX,
        "pattern": "^[Hh][Tt][Tt][Pp][Ss]?:[^\\s#]+$",
    })
);
shape!(
    /// A signing secret of the caller's own.
    SecretInput,
    json_schema!({
        "type": "string",
        "minLength": RAW_SECRET_CHARACTERS_MIN,
        "maxLength": RAW_SECRET_CHARACTERS_MAX,
        "pattern": "^[!-~]+$",
        "description": format!(
            "`whsec_` and the base64 of {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes, `whsk_` and the base64 of an Ed25519 key pair, or \
             {RAW_SECRET_CHARACTERS_MIN} to {RAW_SECRET_CHARACTERS_MAX} printable characters that are the key themselves"
        ),
    })
);
shape!(
    /// A receiver's user name or password. Its length counts in bytes of UTF-8.
    CredentialInput,
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": CREDENTIAL_BYTES_MAX,
        "pattern": "^[^\\u0000-\\u001F\\u007F-\\u009F]*$",
    })
);
shape!(
    /// The same without a colon, which ends it (RFC 7617 2).
    Username,
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": CREDENTIAL_BYTES_MAX,
        "pattern": "^[^\\u0000-\\u001F\\u007F-\\u009F:]*$",
    })
);
shape!(
    /// A credential that is a header's value.
    HeaderCredential,
    json_schema!({ "type": "string", "minLength": 1, "maxLength": CREDENTIAL_BYTES_MAX, "pattern": HEADER_VALUE })
);
shape!(
    /// A header's name that is not reserved.
    HeaderNameInput,
    json_schema!({
        "type": "string",
        "maxLength": HEADER_NAME_BYTES_MAX,
        "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
        "not": { "type": "string", "pattern": reserved_header() },
    })
);
shape!(
    /// The headers of an endpoint.
    HeadersInput,
    json_schema!({
        "type": "object",
        "maxProperties": HEADERS_MAX,
        "propertyNames": HeaderNameInput::json_schema(&mut SchemaGenerator::default()),
        "additionalProperties": { "type": "string", "maxLength": HEADERS_BYTES_MAX, "pattern": HEADER_VALUE },
    })
);
shape!(
    /// What a caller can make of an endpoint's status.
    StatusInput,
    json_schema!({ "type": "string", "enum": [EndpointStatus::Active, EndpointStatus::Paused] })
);
shape!(
    /// What a `custom` signature signs.
    SignedTemplate,
    json_schema!({ "allOf": [template(PLACEHOLDERS), { "pattern": "\\{body\\}" }] })
);
shape!(
    /// What stands before an `hmac` signature.
    PrefixTemplate,
    template(&[])
);
shape!(
    /// The headers of a `custom` signature.
    HeaderTemplates,
    {
        let names = PLACEHOLDERS.iter().chain(HMAC_PLACEHOLDERS).copied().filter(|name| *name != "body");
        json_schema!({
            "type": "object",
            "minProperties": 1,
            "maxProperties": HEADERS_MAX,
            "propertyNames": HeaderNameInput::json_schema(&mut SchemaGenerator::default()),
            "additionalProperties": template(&names.collect::<Vec<_>>()),
        })
    }
);
inlined!(
    EventType,
    json_schema!({ "type": "string", "maxLength": EVENT_TYPE_CHARACTERS_MAX, "pattern": format!("^{DOTTED_NAME}$") })
);
inlined!(EventTypePattern, {
    let pattern = format!("^(\\*|{DOTTED_NAME}(\\.\\*)?)$");
    json_schema!({ "type": "string", "maxLength": EVENT_TYPE_CHARACTERS_MAX, "pattern": pattern })
});
inlined!(super::time::Time, {
    let pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z$";
    json_schema!({ "type": "string", "format": "date-time", "pattern": pattern })
});

/// A text of 1 to `MAX` characters, as [`super::validation::printable`] has it.
#[derive(Debug)]
pub enum Printable<const MAX: usize> {}

impl<const MAX: usize> JsonSchema for Printable<MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Printable".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let excluded: String = NONCHARACTERS.iter().map(|c| format!("\\u{:04X}", u32::from(*c))).collect();
        json_schema!({
            "type": "string",
            "minLength": 1,
            "maxLength": MAX,
            "pattern": format!("^[^\\u0000-\\u001F\\u007F-\\u009F{excluded}]*$"),
        })
    }
}

/// A field of a partial update can be `null`. That it can be left out is for the object to say.
impl<T: JsonSchema> JsonSchema for Patch<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        Option::<T>::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Option::<T>::json_schema(generator)
    }
}

/// An object of which every field can be left out.
pub fn none_required(schema: &mut Schema) {
    schema.remove("required");
}

/// An id with this prefix.
#[must_use]
pub fn id(prefix: &str) -> Schema {
    json_schema!({ "type": "string", "pattern": format!("^{prefix}{ULID}$") })
}

/// How requests are authorized; what is secret goes in and never comes back out.
#[derive(Debug, JsonSchema)]
#[schemars(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum AuthorizationInput {
    /// Not at all; the signature is enough.
    None,
    /// `Authorization: Basic`.
    Basic {
        /// Without a colon.
        username: Username,
        /// Its length counts in bytes of UTF-8.
        password: CredentialInput,
    },
    /// `Authorization: Bearer`.
    Bearer {
        /// Visible ASCII.
        token: HeaderCredential,
    },
    /// A header of the receiver's choice.
    Header {
        /// Not one that Outhook or the connection sets.
        name: HeaderNameInput,
        /// Visible ASCII.
        value: HeaderCredential,
    },
}

/// How requests are signed; `webhook-id` and `webhook-timestamp` go along in every scheme.
#[derive(Debug, JsonSchema)]
#[schemars(tag = "scheme", rename_all = "lowercase", deny_unknown_fields)]
pub enum SignatureInput {
    /// Standard Webhooks with HMAC-SHA256 (`v1`).
    Standard,
    /// Standard Webhooks with Ed25519 (`v1a`).
    Ed25519,
    /// HMAC-SHA256 of the body, or of chosen payload fields, under one header.
    Hmac {
        /// The header that carries it.
        #[schemars(extend("default" = HMAC_HEADER_DEFAULT))]
        header: Option<HeaderNameInput>,
        /// How its bytes are written.
        #[schemars(extend("default" = json!(Encoding::default())))]
        encoding: Option<Encoding>,
        /// What stands before the signature, `sha256=`.
        prefix: Option<PrefixTemplate>,
    },
    /// HMAC-SHA256 of what the template `signed` makes, in headers that their own templates make.
    Custom {
        /// It names `{body}` at least.
        signed: SignedTemplate,
        /// At least one of them carries `{hmac_hex}` or `{hmac_base64}`.
        headers: HeaderTemplates,
    },
}

/// Case does not matter, so the pattern spells out both.
fn reserved_header() -> String {
    let spelled = |c: char| {
        if c.is_ascii_alphabetic() { format!("[{}{c}]", c.to_ascii_uppercase()) } else { c.to_string() }
    };
    let any_case = |text: &str| -> String { text.chars().map(spelled).collect() };
    let whole = RESERVED_HEADERS.iter().map(|name| any_case(name));
    let begun = RESERVED_HEADER_BEGINNINGS.iter().map(|name| format!("{}.*", any_case(name)));
    format!("^({})$", whole.chain(begun).collect::<Vec<_>>().join("|"))
}

/// Text in which braces open nothing but these placeholders.
fn template(names: &[&str]) -> Schema {
    let placeholders = if names.is_empty() { String::new() } else { format!("|\\{{({})\\}}", names.join("|")) };
    let pattern = format!("^([\\t -z|}}~]{placeholders})*$");
    json_schema!({ "type": "string", "maxLength": TEMPLATE_BYTES_MAX, "pattern": pattern })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::{Map, Value};

    use super::*;
    use crate::domain::address::AddressPolicy;
    use crate::domain::api_key::{NewApiKey, NewKeyInput, PortalSessionInput};
    use crate::domain::catalogue::{CatalogueEntry, EventTypeInput};
    use crate::domain::endpoint_input::{EndpointChanges, NewEndpoint};
    use crate::domain::event::NewEvent;
    use crate::domain::tenant::{TenantChanges, TenantSettings};
    use crate::domain::validation::FieldErrors;

    /// The fields that a reader refuses as unknown, of all that a schema names and one more.
    fn unknown<T: JsonSchema>(read: impl FnOnce(&[u8]) -> Option<FieldErrors>) -> Vec<String> {
        let schema = T::json_schema(&mut SchemaGenerator::default()).to_value();
        let mut body: Map<String, Value> =
            schema["properties"].as_object().unwrap().keys().map(|name| (name.clone(), json!(true))).collect();
        assert!(body.len() > 2, "{schema}");
        body.insert("odd".to_owned(), json!(1));
        let errors = read(&serde_json::to_vec(&body).unwrap()).unwrap().0;
        errors.into_iter().filter(|error| error.message == "is not a known field").map(|error| error.field).collect()
    }

    #[test]
    fn readers_know_the_fields_that_their_schemas_name_and_no_others() {
        let now = Timestamp::UNIX_EPOCH;
        let policy = AddressPolicy::default();
        let name: EventType = "cases.created".parse().unwrap();
        for unknown in [
            unknown::<NewEndpoint>(|body| NewEndpoint::from_body(body, &policy).err()),
            unknown::<EndpointChanges>(|body| EndpointChanges::from_body(body, &policy).err()),
            unknown::<TenantSettings>(|body| TenantSettings::from_body(body).err()),
            unknown::<TenantChanges>(|body| TenantChanges::from_body(body).err()),
            unknown::<NewKeyInput>(|body| NewApiKey::from_body(body, now).err()),
            unknown::<PortalSessionInput>(|body| NewApiKey::portal_session(body, now).err()),
            unknown::<NewEvent>(|body| NewEvent::from_body(body).err()),
            unknown::<EventTypeInput>(|body| CatalogueEntry::from_body(name.clone(), body, now).err()),
        ] {
            assert_eq!(unknown, ["odd"]);
        }
    }

    #[test]
    fn patterns_are_those_of_the_readers() {
        fn agree<'t, T: JsonSchema>(texts: impl IntoIterator<Item = &'t str>, accepted: impl Fn(&str) -> bool) {
            let schema = T::json_schema(&mut SchemaGenerator::default()).to_value();
            let validator = jsonschema::draft202012::new(&schema).unwrap();
            for text in texts {
                assert_eq!(validator.is_valid(&json!(text)), accepted(text), "{text:?}");
            }
        }
        let (longest, too_long) = ("x".repeat(128), "x".repeat(129));
        agree::<Uid>(
            ["", "a", "test", "testing", "ep_1", "ep", "a b", "a.b:c-d_e", "é", &longest, &too_long],
            |text| crate::domain::endpoint_input::check_uid(text.to_owned()).is_ok(),
        );
        let types =
            ["", ".", "a", "a.", ".a", "a..b", "a b", "a.*", "*", "a.b-c_d", "*.a", "a*", "a.**", &longest, &too_long];
        agree::<EventType>(types, |text| text.parse::<EventType>().is_ok());
        agree::<EventTypePattern>(types, |text| text.parse::<EventTypePattern>().is_ok());
        agree::<Printable<8>>(
            [
                "",
                "a",
                "ä\u{1F980}",
                "a\nb",
                "\u{7f}",
                "\u{85}",
                "\u{a0}",
                "\u{fffd}",
                "\u{ffff}",
                "12345678",
                "123456789",
            ],
            |text| crate::domain::validation::printable(text.to_owned(), 8).is_ok(),
        );
        let good = "ep_01J1C6ZGQ6FQTH2X6M2VS3P0XW";
        agree::<EndpointId>(
            [
                good,
                &good.to_lowercase(),
                &good.replace("01", "81"),
                &good.replace('J', "I"),
                &format!("{good}0"),
                "evt_",
            ],
            |text| text.parse::<EndpointId>().is_ok(),
        );
    }
}
