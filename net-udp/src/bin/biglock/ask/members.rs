//! `biglock members|transfer|snapshot`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use biglock::rules::Change;
use biglock::{Clock, NodeId, Status, Time};
use biglock_udp::codec::Refused;
use biglock_udp::{Client, ClientError, QueryError, query_status};
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
    /// Add a node that was started with `biglock node --join`
    ///
    /// It is a learner at first, and a voter when it has caught up. A node that does not answer yet is asked again until the timeout. May be
    /// called again if it was cut short: what is done already is said, and counts as done.
    Add {
        /// The node and where it listens, e.g. 4=127.0.0.1:7004
        #[arg(value_name = "ID=ADDR", value_parser = peer::reachable)]
        node: Peer,
    },
    /// Remove a node; even the leader, which then steps down
    ///
    /// A node that is no member counts as removed: that is said, nothing is changed, and the exit status is 0. If too few of the others answer
    /// to decide anything without it, it is not removed.
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

/// How long to wait before looking again whether a node answers, or has caught up.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long to wait for voters to answer before another one is removed.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// What `biglock members` does.
pub fn members(args: &Members) -> anyhow::Result<ExitCode> {
    let mut kv = args.cluster.client()?;
    let client = kv.client();
    match &args.what {
        None => {}
        Some(What::Add { node }) => add(&args.cluster, client, *node)
            .with_context(|| format!("can't add {} at {}", node.id, node.addr))?,
        Some(What::Remove { id }) => remove(&args.cluster, client, NodeId(*id))
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
        let address = member.address.map_or("unknown".into(), |a| a.to_string());
        table.add_row([id.to_string(), address, role.into()]);
    }
    writeln!(io::stdout(), "{}", table.trim_fmt())?;
    Ok(())
}

/// What somebody who reads the list should know, beside it.
fn note(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "biglock: {text}");
}

/// Looks first: one that may have been removed by this very request can't be told from one that never was there.
fn remove(cluster: &Cluster, client: &mut Client, id: NodeId) -> anyhow::Result<()> {
    let (mut members, _) = client.members()?;
    let Some(gone) = members.remove(&id) else {
        note(format_args!("{id} is no member: nothing was changed"));
        return Ok(());
    };
    if gone.voter {
        // From the moment when it is in the log, these alone decide whether that is committed, and everything after it.
        let voters = members.into_iter().filter(|(_, member)| member.voter);
        enough_answer(cluster, voters.map(|(id, it)| (id, it.address)).collect())?;
    }
    Ok(client.change_members(Change::Remove(id))?)
}

/// Waits until a majority of these voters answers, each at the address that the list has for it, unless the user named another.
fn enough_answer(
    cluster: &Cluster,
    voters: BTreeMap<NodeId, Option<SocketAddr>>,
) -> anyhow::Result<()> {
    // That the last voter stays is for the leader to say.
    if voters.is_empty() {
        return Ok(());
    }
    let (all, needed) = (voters.len(), voters.len() / 2 + 1);
    let (heard, answers) = channel();
    let (mut silent, mut unknown) = (BTreeSet::new(), 0);
    for (id, listed) in voters {
        let named = cluster.servers.iter().find(|peer| peer.id == id);
        let Some(at) = named.map(|peer| peer.addr).or(listed) else {
            // Who can't be asked may be there.
            unknown += 1;
            continue;
        };
        silent.insert(id);
        let (heard, number) = (heard.clone(), cluster.cluster);
        let until = cluster.timeout().min(ANSWERS_WITHIN);
        let ask = move || {
            if answers_in_time(at, number, until) {
                let _ = heard.send(id);
            }
        };
        thread::Builder::new().name("asks".into()).spawn(ask)?;
    }
    drop(heard);
    let mut there = 0;
    while there + unknown < needed {
        let Ok(id) = answers.recv() else {
            let names: Vec<String> = silent.iter().map(NodeId::to_string).collect();
            let (names, one) = (names.join(" and "), silent.len() == 1);
            bail!(
                "without it, {needed} of {all} voters have to agree to everything, and {there} answer{}: \
                 {names} {} not; first start {}, or remove what is dead",
                if there == 1 { "s" } else { "" },
                if one { "does" } else { "do" },
                if one { "it" } else { "one of them" },
            );
        };
        silent.remove(&id);
        there += 1;
    }
    Ok(())
}

