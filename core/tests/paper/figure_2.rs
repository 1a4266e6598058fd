//! Figure 2, rule by rule, as far as elections go.

use biglock::rules::{Answer, Appended, Body, Conflict, Position, Refusal, RoleKind, Verdict};
use biglock::{HardState, Term};

use crate::common::{
    Cluster, HEARTBEAT, MAX, MIN, append, appended, granted, grants, heartbeat, last, matched,
    request_vote, request_vote_with, stale,
};

/// Persistent state: "updated on stable storage before responding to RPCs".
#[test]
fn state_is_on_stable_storage_before_the_response() {
    for (body, term, vote) in [(request_vote(), 5, Some(2)), (heartbeat(), 5, None)] {
        let mut cluster = Cluster::of(3);
        cluster.stuck = Some(1);
        assert_eq!(
            cluster.tell(1, 2, 5, body),
            [],
            "nothing leaves before it is durable"
        );
        assert_eq!(cluster.disk(1), HardState::default());
        cluster.release(1);
        assert_eq!(cluster.said.len(), 1);
        assert_eq!(
            (
                cluster.disk(1).term.0,
                cluster.disk(1).voted_for.map(|id| id.0)
            ),
            (term, vote)
        );
    }
}

/// The same for what is not a response: a candidate's own vote is durable before it asks for others', and before it counts.
#[test]
fn a_candidates_own_vote_is_durable_before_it_is_said_or_counted() {
    let mut cluster = Cluster::of(3);
    cluster.stuck = Some(1);
    cluster.time_out(1);
    assert_eq!(cluster.said, []);
    cluster.tell(1, 2, 1, granted());
    cluster.look_again(1);
    assert_eq!(
        cluster.role(1),
        RoleKind::Candidate,
        "one vote of three, as its own is not durable"
    );
    cluster.release(1);
    assert_eq!(cluster.role(1), RoleKind::Leader);

    let mut alone = Cluster::of(1);
    alone.stuck = Some(1);
    alone.time_out(1);
    assert_eq!(alone.role(1), RoleKind::Candidate);
    alone.release(1);
    assert_eq!(alone.role(1), RoleKind::Leader);
}

/// "log[]" is persistent state too, all of it: what conflicts is replaced on the disk as it is in memory, also if entries that follow still waited
/// to be written.
#[test]
fn what_replaces_entries_is_written_from_where_it_begins() {
    let history = |id| match id {
        1 => vec![1, 1, 1, 1],
        _ => vec![],
    };
    let mut cluster = Cluster::with_logs(3, |_| {}, history);
    cluster.stuck = Some(1);
    // Entry 5 is being written, and entry 6 waits, when the next leader replaces all from entry 3 on.
    cluster.tell(1, 2, 1, append(&[1, 1, 1, 1], &[1], 0));
    cluster.tell(1, 2, 1, append(&[1, 1, 1, 1, 1], &[1], 0));
    cluster.tell(1, 3, 2, append(&[1, 1], &[2, 2], 0));
    cluster.release(1);
    let on_disk = cluster.stored(1).log.iter();
    let on_disk: Vec<_> = on_disk.map(|(_, entry)| entry.term.0).collect();
    assert_eq!(cluster.log(1), [1, 1, 2, 2]);
    assert_eq!(
        on_disk,
        cluster.log(1),
        "what is acknowledged is on the disk, from the first entry that was replaced"
    );
}

/// What a stuck disk holds up leaves in order and once when it is back, with the messages that came in meanwhile answered too.
#[test]
fn what_waits_for_the_disk_leaves_in_order_and_once() {
    let mut cluster = Cluster::of(3);
    cluster.stuck = Some(1);
    cluster.tell(1, 2, 1, request_vote());
    cluster.tell(1, 3, 1, request_vote());
    cluster.tell(1, 2, 1, heartbeat());
    assert_eq!(cluster.said, []);
    cluster.release(1);
    let said: Vec<_> = cluster
        .said
        .iter()
        .map(|m| (m.to.0, m.body.name()))
        .collect();
    assert_eq!(
        said,
        [(2, "VoteReply"), (3, "VoteReply"), (2, "AppendReply")]
    );
    assert!(grants(&cluster.said[0].body) && !grants(&cluster.said[1].body));
}

