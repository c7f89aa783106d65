//! `bench`: what the built functions do under load, measured on this machine.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

mod deployment;
mod lambda;
mod machine;
mod neighbours;
mod report;
mod sink;
mod throughput;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Runs the built functions behind a runtime API of its own, against the embedded AWS services, and prints a table and a line of JSON.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Args {
    #[command(subcommand)]
    what: What,
    /// Folder with the programs `api`, `deliver` and `sweep`, as `bench/run` builds them
    #[arg(long, value_name = "DIR", global = true, default_value = "target/release")]
    programs: PathBuf,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What deliveries and requests of the API cost, in processor time, connections and memory
    #[command(alias = "deliver")]
    Throughput {
        /// Another build's folder of programs, to be run by turns
        #[arg(long, value_name = "DIR")]
        against: Option<PathBuf>,
        /// How often each shape of the work is run with each build
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Only the shapes whose name contains this
        #[arg(long)]
        only: Option<String>,
    },
    /// A tenant that does its worst, and a bystander in the same batches
    Neighbours {
        /// How long each kind of harm goes on
        #[arg(long, default_value_t = 20)]
        seconds: u32,
        /// Only the kinds whose name contains this
        #[arg(long)]
        only: Option<String>,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    match run(args).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether what was measured is within its bounds.
async fn run(args: Args) -> Result<bool, String> {
    let programs = std::path::absolute(args.programs).map_err(|error| error.to_string())?;
    let (table, figures, is_kept) = match args.what {
        What::Neighbours { seconds, only } => neighbours::run(&programs, seconds, only.as_deref()).await?,
        What::Throughput { against, rounds, only } => {
            let other = against.map(std::path::absolute).transpose().map_err(|error| error.to_string())?;
            let builds: Vec<_> = [programs].into_iter().chain(other).collect();
            let (table, figures) = throughput::run(&builds, rounds, only.as_deref()).await?;
            (table, figures, true)
        }
    };
    println!("{table}\n{figures}");
    Ok(is_kept)
}
