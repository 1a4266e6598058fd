//! Nodes with an observer in them, on each transport and each store.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use biglock::lock::{Monitor, Observer};
use biglock::node::{Engine, Shared};
use biglock::rules::{At, Raft};
use biglock::{
    Config, LocalNetwork, MemoryStorage, Node, NodeId, Outside, RedbStorage, Storage, Transport,
};
use biglock_udp::{UdpConfig, UdpTransport};

/// What carries the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Direct calls: [`LocalNetwork::direct`].
    Direct,
    /// Channels: [`LocalNetwork`].
    Local,
    /// UDP on loopback, one socket each.
    Udp,
    /// The same, with datagrams as long as loopback carries them in one piece.
    WideUdp,
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Wire::Direct => "direct",
            Wire::Local => "threads",
            Wire::Udp => "UDP",
            Wire::WideUdp => "UDP 60k",
        })
    }
}

/// What keeps term and vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// [`MemoryStorage`].
    Memory,
    /// [`RedbStorage`], on the disk that holds the target folder.
    Durable,
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Store::Memory => "memory",
            Store::Durable => "durable",
        })
    }
}

/// The configuration of node `node` of `nodes`, counted from 0; its id is one more.
pub fn config(node: usize, nodes: usize) -> Config {
    let id = |node: usize| node as u64 + 1;
    let mut config = Config::new(id(node), (0..nodes).map(id));
    config.seed = Some(id(node));
    config
}

/// The transports of `nodes` nodes that know each other.
pub fn transports(wire: Wire, nodes: usize) -> Vec<Arc<dyn Transport>> {
    match wire {
        Wire::Direct => local(&LocalNetwork::direct(), nodes),
        Wire::Local => local(&LocalNetwork::new(), nodes),
        Wire::Udp => udp(nodes, |_| {}),
        Wire::WideUdp => udp(nodes, |config| config.max_datagram = 60_000),
    }
}

fn local(network: &LocalNetwork, nodes: usize) -> Vec<Arc<dyn Transport>> {
    (1..=nodes as u64)
        .map(|id| Arc::new(network.transport(id)) as Arc<dyn Transport>)
        .collect()
}

/// The store of node `node`, in `folder` if it is durable.
pub fn store(store: Store, folder: &Path, node: usize) -> Box<dyn Storage> {
    match store {
        Store::Memory => Box::new(MemoryStorage::new()),
        Store::Durable => {
            let folder = folder.join(format!("node-{}", node + 1));
            let id = NodeId(node as u64 + 1);
            Box::new(RedbStorage::open(folder, id).expect("a new store"))
        }
    }
}

/// Starts a node with an observer in it: what [`Node::start`] does, which has no room for one.
///
/// # Panics
/// If it does not start.
pub fn start(
    config: Config,
    mut storage: Box<dyn Storage>,
    transport: Arc<dyn Transport>,
    observer: Arc<dyn Observer<Shared>>,
) -> Node {
    let mut settings = config.validate().expect("a valid configuration");
    settings.max_payload = transport.max_payload();
    let id = config.id;
    let stored = storage
        .load(&Outside::claim("bench"))
        .expect("a readable store");
    let mut random = fastrand::Rng::with_seed(config.seed.unwrap_or(id.0));
    let at = At {
        now: config.clock.now(),
        random: random.u64(..),
    };
    let raft = Raft::new(at, settings, stored);
    let shared = Shared::new(raft, storage, Box::new(()), random.u64(..));
    let monitor = Monitor::with_clock(shared, config.clock).observed_by(observer);
    Node::run(Arc::new(Engine::new(monitor, id, transport))).expect("the node starts")
}

fn udp(nodes: usize, change: fn(&mut UdpConfig)) -> Vec<Arc<dyn Transport>> {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let bind = |node| {
        let mut config = UdpConfig::new(NodeId(node as u64 + 1), CLUSTER, listen);
        change(&mut config);
        UdpTransport::bind(config).expect("a socket")
    };
    let bound: Vec<UdpTransport> = (0..nodes).map(bind).collect();
    let peers: BTreeMap<NodeId, SocketAddr> = bound
        .iter()
        .enumerate()
        .map(|(node, transport)| (NodeId(node as u64 + 1), transport.local_addr()))
        .collect();
    bound
        .into_iter()
        .map(|transport| Arc::new(transport.with_peers(peers.clone())) as Arc<dyn Transport>)
        .collect()
}

/// Benches on one machine do not hear each other, because they have ports of their own.
const CLUSTER: u64 = 1;
