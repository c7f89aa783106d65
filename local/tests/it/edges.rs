//! Which modules know which: a list of what is so, without circles. A new edge is a decision, written down here.

use std::collections::{BTreeMap, BTreeSet};

use crate::house::under;

/// A module and those that it names.
type Edges = (&'static str, &'static [&'static str]);

/// Which modules of a crate name which others. What is not here is not allowed, and what is here is so.
const EDGES: &[(&str, &[Edges])] = &[
    (
        "shared/src/",
        &[
            ("cache", &["domain"]),
            ("config", &["domain"]),
            ("directory", &["aws_error", "cache", "domain", "store"]),
            ("metrics", &["cache"]),
            (
                "pipeline",
                &[
                    "aws_error",
                    "clock",
                    "config",
                    "directory",
                    "domain",
                    "metrics",
                    "queue",
                    "random",
                    "sending",
                    "services",
                    "store",
                ],
            ),
            ("queue", &["aws_error", "domain"]),
            ("secrets", &["aws_error", "cache", "clock", "config", "domain", "random", "store"]),
            ("sending", &["cache", "clock", "domain", "signing"]),
            ("services", &["clock", "config", "directory", "metrics", "queue", "secrets", "sending", "store"]),
            ("signing", &["domain"]),
            ("store", &["aws_error", "domain", "random"]),
            ("telemetry", &["clock", "config"]),
        ],
    ),
    (
        "functions/api/src/",
        &[
            ("access", &["limits"]),
            ("api_keys", &["body", "error", "idempotent", "query", "respond", "tenants"]),
            ("auth", &["access", "error"]),
            ("body", &["error"]),
            ("cors", &["limits"]),
            ("deliveries", &["auth", "body", "cursor", "endpoints", "error", "query", "respond", "sort"]),
            ("endpoint_health", &["error"]),
            ("endpoint_view", &["endpoint_health"]),
            (
                "endpoints",
                &["auth", "body", "endpoint_health", "endpoint_view", "error", "idempotent", "query", "respond"],
            ),
            ("event_types", &["auth", "body", "error", "query", "respond"]),
            (
                "events",
                &[
                    "auth",
                    "body",
                    "cursor",
                    "deliveries",
                    "error",
                    "event_types",
                    "idempotent",
                    "query",
                    "request_id",
                    "respond",
                ],
            ),
            ("guard", &["access", "auth", "error", "idempotent", "limits"]),
            ("idempotent", &["body", "error"]),
            ("insights", &["auth", "endpoints", "error", "query", "respond"]),
            ("limits", &["error"]),
            ("openapi", &["access", "error", "insights", "query", "request_id"]),
            ("portal_sessions", &["api_keys", "body", "error", "idempotent", "respond", "tenants"]),
            ("query", &["cursor", "error"]),
            ("replays", &["auth", "body", "endpoints", "error", "idempotent", "respond"]),
            ("request_id", &["error", "limits"]),
            ("respond", &["cursor"]),
            (
                "routes",
                &[
                    "access",
                    "api_keys",
                    "deliveries",
                    "endpoint_view",
                    "endpoints",
                    "event_types",
                    "events",
                    "guard",
                    "insights",
                    "limits",
                    "openapi",
                    "portal_sessions",
                    "replays",
                    "secrets",
                    "service_health",
                    "tenants",
                    "test_calls",
                ],
            ),
            ("secrets", &["auth", "body", "endpoints", "error", "idempotent", "respond"]),
            ("service_health", &["respond"]),
            ("sort", &["cursor"]),
            ("tenants", &["body", "error", "idempotent", "query", "respond"]),
            ("test_calls", &["auth", "body", "endpoints", "error", "request_id", "respond"]),
        ],
    ),
    (
        "local/src/",
        &[
            ("aws", &["serve"]),
            ("poller", &["template"]),
            ("provision", &["template"]),
            ("grants", &["aws", "template"]),
            ("stack", &["aws", "clients", "demo", "grants", "poller", "provision", "receiver", "serve", "template"]),
        ],
    ),
    (
        "bench/src/",
        &[
            ("deployment", &["lambda"]),
            ("neighbours", &["deployment", "lambda", "machine", "report", "sink"]),
            ("throughput", &["deployment", "lambda", "report", "sink"]),
        ],
    ),
];

/// The modules that a text names by `crate::`.
fn named_modules(text: &str) -> BTreeSet<String> {
    let code: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        let group = rest.strip_prefix('{').and_then(|group| group.split_once('}')).map(|(group, _)| group);
        for name in group.unwrap_or(rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap()).split(',')
        {
            let name = name.trim().split("::").next().unwrap();
            // Modules are in lower case, what stands in the root itself is not.
            found.extend(name.starts_with(|c: char| c.is_lowercase()).then(|| name.to_owned()));
        }
    }
    found
}

#[test]
fn modules_know_only_those_that_they_may_and_never_in_a_circle() {
    for (place, allowed) in EDGES {
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (file, text) in under(&[place]).into_iter().filter(|(file, _)| !file.ends_with("/tests.rs")) {
            let module = file[place.len()..].split('/').next().unwrap().trim_end_matches(".rs").to_owned();
            let mut named = named_modules(&text);
            named.remove(&module);
            edges.entry(module).or_default().extend(named);
        }
        edges.retain(|module, named| !named.is_empty() && !["lib", "main"].contains(&module.as_str()));
        let allowed: BTreeMap<_, _> = allowed
            .iter()
            .map(|(module, named)| ((*module).to_owned(), named.iter().map(|name| (*name).to_owned()).collect()))
            .collect();
        assert_eq!(edges, allowed, "{place}");
        // Whatever names only what is gone goes; in a circle nothing ever does.
        while let Some(free) = edges.iter().find(|(_, named)| !named.iter().any(|name| edges.contains_key(name))) {
            let free = free.0.clone();
            edges.remove(&free);
        }
        assert!(edges.is_empty(), "{place}: a circle through {:?}", edges.keys());
    }
}
