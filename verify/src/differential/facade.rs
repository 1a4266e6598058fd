//! Tiny programs under loom, through the facade that ships.
//!
//! A deadlock ends loom's search at once, in a panic. So that the other ends of such a program are seen as well, it is searched twice: once as it is,
//! where loom must report the deadlock; and once with an **undertaker**, the main thread, which does nothing but yield. When it has yielded so often that
//! everybody else would have had a turn, and nobody did anything, then nobody can. It takes down how they stand, and without exploring
//! any further takes their locks from them and wakes them, so that they end.
//!
//! Programs that a model could be are searched once more behind the **gate** of the harness, which is a shortcut and must not cost an end.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as Plain, MutexGuard as PlainGuard, PoisonError};

use biglock::lock::sync::{Condvar, Mutex, MutexGuard, spawn};

use super::brute::{self, Explored};
use super::program::{Op, Outcome, Program};
use super::{Check, Gate, Verdict};
use crate::harness::exhaust;

/// So often the undertaker yields before it believes that nobody can move. Four threads have at most three steps each (a wait: to sleep, to be
/// woken, to have the mutex) between two that are counted.
const PATIENCE: usize = 16;

thread_local! {
    /// Which mutexes are held. All threads of a search run on one thread of the system, so this is where the undertaker finds them.
    static HELD: RefCell<Vec<Option<MutexGuard<'static, u8>>>> = const { RefCell::new(Vec::new()) };
}

/// What is searched now: for the panic hook.
static NOW: Plain<Option<Searched>> = Plain::new(None);

#[derive(Clone)]
struct Searched {
    program: Arc<Program>,
    expected: Arc<Explored>,
    /// Whether a deadlock is what we wait for.
    to_the_deadlock: bool,
    executions: Arc<AtomicU64>,
    outcomes: Arc<Plain<BTreeSet<Outcome>>>,
    ghost: Arc<Plain<Ghost>>,
}

/// How one execution stands. Not visible to loom.
#[derive(Default)]
struct Ghost {
    values: Vec<u8>,
    seen: Vec<Vec<u8>>,
    /// Each thread's step; nothing once it has ended.
    at: Vec<Option<u8>>,
    steps: u64,
}

impl Ghost {
    fn outcome(&self) -> Outcome {
        Outcome {
            values: self.values.clone(),
            seen: self.seen.clone(),
            stuck: self.at.clone(),
        }
    }
}

/// Runs the programs that come in, a line each, and answers each with a verdict.
pub fn work(check: &Check) {
    std::panic::set_hook(Box::new(|info| {
        let message = info.payload_as_str().unwrap_or("a panic");
        say(&broke(message));
        // What unwinds now would run into locks that nobody leaves.
        std::process::abort();
    }));
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(program) => say(&judge(Arc::new(program), check)),
            Err(e) => {
                eprintln!("this is no program: {e}");
                return;
            }
        }
    }
}

fn say(verdict: &Verdict) {
    let line = serde_json::to_string(verdict).unwrap_or_else(|e| e.to_string());
    let mut out = std::io::stdout().lock();
    // Whoever asked may be gone; then there is nobody to tell.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn judge(program: Arc<Program>, check: &Check) -> Verdict {
    let expected = Arc::new(brute::explore(&program, check.rules));
    let can_stick = expected.can_stick();
    let mut searched = Searched {
        program,
        expected,
        to_the_deadlock: false,
        executions: Arc::default(),
        outcomes: Arc::default(),
        ghost: Arc::default(),
    };
    let mut verdict = Verdict::default();
    let mut ways = vec![Way::Free];
    if searched.program.fits_the_gate() {
        ways.push(Way::Gated(check.gate));
    }
    for way in ways {
        let before = searched.executions.load(Ordering::Relaxed);
        locked(&searched.outcomes).clear();
        let completed = search(&searched, check.bound, way, can_stick);
        let executions = searched.executions.load(Ordering::Relaxed) - before;
        verdict = searched.verdict();
        verdict.difference = match completed == Some(executions) {
            true => differ(&locked(&searched.outcomes), &searched.expected.outcomes),
            false => Some("loom did not complete its search".into()),
        };
        if verdict.difference.is_some() {
            break;
        }
    }
    if can_stick && verdict.difference.is_none() {
        searched.to_the_deadlock = true;
        search(&searched, check.bound, Way::Free, false);
        // It ends in a panic, or not at all.
        verdict = searched.verdict();
        verdict.difference =
            Some("a deadlock is found by brute force alone: loom reports none".into());
    }
    verdict
}

