//! An attempt: one HTTP request of a delivery, and what its answer means.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::payload::PayloadTooLarge;
use super::retry::{RetryHint, parse_retry_after};

/// How much of a response body is kept, in bytes.
pub const RESPONSE_KEPT_BYTES_MAX: usize = 1_024;

/// What made Outhook try.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Trigger {
    /// The event itself, or the retry schedule.
    #[default]
    Automatic,
    /// Somebody asked for this delivery.
    Manual,
    /// A replay of an event or a range.
    Replay,
    /// The test call.
    Test,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The receiver answered 2xx.
    Succeeded,
    /// The receiver answered something else.
    HttpError,
    /// A time limit was missed.
    Timeout,
    /// The name could not be resolved or nobody took the connection.
    Unreachable,
    /// The receiver's name leads to an internal address.
    AddressBlocked,
    /// The receiver's certificate or its TLS is not acceptable.
    TlsError,
    /// What came back is not HTTP.
    ResponseInvalid,
    /// The endpoint's payload fields make a body that is too large; no request was made, and none will be.
    PayloadTooLarge,
    /// The signing secret is gone or cannot be decrypted; no request was made.
    SecretUnreadable,
}

impl Outcome {
    /// Whether nothing was sent, so that it says nothing about the receiver.
    #[must_use]
    pub fn is_unsent(self) -> bool {
        matches!(self, Self::PayloadTooLarge | Self::SecretUnreadable)
    }

    /// The name in records and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::HttpError => "http_error",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::AddressBlocked => "address_blocked",
            Self::TlsError => "tls_error",
            Self::ResponseInvalid => "response_invalid",
            Self::PayloadTooLarge => "payload_too_large",
            Self::SecretUnreadable => "secret_unreadable",
        }
    }
}

/// What came of sending one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendResult {
    /// The receiver's answer, or why there is none.
    pub result: Result<Response, Failure>,
    /// From the start of the request to its end, in milliseconds.
    pub duration_ms: u32,
}

/// The part of a receiver's answer that matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The header `Retry-After`, as it came.
    pub retry_after: Option<String>,
    /// The first bytes of the body, printable: at most [`RESPONSE_KEPT_BYTES_MAX`].
    pub body: String,
}

/// Why a request got no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which kind of failure; never [`Outcome::Succeeded`] or [`Outcome::HttpError`].
    pub outcome: Outcome,
    /// What happened, for the receiver's people; says which phase a time limit was missed in.
    pub message: String,
}

/// One HTTP request of a delivery, as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When the request began.
    pub at: Timestamp,
    /// What made Outhook try.
    pub trigger: Trigger,
    /// How it ended.
    pub outcome: Outcome,
    /// The HTTP status, if there was an answer.
    pub status_code: Option<u16>,
    /// What went wrong, if anything.
    pub error: Option<String>,
    /// How long it took, in milliseconds.
    pub duration_ms: u32,
    /// The first bytes of the response body, printable; empty if there was none.
    pub response_body: String,
    /// Whether it is one of the attempts that the endpoint's retry policy allows. Manual ones are not, and those that were given up early.
    pub counted: bool,
}

impl Attempt {
    /// Whether it is one of the attempts that the endpoint's retry policy allows.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.counted
    }

    /// Whether somebody asked for it.
    #[must_use]
    pub fn is_manual(&self) -> bool {
        self.trigger == Trigger::Manual
    }

    /// Whether the receiver answered that it is gone for good.
    #[must_use]
    pub fn says_gone(&self) -> bool {
        self.status_code == Some(GONE)
    }
}

/// The status with which a receiver says that it is gone for good (RFC 9110, 15.5.11).
const GONE: u16 = 410;

/// What an attempt means for the delivery and the endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptOutcome {
    /// What goes on record.
    pub attempt: Attempt,
    /// What it says about the next attempt, if there is to be one.
    pub hint: RetryHint,
    /// The receiver says that it is gone for good (410): no further attempt, and the endpoint is disabled.
    pub gone: bool,
    /// No further attempt can end otherwise.
    pub is_final: bool,
}

impl AttemptOutcome {
    /// Of a request that cannot be made, now or later, because its body would be too large.
    #[must_use]
    pub fn payload_too_large(error: PayloadTooLarge, trigger: Trigger, at: Timestamp) -> Self {
        Self { is_final: true, ..Self::without_request(Outcome::PayloadTooLarge, error.to_string(), trigger, at) }
    }

    /// Of a request that could not be made, because there is no signing secret that can be read. It fails like any other attempt: tried again on the schedule,
    /// and no longer than that.
    #[must_use]
    pub fn secret_unreadable(trigger: Trigger, at: Timestamp) -> Self {
        let message = "the endpoint's signing secret cannot be read; nothing was sent".to_owned();
        Self::without_request(Outcome::SecretUnreadable, message, trigger, at)
    }

    fn without_request(outcome: Outcome, message: String, trigger: Trigger, at: Timestamp) -> Self {
        classify(SendResult { result: Err(Failure { outcome, message }), duration_ms: 0 }, trigger, at, at)
    }

