//! The stack as it is deployed: the built functions, each with its own role and environment from the template, and in the place of AWS the services of the
//! local stack, which run in this process.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use http::Method;
use local::aws::{Aws, AwsOptions};
use local::clients::sdk_config;
use local::grants::roles;
use local::poller::Poller;
use local::provision::provision;
use local::stack::{OVERRIDES, StartError, scheduled_event};
use local::template::{QueueSource, TEMPLATE, Template};
use serde_json::{Value as Json, json};
use shared::clock::Clock;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::lambda::{Fleet, Function};

/// The sweeper's period, as the template's schedule has it.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
const API_TIMEOUT_SECONDS: u64 = 29;
const SWEEP_TIMEOUT_SECONDS: u64 = 55;
/// After how long a message that failed comes again, in seconds.
const AGAIN_SECONDS: i32 = 30;
/// How many instances of a function this machine carries.
const INSTANCES_MAX: usize = 48;

/// Who calls the API.
#[derive(Clone, Debug)]
pub(crate) struct Tenant {
    pub(crate) id: String,
    pub(crate) key: String,
}

/// The running stack.
pub(crate) struct Deployment {
    pub(crate) aws: Aws,
    pub(crate) api: Fleet,
    pub(crate) events: Arc<Fleet>,
    pub(crate) retries: Arc<Fleet>,
    pub(crate) queues: aws_sdk_sqs::Client,
    pub(crate) events_queue: QueueSource,
    pub(crate) dead_letter_queue_url: String,
    root_key: String,
    stop: watch::Sender<bool>,
    running: JoinSet<()>,
}

