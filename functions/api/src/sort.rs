//! `sort_by`: a comma list of fields with `+` or `-`; pages of what is sorted by anything but its time go on behind the last entry's place.

use std::cmp::Ordering;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use shared::domain::delivery::Delivery;
use shared::store::deliveries::StoredDelivery;
use shared::store::page::Page;
use shared::store::query::Order;

use crate::cursor;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    CreatedAt,
    Status,
    EventType,
}

/// How a delivery log is sorted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sort(Vec<(Field, bool)>);

impl Default for Sort {
    fn default() -> Self {
        Self(vec![(Field::CreatedAt, false)])
    }
}

/// Where an entry stands in the order; the event id tells apart what is alike.
type Place = [String; 3];

impl Sort {
    /// Reads `sort_by`. A `+` in a query string may arrive as a space; without a sign the order is ascending.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let rule =
            || "must be a comma list of created_at, status and event_type, each once, with + or - before it".to_owned();
        let mut fields: Vec<(Field, bool)> = Vec::new();
        for part in text.split(',') {
            let (ascending, name) = match part.trim_start().strip_prefix('-') {
                Some(name) => (false, name),
                None => (true, part.trim_start().trim_start_matches('+')),
            };
            let field = match name.trim() {
                "created_at" => Field::CreatedAt,
                "status" => Field::Status,
                "event_type" => Field::EventType,
                _ => return Err(rule()),
            };
            if fields.iter().any(|(taken, _)| *taken == field) {
                return Err(rule());
            }
            fields.push((field, ascending));
        }
        Ok(Self(fields))
    }

    /// The log's own order, where that is what is asked for.
    pub(crate) fn order(&self) -> Option<Order> {
        match self.0.first() {
            Some((Field::CreatedAt, true)) => Some(Order::OldestFirst),
            Some((Field::CreatedAt, false)) => Some(Order::NewestFirst),
            Some(_) | None => None,
        }
    }

    /// A page of these entries in this order, from behind the cursor.
    ///
    /// # Errors
    /// When it is not a cursor of such a list.
    pub(crate) fn page(
        &self,
        mut entries: Vec<StoredDelivery>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<StoredDelivery, String>, String> {
        entries.sort_by(|a, b| self.compare(&place(&a.delivery), &place(&b.delivery)));
        if let Some(cursor) = cursor {
            let after: Place = URL_SAFE_NO_PAD
                .decode(cursor)
                .ok()
                .and_then(|bytes| serde_json::from_slice(&bytes).ok())
                .ok_or_else(|| "must be the next_cursor of an earlier page of this list".to_owned())?;
            entries.retain(|entry| self.compare(&place(&entry.delivery), &after) == Ordering::Greater);
        }
        let more = entries.len() > limit;
        entries.truncate(limit);
        let next = entries.last().filter(|_| more).map(|last| self.cursor(&last.delivery));
        Ok(Page { entries, next })
    }

    /// The cursor behind this delivery, in a list of this order.
    pub(crate) fn cursor(&self, delivery: &Delivery) -> String {
        match self.order() {
            Some(_) => cursor::encode(&delivery.event_id),
            None => URL_SAFE_NO_PAD.encode(serde_json::to_vec(&place(delivery)).unwrap_or_default()),
        }
    }

    fn compare(&self, a: &Place, b: &Place) -> Ordering {
        let by_fields = self.0.iter().map(|(field, ascending)| {
            let index = match field {
                Field::CreatedAt => 0,
                Field::Status => 1,
                Field::EventType => 2,
            };
            let ordering = a[index].cmp(&b[index]);
            if *ascending { ordering } else { ordering.reverse() }
        });
        // Event ids sort by time, so they stand for created_at too; of what is alike, the newest comes first.
        by_fields.fold(Ordering::Equal, Ordering::then).then_with(|| b[0].cmp(&a[0]))
    }
}

fn place(delivery: &Delivery) -> Place {
    [delivery.event_id.to_string(), delivery.status.as_str().to_owned(), delivery.event_type.to_string()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_once_with_either_sign() {
        assert_eq!(Sort::parse("-created_at"), Ok(Sort::default()));
        let sort = Sort::parse("+status,-event_type, created_at").unwrap();
        assert_eq!(sort.0, [(Field::Status, true), (Field::EventType, false), (Field::CreatedAt, true)]);
        for wrong in ["", "name", "status,status", "+", "status,,event_type"] {
            assert!(Sort::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_alike_comes_newest_first() {
        let sort = Sort::parse("status").unwrap();
        let at = |id: &str, status: &str| [id.to_owned(), status.to_owned(), String::new()];
        assert_eq!(sort.compare(&at("evt_2", "failed"), &at("evt_1", "failed")), Ordering::Less);
        assert_eq!(sort.compare(&at("evt_2", "succeeded"), &at("evt_1", "failed")), Ordering::Greater);
    }
}
