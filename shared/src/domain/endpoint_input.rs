//! What callers send to create or change an endpoint, read into something that cannot be wrong.
//!
//! One reader serves create and update: a create is an update of the defaults in which the URL must be there.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

use super::address::AddressPolicy;
use super::endpoint::{Authorization, EndpointSettings, EndpointStatus, TIMEOUT_SECONDS_DEFAULT, TIMEOUT_SECONDS_MAX};
use super::event_type::EventTypePattern;
use super::headers::{HEADERS_BYTES_MAX, check_header_name, check_header_value, check_headers};
use super::payload::{PAYLOAD_FIELDS_MAX, PayloadField, check_fields};
use super::retry::{ATTEMPTS_DEFAULT, ATTEMPTS_MAX, RetryPolicy, WAIT_SECONDS_MAX, is_schedule};
use super::schema::{
    AuthorizationInput, HeadersInput, Printable, SecretInput, SignatureInput, StatusInput, Uid, UrlInput, none_required,
};
use super::signature::Signature;
use super::tenant::NAME_CHARACTERS_MAX;
use super::validation::{FieldErrors, Fields, Patch, printable};
use crate::domain::signing_secret::{Credential, SigningSecret};

/// The most patterns of an endpoint.
pub const EVENT_TYPES_MAX: usize = 100;
/// The most channels of an endpoint or an event.
pub const CHANNELS_MAX: usize = 10;
/// The longest user name, password or token, in bytes.
pub const CREDENTIAL_BYTES_MAX: usize = 4_096;
/// The longest description, in characters.
pub const DESCRIPTION_CHARACTERS_MAX: usize = 1_024;
/// The longest key of the caller's own, in characters.
pub const UID_CHARACTERS_MAX: usize = 128;

/// Changes of an endpoint: the fields given; `null` sets one back to its default.
#[derive(Clone, Debug, Default, JsonSchema)]
#[schemars(deny_unknown_fields, transform = none_required)]
pub struct EndpointChanges {
    /// The caller's own key, unique in the tenant and mode.
    #[schemars(with = "Patch<Uid>")]
    uid: Patch<String>,
    /// `https` (plain `http` only where the stack allows it); no credentials, no fragment; not an internal name or address.
    #[schemars(with = "UrlInput")]
    url: Option<String>,
    /// What people call it.
    #[schemars(with = "Patch<Printable<NAME_CHARACTERS_MAX>>")]
    name: Patch<String>,
    /// What it is for.
    #[schemars(with = "Patch<Printable<DESCRIPTION_CHARACTERS_MAX>>")]
    description: Patch<String>,
    /// What it subscribes to; `[]` means all.
    #[schemars(length(max = EVENT_TYPES_MAX))]
    event_types: Patch<Vec<EventTypePattern>>,
    /// Only events that share one of these reach it; `[]` means all.
    #[schemars(with = "Patch<Vec<Printable<NAME_CHARACTERS_MAX>>>", length(max = CHANNELS_MAX))]
    channels: Patch<Vec<String>>,
    /// `active` enables an endpoint again that Outhook has disabled.
    #[schemars(with = "Patch<StatusInput>")]
    status: Patch<EndpointStatus>,
    #[schemars(with = "Patch<AuthorizationInput>")]
    authorization: Patch<(Authorization, Option<Credential>)>,
    #[schemars(with = "Patch<HeadersInput>", extend("description" = headers_description()))]
    headers: Patch<BTreeMap<String, String>>,
    #[schemars(with = "Patch<SignatureInput>")]
    signature: Patch<Signature>,
    /// `[]` sends the standard body; otherwise the body is an object of these keys in this order.
    #[schemars(length(max = PAYLOAD_FIELDS_MAX))]
    payload_fields: Patch<Vec<PayloadField>>,
    retry: Patch<RetryChanges>,
    /// How long one attempt may take.
    #[schemars(range(min = 1, max = TIMEOUT_SECONDS_MAX), extend("default" = TIMEOUT_SECONDS_DEFAULT))]
    timeout_seconds: Patch<u32>,
}

