//! State machines that lag: nobody waits for them but those who want their replies, and what they have not applied is bounded.

use std::time::Duration;

use biglock::kv::Command;
use biglock::{Entry, NodeId};

use super::cluster::{BUDGET, Cluster};
use super::kv::{check, stop_clients};
use crate::sim::{Plan, Sim, Weather};

/// The most bytes that wait to be applied, and the most in one message.
const MOST: usize = 4000;
const MESSAGE: usize = 1000;

/// A cluster with clients that write as fast as they are answered.
fn busy(seed: u64, nodes: u64) -> Cluster {
    let mut cluster = Cluster::with(seed, nodes, |settings| {
        settings.max_unapplied = MOST;
        settings.max_payload = MESSAGE;
        settings.snapshot_every = 20_000;
        settings.keep_entries = 500;
    });
    for name in 0..4 {
        let plan = Plan::new(move |random, number| {
            let key = format!("key {} of {name}", random.u8(..10));
            Some(Command::put(key, format!("{number:0>100}")))
        });
        cluster
            .sim
            .add_client(plan.thinking(Duration::ZERO..Duration::from_millis(4)));
    }
    cluster
}

/// The bytes of the entries that this node has and has not applied.
fn unapplied(sim: &Sim, id: NodeId) -> usize {
    let Some(raft) = sim.raft(id) else { return 0 };
    let entries = raft.log().iter();
    let waiting = entries.filter(|(index, _)| *index > raft.applied());
    waiting.map(|(_, entry)| Entry::size(entry)).sum()
}

/// A follower's state machine takes long: it is full again and again, the others go on without it, and in the end it has everything.
pub fn a_follower_is_full(seed: u64) {
    let mut cluster = busy(seed, 3);
    if seed.is_multiple_of(2) {
        cluster.sim.network().weather = Weather::unreliable();
    }
    let leader = cluster.check_one_leader();
    let slow = cluster.after(leader, 1);
    let long = Duration::from_millis(300)..Duration::from_millis(900);
    cluster.sim.set_apply_time(slow, Some(long));
    let (before, mut full) = (cluster.sim.last_committed(), 0);
    for _ in 0..200 {
        cluster.sim.run_for(Duration::from_millis(50));
        let bytes = unapplied(&cluster.sim, slow);
        full += u32::from(bytes > MOST);
        // What a leader may have proposed before it was committed, and a message.
        assert!(
            bytes <= 2 * (MOST + MESSAGE),
            "{bytes} bytes wait to be applied"
        );
    }
    let committed = cluster.sim.last_committed() - before;
    assert!(full > 10, "it was full {full} times");
    assert!(
        committed > 300,
        "the others committed {committed} meanwhile"
    );
    finish(cluster, slow);
}

/// All state machines take long, and leaders change: they are busy, clients wait, and nobody holds more than fits.
pub fn all_are_slow(seed: u64) {
    let mut cluster = busy(seed, 5);
    for id in cluster.ids() {
        let long = Duration::from_millis(20)..Duration::from_millis(200);
        cluster.sim.set_apply_time(id, Some(long));
    }
    for _ in 0..10 {
        for _ in 0..20 {
            cluster.sim.run_for(Duration::from_millis(50));
            for id in cluster.ids() {
                let bytes = unapplied(&cluster.sim, id);
                assert!(
                    bytes <= 2 * (MOST + MESSAGE),
                    "{bytes} bytes wait to be applied"
                );
            }
        }
        cluster.connect_all();
        if let Some(leader) = cluster.leader() {
            cluster.disconnect(leader);
        }
    }
    let one = cluster.ids()[0];
    finish(cluster, one);
}

fn finish(mut cluster: Cluster, slow: NodeId) {
    cluster.sim.network().weather = Weather::fair();
    cluster.connect_all();
    for id in cluster.ids() {
        cluster.sim.set_apply_time(id, None);
    }
    let committed = cluster.sim.last_committed();
    let there = |sim: &Sim| sim.applied(slow) >= committed;
    assert!(
        cluster.sim.run_until(10 * BUDGET, there),
        "it never catches up"
    );
    stop_clients(&mut cluster);
    check(&mut cluster.sim);
    cluster.finish();
}
