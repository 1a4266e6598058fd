//! What a node is told: by flags, and by a TOML file whose keys are the flags' names.

mod file;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, anyhow, bail, ensure};
use biglock::{Config, NodeId};

use crate::peer::{self, Peer};
use crate::tuning::Tuning;

/// Run one node of a replicated key-value store.
///
/// It needs a number, an address, a folder, and the other nodes, e.g. `--id 1 --listen 127.0.0.1:7001 --data ./node-1 --peers
/// 2=127.0.0.1:7002,3=127.0.0.1:7003`. Ask it with `biglock put`, `get` and the others.
///
/// It runs until SIGINT (Ctrl-C) or SIGTERM, and then exits with status 0; if it must stop by itself, because its disk failed or an
/// invariant broke, it says so and exits with status 1. SIGQUIT (Ctrl-\) makes it print what each of its threads waits for, and go on.
/// Set RUST_LOG to make it log to standard error, e.g. RUST_LOG=biglock=debug.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// A TOML file whose keys are the flags below, e.g. `heartbeat-ms = 30`; flags win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    about: About,
    /// Write each change of leadership, and of what is durable, as a line of JSON to standard output. Without it, a line on standard error
    /// says when the node runs
    #[arg(long)]
    events: bool,
    /// Add what each critical section leaves behind, as a line of JSON, to this file, for `cargo verify --trace`. Give it to every node, at each
    /// start: what is in no file can only be assumed. It costs each section a copy of a few numbers, and a few hundred bytes of disk for each
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Stop when standard input ends: for a node whose supervisor holds the other end
    #[arg(long)]
    exit_with_stdin: bool,
    /// A folder that nobody needs once standard input has ended: the node then removes it, with all that is in it, since who would have
    /// done it is gone. `biglock demo` gives it to its nodes
    #[arg(long, value_name = "DIR", requires = "exit_with_stdin", hide = true)]
    scratch: Option<PathBuf>,
    /// Look for deadlocks once a second and print them (needs a build with the feature `deadlock-detection`)
    #[arg(long)]
    deadlock_detection: bool,
    // The last, because its heading would stand above what follows as well.
    #[command(flatten)]
    tuning: Tuning,
}

/// What the flags and the file can both say of a node.
#[derive(Debug, Default, clap::Args)]
struct About {
    /// This node's number, from 1
    #[arg(long, value_name = "N", value_parser = peer::node)]
    id: Option<u64>,
    /// The cluster's number, the same on every node, so that clusters in one network do not mix [default: 1]
    #[arg(long, value_name = "N")]
    cluster: Option<u64>,
    /// The address to listen on
    #[arg(long, value_name = "ADDR", value_parser = peer::address)]
    listen: Option<SocketAddr>,
    /// The other nodes, e.g. `2=127.0.0.1:7002,3=127.0.0.1:7003`: at every start those the cluster began with, or those it has now. This node
    /// may be among them; a cluster of one node names that
    #[arg(long, value_name = "ID=ADDR", value_delimiter = ',')]
    peers: Option<Vec<Peer>>,
    /// Wait to be added to a cluster that runs, with `biglock members add`; `peers` are its nodes
    #[arg(long)]
    join: bool,
    /// The longest datagram to send, in bytes, up to 65507; key and value of a command together must be 200 bytes shorter [default: 1200, which
    /// every network carries in one piece]
    #[arg(long, value_name = "BYTES")]
    max_datagram: Option<usize>,
    /// The folder for what must survive a crash
    #[arg(long, value_name = "DIR", conflicts_with = "memory")]
    data: Option<PathBuf>,
    /// Keep everything in memory: for tests alone, since a node that forgets its vote may vote twice
    #[arg(long)]
    memory: bool,
    /// Makes the random part of the election timeouts repeatable; give each node its own
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// Where a node keeps what must survive a crash.
#[derive(Debug)]
pub enum Place {
    /// Nowhere.
    Memory,
    /// In a file in this folder.
    Folder(PathBuf),
}

/// A node, ready to start.
#[derive(Debug)]
pub struct Settings {
    /// For core; valid.
    pub config: Config,
    /// The cluster's number.
    pub cluster: u64,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The other nodes.
    pub peers: BTreeMap<NodeId, SocketAddr>,
    /// The longest datagram to send, in bytes.
    pub max_datagram: Option<usize>,
    /// The store.
    pub place: Place,
    /// Whether to write events.
    pub events: bool,
    /// Where to write the trace, if anywhere.
    pub trace: Option<PathBuf>,
    /// Whether to stop when standard input ends.
    pub exit_with_stdin: bool,
    /// What to remove when standard input has ended.
    pub scratch: Option<PathBuf>,
    /// Whether to look for deadlocks.
    pub deadlock_detection: bool,
}

impl Settings {
    /// Flags first, then the file, then the defaults.
    ///
    /// # Errors
    /// The first thing that is wrong, where it was said, and what to do about it.
    pub fn new(args: Args) -> anyhow::Result<Settings> {
        let (about, tuning) = match &args.config {
            None => (args.about, args.tuning),
            Some(path) => {
                let (about, tuning) = file::read(path)?;
                (args.about.or(about), args.tuning.or(tuning))
            }
        };
        let places = match &args.config {
            None => "the flags".into(),
            Some(path) => format!("{} and the flags", path.display()),
        };
        about
            .resolve(tuning)
            .map(|settings| Settings {
                events: args.events,
                trace: args.trace,
                exit_with_stdin: args.exit_with_stdin,
                scratch: args.scratch,
                deadlock_detection: args.deadlock_detection,
                ..settings
            })
            .with_context(|| format!("cannot run a node from {places}"))
    }
}

impl About {
    fn or(self, other: About) -> About {
        // Of the two kinds of store, what the flags name hides both of the file's.
        let (data, memory) = match (self.data, self.memory) {
            (None, false) => (other.data, other.memory),
            named => named,
        };
        About {
            id: self.id.or(other.id),
            cluster: self.cluster.or(other.cluster),
            listen: self.listen.or(other.listen),
            peers: self.peers.or(other.peers),
            join: self.join || other.join,
            max_datagram: self.max_datagram.or(other.max_datagram),
            data,
            memory,
            seed: self.seed.or(other.seed),
        }
    }

