//! Query strings: every parameter is known and right, or the answer names what is not.

use std::str::FromStr;

use axum::extract::FromRequestParts;
use http::request::Parts;
use jiff::Timestamp;
use shared::domain::time;
use shared::domain::validation::FieldErrors;
use shared::store::page::{PAGE_DEFAULT, PAGE_MAX, Page};

use crate::cursor;
use crate::error::ApiError;

/// How often a parameter may stand that may stand several times.
pub(crate) const VALUES_MAX: usize = 20;

/// The parameters of a request; they are taken by name, and what is left at the end is unknown.
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
    errors: FieldErrors,
}

impl Params {
    /// Takes a parameter that may stand once.
    pub(crate) fn one<T>(&mut self, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let mut values = self.values(name);
        if values.len() > 1 {
            self.errors.add(name, "must be given once");
            return None;
        }
        let value = read(&values.pop()?);
        value.map_err(|rule| self.errors.add(name, rule)).ok()
    }

    /// Takes a parameter that may stand several times, up to 20.
    pub(crate) fn many<T>(&mut self, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let values = self.values(name);
        if values.len() > VALUES_MAX {
            self.errors.add(name, format!("must be given at most {VALUES_MAX} times"));
        }
        let mut taken = Vec::new();
        for value in values.iter().take(VALUES_MAX) {
            match read(value) {
                Ok(value) => taken.push(value),
                Err(rule) => self.errors.add(name, rule),
            }
        }
        taken
    }

    /// Takes `created_after` and `created_before`: from the first (included) to the second (not included).
    pub(crate) fn window(&mut self) -> (Option<Timestamp>, Option<Timestamp>) {
        (self.one("created_after", time::parse), self.one("created_before", time::parse))
    }

    /// Takes `limit` and `cursor`.
    pub(crate) fn paging<Id: FromStr>(&mut self) -> (usize, Option<Id>) {
        let rule = || format!("must be a whole number from 1 to {PAGE_MAX}");
        let limit = self.one("limit", |text| match text.parse::<u32>() {
            Ok(limit) if (1..=PAGE_MAX).contains(&limit) => Ok(limit),
            _ => Err(rule()),
        });
        (limit.unwrap_or(PAGE_DEFAULT) as usize, self.one("cursor", cursor::decode))
    }

    /// The page of a short list that has been read whole, sorted by what `id_of` gives.
    pub(crate) fn page_of<T, Id: Ord>(
        entries: Vec<T>,
        after: Option<&Id>,
        limit: usize,
        id_of: impl Fn(&T) -> Id,
    ) -> Page<T, Id> {
        let behind = entries.into_iter().filter(|entry| after.is_none_or(|after| id_of(entry) > *after));
        Page::cut(behind.collect(), limit, id_of)
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Every parameter that is unknown or wrong.
    pub(crate) fn finish(mut self) -> Result<(), ApiError> {
        for (name, _) in std::mem::take(&mut self.pairs) {
            self.errors.add(name, "is not a known parameter");
        }
        if self.errors.0.is_empty() { Ok(()) } else { Err(ApiError::Validation(self.errors)) }
    }

    fn values(&mut self, name: &str) -> Vec<String> {
        let taken = self.pairs.extract_if(.., |(candidate, _)| candidate == name);
        taken.map(|(_, value)| value).collect()
    }
}

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Ok(Self { pairs, errors: FieldErrors::default() })
    }
}
