//! The roles that the template gives its functions, as the embedded services enforce them: on this machine, too, a function may do what its role
//! allows and nothing else.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::aws::{Grant, Roles};
use crate::template::{Template, TemplateError};

/// The role of every function, under the names that the function and its event source call by: on AWS both call under the function's role.
///
/// # Errors
/// When a role says something that is not read here: a condition, a denial, a resource that cannot be resolved.
pub fn roles(template: &Template) -> Result<Roles, TemplateError> {
    let mut roles = Roles::new();
    for function in template.resources("AWS::Serverless::Function") {
        let role = template.role_of(&function)?;
        let grants = grants(template, &role)?;
        roles.insert(format!("{function}Poller"), grants.clone());
        roles.insert(function, grants);
    }
    Ok(roles)
}

/// What a role allows.
///
/// # Errors
/// As for [`roles`].
pub fn grants(template: &Template, role: &str) -> Result<BTreeSet<Grant>, TemplateError> {
    let policies = template.property(role, "Policies")?.unwrap_or_default();
    let statements = policies.as_array().into_iter().flatten();
    let statements =
        statements.flat_map(|policy| policy["PolicyDocument"]["Statement"].as_array().into_iter().flatten());
    let mut grants = BTreeSet::new();
    for statement in statements {
        let known = |part: &String| ["Sid", "Effect", "Action", "Resource"].contains(&part.as_str());
        if statement["Effect"] != "Allow" || !statement.as_object().is_some_and(|parts| parts.keys().all(known)) {
            return Err(TemplateError::new(format!("{role} has a statement that is not read here: {statement}")));
        }
        for action in texts(&statement["Action"]) {
            for resource in texts(&statement["Resource"]) {
                grants.insert(Grant { action: action.to_owned(), resource: resource.to_owned() });
            }
        }
    }
    Ok(grants)
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
        other => other.as_str().into_iter().collect(),
    }
}
