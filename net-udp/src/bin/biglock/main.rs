//! The program `biglock`: runs a node of a replicated key-value store, asks a cluster for something, and shows one that loses its leader
//! again and again.
#![forbid(unsafe_code)]

mod ask;
mod demo;
mod line;
mod node;
mod peer;
mod signals;
mod status;
mod tuning;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A Raft core with one big lock, and a replicated key-value store on it.
#[derive(Parser)]
#[command(name = "biglock", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Node(node::Args),
    Put(ask::Put),
    Get(ask::Get),
    Append(ask::Append),
    Delete(ask::Delete),
    Cas(ask::Cas),
    Members(ask::Members),
    Transfer(ask::Transfer),
    Snapshot(ask::Snapshot),
    Status(status::Args),
    Demo(demo::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Node(args) => node::run(args),
        Command::Put(args) => ask::put(args),
        Command::Get(args) => ask::get(args),
        Command::Append(args) => ask::append(args),
        Command::Delete(args) => ask::delete(args),
        Command::Cas(args) => ask::cas(args),
        Command::Members(args) => ask::members(&args),
        Command::Transfer(args) => ask::transfer(&args),
        Command::Snapshot(args) => ask::snapshot(&args),
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
