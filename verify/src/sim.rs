//! The simulator: whole clusters in virtual time, in one thread, repeatable from one seed.
//!
//! It runs [`Shared`](biglock::node::Shared): the very sections that a node runs under its lock, around the same rules, the same sessions and the same
//! key-value store. What surrounds them is made up, and wicked: a network that loses, delays, repeats and reorders, links that are cut in
//! one direction, disks that stall or fail, machines that lose their power in the middle of a write, clocks that drift.
//!
//! After every event the laws are checked: the five safety properties of figure 3, the invariants of every node, that what is applied is
//! applied in order and with the same result everywhere, that a node says nothing that its disk does not hold, that what is committed is on
//! a majority of the disks, and that no thread sleeps that has something to do. A broken law is a panic.
//!
//! ```
//! use std::time::Duration;
//! use biglock_verify::sim::Sim;
//!
//! let mut sim = Sim::new(7, 3);
//! assert!(sim.run_until(Duration::from_secs(5), |sim| sim.leader().is_some()));
//! let old = sim.leader().unwrap();
//! sim.crash(old);
//! assert!(sim.run_until(Duration::from_secs(5), |sim| sim.leader().is_some()));
//! assert_ne!(sim.leader(), Some(old));
//! ```

mod asking;
mod client;
mod clock;
mod disk;
mod laws;
mod machine;
mod network;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use biglock::node::{Decided, Served, SnapshotTaken, Tell};
use biglock::rules::{Members, Raft, Role, Settings};
use biglock::{Entry, Message, NodeId, Outside, RoleKind, Term, Time};
use bytes::Bytes;
use fastrand::Rng;

pub use client::{ClientId, Commands, Plan};
pub use disk::{Disk, DiskHabits};
pub use network::{Network, Traffic, Weather};

use client::{Answer, Clients, Request};
use laws::Laws;
use machine::Machine;

/// Something that will happen.
enum Event {
    /// A message arrives.
    Deliver(Message),
    /// A node's time has come, perhaps.
    Wake(NodeId, u64),
    /// A node's write ends.
    Written(NodeId, u64),
    /// A node's state machine has done its job.
    Applied(NodeId, u64),
    /// A client's request arrives at a node.
    Request(NodeId, Request),
    /// The answer arrives at the client.
    Answer(ClientId, u64, NodeId, Answer),
    /// A client's time has come.
    Client(ClientId, u64),
}

/// An event and when; of those at one time the first that was planned comes first.
struct Planned {
    at: Time,
    number: u64,
    event: Event,
}

/// Something that was asked of a node, and whose end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// How that ended.
#[derive(Debug)]
pub enum Outcome {
    /// A proposal.
    Decided(Decided),
    /// A read: what the node's store held at that moment, if a key was asked for.
    Served(Served, Option<Bytes>),
    /// A wish for a snapshot.
    Snapshot(SnapshotTaken),
    /// Nobody will ever tell: the node forgot whom it had to.
    Forgotten,
}

type Mailbox = Arc<Mutex<Vec<(Ticket, Outcome)>>>;

/// What surrounds the machines.
struct Context {
    now: Time,
    random: Rng,
    planned: BinaryHeap<Reverse<Planned>>,
    /// How many events were planned.
    number: u64,
    network: Network,
    laws: Laws,
    /// What the specification knows, and asks of every step.
    spec: crate::spec::Cluster,
    outside: Outside,
    told: Mailbox,
    tickets: u64,
    /// Whether to print every message and every change of leadership.
    trace: bool,
    /// The events of this very moment: time must go on.
    at_once: u64,
    /// A digest of all that happened.
    fingerprint: u64,
}

/// A cluster, its clients, and all that may happen to them.
pub struct Sim {
    context: Context,
    machines: BTreeMap<NodeId, Machine>,
    clients: Clients,
    outcomes: BTreeMap<Ticket, Outcome>,
    /// What was asked for and has not ended.
    asked: BTreeSet<Ticket>,
    /// How far a clock may be off, in millionths.
    drift: i64,
}

impl Sim {
    /// A cluster of `nodes` with the settings of the course's labs, on good machines, in a fair network. Everything that is left to
    /// chance follows from `seed`.
    pub fn new(seed: u64, nodes: u64) -> Sim {
        Sim::with(seed, nodes, |_| {})
    }

    /// The same with other settings.
    pub fn with(seed: u64, nodes: u64, change: impl Fn(&mut Settings)) -> Sim {
        let mut sim = Sim::of_machines(seed, nodes, DiskHabits::default(), change);
        sim.start_all();
        sim
    }

