//! `ListSecrets`: filters, order, pages. `BatchGetSecretValue` uses the same filters and pages.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::read::Description;
use super::secret::Secret;
use super::{Change, errors};
use crate::aws::protocol::AwsError;

/// The most secrets that one list gives. Source: `ListSecrets`.
const LIST_MAX: usize = 100;

/// The most filters, and values of one. Source: `ListSecrets`.
const FILTERS_MAX: usize = 10;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct List {
    filters: Option<Vec<Filter>>,
    max_results: Option<usize>,
    next_token: Option<String>,
    #[serde(default)]
    include_planned_deletion: bool,
    #[serde(flatten)]
    order: Order,
}

/// A condition on secrets: one of the values starts the attribute; with `!` in front, none may.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Filter {
    key: String,
    values: Vec<String>,
}

/// How a list is sorted.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Order {
    sort_by: Option<SortBy>,
    sort_order: Option<SortOrder>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum SortBy {
    #[default]
    CreatedDate,
    LastAccessedDate,
    LastChangedDate,
    Name,
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SortOrder {
    #[default]
    Asc,
    Desc,
}

/// Which part of a list is wanted.
pub(super) struct Page<'a> {
    pub(super) max_results: Option<usize>,
    pub(super) limit: usize,
    pub(super) next_token: Option<&'a str>,
}

/// A part of a list.
pub(super) struct Found {
    pub(super) names: Vec<Arc<str>>,
    pub(super) next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Listed {
    secret_list: Vec<Description>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

/// Where a secret stands in a list; also what a token holds.
type Position = (i64, Arc<str>);

pub(super) fn list(change: &mut Change<'_>, request: List) -> Result<Listed, AwsError> {
    let filters = request.filters.unwrap_or_default();
    let page_wanted =
        Page { max_results: request.max_results, limit: LIST_MAX, next_token: request.next_token.as_deref() };
    let found = page(change, &filters, &page_wanted, &request.order, request.include_planned_deletion)?;
    let secrets = found.names.iter().filter_map(|name| change.state.by_name.get(name));
    Ok(Listed { secret_list: secrets.map(Description::entry).collect(), next_token: found.next_token })
}

/// The names of one page of the secrets that pass the filters.
///
/// # Errors
/// When a number, a filter or the token is not allowed.
pub(super) fn page(
    change: &Change<'_>,
    filters: &[Filter],
    page: &Page<'_>,
    order: &Order,
    with_deleted: bool,
) -> Result<Found, AwsError> {
    let count = page.max_results.unwrap_or(page.limit);
    if !(1..=page.limit).contains(&count) {
        return Err(errors::validation(format!("MaxResults is 1 to {}, got {count}", page.limit)));
    }
    if filters.len() > FILTERS_MAX || filters.iter().any(|filter| !(1..=FILTERS_MAX).contains(&filter.values.len())) {
        return Err(errors::invalid_parameter(format!(
            "there are at most {FILTERS_MAX} filters of 1 to {FILTERS_MAX} values"
        )));
    }
    if let Some(filter) = filters.iter().find(|filter| !filter.is_known()) {
        return Err(errors::validation(format!("the filter key \"{}\" is not known", filter.key)));
    }
    let sort_by = order.sort_by.unwrap_or_default();
    let descending = order.sort_order.unwrap_or_default() == SortOrder::Desc;
    let after = page.next_token.map(|token| read_token(token).ok_or_else(errors::invalid_next_token)).transpose()?;
    let is_after = |position: &Position| match &after {
        None => true,
        Some(after) if descending => position < after,
        Some(after) => position > after,
    };
    let secrets = change.state.by_name.values();
    let secrets = secrets.filter(|secret| with_deleted || secret.deleted_at.is_none());
    let secrets = secrets.filter(|secret| filters.iter().all(|filter| filter.passes(secret)));
    let mut positions: Vec<Position> = secrets.map(|secret| sort_by.position(secret)).filter(is_after).collect();
    positions.sort_unstable();
    if descending {
        positions.reverse();
    }
    let more = positions.len() > count;
    positions.truncate(count);
    let next_token = positions.last().filter(|_| more).map(write_token);
    Ok(Found { names: positions.into_iter().map(|(_, name)| name).collect(), next_token })
}

impl SortBy {
    fn position(self, secret: &Secret) -> Position {
        let at = match self {
            Self::CreatedDate => secret.created_at,
            Self::LastAccessedDate => secret.accessed_at.unwrap_or_default(),
            Self::LastChangedDate => secret.changed_at,
            Self::Name => 0,
        };
        (at, Arc::clone(&secret.name))
    }
}

impl Filter {
    fn is_known(&self) -> bool {
        let known = ["name", "description", "tag-key", "tag-value", "primary-region", "owning-service", "all"];
        known.contains(&self.key.as_str())
    }

    /// One of the values without `!` matches (if there are any), and none of those with it.
    fn passes(&self, secret: &Secret) -> bool {
        let (denied, wanted): (Vec<&String>, Vec<&String>) =
            self.values.iter().partition(|value| value.starts_with('!'));
        (wanted.is_empty() || wanted.iter().any(|value| self.matches(secret, value)))
            && !denied.iter().any(|value| self.matches(secret, value.trim_start_matches('!')))
    }

    fn matches(&self, secret: &Secret, value: &str) -> bool {
        let lower = value.to_lowercase();
        let description = secret.description.as_deref().unwrap_or_default().to_lowercase();
        match self.key.as_str() {
            "name" => secret.name.starts_with(value),
            "description" => description.starts_with(&lower) || description.contains(&format!(" {lower}")),
            "tag-key" => secret.tags.keys().any(|key| key.starts_with(value)),
            "tag-value" => secret.tags.values().any(|tag| tag.starts_with(value)),
            "all" => {
                let tags = secret.tags.iter().flat_map(|(key, value)| [key.to_lowercase(), value.to_lowercase()]);
                let texts: Vec<String> = tags.chain([secret.name.to_lowercase(), description]).collect();
                lower.split_whitespace().all(|word| texts.iter().any(|text| text.contains(word)))
            }
            // Nothing here is replicated or owned by another service.
            _ => false,
        }
    }
}

fn write_token((at, name): &Position) -> String {
    STANDARD.encode(format!("{at} {name}"))
}

fn read_token(token: &str) -> Option<Position> {
    let text = String::from_utf8(STANDARD.decode(token).ok()?).ok()?;
    let (at, name) = text.split_once(' ')?;
    Some((at.parse().ok()?, name.into()))
}
