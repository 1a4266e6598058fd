//! 5.5, follower and candidate crashes, and 5.6, timing and availability.

use std::time::Duration;

use biglock::rules::{Body, RoleKind};

use crate::common::{Cluster, HEARTBEAT, MAX, MIN, granted, grants, heartbeat, request_vote};

/// "If a follower or candidate crashes, then future RequestVote and AppendEntries RPCs sent to it will fail. Raft handles these failures by
/// retrying indefinitely; if the crashed server restarts, then the RPC will complete successfully."
#[test]
fn requests_to_a_crashed_server_are_retried_until_it_is_back() {
    let mut cluster = Cluster::of(2);
    let down = &[2];
    cluster.run(HEARTBEAT / 4, cluster.now + MAX * 20, down);
    assert_eq!(cluster.role(1), RoleKind::Candidate);
    cluster.restart(2);
    cluster.run(HEARTBEAT / 4, cluster.now + MAX * 10, &[]);
    assert_eq!(cluster.leaders().len(), 1);
    assert_eq!(cluster.leader(1), cluster.leader(2));

    let (leader, other) = (cluster.leaders()[0], 3 - cluster.leaders()[0]);
    let end = cluster.now + HEARTBEAT * 4;
    cluster.run(HEARTBEAT / 4, end, &[other]);
    cluster.restart(other);
    cluster.run(HEARTBEAT / 4, cluster.now + HEARTBEAT * 2, &[]);
    assert_eq!(
        cluster.leader(other),
        Some(leader),
        "the heartbeat completes"
    );
}

/// "If a server crashes after completing an RPC but before responding, then it will receive the same RPC again after it restarts. Raft RPCs
/// are idempotent, so this causes no harm."
#[test]
fn a_request_that_comes_twice_is_answered_twice_and_does_nothing_twice() {
    for body in [request_vote(), heartbeat()] {
        let mut cluster = Cluster::of(3);
        let first = cluster.tell(1, 2, 1, body.clone());
        let (before, write) = (cluster.raft(1).hard_state(), cluster.raft(1).latest_write());
        let again = cluster.tell(1, 2, 1, body.clone());
        assert_eq!(first, again);
        assert_eq!(
            (cluster.raft(1).hard_state(), cluster.raft(1).latest_write()),
            (before, write)
        );
        cluster.restart(1);
        assert_eq!(first, cluster.tell(1, 2, 1, body), "and after a crash");
    }
}

/// The same RPC twice is no second sign of life: a repeated RequestVote "causes no harm" to the voter's timeout either.
#[test]
fn a_repeated_request_vote_does_not_put_off_the_voters_own_campaign() {
    let mut cluster = Cluster::of(3);
    cluster.tell(1, 2, 1, request_vote());
    let deadline = cluster.deadline(1);
    cluster.pass(MIN / 2);
    assert!(grants(&cluster.tell(1, 2, 1, request_vote())[0].body));
    assert_eq!(cluster.deadline(1), deadline);
}

/// "Raft will be able to elect and maintain a steady leader as long as the system satisfies the following timing requirement:
/// broadcastTime << electionTimeout << MTBF."
#[test]
fn with_broadcast_much_faster_than_timeouts_a_leader_is_elected_and_stays() {
    for n in 1..=9 {
        for extras in [false, true] {
            let mut cluster = Cluster::with(n, |settings| {
                settings.pre_vote = extras;
                settings.check_quorum = extras;
            });
            cluster.run(MIN / 100, cluster.now + MAX * 10, &[]);
            let (leaders, term) = (cluster.leaders(), cluster.term(1));
            assert_eq!(leaders.len(), 1, "{n} servers");
            cluster.run(MIN / 100, cluster.now + MAX * 200, &[]);
            assert_eq!(
                (cluster.leaders(), cluster.term(1)),
                (leaders, term),
                "{n} servers"
            );
        }
    }
}

/// "When the leader crashes, the system will be unavailable for roughly the election timeout."
#[test]
fn after_a_crash_of_the_leader_the_next_follows_within_about_a_timeout() {
    for n in [3, 4, 5, 7, 9] {
        let mut cluster = Cluster::with(n, |settings| settings.pre_vote = true);
        cluster.run(MIN / 100, cluster.now + MAX * 10, &[]);
        let gone = cluster.leaders();
        let crash = cluster.now;
        while cluster.leaders().iter().all(|id| gone.contains(id)) {
            let soon = cluster.now + Duration::from_millis(1);
            cluster.run(MIN / 100, soon, &gone);
            assert!(
                cluster.now < crash + MAX * 4,
                "{n} servers are without a leader for too long"
            );
        }
    }
}

/// "A majority ... can make progress" (2): with fewer than a majority alive nobody is elected, and with a majority somebody is.
#[test]
fn a_majority_alive_is_needed_and_is_enough() {
    for n in 1..=9_u64 {
        let alive = n / 2 + 1;
        let down: Vec<u64> = (alive + 1..=n).collect();
        let mut cluster = Cluster::of(n);
        cluster.run(MIN / 100, cluster.now + MAX * 20, &down);
        assert_eq!(cluster.leaders().len(), 1, "{alive} of {n} are alive");

        let down: Vec<u64> = (alive..=n).collect();
        let mut cluster = Cluster::of(n);
        cluster.run(MIN / 100, cluster.now + MAX * 20, &down);
        assert_eq!(cluster.leaders(), [0; 0], "{} of {n} are alive", alive - 1);
    }
}

/// A restarted candidate asks for nothing it had asked for: its old answers find a follower (5.2).
#[test]
fn votes_for_a_candidate_that_crashed_elect_nobody() {
    let mut cluster = Cluster::of(3);
    cluster.time_out(1);
    cluster.restart(1);
    cluster.tell(1, 2, 1, granted());
    cluster.tell(1, 3, 1, granted());
    cluster.look_again(1);
    assert_eq!(cluster.role(1), RoleKind::Follower);
    assert!(
        !cluster
            .said
            .iter()
            .any(|m| matches!(m.body, Body::AppendEntries { .. }))
    );
}
