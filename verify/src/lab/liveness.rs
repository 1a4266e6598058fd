//! Who keeps others from leading, and who gives up the lead for nothing: no law is broken, and nothing is ever committed.

use std::time::Duration;

use super::cluster::{BUDGET, Cluster};
use super::holes::{busy, conclude, lead};
use crate::sim::Sim;

/// A disk that always has something to write is busy and not stuck: whoever leads stays.
pub fn a_busy_disk_is_not_stuck(seed: u64) {
    let mut cluster = busy(seed, 3, 12);
    for id in cluster.ids() {
        cluster.sim.disk(id).change(|disk| {
            disk.latency = Duration::from_millis(20)..Duration::from_millis(60);
        });
    }
    let leader = cluster.check_one_leader();
    let term = cluster.sim.term(leader);
    cluster.sleep(10 * BUDGET);
    assert_eq!(
        (cluster.leader(), cluster.sim.term(leader)),
        (Some(leader), term),
        "a leader whose disk is busy, and not stuck, stays"
    );
    conclude(cluster);
}

/// A candidate that is heard and hears nobody asks for ever, and its pre-votes are granted. A pre-vote promises nothing: the others are elected
/// while it asks.
pub fn a_deaf_candidate_keeps_nobody_quiet(seed: u64) {
    let mut cluster = Cluster::with(seed, 5, |settings| {
        // It is always the first to ask.
        if settings.id.0 == 1 {
            settings.election_timeout_min = Duration::from_millis(100);
            settings.election_timeout_max = Duration::from_millis(120);
        }
    });
    let (restless, ids) = (cluster.ids()[0], cluster.ids());
    lead(&mut cluster, ids[1]);
    cluster.agree(5, true);
    for &id in &ids[1..] {
        cluster.sim.network().cut(id, restless);
    }
    cluster.sim.crash(ids[1]);
    let elected = |sim: &Sim| sim.leader().is_some();
    assert!(
        cluster.sim.run_until(5 * BUDGET, elected),
        "a candidate that hears nobody keeps all others from standing for election"
    );
    cluster.finish();
}

/// A candidate whose log is behind can't be elected. Whoever refuses it stands when its own time has come, however often it is asked.
pub fn a_candidate_that_is_behind_keeps_nobody_quiet(seed: u64) {
    let mut cluster = Cluster::with(seed, 3, |settings| {
        settings.pre_vote = false;
        settings.check_quorum = false;
        if settings.id.0 == 1 {
            settings.election_timeout_min = Duration::from_millis(100);
            settings.election_timeout_max = Duration::from_millis(120);
        }
    });
    let (restless, ids) = (cluster.ids()[0], cluster.ids());
    lead(&mut cluster, ids[1]);
    cluster.disconnect(restless);
    cluster.agree(2, false);
    cluster.sim.crash(ids[1]);
    cluster.connect_all();
    let elected = |sim: &Sim| sim.leader().is_some();
    assert!(
        cluster.sim.run_until(5 * BUDGET, elected),
        "a candidate that nobody elects keeps the others from standing for election"
    );
    assert_ne!(cluster.leader(), Some(restless));
    cluster.finish();
}
