//! Biglock over plain UDP: one socket per node, one thread that receives; and a client that has each command run once.
//!
//! ```no_run
//! use std::collections::BTreeMap;
//! use biglock::kv::KvStore;
//! use biglock::{Config, MemoryStorage, Node, NodeId};
//! use biglock_udp::{ClientConfig, KvClient, UdpConfig, UdpTransport, kv_reader};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A node:
//! let mut config = UdpConfig::new(NodeId(1), 7, "10.0.0.1:4000".parse()?);
//! config.peers = BTreeMap::from([
//!     (NodeId(2), "10.0.0.2:4000".parse()?),
//!     (NodeId(3), "10.0.0.3:4000".parse()?),
//! ]);
//! let store = KvStore::new();
//! let transport = UdpTransport::bind(config)?.with_reader(kv_reader(store.clone()));
//! let node = Node::start(Config::new(1, [1, 2, 3]), MemoryStorage::new(), transport, store)?;
//! println!("{}", node.status());
//!
//! // A client, on another machine:
//! let servers = [(NodeId(1), "10.0.0.1:4000".parse()?), (NodeId(2), "10.0.0.2:4000".parse()?)];
//! let mut client = KvClient::connect(ClientConfig::new(7, servers))?;
//! client.append("log", "one line\n")?; // exactly once
//! println!("{:?}", client.get("log")?); // linearizable
//! # Ok(())
//! # }
//! ```
//!
//! A state machine of your own, over UDP, with a client: `examples/kv_udp.rs`.
//!
//! # What it promises, and what not
//! UDP may lose, delay, repeat and reorder datagrams, and so may this transport: Raft asks for no more. What arrives is checked before
//! the node sees it: every datagram that is not exactly of this version, of this cluster and to this node is dropped and
//! [counted](Counters) by reason. No malformed datagram makes a node panic, and none makes it allocate more than goes with what arrived.
//!
//! Messages for one receiver that are sent together share a datagram. How long one may be is the user's choice
//! ([`UdpConfig::max_datagram`]): by default so short that no network cuts it into pieces; longer ones carry more entries, and commands and
//! values that are longer.
//!
//! A message need not come from a member: "servers process incoming RPC requests without consulting their current configurations"
//! (section 6). Peers are found where they are configured, or else where the log says, or else where they were heard.
//!
//! **There is no authentication.** A sender is whoever it says it is: its address is not compared with the peer's, because addresses
//! are as easily forged as ids, and change under NAT and with several interfaces. Whoever can send a datagram can lead the cluster, or
//! stop it. Run a cluster in a network that you trust. Corruption is left to the checksums of UDP and of the link.
//!
//! # Clients
//! A [`Client`] has one request under way, and sends it until there is an answer; the node that has it already, and works on it, drops the
//! repetition, and one that comes later finds in its session that it was run. An answer is about one copy of a request, and says nothing of
//! the others; so what a client concludes holds whatever became of those. What it means that there is *no* answer, the error
//! says: [`ClientError::may_have_run`]. On the node's side nobody waits: the receiver proposes, and whichever thread has the reply sends
//! it.
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
