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
mod cost;
mod crashes;
mod house;
mod ingestion;
mod lanes;
mod main_job;
mod permissions;
mod process;
mod retrying;
mod samples;
mod sweeping;
mod world;
