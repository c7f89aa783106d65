//! Why a request got no answer, told from the HTTP client's error.

use std::error::Error;
use std::io::ErrorKind;

use super::CONNECT_SECONDS_MAX;
use super::address_guard::{RESOLVE_SECONDS_MAX, Refusal};
use super::request::WebhookRequest;
use super::stage::WaitingFor;
use crate::domain::attempt::{Failure, Outcome};

/// Why the head of an answer did not come.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// A connection that had been used before ended without a word: the receiver may have closed it before this request.
    ClosedBefore(reqwest::Error),
    /// The client's error.
    Failed(reqwest::Error),
    /// The request's time is over, and what it waited for.
    TooLate(WaitingFor),
}

impl NoAnswer {
    /// What goes on record.
    pub(super) fn failure(self, request: &WebhookRequest) -> Failure {
        match self {
            Self::ClosedBefore(error) | Self::Failed(error) => of(&error),
            Self::TooLate(waiting_for) => too_late(waiting_for, u64::from(request.timeout_seconds)),
        }
    }
}

/// Whether the connection ended before there was any answer to parse.
pub(super) fn is_silent_end(error: &reqwest::Error) -> bool {
    let is_closed = |io: &std::io::Error| {
        // The last is TLS that ends without its goodbye.
        let ends =
            [ErrorKind::ConnectionReset, ErrorKind::ConnectionAborted, ErrorKind::BrokenPipe, ErrorKind::UnexpectedEof];
        ends.contains(&io.kind())
    };
    in_chain(error, &hyper::Error::is_incomplete_message).is_some() || in_chain(error, &is_closed).is_some()
}

fn too_late(waiting_for: WaitingFor, limit_seconds: u64) -> Failure {
    let missed = match waiting_for {
        WaitingFor::Addresses => "resolve: the name was not resolved",
        WaitingFor::Connection => "connect: there was no connection",
        WaitingFor::Answer => "first byte: the receiver did not answer",
    };
    failure(Outcome::Timeout, format!("{missed} within {limit_seconds} s"))
}

fn of(error: &reqwest::Error) -> Failure {
    if let Some(refusal) = in_chain::<Refusal>(error, &|_| true) {
        return match refusal {
            Refusal::Blocked => failure(Outcome::AddressBlocked, refusal.to_string()),
            Refusal::NotFound(_) => failure(Outcome::Unreachable, refusal.to_string()),
            Refusal::Timeout => too_late(WaitingFor::Addresses, RESOLVE_SECONDS_MAX),
        };
    }
    if let Some(tls) = in_chain::<rustls::Error>(error, &|_| true) {
        return failure(Outcome::TlsError, format!("TLS: {tls}"));
    }
    let gave_up = |io: &std::io::Error| io.kind() == ErrorKind::TimedOut;
    if error.is_connect() && (error.is_timeout() || in_chain(error, &gave_up).is_some()) {
        return too_late(WaitingFor::Connection, CONNECT_SECONDS_MAX);
    }
    let is_silent = is_silent_end(error);
    let cause = if is_silent { "the connection was closed".to_owned() } else { innermost(error) };
    // A host that does not take a connection refuses it; one that ends before there is a request had been taken, and ended in the handshake.
    match (error.is_connect(), is_silent) {
        (true, true) => failure(Outcome::TlsError, format!("TLS: {cause}")),
        (true, false) => failure(Outcome::Unreachable, format!("connect: {cause}")),
        (false, _) => failure(Outcome::ResponseInvalid, format!("no valid HTTP answer: {cause}")),
    }
}

fn failure(outcome: Outcome, message: String) -> Failure {
    Failure { outcome, message }
}

/// An error of this type somewhere in the chain for which this holds, also inside an IO error, which hides what it wraps from the chain.
fn in_chain<'a, E: Error + 'static>(error: &'a (dyn Error + 'static), holds: &dyn Fn(&E) -> bool) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(current) = next {
        if let Some(found) = current.downcast_ref::<E>().filter(|found| holds(found)) {
            return Some(found);
        }
        let wrapped = current.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(found) = wrapped.and_then(|inner| in_chain::<E>(inner, holds)) {
            return Some(found);
        }
        next = current.source();
    }
    None
}

fn innermost(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(current) = next {
        text = current.to_string();
        next = current.source();
    }
    text
}
