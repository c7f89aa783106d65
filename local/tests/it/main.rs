//! The one integration binary of the local stack.

mod aws_dynamodb;
mod aws_services;
mod aws_sqs;
