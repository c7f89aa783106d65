//! The work of a group of messages while it is under way: parts side by side, each a task of its own. A panic in one costs only the message that it is for.

use std::collections::HashMap;

use tokio::task::{Id, JoinSet};
use tracing::Instrument;

use super::guarded;
use super::ledger::{Ledger, MessageRef};
use crate::aws_error::AwsError;

/// Parts of work, and the ledger of the messages that they are for.
#[derive(Debug)]
pub(super) struct Working {
    pub(super) ledger: Ledger,
    running: JoinSet<Result<(), AwsError>>,
    messages: HashMap<Id, MessageRef>,
}

impl Working {
    pub(super) fn new(ledger: Ledger) -> Self {
        Self { ledger, running: JoinSet::new(), messages: HashMap::new() }
    }

    /// Begins a part of a message's work. The message owes it until it has ended well.
    pub(super) fn begin(
        &mut self,
        message: MessageRef,
        part: impl Future<Output = Result<(), AwsError>> + Send + 'static,
    ) {
        self.ledger.begin(message);
        // Its lines belong to the invocation's span.
        let handle = self.running.spawn(part.in_current_span());
        self.messages.insert(handle.id(), message);
    }

    /// Begins parts of a message's work by `begin`. If that panics, the message comes again.
    pub(super) fn begin_guarded(&mut self, message: MessageRef, begin: impl FnOnce(&mut Self)) {
        let message_id = self.ledger.task(message).message_id.clone();
        if guarded(&message_id, || begin(self)).is_none() {
            self.ledger.fail(message);
        }
    }

    /// Waits until every part has ended; what each message owes then.
    pub(super) async fn finish(mut self) -> Ledger {
        while let Some(ended) = self.running.join_next_with_id().await {
            let error = match ended {
                Ok((id, Ok(()))) => {
                    if let Some(message) = self.messages.remove(&id) {
                        self.ledger.end_well(message);
                    }
                    continue;
                }
                Ok((_, Err(error))) => error.to_string(),
                Err(error) => error.to_string(),
            };
            tracing::error!(error, "a part of a message was not done; it goes back to the queue");
        }
        self.ledger
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::super::intake::Task;
    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Part {
        EndsWell,
        Fails,
        Panics,
        NeverEnds,
        /// A panic before it is a part.
        CannotBegin,
    }

    use Part::{CannotBegin, EndsWell, Fails, NeverEnds, Panics};

    type Parts = &'static [Part];

    #[tokio::test]
    async fn part_that_does_not_end_well_brings_back_its_message_and_no_other() {
        // The parts of two messages, and the messages that come again.
        let table: [(&str, [Parts; 2], &[&str]); 6] = [
            ("no parts", [&[], &[]], &[]),
            ("all end well", [&[EndsWell, EndsWell], &[EndsWell]], &[]),
            ("one fails", [&[EndsWell, Fails], &[EndsWell]], &["m0"]),
            ("one panics", [&[EndsWell], &[Panics, EndsWell]], &["m1"]),
            ("one never ends", [&[EndsWell], &[NeverEnds]], &["m1"]),
            ("beginning one panics", [&[EndsWell, CannotBegin], &[EndsWell]], &["m0"]),
        ];
        for (name, messages, expected) in table {
            let ledger = Ledger::new((0..messages.len()).map(|place| Task::sample(&format!("m{place}"))).collect());
            let named: Vec<_> = ledger.tasks().map(|(message, _)| message).collect();
            let mut working = Working::new(ledger);
            for (message, parts) in named.into_iter().zip(messages) {
                working.begin_guarded(message, |working| {
                    for part in parts {
                        match part {
                            EndsWell => working.begin(message, async { Ok(()) }),
                            Fails => working.begin(message, async { Err(AwsError::gave_up("a part")) }),
                            Panics => working.begin(message, async { panic!("a part") }),
                            NeverEnds => working.begin(message, pending()),
                            CannotBegin => panic!("before a part"),
                        }
                    }
                });
            }
            // Every other part ends meanwhile.
            tokio::task::yield_now().await;
            working.running.abort_all();
            assert_eq!(working.finish().await.come_again(), expected, "{name}");
        }
    }
}