    /// The same with other disks, and nobody is started yet.
    pub fn of_machines(
        seed: u64,
        nodes: u64,
        disks: DiskHabits,
        change: impl Fn(&mut Settings),
    ) -> Sim {
        let mut sim = Sim {
            context: Context {
                now: Time::ZERO,
                random: Rng::with_seed(seed),
                planned: BinaryHeap::new(),
                number: 0,
                network: Network::new(Weather::fair()),
                laws: Laws::default(),
                spec: crate::spec::Cluster::new(),
                outside: Outside::claim("simulator"),
                told: Mailbox::default(),
                tickets: 0,
                trace: std::env::var_os("BIGLOCK_TRACE").is_some(),
                at_once: 0,
                fingerprint: 0,
            },
            machines: BTreeMap::new(),
            clients: Clients::default(),
            outcomes: BTreeMap::new(),
            asked: BTreeSet::new(),
            drift: 0,
        };
        let ids = (1..=nodes).map(NodeId);
        for id in ids.clone() {
            let mut settings = lab_settings(id, Members::voting(ids.clone()));
            change(&mut settings);
            sim.add_machine(settings, disks.clone());
            let slow = Duration::ZERO..Duration::from_micros(500);
            let time = sim.context.random.bool().then_some(slow);
            sim.set_apply_time(id, time);
        }
        sim
    }

    /// One more machine, not started yet. With no members in its settings it waits to be added to the cluster.
    pub fn add_machine(&mut self, settings: Settings, habits: DiskHabits) {
        let (id, disk) = (settings.id, Disk::new(habits));
        self.context.laws.disks.insert(id, disk.clone());
        let machine = Machine::new(id, settings, disk);
        self.machines.insert(id, machine);
    }

    // ---- time

    /// The time now.
    pub fn now(&self) -> Time {
        self.context.now
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.context.now + time;
        while self.step(end) {}
    }

