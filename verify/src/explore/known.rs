//! Nodes, messages and histories by number; and what each input does to each node, run once by the real rules.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use biglock::rules::{Answer, Appended, Body, Change, Members, NodeId, RoleKind, Term, Verdict};
use biglock::{Entry, Message};

use super::Order;
use super::laws::{self, GOALS, History};
use super::machine::{self, Input, Machine, Section};
use super::seen::Index;
use super::tape::{self, FIRST_NODE, Renaming, Tape};
use crate::spec::Cluster;

/// What all workers know.
pub struct Known {
    /// The configuration.
    pub order: &'static Order,
    /// The renamings of nodes that lead from a beginning to a beginning.
    pub renamings: Vec<Renaming>,
    /// The members at the beginning.
    pub founders: Members,
    changes: Vec<Change>,
    nodes: Mutex<Shelf<Node>>,
    messages: Mutex<Shelf<Told>>,
    histories: Mutex<Shelf<History>>,
    sections: Mutex<Shelf<(NodeId, Section)>>,
    clusters: Mutex<Shelf<Cluster>>,
}

/// Things by number, each once.
struct Shelf<T> {
    numbers: BTreeMap<u128, u32>,
    things: Vec<Arc<Named<T>>>,
}

/// A thing, and its names under all renamings.
pub struct Named<T> {
    /// The names.
    pub names: Vec<u128>,
    /// The thing.
    pub thing: T,
}

/// A node, and what others look at most.
pub struct Node {
    /// The node.
    pub machine: Machine,
    /// Whether it leads.
    pub leads: bool,
    /// Its term.
    pub term: Term,
    /// What it has committed.
    pub commit: u64,
    /// The index of the last entry that is not in its log any more.
    pub gone: u64,
    /// Term and fingerprint of each entry after that.
    pub entries: Vec<(Term, u64)>,
    /// Whether it stands for election and can't win any more: for the goal "a split vote".
    pub lost: bool,
    /// Its role.
    pub role: RoleKind,
    /// The term that its disk holds.
    pub durable: Term,
    /// Whether its election timeout may pass,
    pub campaigns: bool,
    /// and whether that would change anything.
    pub may_campaign: bool,
    /// Whether a write is under way.
    pub writes: bool,
    /// Whether the votes call for its election thread.
    pub has_won: bool,
    /// Whether it could take a snapshot.
    pub could_snapshot: bool,
    /// Whether reads wait that are asked for again.
    pub retries: bool,
    /// Whether it hands over.
    pub transfers: bool,
    /// How many heartbeats it has sent.
    pub beats: u8,
}

/// A message, and what others look at most.
pub struct Told {
    /// The message.
    pub message: Message,
    /// Whom it is for.
    pub to: usize,
    /// Whether it matters when a leader was last heard.
    pub asks_for_vote: bool,
    /// Whether it asks for a read. Each arrival begins a round of heartbeats, without end if it may come again and again.
    pub asks_to_read: bool,
    /// Whom it gives a vote to.
    pub vote: Option<NodeId>,
    /// The role in which its receiver asked, if it is an answer.
    pub answers: Option<RoleKind>,
    /// Whether it says no to a candidate, or to a leader of a term that has passed.
    pub refuses: bool,
}

/// What an input does to a node.
pub struct Outcome {
    /// The node afterwards.
    pub next: u32,
    /// What it says.
    pub sent: Vec<u32>,
    /// The reads that it answers.
    pub answers: Vec<(u64, Option<u64>)>,
    /// The read that begins.
    pub read: Option<u64>,
    /// The goals that it reaches: bit `n` for the n-th of all.
    pub reached: u64,
    /// The sections that it takes.
    pub sections: Vec<u32>,
    /// The law that it breaks.
    pub broken: Option<String>,
}

/// What happens next: to which node, and what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// The node.
    pub node: u8,
    /// What happens to it.
    pub event: Event,
}

/// What happens: an [`Input`], by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// This message arrives, perhaps long after a leader was heard.
    Receive(u32, bool),
    /// An election timeout passes.
    Campaign,
    /// The election thread looks at the votes.
    Count,
    /// Heartbeats are due.
    Beat,
    /// Heartbeats are due, and what the leader waits for is late.
    GiveUp,
    /// A client proposes.
    Propose,
    /// A client sends its request.
    Call,
    /// A write is durable.
    Written,
    /// A crash, after which a write has happened or not.
    Crash(bool),
    /// A snapshot is taken.
    Snapshot,
    /// The n-th of the configuration's changes of members.
    Change(u8),
    /// A transfer, to the n-th node.
    Transfer(u8),
    /// A client reads.
    Read,
    /// Reads are asked for again.
    Retry,
}

