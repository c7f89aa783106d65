//! Why a request got no answer, told from the HTTP client's error.

use std::error::Error;

use super::CONNECT_SECONDS_MAX;
use super::address_guard::{RESOLVE_SECONDS_MAX, Refusal};
use super::stage::Stage;
use crate::domain::attempt::{Failure, Outcome};

/// The whole request took too long; in which phase it was then.
pub(super) fn too_late(stage: Stage, timeout_seconds: u32) -> Failure {
    let missed = match stage {
        Stage::Resolving => format!("resolve: the name was not resolved within {timeout_seconds} s"),
        Stage::Connecting => {
            format!("connect: no connection, or no end of its TLS handshake, within {timeout_seconds} s")
        }
        Stage::Connected => format!("first byte: the receiver did not answer within {timeout_seconds} s"),
    };
    failure(Outcome::Timeout, missed)
}

pub(super) fn of(error: &reqwest::Error) -> Failure {
    if let Some(refusal) = in_chain::<Refusal>(error) {
        return match refusal {
            Refusal::Blocked => failure(Outcome::AddressBlocked, refusal.to_string()),
            Refusal::NotFound(_) => failure(Outcome::Unreachable, refusal.to_string()),
            Refusal::Timeout => {
                failure(Outcome::Timeout, format!("resolve: the name was not resolved within {RESOLVE_SECONDS_MAX} s"))
            }
        };
    }
    if let Some(tls) = in_chain::<rustls::Error>(error) {
        return failure(Outcome::TlsError, format!("TLS: {tls}"));
    }
    if error.is_timeout() {
        return failure(
            Outcome::Timeout,
            format!("connect: no connection, or no end of its TLS handshake, within {CONNECT_SECONDS_MAX} s"),
        );
    }
    let cause = innermost(error);
    if error.is_connect() {
        return failure(Outcome::Unreachable, format!("connect: {cause}"));
    }
    failure(Outcome::ResponseInvalid, format!("no valid HTTP answer: {cause}"))
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
