//! 2A: leader election.

use super::cluster::{BUDGET, Cluster};

/// One leader, equal terms, and it stays so without failures.
pub fn initial_election(seed: u64) {
    let mut cluster = Cluster::new(seed, 3);
    let leader = cluster.check_one_leader();
    cluster.sleep(BUDGET / 20);
    let term = cluster.check_terms();
    assert!(term.0 >= 1);
    cluster.sleep(2 * BUDGET);
    assert_eq!(
        cluster.check_terms(),
        term,
        "without failures the term stays"
    );
    assert_eq!(cluster.check_one_leader(), leader);
    cluster.finish();
}

/// A leader that is cut off is replaced, and rejoins quietly; without a quorum there is no leader, and with it there is one again.
pub fn re_election(seed: u64) {
    let mut cluster = Cluster::new(seed, 3);
    let first = cluster.check_one_leader();

    cluster.disconnect(first);
    let second = cluster.check_one_leader();

    cluster.connect(first);
    assert_eq!(cluster.check_one_leader(), second, "it rejoins quietly");

    let other = cluster.after(second, 1);
    cluster.disconnect(second);
    cluster.disconnect(other);
    cluster.sleep(2 * BUDGET);
    cluster.check_no_leader();

    cluster.connect(other);
    cluster.check_one_leader();
    cluster.connect(second);
    cluster.check_one_leader();
    cluster.finish();
}

/// Nine rounds in which three of seven are cut off.
pub fn many_elections(seed: u64) {
    let mut cluster = Cluster::new(seed, 7);
    cluster.check_one_leader();
    for _ in 0..9 {
        let mut ids = cluster.ids();
        cluster.sim.random().shuffle(&mut ids);
        let cut = &ids[..3];
        cut.iter().for_each(|&id| cluster.disconnect(id));
        cluster.check_one_leader();
        cut.iter().for_each(|&id| cluster.connect(id));
    }
    cluster.check_one_leader();
    cluster.finish();
}
