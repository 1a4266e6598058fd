//! Biglock over plain UDP: one socket per node, one datagram per message, one thread that receives.
//!
//! ```no_run
//! use std::collections::BTreeMap;
//! use biglock::kv::KvStore;
//! use biglock::{Config, MemoryStorage, Node, NodeId};
//! use biglock_udp::{UdpConfig, UdpTransport};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = UdpConfig::new(NodeId(1), 7, "10.0.0.1:4000".parse()?);
//! config.peers = BTreeMap::from([
//!     (NodeId(2), "10.0.0.2:4000".parse()?),
//!     (NodeId(3), "10.0.0.3:4000".parse()?),
//! ]);
//! let transport = UdpTransport::bind(config)?;
//! let node = Node::start(Config::new(1, [1, 2, 3]), MemoryStorage::new(), transport, KvStore::new())?;
//! println!("{}", node.status());
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises, and what not
//! UDP may lose, delay, repeat and reorder datagrams, and so may this transport: Raft asks for no more. What arrives is checked before
//! the node sees it: every datagram that is not exactly a message of this version, this cluster, from a member and to this node is
//! dropped and [counted](Counters) by reason. No malformed datagram makes a node panic, and none makes it allocate: a node decodes into values of fixed size.
//!
//! **There is no authentication.** A sender is whoever it says it is: its address is not compared with the peer's, because addresses
//! are as easily forged as ids, and change under NAT and with several interfaces. Run a cluster in a network that you trust.
//! Corruption is left to the checksums of UDP and of the link.
//!
//! The bytes are told in [`codec`].

#![forbid(unsafe_code)]

mod client;
pub mod codec;
mod counters;
mod query;
mod transport;

pub use client::{Client, ClientConfig, ClientError, Heard, KvClient, Swapped, kv_reader};
pub use counters::Counters;
pub use query::{QueryError, Report, query_status};
pub use transport::{UdpConfig, UdpTransport};
