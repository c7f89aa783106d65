//! Configuration: environment variables, read once at the start into a typed struct. A wrong one stops the start.
//!
//! The variables are set by `template.yaml`; a test holds the two and `docs/configuration.md` equal.

use tracing::level_filters::LevelFilter;

use crate::domain::address::AddressPolicy;
use crate::domain::retry::is_schedule;
use crate::domain::signing_secret::SigningSecrets;

/// What every part of Outhook is told from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `TABLE_NAME`: the DynamoDB table.
    pub table_name: String,
    /// `EVENTS_QUEUE_URL`: where events go in.
    pub events_queue_url: String,
    /// `RETRIES_QUEUE_URL`: attempts that do not come straight from an event.
    pub retries_queue_url: String,
    /// `DEAD_LETTER_QUEUE_URL`: messages that nobody can understand.
    pub dead_letter_queue_url: String,
    /// `SECRETS_PREFIX`: what the names of all secrets of this stack begin with, without a slash at the end.
    pub secrets_prefix: String,
    /// `ROOT_KEY_SECRET_NAME`: the secret that holds the operator's root key.
    pub root_key_secret_name: String,
    /// `RETENTION_DAYS`: how long events and deliveries are kept, 1 to 365.
    pub retention_days: u32,
    /// `DISABLE_AFTER_SECONDS`: an endpoint that has failed without a success for so long is disabled, 3,600 (an hour) to 2,592,000 (30 days).
    pub disable_after_seconds: u32,
    /// `RETRY_SCHEDULE_SECONDS`: the waits of endpoints that have no schedule of their own; the last one repeats. 1 to 19 of 0 to 86,400 seconds.
    pub retry_schedule_seconds: Vec<u32>,
    /// `ALLOW_HTTP` and `ALLOWED_RANGES`: what receivers are allowed beyond public https ones.
    pub addresses: AddressPolicy,
    /// `SECRETS_KMS_KEY_ID`: the KMS key that endpoints' secrets are encrypted with; `None` where the variable is empty or not set, for AWS's own.
    pub secrets_kms_key_id: Option<String>,
    /// How endpoints' secrets are kept.
    pub signing_secrets: SigningSecrets,
    /// `CORS_ORIGINS`: the origins whose pages may call the API from a browser, such as `https://app.example.com`, or `*` alone. Usually none.
    pub cors_origins: Vec<String>,
    /// `METRICS_NAMESPACE`, unless `METRICS_ENABLED` is false: where the metrics go.
    pub metrics_namespace: Option<String>,
}

/// How Lambda wants a function to log, by the variables that it sets itself (Lambda developer guide, "Advanced logging controls").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LambdaLogging {
    /// `AWS_LAMBDA_LOG_FORMAT` is `JSON`.
    pub json: bool,
    /// `AWS_LAMBDA_LOG_LEVEL`; INFO where it is not set or not known.
    pub level: LevelFilter,
    /// `AWS_LAMBDA_FUNCTION_NAME`, which every line repeats.
    pub service: String,
}

impl LambdaLogging {
    /// Reads the process's environment.
    #[must_use]
    pub fn from_env() -> Self {
        #[expect(clippy::disallowed_methods, reason = "this module is the one place that reads the environment")]
        Self::read(|name| std::env::var(name).ok())
    }

    /// Reads the variables from wherever `lookup` finds them.
    #[must_use]
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let text = |name| lookup(name).unwrap_or_default();
        let level = match text("AWS_LAMBDA_LOG_LEVEL").to_ascii_uppercase().as_str() {
            "TRACE" => LevelFilter::TRACE,
            "DEBUG" => LevelFilter::DEBUG,
            "WARN" => LevelFilter::WARN,
            // No line of ours has Lambda's highest level, FATAL.
            "ERROR" | "FATAL" => LevelFilter::ERROR,
            _ => LevelFilter::INFO,
        };
        let json = text("AWS_LAMBDA_LOG_FORMAT").eq_ignore_ascii_case("json");
        Self { json, level, service: text("AWS_LAMBDA_FUNCTION_NAME") }
    }
}

/// A variable that is missing or wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("environment variable {variable} is {value}; it must be {rule}")]
pub struct ConfigError {
    variable: &'static str,
    value: String,
    rule: &'static str,
}

/// Every variable that [`Config::read`] asks for.
pub const VARIABLES: &[&str] = &[
    "TABLE_NAME",
    "EVENTS_QUEUE_URL",
    "RETRIES_QUEUE_URL",
    "DEAD_LETTER_QUEUE_URL",
    "SECRETS_PREFIX",
    "ROOT_KEY_SECRET_NAME",
    "RETENTION_DAYS",
    "DISABLE_AFTER_SECONDS",
    "RETRY_SCHEDULE_SECONDS",
    "ALLOW_HTTP",
    "ALLOWED_RANGES",
    "METRICS_ENABLED",
    "METRICS_NAMESPACE",
    "SECRETS_KMS_KEY_ID",
    "SIGNING_SECRETS",
    "CORS_ORIGINS",
];

