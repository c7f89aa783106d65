//! What the sender does on real connections: which addresses it dials, which connections it uses again, and which phase it says was missed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::HeaderMap;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::address_guard::Lookup;
use super::request::WebhookRequest;
use super::{PRODUCT, Sender};
use crate::clock::Clock;
use crate::domain::address::AddressPolicy;
use crate::domain::attempt::{Failure, Outcome, Response};

/// Answers names as it is told, one answer after the other; the last repeats. With none it never answers.
#[derive(Debug)]
struct Scripted {
    answers: Vec<Vec<SocketAddr>>,
    asked: AtomicUsize,
}

impl Lookup for Scripted {
    fn addresses(&self, _: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let turn = self.asked.fetch_add(1, Ordering::SeqCst);
        match self.answers.get(turn).or(self.answers.last()).cloned() {
            Some(answer) => Box::pin(async { Ok(answer) }),
            None => Box::pin(std::future::pending()),
        }
    }
}

/// A sender that may dial `127.0.0.1` and no other internal address.
fn sender(answers: &[&[&str]]) -> Sender {
    trusting(answers, super::tls::public_roots())
}

/// The same, trusting these roots.
fn trusting(answers: &[&[&str]], roots: RootCertStore) -> Sender {
    bounded(answers, roots, super::CONNECTIONS_PER_CLIENT_MAX)
}

/// The same, with another bound on its connections.
fn bounded(answers: &[&[&str]], roots: RootCertStore, connections_max: usize) -> Sender {
    let parse = |text: &&str| format!("{text}:0").parse().unwrap();
    let answers = answers.iter().map(|answer| answer.iter().map(parse).collect()).collect();
    let policy = AddressPolicy { allow_http: true, allowed_ranges: vec!["127.0.0.1/32".parse().unwrap()] };
    let lookup = Arc::new(Scripted { answers, asked: AtomicUsize::new(0) });
    Sender::build(policy, Clock::System, lookup, roots, connections_max).unwrap()
}

async fn send(sender: &Sender, url: impl Into<String>) -> Result<Response, Failure> {
    let (headers, body) = (HeaderMap::new(), Bytes::from_static(b"{}"));
    sender.send(WebhookRequest { url: url.into(), headers, body, timeout_seconds: 1 }).await.result
}

#[track_caller]
fn assert_failure(result: Result<Response, Failure>, outcome: Outcome, beginning: &str) {
    let failure = result.unwrap_err();
    assert_eq!(failure.outcome, outcome, "{failure:?}");
    assert!(failure.message.starts_with(beginning), "{failure:?}");
}

/// How many connections a receiver took, and what it read from them.
#[derive(Debug, Default)]
struct Seen {
    /// How many of them the sender has ended.
    ended: AtomicUsize,
    connections: AtomicUsize,
    text: std::sync::Mutex<String>,
}

/// Reads a request with a body of two bytes; `false` when the connection ended.
async fn read_request(stream: &mut (impl AsyncRead + Unpin), seen: &Seen) -> bool {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n{}") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return false,
        }
    }
    seen.text.lock().unwrap().push_str(std::str::from_utf8(&request).unwrap());
    true
}

/// A receiver that answers so many requests of every connection and then closes it, having read one more.
async fn receiver(address: &str, answers_per_connection: usize) -> (SocketAddr, Arc<Seen>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Seen::default());
    let noted = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            noted.connections.fetch_add(1, Ordering::SeqCst);
            let seen = Arc::clone(&noted);
            tokio::spawn(async move {
                for _ in 0..answers_per_connection {
                    if !read_request(&mut stream, &seen).await {
                        seen.ended.fetch_add(1, Ordering::SeqCst);
                        return;
                    }
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
                }
                read_request(&mut stream, &seen).await;
            });
        }
    });
    (address, seen)
}

#[tokio::test]
async fn connections_that_are_kept_have_a_bound_for_all_receivers_together() {
    const KEPT_MAX: usize = 4;
    let sender = bounded(&[&["127.0.0.1"]], super::tls::public_roots(), KEPT_MAX);
    let mut all = Vec::new();
    for _ in 0..3 * KEPT_MAX {
        let (address, seen) = receiver("127.0.0.1:0", usize::MAX).await;
        send(&sender, format!("http://hooks.example:{}/", address.port())).await.unwrap();
        all.push(seen);
    }
    let open = || all.iter().filter(|seen: &&Arc<Seen>| seen.ended.load(Ordering::SeqCst) == 0).count();
    let closing = async {
        while open() > KEPT_MAX {
            tokio::task::yield_now().await;
        }
    };
    let closed = tokio::time::timeout(Duration::from_secs(30), closing).await;
    assert!(closed.is_ok(), "{} connections are open", open());
}