    /// Lets time pass until `done`, for at most `limit`. Returns whether it was.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Sim) -> bool) -> bool {
        let end = self.context.now + limit;
        loop {
            if done(self) {
                return true;
            }
            if !self.step(end) {
                return false;
            }
        }
    }

    /// The next event, if it is not after `end`; else the time is `end`.
    fn step(&mut self, end: Time) -> bool {
        let next = self.context.planned.peek().map(|Reverse(next)| next.at);
        if next.is_none_or(|next| next > end) {
            self.context.now = self.context.now.max(end);
            self.context.at_once = 0;
            return false;
        }
        let Some(Reverse(Planned { at, event, .. })) = self.context.planned.pop() else {
            return false;
        };
        if at > self.context.now {
            self.context.at_once = 0;
        }
        self.context.at_once += 1;
        assert!(self.context.at_once < 1_000_000, "time stands still");
        self.context.now = at;
        self.context.mix(at.as_nanos());
        self.happen(event);
        self.hear();
        true
    }

    fn happen(&mut self, event: Event) {
        let context = &mut self.context;
        match event {
            Event::Deliver(message) => {
                if !context.network.reaches(message.from, message.to) {
                    return;
                }
                if context.trace {
                    eprintln!(
                        "{:?} {} hears {}: {message}",
                        context.now, message.to, message.from
                    );
                }
                if let Some(machine) = self.machines.get_mut(&message.to) {
                    machine.receive(context, message);
                }
            }
            Event::Wake(id, boot) => {
                if let Some(machine) = alive(&mut self.machines, id, boot) {
                    machine.wake(context);
                }
            }
            Event::Written(id, boot) => {
                if let Some(machine) = alive(&mut self.machines, id, boot) {
                    machine.written(context);
                }
            }
            Event::Applied(id, boot) => {
                if let Some(machine) = alive(&mut self.machines, id, boot) {
                    machine.applied(context);
                }
            }
            Event::Request(id, request) => {
                if let Some(machine) = self.machines.get_mut(&id) {
                    self.clients.serve(context, machine, request);
                }
            }
            Event::Answer(client, question, from, answer) => {
                self.clients.hear(context, client, question, from, answer);
            }
            Event::Client(client, alarm) => self.clients.wake(context, client, alarm),
        }
    }

    /// Those who were told: clients get their answers over the network, the others find them here.
    fn hear(&mut self) {
        loop {
            let told = self.context.take_told();
            if told.is_empty() {
                return;
            }
            for (ticket, outcome) in told {
                if let Outcome::Forgotten = outcome {
                    // Who was refused is not told either.
                    let waits = self.asked.contains(&ticket) || self.clients.awaits(ticket);
                    assert!(!waits, "a node forgot somebody who waits");
                    continue;
                }
                self.asked.remove(&ticket);
                if let Some(outcome) = self.clients.told(&mut self.context, ticket, outcome) {
                    self.outcomes.insert(ticket, outcome);
                }
            }
        }
    }

    // ---- machines

    /// Starts all machines that are down.
    pub fn start_all(&mut self) {
        let down: Vec<NodeId> = self.ids().filter(|&id| !self.is_up(id)).collect();
        down.into_iter().for_each(|id| self.start(id));
    }

    /// Starts a machine, with what is on its disk.
    pub fn start(&mut self, id: NodeId) {
        let drift = self.context.random.i64(-self.drift..=self.drift);
        let machine = self.machines.get_mut(&id).expect("a machine of this name");
        machine.start(&mut self.context, drift);
        self.hear();
    }

    /// A machine loses its power: what was not synced is lost, and nobody is told anything.
    pub fn crash(&mut self, id: NodeId) {
        let context = &mut self.context;
        if let Some(machine) = self.machines.get_mut(&id) {
            machine.crash(&mut context.random);
        }
        // Nobody can be told by a machine that is down.
        for (ticket, _) in self.context.take_told() {
            self.asked.remove(&ticket);
            self.clients.forget(ticket);
        }
    }

    /// A node is shut down: its callers are told, and the machine is down.
    pub fn shut_down(&mut self, id: NodeId) {
        if let Some(machine) = self.machines.get_mut(&id) {
            machine.shut_down(&mut self.context);
        }
        self.hear();
    }

    /// Whether a node runs.
    pub fn is_up(&self, id: NodeId) -> bool {
        let life = self.machines.get(&id).and_then(|m| m.life.as_ref());
        life.is_some_and(|life| life.shared.stopped().is_none())
    }

    /// How the clocks of machines that are started from now on drift: by at most so many millionths.
    pub fn let_clocks_drift(&mut self, millionths: i64) {
        self.drift = millionths;
    }

    /// How long a machine's state machine takes for each job from its next start on; nothing if it takes no time.
    pub fn set_apply_time(&mut self, id: NodeId, time: Option<Range<Duration>>) {
        if let Some(machine) = self.machines.get_mut(&id) {
            machine.apply_time = time;
        }
    }

    /// A machine's disk.
    pub fn disk(&self, id: NodeId) -> &Disk {
        &self.machines[&id].disk
    }

    /// For how long no write of this machine ends.
    pub fn stall_disk(&mut self, id: NodeId, time: Duration) {
        let until = self.context.now + time;
        self.disk(id).change(|disk| disk.stalled_until = until);
    }

    // ---- network

    /// The network.
    pub fn network(&mut self) -> &mut Network {
        &mut self.context.network
    }

    /// What was sent so far.
    pub fn traffic(&self) -> Traffic {
        self.context.network.traffic()
    }

    /// Only those of one group hear each other.
    pub fn partition(&mut self, groups: &[&[NodeId]]) {
        let ids: Vec<NodeId> = self.ids().collect();
        let together = |a: NodeId, b: NodeId| {
            groups
                .iter()
                .any(|group| group.contains(&a) && group.contains(&b))
        };
        let network = &mut self.context.network;
        network.mend_all();
        for &from in &ids {
            for &to in &ids {
                if from != to && !together(from, to) {
                    network.cut(from, to);
                }
            }
        }
    }

    /// Everyone hears everyone.
    pub fn heal(&mut self) {
        self.context.network.mend_all();
    }

    // ---- looking

    /// All machines.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<'_> {
        self.machines.keys().copied()
    }

    /// The rules of a node that runs.
    pub fn raft(&self, id: NodeId) -> Option<&Raft> {
        let life = self.machines.get(&id)?.life.as_ref()?;
        life.shared.stopped().is_none().then_some(&life.shared.raft)
    }

    /// Whether a node runs and leads.
    pub fn leads(&self, id: NodeId) -> bool {
        let role = self.raft(id).map(Raft::role);
        matches!(role, Some(Role::Leader(_)))
    }

    /// Who leads, of those who think they do in the latest term.
    pub fn leader(&self) -> Option<NodeId> {
        let leaders = self.ids().filter(|&id| self.leads(id));
        leaders.max_by_key(|&id| self.term(id))
    }

    /// A node's term; zero if it does not run.
    pub fn term(&self, id: NodeId) -> Term {
        self.raft(id).map_or(Term(0), Raft::term)
    }

    /// A node's role.
    pub fn role(&self, id: NodeId) -> Option<RoleKind> {
        self.raft(id).map(|raft| raft.role().kind())
    }

    /// What a node has applied; zero if it does not run.
    pub fn applied(&self, id: NodeId) -> u64 {
        self.raft(id).map_or(0, Raft::applied)
    }

    /// How many nodes have applied the entry at `index`.
    pub fn count_applied(&self, index: u64) -> usize {
        self.ids().filter(|&id| self.applied(id) >= index).count()
    }

    /// The entry that was committed at `index`.
    pub fn committed(&self, index: u64) -> Option<&Entry> {
        self.context.laws.chosen(index)
    }

    /// The last index that anyone has committed.
    pub fn last_committed(&self) -> u64 {
        self.context.laws.last_chosen()
    }

    /// How many terms had a leader.
    pub fn terms_led(&self) -> usize {
        self.context.laws.terms_led()
    }

    /// The value of a key in a node's own store.
    pub fn value(&self, id: NodeId, key: &str) -> Option<Bytes> {
        self.machines[&id].life.as_ref()?.store.get(key)
    }

    /// How many callers wait at a node.
    pub fn waiting_callers(&self, id: NodeId) -> usize {
        let life = self.machines.get(&id).and_then(|m| m.life.as_ref());
        life.map_or(0, |life| life.shared.waiting_callers())
    }

    /// Whether a node's write is under way.
    pub fn is_writing(&self, id: NodeId) -> bool {
        let life = self.machines.get(&id).and_then(|m| m.life.as_ref());
        life.is_some_and(machine::Life::is_writing)
    }

    /// Whether a node's election thread waits for votes.
    pub fn is_campaigning(&self, id: NodeId) -> bool {
        let life = self.machines.get(&id).and_then(|m| m.life.as_ref());
        life.is_some_and(machine::Life::is_campaigning)
    }

    /// Whether a node's state machine is at work.
    pub fn is_applying(&self, id: NodeId) -> bool {
        let life = self.machines.get(&id).and_then(|m| m.life.as_ref());
        life.is_some_and(machine::Life::is_applying)
    }

    /// What a node's clock shows.
    pub fn clock(&self, id: NodeId) -> Time {
        self.machines[&id].clock(self.context.now)
    }

    /// Of what has happened so far: the same for the same seed.
    pub fn fingerprint(&self) -> u64 {
        self.context.fingerprint
    }

    /// Chance: for whoever decides what happens next.
    pub fn random(&mut self) -> &mut Rng {
        &mut self.context.random
    }
}

