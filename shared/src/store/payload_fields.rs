//! The payload fields of endpoints, each list kept once under its hash: a delivery names those that it began with, and goes on with them after the endpoint has
//! others.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Item, Store, Stored, from_item, keys, to_item};
use crate::aws_error::AwsError;
use crate::domain::delivery::{ChosenFields, Delivery};
use crate::domain::endpoint::Endpoint;
use crate::domain::id::EndpointId;
use crate::domain::payload::{FieldsHash, PayloadField};
use crate::domain::time::plus_seconds;

/// How long fields are kept that an endpoint has no more, in seconds: longer than any delivery is.
const KEPT_SECONDS: i64 = 500 * 86_400;

#[derive(Serialize, Deserialize)]
pub(super) struct FieldsItem {
    hash: FieldsHash,
    payload_fields: Vec<PayloadField>,
    #[serde(default, with = "jiff::fmt::serde::timestamp::second::optional", skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

impl Stored for FieldsItem {
    const KIND: &'static str = "payload_fields";
}

/// The item of the fields of an endpoint, if it has any; `left_at` is when it had them last.
pub(super) fn fields_item(endpoint: &Endpoint, left_at: Option<Timestamp>) -> Result<Option<Item>, AwsError> {
    let payload_fields = endpoint.settings.payload_fields.clone();
    let Some(hash) = FieldsHash::of(&payload_fields) else { return Ok(None) };
    let key = keys::payload_fields(endpoint.id, &hash);
    let expires_at = left_at.map(|at| plus_seconds(at, KEPT_SECONDS));
    to_item(&key, &FieldsItem { hash, payload_fields, expires_at }).map(Some)
}

/// Fields that endpoints had before.
#[derive(Clone, Debug, Default)]
pub struct EarlierFields(HashMap<FieldsHash, Vec<PayloadField>>);

impl EarlierFields {
    /// What the body of a delivery is made of. Fields that are there no more are those of the endpoint now.
    #[must_use]
    pub fn of<'a>(&'a self, delivery: &'a Delivery, endpoint: &'a Endpoint) -> &'a [PayloadField] {
        match delivery.chosen_fields(endpoint) {
            ChosenFields::Known(fields) => fields,
            ChosenFields::Earlier(hash) => self.0.get(hash).unwrap_or(&endpoint.settings.payload_fields),
        }
    }
}

impl Store {
    /// Reads the fields that these deliveries to an endpoint began with, where those are not the endpoint's own now: nothing is asked for where all are.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn earlier_fields(
        &self,
        endpoint: &Endpoint,
        deliveries: impl Iterator<Item = &Delivery>,
    ) -> Result<EarlierFields, AwsError> {
        let earlier = |delivery: &Delivery| match delivery.chosen_fields(endpoint) {
            ChosenFields::Known(_) => None,
            ChosenFields::Earlier(hash) => Some(hash.clone()),
        };
        let hashes: BTreeSet<FieldsHash> = deliveries.filter_map(earlier).collect();
        self.fields_of(endpoint.id, &hashes).await
    }

    async fn fields_of(&self, id: EndpointId, hashes: &BTreeSet<FieldsHash>) -> Result<EarlierFields, AwsError> {
        let keys: Vec<_> = hashes.iter().map(|hash| keys::payload_fields(id, hash)).collect();
        let mut found = HashMap::new();
        for item in self.get_many(&keys, true).await?.into_values() {
            let item: FieldsItem = from_item(item)?;
            found.insert(item.hash, item.payload_fields);
        }
        Ok(EarlierFields(found))
    }
}
