//! 2C: persistence.

use biglock::NodeId;
use bytes::Bytes;

use super::cluster::{BUDGET, Cluster};
use crate::sim::{Outcome, Ticket, Weather};

/// Restarts of all, of the leader, of followers: what was agreed stays.
pub fn persist_1(seed: u64) {
    let mut cluster = Cluster::new(seed, 3);
    cluster.agree(3, true);
    for id in cluster.ids() {
        cluster.restart(id);
    }
    cluster.agree(3, true);

    let first = cluster.check_one_leader();
    cluster.restart(first);
    cluster.agree(3, true);

    let second = cluster.check_one_leader();
    cluster.sim.crash(second);
    cluster.agree(2, true);
    cluster.sim.start(second);
    cluster.agree(3, true);

    let third = cluster.check_one_leader();
    let follower = cluster.after(third, 1);
    cluster.sim.crash(follower);
    cluster.agree(2, true);
    cluster.sim.start(follower);
    cluster.agree(3, true);
    cluster.finish();
}

/// Rolling crashes of two and three of five.
pub fn persist_2(seed: u64) {
    let mut cluster = Cluster::new(seed, 5);
    for _ in 0..5 {
        cluster.agree(5, true);
        let leader = cluster.check_one_leader();
        let next: Vec<NodeId> = (0..5).map(|many| cluster.after(leader, many)).collect();

        cluster.sim.crash(next[1]);
        cluster.sim.crash(next[2]);
        cluster.agree(3, true);

        for &id in &[next[0], next[3], next[4]] {
            cluster.sim.crash(id);
        }
        cluster.sim.start(next[1]);
        cluster.sim.start(next[2]);
        cluster.sleep(BUDGET);
        cluster.sim.start(next[3]);
        cluster.agree(3, true);

        cluster.sim.start(next[4]);
        cluster.sim.start(next[0]);
    }
    cluster.agree(5, true);
    cluster.finish();
}

/// A leader and a follower crash while the third is away; the leader comes back, and only then the third, with the crashed follower last.
pub fn persist_3(seed: u64) {
    let mut cluster = Cluster::new(seed, 3);
    cluster.agree(3, true);
    let leader = cluster.check_one_leader();
    let (near, far) = (cluster.after(leader, 1), cluster.after(leader, 2));
    cluster.disconnect(far);
    cluster.agree(2, true);
    cluster.sim.crash(leader);
    cluster.sim.crash(near);
    cluster.connect(far);
    cluster.sim.start(leader);
    cluster.agree(2, true);
    cluster.sim.start(near);
    cluster.agree(3, true);
    cluster.finish();
}

/// Figure 8: a thousand times a leader takes a command and crashes, soon or a little later.
pub fn figure_8(seed: u64) {
    let mut cluster = Cluster::new(seed, 5);
    cluster.agree(1, true);
    let mut up = 5;
    for _ in 0..1000 {
        let leader = propose_everywhere(&mut cluster);
        pause(&mut cluster);
        if let Some(leader) = leader {
            cluster.sim.crash(leader);
            up -= 1;
        }
        if up < 3 {
            let id = any(&mut cluster);
            if !cluster.sim.is_up(id) {
                cluster.sim.start(id);
                up += 1;
            }
        }
    }
    cluster.sim.start_all();
    cluster.agree(5, true);
    cluster.finish();
}

/// 250 commands, five at a time, in the unreliable network.
pub fn unreliable_agree(seed: u64) {
    let mut cluster = Cluster::unreliable(seed, 5);
    for _ in 0..50 {
        for _ in 0..4 {
            let command = cluster.new_command();
            for id in cluster.ids() {
                cluster.start(id, &command);
            }
        }
        cluster.agree(1, true);
    }
    cluster.sim.network().weather = Weather::fair();
    cluster.agree(5, true);
    cluster.finish();
}

/// Figure 8 with leaders that are cut off instead, in the unreliable network, and with long reordering from round 200.
pub fn figure_8_unreliable(seed: u64) {
    let mut cluster = Cluster::unreliable(seed, 5);
    cluster.agree(1, true);
    let mut up = 5;
    for round in 0..1000 {
        if round == 200 {
            cluster.sim.network().weather = Weather::long_reordering();
        }
        let leader = propose_everywhere(&mut cluster);
        pause(&mut cluster);
        if let Some(leader) = leader
            && cluster.sim.random().bool()
            && cluster.is_connected(leader)
        {
            cluster.disconnect(leader);
            up -= 1;
        }
        if up < 3 {
            let id = any(&mut cluster);
            if !cluster.is_connected(id) {
                cluster.connect(id);
                up += 1;
            }
        }
    }
    cluster.connect_all();
    cluster.agree(5, true);
    cluster.finish();
}