fn headers_description() -> String {
    format!(
        "Headers that go along with every request, names and values at most {HEADERS_BYTES_MAX} bytes together; not `authorization`, which has its own field."
    )
}

/// How often and how far apart it is tried.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(rename = "RetryInput", deny_unknown_fields, transform = none_required)]
struct RetryChanges {
    /// Attempts in all, the first included. One more than there are waits, where only those are given.
    #[schemars(range(min = 1, max = ATTEMPTS_MAX), extend("default" = ATTEMPTS_DEFAULT))]
    max_attempts: Patch<u32>,
    /// The waits before the second and every later attempt, in seconds; the last one repeats. `null` means the stack's.
    #[schemars(length(min = 1, max = ATTEMPTS_MAX - 1), inner(range(max = WAIT_SECONDS_MAX)))]
    schedule_seconds: Patch<Vec<u32>>,
}

/// A new endpoint as the caller wants it.
#[derive(Debug)]
pub struct NewEndpoint {
    /// All but what Outhook adds.
    pub settings: EndpointSettings,
    /// Active or paused.
    pub status: EndpointStatus,
    /// The receiver's credentials, where the authorization has any.
    pub credential: Option<Credential>,
    /// The caller's own signing secret.
    pub secret: Option<SigningSecret>,
}

/// The body of a create: the same with a secret, where the URL must be there.
impl JsonSchema for NewEndpoint {
    fn schema_name() -> Cow<'static, str> {
        "NewEndpoint".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = EndpointChanges::json_schema(generator);
        let secret = Option::<SecretInput>::json_schema(generator);
        schema.insert("description".to_owned(), json!("a new endpoint; everything but `url` has a default"));
        schema.insert("required".to_owned(), json!(["url"]));
        if let Some(fields) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            fields.insert("secret".to_owned(), secret.to_value());
        }
        schema
    }
}

impl NewEndpoint {
    /// Reads the body of a create.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn from_body(body: &[u8], policy: &AddressPolicy) -> Result<Self, FieldErrors> {
        let mut fields = Fields::from_body(body)?;
        let secret = fields.optional("secret", "must be text", |text: String| {
            SigningSecret::parse(&text).map_err(|rule| rule.to_string())
        });
        let (changes, mut errors) = EndpointChanges::read(fields, policy);
        let Some(url) = changes.url.clone() else {
            if !errors.0.iter().any(|error| error.field == "url") {
                errors.add("url", "is required");
            }
            return Err(errors);
        };
        let mut settings = EndpointSettings::with_defaults(url);
        let mut status = EndpointStatus::Active;
        let credential = changes.apply(&mut settings, &mut status).into_set();
        if let Some(secret) = &secret
            && let Err(rule) = secret.fits(&settings.signature)
        {
            errors.add("secret", rule);
        }
        if let Err(clashes) = settings.check() {
            errors.0.extend(clashes.0);
        }
        errors.finish(Some(Self { settings, status, credential, secret }))
    }
}

