//! The one integration binary of the local stack.

#![expect(clippy::unwrap_used, reason = "everything here is a test or serves one")]

mod aws_durability;
mod aws_dynamodb;
mod aws_faults;
mod aws_secrets;
mod aws_services;
mod aws_sqs;
mod aws_sqs_queues;
mod bad_input;
mod bounds;
mod catalogue;
mod claims;
mod cost;
mod crashes;
mod drains;
mod edges;
mod guard;
mod health;
mod house;
mod ingestion;
mod keys;
mod kills;
mod lanes;
mod limits;
mod logs;
mod main_job;
mod metrics;
mod migration;
mod operator;
mod outages;
mod panics;
mod parameters;
mod permissions;
mod process;
mod repaired;
mod replays;
mod retrying;
mod rotation;
mod samples;
mod secrecy;
mod storm;
mod sweeping;
mod upsert;
mod waiting;
mod world;
