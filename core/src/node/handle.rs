//! The handle that users hold.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{
    Config, Engine, Inbox, Leadership, Shared, StartError, Status, Stopped, Storage, Transport,
    WaitError,
};
use crate::lock::Monitor;
use crate::lock::sync::{JoinHandle, spawn};
use crate::rules::{At, Log, Raft};
use crate::{Outside, ThreadActivity};

/// A running node: its threads, and the way to ask it.
///
/// It can be shared between threads. Dropping it shuts it down.
pub struct Node {
    engine: Arc<Engine>,
    /// Those that are still to be joined. Held for no longer than it takes to add or take one.
    threads: Mutex<Vec<JoinHandle>>,
}

impl Node {
    /// Starts a node: loads what `storage` holds, and spawns the election thread, the leader thread, and what `transport` needs to
    /// receive. Whatever the size of the cluster, their number is fixed.
    ///
    /// # Errors
    /// If the configuration can't work, the storage can't be read, the transport can't start, or the system gives no thread. Then
    /// nothing is left running.
    pub fn start(
        config: Config,
        mut storage: impl Storage + 'static,
        transport: impl Transport + 'static,
    ) -> Result<Node, StartError> {
        let settings = config.validate()?;
        let outside = Outside::caller();
        let stored = storage.load(&outside)?;
        let mut random = match config.seed {
            Some(seed) => fastrand::Rng::with_seed(seed),
            None => fastrand::Rng::new(),
        };
        let at = At {
            now: config.clock.now(),
            random: random.u64(..),
        };
        let raft = Raft::new(at, settings, stored.hard_state, Log::new());
        let shared = Shared::new(raft, Box::new(storage), random.u64(..));
        let monitor = Monitor::with_clock(shared, config.clock);
        Node::run(Arc::new(Engine::new(
            monitor,
            config.id,
            Arc::new(transport),
        )))
    }

    /// Starts the threads of an engine. [`Node::start`] does this for you; models build the engine themselves.
    ///
    /// # Errors
    /// If the transport can't start or the system gives no thread.
    pub fn run(engine: Arc<Engine>) -> Result<Node, StartError> {
        let node = Node {
            engine: engine.clone(),
            threads: Mutex::default(),
        };
        // If one of these fails, dropping `node` stops and joins the ones before.
        node.spawn("election", Engine::election_loop)?;
        node.spawn("leader", Engine::leader_loop)?;
        engine.transport().start(Inbox::new(engine.clone()))?;
        Ok(node)
    }

    fn spawn(&self, name: &'static str, body: fn(&Engine, &mut Outside)) -> Result<(), StartError> {
        let engine = self.engine.clone();
        let thread = spawn(name, move || body(&engine, &mut Outside::claim(name)))
            .map_err(StartError::Thread)?;
        self.joinable().push(thread);
        Ok(())
    }

    /// One consistent look at the node. Never waits for disk or network.
    pub fn status(&self) -> Status {
        self.engine.status(&mut Outside::caller())
    }

    /// Who leads, and in which term, as far as this node knows.
    pub fn leadership(&self) -> Leadership {
        self.status().leadership()
    }

    /// Waits until this node knows a leader.
    ///
    /// # Errors
    /// [`WaitError::TimedOut`] after `timeout`, [`WaitError::Stopped`] if the node stops before.
    pub fn wait_for_leader(&self, timeout: Duration) -> Result<Leadership, WaitError> {
        let known = |leadership: Leadership| leadership.leader.is_some();
        let mut outside = Outside::caller();
        self.engine
            .await_leadership(&mut outside, Some(timeout), known)
    }

    /// Waits until the leadership is no longer `seen`: until the term or its leader has changed. None that lasts is missed, because
    /// the comparison is made under the lock; one that is over again before this thread wakes may be.
    ///
    /// # Errors
    /// [`WaitError::TimedOut`] after `timeout`, if there is one; [`WaitError::Stopped`] if the node stops before.
    pub fn wait_for_change(
        &self,
        seen: Leadership,
        timeout: Option<Duration>,
    ) -> Result<Leadership, WaitError> {
        let changed = |leadership: Leadership| leadership != seen;
        let mut outside = Outside::caller();
        self.engine.await_leadership(&mut outside, timeout, changed)
    }

    /// Waits until the node has stopped, for whatever reason, and says why.
    pub fn wait_until_stopped(&self) -> Stopped {
        let mut outside = Outside::caller();
        loop {
            let never = self.engine.await_leadership(&mut outside, None, |_| false);
            if let Err(WaitError::Stopped(why)) = never {
                return why;
            }
        }
    }

    /// What each of the node's threads is doing. Answers even when the big lock is stuck.
    pub fn threads(&self) -> Vec<ThreadActivity> {
        self.engine.threads()
    }

    /// The engine, to drive a [manual clock](crate::Clock::manual) with `engine().monitor().tick(..)`, and for models.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Shuts the node down: every wait ends with [`Stopped::Shutdown`], and all its threads have ended when this returns, once the
    /// write that one of them may be making is done. What was said stays true: the storage holds it. May be called again, and from
    /// several threads: the call that comes first does all this, and the others return at once, perhaps before it is done.
    ///
    /// # Errors
    /// If the node had stopped before, for another reason: which.
    pub fn shutdown(&self) -> Result<(), Stopped> {
        let mut outside = Outside::caller();
        let before = self.engine.stop(&mut outside, Stopped::Shutdown);
        let threads = std::mem::take(&mut *self.joinable());
        if !threads.is_empty() {
            for thread in threads {
                // A thread that drops its own node must not wait for itself; it ends when it returns.
                if !thread.is_current() {
                    thread.join();
                }
            }
            self.engine.transport().stop(&outside);
            // Closed here, and not when the last handle goes: whoever shut it down may open it again.
            drop(self.engine.take_storage(&mut outside));
        }
        match before {
            None | Some(Stopped::Shutdown) => Ok(()),
            Some(why) => Err(why),
        }
    }

    fn joinable(&self) -> MutexGuard<'_, Vec<JoinHandle>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").finish_non_exhaustive()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Whoever drops it does not ask why it had stopped.
        let _ = self.shutdown();
    }
}