/// currentTerm: "initialized to 0 on first boot, increases monotonically"; votedFor: "or null if none".
#[test]
fn the_first_boot_is_term_zero_without_a_vote() {
    for n in 1..=9 {
        let cluster = Cluster::of(n);
        assert_eq!(
            cluster.raft(1).hard_state(),
            HardState {
                term: Term(0),
                voted_for: None
            }
        );
        assert_eq!(
            (cluster.raft(1).commit(), cluster.raft(1).log().last()),
            (0, Position::default())
        );
    }
}

/// votedFor: "candidateId that received vote **in current term**": a new term frees the vote.
#[test]
fn a_new_term_frees_the_vote() {
    let mut cluster = Cluster::of(3);
    assert!(grants(&cluster.tell(1, 2, 1, request_vote())[0].body));
    cluster.tell(1, 2, 2, stale());
    assert_eq!((cluster.term(1), cluster.vote(1)), (2, None));
    assert!(grants(&cluster.tell(1, 3, 2, request_vote())[0].body));
}

/// AppendEntries 1: "Reply false if term < currentTerm." And the old leader's timeout is not put off by it.
#[test]
fn append_entries_of_an_earlier_term_is_refused_and_is_no_sign_of_life() {
    let mut cluster = Cluster::of(3);
    cluster.tell(1, 2, 5, heartbeat());
    let deadline = cluster.deadline(1);
    cluster.pass(MIN / 2);
    let reply = cluster.tell(1, 3, 4, heartbeat());
    assert_eq!(reply[0].body, stale());
    assert_eq!(
        (cluster.deadline(1), cluster.leader(1)),
        (deadline, Some(2))
    );
}

/// AppendEntries 2: "Reply false if log doesn't contain an entry at prevLogIndex whose term matches prevLogTerm." It comes from the leader all the
/// same, so it is heard as one.
#[test]
fn append_entries_that_does_not_match_the_log_is_refused_but_heard() {
    let own = [1, 1, 2];
    let no = |prev, term: Option<u64>, first| {
        let term = term.map(Term);
        Appended::Conflict(Conflict { prev, term, first })
    };
    let prevs: [(&[u64], Appended); 6] = [
        (&[], Appended::Matched(0)),
        (&[1, 1], Appended::Matched(2)),
        (&[1, 1, 2], Appended::Matched(3)),
        (&[1, 1, 1], no(3, Some(2), 3)),
        (&[1, 1, 2, 2], no(4, None, 4)),
        (&[1, 2], no(2, Some(1), 1)),
    ];
    for (prev, answer) in prevs {
        let mut cluster = Cluster::with_logs(3, |_| {}, |_| own.to_vec());
        cluster.pass(MIN / 2);
        let reply = cluster.tell(1, 2, 3, append(prev, &[], 9));
        assert_eq!(reply[0].body, appended(answer), "after {prev:?}");
        assert_eq!(cluster.leader(1), Some(2));
        assert!(cluster.deadline(1) >= cluster.now + MIN);
        let proved = match answer {
            Appended::Matched(index) => index,
            _ => 0,
        };
        assert_eq!(cluster.raft(1).commit(), proved);
    }
}

/// AppendEntries 5: "If leaderCommit > commitIndex, set commitIndex = min(leaderCommit, index of last new entry)."
#[test]
fn the_commit_index_follows_the_leaders_as_far_as_the_logs_are_known_to_be_equal() {
    for (commit, prev, expected) in [(1, 2, 1), (2, 2, 2), (9, 2, 2), (9, 3, 3), (0, 3, 0)] {
        let mut cluster = Cluster::with_logs(3, |_| {}, |_| vec![1, 1, 1]);
        cluster.tell(1, 2, 2, append(&vec![1; prev], &[], commit));
        assert_eq!(cluster.raft(1).commit(), expected);
        cluster.tell(1, 2, 2, heartbeat());
        assert_eq!(cluster.raft(1).commit(), expected, "and never goes back");
    }
}

