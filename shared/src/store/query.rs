//! Reading logs: partitions that share the order of their sort keys, merged, filtered, a page at a time.
//!
//! Events and deliveries are sorted by event id, which sorts by time; so a page's cursor is one event id, whichever partitions it was read from,
//! and a span of time is a span of ids. What one request examines is bounded; a page that the bound cuts short goes on by its cursor.

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use futures::future::try_join_all;
use jiff::Timestamp;

use super::batch::key_of;
use super::keys::{INDEX, INDEX_PK, INDEX_SK, PK, SK};
use super::page::Page;
use super::{Item, Store, text};
use crate::aws_error::AwsError;
use crate::domain::id::EventId;

/// The most items that one request examines.
pub const EXAMINED_MAX: usize = 2_000;
/// How many items are asked of each partition at once, at the most.
const CHUNK_MAX: usize = 250;

/// One partition of a log.
#[derive(Clone, Debug)]
pub(super) enum Partition {
    /// Of the table, sorted by event id.
    Table(String),
    /// Of the sparse index, sorted by event id.
    Index(String),
}

/// Which way a log is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The newest event first.
    #[default]
    NewestFirst,
    /// The oldest event first.
    OldestFirst,
}

/// Which part of a log is read, and from where on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Which way.
    pub order: Order,
    /// Only events made at this time or later.
    pub from: Option<Timestamp>,
    /// Only events made before this time.
    pub until: Option<Timestamp>,
    /// Only what comes after this event, in the order.
    pub after: Option<EventId>,
}

impl Window {
    /// The first and the last sort key of the window, both included.
    fn bounds(&self) -> (String, String) {
        let least = |at: Timestamp| EventId::from_parts(at, [0; 10]).to_string();
        // Ids are upper-case letters and digits: a tilde sorts behind all of them.
        let mut first = self.from.map_or_else(|| EventId::PREFIX.to_owned(), least);
        let mut last = match self.until {
            // The greatest id of the millisecond before.
            Some(until) => {
                let before = until.as_millisecond().saturating_sub(1);
                let before = Timestamp::from_millisecond(before).unwrap_or(Timestamp::UNIX_EPOCH);
                EventId::from_parts(before, [0xff; 10]).to_string()
            }
            None => format!("{}~", EventId::PREFIX),
        };
        if let Some(after) = self.after {
            match self.order {
                // Just behind and just before the id: a space sorts before, and a tilde behind, every continuation of it.
                Order::OldestFirst => first = first.max(format!("{after} ")),
                Order::NewestFirst => last = last.min(just_before(&after.to_string())),
            }
        }
        (first, last)
    }
}

/// A text that sorts before this one and behind every other id that does.
fn just_before(id: &str) -> String {
    let mut bytes = id.as_bytes().to_vec();
    if let Some(last) = bytes.last_mut() {
        *last -= 1;
    }
    let mut text = String::from_utf8(bytes).unwrap_or_default();
    text.push('~');
    text
}

/// What one call to a partition gives.
struct FirstOf {
    items: Vec<Item>,
    has_more: bool,
}

/// What one call to each partition gives.
struct Merged {
    items: Vec<Item>,
    /// There is nothing behind them.
    is_last: bool,
}

impl Store {
    /// A page of what `read` makes of the items in the window, and `keep` keeps.
    pub(super) async fn query_events<T>(
        &self,
        partitions: &[Partition],
        mut window: Window,
        limit: usize,
        read: impl Fn(Item) -> Result<Option<T>, AwsError>,
        keep: impl Fn(&T) -> bool,
        id_of: impl Fn(&T) -> EventId,
    ) -> Result<Page<T, EventId>, AwsError> {
        let mut kept: Vec<T> = Vec::new();
        let mut examined = 0;
        while examined < EXAMINED_MAX {
            let chunk = (limit + 1 - kept.len()).clamp(1, CHUNK_MAX);
            let Merged { items, is_last } = self.merged(partitions, window, chunk).await?;
            examined += items.len();
            window.after = items.last().and_then(sort_key).and_then(|id| id.parse().ok()).or(window.after);
            for item in self.whole(partitions, items).await? {
                match read(item) {
                    Ok(entry) => kept.extend(entry.filter(&keep)),
                    // One that cannot be read is not a reason to show none.
                    Err(error) => tracing::error!(%error, "an entry of a log cannot be read; it is left out"),
                }
            }
            if kept.len() > limit || is_last {
                return Ok(Page::cut(kept, limit, id_of));
            }
        }
        // Cut short: goes on behind the last one examined.
        Ok(Page { entries: kept, next: window.after })
    }

