//! The house's own rules: what may depend on what, how large a file may be, and that template and code say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use local::template::{TEMPLATE, Template};
use proptest::{prop_assert, proptest};
use serde_json::{Value, json};
use shared::config::{Config, VARIABLES};
use shared::store::keys;

/// No file much longer than 400 lines.
const LINES_MAX: usize = 450;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every Rust file of the workspace by its path from the root, with its text.
fn sources() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders: Vec<_> = ["shared", "functions", "local", "bench"].map(|folder| root().join(folder)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    assert!(found.len() > 50);
    found
}

/// Whether code, not a comment or a text, names a crate or a module.
fn names(text: &str, wanted: &str) -> bool {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).any(|line| {
        line.match_indices(wanted).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let inside_a_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '"');
            !inside_a_word
        })
    })
}

/// The files under these places; each place has some, or the rule that names it says nothing.
pub(crate) fn under(places: &[&str]) -> BTreeMap<String, String> {
    let sources = sources();
    for place in places {
        assert!(sources.keys().any(|file| file.starts_with(place)), "there is nothing at {place}");
    }
    sources.into_iter().filter(|(file, _)| places.iter().any(|place| file.starts_with(place))).collect()
}

/// Who names any of these, apart from what lies under the places that may; each of those does.
fn trespassers(wanted: &[&str], allowed: &[&str]) -> Vec<String> {
    let named = |text: &String| wanted.iter().any(|name| names(text, name));
    for place in allowed {
        assert!(under(&[place]).values().any(named), "{place} names none of {wanted:?}");
    }
    let outside = |file: &String| !allowed.iter().any(|place| file.starts_with(place));
    let sources = sources().into_iter().filter(|(file, text)| outside(file) && named(text));
    sources.map(|(file, _)| file).collect()
}

#[test]
fn aws_is_known_to_store_queue_secrets_and_services_alone() {
    let allowed = [
        "shared/src/aws.rs",
        "shared/src/aws_error.rs",
        "shared/src/queue/",
        "shared/src/secrets/",
        "shared/src/services.rs",
        "shared/src/store/",
        "local/",
        "bench/",
    ];
    assert_eq!(trespassers(&["aws_sdk_", "aws_config::", "aws_smithy", "serde_dynamo"], &allowed), [""; 0]);
    let per_service = [
        ("aws_sdk_dynamodb", "shared/src/store/", "local/tests/"),
        ("aws_sdk_sqs", "shared/src/queue/", "bench/"),
        ("aws_sdk_secretsmanager", "shared/src/secrets/", "bench/"),
    ];
    for (service, place, tool) in per_service {
        let mut allowed = vec![place, "shared/src/services.rs", "local/", tool];
        allowed.extend((service == "aws_sdk_dynamodb").then_some("shared/src/aws_error.rs"));
        assert_eq!(trespassers(&[service], &allowed), [""; 0], "{service}");
    }
}

#[test]
fn http_is_served_by_the_api_and_the_local_stack_and_sent_by_the_sender_alone() {
    assert_eq!(trespassers(&["axum::"], &["functions/api/", "local/", "bench/"]), [""; 0]);
    assert_eq!(trespassers(&["lambda_http"], &["functions/api/", "local/tests/"]), [""; 0]);
    assert_eq!(trespassers(&["hyper::", "hyper_util::"], &["shared/src/sending/", "local/"]), [""; 0]);
    assert_eq!(trespassers(&["reqwest"], &["shared/src/sending/", "local/tests/"]), [""; 0]);
    assert_eq!(trespassers(&["dynoxide::", "rusqlite::", "standardwebhooks::"], &["local/"]), [""; 0]);
}

