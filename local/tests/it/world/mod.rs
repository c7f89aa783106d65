//! The whole system under a clock that the test moves: embedded AWS, the API on a port, deliver and the sweeper run step by step, a receiver
//! that checks every signature with the official library.
//!
//! Nothing here waits for time to pass: [`World::settle`] carries out what is due now, and [`World::run`] moves the clock from one thing that happens to
//! the next. While a receiver hangs, the clock moves by itself.

mod client;
mod contract;
mod queues;
mod receiver;
mod storage;

use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use std::time::Duration;

use jiff::Timestamp;
use local::aws::{Aws, AwsOptions};
use local::clients::sdk_config;
use local::demo::Demo;
use local::grants::roles;
use local::poller::Poller;
use local::provision::provision;
use local::stack::{OVERRIDES, function, scheduled_event};
use local::template::{TEMPLATE, Template};
use serde_json::{Value, json};
use shared::clock::{Clock, Moment};
use shared::domain::time::plus_seconds;
use shared::services::Services;
use tokio::net::TcpListener;

pub(crate) use client::{Answer, Client};
pub(crate) use receiver::{Got, Receiver, Reply, TIME_LAPSE};

/// How many rounds a world may take to come to rest: far more than any test needs.
const ROUNDS_MAX: usize = 2_000;
/// How many steps the clock may make in one go: far more than any test needs.
const STEPS_MAX: usize = 50_000;

/// A running system with one tenant.
pub(crate) struct World {
    pub(crate) aws: Aws,
    pub(crate) clock: Clock,
    pub(crate) api_url: String,
    /// Calls the API with the tenant's live key.
    pub(crate) api: Client,
    pub(crate) demo: Demo,
    pub(crate) root: Client,
    pub(crate) receiver: Receiver,
    pub(crate) template: Template,
    /// Services for the test's own looks at table and queues.
    pub(crate) services: Services,
    pub(crate) queues: aws_sdk_sqs::Client,
    /// For the test's own looks at the table.
    pub(crate) tables: aws_sdk_dynamodb::Client,
    functions: Functions,
}

impl Drop for World {
    /// Whatever a test is about, nothing in it may need more than the template's roles allow.
    fn drop(&mut self) {
        let refused = self.aws.refused();
        assert!(refused.is_empty() || std::thread::panicking(), "the template's roles are too narrow: {refused:?}");
    }
}

/// What runs when something is due; made anew, it is as after a cold start.
struct Functions {
    pollers: Vec<Poller>,
    sweeper: Services,
}

impl World {
    /// Starts everything, with the clock at a whole second of the present day.
    pub(crate) async fn start() -> Self {
        let clock = Clock::manual(Timestamp::from_second(1_795_132_800).unwrap());
        let listen = "127.0.0.1:0".parse().unwrap();
        let aws = Aws::start(AwsOptions { listen, open: false, data: None, clock: clock.clone(), keeps_calls: true })
            .await
            .unwrap();
        let url = aws.endpoint_url().to_owned();
        let template = Template::read(TEMPLATE, OVERRIDES, &url).unwrap();
        let deployer = sdk_config(&url, "deployer").await;
        provision(&template, &deployer).await.unwrap();
        aws.enforce(roles(&template).unwrap());
        let api_services = function(&template, "ApiFunction", &clock, &url).await.unwrap();
        let own = sdk_config(&url, "test").await;
        let services = Services::new(api_services.config.clone(), clock.clone(), &own).unwrap();
        let secrets = aws_sdk_secretsmanager::Client::new(&deployer);
        let demo = Demo::find_or_make(&services, &secrets).await.unwrap();
        let root_key =
            secrets.get_secret_value().secret_id(&services.config.root_key_secret_name).send().await.unwrap();
        let api_url = serve(api_services).await;
        let functions = Functions::start(&template, &clock, &url).await;
        let world = Self {
            api: Client::new(&api_url, &demo.live_key),
            root: Client::new(&api_url, root_key.secret_string.as_deref().unwrap()),
            queues: aws_sdk_sqs::Client::new(&deployer),
            tables: aws_sdk_dynamodb::Client::new(&deployer),
            receiver: Receiver::start(clock.clone()).await,
            aws,
            clock,
            api_url,
            demo,
            template,
            services,
            functions,
        };
        // Counting requests would stand between a test and the calls that it is about.
        let unlimited = json!({ "rate_limits": { "reads": 0, "writes": 0, "delivery_queries": 0, "events": 0 } });
        let tenant = format!("/v1/tenants/{}", world.demo.tenant_id);
        world.root.patch(&tenant, unlimited).await.expect(200);
        let _ = world.aws.calls().take();
        world
    }

