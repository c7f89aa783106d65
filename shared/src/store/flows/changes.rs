//! How flows change, other than by leases and sweepers: a check is requested, their endpoint's health is noted, they are released and ended.

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure};
use jiff::Timestamp;

use super::expressions::{Settled, names_of, replaced_health, settled, with_health};
use super::{Flow, Lease, Released, Touch, new_token};
use crate::aws_error::AwsError;
use crate::domain::backlog::{INDEX_LAG_SECONDS, last_look_at, look_at, look_once_more_at, sweep_at};
use crate::domain::health::Health;
use crate::domain::id::EndpointId;
use crate::domain::tenant::Scope;
use crate::domain::time::plus_seconds;
use crate::store::{Store, key_item, keys, number, text};

/// How long a flow is kept of an endpoint that fails and gets nothing any more, in seconds: longer than the longest time after which one is disabled.
const IDLE_FLOW_SECONDS: i64 = 60 * 86_400;

/// What a note of an endpoint's health says about its failing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// If it fails, it still does.
    GoesOn,
    /// It has just taken something.
    IsOver,
}

impl Store {
    /// Requests a check of a backlog by `touch.at`, unless one is set for then or earlier. The token for its wake; `None` if nothing was set. Repeating is safe.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn touch_flow(&self, touch: &Touch, now: Timestamp) -> Result<Option<String>, AwsError> {
        let token = new_token();
        let at = look_at(touch.at, now);
        let mut set = "SET kind = :kind, endpoint_id = :endpoint, tenant_id = :tenant, #mode = :mode, next_at = :at, #token = :token, touched_at = :now, \
            wakes_lost = :zero, GSI1PK = :index, GSI1SK = :look"
            .to_owned();
        let (health, update) = with_health(self.update_flow(touch.endpoint_id), touch.health.unwrap_or_default());
        set.push_str(&health);
        let update = names_of(update, touch.endpoint_id, touch.scope)
            .update_expression(format!("{set} REMOVE expires_at"))
            .condition_expression("attribute_not_exists(next_at) OR next_at > :at")
            .expression_attribute_names("#token", "token")
            .expression_attribute_values(":at", number(at.as_millisecond()))
            .expression_attribute_values(":token", text(&token))
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":now", number(now.as_millisecond()))
            .expression_attribute_values(":look", text(keys::sweep_sort(sweep_at(at, now, 0))));
        match settled(update.send().await)? {
            Settled::Done => Ok(Some(token)),
            // It was written, and the answer got lost.
            Settled::Refused(Some(flow)) if flow.token.as_ref() == Some(&token) => Ok(Some(token)),
            Settled::Refused(flow) => {
                let is_imminent = |at: Timestamp| at <= plus_seconds(now, INDEX_LAG_SECONDS);
                if flow.as_ref().and_then(|flow| flow.next_at).is_some_and(is_imminent) {
                    // That check may come before the index shows what it was asked for.
                    self.note_touch(touch.endpoint_id, now).await?;
                }
                let noted = flow.map(|flow| flow.health).unwrap_or_default();
                if let Some(health) = touch.health.filter(|health| health.adds_to(noted)) {
                    self.note_health(touch.endpoint_id, touch.scope, health, Failing::GoesOn, now).await?;
                }
                Ok(None)
            }
        }
    }

    /// Notes that a check has been requested that is about to be made.
    async fn note_touch(&self, id: EndpointId, now: Timestamp) -> Result<(), AwsError> {
        let update = self
            .update_flow(id)
            .update_expression("SET touched_at = :now")
            .condition_expression("attribute_exists(PK)")
            .expression_attribute_values(":now", number(now.as_millisecond()));
        settled(update.send().await).map(|_| ())
    }

    /// Notes that an endpoint is failing or slow, beside what is noted already. Repeating is safe.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn note_health(
        &self,
        id: EndpointId,
        scope: Scope,
        health: Health,
        failing: Failing,
        now: Timestamp,
    ) -> Result<(), AwsError> {
        let (mut set, update) = with_health(self.update_flow(id), health);
        if failing == Failing::IsOver {
            set.push_str(" REMOVE failing_since, probes_failed");
        }
        // Without anything that waits the flow has no check of its own; the sweeper's last check settles it.
        let update = names_of(update, id, scope)
            .update_expression(format!(
                "SET kind = :kind, endpoint_id = :endpoint, tenant_id = :tenant, #mode = :mode, wakes_lost = if_not_exists(wakes_lost, :zero), \
                 GSI1PK = if_not_exists(GSI1PK, :index), GSI1SK = if_not_exists(GSI1SK, :look){set}"
            ))
            .expression_attribute_values(":look", text(keys::sweep_sort(last_look_at(now))));
        settled(update.send().await).map(|_| ())
    }

    /// Notes of an endpoint that has a flow that it is healthy, or is to be taken for it. Repeating is safe.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn note_healthy(&self, id: EndpointId) -> Result<(), AwsError> {
        let update = self
            .update_flow(id)
            .update_expression("REMOVE failing_since, slow, probes_failed, width")
            .condition_expression("attribute_exists(PK)");
        settled(update.send().await).map(|_| ())
    }

    /// Ends a drain's lease, notes how the endpoint is doing, and sets the next check: at `next_at`, or none where nothing waits.
    ///
    /// `read_at` is when the drain read the index last: if somebody has requested a check so shortly before that the index may not have shown what for, the next
    /// one is not far away.
    ///
    /// # Errors
    /// When DynamoDB does not answer. The lease ends by itself, and the sweeper goes on from there.
    pub async fn release_flow(
        &self,
        flow: &Flow,
        lease: &Lease,
        health: Health,
        next_at: Option<Timestamp>,
        read_at: Timestamp,
        now: Timestamp,
    ) -> Result<Released, AwsError> {
        let once_more_at = look_once_more_at(now);
        if next_at.is_some_and(|at| at > once_more_at) {
            let seen = plus_seconds(read_at, -INDEX_LAG_SECONDS);
            let current: Option<Flow> = self.get(&keys::flow(flow.endpoint_id), true).await?;
            if current.and_then(|flow| flow.touched_at).is_some_and(|at| at > seen) {
                return self.release_until(flow, lease, health, Some(once_more_at), now).await;
            }
        }
        self.release_until(flow, lease, health, next_at, now).await
    }

    async fn release_until(
        &self,
        flow: &Flow,
        lease: &Lease,
        health: Health,
        next_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Released, AwsError> {
        let token = new_token();
        let ended = "SET GSI1SK = :look, wakes_lost = :zero";
        let update = self.update_flow(flow.endpoint_id).expression_attribute_values(":zero", number(0));
        let (set, condition, update) = match next_at {
            Some(at) => (
                format!("{ended}, next_at = :at, #token = :token"),
                "lease = :lease AND (attribute_not_exists(next_at) OR next_at > :at)",
                update
                    .expression_attribute_names("#token", "token")
                    .expression_attribute_values(":at", number(at.as_millisecond()))
                    .expression_attribute_values(":token", text(&token))
                    .expression_attribute_values(":look", text(keys::sweep_sort(sweep_at(at, now, 0)))),
            ),
            None => (
                ended.to_owned(),
                "lease = :lease AND attribute_not_exists(next_at)",
                update.expression_attribute_values(":look", text(keys::sweep_sort(last_look_at(now)))),
            ),
        };
        let token_goes = if next_at.is_some() { &[][..] } else { &["#token"] };
        let update = replaced_health(update, &set, health, &[&["lease", "lease_until"], token_goes].concat());
        let update = if next_at.is_some() { update } else { update.expression_attribute_names("#token", "token") };
        let update = update.condition_expression(condition).expression_attribute_values(":lease", text(&lease.id));
        let answer = update.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let found = match settled(answer.send().await)? {
            Settled::Done => return Ok(Released::Done { token: next_at.map(|_| token) }),
            // It was written, and the answer got lost.
            Settled::Refused(Some(found)) if next_at.is_some() && found.token.as_ref() == Some(&token) => {
                return Ok(Released::Done { token: Some(token) });
            }
            Settled::Refused(found) => found,
        };
        let Some(at) = found.filter(|found| found.lease.as_ref() == Some(&lease.id)).and_then(|found| found.next_at)
        else {
            return Ok(Released::Lost);
        };
        let update = self
            .update_flow(flow.endpoint_id)
            .expression_attribute_names("#token", "token")
            .expression_attribute_values(":token", text(&token));
        let update = replaced_health(update, "SET #token = :token", health, &["lease", "lease_until"]);
        let update =
            update.condition_expression("lease = :lease").expression_attribute_values(":lease", text(&lease.id));
        Ok(match settled(update.send().await)? {
            Settled::Done => Released::Touched { at, token },
            Settled::Refused(Some(found)) if found.token.as_ref() == Some(&token) => Released::Touched { at, token },
            Settled::Refused(_) => Released::Lost,
        })
    }

    /// Ends a flow that has nothing to do, if nobody has touched it since it was read: removes it, or, where the endpoint is failing, keeps it without a
    /// look. Whether it was so. Repeating is safe.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn end_flow(&self, flow: &Flow, now: Timestamp) -> Result<bool, AwsError> {
        // Touching sets a time; a drain that begins sets a lease.
        let idle = "attribute_exists(PK) AND attribute_not_exists(next_at) AND (attribute_not_exists(lease_until) OR lease_until <= :now)";
        let now_value = number(now.as_millisecond());
        if flow.health.failing_since.is_some() {
            let update = self
                .update_flow(flow.endpoint_id)
                .update_expression("SET expires_at = :expires REMOVE GSI1PK, GSI1SK, lease, lease_until")
                .condition_expression(idle)
                .expression_attribute_values(":now", now_value)
                .expression_attribute_values(":expires", number(plus_seconds(now, IDLE_FLOW_SECONDS).as_second()));
            return settled(update.send().await).map(|settled| matches!(settled, Settled::Done));
        }
        let delete =
            self.client.delete_item().table_name(&self.table).set_key(Some(key_item(&keys::flow(flow.endpoint_id))));
        // A note of failures that came after the reading keeps it.
        let delete = delete
            .condition_expression(format!("{idle} AND attribute_not_exists(failing_since)"))
            .expression_attribute_values(":now", now_value);
        match delete.send().await {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => {
                Ok(false)
            }
            Err(error) => Err(AwsError::from_sdk("dynamodb:DeleteItem", &error)),
        }
    }

    fn update_flow(&self, id: EndpointId) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key_item(&keys::flow(id))))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }
}