#[test]
fn decisions_know_no_clock_no_network_and_no_runtime() {
    let effects =
        ["tokio", "aws_", "reqwest", "std::fs", "std::env", "std::net::Tcp", "Instant", "SystemTime", "getrandom"];
    let pure = [
        "shared/src/domain/",
        "shared/src/signing.rs",
        "shared/src/pipeline/deliver/drain/take.rs",
        "shared/src/pipeline/deliver/ledger.rs",
        "shared/src/pipeline/deliver/plan.rs",
    ];
    for (file, text) in under(&pure) {
        let named: Vec<_> = effects.iter().filter(|effect| names(&text, effect)).collect();
        assert!(named.is_empty(), "{file}: {named:?}");
    }
}

#[test]
fn no_file_is_too_long_and_each_says_what_it_is() {
    for (file, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{file} has {lines} lines");
        assert!(text.starts_with("//!"), "{file} does not say what it is");
    }
}

#[test]
fn no_test_sleeps_or_is_ignored() {
    // Receivers that are slow on purpose.
    let exempt = ["local/tests/it/world/receiver.rs", "local/tests/it/house.rs"];
    for (file, text) in sources().into_iter().filter(|(file, _)| file.starts_with("local/tests/")) {
        assert!(!names(&text, "#[ignore"), "{file}");
        assert!(exempt.contains(&file.as_str()) || !names(&text, "tokio::time::sleep"), "{file}");
    }
}

fn template() -> Template {
    Template::read(TEMPLATE, &[], "http://localhost").unwrap()
}

#[test]
fn every_function_is_told_exactly_what_the_configuration_reads() {
    let template = template();
    let expected: BTreeSet<_> = VARIABLES.iter().map(|name| (*name).to_owned()).collect();
    let functions = template.resources("AWS::Serverless::Function");
    assert_eq!(functions.len(), 4);
    for function in functions {
        let told: BTreeSet<_> = template.environment(&function).unwrap().into_keys().collect();
        assert_eq!(told, expected, "{function}");
    }
}

#[test]
fn queues_hide_a_message_six_times_as_long_as_their_function_runs() {
    let template = template();
    let sources = template.queue_sources().unwrap();
    assert_eq!(sources.len(), 2);
    for source in sources {
        let seconds = |resource: &str, property: &str| template.property(resource, property).unwrap().unwrap().as_u64();
        let timeout = seconds(&source.function, "Timeout").unwrap();
        let queue = template.resources("AWS::SQS::Queue").into_iter();
        let mut queue = queue.filter(|queue| source.queue_arn.ends_with(&template.name_of(queue).unwrap()));
        assert_eq!(seconds(&queue.next().unwrap(), "VisibilityTimeout"), Some(6 * timeout));
        // Room for the longest attempt behind the last one that is begun.
        assert!(timeout >= 20 + u64::from(shared::domain::endpoint::TIMEOUT_SECONDS_MAX));
        assert_eq!(source.batch_size, 10);
    }
    assert_eq!(TEMPLATE.matches("FunctionResponseTypes: [ReportBatchItemFailures]").count(), 2);
}

#[test]
fn functions_that_send_to_the_queues_they_are_fed_from_are_not_stopped_as_runaway_loops() {
    let template = template();
    for function in template.resources("AWS::Serverless::Function") {
        let is_fed = template.queue_sources().unwrap().iter().any(|source| source.function == function);
        let allows = template.property(&function, "RecursiveLoop").unwrap();
        assert_eq!(allows == Some(Value::from("Allow")), is_fed, "{function}");
    }
}

/// What CloudFormation lets through for a parameter.
fn pattern_of(parameter: &str) -> String {
    let text = TEMPLATE.split(&format!("\n  {parameter}:\n")).nth(1).unwrap();
    let line = text.lines().find_map(|line| line.trim().strip_prefix("AllowedPattern: ")).unwrap();
    line.trim_matches('\'').trim_start_matches('^').trim_end_matches('$').to_owned()
}

