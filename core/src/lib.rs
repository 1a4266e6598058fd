#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod lock;
pub mod node;
pub mod rules;
mod time;

pub use lock::{Clock, Outside};
#[cfg(feature = "redb")]
pub use node::RedbStorage;
pub use node::{
    Activity, Batch, Config, ConfigError, Inbox, Leadership, LocalNetwork, LocalTransport,
    MemoryStorage, NoLeader, Node, StartError, Status, Stopped, Storage, StorageError, Stored,
    ThreadActivity, Transport, TransportError, Votes, WaitError,
};
pub use rules::{HardState, Message, NodeId, Refusal, RoleKind, Term};
pub use time::Time;

/// The locking rules, told beside the code: who waits for what, who wakes it, and one RPC step by step.
#[doc = include_str!("../LOCKING.md")]
pub mod locking {}
