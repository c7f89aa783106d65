//! What stands before every handler, as the row of its route says: who is calling and whether they may, the count against the tenant's limit, and the saved response
//! of a request that is repeated.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;

use crate::Api;
use crate::access::{Access, Idempotency, Rule};
use crate::auth::{self, Caller};
use crate::error::ApiError;
use crate::idempotent::{self, Owner};
use crate::limits::{self, Slot};

/// A row of the table of routes, as far as requests are held against it.
#[derive(Clone)]
pub(crate) struct Guard {
    pub(crate) api: Api,
    pub(crate) rule: Rule,
}

/// Lets a request through to its handler, or answers it.
pub(crate) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let owner = match guard.admit(&mut parts).await {
        Ok(owner) => owner,
        Err(error) => return error.into_response(),
    };
    let request = Request::from_parts(parts, body);
    match (guard.rule.idempotency, owner) {
        (Idempotency::ByResponse, Some(owner)) => {
            idempotent::idempotent(&guard.api, owner, request, next).await.unwrap_or_else(IntoResponse::into_response)
        }
        _ => next.run(request).await,
    }
}

impl Guard {
    /// Who is calling, if they may.
    async fn admit(&self, parts: &mut Parts) -> Result<Option<Owner>, ApiError> {
        let permission = match self.rule.access {
            Access::Public => return Ok(None),
            Access::Root => {
                auth::operator(parts, &self.api).await?;
                return Ok(Some(Owner::operator()));
            }
            Access::Key(permission) => Some(permission),
            Access::AnyKey => None,
        };
        let caller = auth::tenant(parts, &self.api).await?;
        if let Some(class) = self.rule.rate_class {
            let slot = parts.extensions.get::<Slot>();
            limits::count(&self.api, &caller.tenant, class, slot, self.api.services.clock.now()).await?;
        }
        match permission {
            Some(permission) if !caller.key.permissions.contains(&permission) => Err(ApiError::Forbidden(permission)),
            _ => {
                let owner = Owner::tenant(caller.scope());
                parts.extensions.insert::<Caller>(caller);
                Ok(Some(owner))
            }
        }
    }
}
