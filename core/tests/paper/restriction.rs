//! 5.4.1, election restriction: a candidate must hold all committed entries to win.

use biglock::rules::{Answer, Body, Refusal, RoleKind};

use crate::common::{Cluster, grants, last, request_vote_with, stale};

/// Whether a voter with the log `voter` grants a candidate with the log `candidate`.
fn votes(voter: &[u64], candidate: &[u64]) -> bool {
    let mut cluster = Cluster::with_logs(
        2,
        |_| {},
        |id| if id == 1 { voter.to_vec() } else { Vec::new() },
    );
    let request = request_vote_with(last(candidate));
    grants(&cluster.tell(1, 2, 10, request)[0].body)
}

/// "The RPC includes information about the candidate's log."
#[test]
fn the_request_includes_the_end_of_the_candidates_log() {
    for pre_vote in [false, true] {
        let log = |_| vec![1, 1, 3];
        let mut cluster = Cluster::with_logs(3, |settings| settings.pre_vote = pre_vote, log);
        cluster.time_out(1);
        for message in &cluster.wire {
            let (Body::PreVote { last: end, .. } | Body::RequestVote { last: end, .. }) =
                message.body
            else {
                panic!("{message} is no request");
            };
            assert_eq!((end.term.0, end.index), (3, 3));
        }
        assert_eq!(cluster.wire.len(), 2);
    }
}

/// "The voter denies its vote if its own log is more up-to-date than that of the candidate."
#[test]
fn a_voter_with_a_more_up_to_date_log_denies_its_vote() {
    let mut cluster = Cluster::with_logs(3, |_| {}, |_| vec![1, 2]);
    let replies = cluster.tell(1, 2, 10, request_vote_with(last(&[1])));
    let why = Answer::Refused(Refusal::LogBehind);
    assert_eq!(replies[0].body, Body::VoteReply { answer: why });
    assert_eq!(
        (cluster.term(1), cluster.vote(1)),
        (10, None),
        "the vote is still free"
    );
    assert!(grants(
        &cluster.tell(1, 3, 10, request_vote_with(last(&[1, 2])))[0].body
    ));
}

/// "If the logs have last entries with different terms, then the log with the later term is more up-to-date."
#[test]
fn the_later_last_term_is_more_up_to_date() {
    assert!(votes(&[1, 1, 1, 1], &[2]), "however short");
    assert!(!votes(&[2], &[1, 1, 1, 1]));
    assert!(votes(&[], &[1]));
    assert!(!votes(&[1], &[]));
}

/// "If the logs end with the same term, then whichever log is longer is more up-to-date."
#[test]
fn with_the_same_last_term_the_longer_is_more_up_to_date() {
    assert!(votes(&[1, 2], &[1, 2, 2]));
    assert!(!votes(&[1, 2, 2], &[1, 2]));
    assert!(
        votes(&[1, 1, 2], &[2, 2, 2]),
        "what stands before does not matter"
    );
}

/// "If the candidate's log is at least as up-to-date" (figure 2): equal is enough.
#[test]
fn an_equal_log_is_up_to_date_enough() {
    assert!(votes(&[], &[]));
    assert!(votes(&[1, 2, 2], &[1, 2, 2]));
}

/// "Raft uses the voting process to prevent a candidate from winning an election unless its log contains all committed entries": an entry
/// that a majority holds is held by whoever is elected.
#[test]
fn a_candidate_without_a_committed_entry_does_not_win() {
    for n in 2..=9_u64 {
        let majority = n / 2 + 1;
        for candidate in 1..=n {
            for pre_vote in [false, true] {
                // The entry of term 2 is committed: servers 1 to `majority` hold it.
                let held = |id| {
                    if id <= majority {
                        vec![1, 2]
                    } else {
                        vec![1, 1, 1]
                    }
                };
                let mut cluster =
                    Cluster::with_logs(n, |settings| settings.pre_vote = pre_vote, held);
                cluster.tell(candidate, candidate % n + 1, 2, stale());
                cluster.time_out(candidate);
                cluster.deliver_all();
                let won = cluster.role(candidate) == RoleKind::Leader;
                assert_eq!(
                    won,
                    candidate <= majority,
                    "{candidate} of {n}, pre-vote {pre_vote}"
                );
            }
        }
    }
}