impl EndpointChanges {
    /// Reads the body of a partial update.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn from_body(body: &[u8], policy: &AddressPolicy) -> Result<Self, FieldErrors> {
        let (changes, errors) = Self::read(Fields::from_body(body)?, policy);
        errors.finish(Some(changes))
    }

    fn read(mut fields: Fields, policy: &AddressPolicy) -> (Self, FieldErrors) {
        let text = "must be text";
        let timeout_rule = format!("must be a whole number of seconds from 1 to {TIMEOUT_SECONDS_MAX}");
        let url = match fields.patch("url", text, |url: String| policy.check_url(&url).map(String::from)) {
            Patch::Set(url) => Some(url),
            Patch::Keep => None,
            Patch::Reset => {
                fields.error("url", "is required");
                None
            }
        };
        let changes = Self {
            uid: fields.patch("uid", text, check_uid),
            url,
            name: fields.patch("name", text, |name| printable(name, NAME_CHARACTERS_MAX)),
            description: fields.patch("description", text, |text| printable(text, DESCRIPTION_CHARACTERS_MAX)),
            event_types: fields.patch("event_types", "must be a list of text", check_event_types),
            channels: fields.patch("channels", "must be a list of text", check_channels),
            status: fields.patch("status", text, check_status),
            authorization: read_authorization(&mut fields),
            headers: fields.patch("headers", "must be an object of texts", check_headers),
            signature: fields.object("signature", Signature::read),
            payload_fields: fields.patch(
                "payload_fields",
                "must be a list of keys or of {key, path, hint, use_for_signature}",
                check_fields,
            ),
            retry: read_retry(&mut fields),
            timeout_seconds: fields.patch("timeout_seconds", &timeout_rule, |seconds: u32| {
                if (1..=TIMEOUT_SECONDS_MAX).contains(&seconds) { Ok(seconds) } else { Err(timeout_rule.clone()) }
            }),
        };
        (changes, fields.finish())
    }

    /// Applies the changes. What comes back is the change of the receiver's credential: kept, removed or set anew.
    pub fn apply(self, settings: &mut EndpointSettings, status: &mut EndpointStatus) -> Patch<Credential> {
        self.uid.apply_option(&mut settings.uid);
        if let Some(url) = self.url {
            settings.url = url;
        }
        self.name.apply_option(&mut settings.name);
        self.description.apply_option(&mut settings.description);
        self.event_types.apply(&mut settings.event_types, Vec::new);
        self.channels.apply(&mut settings.channels, Vec::new);
        self.status.apply(status, || EndpointStatus::Active);
        self.headers.apply(&mut settings.headers, BTreeMap::new);
        self.signature.apply(&mut settings.signature, Signature::default);
        self.payload_fields.apply(&mut settings.payload_fields, Vec::new);
        self.timeout_seconds.apply(&mut settings.timeout_seconds, || TIMEOUT_SECONDS_DEFAULT);
        match self.retry {
            Patch::Keep => {}
            Patch::Reset => settings.retry = RetryPolicy::default(),
            Patch::Set(changes) => changes.apply(&mut settings.retry),
        }
        match self.authorization {
            Patch::Keep => Patch::Keep,
            Patch::Reset => {
                settings.authorization = Authorization::None;
                Patch::Reset
            }
            Patch::Set((authorization, credential)) => {
                settings.authorization = authorization;
                credential.map_or(Patch::Reset, Patch::Set)
            }
        }
    }
}

impl RetryChanges {
    /// An own schedule without a number of attempts means: one attempt more than there are waits.
    fn apply(self, retry: &mut RetryPolicy) {
        if let (Patch::Set(own), Patch::Keep) = (&self.schedule_seconds, &self.max_attempts) {
            let waits = u32::try_from(own.len()).unwrap_or(ATTEMPTS_MAX);
            retry.max_attempts = waits.saturating_add(1).min(ATTEMPTS_MAX);
        }
        self.max_attempts.apply(&mut retry.max_attempts, || ATTEMPTS_DEFAULT);
        self.schedule_seconds.apply_option(&mut retry.schedule_seconds);
    }
}

/// The caller's own key of an endpoint.
///
/// # Errors
/// The rule.
pub fn check_uid(uid: String) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'-');
    let well_formed = (1..=UID_CHARACTERS_MAX).contains(&uid.len()) && uid.bytes().all(allowed);
    if well_formed && !uid.starts_with("ep_") && uid != "test" {
        return Ok(uid);
    }
    Err(format!("must be 1 to {UID_CHARACTERS_MAX} of A-Z a-z 0-9 _ . : -, not begin with ep_ and not be test"))
}

fn check_event_types(texts: Vec<String>) -> Result<Vec<EventTypePattern>, String> {
    if texts.len() > EVENT_TYPES_MAX {
        return Err(format!("must be at most {EVENT_TYPES_MAX} patterns"));
    }
    let patterns: Result<Vec<_>, _> = texts.iter().map(|text| text.parse()).collect();
    patterns.map_err(|rule: super::event_type::InvalidPattern| format!("each {rule}"))
}

