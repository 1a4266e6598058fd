//! Lab 4A: a replicated state machine. Who submits a command learns what became of it, whatever happens meanwhile.

use std::time::Duration;

use biglock::kv::{Command, Reply};
use biglock::node::Reply as Decision;
use biglock::{NodeId, Undecided};
use bytes::Bytes;

use super::cluster::{BUDGET, Cluster};
use crate::sim::{Outcome, Sim, Ticket};

/// The labs' counter: a key to whose end each increment adds a letter.
const KEY: &str = "counter";

fn increment() -> Bytes {
    Command::append(KEY, "+").into()
}

/// The counter on one machine.
fn counter(cluster: &Cluster, id: NodeId) -> usize {
    cluster.sim.value(id, KEY).map_or(0, |value| value.len())
}

/// Submits at whoever leads, and waits; again if it was certainly not run.
fn submit(cluster: &mut Cluster) {
    let command = increment();
    for _ in 0..100 {
        let ids = cluster.reachable().into_iter();
        let Some((_, ticket)) = ids.rev().find_map(|id| cluster.start(id, &command)) else {
            cluster.sleep(BUDGET / 20);
            continue;
        };
        let ended = cluster
            .sim
            .run_until(10 * BUDGET, |sim| sim.has_ended(ticket));
        assert!(ended, "a submit never ended");
        match cluster.sim.take_outcome(ticket) {
            Some(Outcome::Decided(Ok(Decision::Command(reply)))) => {
                assert_eq!(Reply::decode(&reply), Ok(Reply::Done));
                return;
            }
            Some(Outcome::Decided(Err(Undecided::Lost))) => {}
            other => panic!("{other:?}"),
        }
    }
    panic!("nobody took a submit");
}

fn check_counters(cluster: &mut Cluster, value: usize) {
    let all = cluster.reachable();
    let same = cluster.sim.run_until(10 * BUDGET, |sim| {
        let count = |&id: &NodeId| sim.value(id, KEY).map_or(0, |value| value.len());
        all.iter().all(|id| count(id) == value)
    });
    let counters: Vec<usize> = all.iter().map(|&id| counter(cluster, id)).collect();
    assert!(same, "{counters:?} are not all {value}");
}

/// Ten submits are run everywhere.
pub fn basic(seed: u64) {
    let mut cluster = Cluster::new(seed, 3);
    for value in 1..=10 {
        submit(&mut cluster);
        check_counters(&mut cluster, value);
    }
    cluster.finish();
}

/// Fifty submits at once.
pub fn concurrent(seed: u64) {
    let mut cluster = Cluster::new(seed, 3);
    let leader = cluster.check_one_leader();
    let tickets = submit_many(&mut cluster, leader, 50);
    let all = |sim: &Sim| tickets.iter().all(|&ticket| sim.has_ended(ticket));
    assert!(cluster.sim.run_until(BUDGET, all));
    for ticket in tickets {
        let outcome = cluster.sim.take_outcome(ticket);
        assert!(
            matches!(outcome, Some(Outcome::Decided(Ok(_)))),
            "{outcome:?}"
        );
    }
    check_counters(&mut cluster, 50);
    cluster.finish();
}

fn submit_many(cluster: &mut Cluster, leader: NodeId, many: usize) -> Vec<Ticket> {
    let command = increment();
    let started = (0..many).filter_map(|_| cluster.start(leader, &command));
    let tickets: Vec<Ticket> = started.map(|(_, ticket)| ticket).collect();
    assert_eq!(tickets.len(), many, "the leader takes them all");
    tickets
}

/// The leader is cut off; the others go on, and it catches up.
pub fn leader_failure(seed: u64) {
    let mut cluster = Cluster::new(seed, 3);
    submit(&mut cluster);
    let leader = cluster.check_one_leader();
    cluster.disconnect(leader);
    cluster.check_one_leader();
    submit(&mut cluster);
    cluster.connect(leader);
    submit(&mut cluster);
    check_counters(&mut cluster, 3);
    cluster.finish();
}

