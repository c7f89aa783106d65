//! The real binary, started, stopped and killed.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{Client, Receiver, Reply, until};

/// How long to wait for something that has to happen; far longer than it takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running `outhook`; killed when the test ends.
struct Outhook {
    child: Child,
    out: BufReader<ChildStdout>,
    banner: Value,
}

impl Drop for Outhook {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(data: Option<&Path>, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outhook"));
    command.args(["--json", "--api-port", "0", "--aws-port", "0", "--receiver-port", "0"]).args(more);
    if let Some(data) = data {
        command.arg("--data").arg(data);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Outhook {
    /// Starts it and waits for its line.
    async fn start(data: Option<&Path>) -> Self {
        Self::start_with(data, &[]).await
    }

    /// The same with more arguments.
    async fn start_with(data: Option<&Path>, more: &[&str]) -> Self {
        let mut command = command(data, &[&["--log", "off"], more].concat());
        tokio::task::spawn_blocking(move || {
            let mut child = command.stderr(Stdio::null()).spawn().unwrap();
            let mut out = BufReader::new(child.stdout.take().unwrap());
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            Self { child, out, banner: serde_json::from_str(&line).unwrap() }
        })
        .await
        .unwrap()
    }

    fn says(&self, name: &str) -> &str {
        self.banner[name].as_str().unwrap()
    }

    fn api(&self) -> Client {
        Client::new(self.says("api_url"), self.says("live_key"))
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for its end; what else it printed.
    async fn wait(mut self) -> (ExitStatus, String) {
        tokio::task::spawn_blocking(move || {
            let mut rest = String::new();
            self.out.read_to_string(&mut rest).unwrap();
            (self.child.wait().unwrap(), rest)
        })
        .await
        .unwrap()
    }
}

async fn endpoint(api: &Client, receiver: &Receiver, path: &str) -> String {
    let retry = json!({ "max_attempts": 20, "schedule_seconds": [1] });
    let made = api.post("/v1/endpoints", json!({ "url": receiver.url(path), "retry": retry })).await.expect(201);
    receiver.trust(path, made["secret"].as_str().unwrap());
    made["id"].as_str().unwrap().to_owned()
}

async fn send(api: &Client) -> String {
    let accepted = api.post("/v1/events", json!({ "type": "a", "data": { "n": 1 } })).await.expect(202);
    accepted["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn one_line_says_where_everything_is_and_sigterm_ends_it_well() {
    let outhook = Outhook::start(None).await;
    let named: Vec<_> = outhook.banner.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = [
        "api_url",
        "aws_endpoint_url",
        "receiver_url",
        "root_key",
        "tenant_id",
        "live_key",
        "test_key",
        "table_name",
        "events_queue_url",
        "retries_queue_url",
        "dead_letter_queue_url",
    ];
    expected.sort_unstable();
    assert_eq!(named, expected);

    let api = outhook.api();
    assert_eq!(api.get("/v1/health").await.expect(200)["status"], "ok");
    let body = json!({ "url": format!("{}/a", outhook.says("receiver_url")) });
    let endpoint = api.post("/v1/endpoints", body).await.expect(201)["id"].as_str().unwrap().to_owned();
    let event = send(&api).await;
    let delivery = format!("/v1/endpoints/{endpoint}/deliveries/{event}");
    until("the delivery is on record", async || {
        let answer = api.get(&delivery).await;
        answer.status == 200 && answer.body["data"]["status"] == "succeeded"
    })
    .await;
    let test = Client::new(outhook.says("api_url"), outhook.says("test_key"));
    assert_eq!(test.get("/v1/events").await.expect(200), json!([]));
    let root = Client::new(outhook.says("api_url"), outhook.says("root_key"));
    let tenant = root.get(&format!("/v1/tenants/{}", outhook.says("tenant_id"))).await.expect(200);
    assert_eq!(tenant["name"], "Demo");

    outhook.signal("-TERM");
    let (status, rest) = outhook.wait().await;
    assert_eq!((status.code(), rest.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn sigterm_finishes_the_request_in_hand_and_records_it() {
    let data = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(shared::clock::Clock::System).await;
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    receiver.reply("/a", [Reply::Gate(std::sync::Arc::clone(&gate), 200), Reply::Status(500)]);
    let outhook = Outhook::start(Some(data.path())).await;
    let endpoint = endpoint(&outhook.api(), &receiver, "/a").await;
    let event = send(&outhook.api()).await;
    until("the request has come", async || !receiver.got("/a").is_empty()).await;
    outhook.signal("-INT");
    gate.add_permits(1);
    assert_eq!(outhook.wait().await.0.code(), Some(0));

    let again = Outhook::start(Some(data.path())).await;
    let delivery = again.api().get(&format!("/v1/endpoints/{endpoint}/deliveries/{event}")).await.expect(200);
    assert_eq!(delivery["status"], "succeeded");
    assert_eq!(receiver.got("/a").len(), 1);
}

#[tokio::test]
async fn killed_with_deliveries_pending_everything_arrives_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(shared::clock::Clock::System).await;
    receiver.reply("/a", [Reply::Status(500)]);
    let outhook = Outhook::start(Some(data.path())).await;
    let before = outhook.banner.clone();
    let api = outhook.api();
    let endpoint = endpoint(&api, &receiver, "/a").await;
    let mut events = BTreeSet::new();
    for _ in 0..10 {
        events.insert(send(&api).await);
    }
    until("every event was tried", async || {
        let tried: BTreeSet<_> =
            receiver.got("/a").iter().map(|request| request.header("webhook-id").to_owned()).collect();
        tried == events
    })
    .await;
    // Accepted, and then at once:
    for _ in 0..10 {
        events.insert(send(&api).await);
    }
    outhook.signal("-KILL");
    assert_eq!(outhook.wait().await.0.code(), None);

    receiver.reply("/a", [Reply::Status(200)]);
    let again = Outhook::start(Some(data.path())).await;
    for kept in ["root_key", "tenant_id", "live_key", "test_key", "table_name"] {
        assert_eq!(again.banner[kept], before[kept], "{kept}");
    }
    let api = again.api();
    until("every event has arrived", async || {
        let path = format!("/v1/endpoints/{endpoint}/deliveries?limit=100");
        let listed = api.get(&path).await.expect(200);
        let succeeded = listed.as_array().unwrap().iter().filter(|delivery| delivery["status"] == "succeeded");
        let succeeded: BTreeSet<_> =
            succeeded.map(|delivery| delivery["event_id"].as_str().unwrap().to_owned()).collect();
        succeeded == events
    })
    .await;
    let bodies: BTreeSet<_> = receiver.got("/a").into_iter().map(|got| got.header("webhook-id").to_owned()).collect();
    assert_eq!(bodies, events);
}

#[tokio::test]
async fn second_process_on_the_same_data_or_port_ends_with_a_clear_error() {
    let data = tempfile::tempdir().unwrap();
    let outhook = Outhook::start(Some(data.path())).await;
    let port = outhook.says("api_url").rsplit(':').next().unwrap().to_owned();
    let taken = format!("127.0.0.1:{port}");
    let same_data = command(Some(data.path()), &[]);
    let mut same_port = Command::new(env!("CARGO_BIN_EXE_outhook"));
    same_port.args(["--json", "--aws-port", "0", "--receiver-port", "0", "--api-port", &port]);
    for (mut second, reason) in [(same_data, "is in use by another process"), (same_port, &*taken)] {
        let output = tokio::task::spawn_blocking(move || second.output().unwrap()).await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{said}");
        assert!(said.contains(reason), "{said}");
    }
    outhook.api().get("/v1/health").await.expect(200);
}

#[tokio::test]
async fn half_a_request_does_not_keep_sigterm_from_ending_it() {
    let outhook = Outhook::start(None).await;
    let mut held = Vec::new();
    for url in ["api_url", "aws_endpoint_url", "receiver_url"] {
        let address = outhook.says(url).strip_prefix("http://").unwrap();
        let mut half = std::net::TcpStream::connect(address).unwrap();
        half.write_all(b"POST /v1/events HTTP/1.1\r\ncontent-length: 10\r\n\r\n{").unwrap();
        held.push(half);
    }
    outhook.signal("-TERM");
    let ended = tokio::time::timeout(PATIENCE, outhook.wait()).await;
    assert_eq!(ended.expect("it ends all the same").0.code(), Some(0));
}

#[tokio::test]
async fn standard_error_that_is_closed_stops_nothing() {
    let receiver = Receiver::start(shared::clock::Clock::System).await;
    let mut command = command(None, &["--log", "trace"]);
    let mut child = tokio::task::spawn_blocking(move || command.spawn().unwrap()).await.unwrap();
    drop(child.stderr.take());
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let outhook = Outhook { child, out, banner: serde_json::from_str(&line).unwrap() };
    endpoint(&outhook.api(), &receiver, "/a").await;
    for sent in 1..=3 {
        send(&outhook.api()).await;
        until("the event has come", async || receiver.got("/a").len() == sent).await;
    }
}

#[tokio::test]
async fn data_directory_with_one_of_its_files_gone_is_refused() {
    for missing in ["dynamodb.sqlite", "queues-and-secrets.sqlite"] {
        let data = tempfile::tempdir().unwrap();
        let outhook = Outhook::start(Some(data.path())).await;
        outhook.signal("-TERM");
        assert_eq!(outhook.wait().await.0.code(), Some(0));
        std::fs::remove_file(data.path().join(missing)).unwrap();
        let mut again = command(Some(data.path()), &[]);
        let output = tokio::task::spawn_blocking(move || again.output().unwrap()).await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(missing) && said.contains("is missing"), "{said}");
    }
}

/// Containers reach this machine by another address than loopback's own. 127.0.0.2 is one that Linux has everywhere.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn data_directory_that_cannot_be_written_is_an_outage_that_health_tells_of() {
    let outside = tempfile::tempdir().unwrap();
    let data = outside.path().join("data");
    let outhook = Outhook::start(Some(&data)).await;
    let api = outhook.api();
    let healthy = async || api.get("/v1/health").await.expect(200)["status"] == "ok";
    until("it is healthy", &healthy).await;
    let gone = outside.path().join("gone");
    std::fs::rename(&data, &gone).unwrap();
    until("health tells of it", async || !healthy().await).await;
    let refused = api.post("/v1/events", json!({ "type": "a", "data": {} })).await;
    assert_eq!(refused.status, 503, "{}", refused.body);
    std::fs::rename(&gone, &data).unwrap();
    until("it is healthy again", &healthy).await;
    send(&api).await;
}

#[tokio::test]
async fn containers_reach_the_stack_where_it_is_told_to_listen_for_them_and_only_there() {
    let reached = async |url: &str| {
        let elsewhere = url.replace("http://127.0.0.1", "127.0.0.2");
        tokio::net::TcpStream::connect(elsewhere).await.is_ok()
    };
    let closed = Outhook::start(None).await;
    let open = Outhook::start_with(None, &["--listen", "0.0.0.0"]).await;
    for url in ["api_url", "aws_endpoint_url", "receiver_url"] {
        assert!(open.says(url).starts_with("http://127.0.0.1:"), "{}", open.says(url));
        assert!(!reached(closed.says(url)).await, "{url}");
        assert!(reached(open.says(url)).await, "{url}");
    }
}
