//! Labs 3 and 4: a fault-tolerant key-value service, whose clients use sessions. What they saw must be linearizable, in every test.

use std::time::Duration;

use biglock::NodeId;
use biglock::kv::Command;

use super::cluster::{BUDGET, Cluster};
use crate::linearizable;
use crate::sim::{ClientId, Plan, Sim, Weather};

/// What happens to a cluster and its clients.
#[derive(Clone, Copy)]
struct Test {
    servers: u64,
    clients: u64,
    unreliable: bool,
    partitions: bool,
    /// Whether all servers are restarted between the rounds.
    crash: bool,
    /// How many bytes of entries make a snapshot due.
    snapshot_every: Option<usize>,
    /// Whether all clients use the same keys; else each has one of its own.
    shared_keys: bool,
    /// How long the clients work in each of three rounds.
    round: Duration,
}

const TEST: Test = Test {
    servers: 5,
    clients: 1,
    unreliable: false,
    partitions: false,
    crash: false,
    snapshot_every: None,
    shared_keys: false,
    round: Duration::from_secs(3),
};

impl Test {
    fn run(self, seed: u64) {
        let mut cluster = Cluster::with(seed, self.servers, |settings| {
            if let Some(bytes) = self.snapshot_every {
                settings.snapshot_every = bytes;
                settings.keep_entries = 3;
            }
        });
        if self.unreliable {
            cluster.sim.network().weather = Weather::unreliable();
            cluster.sim.network().to_clients = Weather::unreliable();
        }
        let mut next = 0;
        for _ in 0..3 {
            let clients: Vec<ClientId> = (0..self.clients)
                .map(|number| {
                    let plan = match self.shared_keys {
                        true => anything(),
                        false => appends(next + number),
                    };
                    cluster.sim.add_client(plan)
                })
                .collect();
            next += self.clients;
            match self.partitions {
                true => self.partition_again_and_again(&mut cluster),
                false => cluster.sleep(self.round),
            }
            cluster.connect_all();
            stop_clients(&mut cluster);
            for client in clients {
                let many = cluster.sim.operations(client);
                assert!(many > 0, "client {client:?} did nothing");
            }
            if self.crash {
                for id in cluster.ids() {
                    cluster.sim.crash(id);
                }
                cluster.sleep(BUDGET);
                cluster.sim.start_all();
            }
            if let Some(bytes) = self.snapshot_every {
                self.check_sizes(&mut cluster, bytes);
            }
        }
        check(&mut cluster.sim);
        cluster.sim.network().weather = Weather::fair();
        cluster.finish();
    }

    /// Every half second or so each server is put on one of two sides.
    fn partition_again_and_again(self, cluster: &mut Cluster) {
        let end = cluster.sim.now() + self.round;
        while cluster.sim.now() < end {
            let (mut left, mut right) = (Vec::new(), Vec::new());
            for id in cluster.ids() {
                match cluster.sim.random().bool() {
                    true => left.push(id),
                    false => right.push(id),
                }
            }
            cluster.sim.partition(&[&left, &right]);
            let pause = 500 + cluster.sim.random().u64(..400);
            cluster.sleep(Duration::from_millis(pause));
        }
    }

    /// The disks hold little more than the state.
    fn check_sizes(self, cluster: &mut Cluster, every: usize) {
        cluster.agree(self.servers as usize, true);
        cluster.sleep(BUDGET);
        for id in cluster.ids() {
            let (state, all) = cluster.sim.disk(id).look(|disk| {
                let state = disk.snapshot.as_ref().map_or(0, |s| s.data.len());
                (state, state + disk.log.bytes())
            });
            let most = state + 8 * every;
            assert!(
                all <= most,
                "{id} has {all} bytes on its disk, of which {state} are the state"
            );
        }
    }
}

/// Each client adds to a key of its own, and looks whether all is there, in order, once.
fn appends(key: u64) -> Plan {
    let key = format!("key {key}");
    let plan = Plan::new(move |random, number| {
        Some(match random.u8(..3) {
            0 => Command::get(key.clone()),
            _ => Command::append(key.clone(), format!("{number} ")),
        })
    });
    plan.thinking(pause()).reading_off_log(0.5)
}

/// Each client does anything with one of few keys.
pub fn anything() -> Plan {
    let plan = Plan::new(|random, number| {
        let key = format!("key {}", random.u8(..5));
        let value = format!("{} of {}", number, random.u16(..));
        Some(match random.u8(..10) {
            0..4 => Command::get(key),
            4..7 => Command::put(key, value),
            7 => Command::append(key, format!("{number} ")),
            8 => Command::delete(key),
            _ => Command::compare_and_swap(key, None, value),
        })
    });
    plan.thinking(pause()).reading_off_log(0.5)
}