impl Event {
    fn number(self) -> u32 {
        match self {
            Event::Receive(message, late) => 64 + 2 * message + u32::from(late),
            Event::Campaign => 0,
            Event::Count => 1,
            Event::Beat => 2,
            Event::GiveUp => 3,
            Event::Propose => 4,
            Event::Written => 5,
            Event::Crash(torn) => 6 + u32::from(torn),
            Event::Snapshot => 8,
            Event::Read => 9,
            Event::Retry => 10,
            Event::Call => 11,
            Event::Transfer(to) => 16 + u32::from(to),
            Event::Change(nth) => 32 + u32::from(nth),
        }
    }
}

/// The name of a node.
pub fn name_of(machine: &Machine) -> u128 {
    names_of(machine, &[tape::IDENTITY], false)[0]
}

/// The names of a node. With `forget`, however often it has written: only if it is never named in the middle of a write, for then the number shows, and
/// two nodes of one name would lead to nodes of two.
pub(super) fn names_of(machine: &Machine, renamings: &[Renaming], forget: bool) -> Vec<u128> {
    let Machine {
        raft,
        disk,
        write,
        state,
        beats,
        lives,
        past,
    } = machine;
    let mut tape = Tape::default();
    raft.hash(&mut tape);
    if forget {
        tape.forget_writes(raft.latest_write().0);
    }
    let entries: Vec<&Entry> = disk.log.iter().map(|(_, entry)| entry).collect();
    (disk.hard_state, &disk.snapshot, entries).hash(&mut tape);
    (write, state, beats, lives, past).hash(&mut tape);
    tape.names(renamings)
}

impl Known {
    /// Nothing yet.
    pub fn new(order: &'static Order) -> Known {
        Known {
            order,
            renamings: renamings(order),
            founders: machine::founders(order),
            changes: (order.changes)(),
            nodes: Mutex::default(),
            messages: Mutex::default(),
            histories: Mutex::default(),
            sections: Mutex::default(),
            clusters: Mutex::default(),
        }
    }

    /// How many different nodes, messages and histories were met.
    pub fn sizes(&self) -> (usize, usize, usize) {
        (
            locked(&self.nodes).things.len(),
            locked(&self.messages).things.len(),
            locked(&self.histories).things.len(),
        )
    }

    /// Keeps the clusters of these states alone, under new numbers: most are of one level. Whoever knows of them must
    /// [forget](Library::forget_clusters) the old numbers.
    pub(super) fn keep_clusters<'a>(&self, numbers: impl Iterator<Item = &'a mut u32>) {
        let mut clusters = locked(&self.clusters);
        let all = std::mem::take(&mut *clusters).things;
        let mut kept = vec![None; all.len()];
        for number in numbers {
            let old = *number as usize;
            *number = *kept[old].get_or_insert_with(|| {
                let cluster = all[old].clone();
                let new = clusters.things.len() as u32;
                clusters.numbers.insert(cluster.names[0], new);
                clusters.things.push(cluster);
                new
            });
        }
    }
}

