//! A cluster of this process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use biglock::kv::KvStore;
use biglock::{Config, MemoryStorage, Node, NodeId};
use biglock_udp::codec::SAFE_DATAGRAM;
use biglock_udp::{ClientConfig, KvClient, UdpConfig, UdpTransport, kv_reader};

pub const CLUSTER: u64 = 0xC2;

/// Only ends a test that hangs.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Cluster {
    pub nodes: BTreeMap<u64, Server>,
    pub addresses: BTreeMap<NodeId, SocketAddr>,
}

pub struct Server {
    pub node: Node,
    pub transport: UdpTransport,
    pub store: KvStore,
}

pub fn bind(id: u64, listen: SocketAddr) -> UdpTransport {
    bind_with(id, listen, SAFE_DATAGRAM)
}

pub fn bind_with(id: u64, listen: SocketAddr, max_datagram: usize) -> UdpTransport {
    let mut config = UdpConfig::new(NodeId(id), CLUSTER, listen);
    config.max_datagram = max_datagram;
    UdpTransport::bind(config).unwrap()
}

pub fn loopback() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

impl Server {
    pub fn start(config: Config, transport: UdpTransport) -> Server {
        let store = KvStore::new();
        let transport = transport.with_reader(kv_reader(store.clone()));
        let storage = MemoryStorage::new();
        let node = Node::start(config, storage, transport.clone(), store.clone()).unwrap();
        Server {
            node,
            transport,
            store,
        }
    }
}

impl Cluster {
    /// So many nodes, which know each other.
    pub fn start(many: u64) -> Cluster {
        Cluster::start_with(many, SAFE_DATAGRAM, |_| {})
    }

    /// The same, configured otherwise.
    pub fn start_with(many: u64, max_datagram: usize, configure: fn(&mut Config)) -> Cluster {
        let bind = |id| bind_with(id, loopback(), max_datagram);
        let bound: Vec<UdpTransport> = (1..=many).map(bind).collect();
        let addresses: BTreeMap<NodeId, SocketAddr> = (1..)
            .map(NodeId)
            .zip(bound.iter().map(UdpTransport::local_addr))
            .collect();
        let start = |(id, transport): (u64, UdpTransport)| {
            let transport = transport.with_peers(addresses.clone());
            let mut config = Config::new(id, 1..=many);
            configure(&mut config);
            (id, Server::start(config, transport))
        };
        Cluster {
            nodes: (1..).zip(bound).map(start).collect(),
            addresses,
        }
    }

    /// For a client that knows all nodes.
    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new(CLUSTER, self.addresses.clone());
        config.timeout = PATIENCE;
        config
    }

    pub fn client(&self) -> KvClient {
        KvClient::connect(self.config()).unwrap()
    }

    /// A client that knows these alone.
    pub fn client_of(&self, ids: impl IntoIterator<Item = u64>) -> KvClient {
        let address = |id| (NodeId(id), self.addresses[&NodeId(id)]);
        let mut config = self.config();
        config.servers = ids.into_iter().map(address).collect();
        KvClient::connect(config).unwrap()
    }

    /// Who leads in the eyes of a node that lives.
    pub fn leader(&self) -> u64 {
        let (_, server) = self.nodes.first_key_value().unwrap();
        let leadership = server.node.wait_for_leader(PATIENCE).unwrap();
        leadership.leader.unwrap().0
    }

    pub fn stop(&mut self, id: u64) {
        let server = self.nodes.remove(&id).unwrap();
        server.node.shutdown().unwrap();
    }
}
