//! Outhook on one machine: the embedded AWS services, the template that says what is in them, and the functions run as AWS would run them.

pub mod aws;
pub mod clients;
pub mod demo;
pub mod grants;
pub mod log;
pub mod poller;
pub mod provision;
pub mod receiver;
pub mod serve;
pub mod stack;
pub mod template;
