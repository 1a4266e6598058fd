//! Linearizable reads off the log: by read index at any node, by lease where clocks drift no more than was allowed for.

use std::time::Duration;

use biglock::NodeId;
use biglock::kv::Command;

use super::cluster::{BUDGET, Cluster};
use super::kv::{anything, check, stop_clients};
use crate::sim::{Outcome, Plan, Sim, Weather};

/// Clients of which half write and half read off the log, on few keys.
fn readers_and_writers(cluster: &mut Cluster) {
    for number in 0..6 {
        let plan = match number % 2 {
            0 => anything(),
            _ => Plan::new(|random, _| Some(Command::get(format!("key {}", random.u8(..5)))))
                .thinking(Duration::ZERO..Duration::from_millis(30))
                .reading_off_log(1.0),
        };
        cluster.sim.add_client(plan);
    }
}

fn conclude(mut cluster: Cluster) {
    cluster.sim.network().weather = Weather::fair();
    cluster.connect_all();
    cluster.sim.start_all();
    stop_clients(&mut cluster);
    check(&mut cluster.sim);
    cluster.finish();
}

/// Cuts, partitions and restarts of whoever leads, again and again.
fn change_leaders(cluster: &mut Cluster, rounds: usize) {
    for _ in 0..rounds {
        cluster.sleep_up_to(1200);
        let Some(leader) = cluster.leader() else {
            continue;
        };
        match cluster.sim.random().u8(..4) {
            0 => cluster.restart(leader),
            1 => {
                // The leader with one other on one side.
                let near = [leader, cluster.after(leader, 1)];
                let ids = cluster.ids().into_iter();
                let far: Vec<NodeId> = ids.filter(|id| !near.contains(id)).collect();
                cluster.sim.partition(&[&near, &far]);
                cluster.sleep_up_to(2000);
                cluster.connect_all();
            }
            2 => {
                // It is heard, and hears nobody.
                for id in cluster.ids() {
                    cluster.sim.network().cut(id, leader);
                }
                cluster.sleep_up_to(2000);
                cluster.connect_all();
            }
            _ => {
                let to = cluster.after(leader, 1);
                let _ = cluster.sim.transfer(leader, to);
            }
        }
    }
}

/// Read index, at leaders and followers alike, while leaders change.
pub fn read_index(seed: u64) {
    let mut cluster = Cluster::new(seed, 5);
    readers_and_writers(&mut cluster);
    change_leaders(&mut cluster, 20);
    conclude(cluster);
}

/// The same in the unreliable network, with messages that arrive twice.
pub fn read_index_unreliable(seed: u64) {
    let mut cluster = Cluster::new(seed, 5);
    cluster.sim.network().weather = Weather {
        repeated: 0.2,
        ..Weather::unreliable()
    };
    readers_and_writers(&mut cluster);
    change_leaders(&mut cluster, 20);
    conclude(cluster);
}

/// Reads by lease: clocks drift by up to 2 % either way, and the lease is nine tenths of the shortest election timeout.
pub fn lease(seed: u64) {
    let mut cluster = leased(seed, 20_000);
    readers_and_writers(&mut cluster);
    change_leaders(&mut cluster, 20);
    conclude(cluster);
}

/// The same in the unreliable network.
pub fn lease_unreliable(seed: u64) {
    let mut cluster = leased(seed, 20_000);
    cluster.sim.network().weather = Weather::unreliable();
    readers_and_writers(&mut cluster);
    change_leaders(&mut cluster, 20);
    conclude(cluster);
}

/// A cluster with leases, on drifting clocks.
fn leased(seed: u64, drift: i64) -> Cluster {
    let mut cluster = Cluster::with(seed, 5, |settings| {
        settings.lease = Some(settings.election_timeout_min * 9 / 10);
    });
    cluster.sim.let_clocks_drift(drift);
    for id in cluster.ids() {
        cluster.restart(id);
    }
    cluster
}

/// A reader that reaches only the leader, which is cut off from the others, and a writer that reaches only those: the reader must see
/// nothing old, however long the leader takes to give up.
pub fn a_leader_that_is_cut_off(seed: u64) {
    for mut cluster in [Cluster::new(seed, 3), leased(seed, 20_000)] {
        for round in 0..6 {
            let leader = cluster.check_one_leader();
            let ids = cluster.ids().into_iter();
            let others: Vec<NodeId> = ids.filter(|&id| id != leader).collect();
            let soon = Duration::ZERO..Duration::from_millis(4);
            let key = format!("key {round}");
            let read = Command::get(key.clone());
            let mut reader = Plan::new(move |_, _| Some(read.clone()));
            reader.nodes = vec![leader];
            reader.reads_off_log = 1.0;
            let write = move |random: &mut fastrand::Rng, _| {
                let value = random.u64(..).to_string();
                Some(Command::put(key.clone(), value))
            };
            let mut writer = Plan::new(write);
            writer.nodes = others;
            writer.patience = Duration::from_millis(20);
            let pair = [reader, writer].map(|plan| {
                let plan = plan.thinking(soon.clone());
                cluster.sim.add_client(plan)
            });
            cluster.disconnect(leader);
            cluster.sleep(BUDGET);
            cluster.connect_all();
            for client in pair {
                let all = cluster.ids();
                cluster.sim.set_nodes(client, all);
            }
            stop_clients(&mut cluster);
        }
        conclude(cluster);
    }
}

/// A follower in the minority serves nothing; one in the majority does.
pub fn followers_under_partition(seed: u64) {
    let mut cluster = Cluster::new(seed, 5);
    let leader = cluster.check_one_leader();
    let follower = cluster.after(leader, 1);
    let reads = |cluster: &mut Cluster, id| {
        let ticket = cluster.sim.read(id, "key");
        let ticket = ticket.expect("a read begins anywhere");
        let ended = |sim: &Sim| sim.has_ended(ticket);
        assert!(cluster.sim.run_until(5 * BUDGET, ended), "a read hangs");
        match cluster.sim.take_outcome(ticket) {
            Some(Outcome::Served(served, _)) => served.is_ok(),
            other => panic!("{other:?}"),
        }
    };
    assert!(reads(&mut cluster, leader));
    assert!(reads(&mut cluster, follower));
    let second = cluster.after(leader, 2);
    cluster.disconnect(second);
    assert!(!reads(&mut cluster, second), "alone it serves nothing");
    cluster.connect(second);
    assert!(reads(&mut cluster, second));
    // The leader with one follower: neither may serve.
    for many in 2..5 {
        cluster.disconnect(cluster.after(leader, many));
    }
    assert!(!reads(&mut cluster, leader));
    cluster.connect_all();
    cluster.check_one_leader();
    assert!(reads(&mut cluster, leader));
    cluster.finish();
}

/// Reads off the log cost no entries.
pub fn reads_write_nothing(seed: u64) {
    let mut cluster = Cluster::new(seed, 3);
    cluster.agree(3, true);
    let leader = cluster.check_one_leader();
    let committed = cluster.sim.last_committed();
    for _ in 0..50 {
        for id in cluster.ids() {
            assert!(cluster.sim.read(id, "key").is_ok());
        }
        cluster.sleep(Duration::from_millis(5));
    }
    cluster.sleep(BUDGET);
    for id in cluster.ids() {
        assert_eq!(cluster.sim.waiting_callers(id), 0);
    }
    assert_eq!(cluster.sim.last_committed(), committed);
    assert!(cluster.sim.leads(leader));
    cluster.finish();
}
