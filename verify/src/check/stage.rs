//! What a check is made of.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use biglock::lock::{Guarded, Monitor, Step};
use biglock::node::Engine;
use biglock::{Node, NodeId, Outside, StateMachine, Stopped, Time};

use crate::harness::GATE;
use crate::models::leading;
use crate::record::Event;
use crate::world::{NodeSpec, Wire, World, request};

/// One execution: the nodes, monitors and threads of a check, and what must hold.
///
/// A clone is the same stage, for a thread to take along.
#[derive(Clone)]
pub struct Stage {
    world: World,
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Threads that are not a node's own and have not ended.
    visitors: AtomicUsize,
    /// Whether the node's apply thread takes part.
    applies: Arc<AtomicBool>,
    /// Nodes that have a thread of their own, which ends when the node stops.
    running: Mutex<Vec<Arc<Engine>>>,
    clocks: Mutex<Vec<Arc<dyn Hands>>>,
    names: Arc<Mutex<Vec<&'static str>>>,
    laws: Arc<Mutex<Vec<Law>>>,
    checks: Mutex<Vec<Check>>,
}

/// The lane of what happens before the threads start.
const SETUP: &str = "setup";

/// Who calls a node has no name there.
const CALLER: &str = "caller";

/// The section in which a caller asks the node for a snapshot.
const SNAPSHOT: &str = "ask for a snapshot";

/// Lanes that are not for the check's own threads.
const TAKEN: [&str; 7] = [GATE, SETUP, CALLER, "election", "leader", "disk", "apply"];

type Loop = fn(&Engine, &mut Outside);
type Law = Box<dyn Fn() + Send>;
type Check = Box<dyn FnOnce() + Send>;

/// How the leader is set up that [`Stage::leader`] makes. Unless told otherwise its disk takes no time, it is heard, and time stands still.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setup {
    slow_disk: bool,
    silent: bool,
    upkeep: bool,
    snapshots: bool,
}

impl Setup {
    /// The disk takes time: the node's own disk thread, which takes part, writes entries. Else whoever has something to write does it.
    pub fn slow_disk(mut self) -> Setup {
        self.slow_disk = true;
        self
    }

    /// Nobody answers: nothing that is proposed is ever committed.
    pub fn silent(mut self) -> Setup {
        self.silent = true;
        self
    }

    /// The node's own leader thread takes part. It gives up what has waited for too long, so it is needed where time passes.
    pub fn upkeep(mut self) -> Setup {
        self.upkeep = true;
        self
    }

    /// Snapshots are taken ([`Node::snapshot`]), once the threads run: the node's own apply thread takes part, which takes them, whatever the state
    /// machine. (It does that for every state machine that is not [instant](StateMachine::is_instant).)
    pub fn snapshots(mut self) -> Setup {
        self.snapshots = true;
        self
    }
}

/// What has a clock.
trait Hands: Send + Sync {
    fn tick(&self, outside: &mut Outside, to: Time);
}

impl<S: Guarded + Send> Hands for Monitor<S>
where
    S::Audience: Send + Sync,
{
    fn tick(&self, outside: &mut Outside, to: Time) {
        Monitor::tick(self, outside, to);
    }
}

impl Hands for Engine {
    fn tick(&self, outside: &mut Outside, to: Time) {
        self.monitor().tick(outside, to);
    }
}

impl Stage {
    /// Sets the stage of one execution.
    pub(super) fn set(world: World, body: fn(&Stage)) {
        let stage = Stage::new(world);
        body(&stage);
        assert!(
            stage.inner.visitors.load(Ordering::Relaxed) > 0,
            "the check makes no thread of its own, so nothing is checked: give it one with `Stage::thread`"
        );
    }

