//! An election, from the deadline firing (a) to the candidate being leader and (b) to a majority knowing it.

use std::path::Path;
use std::time::Duration;

use biglock_benches::disk::Disk;
use biglock_benches::floor::Floor;
use biglock_benches::nodes::{Store, Wire};
use biglock_benches::record::save;
use biglock_benches::subject::Subject;
use biglock_benches::{Election, measures};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, SamplingMode};

/// A sample of criterion's is the mean of several elections.
const SAMPLES: usize = 40;
const WARM_UP: Duration = Duration::from_millis(200);
const MEASUREMENT: Duration = Duration::from_millis(1000);

fn main() {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mut criterion = Criterion::default()
        .sample_size(SAMPLES)
        .warm_up_time(WARM_UP)
        .measurement_time(MEASUREMENT)
        .nresamples(10_000)
        .configure_from_args();

    let mut measured = Vec::new();
    for pre_vote in [false, true] {
        for nodes in [3, 5, 7] {
            let name = format!("{nodes} nodes{}", if pre_vote { ", pre-vote" } else { "" });
            let mut group = criterion.benchmark_group(name);
            group.sampling_mode(SamplingMode::Flat);
            let mut subject = Subject::pure(nodes, pre_vote);
            bench(&mut group, "pure", || subject.elect());
            measured.push(subject.finish());
            for wire in [Wire::Local, Wire::Udp] {
                let mut floor = None;
                bench(&mut group, &format!("{wire} floor"), || {
                    let floor = floor.get_or_insert_with(|| Floor::start(wire, nodes, pre_vote));
                    floor.elect().expect("a floor that loses nothing")
                });
                drop(floor);
                for store in [Store::Memory, Store::Durable] {
                    let mut subject = Subject::cluster(nodes, pre_vote, wire, store, scratch);
                    bench(&mut group, &format!("{wire} {store}"), || subject.elect());
                    measured.push(subject.finish());
                }
            }
            group.finish();
        }
    }
    disk(&mut criterion, scratch);
    criterion.final_summary();

    measured.retain(|elections| !elections.leader.measured.is_empty());
    if measures() && !measured.is_empty() {
        save(scratch, "elections", &measured).expect("a file for the summary");
    }
}

fn bench(
    group: &mut BenchmarkGroup<'_, WallTime>,
    what: &str,
    mut elect: impl FnMut() -> Election,
) {
    let mut until = |parameter: &str, end: fn(Election) -> Duration| {
        group.bench_function(BenchmarkId::new(what, parameter), |bencher| {
            bencher.iter_custom(|elections| (0..elections).map(|_| end(elect())).sum());
        });
    };
    until("a leader", |election| election.leader);
    until("b majority", |election| election.majority);
}

fn disk(criterion: &mut Criterion, scratch: &Path) {
    let mut group = criterion.benchmark_group("durable write");
    group.sampling_mode(SamplingMode::Flat);
    let mut disk = None;
    let mut write = |name: &str, write: fn(&mut Disk) -> Duration| {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|writes| {
                let disk = disk.get_or_insert_with(|| Disk::open(scratch).expect("a disk"));
                (0..writes).map(|_| write(disk)).sum()
            });
        });
    };
    write("raw", |disk| disk.raw().expect("a disk that works"));
    write("RedbStorage", Disk::store);
    group.finish();
}
