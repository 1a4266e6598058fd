//! What users write: a node's number, its address, both, and a time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::str::FromStr;

use biglock::NodeId;

/// A node and where it listens, e.g. `2=127.0.0.1:7002`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its number.
    pub id: NodeId,
    /// Where it listens.
    pub addr: SocketAddr,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Peer, String> {
        let Some((id, addr)) = text.split_once('=') else {
            return Err(format!(
                "\"{text}\" is no node: write its number, = and its IP address with the port, e.g. 2=127.0.0.1:7002"
            ));
        };
        let (id, addr) = (NodeId(node(id.trim())?), address(addr.trim())?);
        Ok(Peer { id, addr })
    }
}

impl Peer {
    /// Whether others can send to it.
    fn is_reachable(&self) -> Result<(), String> {
        let addr = self.addr;
        if addr.port() == 0 || addr.ip().is_unspecified() {
            return Err(format!(
                "nobody can send to {addr}: write the address and the port at which the others reach the node"
            ));
        }
        Ok(())
    }
}

/// Reads a node and where the others reach it.
pub fn reachable(text: &str) -> Result<Peer, String> {
    let peer: Peer = text.parse()?;
    peer.is_reachable().map(|()| peer)
}

/// Reads a node's number.
pub fn node(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) => Err("nodes are numbered from 1: there is no node 0".into()),
        Ok(id) => Ok(id),
        Err(_) => Err("write a node's number, e.g. 2".into()),
    }
}

/// Reads an address.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "write an IP address with the port, e.g. 127.0.0.1:7001".into())
}

/// Reads a time to wait.
pub fn millis(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) => Err("nothing is answered in no time: write for example 1000".into()),
        Ok(millis) => Ok(millis),
        Err(_) => Err("write a number of milliseconds, e.g. 1000".into()),
    }
}

/// The nodes of a list by their numbers: each once, where others can reach it, and no two at one address.
pub fn by_number(peers: &[Peer]) -> Result<BTreeMap<NodeId, SocketAddr>, String> {
    let mut found: BTreeMap<NodeId, SocketAddr> = BTreeMap::new();
    for peer @ Peer { id, addr } in peers {
        peer.is_reachable()?;
        if found.contains_key(id) {
            return Err(format!("{id} is named twice: keep one of them"));
        }
        if let Some((other, _)) = found.iter().find(|(_, at)| *at == addr) {
            return Err(format!(
                "{other} and {id} can't both listen on {addr}: correct one of them"
            ));
        }
        found.insert(*id, *addr);
    }
    Ok(found)
}