#[tokio::test]
async fn receiver_that_closes_its_connections_costs_no_other_receiver_those_that_are_kept() {
    let (kept, kept_seen) = receiver("127.0.0.1:0", usize::MAX).await;
    let closing = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closes = closing.local_addr().unwrap().port();
    let answering = tokio::spawn(async move {
        let seen = Seen::default();
        while let Ok((mut stream, _)) = closing.accept().await {
            read_request(&mut stream, &seen).await;
            let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        }
    });
    let sender = bounded(&[&["127.0.0.1"]], super::tls::public_roots(), 3);
    for _ in 0..5 {
        send(&sender, format!("http://hooks.example:{}/", kept.port())).await.unwrap();
        for _ in 0..3 {
            send(&sender, format!("http://hooks.example:{closes}/")).await.unwrap();
        }
    }
    assert_eq!(kept_seen.connections.load(Ordering::SeqCst), 1);
    answering.abort();
}

#[tokio::test]
async fn bad_address_among_good_ones_is_never_dialled() {
    let (good, good_seen) = receiver("127.0.0.1:0", usize::MAX).await;
    let (_, bad_seen) = receiver(&format!("127.0.0.2:{}", good.port()), usize::MAX).await;
    let url = format!("http://hooks.example:{}/", good.port());
    for answer in [&["127.0.0.2", "127.0.0.1"], &["127.0.0.1", "127.0.0.2"]] {
        let response = send(&sender(&[answer]), &url).await.unwrap();
        assert_eq!((response.status, response.body.as_str()), (200, "ok"));
    }
    assert_failure(send(&sender(&[&["127.0.0.2"]]), &url).await, Outcome::AddressBlocked, "the name leads to an");
    assert_eq!(bad_seen.connections.load(Ordering::SeqCst), 0);
    assert_eq!(good_seen.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn name_whose_answer_changes_gains_nothing() {
    let (good, _) = receiver("127.0.0.1:0", 1).await;
    let (_, bad_seen) = receiver(&format!("127.0.0.2:{}", good.port()), usize::MAX).await;
    let url = format!("http://hooks.example:{}/", good.port());
    let sender = sender(&[&["127.0.0.1"], &["127.0.0.2"]]);
    assert_eq!(send(&sender, &url).await.unwrap().status, 200);
    // The connection is used up, the name leads elsewhere now, and the request goes nowhere.
    assert_failure(send(&sender, &url).await, Outcome::AddressBlocked, "the name leads to an internal address");
    assert_eq!(bad_seen.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn address_in_the_url_itself_is_judged_too() {
    let (bad, seen) = receiver("127.0.0.2:0", usize::MAX).await;
    for host in ["127.0.0.2", "2130706434", "0x7f.2", "0177.0.0.2", "127.2", "[::ffff:127.0.0.2]", "127.0.0.2."] {
        let result = send(&sender(&[&["127.0.0.1"]]), format!("http://{host}:{}/", bad.port())).await;
        assert_failure(result, Outcome::AddressBlocked, "the endpoint's URL is not permitted");
    }
    assert_eq!(seen.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn connection_is_used_again_and_nothing_but_the_request_goes_over_it() {
    let (address, seen) = receiver("127.0.0.1:0", usize::MAX).await;
    let sender = sender(&[&["127.0.0.1"]]);
    for _ in 0..5 {
        assert_eq!(send(&sender, format!("http://hooks.example:{}/a?b", address.port())).await.unwrap().status, 200);
    }
    assert_eq!(seen.connections.load(Ordering::SeqCst), 1);
    let one = format!(
        "POST /a?b HTTP/1.1\r\nuser-agent: {PRODUCT}\r\naccept: */*\r\nhost: hooks.example:{}\r\ncontent-length: 2\r\n\r\n{{}}",
        address.port()
    );
    assert_eq!(*seen.text.lock().unwrap(), one.repeat(5));
}

#[tokio::test]
async fn used_connection_that_the_receiver_closes_is_no_failure_and_a_new_one_is() {
    let (address, seen) = receiver("127.0.0.1:0", 1).await;
    let url = format!("http://hooks.example:{}/", address.port());
    let polite = sender(&[&["127.0.0.1"]]);
    for _ in 0..3 {
        assert_eq!(send(&polite, &url).await.unwrap().status, 200);
    }
    assert_eq!(seen.connections.load(Ordering::SeqCst), 3);

    let (address, seen) = receiver("127.0.0.1:0", 0).await;
    let result = send(&polite, format!("http://hooks.example:{}/", address.port())).await;
    assert_failure(result, Outcome::ResponseInvalid, "no valid HTTP answer: ");
    assert_eq!(seen.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn missed_time_limit_names_its_phase() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = listener.local_addr().unwrap().port();
    // A queue of one that is full: the next connection is not taken.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(1).unwrap();
    let full_address = full.local_addr().unwrap();
    let waiting: Vec<_> = (0..2).map(|_| TcpStream::connect(full_address)).collect();
    let waiting = futures::future::try_join_all(waiting).await.unwrap();

    let known = sender(&[&["127.0.0.1"]]);
    let unknown = sender(&[]);
    let (resolve, connect, tls, first_byte) = tokio::join!(
        send(&unknown, "https://hooks.example/"),
        send(&known, format!("http://hooks.example:{}/", full_address.port())),
        send(&known, format!("https://hooks.example:{silent}/")),
        send(&known, format!("http://hooks.example:{silent}/")),
    );
    assert_failure(resolve, Outcome::Timeout, "resolve: the name was not resolved within 1 s");
    assert_failure(connect, Outcome::Timeout, "connect: there was no connection within 1 s");
    assert_failure(tls, Outcome::Timeout, "connect: there was no connection within 1 s");
    assert_failure(first_byte, Outcome::Timeout, "first byte: the receiver did not answer within 1 s");
    drop((waiting, listener));
}

#[tokio::test]
async fn refused_connection_and_broken_handshake_are_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let breaks_off = listener.local_addr().unwrap().port();
    let hanging_up = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 16]).await;
        }
    });
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let known = sender(&[&["127.0.0.1"]]);
    let broken = send(&known, format!("https://hooks.example:{breaks_off}/")).await;
    assert_failure(broken, Outcome::TlsError, "TLS: ");
    let refused = send(&known, format!("https://hooks.example:{nobody}/")).await;
    assert_failure(refused, Outcome::Unreachable, "connect: ");
    hanging_up.abort();
}

/// A certificate for `hooks.example` that nobody has vouched for, and what a receiver needs to show it.
fn self_signed() -> (CertificateDer<'static>, TlsAcceptor) {
    let certified = rcgen::generate_simple_self_signed(vec!["hooks.example".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key.into())
        .unwrap();
    (certified.cert.der().clone(), TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn certificate_that_nobody_vouched_for_is_refused_and_named() {
    let (_, acceptor) = self_signed();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    let result = send(&sender(&[&["127.0.0.1"]]), format!("https://hooks.example:{port}/")).await;
    assert_failure(result, Outcome::TlsError, "TLS: invalid peer certificate: ");
}

/// Over TLS the end of a connection comes without the goodbye that TLS asks for, as it does from hosts that just close.
#[tokio::test]
async fn used_tls_connection_that_the_receiver_closes_is_no_failure_and_a_new_one_is() {
    let (certificate, acceptor) = self_signed();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Seen::default());
    let noted = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let turn = noted.connections.fetch_add(1, Ordering::SeqCst);
            let mut stream = acceptor.accept(stream).await.unwrap();
            // The first two connections answer one request each, and the third none.
            if turn < 2 && read_request(&mut stream, &noted).await {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
                stream.flush().await.unwrap();
            }
            read_request(&mut stream, &noted).await;
            drop(stream.into_inner().0);
        }
    });
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let sender = trusting(&[&["127.0.0.1"]], roots);
    let url = format!("https://hooks.example:{port}/");
    for _ in 0..2 {
        assert_eq!(send(&sender, &url).await.unwrap().status, 200);
    }
    // The second connection is closed on the third request, and so is the new one that it is sent on again.
    let result = send(&sender, &url).await;
    assert_failure(result, Outcome::ResponseInvalid, "no valid HTTP answer: the connection was closed");
    assert_eq!(seen.connections.load(Ordering::SeqCst), 3);
}