/// RequestVote 1: "Reply false if term < currentTerm."
#[test]
fn request_vote_of_an_earlier_term_is_refused() {
    let mut cluster = Cluster::of(3);
    cluster.tell(1, 2, 5, stale());
    let reply = cluster.tell(1, 3, 4, request_vote());
    let why = Answer::Refused(Refusal::StaleTerm);
    assert_eq!(
        (&reply[0].body, reply[0].term),
        (&Body::VoteReply { answer: why }, Term(5))
    );
    assert_eq!(cluster.vote(1), None);
}

/// RequestVote 2: "If votedFor is null **or candidateId**, and candidate's log is at least as up-to-date as receiver's log, grant vote."
#[test]
fn the_vote_is_granted_again_to_whom_it_was_given() {
    let mut cluster = Cluster::of(5);
    for _ in 0..3 {
        assert!(grants(&cluster.tell(1, 2, 1, request_vote())[0].body));
    }
    assert!(!grants(&cluster.tell(1, 3, 1, request_vote())[0].body));
}

/// All servers: "If RPC request **or response** contains term T > currentTerm: set currentTerm = T, convert to follower."
#[test]
fn a_response_with_a_later_term_deposes_too() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    let deposed = cluster.now;
    cluster.tell(1, 2, 7, stale());
    assert_eq!(
        (cluster.role(1), cluster.term(1), cluster.vote(1)),
        (RoleKind::Follower, 7, None)
    );
    assert!(
        cluster.deadline(1) >= deposed + MIN,
        "who led has to draw a timeout"
    );
    assert!(
        cluster.raft(1).heartbeat_due().is_none(),
        "and sends no more heartbeats"
    );
}

/// Followers: "If election timeout elapses without receiving AppendEntries RPC **from current leader** or **granting vote** to candidate:
/// convert to candidate." So a later term, a refused vote, a pre-vote and a reply do not reset it.
#[test]
fn only_the_current_leader_and_a_granted_vote_reset_the_timeout() {
    let behind = request_vote_with(Position::default());
    let others = [
        behind,
        Body::PreVote {
            attempt: 1,
            last: last(&[1, 1, 1]),
        },
        Body::VoteReply {
            answer: Answer::Granted,
        },
        matched(0),
    ];
    for body in others {
        let mut cluster = Cluster::with_logs(3, |_| {}, |_| vec![1]);
        let deadline = cluster.deadline(1);
        for term in 2..5 {
            cluster.pass(MIN / 10);
            cluster.tell(1, 2, term, body.clone());
            assert_eq!(
                cluster.deadline(1),
                deadline,
                "{} of term {term} is neither the current leader's nor a vote that is granted: it does not reset the timeout",
                body.name()
            );
        }
    }
}

/// Candidates: "On conversion to candidate, start election: increment currentTerm, vote for self, reset election timer, send RequestVote RPCs to
/// all other servers."
#[test]
fn conversion_to_candidate_does_all_four_in_one_step() {
    let mut cluster = Cluster::of(4);
    cluster.time_out(3);
    assert_eq!((cluster.term(3), cluster.vote(3)), (1, Some(3)));
    assert!((cluster.now + MIN..=cluster.now + MAX).contains(&cluster.deadline(3)));
    assert_eq!(cluster.wire.len(), 3);
    assert_eq!(cluster.disk(3), cluster.raft(3).hard_state());
}

/// Candidates: "If votes received from majority of servers: become leader."
#[test]
fn a_majority_of_votes_makes_a_leader_even_after_the_timeout() {
    let mut cluster = Cluster::of(3);
    cluster.time_out(1);
    cluster.now = cluster.deadline(1) + MIN;
    cluster.tell(1, 2, 1, granted());
    assert_eq!(cluster.role(1), RoleKind::Leader);
}

