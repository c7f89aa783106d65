//! Kills: from a call of a function on, nothing of what it says reaches AWS (or that call still does, but its answer does not come back), nor does what its
//! poller says of the batch. Then a new instance starts with nothing in hand.

use futures::StreamExt;
use local::aws::{Call, Fault, FaultRule};

use crate::world::World;

/// The queues' visibility timeout, and a second.
const REDELIVERED_SECONDS: u64 = 361;
/// How many worlds die side by side.
const SIDE_BY_SIDE: usize = 12;

/// Where and how a function dies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kill {
    pub(crate) function: &'static str,
    pub(crate) at_call: u32,
    pub(crate) fault: Fault,
    /// Whether the poller dies too, so that the queue hears nothing of what was done.
    pub(crate) with_poller: bool,
}

impl Kill {
    /// None at all: for a run that counts the calls.
    pub(crate) fn never(function: &'static str) -> Self {
        Self { function, at_call: u32::MAX, fault: Fault::DropBefore, with_poller: false }
    }

    pub(crate) fn arm(self, world: &World) {
        let rule = FaultRule {
            service: None,
            operation: None,
            identity: Some(self.function.to_owned()),
            skip: self.at_call,
            times: 1,
            fault: self.fault,
        };
        world.aws.faults().inject(rule.clone());
        world.aws.faults().inject(FaultRule { times: u32::MAX, fault: Fault::DropBefore, ..rule.clone() });
        if self.with_poller {
            let operation = Some("DeleteMessageBatch".to_owned());
            let identity = Some(format!("{}Poller", self.function));
            let skip = 0;
            let lost =
                FaultRule { operation, identity, skip, times: u32::MAX, fault: Fault::DropBefore, service: None };
            world.aws.faults().inject(lost);
        }
    }
}

/// A new instance in the place of the dead one, and the messages that it had in hand are handed out again.
pub(crate) async fn start_again(world: &mut World) {
    world.aws.faults().clear();
    world.restart_functions().await;
    world.advance_seconds(REDELIVERED_SECONDS);
}

pub(crate) fn calls_of(calls: &[Call], identity: &str) -> u32 {
    u32::try_from(calls.iter().filter(|call| call.identity == identity).count()).unwrap()
}

/// Dead before each of so many calls, poller and all; and after it, where the answer is lost and the function lives on.
pub(crate) fn kills_at_any_call(function: &'static str, calls: u32) -> Vec<Kill> {
    let at = |at_call| {
        let dies = Kill { function, at_call, fault: Fault::DropBefore, with_poller: true };
        [dies, Kill { fault: Fault::DropAnswer, with_poller: false, ..dies }]
    };
    (0..calls).flat_map(at).collect()
}

/// Lets every kill be survived, some worlds side by side.
pub(crate) async fn survive_all<T>(kills: Vec<Kill>, survive: impl AsyncFn(Kill) -> T) {
    let survive = &survive;
    futures::stream::iter(kills)
        .for_each_concurrent(SIDE_BY_SIDE, |kill| async move {
            survive(kill).await;
        })
        .await;
}
