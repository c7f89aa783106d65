//! `docs/configuration.md` says what the code reads and what the template takes: every variable by name, and every parameter with its bounds or words and its default.

use std::collections::BTreeMap;
use std::path::Path;

use serde_yaml_ng::Value;
use shared::config::VARIABLES;

fn read(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)).unwrap()
}

/// The rows of the tables below a heading: the cells of each, the first without its backticks.
fn rows(heading: &str) -> BTreeMap<String, Vec<String>> {
    let text = read("docs/configuration.md");
    let section = text.split_once(&format!("\n## {heading}\n")).unwrap().1.split("\n## ").next().unwrap().to_owned();
    let mut found = BTreeMap::new();
    for line in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
        let name = cells[0].trim_matches('`').to_owned();
        assert!(found.insert(name.clone(), cells).is_none(), "{name} stands twice");
    }
    found
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        other => panic!("{other:?}"),
    }
}

/// A value as the page writes it.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "empty".to_owned(),
        Value::String(text) => format!("`{text}`"),
        other => text(other),
    }
}

#[test]
fn every_variable_that_the_functions_read_has_its_row_and_no_other_has() {
    let rows = rows("Environment variables");
    let mut expected: Vec<_> = VARIABLES.iter().map(|name| (*name).to_owned()).collect();
    expected.sort();
    assert_eq!(rows.into_keys().collect::<Vec<_>>(), expected);
}

#[test]
fn every_parameter_of_the_template_has_its_row_with_its_values_and_its_default() {
    let template: Value = serde_yaml_ng::from_str(&read("template.yaml")).unwrap();
    let parameters = template["Parameters"].as_mapping().unwrap();
    let mut rows = rows("Template parameters");
    for (name, parameter) in parameters {
        let name = name.as_str().unwrap();
        let row = rows.remove(name).unwrap_or_else(|| panic!("{name} has no row"));
        let (values, default) = (&row[2], &row[3]);
        let allowed = parameter["AllowedValues"].as_sequence();
        match (&parameter["MinValue"], &parameter["MaxValue"], allowed) {
            (Value::Number(least), Value::Number(most), _) => {
                assert_eq!(values, &format!("{least} to {most}"), "{name}");
            }
            (Value::Number(least), Value::Null, _) => assert_eq!(values, &format!("{least} or more"), "{name}"),
            // Those of CloudWatch Logs: too many for a row.
            (_, _, Some(allowed)) if allowed.len() > 10 => {
                let ends = format!("{} to {}", text(&allowed[0]), text(allowed.last().unwrap()));
                assert!(values.ends_with(&ends), "{name}: {values}");
            }
            (_, _, Some(allowed)) => {
                assert_eq!(values, &allowed.iter().map(shown).collect::<Vec<_>>().join(", "), "{name}");
            }
            _ => assert!(!values.is_empty(), "{name}"),
        }
        // The schedule stands in the table of variables.
        if default != "see above" {
            assert_eq!(default, &shown(&parameter["Default"]), "{name}");
        }
    }
    assert!(rows.is_empty(), "the template has no such parameters: {:?}", rows.keys());
}
