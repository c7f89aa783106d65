//! Lambda in small: built programs behind a runtime API of their own, each with one invocation at a time, started when none is idle.
//!
//! The protocol is that of the AWS Lambda Developer Guide, "Using the Lambda runtime API".

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use shared::cache::lock;
use shared::clock::Clock;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

/// How much longer than its timeout an invocation is waited for, in seconds.
const GRACE_SECONDS: u64 = 2;

/// A function as it is deployed.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    /// Its logical name.
    pub(crate) name: &'static str,
    /// What is run.
    pub(crate) program: PathBuf,
    /// What it is told.
    pub(crate) environment: BTreeMap<String, String>,
    /// How long an invocation may last, in seconds.
    pub(crate) timeout_seconds: u64,
    /// How many instances there are at the most.
    pub(crate) instances_max: usize,
}

/// The instances of a function.
#[derive(Debug)]
pub(crate) struct Fleet {
    function: Function,
    idle: Mutex<Vec<Instance>>,
    places: Semaphore,
    used: Mutex<Used>,
}

/// What a fleet has used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    /// How many instances were started.
    pub(crate) instances: usize,
    /// The most memory that one of them had, in KiB (`VmHWM`).
    pub(crate) peak_kib: u64,
    /// Processor time of all of them, in seconds.
    pub(crate) cpu_seconds: f64,
    /// Invocations that ended without an answer.
    pub(crate) failed: usize,
}

impl Used {
    fn add(&mut self, pid: Option<u32>) {
        let Some(pid) = pid else { return };
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let peak =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        self.peak_kib = self.peak_kib.max(peak.unwrap_or_default());
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name in brackets may hold blanks; utime and stime are the 12th and 13th field after it, in hundredths of a second.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let hundredths: u32 = fields.skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
        self.cpu_seconds += f64::from(hundredths) / 100.0;
    }
}

impl Fleet {
    pub(crate) fn new(function: Function) -> Self {
        let places = Semaphore::new(function.instances_max);
        Self { function, idle: Mutex::default(), places, used: Mutex::default() }
    }

    /// One invocation, by an idle instance or a new one; its answer.
    ///
    /// # Errors
    /// Why there is none. The instance is then gone, as on Lambda.
    pub(crate) async fn invoke(&self, event: Vec<u8>) -> Result<Bytes, String> {
        let _place = self.places.acquire().await.map_err(|error| error.to_string())?;
        let idle = lock(&self.idle).pop();
        let mut instance = match idle {
            Some(instance) => instance,
            None => {
                lock(&self.used).instances += 1;
                Instance::start(&self.function).await.map_err(|error| format!("{}: {error}", self.function.name))?
            }
        };
        let answer = instance.invoke(event, self.function.timeout_seconds).await;
        if answer.is_ok() {
            lock(&self.idle).push(instance);
        } else {
            let mut used = lock(&self.used);
            used.failed += 1;
            used.add(instance.process.id());
        }
        answer
    }

    /// What the fleet has used until now. Instances that are busy are not in it.
    pub(crate) fn used(&self) -> Used {
        let mut used = *lock(&self.used);
        for instance in lock(&self.idle).iter() {
            used.add(instance.process.id());
        }
        used
    }
}

struct Work {
    event: Vec<u8>,
    timeout_seconds: u64,
    answer: oneshot::Sender<Result<Bytes, String>>,
}

/// A process and its runtime API.
#[derive(Debug)]
struct Instance {
    process: Child,
    work: mpsc::Sender<Work>,
    serving: JoinHandle<()>,
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Instance {
    async fn start(function: &Function) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (work, asked) = mpsc::channel(1);
        let runtime = Arc::new(Runtime { asked: tokio::sync::Mutex::new(asked), answers: Mutex::default() });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(succeeded))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(failed))
            .layer(DefaultBodyLimit::disable())
            .with_state(runtime);
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        let process = Command::new(&function.program)
            .env_clear()
            .envs(&function.environment)
            .envs([
                ("AWS_LAMBDA_RUNTIME_API", address.to_string().as_str()),
                ("AWS_LAMBDA_FUNCTION_NAME", function.name),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
                ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
                ("AWS_LAMBDA_LOG_STREAM_NAME", "bench"),
                ("AWS_LAMBDA_LOG_GROUP_NAME", "bench"),
                ("AWS_REGION", "us-east-1"),
                // What the embedded services know their callers by.
                ("AWS_ACCESS_KEY_ID", function.name),
                ("AWS_SECRET_ACCESS_KEY", "local"),
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self { process, work, serving })
    }

    async fn invoke(&mut self, event: Vec<u8>, timeout_seconds: u64) -> Result<Bytes, String> {
        let (answer, answered) = oneshot::channel();
        self.work
            .send(Work { event, timeout_seconds, answer })
            .await
            .map_err(|_| "the runtime API ended".to_owned())?;
        tokio::select! {
            answer = answered => answer.map_err(|_| "no answer".to_owned())?,
            ended = self.process.wait() => Err(format!("the process ended: {ended:?}")),
            () = tokio::time::sleep(Duration::from_secs(timeout_seconds + GRACE_SECONDS)) => Err("timed out".to_owned()),
        }
    }
}

struct Runtime {
    asked: tokio::sync::Mutex<mpsc::Receiver<Work>>,
    answers: Mutex<HashMap<String, oneshot::Sender<Result<Bytes, String>>>>,
}

async fn next(State(runtime): State<Arc<Runtime>>) -> Response {
    let Some(work) = runtime.asked.lock().await.recv().await else { return StatusCode::GONE.into_response() };
    let id = format!("{:032x}", u128::from_be_bytes(shared::random::bytes()));
    lock(&runtime.answers).insert(id.clone(), work.answer);
    let deadline =
        Clock::System.now().as_millisecond() + i64::try_from(work.timeout_seconds * 1_000).unwrap_or_default();
    let mut headers = HeaderMap::new();
    let text = |text: &str| HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""));
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert("lambda-runtime-aws-request-id", text(&id));
    headers.insert("lambda-runtime-deadline-ms", text(&deadline.to_string()));
    let arn = "arn:aws:lambda:us-east-1:000000000000:function:bench";
    headers.insert("lambda-runtime-invoked-function-arn", HeaderValue::from_static(arn));
    (headers, work.event).into_response()
}

async fn succeeded(State(runtime): State<Arc<Runtime>>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    answer(&runtime, &id, Ok(body))
}

async fn failed(State(runtime): State<Arc<Runtime>>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    answer(&runtime, &id, Err(String::from_utf8_lossy(&body).into_owned()))
}

fn answer(runtime: &Runtime, id: &str, answer: Result<Bytes, String>) -> StatusCode {
    if let Some(waiting) = lock(&runtime.answers).remove(id) {
        let _ = waiting.send(answer);
    }
    StatusCode::ACCEPTED
}
