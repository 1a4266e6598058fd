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
    /// How long to wait for the answer, in milliseconds
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

/// A node and its cluster: `1 of 1, 2, 3`.
fn who(status: &Status) -> String {
    let id = status.id.0;
    match aside(status) {
        Some(aside) => format!("{id}, {aside}"),
        None => format!("{id} of {}", members(status)),
    }
}

/// For whoever started a node in a terminal, and would otherwise not know that it runs.
pub fn greeting(status: &Status, listens: SocketAddr) -> String {
    let comma = if aside(status).is_some() { "," } else { "" };
    format!(
        "node {}{comma} listens on {listens}; Ctrl-C stops it",
        who(status)
    )
}

/// What is special about a node that has no cluster to speak of.
fn aside(status: &Status) -> Option<String> {
    let Status {
        id,
        members: voters,
        learners,
        ..
    } = status;
    if voters.is_empty() {
        return Some("which waits to be added".into());
    }
    if !voters.contains(id) && !learners.contains(id) {
        return Some(format!("which is no member of {}", members(status)));
    }
    (voters.len() + learners.len() == 1).then(|| "a cluster of one".into())
}

/// `1, 2, 3, 4 (learner)`.
fn members(status: &Status) -> String {
    let voters = status.members.iter().map(|id| id.0.to_string());
    let learners = status.learners.iter();
    let learners = learners.map(|id| format!("{} (learner)", id.0));
    voters.chain(learners).collect::<Vec<_>>().join(", ")
}

fn page(report: &Report) -> String {
    let Status {
        term,
        role,
        leader,
        no_leader,
        voted_for,
        durable,
        last,
        commit,
        applied,
        snapshot,
        ..
    } = &report.status;
    let name = |id: &Option<NodeId>| id.map_or("nobody".into(), |id| id.to_string());
    let leader = match (leader, no_leader) {
        (None, Some(why)) => format!("none: {why}"),
        (leader, _) => name(leader),
    };
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
        ("node", who(&report.status)),
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
