//! 2B: log replication. Where the labs name an index, theirs begin with 1; ours begin after the no-op of the leader's term.

use std::time::Duration;

use biglock::{NodeId, Position};
use bytes::Bytes;

use super::cluster::{BUDGET, Cluster};

/// Three commands at three indexes that follow each other.
pub fn basic_agree(seed: u64) {
    let mut cluster = Cluster::new(seed, 3);
    cluster.check_one_leader();
    let before = cluster.sim.last_committed();
    for number in 1..=3 {
        let command = cluster.new_command();
        let applied = cluster.count_applied(before + number);
        assert_eq!(applied, 0, "nothing is committed before it is proposed");
        let index = cluster.agree_on(&command, 3, false);
        assert_eq!(index, before + number);
    }
    cluster.finish();
}

/// Each command is sent to each peer once.
pub fn rpc_bytes(seed: u64) {
    let mut cluster = Cluster::new(seed, 3);
    cluster.check_one_leader();
    cluster.agree(3, false);
    let before = cluster.sim.traffic().bytes;
    let mut sent = 0;
    for number in 0..10 {
        let command = Bytes::from(vec![number; 5000]);
        sent += command.len() as u64;
        cluster.agree_on(&command, 3, false);
    }
    let bytes = cluster.sim.traffic().bytes - before;
    let expected = 3 * sent;
    assert!(bytes <= expected + 50_000, "{bytes} bytes for {expected}");
    cluster.finish();
}

/// Followers fail one after the other: with two of three the cluster goes on, with one it commits nothing.
pub fn follower_failure(seed: u64) {
    let mut cluster = Cluster::new(seed, 3);
    cluster.agree(3, false);
    let leader = cluster.check_one_leader();
    cluster.disconnect(cluster.after(leader, 1));
    cluster.agree(2, false);
    cluster.sleep(BUDGET);
    cluster.agree(2, false);

    let leader = cluster.check_one_leader();
    let others: Vec<NodeId> = cluster.ids();
    for id in others.into_iter().filter(|&id| id != leader) {
        cluster.disconnect(id);
    }
    let command = cluster.new_command();
    let started = cluster.start(leader, &command);
    let (at, _) = started.expect("it does not know yet that it is alone");
    cluster.sleep(2 * BUDGET);
    assert_eq!(cluster.count_applied(at.index), 0);
    cluster.finish();
}

/// Leaders fail one after the other.
pub fn leader_failure(seed: u64) {
    let mut cluster = Cluster::new(seed, 3);
    cluster.agree(3, false);
    let first = cluster.check_one_leader();
    cluster.disconnect(first);
    cluster.agree(2, true);
    cluster.sleep(BUDGET);
    cluster.agree(2, true);

    let second = cluster.check_one_leader();
    cluster.disconnect(second);
    let command = cluster.new_command();
    let ids = cluster.ids();
    let started: Vec<Position> = ids
        .into_iter()
        .filter_map(|id| cluster.start(id, &command))
        .map(|(at, _)| at)
        .collect();
    cluster.sleep(2 * BUDGET);
    for at in started {
        assert_ne!(cluster.committed(at.index), Some(&command));
    }
    cluster.finish();
}

/// A follower that was away catches up.
pub fn fail_agree(seed: u64) {
    let mut cluster = Cluster::new(seed, 3);
    cluster.agree(3, false);
    let leader = cluster.check_one_leader();
    let away = cluster.after(leader, 1);
    cluster.disconnect(away);
    for pause in [0, 0, 1, 0] {
        cluster.agree(2, false);
        cluster.sleep(pause * BUDGET);
    }
    cluster.connect(away);
    cluster.agree(3, true);
    cluster.sleep(BUDGET);
    cluster.agree(3, true);
    cluster.finish();
}

/// Three of five are away: nothing is committed; when they are back, what follows is.
pub fn fail_no_agree(seed: u64) {
    let mut cluster = Cluster::new(seed, 5);
    cluster.agree(5, false);
    let leader = cluster.check_one_leader();
    let before = cluster.sim.last_committed();
    for many in 1..=3 {
        cluster.disconnect(cluster.after(leader, many));
    }
    let command = cluster.new_command();
    let started = cluster.start(leader, &command);
    let (at, _) = started.expect("it does not know yet that it has no quorum");
    assert_eq!(at.index, before + 1);
    cluster.sleep(2 * BUDGET);
    assert_eq!(cluster.count_applied(at.index), 0);

    cluster.connect_all();
    let leader = cluster.check_one_leader();
    let command = cluster.new_command();
    let started = cluster.start(leader, &command);
    let (at, _) = started.expect("it leads");
    // The no-op of the new leader's term stands before it, and what was proposed in vain may too.
    assert!((before + 2..=before + 3).contains(&at.index), "{at:?}");
    cluster.agree(5, true);
    cluster.finish();
}

