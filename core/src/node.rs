//! **Who** makes it happen: threads, and the edges to disk, network and user.
//!
//! [`Node`] is the handle that users hold, [`Engine`] the value that its threads share. Neither decides anything: every decision is a
//! method of [`Raft`](crate::rules::Raft).

mod config;
mod engine;
mod error;
mod handle;
mod shared;
mod status;
mod storage;
mod transport;

pub use config::{Config, ConfigError};
pub use engine::Engine;
pub use error::{StartError, Stopped, StorageError, TransportError, WaitError};
pub use handle::Node;
pub use shared::{Audience, Digest, Shared, Work};
pub use status::{Leadership, NoLeader, Status, Votes};
#[cfg(feature = "redb")]
pub use storage::RedbStorage;
pub use storage::{Batch, MemoryStorage, Storage, Stored};
pub use transport::{Inbox, LocalNetwork, LocalTransport, Transport};

pub use crate::lock::{Activity, ThreadActivity};