/// Loom panicked.
fn broke(message: &str) -> Verdict {
    let Some(searched) = locked(&NOW).take() else {
        return Verdict {
            difference: Some(message.into()),
            ..Verdict::default()
        };
    };
    let mut verdict = searched.verdict();
    verdict.gone = true;
    let end = locked(&searched.ghost).outcome();
    let known = &searched.expected.outcomes;
    let outcomes = locked(&searched.outcomes);
    let unknown = outcomes
        .iter()
        .chain([&end])
        .find(|end| !known.contains(end));
    verdict.difference = if !message.starts_with("deadlock") {
        Some(format!("loom panics: {message}"))
    } else if let Some(end) = unknown {
        Some(format!("under loom alone: {end}"))
    } else if !searched.to_the_deadlock {
        Some(format!("a deadlock, under loom alone: {end}"))
    } else {
        None
    };
    verdict
}

fn differ(loom: &BTreeSet<Outcome>, brute: &BTreeSet<Outcome>) -> Option<String> {
    let list = |ends: Vec<&Outcome>, where_: &str| {
        let shown = ends
            .iter()
            .take(5)
            .map(|end| format!("{where_} alone: {end}\n"));
        let more = match ends.len() {
            0..=5 => String::new(),
            many => format!("and {} more\n", many - 5),
        };
        shown.collect::<String>() + &more
    };
    let text = list(brute.difference(loom).collect(), "by brute force")
        + &list(loom.difference(brute).collect(), "under loom");
    (!text.is_empty()).then(|| text.trim_end().into())
}

impl Searched {
    fn verdict(&self) -> Verdict {
        Verdict {
            executions: self.executions.load(Ordering::Relaxed),
            interleavings: u64::try_from(self.expected.interleavings).unwrap_or(u64::MAX),
            has: self.has().into_iter().map(String::from).collect(),
            difference: None,
            gone: false,
        }
    }

    /// Which of the [`super::GOALS`] it reaches.
    fn has(&self) -> BTreeSet<&'static str> {
        let program = &self.program;
        let waits = |op: &Op| matches!(op, Op::Wait(_) | Op::WaitIf(..) | Op::WaitWhile(..));
        let mut has = BTreeSet::new();
        for end in &self.expected.outcomes {
            let at = |(t, at): (usize, &Option<u8>)| {
                at.and_then(|at| program.threads[t].get(usize::from(at)))
            };
            let stuck: Vec<&Op> = end.stuck.iter().enumerate().filter_map(at).collect();
            if stuck.iter().any(|op| waits(op)) {
                has.insert("a lost wake-up");
            } else if stuck.iter().any(|op| matches!(op, Op::Lock(_))) {
                has.insert("a deadlock by the order of locks");
            }
        }
        let ends = self.expected.outcomes.iter();
        let stuck = ends.filter(|end| end.is_stuck()).count();
        if stuck > 0 && stuck < self.expected.outcomes.len() {
            has.insert("a deadlock in some executions and none in others");
        }
        if stuck < self.expected.outcomes.len() && program.threads.iter().flatten().any(waits) {
            has.insert("a wait that ends");
        }
        if program.fits_the_gate() {
            has.insert("a gate");
        }
        let mut used = (BTreeSet::new(), BTreeSet::new());
        for thread in &program.threads {
            let mut held: Vec<u8> = Vec::new();
            let before = used.1.clone();
            for op in thread {
                match *op {
                    Op::Lock(m) => {
                        held.push(m);
                        used.0.insert(m);
                    }
                    Op::Unlock(m) => held.retain(|&other| other != m),
                    Op::Wait(c) | Op::WaitIf(c, _) | Op::WaitWhile(c, _) => {
                        used.1.insert(c);
                        if before.contains(&c) {
                            has.insert("two who wait on one condvar");
                        }
                    }
                    Op::Broadcast(c) if !held.contains(&program.condvars[usize::from(c)]) => {
                        has.insert("a broadcast without the lock");
                    }
                    Op::Join(_) => {
                        has.insert("a join");
                    }
                    _ => {}
                }
            }
        }
        if used.0.len() > 1 {
            has.insert("several mutexes");
        }
        if used.1.len() > 1 {
            has.insert("several condvars");
        }
        has
    }
}