/// Candidates: "If election timeout elapses: start new election." Not before, even when a majority has refused: a rival may be about to win.
#[test]
fn a_refused_candidate_waits_for_its_timeout() {
    for n in 2..=9 {
        let mut cluster = Cluster::of(n);
        cluster.time_out(1);
        let refusal = Body::VoteReply {
            answer: Answer::Refused(Refusal::VotedForAnother),
        };
        let mut decided = 0;
        for voter in 2..=n {
            cluster.tell(1, voter, 1, refusal.clone());
            let possible = n - (voter - 1);
            let lost = possible < n / 2 + 1;
            decided += u64::from(lost);
            let standing = cluster.raft(1).standing();
            assert_eq!(
                standing,
                lost.then_some(Verdict::Refused),
                "{n} servers, {voter}"
            );
        }
        assert!(decided > 0);
        assert_eq!((cluster.role(1), cluster.term(1)), (RoleKind::Candidate, 1));
        cluster.time_out(1);
        assert_eq!(cluster.term(1), 2);
    }
}

/// Candidates: "If AppendEntries RPC received from new leader: convert to follower", with the vote of the term as it was.
#[test]
fn a_candidate_that_finds_a_leader_keeps_its_vote() {
    let mut cluster = Cluster::of(3);
    cluster.time_out(1);
    cluster.tell(1, 2, 1, heartbeat());
    assert_eq!(
        (cluster.role(1), cluster.vote(1)),
        (RoleKind::Follower, Some(1))
    );
    assert!(!grants(&cluster.tell(1, 3, 1, request_vote())[0].body));
}

/// Leaders: "Upon election: send initial empty AppendEntries RPCs (heartbeat) to each server; repeat during idle periods to prevent election
/// timeouts."
#[test]
fn heartbeats_prevent_election_timeouts() {
    let mut cluster = Cluster::of(5);
    cluster.elect(1);
    cluster.run(HEARTBEAT / 4, cluster.now + MAX * 100, &[]);
    assert_eq!((cluster.leaders(), cluster.term(5)), (vec![1], 1));
}

/// Election safety (figure 3): a second leader of one term proves that it is broken, and nothing may go on from there.
#[test]
#[should_panic(expected = "two leaders in term 1")]
fn a_second_leader_of_a_term_is_not_believed() {
    let mut cluster = Cluster::of(3);
    cluster.tell(1, 2, 1, heartbeat());
    cluster.tell(1, 3, 1, heartbeat());
}

/// The same, where the second is oneself.
#[test]
#[should_panic(expected = "two leaders in term 1")]
fn a_leader_believes_no_other_of_its_term() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    cluster.tell(1, 3, 1, heartbeat());
}

/// A follower that has not voted in its leader's term may still give its vote of that term ("if votedFor is null"), which changes nothing about who leads:
/// that is settled ("at most one leader can be elected in a given term", figure 3).
#[test]
fn a_late_vote_does_not_forget_the_leader() {
    let mut cluster = Cluster::of(3);
    cluster.tell(1, 2, 1, heartbeat());
    cluster.tell(1, 3, 1, request_vote());
    let leader = cluster.leader(1);
    assert_eq!(leader, Some(2), "its vote does not forget the leader");
}

/// A request that has not left cannot have been lost, so it is not repeated ("retry ... if they do not receive a response", 5.1): what waits for a stuck disk
/// does not grow with the time for which it is stuck.
#[test]
fn what_waits_for_a_stuck_disk_does_not_grow() {
    for pre_vote in [false, true] {
        let mut cluster = Cluster::with(3, |settings| settings.pre_vote = pre_vote);
        cluster.stuck = Some(1);
        // Not durable from here on.
        cluster.tell(1, 2, 1, stale());
        let end = cluster.now + MAX * 50;
        cluster.run(HEARTBEAT, end, &[2, 3]);
        assert_eq!(cluster.said, []);
        cluster.release(1);
        assert!(
            cluster.said.len() <= 4,
            "{} messages were queued",
            cluster.said.len()
        );
    }
}