/// Five proposals at once, in one term, are all committed.
pub fn concurrent_starts(seed: u64) {
    let mut cluster = Cluster::new(seed, 3);
    for _ in 0..5 {
        let leader = cluster.check_one_leader();
        let term = cluster.sim.term(leader);
        let commands: Vec<Bytes> = (0..5).map(|_| cluster.new_command()).collect();
        let started: Vec<(Position, Bytes)> = commands
            .into_iter()
            .filter_map(|command| Some((cluster.start(leader, &command)?.0, command)))
            .collect();
        let last = started.last().map_or(0, |(at, _)| at.index);
        let applied = cluster
            .sim
            .run_until(2 * BUDGET, |sim| sim.count_applied(last) == 3);
        if !applied || cluster.sim.term(leader) != term {
            continue;
        }
        assert_eq!(started.len(), 5);
        for (at, command) in started {
            assert_eq!(cluster.committed(at.index), Some(&command));
        }
        return cluster.finish();
    }
    panic!("the term changed too often");
}

/// A partitioned leader's uncommitted entries give way.
pub fn rejoin(seed: u64) {
    let mut cluster = Cluster::new(seed, 3);
    cluster.agree(3, true);
    let first = cluster.check_one_leader();
    cluster.disconnect(first);
    for _ in 0..3 {
        let command = cluster.new_command();
        cluster.start(first, &command);
    }
    cluster.agree(2, true);
    let second = cluster.check_one_leader();
    cluster.disconnect(second);
    cluster.connect(first);
    cluster.agree(2, true);
    cluster.connect(second);
    cluster.agree(3, true);
    cluster.finish();
}

/// Logs that part over 50 entries, several times, are brought together quickly.
pub fn backup(seed: u64) {
    let mut cluster = Cluster::new(seed, 5);
    cluster.agree(5, true);
    let propose = |cluster: &mut Cluster, leader| {
        for _ in 0..50 {
            let command = cluster.new_command();
            cluster.start(leader, &command);
        }
    };

    // The leader and one follower, apart from the others: 50 entries that are never committed.
    let first = cluster.check_one_leader();
    for many in 2..5 {
        cluster.disconnect(cluster.after(first, many));
    }
    propose(&mut cluster, first);
    cluster.sleep(BUDGET / 2);
    cluster.disconnect(first);
    cluster.disconnect(cluster.after(first, 1));

    // The others: 50 entries that are.
    for many in 2..5 {
        cluster.connect(cluster.after(first, many));
    }
    for _ in 0..50 {
        cluster.agree(3, true);
    }

    // Their leader and one follower: 50 more that are not.
    let second = cluster.check_one_leader();
    let mut other = cluster.after(first, 2);
    if second == other {
        other = cluster.after(second, 1);
    }
    cluster.disconnect(other);
    propose(&mut cluster, second);
    cluster.sleep(BUDGET / 2);

    // The first two and the one that was cut off.
    for id in cluster.ids() {
        cluster.disconnect(id);
    }
    cluster.connect(first);
    cluster.connect(cluster.after(first, 1));
    cluster.connect(other);
    for _ in 0..50 {
        cluster.agree(3, true);
    }
    cluster.connect_all();
    cluster.agree(5, true);
    cluster.finish();
}

/// Not too many messages: to elect, to agree, and for nothing.
pub fn count(seed: u64) {
    let mut cluster = Cluster::new(seed, 3);
    let leader = cluster.check_one_leader();
    let requests = cluster.sim.traffic().requests;
    assert!((1..=30).contains(&requests), "{requests} to elect a leader");

    let before = cluster.sim.traffic().requests;
    let started: Vec<Position> = (0..10)
        .filter_map(|_| {
            let command = cluster.new_command();
            cluster.start(leader, &command)
        })
        .map(|(at, _)| at)
        .collect();
    assert_eq!(started.len(), 10);
    let last = started[9].index;
    let applied = cluster
        .sim
        .run_until(BUDGET, |sim| sim.count_applied(last) == 3);
    assert!(applied);
    let requests = cluster.sim.traffic().requests - before;
    assert!(requests <= 42, "{requests} for ten entries");

    let before = cluster.sim.traffic().requests;
    cluster.sleep(Duration::from_secs(1));
    let requests = cluster.sim.traffic().requests - before;
    assert!(requests <= 60, "{requests} for an idle second");
    cluster.finish();
}