/// How a program begins.
#[derive(Clone, Copy)]
enum Way {
    /// The first thread spawns the others, and all is explored.
    Free,
    /// As a model does.
    Gated(Gate),
}

/// Searches one program. Returns in how many executions loom says that it completed.
fn search(searched: &Searched, bound: Option<usize>, way: Way, undertaken: bool) -> Option<u64> {
    let searched = searched.clone();
    *locked(&NOW) = Some(searched.clone());
    exhaust(bound, move || {
        searched.executions.fetch_add(1, Ordering::Relaxed);
        let run = Arc::new(Run::new(&searched));
        match (way, undertaken) {
            (Way::Free, false) => run.begin(0),
            (Way::Free, true) => {
                let there = run.clone();
                spawn("first", move || there.begin(0)).expect("loom gives threads");
                run.undertake();
            }
            (Way::Gated(gate), _) => {
                run.come_to(gate);
                if undertaken {
                    run.undertake();
                }
            }
        }
    })
}

/// One execution.
struct Run {
    program: Arc<Program>,
    /// For ever, because the undertaker holds guards beyond the threads that took them: a few hundred bytes an execution, until the process ends.
    mutexes: Vec<&'static Mutex<u8>>,
    condvars: Vec<&'static Condvar>,
    ghost: Arc<Plain<Ghost>>,
    outcomes: Arc<Plain<BTreeSet<Outcome>>>,
    unended: AtomicUsize,
    born: AtomicUsize,
    buried: AtomicBool,
}

impl Run {
    fn new(searched: &Searched) -> Run {
        let program = searched.program.clone();
        let threads = program.threads.len();
        *locked(&searched.ghost) = Ghost {
            values: vec![0; program.mutexes.into()],
            seen: vec![Vec::new(); threads],
            at: vec![Some(0); threads],
            steps: 0,
        };
        HELD.set((0..program.mutexes).map(|_| None).collect());
        Run {
            mutexes: (0..program.mutexes)
                .map(|_| &*Box::leak(Box::new(Mutex::new(0))))
                .collect(),
            condvars: (0..program.condvars.len())
                .map(|_| &*Box::leak(Box::new(Condvar::new())))
                .collect(),
            ghost: searched.ghost.clone(),
            outcomes: searched.outcomes.clone(),
            unended: AtomicUsize::new(threads),
            born: AtomicUsize::new(1),
            buried: AtomicBool::new(false),
            program,
        }
    }

    /// Thread `t`, from its beginning to its end.
    fn begin(self: &Arc<Run>, t: usize) {
        if self.steps(t).is_some() {
            self.end(t);
        }
        locked(&self.ghost).steps += 1;
        self.born.fetch_sub(1, Ordering::Relaxed);
    }

    /// It ran to its end.
    fn end(&self, t: usize) {
        let mut ghost = locked(&self.ghost);
        ghost.at[t] = None;
        if self.unended.fetch_sub(1, Ordering::Relaxed) == 1 {
            locked(&self.outcomes).insert(ghost.outcome());
        }
    }