/// A hundred submits to a leader in the minority never succeed, and all have returned within a second of healing.
pub fn leader_partition(seed: u64) {
    let mut cluster = Cluster::new(seed, 3);
    submit(&mut cluster);
    let old = cluster.check_one_leader();
    cluster.disconnect(old);
    let tickets = submit_many(&mut cluster, old, 100);
    let new = cluster.check_one_leader();
    assert_ne!(new, old);
    submit(&mut cluster);
    cluster.connect(old);
    cluster.sleep(BUDGET);
    for ticket in tickets {
        match cluster.sim.take_outcome(ticket) {
            Some(Outcome::Decided(Err(Undecided::Lost | Undecided::Unknown))) => {}
            other => panic!("a submit in the minority: {other:?}"),
        }
    }
    check_counters(&mut cluster, 2);
    cluster.finish();
}

/// After a restart of all, what was submitted is run again from the log.
pub fn restart_replay(seed: u64) {
    let mut cluster = Cluster::new(seed, 3);
    for _ in 0..20 {
        submit(&mut cluster);
    }
    for id in cluster.ids() {
        cluster.sim.shut_down(id);
    }
    cluster.sim.start_all();
    submit(&mut cluster);
    check_counters(&mut cluster, 21);
    cluster.finish();
}

/// A submit returns when its node is shut down.
pub fn shutdown(seed: u64) {
    let mut cluster = Cluster::new(seed, 3);
    submit(&mut cluster);
    let leader = cluster.check_one_leader();
    cluster.disconnect(leader);
    let tickets = submit_many(&mut cluster, leader, 10);
    cluster.sleep(Duration::from_millis(20));
    cluster.sim.shut_down(leader);
    for ticket in tickets {
        match cluster.sim.take_outcome(ticket) {
            Some(Outcome::Decided(Err(Undecided::Stopped(_)))) => {}
            other => panic!("a submit at a node that was shut down: {other:?}"),
        }
    }
    cluster.finish();
}

/// All nodes are shut down with submits under way; afterwards the cluster takes submits again.
pub fn restart_submit(seed: u64) {
    let mut cluster = Cluster::new(seed, 3);
    for _ in 0..20 {
        submit(&mut cluster);
    }
    let leader = cluster.check_one_leader();
    let tickets = submit_many(&mut cluster, leader, 50);
    cluster.sleep_up_to(3);
    for id in cluster.ids() {
        cluster.sim.shut_down(id);
    }
    let mut acknowledged = 20;
    for ticket in tickets {
        match cluster.sim.take_outcome(ticket) {
            Some(Outcome::Decided(Ok(_))) => acknowledged += 1,
            Some(Outcome::Decided(Err(Undecided::Stopped(_)))) => {}
            other => panic!("{other:?}"),
        }
    }
    cluster.sim.start_all();
    submit(&mut cluster);
    acknowledged += 1;
    let leader = cluster.check_one_leader();
    let value = counter(&cluster, leader);
    assert!(
        (acknowledged..=71).contains(&value),
        "{value} of {acknowledged}"
    );
    check_counters(&mut cluster, value);
    cluster.finish();
}

/// Many submits: logs stay short, and a restart begins from the snapshot.
pub fn snapshot(seed: u64) {
    let mut cluster = Cluster::with(seed, 3, |settings| {
        settings.snapshot_every = 1000;
        settings.keep_entries = 2;
    });
    for _ in 0..100 {
        submit(&mut cluster);
    }
    check_counters(&mut cluster, 100);
    for id in cluster.ids() {
        let bytes = cluster.sim.disk(id).bytes();
        assert!(bytes < 4000, "{id} has {bytes} bytes on its disk");
        cluster.sim.crash(id);
    }
    cluster.sim.start_all();
    submit(&mut cluster);
    check_counters(&mut cluster, 101);
    cluster.finish();
}
