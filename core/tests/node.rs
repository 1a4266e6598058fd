//! The real [`Node`](biglock::Node) on real threads. Time is virtual and moves when a test ticks it; what a test waits for is an event, so
//! nothing sleeps and nothing depends on how fast the machine is.

#[path = "node/broken.rs"]
mod broken;
#[path = "node/clusters.rs"]
mod clusters;
#[path = "node/config.rs"]
mod config;
#[path = "node/disk.rs"]
mod disk;
#[path = "node/edges.rs"]
mod edges;
#[path = "node/elections.rs"]
mod elections;
#[path = "node/founders.rs"]
mod founders;
#[path = "node/harness.rs"]
mod harness;
#[path = "node/local.rs"]
mod local;
#[path = "node/proposals.rs"]
mod proposals;
#[path = "node/reasons.rs"]
mod reasons;
#[path = "node/shutdown.rs"]
mod shutdown;
#[path = "node/state.rs"]
mod state;
#[path = "node/waiting.rs"]
mod waiting;
