//! The handle that users hold.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::{
    Batch, ChangeError, Config, ConfigError, Decided, Engine, Inbox, Leadership, MIN_PAYLOAD,
    Proposal, ProposeError, ReadError, SessionCall, Shared, StartError, StateMachine, Status,
    Stopped, Storage, StorageError, Tell, TransferError, Transport, Undecided, WaitError,
};
use crate::lock::sync::{JoinHandle, spawn};
use crate::lock::{Monitor, Observer};
use crate::rules::{At, Change, NodeId, Payload, Position, Raft, SessionRequest};
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
    /// Starts a node: loads what `storage` holds, and spawns the election thread, the leader thread, the disk thread, the apply thread, and
    /// what `transport` needs to receive. Whatever the size of the cluster, their number is fixed. `state_machine` must be as new: it
    /// gets the latest snapshot, if there is one, and every command after it.
    ///
    /// A new storage first keeps the [members](Config::members), durably.
    ///
    /// # Errors
    /// If the configuration can't work, the storage can't be read, it began with other members, the transport can't start, or the system gives no thread. Then
    /// nothing is left running.
    pub fn start(
        config: Config,
        storage: impl Storage + 'static,
        transport: impl Transport + 'static,
        state_machine: impl StateMachine + 'static,
    ) -> Result<Node, StartError> {
        Node::start_observed(config, storage, transport, state_machine, None)
    }

    /// The same, and `observer` sees each critical section go by: for traces. It is called with the lock held, so it must do nothing but
    /// take notes; what it costs, everything costs.
    ///
    /// # Errors
    /// As [`start`](Node::start).
    pub fn start_observed(
        config: Config,
        mut storage: impl Storage + 'static,
        transport: impl Transport + 'static,
        state_machine: impl StateMachine + 'static,
        observer: Option<Arc<dyn Observer<Shared>>>,
    ) -> Result<Node, StartError> {
        let mut settings = config.validate()?;
        settings.max_payload = transport.max_payload();
        if settings.max_payload < MIN_PAYLOAD {
            let max_payload = settings.max_payload;
            return Err(ConfigError::MessagesTooSmall { max_payload }.into());
        }
        let outside = Outside::caller();
        let stored = storage.load(&outside)?;
        if !stored.is_whole() {
            let why = "the log that it loads does not begin where its snapshot ends";
            return Err(StorageError::new(why).into());
        }
        settings.members = stored.founded_by(&settings.members)?;
        if stored.founders.is_none() {
            // Before anything is said to anybody.
            let first = Batch::new(stored.hard_state).with_founders(settings.members.clone());
            storage.write(&outside, first)?;
        }
        let mut random = match config.seed {
            Some(seed) => fastrand::Rng::with_seed(seed),
            None => fastrand::Rng::new(),
        };
        let at = At {
            now: config.clock.now(),
            random: random.u64(..),
        };
        let mut raft = Raft::new(at, settings, stored);
        // Also with a seed: an answer to this node's earlier life must fit no read of this one.
        raft.number_reads_from(fastrand::u64(..));
        let machine = Box::new(state_machine);
        let shared = Shared::new(raft, Box::new(storage), machine, random.u64(..));
        let mut monitor = Monitor::with_clock(shared, config.clock);
        if let Some(observer) = observer {
            monitor = monitor.observed_by(observer);
        }
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
        let node = Node::over(engine.clone());
        // If one of these fails, dropping `node` stops and joins the ones before.
        node.spawn("election", Engine::election_loop)?;
        node.spawn("leader", Engine::leader_loop)?;
        node.spawn("disk", Engine::disk_loop)?;
        node.spawn("apply", Engine::apply_loop)?;
        engine.transport().start(Inbox::new(engine.clone()))?;
        Ok(node)
    }

    /// A handle on an engine whose threads somebody else runs: for models, which have no room for all of them. Dropping it stops the engine.
    pub fn over(engine: Arc<Engine>) -> Node {
        Node {
            engine,
            threads: Mutex::default(),
        }
    }

    fn spawn(&self, name: &'static str, body: fn(&Engine, &mut Outside)) -> Result<(), StartError> {
        let engine = self.engine.clone();
        let thread = spawn(name, move || body(&engine, &mut Outside::claim(name)))
            .map_err(StartError::Thread)?;
        self.joinable().push(thread);
        Ok(())
    }

    /// Proposes a command to the cluster. This returns at once; [`Proposal::wait`] returns the state machine's reply. Any number may be
    /// under way, from any number of threads.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use biglock::{Config, LocalNetwork, MemoryStorage, Node, kv};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let transport = LocalNetwork::new().transport(1);
    /// let node = Node::start(Config::new(1, [1]), MemoryStorage::new(), transport, kv::KvStore::new())?;
    /// node.wait_for_leader(Duration::from_secs(10))?;
    /// let reply = node.propose(b"anything".as_slice())?.wait()?;
    /// # node.shutdown()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If this node can't propose it: above all, if it does not lead. Then it is in no log.
    pub fn propose(&self, command: impl Into<Bytes>) -> Result<Proposal, ProposeError> {
        let (who, awaited) = Tell::promise();
        self.propose_one(Payload::Command(command.into()), who)?;
        Ok(Proposal(awaited))
    }

    /// Proposes a command, and calls `then` with what becomes of it, from one of the node's threads: so it must not take long, nor wait.
    ///
    /// # Errors
    /// As [`propose`](Node::propose); then nobody is called.
    pub fn propose_then(
        &self,
        command: impl Into<Bytes>,
        then: impl FnOnce(&Outside, Decided) + Send + 'static,
    ) -> Result<(), ProposeError> {
        self.propose_one(Payload::Command(command.into()), Tell::call(then))
    }

    /// Sends a request to a client's session: a command that was sent before, with the same number, is not run again, and has the same
    /// reply (section 8; dissertation, 6.3).
    ///
    /// # Errors
    /// As [`propose`](Node::propose).
    pub fn call(&self, request: SessionRequest) -> Result<SessionCall, ProposeError> {
        let (who, awaited) = Tell::promise();
        self.propose_one(Payload::Session(request.into()), who)?;
        Ok(SessionCall(awaited))
    }

    fn propose_one(&self, payload: Payload, who: Tell<Decided>) -> Result<(), ProposeError> {
        let mut outside = Outside::caller();
        self.engine.propose(&mut outside, [(payload, who)]).1
    }

    /// Proposes several commands at once: in one section, and in as few messages as they fit into. Returns the proposals that were made,
    /// in order, and why not all were: if one is refused, so are those that follow it.
    pub fn propose_all<C: Into<Bytes>>(
        &self,
        commands: impl IntoIterator<Item = C>,
    ) -> (Vec<Proposal>, Result<(), ProposeError>) {
        // Made before the lock is taken: what runs under it should be short, and the iterator is the caller's.
        let commands = commands.into_iter();
        let many = commands.size_hint().0;
        let (mut proposals, mut awaited) = (Vec::with_capacity(many), Vec::with_capacity(many));
        for command in commands {
            let (who, one) = Tell::promise();
            proposals.push((Payload::Command(command.into()), who));
            awaited.push(Proposal(one));
        }
        let mut outside = Outside::caller();
        let (many, result) = self.engine.propose(&mut outside, proposals);
        awaited.truncate(many);
        (awaited, result)
    }

    /// The longest command that can be proposed, in bytes.
    pub fn max_command(&self) -> usize {
        self.engine.max_command(&mut Outside::caller())
    }

    /// Makes a read linearizable (section 8; dissertation, 6.4): when this returns, this node's state machine has applied everything that
    /// was committed when it was called. On any node; it asks the leader, and writes nothing to the log. It always ends.
    ///
    /// # Errors
    /// If no leader answers for several election timeouts, too many reads wait, or the node stops.
    pub fn read(&self) -> Result<(), ReadError> {
        let mut outside = Outside::caller();
        let (who, awaited) = Tell::promise();
        self.engine.read(&mut outside, who)?;
        awaited.wait(&outside).unwrap_or(Err(ReadError::NoLeader))
    }

    /// Takes a snapshot of the state machine now, whatever the policy ([`Config::snapshot_every`]); the log up to it goes. Returns the last
    /// entry that it holds, once the snapshot is durable. If nothing was applied since the last one, that is the one; and a node that does not
    /// know its cluster's members yet ([`Config::joining`]) takes none.
    ///
    /// # Errors
    /// If the node stops.
    pub fn snapshot(&self) -> Result<Position, Stopped> {
        let mut outside = Outside::caller();
        let (who, awaited) = Tell::promise();
        self.engine.snapshot(&mut outside, who)?;
        awaited.wait(&outside).unwrap_or(Err(Stopped::Shutdown))
    }

    /// Changes the members, one node at a time (dissertation, 4.1). On the leader. Returns when that is committed.
    ///
    /// To add a node, start it with [`Config::joining`], add it as a learner here, and promote it. For that it must have caught up, which this
    /// waits for a few election timeouts; after that it is refused as [`CatchingUp`](crate::rules::ChangeRefused::CatchingUp), with what is
    /// missing: promote it again.
    ///
    /// # Errors
    /// If it can't begin, or if it began and is not known to be committed.
    pub fn change_members(&self, change: &Change) -> Result<(), ChangeError> {
        let mut outside = Outside::caller();
        if let Change::Promote(id) = change {
            self.engine.await_learner(&mut outside, *id)?;
        }
        let (who, awaited) = Tell::promise();
        self.engine.change_members(&mut outside, change, who)?;
        match awaited.wait(&outside) {
            Some(decided) => Ok(decided.map(|_| ())?),
            None => Err(Undecided::Unknown.into()),
        }
    }

    /// Hands the leadership over to another voter (dissertation, 3.10), and returns when that one leads. On the leader. Meanwhile nothing can
    /// be proposed; if the other has not won after the longest election timeout, this node leads on.
    ///
    /// # Errors
    /// If it can't begin, fails, or the node stops.
    pub fn transfer_leadership(&self, to: u64) -> Result<Leadership, TransferError> {
        self.engine.transfer(&mut Outside::caller(), NodeId(to))
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