    fn new(world: World) -> Stage {
        let inner: Arc<Inner> = Arc::default();
        let (laws, names) = (inner.laws.clone(), inner.names.clone());
        let applies = inner.applies.clone();
        let asleep = Mutex::new(Vec::new());
        world.run.listen(move |event| {
            let event = in_its_lane(event, &locked(&names), &mut locked(&asleep));
            if let Event::Section {
                node,
                section,
                step,
                ..
            } = event
            {
                let asks = (node, section, step) == (NodeId(1), SNAPSHOT, Step::Wants);
                assert!(
                    !asks || applies.load(Ordering::Relaxed),
                    "nobody takes a snapshot here: the node's apply thread does, and takes part with `Setup::snapshots`"
                );
                let laws = match laws.try_lock() {
                    Ok(laws) => laws,
                    Err(TryLockError::Poisoned(laws)) => laws.into_inner(),
                    Err(TryLockError::WouldBlock) => panic!(
                        "a law enters a node or a monitor, under whose lock it may be asked: let it look at what the threads have noted"
                    ),
                };
                if matches!(step, Step::Left(_) | Step::Waits(_)) {
                    laws.iter().for_each(|law| law());
                }
            }
            event
        });
        let end = inner.clone();
        world.finally(move || end.finish());
        Stage { world, inner }
    }

    /// A node that leads, the real one, with the user's state machine: node 1 of three, in term 1, its log empty but for the entry with which a
    /// term begins. Node 2 answers at once, in the thread that sends; node 3 says nothing. What a caller proposes is therefore committed in the
    /// caller's own thread, step by step, and others may come between any two of them.
    ///
    /// If the state machine is not [instant](StateMachine::is_instant), the node's apply thread takes part.
    ///
    /// A check has one leader, or none.
    pub fn leader(&self, setup: Setup, machine: impl StateMachine + 'static) -> Arc<Node> {
        self.assert_unset("leader");
        assert!(
            self.world.run.engine(NodeId(1)).is_none(),
            "a check has one leader, node 1 of the only cluster that there is: what is done with another belongs into a check of its own"
        );
        let instant = machine.is_instant();
        let mut spec = NodeSpec::new(1, 3).machine(machine);
        if !setup.silent {
            spec = spec.wire(Wire::Answered);
        }
        if !setup.slow_disk {
            spec = spec.instant_disk();
        }
        let engine = leading::leader(&self.world, spec, 1);
        // What its own threads do before anybody comes.
        let mut outside = Outside::claim(SETUP);
        if setup.slow_disk {
            engine.disk_turn(&mut outside).expect("it runs");
        }
        if !instant && !setup.silent {
            engine.apply_turn(&mut outside).expect("it runs");
        }
        self.world.run.forget();
        let applies = !instant || setup.snapshots;
        self.inner.applies.store(applies, Ordering::Relaxed);
        let loops: [(bool, &'static str, Loop); 3] = [
            (setup.upkeep, "leader", Engine::leader_loop),
            (setup.slow_disk, "disk", Engine::disk_loop),
            (applies, "apply", Engine::apply_loop),
        ];
        for (wanted, name, body) in loops {
            if wanted {
                let engine = engine.clone();
                self.world
                    .thread(name, move |outside| body(&engine, outside));
            }
        }
        if setup.upkeep || setup.slow_disk || applies {
            locked(&self.inner.running).push(engine.clone());
        }
        locked(&self.inner.clocks).push(engine.clone());
        Arc::new(Node::over(engine))
    }

    /// A monitor of the program's own: what `Monitor::new` makes in production. Its clock stands at zero until somebody lets
    /// [time pass](Stage::pass_time). `show` says in a few words what it guards, for the picture.
    ///
    /// Each thread must begin by asking for such a monitor, or for a node: there they wait until all of them are there.
    pub fn monitor<S: Guarded + Send + 'static>(
        &self,
        state: S,
        show: fn(&S) -> String,
    ) -> Arc<Monitor<S>>
    where
        S::Audience: Send + Sync,
    {
        let monitor = self.world.monitor(state, show);
        locked(&self.inner.clocks).push(monitor.clone());
        monitor
    }

