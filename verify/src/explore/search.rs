//! The search: breadth first, a level after the other, over all cores, with one state for all that differ only in how nodes are called.
//!
//! A level is searched in blocks, and each block in two halves. First its states are expanded, and nobody changes the set of states that were
//! seen. Then each worker takes parts of that set for itself and adds what is new, in an order that does not depend on who was
//! faster: so counts, and the shortest way to a failure, are the same in every run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::known::{Action, Event, Known, Library};
use super::laws::{Committed, GOALS, History, Look, members_at};
use super::machine::{self, Machine};
use super::recovery;
use super::replica::Replica;
use super::seen::Seen;
use super::tape::MAX_NODES;
use super::{Bounds, Order, known, trace};
use crate::diagram::Diagram;

mod walk;

pub use walk::walk;

/// The set of seen states is kept in so many parts.
const PARTS: usize = 64;
/// So many states are expanded before what they lead to is added.
const BLOCK: usize = 1 << 15;
/// Workers take so many states at a time.
const SHARE: usize = 64;
/// More states than fit into the memory of most machines: then the search ends, and says so.
const MOST: usize = 150_000_000;

/// One state, by numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The nodes.
    pub nodes: [u32; MAX_NODES],
    /// What must be remembered.
    pub history: u32,
    /// What the specification makes of the way here. One of several ways: so it is no part of the name.
    pub cluster: u32,
    /// What was said, in the order in which it was said first.
    pub messages: Arc<[u32]>,
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Found {
    /// How many states there are, of those that differ in more than the nodes' names.
    pub states: u64,
    /// How many steps lead from them.
    pub steps: u64,
    /// How many steps the farthest state is away.
    pub depth: u64,
    /// Whether there are no more.
    pub exhausted: bool,
    /// How many steps reached each goal.
    pub goals: BTreeMap<&'static str, u64>,
    /// How many different nodes, messages and histories there were, and from how many combinations of nodes it was shown that they go on.
    pub sizes: [u64; 4],
    /// What was broken, and how to get there.
    pub broken: Option<Broken>,
}

/// A broken law, and the shortest way to it.
#[derive(Clone, Debug)]
pub struct Broken {
    /// The law.
    pub message: String,
    /// How many steps it takes.
    pub steps: u64,
    /// Their picture.
    pub diagram: Diagram,
}

/// A state that an action leads to, before it is known whether that is new.
#[derive(Clone, Copy)]
struct Candidate {
    name: u128,
    parent: u32,
    nth: u32,
    action: Action,
}

/// What a step changes.
struct Next {
    node: u32,
    history: u32,
    cluster: u32,
}

struct Worker<'a> {
    library: Library<'a>,
    parts: Vec<Vec<Candidate>>,
    goals: Vec<u64>,
    steps: u64,
    /// The first law that was broken: from which state, by which of its actions (0 if it is no way on), what follows the way to that state, and the law.
    broken: Option<(u32, u32, Vec<Action>, String)>,
    actions: Vec<Action>,
    /// What the step at hand does to the network.
    wire: Wire,
}

/// What a step does to the network.
#[derive(Default)]
struct Wire {
    /// What is said for the first time.
    fresh: Vec<u32>,
    /// What nobody waits for any more.
    dead: Vec<u32>,
}

/// Searches all states of this configuration, with so many threads. `progress` hears how many there are so far.
pub fn search(order: &'static Order, threads: usize, progress: impl Fn(u64)) -> Found {
    run(Known::new(order), threads, progress)
}

/// The same without renaming: for the test that compares the two.
#[cfg(test)]
pub(super) fn search_without_renaming(
    order: &'static Order,
    threads: usize,
    progress: impl Fn(u64),
) -> Found {
    let mut known = Known::new(order);
    known.renamings.truncate(1);
    run(known, threads, progress)
}