impl Context {
    fn at(&mut self, at: Time, event: Event) {
        self.number += 1;
        let number = self.number;
        let planned = Planned { at, number, event };
        self.planned.push(Reverse(planned));
    }

    /// A message leaves.
    fn send(&mut self, from: &Raft, message: Message) {
        self.laws.sends(from, &message);
        self.mix(message.to.0 ^ message.term.0 << 8);
        let arrivals = self.network.carry(&mut self.random, self.now, &message);
        for at in arrivals {
            self.at(at, Event::Deliver(message.clone()));
        }
    }

    /// Somebody who will find the outcome under the ticket.
    fn ticket<T: 'static>(
        &mut self,
        outcome: impl FnOnce(T) -> Outcome + Send + 'static,
    ) -> (Ticket, Tell<T>) {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let mut waits = Waits {
            told: self.told.clone(),
            ticket: Some(ticket),
        };
        let tell = Tell::call(move |_, value| waits.hear(outcome(value)));
        (ticket, tell)
    }

    fn take_told(&self) -> Vec<(Ticket, Outcome)> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *told)
    }

    fn mix(&mut self, value: u64) {
        // The multiplier of Knuth's generator: enough to tell two runs apart.
        let mixed = (self.fingerprint ^ value).wrapping_mul(6_364_136_223_846_793_005);
        self.fingerprint = mixed.rotate_left(29);
    }
}

/// Somebody who waits, and notices if the one who was to tell is gone.
struct Waits {
    told: Mailbox,
    ticket: Option<Ticket>,
}

impl Waits {
    fn hear(&mut self, outcome: Outcome) {
        if let Some(ticket) = self.ticket.take() {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            told.push((ticket, outcome));
        }
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.hear(Outcome::Forgotten);
    }
}

/// The settings of the labs: at most 20 heartbeats a second, and a leader within a second.
pub fn lab_settings(id: NodeId, members: Members) -> Settings {
    Settings {
        election_timeout_min: Duration::from_millis(250),
        election_timeout_max: Duration::from_millis(500),
        heartbeat: Duration::from_millis(50),
        ..Settings::new(id, members)
    }
}

fn alive(machines: &mut BTreeMap<NodeId, Machine>, id: NodeId, boot: u64) -> Option<&mut Machine> {
    machines.get_mut(&id).filter(|machine| machine.boot == boot)
}

fn between(random: &mut Rng, range: &Range<Duration>) -> Duration {
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let (from, to) = (nanos(range.start), nanos(range.end));
    Duration::from_nanos(random.u64(from..to.max(from + 1)))
}

impl PartialEq for Planned {
    fn eq(&self, other: &Planned) -> bool {
        self.number == other.number
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Planned) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Planned) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}
