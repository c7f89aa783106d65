//! The table: access patterns, one file per thing. Concrete, because conditions, paging and transactions are where the bugs are.
//!
//! Nothing outside this folder knows DynamoDB. Every call is bounded in time by the client and in size by DynamoDB's own limits, which the
//! functions here split by.

pub mod api_keys;
pub mod backlog;
mod batch;
pub mod cleanups;
pub mod data_keys;
pub mod deliveries;
pub mod endpoints;
pub mod event_types;
pub mod events;
pub mod flows;
#[cfg(test)]
mod golden;
pub mod idempotency;
pub mod items;
pub mod keys;
pub mod page;
pub mod payload_fields;
pub mod query;
pub mod rates;
pub mod replays;
pub mod saved_responses;
pub mod tenants;
mod transaction;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use batch::{Condition, Recorded, TRIES_MAX, Tried, Write, back_off};

use crate::aws_error::AwsError;
use keys::Key;

type Item = HashMap<String, AttributeValue>;
/// The name of an attribute.
type Name = Cow<'static, str>;
/// Attributes with their values.
type Named = Vec<(Name, AttributeValue)>;

/// The table and the client that reaches it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    client: Client,
    table: String,
}

impl Store {
    /// A store on the table of this name.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Whether the table answers: reads one item that is not there.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), AwsError> {
        let key = Key { pk: "PING".to_owned(), sk: "PING".to_owned() };
        self.get_item(&key, false).await.map(|_| ())
    }

    /// Reads one item.
    async fn get<T: Stored + DeserializeOwned>(&self, key: &Key, consistent: bool) -> Result<Option<T>, AwsError> {
        self.get_item(key, consistent).await?.map(from_item).transpose()
    }

    async fn get_item(&self, key: &Key, consistent: bool) -> Result<Option<Item>, AwsError> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key_item(key)))
            .consistent_read(consistent)
            .send()
            .await
            .map_err(|error| AwsError::from_sdk("dynamodb:GetItem", &error))?;
        Ok(answer.item)
    }
}

/// A shape in which something is stored. Its kind stands in every item, so that nothing is taken for something else.
trait Stored {
    const KIND: &'static str;
    /// Whether what is `None` is stored as null; otherwise it is no attribute.
    const STORES_NULLS: bool = true;
}

/// The attribute that says of which kind an item is.
const KIND: &str = "kind";

fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn key_item(key: &Key) -> Item {
    HashMap::from([(keys::PK.to_owned(), text(&key.pk)), (keys::SK.to_owned(), text(&key.sk))])
}

fn to_item<T: Stored + Serialize>(key: &Key, shape: &T) -> Result<Item, AwsError> {
    let mut item: Item = serde_dynamo::to_item(shape).map_err(|error| AwsError::unreadable("dynamodb:Put", error))?;
    item.retain(|_, value| T::STORES_NULLS || !value.is_null());
    item.extend(key_item(key));
    item.insert(KIND.to_owned(), text(T::KIND));
    Ok(item)
}

/// What a write sets and what it removes, by name, so that a part of an item is as this shape has it: what is `None` goes. The shape skips no field.
fn changes<T: Serialize>(part: &T) -> Result<(Named, Vec<Name>), AwsError> {
    let item: Item = serde_dynamo::to_item(part).map_err(|error| AwsError::unreadable("dynamodb:Put", error))?;
    let item: BTreeMap<_, _> = item.into_iter().collect();
    let (removed, set): (Vec<_>, Vec<_>) = item.into_iter().partition(|(_, value)| value.is_null());
    let set = set.into_iter().map(|(name, value)| (Name::Owned(name), value)).collect();
    Ok((set, removed.into_iter().map(|(name, _)| Name::Owned(name)).collect()))
}

fn kind_of(item: &Item) -> Option<&str> {
    item.get(KIND)?.as_s().ok().map(String::as_str)
}

fn from_item<T: Stored + DeserializeOwned>(item: Item) -> Result<T, AwsError> {
    match kind_of(&item) {
        Some(kind) if kind == T::KIND => {}
        other => {
            return Err(AwsError::unreadable("dynamodb:Get", format!("it is of the kind {other:?}, not {}", T::KIND)));
        }
    }
    serde_dynamo::from_item(item).map_err(|error| AwsError::unreadable("dynamodb:Get", error))
}