fn run(known: Known, threads: usize, progress: impl Fn(u64)) -> Found {
    known::listen();
    let order = known.order;
    let mut workers: Vec<Worker<'_>> = (0..threads.max(1)).map(|_| Worker::new(&known)).collect();
    let first = workers[0].library.beginning();
    let mut seen: Vec<Seen> = (0..PARTS).map(|_| Seen::default()).collect();
    let settled: Vec<Mutex<Seen>> = (0..PARTS).map(|_| Mutex::default()).collect();
    let name = workers[0].library.name_of(&first);
    seen[part(name)].insert(name);
    // How each state was reached: from which, and by which of its actions.
    let mut ways: Vec<(u32, u32)> = vec![(0, 0)];
    let mut level = vec![first];
    let (mut depth, mut exhausted, mut broken) = (0, true, None);
    'search: loop {
        let base = ways.len() - level.len();
        let mut next = Vec::new();
        for (nth, block) in level.chunks(BLOCK).enumerate() {
            let from = base + nth * BLOCK;
            expand(&mut workers, block, from, &seen, &settled);
            let mut all: Vec<_> = workers.iter_mut().filter_map(|w| w.broken.take()).collect();
            all.sort_by_key(|&(state, nth, _, _)| (state, nth));
            if let Some((state, nth, rest, message)) = all.into_iter().next() {
                let mut way = workers[0].way(&ways, state);
                let quiet = (nth == 0).then_some(way.len());
                way.extend(rest);
                workers[0].library.refresh();
                let diagram = trace::diagram(&mut workers[0].library, &way, quiet, &message);
                broken = Some(Broken {
                    message: trace::rename(&message),
                    steps: way.len() as u64,
                    diagram,
                });
                break 'search;
            }
            for (state, way) in collect(&mut workers, block, from, &mut seen) {
                next.push(state);
                ways.push(way);
            }
            progress(ways.len() as u64);
            if ways.len() > MOST {
                exhausted = false;
                break 'search;
            }
        }
        if next.is_empty() {
            break;
        }
        depth += 1;
        known.keep_clusters(next.iter_mut().map(|state| &mut state.cluster));
        for worker in &mut workers {
            worker.library.forget_clusters();
        }
        level = next;
    }
    let goal = |(nth, &goal): (usize, &&'static str)| {
        let times = workers.iter().map(|worker| worker.goals[nth]).sum();
        (goal, times)
    };
    let goals = GOALS.iter().enumerate().map(goal);
    let (nodes, messages, histories) = known.sizes();
    let settled = settled.iter().map(|part| locked(part).len()).sum();
    Found {
        states: ways.len() as u64,
        steps: workers.iter().map(|worker| worker.steps).sum(),
        depth,
        exhausted: exhausted && broken.is_none(),
        goals: goals
            .filter(|(goal, _)| order.goals.contains(goal))
            .collect(),
        sizes: [nodes, messages, histories, settled].map(|many| many as u64),
        broken,
    }
}

