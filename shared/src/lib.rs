//! Outhook's library crate.
pub mod aws_error;
pub mod clock;
pub mod config;
pub mod domain;
pub mod random;
pub mod signing;
pub mod store;