/// Those that change nothing about the beginning: nodes that begin alike may change places.
fn renamings(order: &Order) -> Vec<Renaming> {
    let mut all = vec![tape::IDENTITY];
    for nth in 0..order.nodes {
        let swaps = all.iter().flat_map(|renaming| {
            (nth + 1..order.nodes).map(move |other| {
                let mut renaming = *renaming;
                renaming.swap(nth, other);
                renaming
            })
        });
        let swaps: Vec<Renaming> = swaps.collect();
        all.extend(swaps);
    }
    let first = |nth: usize| Machine::start(order, nth, machine::first_disk(order, nth), 0);
    let first: Vec<Machine> = (0..order.nodes).map(first).collect();
    all.retain(|to| {
        let alike = |nth: usize| {
            let other = &first[usize::from(to[nth])];
            names_of(&first[nth], &[*to], false)[0] == name_of(other)
        };
        (0..order.nodes).all(alike)
    });
    // Changes of members name nodes: a renaming must lead from changes to changes.
    let changes = (order.changes)();
    let tokens = |to: &Renaming| {
        let mut names: Vec<u128> = changes
            .iter()
            .flat_map(|change| tape::names(change, &[*to]))
            .collect();
        names.sort_unstable();
        names
    };
    let same = tokens(&tape::IDENTITY);
    all.retain(|to| tokens(to) == same);
    all
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Shelf {
            numbers: BTreeMap::new(),
            things: Vec::new(),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one worker knows: the same things, without asking for a lock.
pub struct Library<'a> {
    /// What all know.
    pub known: &'a Known,
    nodes: Vec<Arc<Named<Node>>>,
    messages: Vec<Arc<Named<Told>>>,
    histories: Vec<Arc<Named<History>>>,
    sections: Vec<Arc<Named<(NodeId, Section)>>>,
    clusters: Vec<Arc<Named<Cluster>>>,
    outcomes: Vec<Outcome>,
    steps: Index,
    /// To which cluster a section leads from which.
    refined: Index,
}

impl<'a> Library<'a> {
    /// Nothing yet.
    pub fn new(known: &'a Known) -> Library<'a> {
        Library {
            known,
            nodes: Vec::new(),
            messages: Vec::new(),
            histories: Vec::new(),
            sections: Vec::new(),
            clusters: Vec::new(),
            outcomes: Vec::new(),
            steps: Index::default(),
            refined: Index::default(),
        }
    }

    /// Takes over what others have found, so that looking it up needs no lock.
    pub fn refresh(&mut self) {
        fn more<T>(mine: &mut Vec<Arc<Named<T>>>, all: &Mutex<Shelf<T>>) {
            let all = locked(all);
            mine.extend_from_slice(&all.things[mine.len()..]);
        }
        more(&mut self.nodes, &self.known.nodes);
        more(&mut self.messages, &self.known.messages);
        more(&mut self.histories, &self.known.histories);
        more(&mut self.sections, &self.known.sections);
        more(&mut self.clusters, &self.known.clusters);
    }

    /// The node of this number.
    pub fn node(&self, number: u32) -> &Named<Node> {
        &self.nodes[number as usize]
    }

    /// The message of this number.
    pub fn message(&self, number: u32) -> &Named<Told> {
        &self.messages[number as usize]
    }

    /// The history of this number.
    pub fn history(&self, number: u32) -> &Named<History> {
        &self.histories[number as usize]
    }

    /// The number of a node.
    pub fn add_node(&mut self, machine: Machine) -> u32 {
        let names = names_of(&machine, &self.known.renamings, !self.known.order.slow_disk);
        let number = add(&self.known.nodes, names, || Node::new(machine));
        self.refresh();
        number
    }

    /// The number of a history.
    pub fn add_history(&mut self, history: History) -> u32 {
        let names = tape::names(&history, &self.known.renamings);
        let number = add(&self.known.histories, names, || history);
        self.refresh();
        number
    }

    /// The number of the specification's cluster in which these nodes have just started.
    pub fn add_beginning(&mut self, nodes: &[u32]) -> u32 {
        let mut cluster = Cluster::new();
        for &node in nodes {
            let machine = &self.node(node).thing.machine;
            let Section { now, entries, .. } = machine.beginning();
            let started = cluster.start(machine.raft.id(), &now, &entries);
            started.expect("they begin alike");
        }
        self.add_cluster(cluster)
    }

    fn add_cluster(&mut self, cluster: Cluster) -> u32 {
        let names = tape::names(&cluster, &[tape::IDENTITY]);
        let number = add(&self.known.clusters, names, || cluster);
        self.refresh();
        number
    }

    /// Forgets the clusters' numbers: they are others now.
    pub(super) fn forget_clusters(&mut self) {
        self.clusters.clear();
        self.refined = Index::default();
    }

    /// What the cluster of this number is after an outcome, if the specification allows it.
    ///
    /// # Errors
    /// If it does not: why.
    pub fn refine(&mut self, mut cluster: u32, outcome: usize) -> Result<u32, String> {
        for nth in 0..self.outcomes[outcome].sections.len() {
            let section = self.outcomes[outcome].sections[nth];
            let key = u64::from(cluster) << 32 | u64::from(section);
            cluster = match self.refined.get(key) {
                Some(known) => known,
                None => {
                    let (node, section) = &self.sections[section as usize].thing;
                    let mut next = self.clusters[cluster as usize].thing.clone();
                    let Section {
                        starts,
                        now,
                        entries,
                    } = section;
                    let allowed = match starts {
                        true => next.start(*node, now, entries),
                        false => next.step(*node, now, entries),
                    };
                    allowed.map_err(|refused| refused.to_string())?;
                    let next = self.add_cluster(next);
                    self.refined.insert(key, next);
                    next
                }
            };
        }
        Ok(cluster)
    }

    fn add_message(&mut self, message: Message) -> u32 {
        let names = tape::names(&message, &self.known.renamings);
        add(&self.known.messages, names, || Told::new(message))
    }

    /// What this does to the node of this number: the number of the outcome.
    pub fn step(&mut self, node: u32, event: Event) -> usize {
        let key = u64::from(node) << 32 | u64::from(event.number());
        if let Some(known) = self.steps.get(key) {
            return known as usize;
        }
        let outcome = self.run(node, event);
        let number = self.outcomes.len();
        self.outcomes.push(outcome);
        self.steps.insert(key, number as u32);
        number
    }

    /// The outcome of this number.
    pub fn outcome(&self, number: usize) -> &Outcome {
        &self.outcomes[number]
    }

    /// The input that an event is.
    pub fn input(&self, event: Event) -> Input<'_> {
        match event {
            Event::Receive(message, late) => Input::Receive {
                message: &self.message(message).thing.message,
                late,
            },
            Event::Campaign => Input::Campaign,
            Event::Count => Input::Count,
            Event::Beat => Input::Beat,
            Event::GiveUp => Input::GiveUp,
            Event::Propose => Input::Propose,
            Event::Call => Input::Call,
            Event::Written => Input::Written,
            Event::Crash(torn) => Input::Crash { torn },
            Event::Snapshot => Input::Snapshot,
            Event::Change(nth) => Input::Change(&self.known.changes[usize::from(nth)]),
            Event::Transfer(to) => Input::Transfer(NodeId(FIRST_NODE + u64::from(to))),
            Event::Read => Input::Read,
            Event::Retry => Input::Retry,
        }
    }

    /// How many changes of members are tried.
    pub fn changes(&self) -> u8 {
        self.known.changes.len() as u8
    }

    fn run(&mut self, node: u32, event: Event) -> Outcome {
        let mut outcome = Outcome {
            next: node,
            sent: Vec::new(),
            answers: Vec::new(),
            read: None,
            reached: 0,
            sections: Vec::new(),
            broken: None,
        };
        let machine = &self.node(node).thing.machine;
        let input = self.input(event);
        let order = self.known.order;
        let stepped = silently(|| machine.step(order, input));
        let stepped = match stepped {
            Ok(stepped) => stepped,
            Err(broken) => {
                outcome.broken = Some(broken);
                return outcome;
            }
        };
        let id = stepped.machine.raft.id();
        let sections = stepped.sections.into_iter().map(|section| {
            let thing = (id, section);
            let names = tape::names(&thing, &[tape::IDENTITY]);
            add(&self.known.sections, names, || thing)
        });
        outcome.sections = sections.collect();
        outcome.next = self.add_node(stepped.machine);
        let sent = stepped.sent.into_iter();
        outcome.sent = sent.map(|message| self.add_message(message)).collect();
        self.refresh();
        let answers = stepped.answers.into_iter();
        outcome.answers = answers.map(|answer| (answer.id.0, answer.index)).collect();
        outcome.read = stepped.read;
        outcome.reached = stepped.reached.iter().map(|goal| bit(goal)).sum();
        outcome
    }
}

/// The bit of a goal.
///
/// # Panics
/// If it is not among [`GOALS`].
pub fn bit(goal: &str) -> u64 {
    let nth = GOALS.iter().position(|&known| known == goal);
    1 << nth.unwrap_or_else(|| panic!("\"{goal}\" is no goal"))
}

fn add<T>(shelf: &Mutex<Shelf<T>>, names: Vec<u128>, thing: impl FnOnce() -> T) -> u32 {
    let mut shelf = locked(shelf);
    // The first name is the one without renaming.
    if let Some(&number) = shelf.numbers.get(&names[0]) {
        return number;
    }
    let number = shelf.things.len() as u32;
    shelf.numbers.insert(names[0], number);
    let thing = thing();
    shelf.things.push(Arc::new(Named { names, thing }));
    number
}

thread_local! {
    /// Whether a panic of this thread is a sentence about the rules; and where the last one was.
    static LISTENS: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// From now on, panics in steps of the rules are not printed: `silently` catches them.
pub fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !LISTENS.get() {
                return before(info);
            }
            let place = info
                .location()
                .map(|at| format!(" ({}:{})", at.file(), at.line()));
            PLACE.set(place.unwrap_or_default());
        }));
    });
}

