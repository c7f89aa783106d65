//! Outhook's library crate.
pub mod clock;
