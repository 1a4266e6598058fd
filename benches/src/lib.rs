//! What Biglock's benches share. What is measured, from where to where, and against what floor: `README.md` beside this.

pub mod cluster;
pub mod disk;
pub mod failover;
pub mod floor;
pub mod hops;
pub mod load;
pub mod nodes;
pub mod pure;
pub mod record;
pub mod stopwatch;
pub mod subject;
pub mod summary;
pub mod trace;
pub mod watch;

use std::fmt;
use std::time::Duration;

/// One election, from the moment at which the candidate's deadline fires.
#[derive(Clone, Copy, Debug)]
pub struct Election {
    /// (a) Until the candidate is leader.
    pub leader: Duration,
    /// (b) Until a majority, the leader included, knows it.
    pub majority: Duration,
}

/// An election that was not a clean one: anything but one campaign, one term, and every message of it exactly once. It is counted
/// and not measured.
#[derive(Clone, Debug)]
pub struct Rejected(pub String);

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The silence before every election and every round of the floor: threads that were woken for nothing are asleep again, and both
/// start from the same idle machine.
pub const SILENCE: Duration = Duration::from_micros(200);

/// How long a round may take before it is given up: a datagram was lost.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Whether this is a run that measures: `cargo bench`, and neither a list of what there is nor `cargo test --benches`, which only looks
/// whether everything runs.
pub fn measures() -> bool {
    let given = |flag: &str| std::env::args().any(|argument| argument == flag);
    given("--bench") && !given("--list") && !given("--test")
}