/// Runs a step of the rules, and makes a panic of theirs a sentence.
fn silently<R>(step: impl FnOnce() -> Result<R, String>) -> Result<R, String> {
    LISTENS.set(true);
    let result = catch_unwind(AssertUnwindSafe(step));
    LISTENS.set(false);
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("{}{}", text.unwrap_or("a panic"), PLACE.take()))
    })
}

impl Node {
    fn new(machine: Machine) -> Node {
        let raft = &machine.raft;
        let entries = raft.log().iter().map(|(_, entry)| {
            let names = tape::names(entry, &[tape::IDENTITY]);
            (entry.term, names[0] as u64)
        });
        Node {
            leads: machine.leads(),
            term: raft.term(),
            commit: raft.commit(),
            gone: raft.log().before().index,
            entries: entries.collect(),
            lost: raft.role().kind() == RoleKind::Candidate
                && raft.standing() == Some(Verdict::Refused),
            role: raft.role().kind(),
            durable: machine.disk.hard_state.term,
            campaigns: raft.election_deadline().is_some(),
            // To ask for a pre-vote again changes nothing.
            may_campaign: raft.election_deadline().is_some()
                && raft.role().kind() != RoleKind::PreCandidate,
            writes: machine.write.is_some(),
            has_won: machine.has_won(),
            could_snapshot: machine.could_snapshot(),
            retries: !machine.leads() && raft.retry_due().is_some(),
            transfers: raft.transferring_to().is_some(),
            beats: machine.beats,
            machine,
        }
    }