fn pause() -> std::ops::Range<Duration> {
    Duration::ZERO..Duration::from_millis(40)
}

/// What the clients have begun ends soon once all is well.
///
/// # Panics
/// If it does not.
pub fn stop_clients(cluster: &mut Cluster) {
    cluster.sim.stop_clients();
    let idle = cluster.sim.run_until(10 * BUDGET, Sim::clients_are_idle);
    assert!(idle, "clients wait although all is well");
}

/// What the clients saw is linearizable, and that was found out.
///
/// # Panics
/// If not.
pub fn check(sim: &mut Sim) {
    let history = sim.history();
    assert!(!history.is_empty());
    if let Err(violation) = linearizable::check(history) {
        panic!("{violation}");
    }
}

/// One client.
pub fn basic(seed: u64) {
    TEST.run(seed);
}

/// A thousand operations, one after the other, take less than a third of a heartbeat each.
pub fn speed(seed: u64) {
    let mut cluster = Cluster::new(seed, 3);
    cluster.check_one_leader();
    let plan = Plan::new(|_, number| {
        (number < 1000).then(|| Command::append("key", format!("{number} ")))
    });
    let start = cluster.sim.now();
    let nothing = Duration::ZERO..Duration::ZERO;
    let client = cluster.sim.add_client(plan.thinking(nothing));
    let done = |sim: &Sim| sim.operations(client) == 1000;
    let limit = 1000 * Duration::from_millis(50) / 3;
    assert!(cluster.sim.run_until(limit, done));
    let each = cluster.sim.now().since(start) / 1000;
    assert!(each < Duration::from_millis(17), "{each:?} each");
    cluster.finish();
}

/// Five clients.
pub fn concurrent(seed: u64) {
    Test { clients: 5, ..TEST }.run(seed);
}

/// Five clients, unreliable network.
pub fn unreliable(seed: u64) {
    Test {
        clients: 5,
        unreliable: true,
        ..TEST
    }
    .run(seed);
}

/// Clients that reach the majority go on; one that reaches only the minority waits until the cluster is whole again.
pub fn one_partition(seed: u64) {
    let mut cluster = Cluster::new(seed, 5);
    let leader = cluster.check_one_leader();
    let minority: Vec<NodeId> = (0..2).map(|many| cluster.after(leader, many)).collect();
    let majority: Vec<NodeId> = (2..5).map(|many| cluster.after(leader, many)).collect();
    cluster.sim.partition(&[&minority, &majority]);
    let mut lucky = appends(1);
    lucky.nodes = majority;
    let lucky = cluster.sim.add_client(lucky);
    let unlucky = [0.0, 1.0].map(|off_log| {
        let mut unlucky = Plan::new(|_, number| (number == 0).then(|| Command::get("key 1")));
        unlucky.reads_off_log = off_log;
        unlucky.nodes = minority.clone();
        cluster.sim.add_client(unlucky)
    });
    cluster.sleep(5 * BUDGET);
    assert!(cluster.sim.operations(lucky) > 50);
    for client in unlucky {
        assert_eq!(cluster.sim.operations(client), 0, "it reaches no majority");
    }
    cluster.connect_all();
    for client in unlucky {
        let all = cluster.ids();
        cluster.sim.set_nodes(client, all);
    }
    let done = |sim: &Sim| unlucky.iter().all(|&client| sim.operations(client) == 1);
    assert!(cluster.sim.run_until(5 * BUDGET, done));
    stop_clients(&mut cluster);
    check(&mut cluster.sim);
    cluster.finish();
}

/// Partitions that come and go, one client.
pub fn many_partitions_one_client(seed: u64) {
    Test {
        partitions: true,
        ..TEST
    }
    .run(seed);
}

/// The same with five clients.
pub fn many_partitions_many_clients(seed: u64) {
    Test {
        clients: 5,
        partitions: true,
        ..TEST
    }
    .run(seed);
}

/// Restarts of all, one client.
pub fn persist_one_client(seed: u64) {
    Test {
        crash: true,
        ..TEST
    }
    .run(seed);
}

/// The same with five clients.
pub fn persist_concurrent(seed: u64) {
    Test {
        clients: 5,
        crash: true,
        ..TEST
    }
    .run(seed);
}

/// The same in the unreliable network.
pub fn persist_concurrent_unreliable(seed: u64) {
    Test {
        clients: 5,
        crash: true,
        unreliable: true,
        ..TEST
    }
    .run(seed);
}

