//! Runs one model: every interleaving of its threads, without a bound, and a witness that the search was completed. Or, on another checker,
//! interleavings that are drawn at random: to say how often they find a bug that is known to be there.
//!
//! Recipe and reasons are in `verify/README.md`. In short:
//! - **The gate.** The main thread holds every node's lock while it spawns the model's threads, so that each runs to its first lock and
//!   stops there; then exploring begins and the main thread is gone. Nothing is spent on the order of spawning and joining. This is
//!   sound only if each thread's first visible step is to ask for one of those locks, and the harness checks that: what it does before is tried
//!   in one order only.
//! - **Choices.** What the threads cannot decide (was this reply a grant or a refusal?) is chosen before they start; every
//!   combination of choices is a search of its own.
//! - **Completion.** Loom returns from a search that was cut short as if it had passed. Only its own event, "Completed in N iterations",
//!   counts here, and N must be the number of executions that we counted.
//! - **No bound.** Every field of loom's builder that bounds a search is set here, so no environment variable can.

#[cfg(biglock_loom)]
mod exhaust;
#[cfg(biglock_shuttle)]
mod tries;

#[cfg(biglock_loom)]
pub use exhaust::{Found, check, exhaust};
#[cfg(biglock_shuttle)]
pub use tries::sample;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::checker;
use crate::record::Event;
use crate::world::{Machine, World};
use biglock::NodeId;
use biglock::lock::Outside;
use biglock::lock::sync::locks_taken;
use biglock::node::Engine;

/// The main thread's name while it holds the gate.
pub const GATE: &str = "gate";

/// A model: what runs, what must hold, and what must be reached.
pub struct Model {
    /// Its name.
    pub name: &'static str,
    /// The sentence that it shows.
    pub property: &'static str,
    /// How many threads run at once.
    pub threads: usize,
    /// What at least one execution must reach: without that, the model shows nothing.
    pub goals: &'static [&'static str],
    /// How it starts.
    pub start: Start,
    /// Whether a crash may come between a write and a message: then disk and network are visible to the checker.
    pub crashes: bool,
    /// Builds the nodes and registers the threads.
    pub body: fn(&World),
}

/// What most models are made from: four threads, held at the gate, and no crash.
pub const GATED: Model = Model {
    name: "",
    property: "",
    threads: 4,
    goals: &[],
    start: Start::Gated,
    crashes: false,
    body: |_| (),
};

/// How a model's threads start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Held at the gate: the registered threads run, and nobody joins them.
    Gated,
    /// The body spawns and joins the threads itself, as a program would: for start and shutdown. It calls [`World::explore`] first.
    Free,
}

/// A lock that is held while the threads are spawned.
pub trait Gate: Send + Sync {
    /// Runs `inside` while it is held.
    fn hold(&self, inside: Box<dyn FnOnce() + '_>);
}

impl Gate for Engine {
    fn hold(&self, inside: Box<dyn FnOnce() + '_>) {
        let mut outside = Outside::claim(GATE);
        self.monitor().enter(&mut outside, GATE, |_| inside());
    }
}

type Body = Box<dyn FnOnce(&mut Outside) + Send>;
type Check = Box<dyn FnOnce() + Send>;
type Notes = Arc<Mutex<Vec<Event>>>;
type Ear = Box<dyn Fn(Event) -> Event + Send + Sync>;

/// What outlives one execution.
#[derive(Default)]
struct Search {
    executions: AtomicU64,
    goals: Mutex<Goals>,
    choices: Mutex<Odometer>,
}

/// How often each thing was reached.
pub type Goals = BTreeMap<&'static str, u64>;

impl Model {
    /// Of what was reached, what a row tells: what must be, also if it was not; or whatever was, if nothing must be.
    #[cfg(biglock_loom)]
    pub fn told(&self, reached: &Goals) -> BTreeMap<String, u64> {
        let times = |goal: &&'static str| reached.get(goal).copied().unwrap_or(0);
        let goals: Vec<&'static str> = match self.goals {
            [] => reached.keys().copied().collect(),
            goals => goals.to_vec(),
        };
        goals
            .iter()
            .map(|goal| (goal.to_string(), times(goal)))
            .collect()
    }
}