    /// Term and fingerprint of an entry, if it is here.
    pub fn entry(&self, index: u64) -> Option<(Term, u64)> {
        let offset = index.checked_sub(self.gone + 1)?;
        self.entries.get(offset as usize).copied()
    }

    /// The index of its last entry.
    pub fn last(&self) -> u64 {
        self.gone + self.entries.len() as u64
    }
}

impl Told {
    fn new(message: Message) -> Told {
        Told {
            to: (message.to.0 - FIRST_NODE) as usize,
            asks_for_vote: matches!(
                message.body,
                Body::PreVote { .. } | Body::RequestVote { .. }
            ),
            asks_to_read: matches!(message.body, Body::ReadIndex { .. }),
            vote: machine::vote(&message),
            answers: laws::asked_as(&message),
            refuses: match message.body {
                Body::PreVoteReply { answer, .. } | Body::VoteReply { answer } => {
                    answer != Answer::Granted
                }
                Body::AppendReply { answer, .. } => answer == Appended::Stale,
                _ => false,
            },
            message,
        }
    }

    /// Whether it never arrives any more. It answers what its receiver asked in a term that has passed, or in a role that it has left in
    /// this term: the rules drop such an answer, and where there are `late_answers` it arrives for them to do so. Or it is of a term that
    /// has passed and no answer, and such messages are lost.
    pub fn is_dead(&self, receiver: &Node, order: &Order) -> bool {
        let term = self.message.term;
        let passed = term < receiver.durable;
        match self.answers {
            Some(_) if order.late_answers => self.refuses && !order.noise,
            Some(asked_as) => {
                passed || term == receiver.durable.min(receiver.term) && receiver.role != asked_as
            }
            // The answer to a read is one as well, but of no role alone.
            None if matches!(self.message.body, Body::ReadIndexReply { .. }) => {
                passed && !order.late_answers
            }
            None => passed && !order.noise,
        }
    }

    /// Whether it can only tell its receiver that a term has passed, or that it is refused.
    pub fn is_noise(&self, receiver: &Node, order: &Order) -> bool {
        let late = order.late_answers && self.answers.is_some();
        self.refuses || self.message.term < receiver.term && !late
    }
}
