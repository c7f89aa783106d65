//! Outhook's library: what a webhook is, how it is signed, sent, retried and kept.
//!
//! In reading order:
//!
//! - [`domain`]: the terms and the pure decisions.
//! - [`signing`]: secrets, signed content, headers. Pure.
//! - [`sending`]: one request to a receiver, through the address guard.
//! - [`store`], [`queue`], [`secrets`]: the table, the queues, Secrets Manager. AWS types stay in here.
//! - [`pipeline`]: the order of effects: publish, deliver, sweep.
//! - [`services`], [`config`], [`clock`], [`random`], [`telemetry`], [`metrics`]: what the edges set up.
//!
//! Dependencies point one way: functions and local on pipeline; pipeline on store, queue, secrets, sending; those on signing; signing on domain.

pub mod aws;
pub mod aws_error;
pub mod cache;
pub mod clock;
pub mod config;
pub mod directory;
pub mod domain;
pub mod metrics;
pub mod pipeline;
pub mod queue;
pub mod random;
pub mod secrets;
pub mod sending;
pub mod services;
pub mod signing;
pub mod store;
pub mod telemetry;
