//! **What** may happen: the rules of Raft, as plain data.
//!
//! [`Raft`] is a value. It takes a message or a moment and changes; what it wants written and sent it keeps until it is asked. It
//! cannot lock, wait, send, sync, spawn, read a clock or draw a random number, so the same value runs under the lock in a
//! [`Node`](crate::Node), alone in an explorer, and by the million in a simulator.
//!
//! Section numbers are those of the extended Raft paper (Ongaro and Ousterhout, 2014); "dissertation" is Ongaro's of the same year.

mod election;
mod invariants;
mod log;
mod message;
mod raft;
mod replication;

pub use election::{Ballot, Verdict};
pub use log::{Entry, Log, Position};
pub use message::{Answer, Body, Message, Refusal};
pub use raft::{
    At, HardState, NodeId, Raft, Role, RoleKind, Settings, Term, Voters, Write, WriteId, majority,
};