impl Config {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// The first variable that is missing or wrong, with its value and its rule.
    pub fn from_env() -> Result<Self, ConfigError> {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
        Self::read(|name| std::env::var(name).ok())
    }

    /// Reads the variables from wherever `lookup` finds them.
    ///
    /// # Errors
    /// The first variable that is missing or wrong, with its value and its rule.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let text = |variable: &'static str, rule| match lookup(variable) {
            Some(value) if !value.trim().is_empty() => Ok(value),
            found => Err(ConfigError { variable, value: shown(found), rule }),
        };
        let retention_days = parse(&lookup, "RETENTION_DAYS", "a whole number of days from 1 to 365", |value| {
            value.parse().ok().filter(|days| (1..=365).contains(days))
        })?;
        let seconds_rule = "a whole number of seconds from 3600 to 2592000";
        let disable_after_seconds = parse(&lookup, "DISABLE_AFTER_SECONDS", seconds_rule, |value| {
            value.parse().ok().filter(|seconds| (3_600..=2_592_000).contains(seconds))
        })?;
        let schedule_rule = "1 to 19 whole seconds from 0 to 86400, separated by commas";
        let retry_schedule_seconds = parse(&lookup, "RETRY_SCHEDULE_SECONDS", schedule_rule, |value| {
            let waits: Vec<u32> = value.split(',').map(|wait| wait.trim().parse().ok()).collect::<Option<_>>()?;
            is_schedule(&waits).then_some(waits)
        })?;
        let signing_secrets = parse(&lookup, "SIGNING_SECRETS", "Dedicated or Sealed", |value| value.parse().ok())?;
        let allow_http = parse(&lookup, "ALLOW_HTTP", "true or false", |value| value.parse().ok())?;
        let measures: bool = parse(&lookup, "METRICS_ENABLED", "true or false", |value| value.parse().ok())?;
        let namespace = text("METRICS_NAMESPACE", "the namespace of this stack's metrics")?;
        let ranges_rule = "a comma-separated list of ranges such as 10.0.0.0/8, or empty";
        let allowed_ranges = list(&lookup, "ALLOWED_RANGES", ranges_rule, |range| range.parse().ok())?;
        let origins_rule = "a comma-separated list of origins such as https://app.example.com, or * alone, or empty";
        let cors_origins =
            list(&lookup, "CORS_ORIGINS", origins_rule, |origin| is_origin(origin).then(|| origin.to_owned()))?;
        if cors_origins.len() > 1 && cors_origins.iter().any(|origin| origin == "*") {
            let value = shown(lookup("CORS_ORIGINS"));
            return Err(ConfigError { variable: "CORS_ORIGINS", value, rule: origins_rule });
        }
        Ok(Self {
            table_name: text("TABLE_NAME", "the name of the DynamoDB table")?,
            events_queue_url: text("EVENTS_QUEUE_URL", "the URL of the events queue")?,
            retries_queue_url: text("RETRIES_QUEUE_URL", "the URL of the retries queue")?,
            dead_letter_queue_url: text("DEAD_LETTER_QUEUE_URL", "the URL of the dead-letter queue")?,
            secrets_prefix: text("SECRETS_PREFIX", "what the names of this stack's secrets begin with")?,
            root_key_secret_name: text("ROOT_KEY_SECRET_NAME", "the name of the secret with the root key")?,
            retention_days,
            disable_after_seconds,
            retry_schedule_seconds,
            addresses: AddressPolicy { allow_http, allowed_ranges },
            secrets_kms_key_id: lookup("SECRETS_KMS_KEY_ID").filter(|key| !key.trim().is_empty()),
            signing_secrets,
            cors_origins,
            metrics_namespace: measures.then_some(namespace),
        })
    }
}