/// Channels of an endpoint or an event: at most [`CHANNELS_MAX`] names of 1 to 128 printable characters.
///
/// # Errors
/// The rule.
pub fn check_channels(channels: Vec<String>) -> Result<Vec<String>, String> {
    if channels.len() > CHANNELS_MAX {
        return Err(format!("must be at most {CHANNELS_MAX} channels"));
    }
    channels
        .into_iter()
        .map(|channel| printable(channel, NAME_CHARACTERS_MAX))
        .collect::<Result<_, _>>()
        .map_err(|rule| format!("each {rule}"))
}

fn check_status(status: String) -> Result<EndpointStatus, String> {
    match status.as_str() {
        "active" => Ok(EndpointStatus::Active),
        "paused" => Ok(EndpointStatus::Paused),
        _ => Err("must be active or paused".to_owned()),
    }
}

fn read_retry(fields: &mut Fields) -> Patch<RetryChanges> {
    fields.object("retry", |retry| {
        let attempts_rule = format!("must be a whole number from 1 to {ATTEMPTS_MAX}");
        let schedule_rule =
            format!("must be a list of 1 to {} whole seconds, each from 0 to {WAIT_SECONDS_MAX}", ATTEMPTS_MAX - 1);
        let max_attempts = retry.patch("max_attempts", &attempts_rule, |attempts: u32| {
            if (1..=ATTEMPTS_MAX).contains(&attempts) { Ok(attempts) } else { Err(attempts_rule.clone()) }
        });
        let schedule_seconds = retry.patch("schedule_seconds", &schedule_rule, |waits: Vec<u32>| {
            let valid = is_schedule(&waits);
            if valid { Ok(waits) } else { Err(schedule_rule.clone()) }
        });
        Some(RetryChanges { max_attempts, schedule_seconds })
    })
}

fn read_authorization(fields: &mut Fields) -> Patch<(Authorization, Option<Credential>)> {
    fields.object("authorization", |object| {
        let kind = object.required("type", "must be text", |kind: String| match kind.as_str() {
            "none" | "basic" | "bearer" | "header" => Ok(kind),
            _ => Err("must be none, basic, bearer or header".to_owned()),
        })?;
        Some(match kind.as_str() {
            "basic" => {
                let username = object.required("username", "must be text", |username: String| {
                    if username.contains(':') {
                        Err("must not contain a colon".to_owned())
                    } else {
                        check_credential(username)
                    }
                });
                let password = object.required("password", "must be text", check_credential);
                (Authorization::Basic { username: username? }, Some(Credential::new(password?)))
            }
            "bearer" => {
                let token = object.required("token", "must be text", check_header_credential)?;
                (Authorization::Bearer, Some(Credential::new(token)))
            }
            "header" => {
                let name = object.required("name", "must be text", |name: String| check_header_name(&name));
                let value = object.required("value", "must be text", check_header_credential);
                (Authorization::Header { name: name? }, Some(Credential::new(value?)))
            }
            _ => (Authorization::None, None),
        })
    })
}

fn check_credential(text: String) -> Result<String, String> {
    if text.is_empty() || text.len() > CREDENTIAL_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(format!("must be 1 to {CREDENTIAL_BYTES_MAX} bytes without control characters"));
    }
    Ok(text)
}

