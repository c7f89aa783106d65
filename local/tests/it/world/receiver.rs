//! A receiver that records, answers as it is told, and checks every signature with the official library.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use futures::StreamExt;
use http::{HeaderMap, Uri};
use shared::clock::Clock;
use standardwebhooks::Webhook;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// How often the clock is moved while a request hangs.
const TICK: Duration = Duration::from_millis(5);
/// How much faster than the real one it goes then.
pub(crate) const TIME_LAPSE: u32 = 50;

/// How a request is answered.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// With this status and no body.
    Status(u16),
    /// With this status, a header and a body.
    Full(u16, &'static str, String, String),
    /// With 200 and so many headers.
    Headers(usize),
    /// With this status, after so long by the world's clock.
    After(Duration, u16),
    /// With this status, once the gate gives a permit.
    Gate(Arc<Semaphore>, u16),
    /// Never. Meanwhile time passes.
    Hang,
    /// With the head at once and then a byte now and then, for ever. Meanwhile time passes.
    Trickle(u16),
    /// With a body that never ends, as fast as it is read.
    Endless(u16),
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

#[derive(Default)]
struct Inner {
    got: HashMap<String, Vec<Got>>,
    replies: HashMap<String, Vec<Reply>>,
    secrets: HashMap<String, Vec<String>>,
    time_lapse: Option<u32>,
}

/// The receiver. Clones share what came.
#[derive(Clone)]
pub(crate) struct Receiver {
    url: String,
    inner: Arc<Mutex<Inner>>,
    clock: Clock,
    /// Who moves the clock, of those that hang.
    moving: Arc<tokio::sync::Mutex<()>>,
}

impl Receiver {
    pub(crate) async fn start(clock: Clock) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let receiver = Self { url, inner: Arc::default(), clock, moving: Arc::default() };
        let router = Router::new().fallback(take).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// What comes at this path is signed with this secret, among others perhaps.
    pub(crate) fn trust(&self, path: &str, secret: &str) {
        self.inner.lock().unwrap().secrets.entry(path.to_owned()).or_default().push(secret.to_owned());
    }

    /// Answers requests at this path so, one after the other; the last answer repeats.
    pub(crate) fn reply(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        self.inner.lock().unwrap().replies.insert(path.to_owned(), replies.into_iter().collect());
    }

    /// Never ends, and time passes. However many call it, it passes for all of them together.
    pub(crate) async fn let_time_pass(&self) -> ! {
        loop {
            self.tick().await;
        }
    }

    async fn tick(&self) {
        let _moving = self.moving.lock().await;
        tokio::time::sleep(TICK).await;
        let time_lapse = self.inner.lock().unwrap().time_lapse;
        self.clock.advance(TICK * time_lapse.unwrap_or(TIME_LAPSE));
    }

    /// While a request hangs, time passes for all others too. With much under way at once, it has to pass no faster than they are carried out.
    pub(crate) fn pass_time(&self, times_faster: u32) {
        self.inner.lock().unwrap().time_lapse = Some(times_faster);
    }

    /// What came at this path, signed or not.
    pub(crate) fn got_unverified(&self, path: &str) -> Vec<Got> {
        self.inner.lock().unwrap().got.get(path).cloned().unwrap_or_default()
    }

    /// What came at this path, every signature verified.
    #[track_caller]
    pub(crate) fn got(&self, path: &str) -> Vec<Got> {
        let inner = self.inner.lock().unwrap();
        let got = inner.got.get(path).cloned().unwrap_or_default();
        let secrets = inner.secrets.get(path).cloned().unwrap_or_default();
        for request in &got {
            assert!(secrets.iter().any(|secret| is_signed(request, secret)), "{path}: {:?}", request.headers);
        }
        got
    }
}

/// Whether the official library makes the same signature. Not its `verify`, which holds the timestamp against the system's clock.
fn is_signed(request: &Got, secret: &str) -> bool {
    let webhook = match secret.strip_prefix("whsec_") {
        Some(_) => Webhook::new(secret).unwrap(),
        None => Webhook::from_bytes(secret.as_bytes().to_vec()).unwrap(),
    };
    let timestamp = request.header("webhook-timestamp").parse().unwrap();
    let expected = webhook.sign(request.header("webhook-id"), timestamp, &request.body).unwrap();
    request.header("webhook-signature").split(' ').any(|signature| signature == expected)
}

async fn take(State(receiver): State<Receiver>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let reply = {
        let mut inner = receiver.inner.lock().unwrap();
        let got = inner.got.entry(uri.path().to_owned()).or_default();
        got.push(Got { headers, body });
        let turn = got.len() - 1;
        let replies = inner.replies.get(uri.path());
        replies.and_then(|replies| replies.get(turn).or(replies.last())).cloned().unwrap_or(Reply::Status(200))
    };
    match reply {
        Reply::Status(status) => response(status, Body::empty()),
        Reply::Full(status, name, value, body) => {
            let mut response = response(status, Body::from(body));
            response.headers_mut().insert(name, value.parse().unwrap());
            response
        }
        Reply::Headers(count) => {
            let mut response = response(200, Body::empty());
            for n in 0..count {
                let name: http::HeaderName = format!("x-{n}").parse().unwrap();
                response.headers_mut().insert(name, "1".parse().unwrap());
            }
            response
        }
        Reply::After(time, status) => {
            receiver.clock.advance(time);
            response(status, Body::empty())
        }
        Reply::Gate(gate, status) => {
            gate.acquire().await.unwrap().forget();
            response(status, Body::empty())
        }
        Reply::Hang => receiver.let_time_pass().await,
        Reply::Trickle(status) => {
            let bytes = futures::stream::unfold(receiver, |receiver| async {
                receiver.tick().await;
                Some((Ok::<_, std::io::Error>(Bytes::from_static(b".")), receiver))
            });
            response(status, Body::from_stream(bytes))
        }
        Reply::Endless(status) => {
            let chunk = Bytes::from(vec![b'x'; 64 * 1_024]);
            response(status, Body::from_stream(futures::stream::repeat(chunk).map(Ok::<_, std::io::Error>)))
        }
    }
}

fn response(status: u16, body: Body) -> Response {
    Response::builder().status(status).body(body).unwrap()
}
