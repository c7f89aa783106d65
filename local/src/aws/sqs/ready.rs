//! Which visible message is handed out next.
//!
//! Messages are grouped by their `MessageGroupId` (those without one are one group), and the next comes from the group
//! with the fewest messages in flight, among equals from the one that waits longest for its turn. So a group with a
//! backlog does not hold up the others (SQS fair queues; AWS reorders only once a group is noisy, this always does).
//! Within a group the message that became visible first comes first.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

type GroupKey = Option<Arc<str>>;

/// When a message became visible, and its number.
type Position = (i64, u64);

/// A group's turn: messages in flight, when it was last served, its first message, its name.
type Turn = (usize, u64, Position, GroupKey);

/// The visible messages of a queue.
#[derive(Default)]
pub(super) struct Ready {
    groups: HashMap<GroupKey, Group>,
    /// One entry for each group with visible messages.
    turns: BTreeSet<Turn>,
    served: u64,
    count: usize,
}

#[derive(Default)]
struct Group {
    visible: BTreeSet<Position>,
    in_flight: usize,
    last_served: u64,
}

impl Ready {
    /// The number of visible messages.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// A message became visible.
    pub(super) fn add(&mut self, group: &GroupKey, position: Position) {
        self.count += 1;
        self.change(group, |group| {
            group.visible.insert(position);
        });
    }

    /// A visible message is gone.
    pub(super) fn remove(&mut self, group: &GroupKey, position: Position) {
        self.count -= 1;
        self.change(group, |group| {
            group.visible.remove(&position);
        });
    }

    /// The number of the message whose turn it is; `last` turns everything round.
    pub(super) fn next(&self, last: bool) -> Option<u64> {
        let (_, _, first, key) = if last { self.turns.last() } else { self.turns.first() }?;
        let position = if last { self.groups.get(key)?.visible.last()? } else { first };
        Some(position.1)
    }

    /// A message of this group was handed out.
    pub(super) fn started(&mut self, group: &GroupKey) {
        self.served += 1;
        let served = self.served;
        self.change(group, |group| {
            group.in_flight += 1;
            group.last_served = served;
        });
    }

    /// A message of this group is not in flight any more.
    pub(super) fn ended(&mut self, group: &GroupKey) {
        self.change(group, |group| group.in_flight = group.in_flight.saturating_sub(1));
    }

    fn change(&mut self, key: &GroupKey, change: impl FnOnce(&mut Group)) {
        let group = self.groups.entry(key.clone()).or_default();
        if let Some(turn) = group.turn(key) {
            self.turns.remove(&turn);
        }
        change(group);
        match group.turn(key) {
            Some(turn) => {
                self.turns.insert(turn);
            }
            None if group.in_flight == 0 => {
                self.groups.remove(key);
            }
            None => {}
        }
    }
}

impl Group {
    fn turn(&self, key: &GroupKey) -> Option<Turn> {
        self.visible.first().map(|first| (self.in_flight, self.last_served, *first, key.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str) -> GroupKey {
        Some(name.into())
    }

    fn take(ready: &mut Ready, key: &GroupKey, position: Position) {
        ready.remove(key, position);
        ready.started(key);
    }

    #[test]
    fn group_with_fewer_messages_in_flight_comes_first() {
        let mut ready = Ready::default();
        let (noisy, quiet) = (group("noisy"), group("quiet"));
        for number in 0..100 {
            ready.add(&noisy, (0, number));
        }
        take(&mut ready, &noisy, (0, 0));
        ready.add(&quiet, (5, 100));
        assert_eq!(ready.next(false), Some(100));
        take(&mut ready, &quiet, (5, 100));
        assert_eq!(ready.next(false), Some(1));
    }

    #[test]
    fn without_groups_the_message_visible_first_comes_first_and_reversed_last() {
        let mut ready = Ready::default();
        for number in 0..3 {
            ready.add(&None, (7, number));
        }
        assert_eq!(ready.next(false), Some(0));
        assert_eq!(ready.next(true), Some(2));
        ready.remove(&None, (7, 0));
        assert_eq!(ready.next(false), Some(1));
        assert_eq!(ready.len(), 2);
    }
}
