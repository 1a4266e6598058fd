//! Commands committed and applied per second: each peer, and Biglock in turn with it.

use std::time::Duration;

use biglock_peers::duel::{Duel, Lasting, Start};
use biglock_peers::summary::{self, Row};
use biglock_peers::{biglock, openraft_0_9, openraft_0_10, raft_rs};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput};

const IN_FLIGHT: [usize; 4] = [1, 64, 256, 1000];
const SAMPLES: usize = 30;
/// Long, because starting the clusters, a second or two, is in it, and criterion guesses from it how long a command takes.
const WARM_UP: Duration = Duration::from_millis(4000);
const MEASUREMENT: Duration = Duration::from_millis(1500);

/// Those that are measured against each other.
struct Wire {
    name: &'static str,
    biglock: Start,
    /// Name, how it is started, and the reach that the project set itself.
    peers: &'static [(&'static str, Start, Option<f64>)],
}

const WIRES: [Wire; 4] = [
    Wire {
        name: "pure",
        biglock: || Box::new(biglock::Pure::start()),
        peers: &[(
            "raft-rs 0.7",
            || Box::new(raft_rs::pure::Pure::start()),
            Some(2.0),
        )],
    },
    Wire {
        name: "calls",
        biglock: || Box::new(biglock::Cluster::direct()),
        peers: &[
            (
                "openraft 0.9",
                || Box::new(openraft_0_9::Cluster::start()),
                Some(1.0),
            ),
            (
                "openraft 0.10",
                || Box::new(openraft_0_10::Cluster::start()),
                Some(1.0),
            ),
        ],
    },
    Wire {
        name: "threads",
        biglock: || Box::new(biglock::Cluster::local()),
        peers: &[
            (
                "raft-rs 0.7",
                || Box::new(raft_rs::threads::Threads::start()),
                None,
            ),
            (
                "openraft 0.9",
                || Box::new(openraft_0_9::Cluster::start()),
                None,
            ),
        ],
    },
    Wire {
        name: "UDP",
        biglock: || Box::new(biglock::Cluster::udp()),
        peers: &[(
            "raft-rs 0.7",
            || Box::new(raft_rs::udp::Udp::start()),
            Some(1.0),
        )],
    },
];

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(SAMPLES)
        .warm_up_time(WARM_UP)
        .measurement_time(MEASUREMENT)
        .nresamples(10_000)
        .configure_from_args();

    let mut rows = Vec::new();
    for wire in WIRES {
        let mut group = criterion.benchmark_group(wire.name);
        // An iteration is a command.
        group.throughput(Throughput::Elements(1));
        group.sampling_mode(SamplingMode::Flat);
        for in_flight in IN_FLIGHT {
            let mut alone = Lasting::new(wire.biglock);
            bench(&mut group, "Biglock", in_flight, |commands| {
                alone.commit(commands, in_flight)
            });
            drop(alone);
            for &(peer, start, reach) in wire.peers {
                let mut duel = Duel::new(start, wire.biglock);
                let mut ran = false;
                bench(&mut group, peer, in_flight, |commands| {
                    ran = true;
                    duel.commit(commands, in_flight)
                });
                if ran {
                    rows.push(Row {
                        wire: wire.name,
                        peer,
                        in_flight,
                        reach,
                        samples: duel.finish(),
                    });
                }
            }
        }
        group.finish();
    }
    criterion.final_summary();
    if measures() && !rows.is_empty() {
        print!("{}", summary::of(&rows));
    }
}

fn bench(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    in_flight: usize,
    mut commit: impl FnMut(u64) -> Duration,
) {
    group.bench_function(
        BenchmarkId::new(name, format!("{in_flight} in flight")),
        |bencher| {
            bencher.iter_custom(&mut commit);
        },
    );
}

/// Whether this is a run that measures, and neither a list of what there is nor a look whether everything runs.
fn measures() -> bool {
    let given = |flag: &str| std::env::args().any(|argument| argument == flag);
    given("--bench") && !given("--list") && !given("--test")
}