    /// New instances of deliver and the sweeper, as after a crash or a deployment: nothing cached, nothing in hand.
    pub(crate) async fn restart_functions(&mut self) {
        self.functions = Functions::start(&self.template, &self.clock, self.aws.endpoint_url()).await;
    }

    /// Deploys the same stack with other parameters: everything that runs is new, what is stored stays.
    pub(crate) async fn redeploy(&mut self, parameters: &[(&str, &str)]) {
        let url = self.aws.endpoint_url();
        self.template = Template::read(TEMPLATE, &[OVERRIDES, parameters].concat(), url).unwrap();
        self.api_url = serve(function(&self.template, "ApiFunction", &self.clock, url).await.unwrap()).await;
        self.api = Client::new(&self.api_url, &self.demo.live_key);
        self.restart_functions().await;
    }

    /// So many instances of deliver more per lane, each with its own caches and its own share of requests to an endpoint.
    pub(crate) async fn scale_out(&mut self, instances: usize) {
        for _ in 0..instances {
            let more = Functions::start(&self.template, &self.clock, self.aws.endpoint_url()).await;
            self.functions.pollers.extend(more.pollers);
        }
    }

    /// Makes an endpoint at this path of the receiver; gives its id. The receiver learns its secret.
    pub(crate) async fn endpoint(&self, path: &str, settings: Value) -> String {
        self.endpoint_of(&self.api, path, settings).await
    }

    /// The same with another key.
    pub(crate) async fn endpoint_of(&self, client: &Client, path: &str, settings: Value) -> String {
        let mut body = json!({ "url": self.receiver.url(path) });
        body.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let created = client.post("/v1/endpoints", body).await.expect(201);
        self.receiver.trust(path, created["secret"].as_str().unwrap());
        created["id"].as_str().unwrap().to_owned()
    }

    /// Sends an event; gives its id.
    pub(crate) async fn send(&self, event_type: &str, data: Value) -> String {
        let accepted = self.api.post("/v1/events", json!({ "type": event_type, "data": data })).await.expect(202);
        accepted["id"].as_str().unwrap().to_owned()
    }

    /// Puts a message straight onto the events queue; gives the queue's id for it.
    pub(crate) async fn send_message(&self, body: &str) -> String {
        let url = &self.services.config.events_queue_url;
        let sent = self.queues.send_message().queue_url(url).message_body(body).send().await.unwrap();
        sent.message_id.unwrap()
    }

    /// Puts messages straight onto the events queue, with one call; there are at most ten.
    pub(crate) async fn send_messages(&self, bodies: impl Iterator<Item = String>) {
        let mut send = self.queues.send_message_batch().queue_url(&self.services.config.events_queue_url);
        for (n, body) in bodies.enumerate() {
            let entry = SendMessageBatchRequestEntry::builder().id(n.to_string()).message_body(body);
            let entry = entry.message_group_id(self.demo.tenant_id.to_string());
            send = send.entries(entry.build().unwrap());
        }
        assert_eq!(send.send().await.unwrap().failed, []);
    }

    /// The delivery of an event to an endpoint, as the API shows it.
    pub(crate) async fn delivery(&self, endpoint: &str, event: &str) -> Value {
        self.api.get(&format!("/v1/endpoints/{endpoint}/deliveries/{event}")).await.expect(200)
    }

    /// Carries out all that is due now: delivers until both queues have nothing to give.
    pub(crate) async fn settle(&self) {
        for _ in 0..ROUNDS_MAX {
            if self.poll_once().await == 0 {
                return;
            }
        }
        panic!("the queues never came to rest");
    }

    /// One batch from each queue; how many messages that were.
    pub(crate) async fn poll_once(&self) -> usize {
        let mut taken = 0;
        for poller in &self.functions.pollers {
            taken += poller.run_once().await.unwrap();
        }
        taken
    }

    /// One run of the sweeper.
    pub(crate) async fn sweep(&self) -> sweep::Report {
        sweep::handle(&self.functions.sweeper, scheduled_event()).await
    }