fn parse<T>(
    lookup: &impl Fn(&str) -> Option<String>,
    variable: &'static str,
    rule: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, ConfigError> {
    let value = lookup(variable);
    value.as_deref().and_then(|value| parse(value.trim())).ok_or(ConfigError { variable, value: shown(value), rule })
}

/// Items between commas; white space around them and empty ones do not count. A variable that is not set is an empty list.
fn list<T>(
    lookup: &impl Fn(&str) -> Option<String>,
    variable: &'static str,
    rule: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, ConfigError> {
    let value = lookup(variable).unwrap_or_default();
    let items = value.split(',').map(str::trim).filter(|item| !item.is_empty());
    let parsed: Option<Vec<_>> = items.map(parse).collect();
    parsed.ok_or_else(|| ConfigError { variable, value: shown(Some(value.clone())), rule })
}

/// `*`, or an origin as browsers send it: scheme, host in lower case, port unless it is the scheme's own, no slash at the end.
fn is_origin(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else { return text == "*" };
    let (host, port) = rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_label = |label: &str| {
        label.starts_with(is_inner) && label.ends_with(is_inner) && label.chars().all(|c| is_inner(c) || c == '-')
    };
    let is_port = |port: &str| port.starts_with(|c: char| ('1'..='9').contains(&c)) && port.parse::<u16>().is_ok();
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

fn shown(value: Option<String>) -> String {
    value.map_or_else(|| "not set".to_owned(), |value| format!("{value:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        Some(match name {
            "RETENTION_DAYS" => "30".to_owned(),
            "DISABLE_AFTER_SECONDS" => "432000".to_owned(),
            "RETRY_SCHEDULE_SECONDS" => "5, 300".to_owned(),
            "ALLOW_HTTP" | "METRICS_ENABLED" => "false".to_owned(),
            "ALLOWED_RANGES" => "10.0.0.0/8, ::1/128".to_owned(),
            "SIGNING_SECRETS" => "Sealed".to_owned(),
            "CORS_ORIGINS" => "https://app.example.com, http://localhost:3000".to_owned(),
            other => format!("the {other}"),
        })
    }

    #[test]
    fn every_variable_is_read_and_listed() {
        let asked = std::cell::RefCell::new(std::collections::BTreeSet::new());
        let config = Config::read(|name| {
            asked.borrow_mut().insert(name.to_owned());
            lookup(name)
        })
        .unwrap();
        assert_eq!(config.addresses.allowed_ranges.len(), 2);
        assert_eq!(config.retry_schedule_seconds, [5, 300]);
        assert_eq!(config.cors_origins, ["https://app.example.com", "http://localhost:3000"]);
        assert_eq!(config.secrets_kms_key_id.as_deref(), Some("the SECRETS_KMS_KEY_ID"));
        assert_eq!(asked.into_inner(), VARIABLES.iter().map(|v| (*v).to_owned()).collect());
    }

    #[test]
    fn logging_follows_lambdas_variables_and_is_info_where_they_say_nothing() {
        let logging = |format: &'static str, level: &'static str| {
            LambdaLogging::read(|name| {
                Some(match name {
                    "AWS_LAMBDA_LOG_FORMAT" => format.to_owned(),
                    "AWS_LAMBDA_LOG_LEVEL" => level.to_owned(),
                    other => format!("the {other}"),
                })
            })
        };
        assert_eq!(logging("JSON", "WARN").level, LevelFilter::WARN);
        assert_eq!(logging("JSON", "FATAL").level, LevelFilter::ERROR);
        assert_eq!(logging("Text", "").level, LevelFilter::INFO);
        assert_eq!((logging("JSON", "").json, logging("Text", "").json), (true, false));
        assert_eq!(logging("", "").service, "the AWS_LAMBDA_FUNCTION_NAME");
    }

    #[test]
    fn wrong_variable_is_named_with_its_value_and_its_rule() {
        for (variable, value, rule) in [
            ("RETENTION_DAYS", "0", "from 1 to 365"),
            ("DISABLE_AFTER_SECONDS", "60", "from 3600"),
            ("RETRY_SCHEDULE_SECONDS", "5,,10", "separated by commas"),
            ("RETRY_SCHEDULE_SECONDS", "86401", "from 0 to 86400"),
            ("ALLOW_HTTP", "yes", "true or false"),
            ("ALLOWED_RANGES", "10.0.0.0", "list of ranges"),
            ("METRICS_ENABLED", "1", "true or false"),
            ("SIGNING_SECRETS", "sealed", "Dedicated or Sealed"),
            ("CORS_ORIGINS", "https://app.example.com/", "list of origins"),
            ("CORS_ORIGINS", "app.example.com", "list of origins"),
            ("CORS_ORIGINS", "*,https://app.example.com", "* alone"),
            ("TABLE_NAME", " ", "DynamoDB table"),
        ] {
            let error = Config::read(|name| if name == variable { Some(value.to_owned()) } else { lookup(name) });
            let text = error.unwrap_err().to_string();
            assert!(text.contains(variable) && text.contains(value) && text.contains(rule), "{text}");
        }
        let error = Config::read(|name| lookup(name).filter(|_| name != "TABLE_NAME")).unwrap_err();
        assert!(error.to_string().contains("not set"));
    }
}
