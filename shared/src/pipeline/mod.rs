//! The order of effects: what is called before what, so that a crash between any two calls loses nothing. Decisions are in `domain`.

pub mod conversion;
pub mod deliver;
pub mod endpoints;
pub mod operational;
pub mod publish;
pub mod replay;
pub mod retention;
pub mod sweep;
pub mod tenants;
pub mod wakes;
