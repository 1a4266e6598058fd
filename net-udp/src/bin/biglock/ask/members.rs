//! `biglock members|transfer|snapshot`.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use biglock::NodeId;
use biglock::rules::Change;
use biglock_udp::codec::Refused;
use biglock_udp::{Client, ClientError, query_status};
use comfy_table::{Table, presets};

use super::Cluster;
use crate::peer::{self, Peer};

/// Print who belongs to the cluster, or change it.
#[derive(Debug, clap::Args)]
pub struct Members {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    cluster: Cluster,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Add a node, which was started with `biglock node --join`: first as a learner, and when it has caught up as a voter. May be called
    /// again if it was cut short
    Add {
        /// The node and where it listens, e.g. 4=127.0.0.1:7004
        #[arg(value_name = "ID=ADDR", value_parser = peer::reachable)]
        node: Peer,
    },
    /// Remove a node; even the leader, which then steps down
    Remove {
        /// The node's number
        #[arg(value_parser = peer::node)]
        id: u64,
    },
}

/// Hand the leadership over to another node.
#[derive(Debug, clap::Args)]
pub struct Transfer {
    /// The number of the node that is to lead
    #[arg(value_parser = peer::node)]
    id: u64,
    #[command(flatten)]
    cluster: Cluster,
}

/// Make nodes take a snapshot of their state now, and drop the log before it.
#[derive(Debug, clap::Args)]
pub struct Snapshot {
    /// The node's number [default: every node that --servers names]
    #[arg(value_parser = peer::node)]
    id: Option<u64>,
    #[command(flatten)]
    cluster: Cluster,
}

/// How long to wait before looking again whether a learner has caught up.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What `biglock members` does.
pub fn members(args: &Members) -> anyhow::Result<ExitCode> {
    let mut kv = args.cluster.client()?;
    let client = kv.client();
    match &args.what {
        None => {}
        Some(What::Add { node }) => add(&args.cluster, client, *node)
            .with_context(|| format!("can't add {} at {}", node.id, node.addr))?,
        Some(What::Remove { id }) => client
            .change_members(Change::Remove(NodeId(*id)))
            .with_context(|| format!("can't remove node {id}"))?,
    }
    list(client)?;
    Ok(ExitCode::SUCCESS)
}

fn list(client: &mut Client) -> anyhow::Result<()> {
    let (members, leader) = client.members().context("can't list the members")?;
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for (id, member) in members {
        let role = match (member.voter, leader == Some(id)) {
            (true, true) => "voter, leads",
            (true, false) => "voter",
            (false, _) => "learner",
        };
        let address = member.address.map_or("?".into(), |a| a.to_string());
        table.add_row([id.to_string(), address, role.into()]);
    }
    writeln!(io::stdout(), "{}", table.trim_fmt())?;
    Ok(())
}

/// Goes on from wherever an earlier attempt ended.
fn add(cluster: &Cluster, client: &mut Client, node: Peer) -> anyhow::Result<()> {
    let Peer { id, addr } = node;
    let (members, _) = client.members()?;
    match members.get(&id) {
        Some(member) if member.voter => bail!("it is a voter already"),
        Some(_) => {}
        None => {
            // Before: a learner that nobody runs would only be in the way.
            let there = query_status(addr, cluster.cluster, cluster.timeout());
            let there = there.with_context(|| {
                format!("start it first, with `biglock node --join --id {}`", id.0)
            })?;
            let listens = there.status.id;
            ensure!(
                listens == id,
                "{listens} listens there: correct the number or the address"
            );
            let address = addr.to_string();
            client.change_members(Change::AddLearner { id, address })?;
        }
    }
    let late = crossbeam_channel::after(cluster.timeout());
    let mut lacks = "it has not heard from the leader".to_string();
    while late.try_recv().is_err() {
        // Once it has the entry that made it a learner, it has what came before.
        let seen = query_status(addr, cluster.cluster, cluster.timeout())?.status;
        if seen.learners.contains(&id) {
            match client.change_members(Change::Promote(id)) {
                Err(ClientError::Refused(why @ Refused::CatchingUp { .. })) => {
                    lacks = why.to_string();
                }
                promoted => return Ok(promoted?),
            }
        }
        let _ = crossbeam_channel::after(LOOK_AGAIN).recv();
    }
    bail!("it is a learner, and did not become a voter in time: {lacks}; call this again")
}

/// What `biglock transfer` does.
pub fn transfer(args: &Transfer) -> anyhow::Result<ExitCode> {
    let mut client = args.cluster.client()?;
    let done = client.client().transfer_leadership(args.id);
    done.with_context(|| format!("can't hand over to node {}", args.id))?;
    writeln!(io::stdout(), "node {} leads", args.id)?;
    Ok(ExitCode::SUCCESS)
}

/// What `biglock snapshot` does.
pub fn snapshot(args: &Snapshot) -> anyhow::Result<ExitCode> {
    let mut client = args.cluster.client()?;
    let all = args.cluster.servers.iter().map(|peer| peer.id.0);
    let nodes: Vec<u64> = match args.id {
        Some(id) => vec![id],
        None => all.collect(),
    };
    for id in nodes {
        let taken = client.client().snapshot(id);
        let last = taken.with_context(|| format!("no snapshot of node {id}"))?;
        let (index, term) = (last.index, last.term);
        writeln!(io::stdout(), "node {id}: to entry {index} of {term}")?;
    }
    Ok(ExitCode::SUCCESS)
}
