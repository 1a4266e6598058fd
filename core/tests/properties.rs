//! Random schedules over the pure rules: messages lost, repeated, reordered and late, clocks that run apart, disks that are slow, crashes that
//! keep only what was durable, campaigns, proposals, snapshots, reads, transfers and changes of the members at any moment. What must hold is
//! judged from outside, by the messages, the disks and the states. Each seed replays; a failure names its own.

mod common;
#[path = "properties/digest.rs"]
mod digest;
#[path = "properties/world.rs"]
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use biglock::rules::RoleKind;
use common::{Cluster, HEARTBEAT, MAX};
use world::{Happened, World};

/// Runs `body` once for each seed, and says which one failed.
fn for_each_seed(seeds: u64, mut body: impl FnMut(&mut fastrand::Rng)) {
    for seed in 0..seeds {
        let mut random = fastrand::Rng::with_seed(seed);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(&mut random))) {
            eprintln!("the seed is {seed}");
            resume_unwind(panic);
        }
    }
}

/// The five properties of figure 3, one vote in a term, terms that never go back, nothing said that is not durable, and no stale read: in every
/// step of every schedule.
#[test]
fn whatever_happens_safety_holds() {
    let mut total = Happened::default();
    for_each_seed(400, |random| {
        let changes = random.bool();
        let mut world = World::new(random, changes);
        for _ in 0..3000 {
            world.step(random);
        }
        total.add(&world.happened);
    });
    println!("{total:?}");
    let Happened {
        elections,
        crashes,
        torn_writes,
        refused_votes,
        quorums_lost,
        committed,
        truncated,
        snapshots,
        installed,
        changes,
        transfers,
        handed_over,
        reads,
    } = total;
    assert!(elections > 1000 && refused_votes > 500, "{total:?}");
    assert!(crashes > 1000 && torn_writes > 50, "{total:?}");
    assert!(quorums_lost > 20 && truncated > 50, "{total:?}");
    assert!(committed > 5000 && snapshots > 500, "{total:?}");
    assert!(installed > 50 && changes > 100, "{total:?}");
    assert!(transfers > 100 && handed_over > 20, "{total:?}");
    assert!(reads > 500, "{total:?}");
}

/// Liveness (5.6): after any such history, once messages arrive in time and nobody crashes, a leader is elected within a bounded time, all know
/// it, and it stays; and what it is given is committed everywhere.
#[test]
fn once_the_network_heals_a_leader_is_elected_and_stays() {
    for_each_seed(200, |random| {
        let mut world = World::new(random, false);
        for _ in 0..random.u32(..1500) {
            world.step(random);
        }
        let now = world.clocks.values().copied().max().unwrap_or_default();
        let mut cluster = Cluster::from_parts(now, world.wire, world.servers);
        let all = cluster.ids();
        let agreed = |cluster: &Cluster| {
            let leader = cluster
                .leader(1)
                .filter(|&id| cluster.role(id) == RoleKind::Leader);
            leader.filter(|_| {
                all.iter()
                    .all(|&id| cluster.leader(id) == leader && cluster.term(id) == cluster.term(1))
            })
        };
        let delay = Duration::from_micros(random.u64(1..2_000));
        // What was under way arrives, and whoever is overdue acts.
        cluster.run(delay, now + MAX, &[]);
        let patience = now + MAX * 30;
        while agreed(&cluster).is_none() {
            assert!(
                cluster.now < patience,
                "no leader for {:?}",
                cluster.now.since(now)
            );
            let soon = cluster.now + HEARTBEAT;
            cluster.run(delay, soon, &[]);
        }
        let (leader, term) = (agreed(&cluster), cluster.term(1));
        let later = cluster.now + MAX * 20;
        cluster.run(delay, later, &[]);
        assert_eq!(
            (agreed(&cluster), cluster.term(1)),
            (leader, term),
            "it stays"
        );
        let leader = leader.expect("there is one");
        let position = cluster.propose(leader, b"progress");
        let soon = cluster.now + HEARTBEAT * 3;
        cluster.run(delay, soon, &[]);
        for id in all {
            assert!(cluster.commit(id) >= position.index, "{id} is behind");
            assert!(cluster.raft(id).log().contains(position));
        }
    });
}
