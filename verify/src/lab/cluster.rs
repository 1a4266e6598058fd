//! What the tests of the labs share: a cluster that they cut, crash and ask, in the words of the course's `config.go`.

use std::collections::BTreeSet;
use std::time::Duration;

use biglock::rules::{Payload, Settings};
use biglock::{NodeId, Position, Term};
use bytes::Bytes;

use crate::sim::{DiskHabits, Sim, Ticket, Weather};

/// "Raft election timeout" of the labs: a leader is there within a second.
pub const BUDGET: Duration = Duration::from_secs(1);

/// How long a test may take.
pub const LIMIT: Duration = Duration::from_secs(120);

/// A cluster under test.
pub struct Cluster {
    /// The simulator.
    pub sim: Sim,
    /// Who is on the network.
    connected: BTreeSet<NodeId>,
    /// The number of the next command.
    commands: u64,
}

impl Cluster {
    /// A cluster in a fair network.
    pub fn new(seed: u64, nodes: u64) -> Cluster {
        Cluster::of(Sim::new(seed, nodes))
    }

    /// The same in the course's unreliable network.
    pub fn unreliable(seed: u64, nodes: u64) -> Cluster {
        let mut cluster = Cluster::new(seed, nodes);
        cluster.sim.network().weather = Weather::unreliable();
        cluster
    }

    /// The same with other settings.
    pub fn with(seed: u64, nodes: u64, change: impl Fn(&mut Settings)) -> Cluster {
        Cluster::of(Sim::with(seed, nodes, change))
    }

    /// The same with other disks.
    pub fn on_disks(seed: u64, nodes: u64, disks: DiskHabits) -> Cluster {
        let mut sim = Sim::of_machines(seed, nodes, disks, |_| {});
        sim.start_all();
        Cluster::of(sim)
    }

    /// A cluster that exists.
    pub fn of(sim: Sim) -> Cluster {
        let connected = sim.ids().collect();
        Cluster {
            sim,
            connected,
            commands: 100,
        }
    }

    /// All machines.
    pub fn ids(&self) -> Vec<NodeId> {
        self.sim.ids().collect()
    }

    /// The machine that is `many` places after this one, round and round.
    pub fn after(&self, id: NodeId, many: usize) -> NodeId {
        let ids = self.ids();
        let at = ids.iter().position(|&other| other == id).unwrap_or(0);
        ids[(at + many) % ids.len()]
    }

    /// Lets time pass.
    pub fn sleep(&mut self, time: Duration) {
        self.sim.run_for(time);
    }

    /// Lets up to so many milliseconds pass.
    pub fn sleep_up_to(&mut self, millis: u64) {
        let millis = self.sim.random().u64(..millis);
        self.sleep(Duration::from_millis(millis));
    }

    // ---- network

    /// Takes a machine off the network.
    pub fn disconnect(&mut self, id: NodeId) {
        self.connected.remove(&id);
        self.rewire();
    }

    /// Puts it back.
    pub fn connect(&mut self, id: NodeId) {
        self.connected.insert(id);
        self.rewire();
    }

    /// Puts all back.
    pub fn connect_all(&mut self) {
        self.connected = self.sim.ids().collect();
        self.rewire();
    }

    /// Whether it is on the network.
    pub fn is_connected(&self, id: NodeId) -> bool {
        self.connected.contains(&id)
    }

    fn rewire(&mut self) {
        let connected: Vec<NodeId> = self.connected.iter().copied().collect();
        self.sim.partition(&[&connected]);
    }

    /// Those who run and are on the network.
    pub fn reachable(&self) -> Vec<NodeId> {
        let here = self.connected.iter().copied();
        here.filter(|&id| self.sim.is_up(id)).collect()
    }

    /// Crashes a machine, and starts it again.
    pub fn restart(&mut self, id: NodeId) {
        self.sim.crash(id);
        self.sim.start(id);
    }

    // ---- leaders

