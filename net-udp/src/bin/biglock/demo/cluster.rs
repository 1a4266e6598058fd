//! The nodes' processes, their addresses and their stores.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::Context;
use biglock::NodeId;
use biglock_udp::ClientConfig;
use crossbeam_channel::{Receiver, Sender};
use fastrand::Rng;
use tempfile::TempDir;

use super::Args;
use super::process::{Event, Life, Process};
use crate::tuning::Tuning;

/// The nodes. Dropping it kills and reaps them, and then removes their folder: the fields are in this order. If this process is killed
/// before it can, the nodes see their standard input end, stop, and remove the folder.
pub struct Cluster {
    nodes: BTreeMap<u64, Node>,
    program: PathBuf,
    /// Keeps clusters apart: a node of an earlier demo that somebody keeps from dying can't disturb this one.
    number: u64,
    tuning: Tuning,
    events: Sender<Event>,
    heard: Receiver<Event>,
    folder: TempDir,
}

struct Node {
    addr: SocketAddr,
    lives: u32,
    /// The seed of each life.
    seeds: Rng,
    process: Option<Process>,
}

impl Cluster {
    /// A cluster of which no process runs.
    pub fn new(args: &Args, seed: u64) -> anyhow::Result<Cluster> {
        let folder = tempfile::Builder::new()
            .prefix("biglock-demo-")
            .tempdir()
            .context("cannot make a temporary folder")?;
        let nodes = (1..=args.nodes)
            .zip(free_addresses(args.nodes)?)
            .map(|(id, addr)| {
                let node = Node {
                    addr,
                    lives: 0,
                    seeds: Rng::with_seed(seed.wrapping_add(id)),
                    process: None,
                };
                (id, node)
            });
        let (events, heard) = crossbeam_channel::unbounded();
        Ok(Cluster {
            nodes: nodes.collect(),
            program: std::env::current_exe().context("cannot find this program itself")?,
            number: u64::from(std::process::id()),
            tuning: args.tuning,
            events,
            heard,
            folder,
        })
    }

    /// For clients of this cluster.
    pub fn client(&self) -> ClientConfig {
        let servers = self.nodes.iter();
        ClientConfig::new(
            self.number,
            servers.map(|(&id, node)| (NodeId(id), node.addr)),
        )
    }

    /// What the processes do.
    pub fn events(&self) -> &Receiver<Event> {
        &self.heard
    }

    /// Where the stores are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts a node, on the store that its life before left. Returns its life, its process and its address.
    pub fn start(&mut self, id: u64) -> anyhow::Result<(Life, u32, SocketAddr)> {
        let peers: Vec<String> = self
            .nodes
            .iter()
            .map(|(id, node)| format!("{id}={}", node.addr))
            .collect();
        let node = self.nodes.get_mut(&id).context("no such node")?;
        // Reaps the life before, so that its store and its address are free.
        node.process = None;
        node.lives += 1;
        let life = Life {
            node: id,
            number: node.lives,
        };
        let mut command = Command::new(&self.program);
        command
            .arg("node")
            .arg(format!("--id={id}"))
            .arg(format!("--cluster={}", self.number))
            .arg(format!("--listen={}", node.addr))
            .arg(format!("--peers={}", peers.join(",")))
            .arg(format!("--seed={}", node.seeds.u64(..)))
            .arg("--data")
            .arg(self.folder.path().join(format!("node-{id}")))
            .args(["--events", "--exit-with-stdin", "--scratch"])
            .arg(self.folder.path())
            .args(self.tuning.flags());
        let process = Process::start(&mut command, life, &self.events)?;
        let pid = process.pid();
        node.process = Some(process);
        Ok((life, pid, node.addr))
    }

    /// Kills a node with SIGKILL. Returns when.
    pub fn kill(&mut self, id: u64) -> anyhow::Result<Instant> {
        let node = self.nodes.get_mut(&id);
        let process = node.and_then(|node| node.process.as_mut());
        process
            .with_context(|| format!("node {id} does not run"))?
            .kill()
    }

    /// Waits for the end of a node's process that has closed its output, and says how it ended. All it said has been heard then.
    pub fn reap(&mut self, id: u64) -> String {
        let process = self.nodes.get_mut(&id).and_then(|node| node.process.take());
        process.map_or("it never started".into(), |mut process| process.wait())
    }

    /// Makes every node say what its threads wait for.
    pub fn inspect(&self) {
        for process in self.nodes.values().filter_map(|node| node.process.as_ref()) {
            process.inspect();
        }
    }
}

/// Addresses that were free a moment ago. All are held at once, so they differ; then they are let go, for nodes to take.
fn free_addresses(count: u64) -> anyhow::Result<Vec<SocketAddr>> {
    let sockets: Result<Vec<UdpSocket>, _> = (0..count)
        .map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect();
    sockets
        .and_then(|sockets| sockets.iter().map(UdpSocket::local_addr).collect())
        .context("the system gives no addresses on loopback")
}
