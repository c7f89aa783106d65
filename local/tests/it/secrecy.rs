//! What is logged, at the finest level, while everything happens that has to do with secrets: none of them is in it, nor in any error or list.

use std::io::Write;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tracing::Dispatch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::world::{Client, Reply, World};

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn no_secret_is_in_any_log_line_error_or_list() {
    let log = Log::default();
    let written = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(EnvFilter::new("trace")).with_writer(log).json().finish();
    // While there is one subscriber only, whichever test's thread first comes by a line decides for all whether anybody wants it.
    let _other = Dispatch::new(tracing_subscriber::fmt().with_max_level(tracing::Level::ERROR).finish());
    let _logged = tracing::subscriber::set_default(subscriber);

    let world = World::start().await;
    let settings = json!({
        "authorization": { "type": "basic", "username": "u", "password": "the-password-of-the-receiver" },
    });
    world.receiver.reply("/a", [Reply::Status(500), Reply::Status(500), Reply::Status(200)]);
    let id = world.endpoint("/a", settings).await;
    let path = format!("/v1/endpoints/{id}");
    let first = world.api.get(&format!("{path}/secret")).await.expect(200)["secret"].as_str().unwrap().to_owned();
    world.receiver.trust("/a", &first);
    world.send("a", json!({})).await;
    world.settle().await;
    let change = json!({ "authorization": { "type": "bearer", "token": "the-token-of-the-receiver" } });
    world.api.patch(&path, change).await.expect(200);
    let rotated = world.api.post(&format!("{path}/secret/rotate"), json!({})).await.expect(200);
    let second = rotated["secret"].as_str().unwrap().to_owned();
    world.receiver.trust("/a", &second);
    let own = json!({ "secret": "own-secret-while-another" });
    let mut shown = world.api.post(&format!("{path}/secret/rotate"), own).await.body.to_string();
    world.send("a", json!({})).await;
    world.run(60).await;
    world.api.post(&format!("{path}/test"), json!({})).await.expect(200);
    let wrong = Client::new(&world.api_url, &format!("{}x", world.demo.live_key));
    shown.push_str(&wrong.get("/v1/events").await.body.to_string());
    shown.push_str(&world.root.get("/v1/events").await.body.to_string());
    let lists = ["/v1/endpoints".to_owned(), path.clone(), format!("{path}/deliveries")];
    for list in &lists {
        shown.push_str(&world.api.get(list).await.body.to_string());
    }
    assert_eq!(world.receiver.got("/a").len(), 5);

    let logged = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("attempt") && logged.len() > 10_000, "the log is being kept: {} bytes", logged.len());
    let key = |key: &str| key.rsplit('_').next().unwrap().to_owned();
    for secret in [
        "the-password-of-the-receiver".to_owned(),
        STANDARD.encode("u:the-password-of-the-receiver"),
        "the-token-of-the-receiver".to_owned(),
        "own-secret-while-another".to_owned(),
        first.replace("whsec_", ""),
        second.replace("whsec_", ""),
        key(&world.demo.live_key),
        world.root_key().await,
    ] {
        assert!(!shown.contains(&secret));
        let line = logged.lines().find(|line| line.contains(&secret));
        assert!(line.is_none(), "{}", line.unwrap_or_default().chars().take(600).collect::<String>());
    }
}