/// One execution's bookkeeping, invisible to the checker.
pub struct Run {
    search: Arc<Search>,
    crashes: bool,
    events: Notes,
    ear: OnceLock<Ear>,
    nodes: Mutex<BTreeMap<NodeId, Arc<Engine>>>,
    machines: Mutex<BTreeMap<NodeId, Machine>>,
    locks: Mutex<Vec<Arc<dyn Gate>>>,
    threads: Mutex<Vec<(&'static str, Body)>>,
    check: Mutex<Option<Check>>,
    choices_made: AtomicUsize,
    arrived: AtomicUsize,
    unfinished: AtomicUsize,
    open: AtomicBool,
    gate_is_gone: AtomicBool,
}

/// Every combination of choices, one after the other; or one that is drawn.
#[derive(Default)]
struct Odometer {
    /// From where choices are drawn, if they are.
    rng: Option<fastrand::Rng>,
    /// For each choice, in the order in which it is made: what is chosen, of how many.
    digits: Vec<(usize, usize)>,
}

impl Odometer {
    /// A combination from this seed.
    #[cfg(biglock_shuttle)]
    fn drawn(seed: u64) -> Odometer {
        Odometer {
            rng: Some(fastrand::Rng::with_seed(seed)),
            ..Odometer::default()
        }
    }

    fn choose(&mut self, which: usize, options: usize) -> usize {
        if which == self.digits.len() {
            let drawn = self.rng.as_mut().map_or(0, |rng| rng.usize(..options));
            self.digits.push((drawn, options));
        }
        let (digit, of) = self.digits[which];
        assert_eq!(
            of, options,
            "choices are made in the same order in every execution"
        );
        digit
    }

