//! Three nodes in one process learn who leads, lose their leader, and learn who leads next.
//!
//! `cargo run -p biglock --example who_leads`

use std::error::Error;
use std::time::Duration;

use biglock::{Config, LocalNetwork, MemoryStorage, Node, NodeId};

fn main() -> Result<(), Box<dyn Error>> {
    let network = LocalNetwork::new();
    let mut nodes: Vec<Node> = (1..=3)
        .map(|id| {
            let config = Config::new(id, [1, 2, 3]);
            Node::start(config, MemoryStorage::new(), network.transport(id), ())
        })
        .collect::<Result<_, _>>()?;

    let patience = Duration::from_secs(5);
    let first = nodes[0].wait_for_leader(patience)?;
    let NodeId(leader) = first.leader.ok_or("a leader was found")?;
    println!("node {leader} leads in {}", first.term);

    let at = nodes
        .iter()
        .position(|node| node.status().id == NodeId(leader));
    let gone = nodes.remove(at.ok_or("the leader is one of us")?);
    gone.shutdown()?;
    println!("node {leader} is gone");

    let mut seen = nodes[0].leadership();
    while seen.leader.is_none() || seen.term == first.term {
        seen = nodes[0].wait_for_change(seen, Some(patience))?;
        println!("now: {seen:?}");
    }

    for node in &nodes {
        println!("{}", node.status());
    }
    for node in nodes {
        node.shutdown()?;
    }
    Ok(())
}