/// Restarts and partitions.
pub fn persist_partition(seed: u64) {
    Test {
        clients: 5,
        crash: true,
        partitions: true,
        ..TEST
    }
    .run(seed);
}

/// The same in the unreliable network.
pub fn persist_partition_unreliable(seed: u64) {
    Test {
        clients: 5,
        crash: true,
        partitions: true,
        unreliable: true,
        ..TEST
    }
    .run(seed);
}

/// The same with 15 clients on shared keys, and 7 servers.
pub fn persist_partition_unreliable_linearizable(seed: u64) {
    Test {
        servers: 7,
        clients: 15,
        crash: true,
        partitions: true,
        unreliable: true,
        shared_keys: true,
        ..TEST
    }
    .run(seed);
}

/// How many bytes of entries make a snapshot due.
const EVERY: usize = 1000;

/// A server that was away is sent a snapshot, and serves it.
pub fn snapshot_rpc(seed: u64) {
    let mut cluster = Cluster::with(seed, 3, |settings| {
        settings.snapshot_every = EVERY;
        settings.keep_entries = 3;
    });
    let leader = cluster.check_one_leader();
    let (near, far) = (cluster.after(leader, 1), cluster.after(leader, 2));
    cluster.disconnect(far);
    let first = cluster.sim.add_client(Plan::new(|_, number| {
        (number < 100).then(|| Command::put(format!("{}", number % 7), format!("{number}")))
    }));
    let done = |sim: &Sim| sim.operations(first) == 100;
    assert!(cluster.sim.run_until(10 * BUDGET, done));
    // The one that was away, with one of the others.
    cluster.connect(far);
    cluster.disconnect(near);
    let mut reader = Plan::new(|_, number| (number < 7).then(|| Command::get(format!("{number}"))));
    reader.nodes = vec![far];
    reader.reads_off_log = 1.0;
    let reader = cluster.sim.add_client(reader);
    let done = |sim: &Sim| sim.operations(reader) == 7;
    assert!(cluster.sim.run_until(10 * BUDGET, done));
    assert!(cluster.sim.traffic().snapshots > 0);
    check(&mut cluster.sim);
    cluster.finish();
}

/// The state is small, and so is what the disks hold.
pub fn snapshot_size(seed: u64) {
    let mut cluster = Cluster::with(seed, 3, |settings| {
        settings.snapshot_every = EVERY;
        settings.keep_entries = 3;
    });
    let client = cluster.sim.add_client(Plan::new(|_, number| {
        (number < 400).then(|| match number % 2 {
            0 => Command::put("key", format!("{number}")),
            _ => Command::get("key"),
        })
    }));
    let done = |sim: &Sim| sim.operations(client) == 400;
    assert!(cluster.sim.run_until(20 * BUDGET, done));
    cluster.sleep(BUDGET);
    for id in cluster.ids() {
        let bytes = cluster.sim.disk(id).bytes();
        assert!(bytes < 8 * EVERY, "{id} has {bytes} bytes on its disk");
    }
    check(&mut cluster.sim);
    cluster.finish();
}

/// Restarts from snapshots, one client.
pub fn snapshot_recover(seed: u64) {
    Test {
        crash: true,
        snapshot_every: Some(EVERY),
        ..TEST
    }
    .run(seed);
}

/// The same with twenty clients.
pub fn snapshot_recover_many_clients(seed: u64) {
    Test {
        clients: 20,
        crash: true,
        snapshot_every: Some(EVERY),
        ..TEST
    }
    .run(seed);
}

/// Snapshots in the unreliable network.
pub fn snapshot_unreliable(seed: u64) {
    Test {
        clients: 5,
        unreliable: true,
        snapshot_every: Some(EVERY),
        ..TEST
    }
    .run(seed);
}

/// And with restarts.
pub fn snapshot_unreliable_recover(seed: u64) {
    Test {
        clients: 5,
        unreliable: true,
        crash: true,
        snapshot_every: Some(EVERY),
        ..TEST
    }
    .run(seed);
}

/// And with partitions.
pub fn snapshot_unreliable_recover_concurrent_partition(seed: u64) {
    Test {
        clients: 5,
        unreliable: true,
        crash: true,
        partitions: true,
        snapshot_every: Some(EVERY),
        ..TEST
    }
    .run(seed);
}

/// And with 15 clients on shared keys, and 7 servers.
pub fn snapshot_unreliable_recover_concurrent_partition_linearizable(seed: u64) {
    Test {
        servers: 7,
        clients: 15,
        unreliable: true,
        crash: true,
        partitions: true,
        snapshot_every: Some(EVERY),
        shared_keys: true,
        ..TEST
    }
    .run(seed);
}
