//! Biglock's nodes over their UDP transport, one socket each on loopback.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use biglock::NodeId;
use biglock_udp::{UdpConfig, UdpTransport};

use super::Cluster;
use crate::NODES;

/// Benches on one machine do not hear each other, because they have ports of their own.
const CLUSTER: u64 = 1;

impl Cluster {
    /// A cluster with a leader, over UDP on loopback.
    ///
    /// # Panics
    /// If it does not start, or finds no leader.
    pub fn udp() -> Cluster {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let bind = |id| {
            let mut config = UdpConfig::new(NodeId(id), CLUSTER, listen);
            // As long as loopback carries them in one piece, like those of the peers.
            config.max_datagram = 60_000;
            UdpTransport::bind(config).expect("a socket")
        };
        let bound: Vec<UdpTransport> = (1..=NODES).map(bind).collect();
        let addresses = bound.iter().map(UdpTransport::local_addr);
        let peers: BTreeMap<NodeId, SocketAddr> = (1..=NODES).map(NodeId).zip(addresses).collect();
        let connect = |transport: UdpTransport| transport.with_peers(peers.clone());
        Cluster::start(bound.into_iter().map(connect))
    }
}
