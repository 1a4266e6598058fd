//! From the leader's death to a majority knowing the next one, as a distribution. Each of criterion's samples is one death, so its plot
//! of them is the distribution.

use std::path::Path;
use std::time::Duration;

use biglock_benches::disk::Disk;
use biglock_benches::failover::{Mortal, Setup};
use biglock_benches::floor::Floor;
use biglock_benches::measures;
use biglock_benches::nodes::{Store, Wire};
use biglock_benches::record::{Failovers, add, median, save};
use criterion::{Criterion, SamplingMode};

/// How often the rounds and writes are measured that the ideal is made of.
const ROUNDS: usize = 100;

/// So many leaders that change by themselves are a bug, or no machine to measure on.
const MOST_REJECTED: usize = 100;

fn main() {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_nanos(1))
        .nresamples(10_000)
        .configure_from_args();
    let mut measured = Vec::new();
    for setup in setups() {
        let deaths = if setup.min.as_millis() < 100 { 200 } else { 30 };
        measured.push(bench(&mut criterion, setup, deaths, scratch));
    }
    criterion.final_summary();
    measured.retain(|failovers| !failovers.took.is_empty());
    if measures() && !measured.is_empty() {
        save(scratch, "failover", &measured).expect("a file for the summary");
    }
}

fn setups() -> Vec<Setup> {
    let setup = |wire, store, nodes, pre_vote, (min, max, heartbeat)| Setup {
        nodes,
        pre_vote,
        wire,
        store,
        min: Duration::from_millis(min),
        max: Duration::from_millis(max),
        heartbeat: Duration::from_millis(heartbeat),
    };
    let (usual, short) = ((150, 300, 15), (12, 24, 2));
    vec![
        setup(Wire::Local, Store::Memory, 5, true, short),
        setup(Wire::Udp, Store::Memory, 3, true, usual),
        setup(Wire::Udp, Store::Memory, 5, true, usual),
        setup(Wire::Udp, Store::Memory, 5, false, usual),
        setup(Wire::Udp, Store::Memory, 5, true, short),
        setup(Wire::Udp, Store::Memory, 5, false, short),
        setup(Wire::Udp, Store::Durable, 5, true, usual),
        setup(Wire::Udp, Store::Durable, 5, true, short),
    ]
}

fn bench(criterion: &mut Criterion, setup: Setup, deaths: usize, scratch: &Path) -> Failovers {
    let Setup {
        nodes,
        pre_vote,
        wire,
        store,
        min,
        max,
        heartbeat,
    } = setup;
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let mut record = Failovers {
        wire: wire.to_string(),
        store: store.to_string(),
        nodes,
        pre_vote,
        min: nanos(min),
        max: nanos(max),
        heartbeat: nanos(heartbeat),
        ..Failovers::default()
    };
    let asks = if pre_vote { ", pre-vote" } else { "" };
    let name = format!(
        "{wire} {store}, {nodes} nodes, {}-{} ms{asks}",
        min.as_millis(),
        max.as_millis()
    );
    let mut group = criterion.benchmark_group("failover");
    group.sampling_mode(SamplingMode::Flat);
    group.sample_size(deaths);
    // Too little for more than one death in a sample.
    group.measurement_time(Duration::from_millis(1));
    let mut mortal = None;
    group.bench_function(name, |bencher| {
        let mortal = mortal.get_or_insert_with(|| {
            (record.round, record.write) = ideal(setup, scratch);
            Mortal::start(setup, scratch)
        });
        bencher.iter_custom(|deaths| (0..deaths).map(|_| kill(mortal, &mut record)).sum());
    });
    group.finish();
    record
}

fn kill(mortal: &mut Mortal, record: &mut Failovers) -> Duration {
    loop {
        match mortal.kill() {
            Ok(failover) => {
                add(&mut record.took, failover.took);
                record.terms.push(failover.terms);
                return failover.took;
            }
            Err(rejected) => {
                record.rejected += 1;
                assert!(record.rejected < MOST_REJECTED, "{rejected}");
            }
        }
    }
}

/// Medians of the question rounds and of a durable write, in nanoseconds.
fn ideal(setup: Setup, scratch: &Path) -> (u64, u64) {
    let mut floor = Floor::start(setup.wire, setup.nodes, setup.pre_vote);
    let (mut rounds, mut writes) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        add(
            &mut rounds,
            floor.elect().expect("a floor that loses nothing").leader,
        );
    }
    if setup.store == Store::Durable {
        let mut disk = Disk::open(scratch).expect("a disk");
        for _ in 0..ROUNDS {
            add(&mut writes, disk.raw().expect("a disk that works"));
        }
    }
    let median = |samples: &[u64]| median(samples).unwrap_or_default() as u64;
    (median(&rounds), median(&writes))
}
