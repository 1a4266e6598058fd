//! The dissertation's additions: pre-vote (9.6), check-quorum (6.2), and ignoring candidates while a leader is heard (4.2.3).

use biglock::Time;
use biglock::rules::{Answer, Body, Refusal, Role, RoleKind, majority};

use crate::common::{
    Cluster, HEARTBEAT, MAX, MIN, granted, grants, heartbeat, last, matched, pre_vote,
    request_vote, request_vote_with, stale,
};

fn with_pre_vote(n: u64) -> Cluster {
    Cluster::with(n, |settings| settings.pre_vote = true)
}

fn with_check_quorum(n: u64) -> Cluster {
    Cluster::with(n, |settings| settings.check_quorum = true)
}

/// The attempt that server `id` is asking about.
fn attempt(cluster: &Cluster, id: u64) -> u64 {
    match cluster.raft(id).role() {
        Role::PreCandidate { attempt, .. } => *attempt,
        other => panic!("server {id} is no pre-candidate, but {other:?}"),
    }
}

fn yes(attempt: u64) -> Body {
    Body::PreVoteReply {
        attempt,
        answer: Answer::Granted,
    }
}

/// 9.6: "A candidate only increments its term if it first learns from a majority of the cluster that they would be willing to grant the
/// candidate their votes."
#[test]
fn the_term_is_incremented_only_after_a_majority_would_vote() {
    for n in 1..=9 {
        let mut cluster = with_pre_vote(n);
        let needed = majority(cluster.ids().len()) as u64;
        cluster.time_out(1);
        if n > 1 {
            let this = attempt(&cluster, 1);
            for voter in 2..=needed {
                assert_eq!(
                    (cluster.role(1), cluster.term(1)),
                    (RoleKind::PreCandidate, 0)
                );
                cluster.tell(1, voter, 0, yes(this));
            }
            assert_eq!(cluster.role(1), RoleKind::Candidate, "{needed} of {n}");
        }
        assert_eq!((cluster.term(1), cluster.vote(1)), (1, Some(1)));
    }
}

/// 9.6: "... if the candidate's log is sufficiently up-to-date ..."
#[test]
fn a_pre_vote_is_refused_to_a_log_that_is_behind() {
    for (own, ok) in [
        (vec![1, 2], true),
        (vec![1], true),
        (vec![1, 2, 2], false),
        (vec![3], false),
    ] {
        let mut cluster = Cluster::with_logs(3, |s| s.pre_vote = true, |_| own.clone());
        let asked = Body::PreVote {
            attempt: 1,
            last: last(&[1, 2]),
        };
        let reply = cluster.tell(1, 2, 3, asked);
        let why = Answer::Refused(Refusal::LogBehind);
        let answer = if ok { Answer::Granted } else { why };
        assert_eq!(
            reply[0].body,
            Body::PreVoteReply { attempt: 1, answer },
            "{own:?}"
        );
    }
}

/// 9.6: "... and the voters have not received heartbeats from a valid leader for at least a baseline election timeout."
#[test]
fn a_pre_vote_is_refused_while_a_leader_is_heard() {
    let mut cluster = with_pre_vote(3);
    cluster.tell(1, 2, 1, heartbeat());
    let heard = cluster.now;
    let why = Answer::Refused(Refusal::LeaderAlive);
    for (now, answer) in [
        (heard, why),
        (Time::from_nanos((heard + MIN).as_nanos() - 1), why),
        (heard + MIN, Answer::Granted),
    ] {
        cluster.now = now;
        let reply = cluster.tell(1, 3, 1, pre_vote(7));
        assert_eq!(
            reply[0].body,
            Body::PreVoteReply { attempt: 7, answer },
            "at {now:?}"
        );
    }
}

/// The leader itself is the first to know that there is one.
#[test]
fn a_leader_refuses_every_pre_vote_of_its_term() {
    let mut cluster = with_pre_vote(3);
    cluster.elect(1);
    cluster.pass(MAX * 10);
    assert!(!grants(&cluster.tell(1, 2, 1, pre_vote(1))[0].body));
    assert_eq!(cluster.role(1), RoleKind::Leader);
}

/// 9.6: a pre-vote promises nothing. "Changes nothing at the voter": any number may be granted, to anyone, and the real vote stays free.
#[test]
fn a_pre_vote_changes_nothing_at_the_voter() {
    let mut cluster = with_pre_vote(3);
    cluster.pass(MIN / 2);
    let before = cluster.raft(1).clone();
    for candidate in [2, 3, 2] {
        assert!(grants(
            &cluster.tell(1, candidate, 0, pre_vote(candidate))[0].body
        ));
        assert_eq!(
            cluster.raft(1).election_deadline(),
            before.election_deadline(),
            "a pre-vote that is granted does not put off the voter's own campaign"
        );
        assert_eq!(cluster.raft(1), &before, "nor does it change anything else");
    }
    assert!(grants(&cluster.tell(1, 3, 1, request_vote())[0].body));
}

