//! Ctrl-\ and the deadlock detector: what to look at when a node does nothing.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use biglock::Node;
use biglock_udp::UdpTransport;

use super::say;

/// How long to wait for the lock before saying that it can't be had.
const PATIENCE: Duration = Duration::from_millis(500);

/// Answers SIGQUIT.
#[derive(Default)]
pub struct Inspector {
    /// The thread that asked for the status and has no answer yet.
    asking: Option<JoinHandle<()>>,
}

impl Inspector {
    /// Says what each thread waits for, which needs no lock; and how the node is, if the lock can be had.
    pub fn inspect(&mut self, node: &Arc<Node>, transport: &UdpTransport) {
        say(format_args!("the node's threads:"));
        for doing in node.threads() {
            say(format_args!("  {:<10} {}", doing.thread, doing.activity));
        }
        match self.status(node) {
            Some(status) => say(format_args!("status: {status}")),
            None => say(format_args!(
                "status: unknown, for the lock cannot be had within {PATIENCE:?}; `holds the lock` above says who has it"
            )),
        }
        say(format_args!("datagrams: {}", transport.counters()));
    }

    /// Asks for the status in a thread of its own, since asking needs the lock.
    fn status(&mut self, node: &Arc<Node>) -> Option<String> {
        if self
            .asking
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
        {
            return None;
        }
        let (answer, answered) = crossbeam_channel::bounded(1);
        let node = node.clone();
        let thread = thread::Builder::new()
            .name("inspector".into())
            .spawn(move || {
                let _ = answer.send(node.status().to_string());
            });
        self.asking = thread.ok();
        let status = answered.recv_timeout(PATIENCE).ok()?;
        self.finish();
        Some(status)
    }

    /// Waits for the thread that asks, if there is one, so that nobody holds the node any more.
    pub fn finish(&mut self) {
        if let Some(thread) = self.asking.take() {
            let _ = thread.join();
        }
    }
}

/// Looks once a second for threads that wait for each other's locks, and says which.
#[cfg(feature = "deadlock-detection")]
pub fn watch_for_deadlocks() -> anyhow::Result<()> {
    use anyhow::Context;
    thread::Builder::new()
        .name("deadlocks".into())
        .spawn(|| {
            for _ in crossbeam_channel::tick(Duration::from_secs(1)) {
                for cycle in biglock::lock::find_deadlocks() {
                    say(format_args!(
                        "deadlock: these threads wait for each other\n{cycle}"
                    ));
                }
            }
        })
        .context("the system gave no thread")?;
    Ok(())
}

/// Says how to get what this build has not.
#[cfg(not(feature = "deadlock-detection"))]
pub fn watch_for_deadlocks() -> anyhow::Result<()> {
    anyhow::bail!(
        "--deadlock-detection: this build has no deadlock detector, which would make every lock a little slower; \
         build one that has it with `cargo build -p biglock-udp --features deadlock-detection`"
    )
}

#[cfg(all(test, feature = "deadlock-detection"))]
mod tests;
