//! **Who** makes it happen: threads, and the edges to disk, network and user.
//!
//! [`Node`] is the handle that users hold, [`Engine`] the value that its threads share, [`Shared`] what its lock guards. None of them
//! decides anything: every decision is a method of [`Raft`](crate::rules::Raft).

mod applier;
mod callers;
mod config;
mod engine;
mod error;
mod handle;
mod proposal;
mod shared;
mod state_machine;
mod status;
mod storage;
mod trace;
mod transport;

pub use applier::{Applier, Done, Job, Reply};
pub use callers::{Decided, Served, SnapshotTaken, Tell, Told};
pub use config::{Config, ConfigError, MIN_PAYLOAD};
pub use engine::Engine;
pub use error::{
    ChangeError, ProposeError, ReadError, StartError, Stopped, StorageError, TransferError,
    TransportError, Undecided, WaitError,
};
pub use handle::Node;
pub use proposal::{Proposal, SessionCall};
pub use shared::{Audience, Digest, Shared, Work};
pub use state_machine::{Applied, RestoreError, StateMachine};
pub use status::{Leadership, NoLeader, Status, Votes};
#[cfg(feature = "redb")]
pub use storage::RedbStorage;
pub use storage::{Batch, MemoryStorage, Storage, Stored, Suffix};
pub use trace::{Mark, Note, Record, Recorder, START, Visible};
pub use transport::{Inbox, LocalNetwork, LocalTransport, Transport};

pub use crate::lock::{Activity, ThreadActivity};
