//! DynamoDB: dynoxide on a thread and a private port of its own, and the way there.
//!
//! dynoxide runs SQLite on the thread that serves; on ours it would stall SQS and what else runs there. Its HTTP
//! server is more faithful than calling its methods, so requests are passed on as they are.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use dynoxide::Database;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::oneshot;

use super::protocol::{Answer, AwsError, Service};

/// Connections that may wait for their turn to be accepted.
const BACKLOG: u32 = 1_024;

/// How long requests in hand may keep the server open once it is told to stop.
const STOP_SECONDS_MAX: Duration = Duration::from_secs(3);

/// What dynoxide reads of a request's headers; the rest stays here.
const PASSED_ON: [HeaderName; 4] =
    [AUTHORIZATION, CONTENT_TYPE, HeaderName::from_static("x-amz-target"), HeaderName::from_static("x-amz-date")];

/// The running DynamoDB. Dropping it stops the server without waiting.
pub(super) struct DynamoDb {
    uri: Uri,
    client: Client<HttpConnector, Full<Bytes>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// DynamoDB did not start.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotStarted(String);

impl DynamoDb {
    /// Starts it on a free loopback port, in memory or on a file. `held` is kept until the database is closed.
    pub(super) async fn start(file: Option<PathBuf>, held: Option<Arc<File>>) -> Result<Self, NotStarted> {
        let (started, start) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("dynamodb".to_owned());
        let thread = thread.spawn(move || {
            run(file, started, stopped);
            drop(held);
        });
        let thread = thread.map_err(|error| NotStarted(error.to_string()))?;
        let ended = || NotStarted("its thread ended".to_owned());
        let address = start.await.map_err(|_| ended())?.map_err(NotStarted)?;
        let uri = format!("http://{address}/").parse::<Uri>().map_err(|error| NotStarted(error.to_string()))?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { uri, client, stop: Some(stop), thread: Some(thread) })
    }

    /// Passes a request on and gives back the answer.
    pub(super) async fn call(&self, headers: &HeaderMap, body: Bytes) -> Result<Answer, AwsError> {
        let internal = |error: &dyn std::error::Error| {
            tracing::error!(%error, "the embedded DynamoDB did not answer");
            AwsError::internal(Service::DynamoDb, format!("the embedded DynamoDB did not answer: {error}"))
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        for name in PASSED_ON {
            if let Some(value) = headers.get(&name) {
                request.headers_mut().insert(name, value.clone());
            }
        }
        let response = self.client.request(request).await.map_err(|error| internal(&error))?;
        let (mut parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| internal(&error))?.to_bytes();
        parts.headers.remove(http::header::CONNECTION);
        parts.headers.remove(http::header::TRANSFER_ENCODING);
        Ok(Response::from_parts(parts, body))
    }

    /// Finishes requests in hand and closes the database; returns when its files are closed.
    pub(super) async fn shutdown(mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

/// The thread: opens the database, says where it listens, and serves until `stop` is sent or dropped.
fn run(file: Option<PathBuf>, started: oneshot::Sender<Result<SocketAddr, String>>, stop: oneshot::Receiver<()>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = started.send(Err(error.to_string()));
            return;
        }
    };
    runtime.block_on(async move {
        let opened = open(file).and_then(|database| Ok((database, listen().map_err(|error| error.to_string())?)));
        let (database, (listener, address)) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let _ = started.send(Err(error));
                return;
            }
        };
        let _ = started.send(Ok(address));
        let (stop_serving, serving_stops) = oneshot::channel::<()>();
        let shutdown = async move {
            let _ = serving_stops.await;
        };
        let serving = dynoxide::server::serve_with_shutdown(listener, database, shutdown);
        let limit = async move {
            let _ = stop.await;
            drop(stop_serving);
            tokio::time::sleep(STOP_SECONDS_MAX).await;
        };
        tokio::select! {
            ended = serving => {
                if let Err(error) = ended {
                    tracing::error!(%error, "the embedded DynamoDB ended");
                }
            }
            () = limit => {}
        }
    });
}

fn open(file: Option<PathBuf>) -> Result<Database, String> {
    let Some(file) = file else { return Database::memory().map_err(|error| error.to_string()) };
    let path = file.to_str().ok_or_else(|| "the data directory's path is not UTF-8".to_owned())?;
    let database = Database::new(path).map_err(|error| error.to_string())?;
    // No sync per commit: six times the writes, and a killed process still loses nothing.
    database.enable_bulk_loading().map_err(|error| error.to_string())?;
    Ok(database)
}

fn listen() -> std::io::Result<(TcpListener, SocketAddr)> {
    let socket = TcpSocket::new_v4()?;
    // Accepted connections inherit it; dynoxide does not set it itself.
    socket.set_nodelay(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let listener = socket.listen(BACKLOG)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}
