//! That the instruments measure: each runs a few times, and what it says makes sense.

use std::path::Path;
use std::time::Duration;

use biglock_benches::cluster::{self, Cluster};
use biglock_benches::disk::Disk;
use biglock_benches::failover::{self, Mortal};
use biglock_benches::floor::Floor;
use biglock_benches::hops::{HOPS, measure};
use biglock_benches::nodes::{Store, Wire};
use biglock_benches::pure::Pure;
use biglock_benches::record::quantile;

fn scratch() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

#[test]
fn elections_on_the_rules_are_clean() {
    for nodes in [3, 5, 7] {
        for pre_vote in [false, true] {
            let mut pure = Pure::new(nodes, pre_vote);
            for _ in 0..10 {
                let election = pure.elect().expect("a clean election");
                assert!(election.leader <= election.majority);
            }
        }
    }
}

#[test]
fn elections_of_nodes_are_clean_on_every_wire_and_store() {
    for wire in [Wire::Local, Wire::Udp] {
        for store in [Store::Memory, Store::Durable] {
            for pre_vote in [false, true] {
                let setup = cluster::Setup {
                    nodes: 3,
                    pre_vote,
                    wire,
                    store,
                };
                let mut cluster = Cluster::start(setup, scratch());
                for _ in 0..5 {
                    let election = cluster.elect().expect("a clean election");
                    assert!(!election.leader.is_zero());
                    assert!(election.leader <= election.majority);
                }
            }
        }
    }
}

#[test]
fn the_floor_hears_a_majority_before_it_announces() {
    for wire in [Wire::Local, Wire::Udp] {
        for pre_vote in [false, true] {
            let mut floor = Floor::start(wire, 5, pre_vote);
            for _ in 0..5 {
                let election = floor.elect().expect("nothing is lost");
                assert!(!election.leader.is_zero());
                assert!(election.leader <= election.majority);
            }
        }
    }
}

#[test]
fn a_path_is_found_and_has_every_hop() {
    for store in [Store::Memory, Store::Durable] {
        let setup = cluster::Setup {
            nodes: 5,
            pre_vote: false,
            wire: Wire::Udp,
            store,
        };
        let rows = measure(setup, scratch(), 5);
        assert!(rows.iter().all(|row| row.len() == HOPS.len()));
    }
}

#[test]
fn a_killed_leader_has_a_successor() {
    let setup = failover::Setup {
        nodes: 3,
        pre_vote: true,
        wire: Wire::Udp,
        store: Store::Memory,
        min: Duration::from_millis(50),
        max: Duration::from_millis(100),
        heartbeat: Duration::from_millis(10),
    };
    let mut mortal = Mortal::start(setup, scratch());
    let mut killed = 0;
    while killed < 3 {
        // A leader that changed by itself, on a machine that stalls, was not killed.
        if let Ok(failover) = mortal.kill() {
            assert!(failover.terms >= 1);
            assert!(!failover.took.is_zero());
            killed += 1;
        }
    }
}

#[test]
fn both_writes_are_made() {
    let mut disk = Disk::open(scratch()).expect("a folder");
    assert!(!disk.raw().expect("a disk").is_zero());
    assert!(!disk.store().is_zero());
}

#[test]
fn quantiles_are_samples() {
    let samples = [5, 1, 4, 2, 3];
    assert_eq!(quantile(&samples, 0.0), Some(1.0));
    assert_eq!(quantile(&samples, 0.5), Some(3.0));
    assert_eq!(quantile(&samples, 1.0), Some(5.0));
    assert_eq!(quantile(&[], 0.5), None);
}
