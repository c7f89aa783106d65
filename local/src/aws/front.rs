//! The port: connections, routing by `x-amz-target`, faults, the call log.
//!
//! It sits on hyper itself and not on axum, because a fault must be able to close a connection without an answer.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::calls::{self, Call, CallLog};
use super::disk::Disk;
use super::dynamodb::DynamoDb;
use super::faults::{self, Fault, Faults};
use super::journal::Journal;
use super::lock;
use super::partition::{self, Throttled};
use super::protocol::{self, Answer, AwsError, Service};
use super::roles::{self, Roles};
use super::secrets::Secrets;
use super::sqs::Sqs;
use crate::serve;

/// The largest request body: DynamoDB takes 16 MB, and 1 MiB of SQS message grows when JSON escapes it.
const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What GET answers.
const HEALTH: &str = "outhook: DynamoDB, SQS and Secrets Manager are here\n";

/// Everything behind the port.
pub(super) struct Front {
    /// Gone once it is shut down.
    pub(super) dynamodb: Mutex<Option<Arc<DynamoDb>>>,
    pub(super) sqs: Sqs,
    pub(super) secrets: Secrets,
    pub(super) faults: Arc<Faults>,
    pub(super) disk: Disk,
    pub(super) calls: CallLog,
    pub(super) roles: OnceLock<Roles>,
    /// What roles did not allow, each once.
    pub(super) refused: Mutex<BTreeSet<String>>,
    pub(super) journal: Arc<Journal>,
}

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("a fault closed the connection")]
pub(super) struct Dropped;

/// One request, read.
struct Incomer {
    service: Service,
    operation: String,
    identity: String,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Front {
    /// Closes what serving leaves open: the database and the journal.
    pub(super) async fn close(&self) {
        let dynamodb = lock(&self.dynamodb).take();
        if let Some(dynamodb) = dynamodb.and_then(Arc::into_inner) {
            dynamodb.shutdown().await;
        }
        let journal = Arc::clone(&self.journal);
        let _ = tokio::task::spawn_blocking(move || journal.close()).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Answer, Dropped> {
        if request.method() == Method::GET {
            return Ok(Answer::new(Bytes::from_static(HEALTH.as_bytes())));
        }
        let (parts, body) = request.into_parts();
        let target = parts.headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let Some((service, operation)) = Service::of_target(target) else {
            return Ok(AwsError::unknown_operation(target).answer(Service::Sqs));
        };
        let operation = operation.to_owned();
        let Ok(body) = Limited::new(body, REQUEST_BYTES_MAX).collect().await else {
            let message = format!("a request is at most {REQUEST_BYTES_MAX} bytes and arrives whole");
            let mut error = AwsError::client("com.amazon.coral.service#RequestEntityTooLargeException", message);
            error.status = StatusCode::PAYLOAD_TOO_LARGE;
            return Ok(error.answer(service));
        };
        let identity = protocol::identity(&parts.headers).to_owned();
        self.serve(Incomer { service, operation, identity, headers: parts.headers, body: body.to_bytes() }).await
    }

    /// Applies faults and roles, does the operation, writes the call down.
    async fn serve(&self, request: Incomer) -> Result<Answer, Dropped> {
        let Incomer { service, ref operation, ref identity, .. } = request;
        let fault = match self.disk.has_room().await {
            true => self.faults.hit(service, operation, identity),
            // Better an outage of everything than one that loses what is answered.
            false => Some(Fault::Unavailable),
        };
        let mentioned = calls::mentioned(service, &request.body);
        let actions = calls::actions(&request.operation, &mentioned.parts);
        let roles = self.roles.get().filter(|_| fault.is_none());
        let refusal = roles.and_then(|roles| roles::refusal(roles, identity, service, &actions, &mentioned));
        lock(&self.refused).extend(refusal.iter().map(|refusal| refusal.message.clone()));
        let answer = match fault {
            None => match refusal {
                Some(refusal) => Ok(refusal.answer(service)),
                None => Ok(self.operate(&request).await),
            },
            Some(Fault::Throttle) => Ok(faults::throttled(service)),
            Some(Fault::Unavailable) => Ok(faults::unavailable(service)),
            Some(Fault::DropBefore) => Err(Dropped),
            Some(Fault::DropAnswer) => {
                let _ = self.operate(&request).await;
                Err(Dropped)
            }
        };
        let capacity = answer.as_ref().ok().filter(|_| mentioned.capacity);
        self.calls.add(Call {
            service,
            status: answer.as_ref().map_or(0, |answer| answer.status().as_u16()),
            request_bytes: request.body.len(),
            consumed_capacity: capacity.and_then(|answer| calls::consumed_capacity(answer.body())),
            resources: mentioned.resources,
            items: mentioned.items,
            actions,
            operation: request.operation,
            identity: request.identity,
        });
        answer
    }

    async fn operate(&self, request: &Incomer) -> Answer {
        let Incomer { service, operation, identity, headers, body } = request;
        let answer = match service {
            Service::DynamoDb => match partition::throttle(operation, body, &self.faults.throttled_partitions()) {
                Throttled::Nothing => self.dynamodb(headers, body.clone()).await,
                Throttled::Whole(answer) => Ok(answer),
                Throttled::Part(body, left) => {
                    self.dynamodb(headers, body).await.map(|answer| left.put_back_into(answer))
                }
            },
            Service::Sqs => self.sqs.call(operation, body, identity).await,
            Service::SecretsManager => self.secrets.call(operation, body).await,
        };
        answer.unwrap_or_else(|error| error.answer(*service))
    }

    async fn dynamodb(&self, headers: &http::HeaderMap, body: Bytes) -> Result<Answer, AwsError> {
        let dynamodb = lock(&self.dynamodb).clone();
        match dynamodb {
            Some(dynamodb) => dynamodb.call(headers, body).await,
            None => Err(AwsError::internal(Service::DynamoDb, "the service is shut down")),
        }
    }
}

/// Serves until `stopped`.
pub(super) async fn serve(listener: TcpListener, front: Arc<Front>, stopped: watch::Receiver<bool>) {
    let service = service_fn(move |request| {
        let front = Arc::clone(&front);
        async move { front.answer(request).await.map(|answer| answer.map(Full::new)) }
    });
    serve::serve(listener, service, stopped).await;
}