    /// Moves on; false after the last combination.
    #[cfg(biglock_loom)]
    fn advance(&mut self) -> bool {
        while let Some((digit, of)) = self.digits.pop() {
            if digit + 1 < of {
                self.digits.push((digit + 1, of));
                return true;
            }
        }
        false
    }
}

/// The executions that were begun, and the notes of the one that runs: for whoever must tell a failure.
static CURRENT: Mutex<Option<(Arc<Search>, Notes)>> = Mutex::new(None);

/// What happened so far in the execution that runs now, its number, and what was reached until then.
pub fn current() -> Option<(u64, Vec<Event>, Goals)> {
    let (search, notes) = locked(&CURRENT).clone()?;
    let executions = search.executions.load(Ordering::Relaxed);
    let goals = locked(&search.goals).clone();
    let events = locked(&notes).clone();
    Some((executions, events, goals))
}

/// One execution.
fn execute(model: &'static Model, search: &Arc<Search>) {
    let run = Arc::new(Run {
        search: search.clone(),
        crashes: model.crashes,
        events: Arc::new(Mutex::new(Vec::with_capacity(128))),
        ear: OnceLock::new(),
        nodes: Mutex::default(),
        machines: Mutex::default(),
        locks: Mutex::default(),
        threads: Mutex::default(),
        check: Mutex::default(),
        choices_made: AtomicUsize::new(0),
        arrived: AtomicUsize::new(0),
        unfinished: AtomicUsize::new(0),
        open: AtomicBool::new(false),
        gate_is_gone: AtomicBool::new(false),
    });
    *locked(&CURRENT) = Some((search.clone(), run.events.clone()));
    checker::stop_exploring();
    let world = World::new(run.clone());
    (model.body)(&world);
    match model.start {
        Start::Free => run.finish(),
        Start::Gated => {
            let threads = std::mem::take(&mut *locked(&run.threads));
            let (says, has) = (model.threads, threads.len());
            assert!(
                says == has,
                "it says that so many threads run: {says}, and has {has}, those of a node included"
            );
            // The last thread to end runs the last check.
            assert!(has > 0, "it has no thread, so nothing would be checked");
            let mut gates = locked(&run.locks).clone();
            gates.extend(
                locked(&run.nodes)
                    .values()
                    .map(|node| node.clone() as Arc<dyn Gate>),
            );
            let machines: Vec<Machine> = locked(&run.machines).values().cloned().collect();
            let held: Vec<_> = machines.iter().map(Machine::lock).collect();
            hold(&gates, Box::new(|| release(&run, threads)));
            drop(held);
            run.gate_is_gone.store(true, Ordering::Relaxed);
            checker::explore();
        }
    }
}

/// Takes one lock after the other, and runs `inside` while it holds them all.
fn hold(gates: &[Arc<dyn Gate>], inside: Box<dyn FnOnce() + '_>) {
    match gates.split_first() {
        None => inside(),
        Some((gate, rest)) => gate.hold(Box::new(|| hold(rest, inside))),
    }
}

/// Spawns the threads and lets each run to its first lock.
fn release(run: &Arc<Run>, threads: Vec<(&'static str, Body)>) {
    run.unfinished.store(threads.len(), Ordering::Relaxed);
    run.open();
    for (name, body) in threads {
        let before = (run.arrived.load(Ordering::Relaxed), locks_taken());
        let there = run.clone();
        checker::spawn(name, move || {
            body(&mut Outside::claim(name));
            if there.unfinished.fetch_sub(1, Ordering::Relaxed) == 1 {
                there.finish();
            }
        });
        // It runs until it waits.
        checker::yield_now();
        let (arrived, taken) = (run.arrived.load(Ordering::Relaxed), locks_taken());
        assert!(
            taken == before.1,
            "{name} takes a lock that the gate does not hold before it asks for one that it does, and what comes first is tried in one order only: \
             it must begin with a node or a monitor that was made for it to begin with"
        );
        assert!(
            arrived == before.0 + 1,
            "{name} does not begin by asking for a lock that the gate holds: of a node, or of a monitor that was made for it to begin with"
        );
    }
}

impl Run {
    /// Something that the model must reach.
    pub fn reached(&self, goal: &'static str) {
        *locked(&self.search.goals).entry(goal).or_default() += 1;
    }

    /// One of `options`.
    pub fn choose(&self, options: usize) -> usize {
        let which = self.choices_made.fetch_add(1, Ordering::Relaxed);
        locked(&self.search.choices).choose(which, options)
    }

    /// Registers a node, so that messages find it and the gate holds its lock.
    pub fn register(&self, id: NodeId, engine: Arc<Engine>) {
        locked(&self.nodes).insert(id, engine);
    }

    /// A lock that is no node's: the gate holds it as well.
    pub fn register_lock(&self, lock: Arc<dyn Gate>) {
        locked(&self.locks).push(lock);
    }

    /// The node of this name.
    pub fn engine(&self, id: NodeId) -> Option<Arc<Engine>> {
        locked(&self.nodes).get(&id).cloned()
    }

    /// The machine of a node.
    pub fn machine(&self, id: NodeId) -> Machine {
        let new = || Machine(self.crashes.then(|| Arc::new(checker::Mutex::new(()))));
        locked(&self.machines).entry(id).or_insert_with(new).clone()
    }

    /// The same, unless it happened while the stage was set.
    pub fn reached_by_threads(&self, goal: &'static str) {
        if self.gate_is_open() {
            self.reached(goal);
        }
    }

    /// From here on the model's threads act.
    pub fn open(&self) {
        self.open.store(true, Ordering::Relaxed);
    }

    /// Whether the model's threads have been started.
    pub fn gate_is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether it is the main thread, in holding the gate. (A thread of the program may claim whatever name it likes.)
    pub fn is_gate(&self, thread: &str) -> bool {
        thread == GATE && !self.gate_is_gone.load(Ordering::Relaxed)
    }

    /// Registers a thread.
    pub fn thread(&self, name: &'static str, body: Body) {
        locked(&self.threads).push((name, body));
    }

    /// Registers the last check.
    pub fn finally(&self, check: Check) {
        *locked(&self.check) = Some(check);
    }

    /// A thread asks for a lock.
    pub fn arrived(&self) {
        self.arrived.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a note.
    pub fn record(&self, event: Event) {
        let event = match self.ear.get() {
            Some(ear) => ear(event),
            None => event,
        };
        locked(&self.events).push(event);
    }

    /// From now on this hears each note first, and says what is noted.
    pub fn listen(&self, ear: impl Fn(Event) -> Event + Send + Sync + 'static) {
        // There is one for each execution.
        let _ = self.ear.set(Box::new(ear));
    }

    /// Forgets the notes so far: the picture begins here.
    pub fn forget(&self) {
        locked(&self.events).clear();
    }

    /// The last thread is done: the last check, and the end of the nodes (which know the world that knows them).
    fn finish(&self) {
        let check = locked(&self.check).take();
        if let Some(check) = check {
            check();
        }
        let nodes = std::mem::take(&mut *locked(&self.nodes));
        let machines = std::mem::take(&mut *locked(&self.machines));
        let locks = std::mem::take(&mut *locked(&self.locks));
        drop((nodes, machines, locks));
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
