//! The ledger of a group of messages: what each of them still owes, and so which have to come again. Pure.
//!
//! Work is begun for a message in parts. A message owes a part from the moment that it is begun until it has ended well. A part that fails, panics or never ends stays
//! owed, and then the message comes again. Two messages of a group can stand for the same thing: the work is done for the earlier one, and the later shares its fate.

use std::collections::BTreeSet;

use super::intake::Task;

/// A message of a group. Only the group's ledger makes it, and only there does it name anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MessageRef(usize);

/// The messages of a group, with what each of them owes.
#[derive(Debug)]
pub(super) struct Ledger(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    task: Task,
    /// How many parts were begun that have not ended well.
    open_parts: usize,
    /// Whether something could not even be begun.
    failed: bool,
    /// The earlier messages that do some of its work.
    duplicate_of: BTreeSet<MessageRef>,
}

impl Ledger {
    pub(super) fn new(tasks: Vec<Task>) -> Self {
        let entry = |task| Entry { task, open_parts: 0, failed: false, duplicate_of: BTreeSet::new() };
        Self(tasks.into_iter().map(entry).collect())
    }

    /// Every message, with what it asks for.
    pub(super) fn tasks(&self) -> impl Iterator<Item = (MessageRef, &Task)> {
        self.0.iter().enumerate().map(|(place, entry)| (MessageRef(place), &entry.task))
    }

    pub(super) fn task(&self, message: MessageRef) -> &Task {
        &self.0[message.0].task
    }

    /// Notes that a part of a message's work has begun.
    pub(super) fn begin(&mut self, message: MessageRef) {
        self.0[message.0].open_parts += 1;
    }

    /// Notes that a part of a message's work has ended well.
    pub(super) fn end_well(&mut self, message: MessageRef) {
        self.0[message.0].open_parts -= 1;
    }

    /// Notes that something of a message cannot be begun.
    pub(super) fn fail(&mut self, message: MessageRef) {
        self.0[message.0].failed = true;
    }

    pub(super) fn has_failed(&self, message: MessageRef) -> bool {
        self.0[message.0].failed
    }

    /// Notes that an earlier message does some of this one's work.
    pub(super) fn duplicate(&mut self, message: MessageRef, earlier: MessageRef) {
        debug_assert!(earlier < message, "{earlier:?} does not come before {message:?}");
        self.0[message.0].duplicate_of.insert(earlier);
    }

    /// The ids of the messages that have to come again, as things stand.
    pub(super) fn come_again(self) -> Vec<String> {
        let mut comes_again: Vec<bool> = Vec::with_capacity(self.0.len());
        for entry in &self.0 {
            let owes = entry.failed || entry.open_parts > 0;
            // What it duplicates stands before it, and has been settled.
            comes_again.push(owes || entry.duplicate_of.iter().any(|earlier| comes_again[earlier.0]));
        }
        let all = self.0.into_iter().zip(comes_again);
        all.filter(|(_, comes_again)| *comes_again).map(|(entry, _)| entry.task.message_id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Something that happens to a message, which is named by its place.
    #[derive(Clone, Copy, Debug)]
    enum Happens {
        Begin(usize),
        EndWell(usize),
        Fail(usize),
        /// A later message, and an earlier one that does its work.
        Duplicate(usize, usize),
    }

    use Happens::{Begin, Duplicate, EndWell, Fail};

    fn ledger(message_ids: &[&str]) -> (Ledger, Vec<MessageRef>) {
        let ledger = Ledger::new(message_ids.iter().map(|id| Task::sample(id)).collect());
        let messages = ledger.tasks().map(|(message, _)| message).collect();
        (ledger, messages)
    }

    #[test]
    fn message_comes_again_unless_all_that_was_begun_for_it_and_for_what_it_duplicates_has_ended_well() {
        let table: [(&str, &[Happens], &[&str]); 10] = [
            ("nothing was to be done", &[], &[]),
            ("all parts have ended well", &[Begin(0), Begin(0), EndWell(0), EndWell(0)], &[]),
            ("one of two parts has not", &[Begin(0), Begin(0), EndWell(0)], &["a"]),
            ("another message's part has", &[Begin(0), Begin(1), EndWell(1)], &["a"]),
            ("it could not be begun", &[Fail(1)], &["b"]),
            ("it could not be begun in full", &[Begin(1), Fail(1), EndWell(1)], &["b"]),
            ("what it duplicates is owed", &[Begin(0), Duplicate(2, 0)], &["a", "c"]),
            ("one of two that it duplicates is owed", &[Duplicate(2, 0), Begin(1), Duplicate(2, 1)], &["b", "c"]),
            ("a duplicate of a duplicate is owed", &[Fail(0), Duplicate(1, 0), Duplicate(2, 1)], &["a", "b", "c"]),
            ("a duplicate has failed by itself", &[Begin(0), EndWell(0), Duplicate(1, 0), Fail(1)], &["b"]),
        ];
        for (name, happened, expected) in table {
            let (mut ledger, messages) = ledger(&["a", "b", "c"]);
            for happens in happened {
                match *happens {
                    Begin(message) => ledger.begin(messages[message]),
                    EndWell(message) => ledger.end_well(messages[message]),
                    Fail(message) => ledger.fail(messages[message]),
                    Duplicate(message, earlier) => ledger.duplicate(messages[message], messages[earlier]),
                }
            }
            assert_eq!(ledger.come_again(), expected, "{name}");
        }
    }

    #[test]
    fn message_names_its_own_task() {
        let (mut ledger, messages) = ledger(&["a", "b"]);
        ledger.fail(messages[1]);
        let seen =
            messages.iter().map(|message| (ledger.task(*message).message_id.as_str(), ledger.has_failed(*message)));
        assert_eq!(seen.collect::<Vec<_>>(), [("a", false), ("b", true)]);
    }
}
