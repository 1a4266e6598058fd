//! **What** may happen: the rules of Raft, as plain data.
//!
//! [`Raft`] is a value. It takes a message or a moment and changes; what it wants written and sent it keeps until it is asked. It
//! cannot lock, wait, send, sync, spawn, read a clock or draw a random number, so the same value runs under the lock in a
//! [`Node`](crate::Node), alone in an explorer, and by the million in a simulator.
//!
//! Section numbers are those of the extended Raft paper (Ongaro and Ousterhout, 2014); "dissertation" is Ongaro's of the same year.

mod durability;
mod election;
mod entries;
mod follower;
mod invariants;
mod log;
mod members;
mod membership;
mod message;
mod raft;
mod read;
mod replication;
mod session;
mod snapshot;
mod stored;
mod transfer;

pub use durability::{Write, WriteId};
pub use election::{Ballot, Tally, Verdict, Voters};
pub use entries::Entries;
pub use follower::{Follower, Sending};
pub use invariants::Before;
pub use log::{Entry, Log, Payload, Position};
pub use members::{BadChange, Change, MAX_ADDRESS, MAX_MEMBERS, Member, Members};
pub use membership::ChangeRefused;
pub use message::{Answer, Appended, Beat, Body, Conflict, Message, Refusal};
pub use raft::{
    At, Following, GaveUp, HardState, Leading, NodeId, Raft, Role, RoleKind, Settings, Term,
    majority,
};
pub use read::{ReadAnswer, ReadId, ReadRefused};
pub use replication::ProposalRefused;
pub use session::{MAX_REPLY_BYTES, MAX_SESSIONS, SessionReply, SessionRequest, Sessions};
pub use snapshot::{Chunk, Snapshot, SnapshotHead};
pub use stored::{Batch, OtherMembers, Stored, Suffix};
pub use transfer::TransferRefused;