/// Crashes, cuts and restarts while clients propose: every value that a client saw committed is in the final log.
pub fn reliable_churn(seed: u64) {
    churn(Cluster::new(seed, 5));
}

/// The same in the unreliable network.
pub fn unreliable_churn(seed: u64) {
    churn(Cluster::unreliable(seed, 5));
}

fn churn(mut cluster: Cluster) {
    let mut clients: Vec<Proposer> = (0..3).map(Proposer::new).collect();
    for _ in 0..20 {
        if chance(&mut cluster, 20) {
            let id = any(&mut cluster);
            cluster.disconnect(id);
        }
        if chance(&mut cluster, 50) {
            let id = any(&mut cluster);
            if !cluster.sim.is_up(id) {
                cluster.sim.start(id);
            }
            cluster.connect(id);
        }
        if chance(&mut cluster, 20) {
            let id = any(&mut cluster);
            cluster.sim.crash(id);
        }
        // A little less than a leader needs to settle.
        for _ in 0..70 {
            cluster.sleep(BUDGET / 100);
            for client in &mut clients {
                client.step(&mut cluster);
            }
        }
    }
    cluster.sleep(BUDGET);
    cluster.sim.network().weather = Weather::fair();
    cluster.sim.start_all();
    cluster.connect_all();
    let last = cluster.agree(5, true);
    let log: Vec<&Bytes> = (1..=last).filter_map(|i| cluster.committed(i)).collect();
    let seen: Vec<&Bytes> = clients.iter().flat_map(|client| &client.seen).collect();
    assert!(seen.len() > 5, "{} values were committed", seen.len());
    for value in seen {
        assert!(log.contains(&value), "{value:?} was committed, and is lost");
    }
    cluster.finish();
}

/// A client that proposes its next value everywhere, waits for a while whether it is committed, and goes on.
struct Proposer {
    name: u64,
    values: u64,
    waiting: Vec<Ticket>,
    value: Bytes,
    patience: u32,
    seen: Vec<Bytes>,
}

impl Proposer {
    fn new(name: u64) -> Proposer {
        Proposer {
            name,
            values: 0,
            waiting: Vec::new(),
            value: Bytes::new(),
            patience: 0,
            seen: Vec::new(),
        }
    }

    fn step(&mut self, cluster: &mut Cluster) {
        let mut ended = Vec::new();
        self.waiting.retain(|&ticket| {
            let outcome = cluster.sim.take_outcome(ticket);
            let waits = outcome.is_none();
            ended.extend(outcome);
            waits
        });
        let committed = |outcome: &Outcome| matches!(outcome, Outcome::Decided(Ok(_)));
        if ended.iter().any(committed) {
            self.seen.push(self.value.clone());
            self.waiting.clear();
        }
        self.patience = self.patience.saturating_sub(1);
        if self.waiting.is_empty() || self.patience == 0 {
            self.values += 1;
            self.value = format!("{} of {}", self.values, self.name).into();
            self.patience = 50;
            let ids = cluster.ids();
            let started = ids
                .into_iter()
                .filter_map(|id| cluster.start(id, &self.value));
            self.waiting = started.map(|(_, ticket)| ticket).collect();
        }
    }
}

/// Every node is given a command; the last that takes it.
fn propose_everywhere(cluster: &mut Cluster) -> Option<NodeId> {
    let command = cluster.new_command();
    let ids = cluster.ids().into_iter();
    ids.filter(|&id| cluster.start(id, &command).is_some())
        .last()
}

/// Mostly up to 13 ms; sometimes up to half a second.
fn pause(cluster: &mut Cluster) {
    match chance(cluster, 10) {
        true => cluster.sleep_up_to(500),
        false => cluster.sleep_up_to(13),
    }
}

fn chance(cluster: &mut Cluster, percent: u64) -> bool {
    cluster.sim.random().u64(..100) < percent
}

fn any(cluster: &mut Cluster) -> NodeId {
    let ids = cluster.ids();
    ids[cluster.sim.random().usize(..ids.len())]
}
