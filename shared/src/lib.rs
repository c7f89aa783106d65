//! Outhook's library crate.
pub mod clock;
pub mod domain;
pub mod signing;
