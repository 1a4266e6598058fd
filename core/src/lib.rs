// Of two definitions of a link the first counts: so the links of the README lead from here to where they should.
#![doc = include_str!("../links.md")]
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod codec;
pub mod kv;
pub mod lock;
pub mod node;
pub mod rules;
mod time;

pub use lock::{Clock, Outside};
#[cfg(feature = "redb")]
pub use node::RedbStorage;
pub use node::{
    Activity, Applied, Batch, ChangeError, Config, ConfigError, Inbox, Leadership, LocalNetwork,
    LocalTransport, MemoryStorage, NoLeader, Node, Proposal, ProposeError, ReadError, RestoreError,
    SessionCall, StartError, StateMachine, Status, Stopped, Storage, StorageError, Stored,
    ThreadActivity, TransferError, Transport, TransportError, Undecided, Votes, WaitError,
};
pub use rules::{
    Change, Entries, Entry, HardState, Member, Members, Message, NodeId, Payload, Position,
    Refusal, RoleKind, SessionReply, SessionRequest, Snapshot, Term,
};
pub use time::Time;

/// The locking rules, told beside the code: who waits for what, who wakes it, and one RPC step by step.
#[doc = include_str!("../LOCKING.md")]
pub mod locking {}