/// Parameters with a pattern whose value the functions read at their start, with values on both sides of its edges.
const PATTERNS: [(&str, &str, &[&str], &[&str]); 3] = [
    (
        "RetryScheduleSeconds",
        "RETRY_SCHEDULE_SECONDS",
        &["0", "86400", "5,300, 1800", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19"],
        &["", "86401", "5,100000", "-1", "5,", "1.5", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20"],
    ),
    (
        "AllowedRanges",
        "ALLOWED_RANGES",
        &["", "10.0.0.0/8", "10.20.0.0/16, fd12::/16,::/0", "1:2:3:4:5:6:7:8/128", "::1/128", "1:2:3:4:5:6:7::/112"],
        &[
            "10.0.0.0",
            "10.0.0.0/33",
            "256.0.0.0/8",
            "10.0.0/8",
            "::/129",
            "1::2::3/64",
            "1:2:3:4:5:6:7:8:9/64",
            "g::/8",
        ],
    ),
    (
        "CorsOrigins",
        "CORS_ORIGINS",
        &["", "*", "https://app.example.com", "https://a.example, http://localhost:65535"],
        &[
            "example.com",
            "https://app.example.com/",
            "https://App.example.com",
            "*,https://a.example",
            "http://a:65536",
            "http://-a.example",
        ],
    ),
];

/// Whether the functions start with this value, everything else being as the template has it.
fn starts(variable: &str, value: &str) -> bool {
    let environment = template().environment("ApiFunction").unwrap();
    Config::read(|name| if name == variable { Some(value.to_owned()) } else { environment.get(name).cloned() }).is_ok()
}

#[test]
fn value_that_cloudformation_lets_through_lets_the_functions_start() {
    for (parameter, variable, allowed, refused) in PATTERNS {
        let pattern = pattern_of(parameter);
        let whole = regex::Regex::new(&format!("^(?:{pattern})$")).unwrap();
        for value in allowed {
            assert!(whole.is_match(value) && starts(variable, value), "{parameter}: {value:?} is fine");
        }
        for value in refused {
            assert!(!whole.is_match(value), "{parameter}: {value:?} is not fine");
        }
        let generated = proptest::string::string_regex(&pattern).unwrap();
        proptest!(|(value in generated)| prop_assert!(starts(variable, &value), "{parameter}: {value:?}"));
    }
}

#[test]
fn table_of_the_template_has_the_keys_of_the_code() {
    let template = template();
    let property = |name: &str| template.property("Table", name).unwrap().unwrap();
    let schema = |hash: &str, range: &str| json!([{ "AttributeName": hash, "KeyType": "HASH" }, { "AttributeName": range, "KeyType": "RANGE" }]);
    assert_eq!(property("KeySchema"), schema(keys::PK, keys::SK));
    let indexes = property("GlobalSecondaryIndexes");
    let [index] = indexes.as_array().unwrap().as_slice() else { panic!("{indexes}") };
    assert_eq!(index["IndexName"], keys::INDEX);
    assert_eq!(index["KeySchema"], schema(keys::INDEX_PK, keys::INDEX_SK));
    assert_eq!(property("TimeToLiveSpecification")["AttributeName"], Value::from(keys::TTL));
    assert_eq!(template.resources("AWS::DynamoDB::Table"), ["Table"]);
}

#[test]
fn every_test_that_the_guarantees_name_exists() {
    let text = fs::read_to_string(root().join("docs/guarantees.md")).unwrap();
    let sources = sources();
    let named: Vec<_> =
        text.split('`').skip(1).step_by(2).filter(|name| name.contains("::") && !name.ends_with("::")).collect();
    assert!(named.len() > 60, "{}", named.len());
    for name in named {
        let (place, test) = name.rsplit_once("::").unwrap();
        let file = match place.strip_prefix("shared::") {
            Some(module) => format!("shared/src/{module}"),
            None => format!("local/tests/it/{place}.rs"),
        };
        let definition = format!("fn {test}(");
        let is_there =
            sources.iter().any(|(candidate, text)| candidate.starts_with(&file) && text.contains(&definition));
        assert!(is_there, "{name}");
    }
}