    /// When a batch that is taken now has to be over, as the template has it.
    pub(crate) fn deadline(&self) -> Moment {
        self.clock.moment() + Duration::from_secs(60)
    }

    /// Lets time pass without anything being done in it.
    pub(crate) fn advance_seconds(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Lets `seconds` pass with everything running, in the steps in which it does: from one queue message to the next, and from minute to minute for the
    /// sweeper. Minutes in which it would find nothing are passed over.
    pub(crate) async fn run(&self, seconds: i64) {
        let end = plus_seconds(self.clock.now(), seconds);
        let mut swept_minute = minute_of(self.clock.now());
        for _ in 0..STEPS_MAX {
            self.settle().await;
            let looks_at = self.next_look().await.map(|at| minute_of(plus_seconds(at, 59)).max(swept_minute + 1));
            if looks_at.is_some_and(|minute| minute <= minute_of(self.clock.now())) {
                swept_minute = minute_of(self.clock.now());
                self.sweep().await;
                continue;
            }
            let now = self.clock.now();
            if now >= end {
                return;
            }
            let sweeps_at = looks_at.and_then(|minute| Timestamp::from_second(minute * 60).ok());
            let next = [self.aws.next_message_at(), sweeps_at, Some(end)].into_iter().flatten().min();
            let step = next.unwrap_or(end).as_millisecond() - now.as_millisecond();
            self.clock.advance(Duration::from_millis(u64::try_from(step).unwrap_or(0)));
        }
        panic!("time never came to an end");
    }

    /// The bodies and reasons in the dead-letter queue.
    pub(crate) async fn dead_letters(&self) -> Vec<(String, String)> {
        let url = &self.services.config.dead_letter_queue_url;
        let receive = self.queues.receive_message().queue_url(url).max_number_of_messages(10);
        let answer = receive.message_attribute_names("All").wait_time_seconds(0).send().await.unwrap();
        let messages = answer.messages.unwrap_or_default().into_iter();
        messages
            .map(|message| {
                let attributes = message.message_attributes.unwrap_or_default();
                let reason = attributes.get("Reason").and_then(|reason| reason.string_value.clone());
                (message.body.unwrap_or_default(), reason.unwrap_or_default())
            })
            .collect()
    }

    /// A second tenant with a live key.
    pub(crate) async fn other_tenant(&self) -> Client {
        self.tenant_with(json!({ "name": "Other", "rate_limits": { "reads": 0, "writes": 0, "delivery_queries": 0 } }))
            .await
    }

    /// A tenant like this with a live key.
    pub(crate) async fn tenant_with(&self, settings: Value) -> Client {
        let tenant = self.root.post("/v1/tenants", settings).await.expect(201);
        let keys = format!("/v1/tenants/{}/keys", tenant["id"].as_str().unwrap());
        let key = self.root.post(&keys, json!({ "mode": "live" })).await.expect(201);
        Client::new(&self.api_url, key["key"].as_str().unwrap())
    }
}

/// How long anything is waited for that other tasks do, in seconds of the real clock; far more than it takes.
const PATIENCE_SECONDS: u64 = 120;
/// How often it is looked for, so that the looking takes no time from what is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits until something holds that other tasks bring about.
///
/// # Panics
/// When it does not hold after a long while.
#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let waiting = async {
            let mut looks = tokio::time::interval(LOOK_EVERY);
            while !holds().await {
                looks.tick().await;
            }
        };
        let held = tokio::time::timeout(Duration::from_secs(PATIENCE_SECONDS), waiting).await;
        assert!(held.is_ok(), "{caller}: it never came about that {what}");
    }
}

/// The minute of the epoch in which this time lies.
fn minute_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}

/// Serves the API on a port of its own; gives its URL.
async fn serve(services: Services) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = api::router(services);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

impl Functions {
    async fn start(template: &Template, clock: &Clock, url: &str) -> Self {
        let mut pollers = Vec::new();
        for source in template.queue_sources().unwrap() {
            let services = function(template, &source.function, clock, url).await.unwrap();
            let identity = format!("{}Poller", source.function);
            let queues = aws_sdk_sqs::Client::new(&sdk_config(url, &identity).await);
            pollers.push(Poller::new(source, services, queues));
        }
        Self { pollers, sweeper: function(template, "SweepFunction", clock, url).await.unwrap() }
    }
}
