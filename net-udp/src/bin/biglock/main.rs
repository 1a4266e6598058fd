//! The program `biglock`: runs a node, asks one how it is, and shows a cluster that loses its leader again and again.
#![forbid(unsafe_code)]

mod demo;
mod line;
mod node;
mod signals;
mod status;
mod tuning;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A Raft core with one big lock.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Node(node::Args),
    Status(status::Args),
    Demo(demo::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Node(args) => node::run(args),
        Command::Status(args) => status::run(&args),
        Command::Demo(args) => demo::run(&args),
    };
    result.unwrap_or_else(|error| {
        let is_closed = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        if error.downcast_ref().is_some_and(is_closed) {
            // Whoever read our output has read enough.
            return ExitCode::FAILURE;
        }
        // Nobody may be left to read it, which is no reason to panic.
        let _ = writeln!(io::stderr(), "biglock: {error:#}");
        ExitCode::FAILURE
    })
}