    /// The first items of the window over all partitions: `limit`, or as many as one call to each of them gives.
    async fn merged(&self, partitions: &[Partition], window: Window, limit: usize) -> Result<Merged, AwsError> {
        let queries = partitions.iter().map(|partition| self.first_of(partition, window, limit));
        let answers = try_join_all(queries).await?;
        let is_before = |a: &str, b: &str| match window.order {
            Order::NewestFirst => a > b,
            Order::OldestFirst => a < b,
        };
        // Behind the last item of a partition that has more, nothing is known.
        let ends = answers.iter().filter(|answer| answer.has_more).filter_map(|answer| answer.items.last());
        let known_to =
            ends.filter_map(sort_key).map(str::to_owned).reduce(|a, b| if is_before(&a, &b) { a } else { b });
        let is_known = |item: &Item| {
            let key = sort_key(item).unwrap_or_default();
            known_to.as_deref().is_none_or(|end| key == end || is_before(key, end))
        };
        let mut items: Vec<Item> = answers.into_iter().flat_map(|answer| answer.items).filter(is_known).collect();
        match window.order {
            Order::NewestFirst => items.sort_by(|a, b| sort_key(b).cmp(&sort_key(a))),
            Order::OldestFirst => items.sort_by(|a, b| sort_key(a).cmp(&sort_key(b))),
        }
        let is_last = known_to.is_none() && items.len() <= limit;
        items.truncate(limit);
        Ok(Merged { items, is_last })
    }

    /// The items themselves, in their order: the index has only their keys. What is gone meanwhile is left out.
    async fn whole(&self, partitions: &[Partition], found: Vec<Item>) -> Result<Vec<Item>, AwsError> {
        if partitions.iter().all(|partition| matches!(partition, Partition::Table(_))) {
            return Ok(found);
        }
        let keys: Vec<_> = found.iter().filter_map(key_of).collect();
        let mut items = self.get_many(&keys, false).await?;
        Ok(keys.into_iter().filter_map(|key| items.remove(&key)).collect())
    }

    /// One call to a partition: at most 1 MB (DynamoDB, Query).
    async fn first_of(&self, partition: &Partition, window: Window, limit: usize) -> Result<FirstOf, AwsError> {
        let (first, last) = window.bounds();
        if first > last {
            return Ok(FirstOf { items: Vec::new(), has_more: false });
        }
        let (index, key, pk, sk) = match partition {
            Partition::Table(key) => (None, key, PK, SK),
            Partition::Index(key) => (Some(INDEX.to_owned()), key, INDEX_PK, INDEX_SK),
        };
        let answer = self
            .client
            .query()
            .table_name(&self.table)
            .set_index_name(index)
            .key_condition_expression(format!("{pk} = :pk AND {sk} BETWEEN :first AND :last"))
            .expression_attribute_values(":pk", text(key))
            .expression_attribute_values(":first", text(&first))
            .expression_attribute_values(":last", text(&last))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .scan_index_forward(window.order == Order::OldestFirst)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(|error| AwsError::from_sdk("dynamodb:Query", &error))?;
        let has_more = answer.last_evaluated_key.is_some();
        Ok(FirstOf { items: answer.items.unwrap_or_default(), has_more })
    }
}

fn sort_key(item: &Item) -> Option<&str> {
    item.get(SK).and_then(|value| AttributeValue::as_s(value).ok()).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(second: i64, entropy: u8) -> EventId {
        EventId::from_parts(Timestamp::from_second(second).unwrap(), [entropy; 10])
    }

    fn within(window: Window, id: EventId) -> bool {
        let (first, last) = window.bounds();
        (first..=last).contains(&id.to_string())
    }

    #[test]
    fn window_of_time_has_its_start_and_not_its_end() {
        let window = Window {
            from: Timestamp::from_second(10).ok(),
            until: Timestamp::from_second(20).ok(),
            ..Window::default()
        };
        assert!(within(window, id(10, 0)) && within(window, id(19, 0xff)));
        assert!(!within(window, id(9, 0xff)) && !within(window, id(20, 0)));
    }

    #[test]
    fn page_goes_on_just_behind_its_cursor_in_either_order() {
        for entropy in [0, 7, 0xff] {
            let newest = Window { after: Some(id(10, entropy)), ..Window::default() };
            assert!(!within(newest, id(10, entropy)) && !within(newest, id(11, 0)) && within(newest, id(9, 0xff)));
            let oldest = Window { order: Order::OldestFirst, ..newest };
            assert!(!within(oldest, id(10, entropy)) && !within(oldest, id(9, 0xff)) && within(oldest, id(11, 0)));
        }
        assert!(within(Window { after: Some(id(10, 8)), ..Window::default() }, id(10, 7)));
    }
}