    /// Of a request that was given up after `seconds`, before the endpoint's own time limit was over: it goes on record and counts for nothing.
    #[must_use]
    pub fn given_up_early(mut self, seconds: u32) -> Self {
        let attempt = &mut self.attempt;
        attempt.counted = false;
        attempt.error = Some(format!(
            "no answer within {seconds} s; the request is made again with the endpoint's whole time limit, and this one does not count"
        ));
        self
    }
}

/// Classifies what came of a request that began at `at` and ended at `now`. Only 2xx is success; redirects are failures and not followed.
#[must_use]
pub fn classify(sent: SendResult, trigger: Trigger, at: Timestamp, now: Timestamp) -> AttemptOutcome {
    let attempt = Attempt {
        at,
        trigger,
        outcome: Outcome::Succeeded,
        status_code: None,
        error: None,
        duration_ms: sent.duration_ms,
        response_body: String::new(),
        counted: trigger != Trigger::Manual,
    };
    match sent.result {
        Err(failure) => AttemptOutcome {
            attempt: Attempt { outcome: failure.outcome, error: Some(failure.message), ..attempt },
            hint: RetryHint::default(),
            gone: false,
            is_final: false,
        },
        Ok(response) => {
            let status = response.status;
            let (outcome, error) = match status {
                200..300 => (Outcome::Succeeded, None),
                300..400 => {
                    let error = format!("the receiver answered {status}; redirects are not followed");
                    (Outcome::HttpError, Some(error))
                }
                GONE => {
                    let error = "the receiver answered 410, gone; the endpoint is disabled".to_owned();
                    (Outcome::HttpError, Some(error))
                }
                _ => (Outcome::HttpError, Some(format!("the receiver answered {status}"))),
            };
            let status_code = Some(status);
            AttemptOutcome {
                attempt: Attempt { outcome, status_code, error, response_body: response.body, ..attempt },
                hint: RetryHint {
                    retry_after_seconds: response.retry_after.and_then(|value| parse_retry_after(&value, now)),
                    overloaded: matches!(status, 429 | 502 | 503 | 504),
                },
                gone: status == GONE,
                is_final: status == GONE,
            }
        }
    }
}

/// The kept part of a response body: valid UTF-8, control characters but line breaks and tabs replaced.
#[must_use]
pub fn printable_body(bytes: &[u8]) -> String {
    // What was cut off within a character ends before it.
    let whole = match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => &bytes[..error.valid_up_to()],
        _ => bytes,
    };
    let mut kept = String::new();
    for character in String::from_utf8_lossy(whole).chars() {
        let shown = match character {
            '\n' | '\t' => character,
            '\r' => continue,
            c if c.is_control() => char::REPLACEMENT_CHARACTER,
            c => c,
        };
        if kept.len() + shown.len_utf8() > RESPONSE_KEPT_BYTES_MAX {
            break;
        }
        kept.push(shown);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

    fn outcome(status: u16, retry_after: Option<&str>) -> AttemptOutcome {
        let response = Response { status, retry_after: retry_after.map(str::to_owned), body: String::new() };
        classify(SendResult { result: Ok(response), duration_ms: 1 }, Trigger::Automatic, NOW, NOW)
    }

    #[test]
    fn only_2xx_is_success() {
        for status in [200, 201, 204, 299] {
            assert_eq!(outcome(status, None).attempt.outcome, Outcome::Succeeded, "{status}");
        }
        for status in [100, 301, 302, 308, 400, 404, 410, 429, 500, 503] {
            assert_eq!(outcome(status, None).attempt.outcome, Outcome::HttpError, "{status}");
        }
    }

    #[test]
    fn attempts_of_the_schedule_are_counted_and_no_others() {
        let timeout = || Failure { outcome: Outcome::Timeout, message: "no answer".to_owned() };
        let sent = || SendResult { result: Err(timeout()), duration_ms: 5_000 };
        assert!(classify(sent(), Trigger::Automatic, NOW, NOW).attempt.is_counted());
        assert!(classify(sent(), Trigger::Replay, NOW, NOW).attempt.is_counted());
        assert!(!classify(sent(), Trigger::Manual, NOW, NOW).attempt.is_counted());
        let early = classify(sent(), Trigger::Automatic, NOW, NOW).given_up_early(5);
        assert!(!early.attempt.is_counted() && early.attempt.error.unwrap().contains("within 5 s"));
    }

    #[test]
    fn gone_is_410_alone() {
        assert!(outcome(410, None).gone);
        assert!(!outcome(404, None).gone);
    }

    #[test]
    fn overload_and_retry_after_are_taken_from_the_answer() {
        assert_eq!(outcome(429, Some("3600")).hint, RetryHint { retry_after_seconds: Some(3_600), overloaded: true });
        assert_eq!(outcome(500, Some("rubbish")).hint, RetryHint::default());
    }

    #[test]
    fn kept_body_is_printable_and_bounded() {
        assert_eq!(printable_body(b"ok\r\n\x00\xff"), "ok\n\u{fffd}\u{fffd}");
        assert_eq!(printable_body(&"aä€🦀".as_bytes()[..8]), "aä€");
        let kept = printable_body("ä".repeat(2_000).as_bytes());
        assert_eq!(kept.len(), RESPONSE_KEPT_BYTES_MAX);
    }
}
