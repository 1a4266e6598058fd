//! Commands, from the proposal until the reply is here: one at a time (which is the latency of a commit), and many under way at a time.
//! And how long a follower needs that has missed a lot.

use std::path::Path;
use std::time::Duration;

use biglock_benches::load::{Kind, Load, Pace, catch_up, install};
use biglock_benches::measures;
use biglock_benches::nodes::{Store, Wire};
use biglock_benches::record::{Commits, save};
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};

const PACES: [Pace; 7] = [
    Pace::Window(1),
    Pace::Window(64),
    Pace::Window(256),
    Pace::Window(1000),
    Pace::Batch(64),
    Pace::Batch(256),
    Pace::Batch(1000),
];

fn main() {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .nresamples(10_000)
        .configure_from_args();

    let mut measured = Vec::new();
    for nodes in [3, 5] {
        for wire in [Wire::Direct, Wire::Local, Wire::Udp, Wire::WideUdp] {
            for store in [Store::Memory, Store::Durable] {
                let kind = Kind { nodes, wire, store };
                measured.extend(commits(&mut criterion, kind, scratch));
            }
        }
    }
    followers(&mut criterion);
    criterion.final_summary();

    measured.retain(|commits| !commits.samples.is_empty());
    if measures() && !measured.is_empty() {
        save(scratch, "replication", &measured).expect("a file for the summary");
    }
}

fn commits(criterion: &mut Criterion, kind: Kind, scratch: &Path) -> Vec<Commits> {
    let Kind { nodes, wire, store } = kind;
    let mut group = criterion.benchmark_group(format!("commit, {nodes} nodes, {wire}, {store}"));
    group.sampling_mode(SamplingMode::Flat);
    // One cluster for all of them: its log grows, and is compacted, as a user's.
    let mut cluster = None;
    let measured = PACES.map(|pace| {
        let (in_flight, at_once) = match pace {
            Pace::Window(many) => (many, false),
            Pace::Batch(many) => (many, true),
        };
        let mut commits = Commits {
            wire: wire.to_string(),
            store: store.to_string(),
            nodes,
            in_flight,
            at_once,
            samples: Vec::new(),
        };
        let name = if at_once { "at once" } else { "in flight" };
        // An iteration is as many commands as are under way, so that a short sample has a whole window in it.
        let window = in_flight as u64;
        group.throughput(Throughput::Elements(window));
        group.bench_function(BenchmarkId::new(name, in_flight), |bencher| {
            bencher.iter_custom(|windows| {
                let cluster = cluster.get_or_insert_with(|| Load::start(kind, scratch));
                let took = cluster.commit(windows * window, pace);
                let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
                commits.samples.push((windows * window, nanos));
                took
            });
        });
        commits
    });
    group.finish();
    measured.into()
}

fn followers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a follower that has missed");
    group.sampling_mode(SamplingMode::Flat);
    group.bench_function("100,000 entries", |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| catch_up(100_000)).sum());
    });
    group.bench_function("a snapshot of 64 MB", |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| install(64 << 20)).sum());
    });
    group.finish();
}
