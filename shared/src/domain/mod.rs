//! What Outhook talks about, as types and pure decisions: no IO, no clock, no randomness.
//!
//! Reading order: [`id`], [`event_type`], [`event`], [`endpoint`], [`attempt`], [`delivery`], then the decisions [`matching`], [`retry`], [`health`], [`backlog`] and [`payload`].

pub mod address;
pub mod api_key;
pub mod attempt;
pub mod backlog;
pub mod catalogue;
pub mod delivery;
pub mod endpoint;
pub mod endpoint_input;
pub mod event;
pub mod event_type;
pub mod headers;
pub mod health;
pub mod id;
pub mod json;
pub mod matching;
pub mod path_tree;
pub mod payload;
pub mod retry;
pub mod schema;
pub mod schema_bounds;
pub mod signature;
pub mod signing_secret;
pub mod tenant;
pub mod time;
pub mod validation;
