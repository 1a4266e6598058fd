//! `biglock status`: asks a node how it is.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use biglock::{NodeId, Status};
use biglock_udp::{Report, query_status};
use comfy_table::{Table, presets};

use crate::peer;

/// Ask a node how it is.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the node listens, e.g. 127.0.0.1:7001
    #[arg(value_parser = peer::address)]
    addr: SocketAddr,
    /// The cluster's number, as its nodes have it
    #[arg(long, value_name = "N", default_value_t = 1)]
    cluster: u64,
    /// How long to wait for the answer
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = peer::millis)]
    timeout_ms: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Asks, and prints the answer.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let timeout = Duration::from_millis(args.timeout_ms);
    let report = query_status(args.addr, args.cluster, timeout)?;
    let text = if args.json {
        serde_json::to_string_pretty(&report)?
    } else {
        page(&report)
    };
    writeln!(io::stdout(), "{text}")?;
    Ok(ExitCode::SUCCESS)
}

fn page(report: &Report) -> String {
    let Status {
        id,
        members,
        term,
        role,
        leader,
        no_leader,
        voted_for,
        durable,
        last,
        commit,
        applied,
        learners,
        snapshot,
        ..
    } = &report.status;
    let name = |id: &Option<NodeId>| id.map_or("nobody".into(), |id| id.to_string());
    let leader = match (leader, no_leader) {
        (None, Some(why)) => format!("none: {why}"),
        (leader, _) => name(leader),
    };
    let voters = members.iter().map(|id| id.0.to_string());
    let learners = learners.iter().map(|id| format!("{} (learner)", id.0));
    let members: Vec<String> = voters.chain(learners).collect();
    let vote = if *durable { "durable" } else { "being written" };
    let log = if last.index == 0 {
        "empty".into()
    } else {
        format!(
            "to entry {} of {}, committed to {commit}, applied to {applied}",
            last.index, last.term
        )
    };
    let snapshot = match snapshot.index {
        0 => "none".into(),
        index => format!("to entry {index} of {}", snapshot.term),
    };
    let rows = [
        ("node", format!("{} of {}", id.0, members.join(", "))),
        ("role", role.to_string()),
        ("term", term.0.to_string()),
        ("leader", leader),
        ("voted for", format!("{} ({vote})", name(voted_for))),
        ("log", log),
        ("snapshot", snapshot),
        ("datagrams", report.counters.to_string()),
        ("threads", report.threads.trim_end().to_string()),
    ];
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .add_rows(rows.map(|(key, value)| [key.into(), value]));
    table.trim_fmt()
}