impl Deployment {
    /// Starts it. `programs` is the folder of the built functions.
    pub(crate) async fn start(programs: &Path) -> Result<Self, StartError> {
        let aws = Aws::start(AwsOptions {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            open: false,
            data: None,
            clock: Clock::System,
            keeps_calls: false,
        })
        .await?;
        let url = aws.endpoint_url().to_owned();
        let template = Template::read(TEMPLATE, OVERRIDES, &url)?;
        let deployer = sdk_config(&url, "deployer").await;
        provision(&template, &deployer).await?;
        aws.enforce(roles(&template)?);

        let fleet = |name: &'static str, program: &str, timeout_seconds| {
            let mut environment = template.environment(name)?;
            environment.insert("AWS_ENDPOINT_URL".to_owned(), url.clone());
            environment.insert("AWS_LAMBDA_LOG_LEVEL".to_owned(), "INFO".to_owned());
            let program = programs.join(program);
            Ok::<_, StartError>(Fleet::new(Function {
                name,
                program,
                environment,
                timeout_seconds,
                instances_max: INSTANCES_MAX,
            }))
        };
        let (stop, stopped) = watch::channel(false);
        let mut running = JoinSet::new();
        let mut fed = Vec::new();
        let sources = template.queue_sources()?;
        for (name, source) in [("DeliverEventsFunction", "events"), ("DeliverRetriesFunction", "retries")] {
            let source = sources.iter().find(|queue| queue.queue_url.ends_with(source)).ok_or("a queue is gone")?;
            let fleet = Arc::new(fleet(name, "deliver", source.timeout_seconds)?);
            fed.push((source.clone(), Arc::clone(&fleet)));
            let queues = aws_sdk_sqs::Client::new(&sdk_config(&url, &format!("{name}Poller")).await);
            let poller = Poller::invoking(source.clone(), queues, move |event| {
                let fleet = Arc::clone(&fleet);
                Box::pin(async move { invoke(&fleet, &event).await })
            });
            running.spawn(poller.run(stopped.clone()));
        }
        let sweep = fleet("SweepFunction", "sweep", SWEEP_TIMEOUT_SECONDS)?;
        running.spawn(tick(sweep, stopped));
        let api = fleet("ApiFunction", "api", API_TIMEOUT_SECONDS)?;
        let root_key_name = template.environment("ApiFunction")?.remove("ROOT_KEY_SECRET_NAME").unwrap_or_default();
        let secrets = aws_sdk_secretsmanager::Client::new(&deployer);
        let root_key = secrets.get_secret_value().secret_id(root_key_name).send().await?;
        let environment = template.environment("DeliverEventsFunction")?;
        let dead_letter_queue_url = environment.get("DEAD_LETTER_QUEUE_URL").cloned().unwrap_or_default();
        let mut fed = fed.into_iter();
        let (Some((events_queue, events)), Some((_, retries))) = (fed.next(), fed.next()) else {
            return Err("a queue is gone".into());
        };
        Ok(Self {
            aws,
            api,
            events,
            retries,
            queues: aws_sdk_sqs::Client::new(&deployer),
            events_queue,
            dead_letter_queue_url,
            root_key: root_key.secret_string.unwrap_or_default(),
            stop,
            running,
        })
    }

    /// Delivers a batch of these bodies as the events lane would, each of them received for the first time. The ids of those that failed.
    pub(crate) async fn deliver(&self, bodies: &[String]) -> Result<Vec<usize>, String> {
        let call = u64::from_be_bytes(shared::random::bytes());
        let now = Clock::System.now().as_millisecond().to_string();
        let records = bodies.iter().enumerate().map(|(n, body)| {
            json!({
                "messageId": format!("{call}-{n}"), "receiptHandle": "r", "body": body, "md5OfBody": "", "messageAttributes": {},
                "attributes": { "ApproximateReceiveCount": "1", "SentTimestamp": now },
                "eventSource": "aws:sqs", "eventSourceARN": self.events_queue.queue_arn, "awsRegion": "us-east-1",
            })
        });
        let event = json!({ "Records": records.collect::<Vec<_>>() });
        let answer = self.events.invoke(event.to_string().into_bytes()).await?;
        let answer: SqsBatchResponse = serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
        Ok(answer
            .batch_item_failures
            .iter()
            .filter_map(|failure| failure.item_identifier.rsplit('-').next()?.parse().ok())
            .collect())
    }

    /// Puts a message that failed onto the queue, from where it comes again.
    pub(crate) async fn send_again(&self, body: &str) -> Result<(), String> {
        let send = self.queues.send_message().queue_url(&self.events_queue.queue_url).delay_seconds(AGAIN_SECONDS);
        send.message_body(body).send().await.map(|_| ()).map_err(|error| error.to_string())
    }

    /// A request of the API; status and body.
    pub(crate) async fn call(
        &self,
        key: &str,
        method: Method,
        path: &str,
        body: Option<&Json>,
    ) -> Result<(u64, Json), String> {
        let (raw_path, query) = path.split_once('?').unwrap_or((path, ""));
        let event = json!({
            "version": "2.0", "routeKey": "$default", "rawPath": raw_path, "rawQueryString": query, "isBase64Encoded": false,
            "headers": {
                "authorization": format!("Bearer {key}"), "content-type": "application/json", "host": "api.example.com",
            },
            "requestContext": {
                "accountId": "000000000000", "apiId": "a1b2c3d4e5", "domainName": "api.example.com", "domainPrefix": "api",
                "http": {
                    "method": method.as_str(), "path": raw_path, "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7", "userAgent": "bench",
                },
                "requestId": "bench", "routeKey": "$default", "stage": "$default", "time": "02/Jan/2026:03:04:05 +0000", "timeEpoch": 1_767_323_045_000_u64,
            },
            "body": body.map(Json::to_string),
        });
        let answer = self.api.invoke(event.to_string().into_bytes()).await?;
        let answer: Json = serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
        let body = answer["body"].as_str().and_then(|body| serde_json::from_str(body).ok()).unwrap_or_default();
        Ok((answer["statusCode"].as_u64().unwrap_or_default(), body))
    }

    /// The same, of which the answer has to have this status; its data.
    pub(crate) async fn expect(
        &self,
        status: u64,
        key: &str,
        method: Method,
        path: &str,
        body: &Json,
    ) -> Result<Json, String> {
        let (answered, mut answer) = self.call(key, method.clone(), path, Some(body)).await?;
        if answered != status {
            return Err(format!("{method} {path} was answered with {answered}: {answer}"));
        }
        Ok(answer["data"].take())
    }

    /// A tenant without limits of rate, and a key of its.
    pub(crate) async fn tenant(&self, name: &str) -> Result<Tenant, String> {
        let limits = json!({ "reads": 0, "writes": 0, "delivery_queries": 0, "events": 0 });
        let settings = json!({ "name": name, "max_endpoints": 5_000, "rate_limits": limits });
        let made = self.expect(201, &self.root_key, Method::POST, "/v1/tenants", &settings).await?;
        let id = made["id"].as_str().unwrap_or_default().to_owned();
        let keys = format!("/v1/tenants/{id}/keys");
        let key = self.expect(201, &self.root_key, Method::POST, &keys, &json!({ "mode": "live" })).await?;
        Ok(Tenant { id, key: key["key"].as_str().unwrap_or_default().to_owned() })
    }

    /// What is in the dead-letter queue.
    pub(crate) async fn dead_letters(&self) -> Result<Vec<String>, String> {
        let mut bodies = Vec::new();
        loop {
            let receive =
                self.queues.receive_message().queue_url(&self.dead_letter_queue_url).max_number_of_messages(10);
            let received = receive.wait_time_seconds(0).send().await.map_err(|error| error.to_string())?;
            let messages = received.messages.unwrap_or_default();
            if messages.is_empty() {
                return Ok(bodies);
            }
            bodies.extend(messages.into_iter().filter_map(|message| message.body));
        }
    }

    /// Stops polling, without waiting for what is in hand.
    pub(crate) async fn stop(mut self) {
        self.stop.send_replace(true);
        self.running.shutdown().await;
        self.aws.shutdown().await;
    }
}

async fn invoke(fleet: &Fleet, event: &SqsEvent) -> Result<SqsBatchResponse, String> {
    let event = serde_json::to_vec(event).map_err(|error| error.to_string())?;
    let answer = fleet.invoke(event).await?;
    serde_json::from_slice(&answer).map_err(|error| error.to_string())
}

/// In the place of the schedule.
async fn tick(sweep: Fleet, mut stopped: watch::Receiver<bool>) {
    let event = serde_json::to_vec(&scheduled_event()).unwrap_or_default();
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.changed() => return,
        }
        if let Err(error) = sweep.invoke(event.clone()).await {
            eprintln!("a run of the sweeper failed: {error}");
        }
    }
}