    /// The leader, once there is one: one in the latest term.
    ///
    /// # Panics
    /// If there is none for five seconds.
    pub fn check_one_leader(&mut self) -> NodeId {
        for _ in 0..10 {
            let pause = 450 + self.sim.random().u64(..100);
            self.sleep(Duration::from_millis(pause));
            if let Some(leader) = self.leader() {
                return leader;
            }
        }
        panic!("no leader among {:?} for five seconds", self.reachable());
    }

    /// Who of those on the network leads, in the latest term.
    pub fn leader(&self) -> Option<NodeId> {
        let all = self.reachable().into_iter();
        let leaders = all.filter(|&id| self.sim.leads(id));
        leaders.max_by_key(|&id| self.sim.term(id))
    }

    /// The term, on which all on the network agree.
    ///
    /// # Panics
    /// If they don't.
    pub fn check_terms(&self) -> Term {
        let all = self.reachable();
        let terms: BTreeSet<Term> = all.iter().map(|&id| self.sim.term(id)).collect();
        assert_eq!(terms.len(), 1, "{all:?} are in different terms: {terms:?}");
        terms.into_iter().next().unwrap_or_default()
    }

    /// Nobody on the network leads.
    ///
    /// # Panics
    /// If somebody does.
    pub fn check_no_leader(&self) {
        let leader = self.leader();
        assert!(leader.is_none(), "{leader:?} leads without a quorum");
    }

    // ---- commands

    /// A command that was not there before.
    pub fn new_command(&mut self) -> Bytes {
        self.commands += 1;
        format!("command {}", self.commands).into()
    }

    /// Proposes at a node, which takes it if it thinks that it leads.
    pub fn start(&mut self, id: NodeId, command: &Bytes) -> Option<(Position, Ticket)> {
        let ticket = self.sim.propose(id, command.clone()).ok()?;
        let at = self.sim.raft(id)?.log().last();
        Some((at, ticket))
    }

    /// How many machines have applied the entry at this index.
    pub fn count_applied(&self, index: u64) -> usize {
        self.sim.count_applied(index)
    }

    /// The command that is committed at this index.
    pub fn committed(&self, index: u64) -> Option<&Bytes> {
        match &self.sim.committed(index)?.payload {
            Payload::Command(command) => Some(command),
            _ => None,
        }
    }

    /// Agrees on a new command: see [`agree_on`](Cluster::agree_on).
    pub fn agree(&mut self, machines: usize, again: bool) -> u64 {
        let command = self.new_command();
        self.agree_on(&command, machines, again)
    }

    /// Proposes at whoever leads until `machines` have applied the command; `again` if it may be proposed again when two seconds were not
    /// enough. Returns its index.
    ///
    /// # Panics
    /// If that takes more than ten seconds.
    pub fn agree_on(&mut self, command: &Bytes, machines: usize, again: bool) -> u64 {
        let end = self.sim.now() + Duration::from_secs(10);
        while self.sim.now() < end {
            let proposed = self
                .reachable()
                .into_iter()
                .find_map(|id| self.start(id, command));
            let Some((at, _)) = proposed else {
                self.sleep(Duration::from_millis(50));
                continue;
            };
            let applied = self
                .sim
                .run_until(2 * BUDGET, |sim| sim.count_applied(at.index) >= machines);
            if applied && self.committed(at.index) == Some(command) {
                return at.index;
            }
            assert!(again, "no agreement on {command:?} by {machines} at {at:?}");
        }
        panic!("no agreement on {command:?} by {machines} within ten seconds");
    }

    // ---- the end

    /// All are put back and started, agree once more, and nobody is left waiting.
    ///
    /// # Panics
    /// If they don't, or somebody is.
    pub fn finish(mut self) {
        let passed = self.sim.now().since(biglock::Time::ZERO);
        assert!(passed < LIMIT, "the test took {passed:?} of virtual time");
        self.connect_all();
        self.sim.start_all();
        let all = self.ids().len();
        self.agree(all, true);
        let quiet = self.sim.run_until(5 * BUDGET, |sim| {
            sim.ids().all(|id| sim.waiting_callers(id) == 0)
        });
        assert!(quiet, "somebody waits at the end");
    }
}
