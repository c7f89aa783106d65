//! The id of a request: in every answer, every error and every log line, and along the event's way to its attempts.

use std::convert::Infallible;

use axum::Json;
use axum::extract::{FromRequestParts, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode};
use lambda_http::RequestExt;
use lambda_http::request::RequestContext;
use schemars::JsonSchema;
use serde::Serialize;
use shared::random;
use tracing::Instrument;

use crate::error::{ApiError, ErrorBody};
use crate::limits::Slot;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The id: API Gateway's own where there is one, so that its access log and ours agree.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(String);

impl RequestId {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn of(request: &Request) -> Self {
        let from_gateway = match request.request_context_ref() {
            Some(RequestContext::ApiGatewayV2(context)) => context.request_id.clone(),
            _ => None,
        };
        Self(from_gateway.unwrap_or_else(|| {
            let bytes: [u8; 12] = random::bytes();
            bytes.iter().fold(String::from("req_"), |id, byte| format!("{id}{byte:02x}"))
        }))
    }
}

/// Gives a request its id and puts it into the answer, with where the caller stands with its rate limit.
pub(crate) async fn stamp(mut request: Request, next: Next) -> Response {
    let id = RequestId::of(&request);
    let span = tracing::info_span!("request", request_id = id.as_str(), method = %request.method(), path = request.uri().path());
    request.extensions_mut().insert(id.clone());
    let standing = Slot::default();
    request.extensions_mut().insert(standing.clone());
    async move {
        let mut response = complete(next.run(request).await, &id);
        standing.write(&mut response);
        if let Ok(value) = HeaderValue::from_str(id.as_str()) {
            response.headers_mut().insert(HEADER, value);
        }
        tracing::debug!(status = response.status().as_u16(), "answered");
        response
    }
    .instrument(span)
    .await
}

/// The body of every failure.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Error")]
pub(crate) struct Envelope<'a> {
    error: WithRequestId<'a>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct WithRequestId<'a> {
    #[serde(flatten)]
    body: ErrorBody,
    /// The request's id, as `x-request-id` has it.
    request_id: &'a str,
}

/// Writes the error body of a response that has one.
fn complete(mut response: Response, request_id: &RequestId) -> Response {
    if response.status() == StatusCode::BAD_REQUEST && response.extensions().get::<ErrorBody>().is_none() {
        // The one refusal that axum makes by itself: a path that is not UTF-8 when it is decoded. It names nothing.
        response = ApiError::NotFound("route").into_response();
    }
    let Some(body) = response.extensions_mut().remove::<ErrorBody>() else { return response };
    let envelope = Envelope { error: WithRequestId { body, request_id: request_id.as_str() } };
    let (parts, _) = response.into_parts();
    let mut complete = (parts.status, Json(envelope)).into_response();
    for (name, value) in &parts.headers {
        if !complete.headers().contains_key(name) {
            complete.headers_mut().insert(name.clone(), value.clone());
        }
    }
    complete
}

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(|| Self(String::new())))
    }
}
