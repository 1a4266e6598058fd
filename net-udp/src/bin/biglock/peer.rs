//! A node and its address, as they are typed.

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
        let parsed = text.split_once('=').and_then(|(id, addr)| {
            Some(Peer {
                id: NodeId(id.trim().parse().ok()?),
                addr: addr.trim().parse().ok()?,
            })
        });
        parsed.ok_or_else(|| {
            format!("\"{text}\" is no node: write its number, = and its IP address with the port, e.g. 2=127.0.0.1:7002")
        })
    }
}
