//! What runs Outhook on one machine.
//!
//! - [`aws`]: DynamoDB, SQS and Secrets Manager on one loopback port, for the real AWS SDK clients and the AWS CLI.

pub mod aws;
