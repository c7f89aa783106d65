//! What follows from a delivery that has failed for good: its receiver may be gone, and an operational event may be due. Repeating is safe: code that
//! cannot be sure that it was done does it again.

use std::sync::Arc;

use jiff::Timestamp;

use super::batch::Batch;
use crate::aws_error::AwsError;
use crate::directory::Endpoints;
use crate::domain::attempt::Attempt;
use crate::domain::delivery::Delivery;
use crate::domain::endpoint::Endpoint;
use crate::pipeline::endpoints;
use crate::pipeline::operational::{self, OperationalEvent};
use crate::services::Services;
use crate::store::Recorded;
use crate::store::deliveries::update_delivery;

/// Whether anything follows from the failure of this delivery.
pub(super) fn has_effects(delivery: &Delivery, endpoints: &Endpoints) -> bool {
    says_gone(delivery) || operational::failures_are_wanted(&delivery.event_type, endpoints)
}

/// Disables an endpoint whose receiver says that it is gone, where there is an endpoint, and tells of the failure.
///
/// # Errors
/// When AWS does not answer; some of it may be done.
pub(super) async fn carry_out(
    services: &Services,
    endpoint: Option<&Arc<Endpoint>>,
    delivery: &Delivery,
) -> Result<(), AwsError> {
    if let Some(endpoint) = endpoint.filter(|_| says_gone(delivery)) {
        endpoints::disable_gone(services, endpoint, delivery.updated_at).await?;
    }
    operational::emit(services, delivery.scope, &[OperationalEvent::delivery_failed(delivery)]).await
}

fn says_gone(delivery: &Delivery) -> bool {
    delivery.attempts.last().is_some_and(Attempt::says_gone)
}

/// Sees to what follows from the end of a delivery, and notes that it was done.
///
/// # Errors
/// When AWS does not answer; the delivery stays marked, and the next that finds it so does it once more.
pub(super) async fn settle(
    batch: &Batch,
    endpoint: Option<&Arc<Endpoint>>,
    delivery: Delivery,
    until: Timestamp,
) -> Result<(), AwsError> {
    carry_out(&batch.services, endpoint, &delivery).await?;
    let settled = Delivery { effects_due: false, ..delivery.clone() };
    match batch.write(update_delivery(&delivery, &settled, until)?).await {
        Recorded::Failed(error) => Err(error),
        // Refused: somebody has begun it anew.
        Recorded::Done | Recorded::Refused => Ok(()),
    }
}
