//! Transactions: several conditional writes, all or none, with the reason for each that was refused.

use std::time::Duration;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::TransactWriteItem;

use super::Store;
use crate::aws_error::AwsError;
use crate::random;

/// How often a transaction that met another one is tried again.
const CONFLICT_TRIES_MAX: u32 = 10;
/// The wait before the first of those tries, at most; doubles with each up to a second.
const CONFLICT_WAIT_MILLISECONDS: f64 = 20.0;

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Committed {
    /// All of it was written.
    All,
    /// None of it was: the conditions of the parts at these positions did not hold.
    Refused(Vec<usize>),
}

impl Store {
    /// Carries out all of the parts or none. Meeting another transaction is no refusal: it is tried again.
    pub(super) async fn transact(&self, parts: Vec<TransactWriteItem>) -> Result<Committed, AwsError> {
        const OPERATION: &str = "dynamodb:TransactWriteItems";
        for attempt in 0..CONFLICT_TRIES_MAX {
            let answer = self.client.transact_write_items().set_transact_items(Some(parts.clone())).send().await;
            let Err(error) = answer else { return Ok(Committed::All) };
            match reasons(&error) {
                Some(reasons) if reasons.iter().any(|reason| reason == "ConditionalCheckFailed") => {
                    let refused = reasons.iter().enumerate().filter(|(_, r)| *r == "ConditionalCheckFailed");
                    return Ok(Committed::Refused(refused.map(|(position, _)| position).collect()));
                }
                Some(reasons) if reasons.iter().any(|reason| is_passing(reason)) => {
                    let longest = (CONFLICT_WAIT_MILLISECONDS * 2_f64.powi(attempt.min(16) as i32)).min(1_000.0);
                    tokio::time::sleep(Duration::from_secs_f64(longest * random::unit_interval() / 1_000.0)).await;
                }
                _ => return Err(AwsError::from_sdk(OPERATION, &error)),
            }
        }
        Err(AwsError::gave_up(OPERATION))
    }
}

fn is_passing(reason: &str) -> bool {
    matches!(reason, "TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded")
}

/// The reason of each part, `None` as text where it had none.
fn reasons<R>(error: &SdkError<TransactWriteItemsError, R>) -> Option<Vec<String>> {
    match error.as_service_error()? {
        TransactWriteItemsError::TransactionCanceledException(cancelled) => {
            let reasons = cancelled.cancellation_reasons().iter();
            Some(reasons.map(|reason| reason.code().unwrap_or("None").to_owned()).collect())
        }
        _ => None,
    }
}
