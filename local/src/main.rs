//! `outhook`: the whole of Outhook on one machine.

mod banner;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use local::stack::{Stack, StackOptions};
use tokio::signal::unix::{SignalKind, signal};

/// Runs Outhook on this machine: API, delivery, sweeper, a receiver to try it on, and the AWS services they need.
#[derive(Debug, Parser)]
#[command(name = "outhook", version)]
struct Args {
    /// Port of the API; 0 picks a free one
    #[arg(long, default_value_t = 8080)]
    api_port: u16,
    /// Port of the embedded AWS services; 0 picks a free one
    #[arg(long, default_value_t = 4566)]
    aws_port: u16,
    /// Port of the receiver; 0 picks a free one
    #[arg(long, default_value_t = 8081)]
    receiver_port: u16,
    /// Address to listen on, such as 0.0.0.0 for containers: everybody who reaches another one than loopback may do everything
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    listen: IpAddr,
    /// Directory that keeps tables, queues and secrets; without it nothing is kept
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print one line of JSON when ready, and nothing else, on standard output
    #[arg(long)]
    json: bool,
    /// What to log, such as debug or shared=debug
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let _lines = local::log::to_stderr(args.log.as_deref());
    match run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), local::stack::StartError> {
    // Before anything starts, so that no signal meets the default.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let on = |port| SocketAddr::from((args.listen, port));
    let stack = Stack::start(StackOptions {
        api: on(args.api_port),
        aws: on(args.aws_port),
        receiver: on(args.receiver_port),
        open: !args.listen.is_loopback(),
        data: args.data,
    })
    .await?;
    banner::print(&stack, args.json)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("finishing the work in hand");
    stack.stop().await;
    Ok(())
}
