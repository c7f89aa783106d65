//! Secrets Manager: the stand-in's state and its operations.
//!
//! Covered: making, reading, changing, deleting secrets, their versions and stages, tags, lists, batches,
//! random passwords. Not covered and refused: rotation, replication, resource policies. A key is accepted and encrypts
//! nothing.

mod errors;
mod list;
mod password;
mod read;
mod secret;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use shared::clock::Clock;

use self::secret::Secret;
use super::journal::{Changes, Journal, Record};
use super::lock;
use super::protocol::{self, Answer, AwsError, Service};
use super::random;

/// What every ARN starts with.
const ARN_PREFIX: &str = "arn:aws:secretsmanager:us-east-1:000000000000:secret:";

/// What an ARN's random end is made of.
const ARN_CHARACTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Secrets Manager.
pub(super) struct Secrets {
    state: Mutex<State>,
    clock: Clock,
    journal: Arc<Journal>,
}

#[derive(Default)]
struct State {
    by_name: BTreeMap<Arc<str>, Secret>,
    names_by_arn: BTreeMap<String, Arc<str>>,
    /// Those to be deleted, by when, in milliseconds since 1970.
    deletions: BTreeSet<(i64, Arc<str>)>,
}

/// An operation on the state under its lock.
struct Change<'a> {
    state: &'a mut State,
    changes: Changes,
    /// In milliseconds since 1970.
    now: i64,
}

impl Secrets {
    /// The secrets as they were when the records were written.
    ///
    /// # Errors
    /// The key of a record that cannot be read.
    pub(super) fn load(clock: Clock, journal: Arc<Journal>, records: &[Record]) -> Result<Self, &str> {
        let mut state = State::default();
        for record in records.iter().filter(|record| record.key.starts_with("secret/")) {
            state.insert(record.value().ok_or(record.key.as_str())?);
        }
        Ok(Self { state: Mutex::new(state), clock, journal })
    }

    /// Does an operation. The answer is on disk when this returns.
    ///
    /// # Errors
    /// Whatever Secrets Manager would answer.
    pub(super) async fn call(&self, operation: &str, body: &[u8]) -> Result<Answer, AwsError> {
        match operation {
            "GetSecretValue" => self.change(body, read::value).await,
            "BatchGetSecretValue" => self.change(body, read::batch).await,
            "DescribeSecret" => self.change(body, |change, request| read::describe(change, &request)).await,
            "ListSecretVersionIds" => self.change(body, read::versions).await,
            "ListSecrets" => self.change(body, list::list).await,
            "CreateSecret" => self.change(body, write::create).await,
            "PutSecretValue" => self.change(body, write::put).await,
            "UpdateSecretVersionStage" => {
                self.change(body, |change, request| write::move_stage(change, &request)).await
            }
            "DeleteSecret" => self.change(body, write::delete).await,
            "GetRandomPassword" => {
                protocol::success(Service::SecretsManager, &password::random(&protocol::parse(body)?)?)
            }
            _ => Err(AwsError::unknown_operation(&format!("secretsmanager.{operation}"))),
        }
    }

    /// An operation with an answer.
    async fn change<I: for<'de> Deserialize<'de>, O: Serialize>(
        &self,
        body: &[u8],
        act: impl FnOnce(&mut Change<'_>, I) -> Result<O, AwsError>,
    ) -> Result<Answer, AwsError> {
        let input = protocol::parse(body)?;
        let (output, written) = {
            let mut state = lock(&self.state);
            let now = self.clock.now().as_millisecond();
            let mut change = Change { state: &mut state, changes: self.journal.begin(), now };
            change.settle();
            let output = act(&mut change, input);
            (output, self.journal.submit(change.changes))
        };
        written.wait().await.map_err(|error| AwsError::internal(Service::SecretsManager, error.to_string()))?;
        protocol::success(Service::SecretsManager, &output?)
    }
}

impl Change<'_> {
    /// Lets time pass: removes the secrets whose recovery window is over.
    fn settle(&mut self) {
        while let Some((at, name)) = self.state.deletions.first().cloned() {
            if at > self.now {
                break;
            }
            self.remove(&name);
        }
    }

    /// The secret of this name, ARN, or ARN without its random end.
    fn find(&self, id: &str) -> Result<&Secret, AwsError> {
        let name = self.state.name_of(id).ok_or_else(errors::not_found)?;
        self.state.by_name.get(&name).ok_or_else(errors::not_found)
    }

    /// [`Change::find`], unless it is marked for deletion.
    fn find_usable(&self, id: &str) -> Result<&Secret, AwsError> {
        let secret = self.find(id)?;
        if secret.deleted_at.is_some() { Err(errors::marked_deleted()) } else { Ok(secret) }
    }

    /// Stores a secret, in the place of the one of its name.
    fn save(&mut self, secret: Secret) {
        self.changes.put(|| format!("secret/{}", secret.name), &secret);
        self.state.insert(secret);
    }

    fn remove(&mut self, name: &str) {
        self.changes.delete(|| format!("secret/{name}"));
        self.state.remove(name);
    }
}

impl State {
    fn name_of(&self, id: &str) -> Option<Arc<str>> {
        let by_name = |name: &str| self.by_name.get_key_value(name).map(|(name, _)| Arc::clone(name));
        match id.split_once(":secret:") {
            Some((_, rest)) if id.starts_with("arn:") => self.names_by_arn.get(id).cloned().or_else(|| by_name(rest)),
            _ => by_name(id),
        }
    }

    fn insert(&mut self, secret: Secret) {
        self.remove(&secret.name);
        let name = Arc::clone(&secret.name);
        self.names_by_arn.insert(secret.arn.clone(), Arc::clone(&name));
        if let Some(at) = secret.deleted_at {
            self.deletions.insert((at, Arc::clone(&name)));
        }
        self.by_name.insert(name, secret);
    }

    fn remove(&mut self, name: &str) {
        let Some(secret) = self.by_name.remove(name) else { return };
        self.names_by_arn.remove(&secret.arn);
        if let Some(at) = secret.deleted_at {
            self.deletions.remove(&(at, secret.name));
        }
    }
}

/// A new ARN for a secret: six random characters at its end tell it from a later one of the same name.
fn new_arn(name: &str) -> String {
    let alphabet: Vec<char> = ARN_CHARACTERS.chars().collect();
    format!("{ARN_PREFIX}{name}-{}", random::characters(&alphabet, 6))
}

/// A date as Secrets Manager writes it: seconds since 1970.
fn date(milliseconds: i64) -> f64 {
    // Exact for any date that matters: 2^53 milliseconds are 285,000 years.
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    let milliseconds = milliseconds as f64;
    milliseconds / 1_000.0
}