pub(super) fn part(name: u128) -> usize {
    (name >> 64) as usize % PARTS
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first half: where do these states lead?
fn expand(
    workers: &mut [Worker<'_>],
    block: &[State],
    from: usize,
    seen: &[Seen],
    settled: &[Mutex<Seen>],
) {
    let taken = AtomicUsize::new(0);
    thread::scope(|scope| {
        for worker in workers {
            let taken = &taken;
            scope.spawn(move || {
                worker.library.refresh();
                loop {
                    let begin = taken.fetch_add(SHARE, Ordering::Relaxed);
                    if begin >= block.len() {
                        return;
                    }
                    let end = block.len().min(begin + SHARE);
                    for (nth, state) in block[begin..end].iter().enumerate() {
                        let number = (from + begin + nth) as u32;
                        worker.expand(state, number, seen, settled);
                    }
                }
            });
        }
    });
}

/// The second half: what of that is new?
fn collect(
    workers: &mut [Worker<'_>],
    block: &[State],
    from: usize,
    seen: &mut [Seen],
) -> Vec<(State, (u32, u32))> {
    let mut parts: Vec<Vec<Candidate>> = vec![Vec::new(); PARTS];
    for worker in workers.iter_mut() {
        for (all, its) in parts.iter_mut().zip(&mut worker.parts) {
            all.append(its);
        }
    }
    let work: Vec<_> = parts.into_iter().zip(seen).enumerate().collect();
    let work = Mutex::new(work);
    let done = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for worker in workers {
            let (work, done) = (&work, &done);
            scope.spawn(move || {
                worker.library.refresh();
                loop {
                    let Some((nth, (mut all, seen))) = locked(work).pop() else {
                        return;
                    };
                    all.sort_unstable_by_key(|c| (c.name, c.parent, c.nth));
                    let mut new = Vec::new();
                    for candidate in all {
                        if seen.insert(candidate.name) {
                            let parent = &block[candidate.parent as usize - from];
                            let state = worker.follow(parent, candidate.action);
                            new.push((state, (candidate.parent, candidate.nth)));
                        }
                    }
                    locked(done).insert(nth, new);
                }
            });
        }
    });
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.into_values().flatten().collect()
}

impl<'a> Worker<'a> {
    fn new(known: &'a Known) -> Worker<'a> {
        Worker {
            library: Library::new(known),
            parts: vec![Vec::new(); PARTS],
            goals: vec![0; GOALS.len()],
            steps: 0,
            broken: None,
            actions: Vec::new(),
            wire: Wire::default(),
        }
    }

    fn expand(&mut self, state: &State, number: u32, seen: &[Seen], settled: &[Mutex<Seen>]) {
        if self.broken.is_some() {
            return;
        }
        let mut actions = std::mem::take(&mut self.actions);
        self.library.actions(state, &mut actions);
        let sums = self.library.sums(state);
        if let Err((wrong, steps)) = recovery::recovers(&mut self.library, state.nodes, settled) {
            self.broken = Some((number, 0, steps, wrong));
        }
        for (nth, &action) in (1..).zip(&actions) {
            match self.library.go(state, action, &mut self.wire) {
                Err(message) => {
                    self.broken
                        .get_or_insert((number, nth, vec![action], message));
                    break;
                }
                Ok((next, reached)) => {
                    for goal in 0..GOALS.len() {
                        self.goals[goal] += reached >> goal & 1;
                    }
                    let Some(next) = next else { continue };
                    self.steps += 1;
                    let old = state.nodes[usize::from(action.node)];
                    let name = self.library.name(&sums, old, &next, &self.wire);
                    let part = part(name);
                    if !seen[part].contains(name) {
                        self.parts[part].push(Candidate {
                            name,
                            parent: number,
                            nth,
                            action,
                        });
                    }
                }
            }
        }
        self.actions = actions;
    }

    /// The state after an action that was judged before.
    fn follow(&mut self, state: &State, action: Action) -> State {
        let next = self.library.go(state, action, &mut self.wire);
        let Ok((Some(next), _)) = next else {
            unreachable!("it was judged before, and is the same every time");
        };
        let mut new = state.clone();
        new.nodes[usize::from(action.node)] = next.node;
        new.history = next.history;
        new.cluster = next.cluster;
        let Wire { fresh, dead } = &self.wire;
        if !fresh.is_empty() || !dead.is_empty() {
            let kept = state
                .messages
                .iter()
                .filter(|message| !dead.contains(message));
            new.messages = kept.chain(fresh).copied().collect();
        }
        new
    }

    /// The actions that lead to a state.
    fn way(&mut self, ways: &[(u32, u32)], state: u32) -> Vec<Action> {
        let mut chosen = Vec::new();
        let mut at = state;
        while at != 0 {
            let (parent, nth) = ways[at as usize];
            chosen.push(nth);
            at = parent;
        }
        let mut state = self.library.beginning();
        let mut way = Vec::new();
        let mut actions = Vec::new();
        for nth in chosen.into_iter().rev() {
            self.library.actions(&state, &mut actions);
            let action = actions[nth as usize - 1];
            state = self.follow(&state, action);
            way.push(action);
        }
        way
    }
}

/// The sum of the names of all that is in a state but its history. Under each renaming.
type Sums = Vec<u128>;

impl Library<'_> {
    /// How it begins.
    pub(super) fn beginning(&mut self) -> State {
        let order = self.known.order;
        let mut nodes = [0; MAX_NODES];
        let mut history = History::default();
        for (nth, node) in nodes.iter_mut().enumerate().take(order.nodes) {
            let disk = machine::first_disk(order, nth);
            *node = self.add_node(Machine::start(order, nth, disk, 0));
        }
        let first = &self.node(nodes[0]).thing;
        for index in 1..=order.committed as u64 {
            let entry = first.entry(index).expect("what is committed is there");
            let log = first.machine.raft.log();
            let last = history.committed.last();
            let mut state = last.map_or_else(Replica::new, |c| c.state.clone());
            state.apply(log, index, index).expect("it begins well");
            let by = entry.0;
            let before = last.map_or(&self.known.founders, |c| &c.members);
            let members = members_at(log, index, before);
            history.committed.push(Committed {
                entry,
                by,
                state,
                members,
            });
        }
        State {
            nodes,
            cluster: self.add_beginning(&nodes[..order.nodes]),
            history: self.add_history(history),
            messages: Arc::from([]),
        }
    }

    /// All that may happen next.
    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.clear();
        let order = self.known.order;
        let used = &self.history(state.history).thing.used;
        let Bounds {
            terms,
            campaigns,
            proposals,
            calls,
            beats,
            give_ups,
            crashes,
            snapshots,
            changes,
            transfers,
            reads,
            retries,
        } = order.bounds;
        for nth in 0..order.nodes as u8 {
            let node = &self.node(state.nodes[usize::from(nth)]).thing;
            let mut may = |event: Event, it_may: bool| {
                if it_may {
                    actions.push(Action { node: nth, event });
                }
            };
            may(
                Event::Campaign,
                used.campaigns < campaigns && node.term.0 < u64::from(terms) && node.may_campaign,
            );
            may(Event::Written, node.writes);
            may(Event::Count, order.slow_count && node.has_won);
            may(Event::Crash(false), used.crashes < crashes);
            may(Event::Crash(true), used.crashes < crashes && node.writes);
            may(
                Event::Snapshot,
                used.snapshots < snapshots && node.could_snapshot,
            );
            may(
                Event::Read,
                used.reads < reads && (node.leads || order.read_anywhere),
            );
            may(Event::Retry, used.retries < retries && node.retries);
            if !node.leads {
                continue;
            }
            may(Event::Beat, node.beats < beats);
            may(Event::Propose, used.proposals < proposals);
            may(Event::Call, used.calls < calls);
            let waits = order.check_quorum || node.transfers;
            may(Event::GiveUp, used.give_ups < give_ups && waits);
            if used.changes < changes {
                for change in 0..self.changes() {
                    may(Event::Change(change), true);
                }
            }
            if used.transfers < transfers {
                for to in (0..order.nodes as u8).filter(|&to| to != nth) {
                    may(Event::Transfer(to), true);
                }
            }
        }
        let late = order.pre_vote || order.check_quorum;
        for &number in state.messages.iter() {
            let told = &self.message(number).thing;
            if !order.noise && told.is_noise(&self.node(state.nodes[told.to]).thing, order) {
                continue;
            }
            let node = told.to as u8;
            let event = Event::Receive(number, false);
            actions.push(Action { node, event });
            if late && told.asks_for_vote {
                let event = Event::Receive(number, true);
                actions.push(Action { node, event });
            }
        }
    }

    /// What an action leads to, nothing if it changes nothing; and the goals that it reaches. Puts what is said for the first time into
    /// `wire`.
    fn go(
        &mut self,
        state: &State,
        action: Action,
        wire: &mut Wire,
    ) -> Result<(Option<Next>, u64), String> {
        let node = state.nodes[usize::from(action.node)];
        let number = self.step(node, action.event);
        let outcome = self.outcome(number);
        if let Some(broken) = &outcome.broken {
            return Err(broken.clone());
        }
        let order = self.known.order;
        let Wire { fresh, dead } = wire;
        fresh.clear();
        dead.clear();
        let sent = outcome.sent.iter().copied();
        fresh.extend(sent.filter(|&message| {
            let told = &self.message(message).thing;
            let receiver = &self.node(state.nodes[told.to]).thing;
            !(state.messages.contains(&message) || told.is_dead(receiver, order))
        }));
        if outcome.next != node {
            let new = &self.node(outcome.next).thing;
            dead.extend(state.messages.iter().filter(|&&message| {
                let told = &self.message(message).thing;
                told.to == usize::from(action.node) && told.is_dead(new, order)
            }));
        }
        if let Event::Receive(message, _) = action.event
            && self.message(message).thing.asks_to_read
        {
            dead.push(message);
        }
        if outcome.next == node && fresh.is_empty() && outcome.answers.is_empty() {
            return Ok((None, outcome.reached));
        }
        let (history, reached) = {
            let mut others = [&self.node(node).thing; MAX_NODES];
            let mut many = 0;
            for (nth, &other) in state.nodes[..self.known.order.nodes].iter().enumerate() {
                if nth != usize::from(action.node) {
                    others[many] = &self.node(other).thing;
                    many += 1;
                }
            }
            let look = Look {
                action,
                old: &self.node(node).thing,
                new: &self.node(outcome.next).thing,
                outcome,
                others: &others[..many],
                said: &state.messages,
                told: &|message| &self.message(message).thing,
                fresh,
                history: &self.history(state.history).thing,
                founders: &self.known.founders,
            };
            look.judge()?
        };
        let reached = reached | outcome.reached;
        let node = outcome.next;
        // Last, so that a law that has a sentence of its own for it speaks.
        let cluster = self.refine(state.cluster, number)?;
        let history = match history {
            Some(history) => self.add_history(history),
            None => state.history,
        };
        let next = Next {
            node,
            history,
            cluster,
        };
        Ok((Some(next), reached))
    }

    fn sums(&self, state: &State) -> Sums {
        let many = self.known.renamings.len();
        let mut sums = vec![0_u128; many];
        let order = self.known.order;
        for &node in &state.nodes[..order.nodes] {
            add(&mut sums, &self.node(node).names);
        }
        for &message in state.messages.iter() {
            add(&mut sums, &self.message(message).names);
        }
        sums
    }

    /// The name of these nodes: the least of the names under all renamings.
    pub(super) fn name_of_nodes(&self, nodes: &[u32]) -> u128 {
        let name = |nth: usize| {
            let names = nodes.iter().map(|&node| self.node(node).names[nth]);
            names.fold(0_u128, u128::wrapping_add)
        };
        let all = (0..self.known.renamings.len()).map(name);
        all.min().unwrap_or_default()
    }

    /// The name of the state that a step leads to: the least of its names under all renamings.
    fn name(&self, sums: &Sums, old: u32, next: &Next, wire: &Wire) -> u128 {
        let (old, new) = (&self.node(old).names, &self.node(next.node).names);
        let history = &self.history(next.history).names;
        let name = |nth: usize| {
            let mut sum = sums[nth].wrapping_sub(old[nth]).wrapping_add(new[nth]);
            for &message in &wire.fresh {
                sum = sum.wrapping_add(self.message(message).names[nth]);
            }
            for &message in &wire.dead {
                sum = sum.wrapping_sub(self.message(message).names[nth]);
            }
            sum.wrapping_add(history[nth])
        };
        (0..sums.len()).map(name).min().unwrap_or_default()
    }

    fn name_of(&self, state: &State) -> u128 {
        let sums = self.sums(state);
        let &State {
            nodes: [node, ..],
            history,
            cluster,
            ..
        } = state;
        let next = Next {
            node,
            history,
            cluster,
        };
        self.name(&sums, node, &next, &Wire::default())
    }
}

fn add(sums: &mut [u128], names: &[u128]) {
    for (sum, name) in sums.iter_mut().zip(names) {
        *sum = sum.wrapping_add(*name);
    }
}
