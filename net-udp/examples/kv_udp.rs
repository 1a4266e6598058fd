//! A replicated store of one's own over UDP: three nodes, a client, and a leader that dies.
//!
//! `cargo run -p biglock-udp --example kv_udp`

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use biglock::{Applied, Config, MemoryStorage, Node, NodeId, RestoreError, StateMachine};
use biglock_udp::{Client, ClientConfig, UdpConfig, UdpTransport};
use bytes::Bytes;

/// The cluster's number: keeps clusters apart that share a network.
const CLUSTER: u64 = 1;

/// The state: how many votes each name has. A command is a name; its reply is how many votes that makes.
#[derive(Clone, Default)]
struct Votes(Arc<Mutex<BTreeMap<String, u64>>>);

impl Votes {
    fn with<R>(&self, body: impl FnOnce(&mut BTreeMap<String, u64>) -> R) -> R {
        body(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a client's read sees.
    fn count(&self, name: &[u8]) -> Bytes {
        let name = String::from_utf8_lossy(name);
        let votes = self.with(|votes| votes.get(&*name).copied().unwrap_or(0));
        votes.to_string().into()
    }
}

impl StateMachine for Votes {
    fn apply(&mut self, _: Applied, name: &[u8]) -> Bytes {
        let name = String::from_utf8_lossy(name).into_owned();
        let votes = self.with(|votes| {
            let count = votes.entry(name).or_insert(0);
            *count += 1;
            *count
        });
        votes.to_string().into()
    }

    fn snapshot(&mut self) -> Bytes {
        self.with(|votes| biglock::codec::encode(votes).into())
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let votes = biglock::codec::decode(snapshot)
            .map_err(|why| RestoreError::new("no snapshot of votes").caused_by(why))?;
        self.with(|all| *all = votes);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    // In your own cluster each node is a process, and everybody is told everybody's address. Here the system chooses the ports.
    let mut bound = Vec::new();
    for id in 1..=3 {
        let config = UdpConfig::new(NodeId(id), CLUSTER, "127.0.0.1:0".parse()?);
        bound.push((id, UdpTransport::bind(config)?));
    }
    let addresses = bound.iter().map(|(id, it)| (NodeId(*id), it.local_addr()));
    let addresses: BTreeMap<NodeId, SocketAddr> = addresses.collect();

    let mut nodes = BTreeMap::new();
    for (id, transport) in bound {
        let votes = Votes::default();
        let reads = votes.clone();
        let transport = transport
            .with_peers(addresses.clone())
            .with_reader(move |name| reads.count(name));
        // In memory, for the example alone: `biglock::RedbStorage` survives a crash.
        let node = Node::start(
            Config::new(id, 1..=3),
            MemoryStorage::new(),
            transport,
            votes,
        )?;
        nodes.insert(NodeId(id), node);
    }

    // Each call runs exactly once, though datagrams get lost and leaders die.
    let mut client = Client::connect(ClientConfig::new(CLUSTER, addresses))?;
    for _ in 0..3 {
        let votes = client.call("Ada")?;
        println!("Ada has {}", String::from_utf8_lossy(&votes));
    }
    let (_, leader) = client.members()?;
    if let Some(node) = leader.and_then(|id| nodes.remove(&id)) {
        println!("the leader dies: {}", node.status());
        node.shutdown()?;
    }
    println!("Ada has {}", String::from_utf8_lossy(&client.call("Ada")?));
    // Linearizable, from any node.
    println!(
        "all agree: {}",
        String::from_utf8_lossy(&client.read("Ada")?)
    );
    Ok(())
}