/// A vote that was given does not stop a pre-vote: it is about the term after this one.
#[test]
fn a_pre_vote_is_granted_whomever_the_vote_of_this_term_went_to() {
    let mut cluster = with_pre_vote(3);
    cluster.tell(1, 2, 1, request_vote());
    assert!(grants(&cluster.tell(1, 3, 1, pre_vote(1))[0].body));
}

/// 9.6: "The Pre-Vote algorithm solves the issue of a partitioned server disrupting the cluster when it rejoins. While a server is partitioned, it
/// won't be able to increment its term, since it can't receive permission from a majority of the cluster."
#[test]
fn a_partitioned_server_does_not_increment_its_term() {
    let mut cluster = with_pre_vote(5);
    cluster.elect(1);
    for _ in 0..20 {
        cluster.time_out(5);
        cluster.lose(|m| m.from.0 == 5);
    }
    assert_eq!(
        (cluster.role(5), cluster.term(5)),
        (RoleKind::PreCandidate, 1)
    );
}

/// 9.6: "Then, when it rejoins the cluster, it still won't be able to increment its term, since the other servers will have been receiving
/// regular heartbeats from the leader. Once the server receives a heartbeat from the leader itself, it will return to the follower state (in
/// the same term)."
#[test]
fn a_partitioned_server_disturbs_nobody_when_it_rejoins() {
    let mut cluster = with_pre_vote(5);
    cluster.elect(1);
    cluster.cut = vec![5];
    cluster.run(HEARTBEAT / 4, cluster.now + MAX * 10, &[]);
    assert_eq!(
        (cluster.role(5), cluster.term(5)),
        (RoleKind::PreCandidate, 1)
    );
    cluster.cut.clear();
    cluster.run(HEARTBEAT / 4, cluster.now + MAX * 10, &[]);
    assert_eq!((cluster.role(5), cluster.term(5)), (RoleKind::Follower, 1));
    assert_eq!(
        (cluster.leaders(), cluster.term(1)),
        (vec![1], 1),
        "and nobody was disturbed"
    );
}

/// Without pre-vote the same server "will have a higher term and force a new election": what the sentence above is about.
#[test]
fn without_pre_vote_the_same_server_does_disturb() {
    let mut cluster = Cluster::of(5);
    cluster.elect(1);
    cluster.time_out(5);
    cluster.wire.clear();
    cluster.time_out(5);
    cluster.deliver_all();
    assert_eq!(cluster.role(1), RoleKind::Follower);
    assert_eq!(cluster.term(1), 3);
}

/// An answer to an earlier attempt is not an answer to this one, although both are of one term.
#[test]
fn a_late_answer_to_an_earlier_attempt_does_not_count() {
    let mut cluster = with_pre_vote(3);
    cluster.time_out(1);
    let old = attempt(&cluster, 1);
    cluster.time_out(1);
    let new = attempt(&cluster, 1);
    assert_ne!(old, new);
    cluster.tell(1, 2, 0, yes(old));
    assert_eq!(
        (cluster.role(1), cluster.term(1)),
        (RoleKind::PreCandidate, 0)
    );
    cluster.tell(1, 2, 0, yes(new));
    assert_eq!((cluster.role(1), cluster.term(1)), (RoleKind::Candidate, 1));
}

/// A willingness is no vote: what was granted to the pre-vote elects nobody.
#[test]
fn pre_votes_are_not_votes() {
    let mut cluster = with_pre_vote(3);
    cluster.time_out(1);
    let this = attempt(&cluster, 1);
    cluster.tell(1, 2, 0, granted());
    assert_eq!(
        cluster.role(1),
        RoleKind::PreCandidate,
        "a vote is no pre-vote"
    );
    cluster.tell(1, 2, 0, yes(this));
    cluster.tell(1, 3, 1, yes(this));
    cluster.look_again(1);
    assert_eq!((cluster.role(1), cluster.term(1)), (RoleKind::Candidate, 1));
}

/// A pre-candidate is still a follower to everyone else: it votes, and it follows.
#[test]
fn a_pre_candidate_votes_for_another_and_gives_up_its_own_attempt() {
    let mut cluster = with_pre_vote(3);
    cluster.time_out(1);
    let this = attempt(&cluster, 1);
    assert!(grants(&cluster.tell(1, 2, 1, request_vote())[0].body));
    cluster.tell(1, 3, 1, yes(this));
    cluster.look_again(1);
    assert_eq!(
        (cluster.role(1), cluster.vote(1)),
        (RoleKind::Follower, Some(2))
    );
}

/// All servers that time out at once may ask at once: pre-votes do not split, the election after them is the only contest.
#[test]
fn pre_votes_do_not_split() {
    for n in 2..=9 {
        let mut cluster = with_pre_vote(n);
        (1..=n).for_each(|id| cluster.time_out(id));
        cluster.deliver_all();
        assert!(cluster.leaders().len() <= 1);
        assert!(
            cluster.ids().iter().all(|&id| cluster.term(id) == 1),
            "somebody got on"
        );
    }
}