fn check_header_credential(text: String) -> Result<String, String> {
    check_header_value(check_credential(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(body: &str) -> Result<NewEndpoint, Vec<String>> {
        NewEndpoint::from_body(body.as_bytes(), &AddressPolicy::default())
            .map_err(|errors| errors.0.into_iter().map(|error| error.field).collect())
    }

    #[test]
    fn url_alone_makes_an_endpoint_with_defaults() {
        let new = create(r#"{"url":"https://example.com"}"#).unwrap();
        assert_eq!(new.settings, EndpointSettings::with_defaults("https://example.com/".to_owned()));
        assert_eq!(new.status, EndpointStatus::Active);
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let body = r#"{"url":"http://169.254.169.254/","uid":"ep_x","event_types":["a..b"],"status":"disabled","timeout_seconds":31,
            "headers":{"Webhook-Id":"x"},"retry":{"max_attempts":21,"odd":1},"authorization":{"type":"basic","username":"a:b"},
            "secret":"short","colour":"red"}"#;
        let mut named = create(body).unwrap_err();
        named.sort();
        assert_eq!(
            named,
            [
                "authorization.password",
                "authorization.username",
                "colour",
                "event_types",
                "headers",
                "retry.max_attempts",
                "retry.odd",
                "secret",
                "status",
                "timeout_seconds",
                "uid",
                "url"
            ]
        );
        assert_eq!(create("{}").unwrap_err(), ["url"]);
        assert_eq!(create(r#"{"url":null}"#).unwrap_err(), ["url"]);
    }

    #[test]
    fn header_values_that_could_split_a_request_are_refused() {
        for value in [r"a\r\nx: y", r"a\nb", r"a\u0000b", "ä", r"a\u007f", " a"] {
            let body = format!(r#"{{"url":"https://example.com","headers":{{"x-a":"{value}"}}}}"#);
            assert_eq!(create(&body).unwrap_err(), ["headers"], "{value}");
        }
        for name in ["host", "Content-Length", "webhook-signature", "TE", "x y", "", "authorization"] {
            let body = format!(r#"{{"url":"https://example.com","headers":{{"{name}":"v"}}}}"#);
            assert_eq!(create(&body).unwrap_err(), ["headers"], "{name}");
        }
        assert_eq!(
            create(r#"{"url":"https://example.com","headers":{"X-A":"1","x-a":"2"}}"#).unwrap_err(),
            ["headers"]
        );
    }

    #[test]
    fn header_that_two_fields_would_set_is_refused() {
        for (body, field) in [
            (r#""signature":{"scheme":"hmac","header":"Authorization"}"#, "signature"),
            (r#""signature":{"scheme":"hmac","header":"x-a"},"headers":{"X-A":"1"}"#, "signature"),
            (r#""authorization":{"type":"header","name":"x-a","value":"v"},"headers":{"x-a":"1"}"#, "headers"),
        ] {
            assert_eq!(create(&format!(r#"{{"url":"https://example.com",{body}}}"#)).unwrap_err(), [field], "{body}");
        }
    }

    #[test]
    fn credentials_leave_the_settings() {
        let body = r#"{"url":"https://example.com","authorization":{"type":"basic","username":"u","password":"p4ss"}}"#;
        let new = create(body).unwrap();
        assert_eq!(new.settings.authorization, Authorization::Basic { username: "u".to_owned() });
        assert_eq!(new.credential.as_ref().map(|c| c.expose()), Some("p4ss"));
        assert!(!format!("{new:?}").contains("p4ss"));
    }

    #[test]
    fn update_changes_what_is_given_and_null_resets() {
        let mut settings = EndpointSettings::with_defaults("https://example.com/".to_owned());
        settings.name = Some("old".to_owned());
        settings.timeout_seconds = 3;
        let mut status = EndpointStatus::Paused;
        let body = br#"{"name":null,"timeout_seconds":null,"retry":{"schedule_seconds":[5,10]}}"#;
        let changes = EndpointChanges::from_body(body, &AddressPolicy::default()).unwrap();
        assert_eq!(changes.apply(&mut settings, &mut status), Patch::Keep);
        assert_eq!(settings.name, None);
        assert_eq!(settings.timeout_seconds, TIMEOUT_SECONDS_DEFAULT);
        assert_eq!(settings.retry, RetryPolicy { max_attempts: 3, schedule_seconds: Some(vec![5, 10]) });
        assert_eq!((settings.url.as_str(), status), ("https://example.com/", EndpointStatus::Paused));
    }
}
