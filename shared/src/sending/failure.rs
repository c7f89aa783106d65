//! Why a request got no answer, told from the HTTP client's error.

use std::error::Error;
use std::io::ErrorKind;

use hyper_util::client::legacy;

use super::address_guard::{RESOLVE_SECONDS_MAX, Refusal};
use super::connector::{CONNECT_SECONDS_MAX, NotInTime};
use super::stage::Stage;
use crate::domain::attempt::{Failure, Outcome};

/// Why the head of an answer did not come.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// A connection that had been used before ended without a word: the receiver may have closed it before this request.
    ClosedBefore(legacy::Error),
    /// The client's error, and what the making of the connection had come to; `None` once there was one.
    Failed(legacy::Error, Option<Stage>),
    /// The request's time is over; the stage as above.
    TooLate(Option<Stage>),
}

impl NoAnswer {
    /// What goes on record.
    pub(super) fn failure(self, timeout_seconds: u32) -> Failure {
        match self {
            Self::ClosedBefore(error) => of(&error, None),
            Self::Failed(error, stage) => of(&error, stage),
            Self::TooLate(stage) => too_late(stage, u64::from(timeout_seconds)),
        }
    }
}

/// Whether the connection ended before there was any answer to parse.
pub(super) fn is_silent_end(error: &legacy::Error) -> bool {
    let is_closed = |io: &std::io::Error| {
        // The last is TLS that ends without its goodbye.
        let ends =
            [ErrorKind::ConnectionReset, ErrorKind::ConnectionAborted, ErrorKind::BrokenPipe, ErrorKind::UnexpectedEof];
        ends.contains(&io.kind())
    };
    in_chain::<hyper::Error>(error).is_some_and(hyper::Error::is_incomplete_message)
        || in_chain::<std::io::Error>(error).is_some_and(is_closed)
}

fn too_late(stage: Option<Stage>, limit_seconds: u64) -> Failure {
    let missed = match stage {
        Some(Stage::Resolving) => "resolve: the name was not resolved",
        Some(Stage::Connecting) => "connect: the receiver did not take the connection",
        Some(Stage::Handshaking) => "TLS: the receiver did not finish the handshake",
        None => "first byte: the receiver did not answer",
    };
    failure(Outcome::Timeout, format!("{missed} within {limit_seconds} s"))
}

fn of(error: &legacy::Error, stage: Option<Stage>) -> Failure {
    if let Some(refusal) = in_chain::<Refusal>(error) {
        return match refusal {
            Refusal::Blocked => failure(Outcome::AddressBlocked, refusal.to_string()),
            Refusal::NotFound(_) => failure(Outcome::Unreachable, refusal.to_string()),
            Refusal::Timeout => too_late(Some(Stage::Resolving), RESOLVE_SECONDS_MAX),
        };
    }
    if let Some(tls) = in_chain::<rustls::Error>(error) {
        return failure(Outcome::TlsError, format!("TLS: {tls}"));
    }
    let gave_up = in_chain::<std::io::Error>(error).is_some_and(|io| io.kind() == ErrorKind::TimedOut);
    if in_chain::<NotInTime>(error).is_some() || (error.is_connect() && gave_up) {
        return too_late(stage, CONNECT_SECONDS_MAX);
    }
    let cause = if is_silent_end(error) { "the connection was closed".to_owned() } else { innermost(error) };
    match (error.is_connect(), stage) {
        (true, Some(Stage::Handshaking)) => failure(Outcome::TlsError, format!("TLS: {cause}")),
        (true, _) => failure(Outcome::Unreachable, format!("connect: {cause}")),
        (false, _) => failure(Outcome::ResponseInvalid, format!("no valid HTTP answer: {cause}")),
    }
}

fn failure(outcome: Outcome, message: String) -> Failure {
    Failure { outcome, message }
}

/// An error of this type somewhere in the chain, also inside an IO error, which hides what it wraps from the chain.
fn in_chain<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(current) = next {
        if let Some(found) = current.downcast_ref::<E>() {
            return Some(found);
        }
        let wrapped = current.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(found) = wrapped.and_then(|inner| in_chain::<E>(inner)) {
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