    /// A thread, by a name of its own: one that no other thread has, nor the harness or the node for theirs. A check has as many as it says, those of the
    /// node included, and at most four. All are made before any of them runs.
    pub fn thread(&self, name: &'static str, body: impl FnOnce(&mut Outside) + Send + 'static) {
        self.assert_unset("thread");
        assert!(
            !name.is_empty() && !TAKEN.contains(&name),
            "a thread of a check can't be called {name:?}, as the harness and the node call theirs ({}): give it another name",
            TAKEN.join(", ")
        );
        let inner = self.inner.clone();
        assert!(
            !locked(&inner.names).contains(&name),
            "two threads are called {name:?}: give each a name of its own"
        );
        inner.visitors.fetch_add(1, Ordering::Relaxed);
        locked(&inner.names).push(name);
        self.world.thread(name, move |outside| {
            body(outside);
            if inner.visitors.fetch_sub(1, Ordering::Relaxed) == 1 {
                let running = std::mem::take(&mut *locked(&inner.running));
                for node in running {
                    node.stop(outside, Stopped::Shutdown);
                }
            }
        });
    }

    fn assert_unset(&self, what: &str) {
        assert!(
            !self.world.run.gate_is_open(),
            "the stage is set before the threads run, and no thread adds a {what} to it: make it in the function of the check"
        );
    }

    /// Time passes, up to this moment after the start, on the clock of the node and of every monitor, one after the other. Who sleeps until then wakes.
    pub fn pass_time(&self, outside: &mut Outside, to: Time) {
        let clocks = locked(&self.inner.clocks).clone();
        for hands in clocks {
            hands.tick(outside, to);
        }
    }

    /// Node 3 asks `node` for its vote in the next term, and so deposes it: what the node has proposed and not committed is in doubt from then on.
    pub fn depose(&self, outside: &mut Outside, node: &Node) {
        let message = self.world.said(request(3, 1, 2));
        node.engine().receive(outside, message);
    }

    /// One of `options`, before the threads start: what is not for the threads to decide. Every combination is searched.
    pub fn choose<T>(&self, options: impl IntoIterator<Item = T>) -> T {
        self.assert_unset("choice");
        self.world.choose(options)
    }

    /// A goal is reached. Each that the check declares must be, in at least one execution. (Whoever waits on a monitor or a node reaches the name
    /// of what it waits for.)
    pub fn reached(&self, goal: &'static str) {
        self.world.reached(goal);
    }

    /// A line in the lane of this thread, for the picture.
    pub fn note(&self, outside: &Outside, text: &'static str) {
        self.world.note(outside.thread(), text);
    }

    /// What must hold whenever any thread leaves a section or sleeps, and in the end. It panics if it does not; it enters no monitor and no node, for
    /// it is asked under their locks. What only `state` of one monitor must fulfil belongs into its [`Guarded::check`].
    pub fn law(&self, law: impl Fn() + Send + 'static) {
        locked(&self.inner.laws).push(Box::new(law));
    }

    /// What must hold when all threads have ended.
    pub fn finally(&self, check: impl FnOnce() + Send + 'static) {
        locked(&self.inner.checks).push(Box::new(check));
    }
}

impl Inner {
    /// The last thread has ended. What is left here knows what knows this stage.
    fn finish(&self) {
        let laws = std::mem::take(&mut *locked(&self.laws));
        laws.iter().for_each(|law| law());
        for check in std::mem::take(&mut *locked(&self.checks)) {
            check();
        }
        locked(&self.clocks).clear();
    }
}

/// Who calls a node is here the thread that calls.
fn in_its_lane(mut event: Event, names: &[&'static str], asleep: &mut Vec<&'static str>) -> Event {
    let mine = *event.thread_mut() == CALLER;
    if mine {
        let thread = loom::thread::current();
        let mut names = names.iter();
        let name = names.find(|&&name| thread.name() == Some(name));
        *event.thread_mut() = name.copied().unwrap_or(SETUP);
    }
    if let Event::Section { thread, step, .. } = &mut event {
        match step {
            Step::Waits(_) if mine => asleep.push(thread),
            // All who sleep are woken, one after the other: so it does not matter in which order.
            Step::Wakes(other) if *other == CALLER && !asleep.is_empty() => {
                *other = asleep.remove(0);
            }
            _ => {}
        }
    }
    event
}

fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
