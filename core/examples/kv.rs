//! A replicated key-value store: three nodes in one process, one of which dies.
//!
//! `cargo run -p biglock --example kv`

use std::error::Error;
use std::time::Duration;

use biglock::kv::{Command, KvStore, Reply};
use biglock::{Config, LocalNetwork, MemoryStorage, Node};

/// A node, and the state that it replicates: a clone of the store reads what the node's own applies.
struct Server {
    node: Node,
    store: KvStore,
}

fn main() -> Result<(), Box<dyn Error>> {
    let network = LocalNetwork::new();
    let mut servers = Vec::new();
    for id in 1..=3 {
        let store = KvStore::new();
        let config = Config::new(id, [1, 2, 3]);
        let transport = network.transport(id);
        let node = Node::start(config, MemoryStorage::new(), transport, store.clone())?;
        servers.push(Server { node, store });
    }

    let put = |value: &str| Command::put("capital", value.to_owned());
    let reply = run(&servers, &put("Bonn"))?;
    println!("put: {reply:?}");

    // A read from any node, as fresh as a write would be: it asks the leader, and writes nothing.
    for server in &servers {
        server.node.read()?;
        println!(
            "{} reads {:?}",
            server.node.status(),
            server.store.get("capital")
        );
    }

    // The leader is gone; the others go on.
    let leader = leader(&servers)?;
    let dead = servers.remove(leader);
    dead.node.shutdown()?;
    println!("put: {:?}", run(&servers, &put("Berlin"))?);
    servers[0].node.read()?;
    println!("now it is {:?}", servers[0].store.get("capital"));
    Ok(())
}

/// Proposes a command at whoever leads.
fn run(servers: &[Server], command: &Command) -> Result<Reply, Box<dyn Error>> {
    let node = &servers[leader(servers)?].node;
    let reply = node.propose(command.clone())?.wait()?;
    Ok(Reply::decode(&reply)?)
}

fn leader(servers: &[Server]) -> Result<usize, Box<dyn Error>> {
    loop {
        for (i, server) in servers.iter().enumerate() {
            if server.node.leadership().leader == Some(server.node.status().id) {
                return Ok(i);
            }
        }
        servers[0].node.wait_for_leader(Duration::from_secs(10))?;
    }
}