/// Whether the node there answers. One that is just starting may refuse at first.
fn answers_in_time(at: SocketAddr, cluster: u64, within: Duration) -> bool {
    let clock = Clock::monotonic();
    let until = clock.now() + within;
    loop {
        match query_status(at, cluster, until.since(clock.now())) {
            Ok(_) => return true,
            Err(_) if clock.now() >= until => return false,
            Err(_) => look_again(),
        }
    }
}

/// Goes on from wherever an earlier attempt ended.
fn add(cluster: &Cluster, client: &mut Client, node: Peer) -> anyhow::Result<()> {
    let Peer { id, addr } = node;
    let (members, _) = client.members()?;
    let known = members.get(&id);
    if let Some(there) = known.and_then(|member| member.address) {
        ensure!(
            there == addr,
            "it is a member already, at {there}: correct the address; or to move the node, remove it first"
        );
    }
    if known.is_some_and(|member| member.voter) {
        note(format_args!("{id} is a voter already: nothing was changed"));
        return Ok(());
    }
    let mut asked = Asked::new(cluster, addr);
    let there = asked
        .status()
        .with_context(|| format!("start it first, with `biglock node --join --id {}`", id.0))?;
    ensure!(
        there.id == id,
        "{} listens there: correct the number or the address",
        there.id
    );
    if known.is_none() {
        // Before: a learner that can never catch up would only be in the way. Numbers tell no cluster from another: all begin at 1.
        ensure!(
            there.members.is_empty() && there.learners.is_empty(),
            "it has members already, of another cluster, or of this one before it was removed: \
             start it with --join, and with a --data folder of its own that is empty"
        );
        let address = addr.to_string();
        client.change_members(Change::AddLearner { id, address })?;
    }
    asked = Asked::new(cluster, addr);
    let mut lacks = "it has not heard from the leader".to_string();
    while !asked.is_late() {
        match asked.status() {
            // Once it has the entry that made it a learner, it has what came before.
            Ok(seen) if seen.learners.contains(&id) => {
                match client.change_members(Change::Promote(id)) {
                    Err(ClientError::Refused(why @ Refused::CatchingUp { .. })) => {
                        lacks = why.to_string();
                    }
                    promoted => return Ok(promoted?),
                }
            }
            Ok(_) => {}
            Err(why) => lacks = why.to_string(),
        }
        look_again();
    }
    bail!("it is a learner, and did not become a voter in time; call this again: {lacks}")
}

fn look_again() {
    let _ = crossbeam_channel::after(LOOK_AGAIN).recv();
}

/// A node that is asked until the time is up.
struct Asked {
    addr: SocketAddr,
    cluster: u64,
    clock: Clock,
    until: Time,
}

impl Asked {
    fn new(cluster: &Cluster, addr: SocketAddr) -> Asked {
        let clock = Clock::monotonic();
        Asked {
            addr,
            cluster: cluster.cluster,
            until: clock.now() + cluster.timeout(),
            clock,
        }
    }

    fn is_late(&self) -> bool {
        self.clock.now() >= self.until
    }

    /// How it is. One that is just starting does not listen yet.
    fn status(&self) -> Result<Status, QueryError> {
        loop {
            let left = self.until.since(self.clock.now());
            match query_status(self.addr, self.cluster, left) {
                Err(QueryError::Refused { .. }) if left > LOOK_AGAIN => look_again(),
                answered => return answered.map(|report| report.status),
            }
        }
    }
}

/// What `biglock transfer` does.
pub fn transfer(args: &Transfer) -> anyhow::Result<ExitCode> {
    let mut client = args.cluster.client()?;
    let to = NodeId(args.id);
    let mut done = client.client().transfer_leadership(to.0);
    if let Err(ClientError::Refused(Refused::NotAVoter(_))) = done {
        let (members, _) = client.client().members()?;
        if !members.contains_key(&to) {
            let members = members.into_keys().collect();
            done = Err(ClientError::NotAMember { node: to, members });
        }
    }
    done.with_context(|| format!("can't hand over to {to}"))?;
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