    fn resolve(self, tuning: Tuning) -> anyhow::Result<Settings> {
        let id = self
            .id
            .context("`id` is missing: give this node a number, e.g. --id 1")?;
        let listen = self.listen.context(
            "`listen` is missing: give the address to listen on, e.g. --listen 127.0.0.1:7001",
        )?;
        let place = match (self.data, self.memory) {
            (Some(folder), false) => Place::Folder(folder),
            (None, true) => Place::Memory,
            (Some(_), true) => bail!("`data` and `memory` exclude each other: keep one of them"),
            (None, false) => bail!(
                "`data` is missing: give a folder for what must survive a crash, e.g. --data ./node-{id} \
                 (or --memory, for tests alone)"
            ),
        };
        ensure!(id != 0, "nodes are numbered from 1: there is no node 0");
        let named = self.peers.unwrap_or_default();
        // By mistake, a node without peers would be a cluster of its own, and acknowledge what the others never see.
        ensure!(
            self.join || !named.is_empty(),
            "`peers` is missing: name the other nodes of the cluster, e.g. --peers 2=127.0.0.1:7002,3=127.0.0.1:7003 \
             (a cluster of one node names that: --peers {id}={listen})"
        );
        // One list for all nodes is convenient, so this node may be in it.
        let others: Vec<Peer> = named
            .into_iter()
            .filter(|peer| peer.id != NodeId(id))
            .collect();
        let peers = peer::by_number(&others).map_err(|why| anyhow!("`peers`: {why}"))?;
        for (other, at) in &peers {
            ensure!(
                *at != listen,
                "`peers`: {other} can't listen on {listen} too, where this node does: correct one of them"
            );
            ensure!(
                at.is_ipv4() == listen.is_ipv4(),
                "`peers`: from {listen} nothing can be sent to {other} at {at}: give all nodes addresses of IPv4, or all of IPv6"
            );
        }

        ensure!(
            !self.join || !peers.is_empty(),
            "`peers` is missing: name the nodes of the cluster that this one is to join, e.g. --peers 1=127.0.0.1:7001"
        );
        let members = peers.keys().map(|id| id.0).chain([id]);
        let mut config = match self.join {
            true => Config::joining(id),
            false => Config::new(id, members),
        };
        config.seed = self.seed;
        tuning.apply(&mut config);
        config.validate()?;
        Ok(Settings {
            config,
            cluster: self.cluster.unwrap_or(1),
            listen,
            peers,
            max_datagram: self.max_datagram,
            place,
            events: false,
            trace: None,
            exit_with_stdin: false,
            scratch: None,
            deadlock_detection: false,
        })
    }
}
