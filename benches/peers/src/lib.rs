//! The peers of Biglock that are crates, in the same process and under the same load. What is measured, and how fair it is:
//! `README.md` beside this.

pub mod biglock;
pub mod duel;
pub mod openraft_0_10;
pub mod openraft_0_9;
mod openraft_load;
pub mod raft_rs;
pub mod stopwatch;
pub mod summary;
pub mod window;

use std::time::Duration;

/// How many nodes each cluster has.
pub const NODES: u64 = 3;

/// A command: its number among all commands of the cluster, and filling. The state machines do nothing but answer the number.
pub type Command = [u8; 16];

/// The shortest election timeout. Clusters in one process keep each other from the cores; nobody is to lose its leader by that.
pub const ELECTION_TIMEOUT: Duration = Duration::from_millis(1000);

/// How often a leader sends, if it has nothing to say.
pub const HEARTBEAT: Duration = Duration::from_millis(100);

/// How long a reply may take before the measurement is given up.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A cluster that has a leader.
pub trait Subject {
    /// Has `commands` new commands committed and applied on the leader, at most `in_flight` of them at a time.
    ///
    /// Returns how long it took from the first proposal until the proposer has seen the last reply.
    ///
    /// # Panics
    /// If a reply is wrong, or does not come.
    fn commit(&mut self, commands: u64, in_flight: usize) -> Duration;
}

/// The command with this number.
pub fn command(number: u64) -> Command {
    let mut command = [0; 16];
    command[..8].copy_from_slice(&number.to_le_bytes());
    command
}

/// The number of a command: what every state machine here answers.
///
/// # Panics
/// If it is not a whole command.
pub fn number(command: &[u8]) -> u64 {
    let (number, filling) = command.split_first_chunk().expect("a number");
    assert_eq!(filling.len(), 8, "a command of 16 bytes");
    u64::from_le_bytes(*number)
}