/// A server whose term is behind learns the term from the refusal, and is elected in its next attempt.
#[test]
fn a_pre_candidate_whose_term_is_behind_learns_it_from_the_answers() {
    let mut cluster = with_pre_vote(3);
    for id in [2, 3] {
        cluster.tell(id, 5 - id, 6, stale());
    }
    cluster.time_out(1);
    cluster.deliver_all();
    assert_eq!((cluster.role(1), cluster.term(1)), (RoleKind::Follower, 6));
    cluster.elect(1);
    assert_eq!(cluster.term(1), 7);
}

/// 6.2: "A leader in Raft steps down if an election timeout elapses without a successful round of heartbeats to a majority of its cluster."
#[test]
fn a_leader_that_hears_no_majority_steps_down() {
    for n in 2..=9 {
        let mut cluster = with_check_quorum(n);
        let others = majority(cluster.ids().len()) as u64 - 1;
        cluster.elect(1);
        let elected = cluster.now;
        // One answer too few for a majority, however often it comes.
        let cut: Vec<u64> = (1 + others..=n).collect();
        while cluster.role(1) == RoleKind::Leader {
            cluster.heartbeat(1);
            cluster.deliver_without(&cut);
            assert!(cluster.now <= elected + MAX + HEARTBEAT, "{n} servers");
        }
        assert!(
            cluster.now >= elected + MAX,
            "not earlier than an election timeout"
        );
        assert_eq!(
            (cluster.term(1), cluster.vote(1)),
            (1, Some(1)),
            "the term goes on"
        );
        assert_eq!(cluster.leader(1), None);
        assert!(cluster.deadline(1) >= cluster.now + MIN);
    }
}

/// 6.2, the other side: a majority, itself included, is enough.
#[test]
fn a_leader_that_hears_just_a_majority_stays() {
    for n in 1..=9 {
        let mut cluster = with_check_quorum(n);
        let needed = majority(cluster.ids().len()) as u64;
        cluster.elect(1);
        let cut: Vec<u64> = (needed + 1..=n).collect();
        while cluster.now < Time::ZERO + MAX * 20 {
            cluster.heartbeat(1);
            cluster.deliver_without(&cut);
        }
        assert_eq!(cluster.role(1), RoleKind::Leader, "{needed} of {n}");
    }
}

/// 6.2: "... to a majority": an answer of another term, or to another question, is no successful round.
#[test]
fn only_answers_to_heartbeats_keep_a_leader() {
    let mut cluster = with_check_quorum(3);
    cluster.elect(1);
    while cluster.role(1) == RoleKind::Leader && cluster.now < Time::ZERO + MAX * 3 {
        cluster.heartbeat(1);
        cluster.wire.clear();
        cluster.tell(1, 2, 1, granted());
        cluster.tell(1, 2, 0, matched(0));
    }
    assert_eq!(
        cluster.role(1),
        RoleKind::Follower,
        "an answer of an earlier term is no successful round of this one"
    );
}

/// A leader that stepped down does not stand in the way: it would vote, and a pre-vote is granted.
#[test]
fn a_leader_that_stepped_down_lets_others_be_elected() {
    let mut cluster = Cluster::with(3, |settings| {
        settings.pre_vote = true;
        settings.check_quorum = true;
    });
    cluster.elect(1);
    while cluster.role(1) == RoleKind::Leader {
        cluster.heartbeat(1);
        cluster.wire.clear();
    }
    let last = cluster.raft(1).log().last();
    let asked = Body::PreVote { attempt: 1, last };
    assert!(grants(&cluster.tell(1, 2, 1, asked)[0].body));
    assert!(grants(
        &cluster.tell(1, 2, 2, request_vote_with(last))[0].body
    ));
}

/// 4.2.3, as the pre-vote has it: a candidate that the leader's followers still hear a leader over is not helped, so a cluster that works is left in
/// peace however often one server asks.
#[test]
fn a_server_that_hears_no_leader_cannot_depose_one_whom_the_others_hear() {
    let mut cluster = Cluster::with(5, |settings| {
        settings.pre_vote = true;
        settings.check_quorum = true;
    });
    cluster.elect(1);
    // The leader's messages do not reach server 5; everything else does.
    for _ in 0..200 {
        cluster.heartbeat(1);
        cluster.lose(|m| (m.from.0, m.to.0) == (1, 5));
        cluster.deliver_all();
        if cluster.deadline(5) <= cluster.now {
            cluster.time_out(5);
        }
        cluster.deliver_all();
    }
    assert_eq!((cluster.leaders(), cluster.term(1)), (vec![1], 1));
    assert_eq!(cluster.role(5), RoleKind::PreCandidate);
}