    /// Its steps. Nothing if it was buried on the way.
    fn steps(self: &Arc<Run>, t: usize) -> Option<()> {
        let mut children = BTreeMap::new();
        let mut read = 0;
        for (at, &op) in self.program.threads[t].iter().enumerate() {
            locked(&self.ghost).at[t] = Some(at as u8);
            match op {
                Op::Lock(m) => {
                    let guard = self.mutexes[usize::from(m)].lock();
                    self.alive()?;
                    hold(m, guard);
                }
                Op::Unlock(m) => drop(let_go(m)),
                Op::Read(m) => {
                    read = self.with(m, |value| *value);
                    locked(&self.ghost).seen[t].push(read);
                }
                Op::Write(m, new) => self.with(m, |value| *value = new),
                Op::Add(m) => self.with(m, |value| *value += 1),
                Op::Put(m) => self.with(m, |value| *value = read + 1),
                Op::Wait(c) => self.wait(c)?,
                Op::WaitIf(c, value) => {
                    if self.guarded_by(c) == value {
                        self.wait(c)?;
                    }
                }
                Op::WaitWhile(c, value) => {
                    while self.guarded_by(c) == value {
                        self.wait(c)?;
                    }
                }
                Op::Broadcast(c) => self.condvars[usize::from(c)].notify_all(),
                Op::Spawn(child) => {
                    let there = self.clone();
                    self.born.fetch_add(1, Ordering::Relaxed);
                    let body = move || there.begin(child.into());
                    children.insert(child, spawn("child", body).expect("loom gives threads"));
                }
                Op::Join(child) => {
                    let child = children.remove(&child).expect("it was spawned here");
                    assert!(child.join(), "no thread panics");
                }
            }
            self.alive()?;
            locked(&self.ghost).steps += 1;
        }
        Some(())
    }

    fn alive(&self) -> Option<()> {
        (!self.buried.load(Ordering::Relaxed)).then_some(())
    }

    fn wait(&self, condvar: u8) -> Option<()> {
        let mutex = self.program.condvars[usize::from(condvar)];
        let mut guard = let_go(mutex);
        self.condvars[usize::from(condvar)].wait(&mut guard, None);
        self.alive()?;
        hold(mutex, guard);
        locked(&self.ghost).steps += 1;
        Some(())
    }

    fn guarded_by(&self, condvar: u8) -> u8 {
        self.with(self.program.condvars[usize::from(condvar)], |value| *value)
    }

    /// Works on what this mutex, which is held, guards.
    fn with<R>(&self, mutex: u8, work: impl FnOnce(&mut u8) -> R) -> R {
        HELD.with_borrow_mut(|held| {
            let value = held[usize::from(mutex)].as_mut().expect("it is held");
            let result = work(value);
            locked(&self.ghost).values[usize::from(mutex)] = **value;
            result
        })
    }

    /// The gate, as in `harness::execute`: the main thread, which in such a program only spawns, holds all locks while the others come to them.
    fn come_to(self: &Arc<Run>, gate: Gate) {
        loom::stop_exploring();
        let held: Vec<_> = match gate {
            Gate::Held => self.mutexes.iter().map(|mutex| mutex.lock()).collect(),
            Gate::Open => Vec::new(),
        };
        for t in 1..self.program.threads.len() {
            let there = self.clone();
            self.born.fetch_add(1, Ordering::Relaxed);
            spawn("child", move || there.begin(t)).expect("loom gives threads");
        }
        // Its own program is over.
        self.end(0);
        self.born.fetch_sub(1, Ordering::Relaxed);
        loom::thread::yield_now();
        drop(held);
        loom::explore();
    }

    /// The main thread of a program that can get stuck: whoever waits for ever is taken down and buried.
    fn undertake(&self) {
        let (mut idle, mut known) = (0, 0);
        while self.born.load(Ordering::Relaxed) > 0 {
            loom::thread::yield_now();
            let steps = locked(&self.ghost).steps;
            idle = if steps == known { idle + 1 } else { 0 };
            known = steps;
            if idle == PATIENCE {
                self.bury();
                idle = 0;
            }
        }
    }

    fn bury(&self) {
        assert!(self.alive().is_some(), "who was buried stays so");
        let end = locked(&self.ghost).outcome();
        locked(&self.outcomes).insert(end);
        loom::stop_exploring();
        self.buried.store(true, Ordering::Relaxed);
        let held =
            HELD.with_borrow_mut(|held| held.iter_mut().map(Option::take).collect::<Vec<_>>());
        drop(held);
        self.condvars
            .iter()
            .for_each(|condvar| condvar.notify_all());
    }
}

fn hold(mutex: u8, guard: MutexGuard<'static, u8>) {
    HELD.with_borrow_mut(|held| held[usize::from(mutex)] = Some(guard));
}

fn let_go(mutex: u8) -> MutexGuard<'static, u8> {
    let held = HELD.with_borrow_mut(|held| held[usize::from(mutex)].take());
    held.expect("it is held")
}

fn locked<T>(mutex: &Plain<T>) -> PlainGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
