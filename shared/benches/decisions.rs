//! Micro-benchmarks of what is decided and written for every delivery: `cargo bench -p shared`.

use std::hint::black_box;

use divan::{Bencher, counter::BytesCount};
use jiff::Timestamp;
use shared::domain::event::{Event, NewEvent};
use shared::domain::event_type::{EventType, EventTypePattern};
use shared::domain::id::{EventId, TenantId};
use shared::domain::payload::{PayloadField, payload, standard_body};
use shared::domain::retry::{RetryHint, RetryPolicy, SCHEDULE_SECONDS_DEFAULT, next_attempt_at};
use shared::domain::signature::Signature;
use shared::domain::signing_secret::{SecretDocument, SigningSecret};
use shared::domain::tenant::{Mode, Scope};
use shared::signing::{Content, headers};

const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

fn main() {
    divan::main();
}

/// The body of an event with so many bytes of data.
fn body(bytes: usize) -> String {
    format!(
        r#"{{"type":"cases.created","data":{{"case_id":7,"user":{{"name":"Zoë"}},"text":"{}"}}}}"#,
        "x".repeat(bytes)
    )
}

fn event(bytes: usize) -> Event {
    let scope = Scope { tenant_id: TenantId::from_parts(NOW, [0; 10]), mode: Mode::Live };
    let Ok(event) = NewEvent::from_body(body(bytes).as_bytes()) else { std::process::abort() };
    event.accepted(EventId::from_parts(NOW, [0; 10]), scope, NOW)
}

#[divan::bench(args = [1_024, 65_536, 250_000])]
fn read_an_event(bencher: Bencher<'_, '_>, bytes: usize) {
    let body = body(bytes);
    bencher.counter(BytesCount::new(bytes)).bench(|| NewEvent::from_body(black_box(body.as_bytes())));
}

#[divan::bench(args = [1_024, 65_536, 250_000])]
fn make_a_standard_body(bencher: Bencher<'_, '_>, bytes: usize) {
    let event = event(bytes);
    bencher.counter(BytesCount::new(bytes)).bench(|| standard_body(black_box(&event)));
}

#[divan::bench(args = [1_024, 65_536, 250_000])]
fn make_a_body_of_chosen_fields(bencher: Bencher<'_, '_>, bytes: usize) {
    let event = event(bytes);
    let fields = ["type", "case_id", "user.name", "text"].map(|key| PayloadField::Key(key.to_owned()));
    bencher.counter(BytesCount::new(bytes)).bench(|| payload(black_box(&event), black_box(&fields)));
}

#[divan::bench(args = [1_024, 65_536, 250_000])]
fn sign_by_hmac(bencher: Bencher<'_, '_>, bytes: usize) {
    sign(bencher, &Signature::Standard, bytes);
}

#[divan::bench(args = [1_024, 65_536, 250_000])]
fn sign_by_ed25519(bencher: Bencher<'_, '_>, bytes: usize) {
    sign(bencher, &Signature::Ed25519, bytes);
}

fn sign(bencher: Bencher<'_, '_>, signature: &Signature, bytes: usize) {
    let event = event(bytes);
    let body = standard_body(&event);
    let secrets = SecretDocument::new(SigningSecret::generate(signature, [7; 32]), None);
    let content = Content { event_id: event.id, at: NOW, body: &body, signed_fields: None };
    bencher.counter(BytesCount::new(bytes)).bench(|| headers(black_box(signature), black_box(&secrets), &content));
}

#[divan::bench(args = ["*", "cases.*", "cases.created", "other.*"])]
fn match_a_pattern(bencher: Bencher<'_, '_>, pattern: &str) {
    let (Ok(pattern), Ok(event_type)) = (pattern.parse::<EventTypePattern>(), "cases.created".parse::<EventType>())
    else {
        std::process::abort()
    };
    bencher.bench(|| black_box(&pattern).matches(black_box(&event_type)));
}

#[divan::bench(args = [1, 7, 8])]
fn plan_the_next_attempt(bencher: Bencher<'_, '_>, made: u32) {
    let policy = RetryPolicy::default();
    let next = || next_attempt_at(&policy, SCHEDULE_SECONDS_DEFAULT, black_box(made), RetryHint::default(), NOW, 0.5);
    bencher.bench(next);
}
