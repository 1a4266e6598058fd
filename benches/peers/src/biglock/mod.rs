//! Biglock.

mod cluster;
mod pure;
mod udp;

pub use cluster::Cluster;
pub use pure::Pure;

use biglock::Config;

use crate::{ELECTION_TIMEOUT, HEARTBEAT, NODES};

/// The node whose deadline comes first, and who leads.
const LEADER: u64 = 1;

/// The configuration of a node: the defaults, but for the times that all subjects here share.
fn config(id: u64) -> Config {
    let mut config = Config::new(id, 1..=NODES);
    config.election_timeout_min = ELECTION_TIMEOUT;
    config.election_timeout_max = 2 * ELECTION_TIMEOUT;
    config.heartbeat = HEARTBEAT;
    config.seed = Some(id);
    config
}
