//! Why there is no leader: in each state the rule that blocks it, as data and as a sentence.

use std::time::Duration;

use biglock::rules::{Answer, Body, Refusal};
use biglock::{MemoryStorage, NoLeader, NodeId, Status};

use crate::harness::{Bench, Gate, PATIENCE, bench, bench_with, change, heartbeat, request_vote};

fn why(bench: &Bench) -> NoLeader {
    bench.node.status().no_leader.expect("there is no leader")
}

fn sentence(bench: &Bench) -> String {
    bench.node.status().to_string()
}

#[test]
fn it_waits_for_its_timeout() {
    let bench = bench(3);
    bench.tick(50);
    let NoLeader::Waiting { campaigns_in } = why(&bench) else {
        panic!("{}", sentence(&bench));
    };
    let range = Duration::from_millis(100)..=Duration::from_millis(250);
    assert!(range.contains(&campaigns_in), "{campaigns_in:?}");
    assert!(sentence(&bench).starts_with(
        "node 1: follower in term 0, no leader: waits to hear one, and campaigns in "
    ));
}

#[test]
fn there_is_a_leader() {
    let bench = bench(3);
    bench.deliver(2, 3, heartbeat());
    assert_eq!(bench.node.status().no_leader, None);
    assert_eq!(
        sentence(&bench),
        "node 1: follower in term 3, led by node 2"
    );
}

#[test]
fn pre_votes_are_missing() {
    let bench = bench(5);
    bench.tick(300);
    let Body::PreVote { attempt, .. } = bench.next_sent().body else {
        panic!("it asks for pre-votes");
    };
    let no = Answer::Refused(Refusal::LeaderAlive);
    bench.deliver(
        2,
        0,
        Body::PreVoteReply {
            attempt,
            answer: no,
        },
    );
    bench.deliver(
        3,
        0,
        Body::PreVoteReply {
            attempt,
            answer: Answer::Granted,
        },
    );
    let NoLeader::PreVotesMissing(votes) = why(&bench) else {
        panic!("{}", sentence(&bench));
    };
    assert_eq!(votes.needed, 3);
    assert_eq!(votes.granted, [NodeId(1), NodeId(3)].into());
    assert_eq!(votes.refused, [(NodeId(2), Refusal::LeaderAlive)].into());
    assert_eq!(votes.silent, [NodeId(4), NodeId(5)].into());
    assert_eq!(
        sentence(&bench),
        "node 1: pre-candidate in term 0, no leader: asks whether it would be elected (dissertation, 9.6): has 2 of 3; node 2 \
         refused, it hears from a leader; node 4 is silent; node 5 is silent"
    );
}

#[test]
fn votes_are_missing() {
    let bench = bench_with(3, MemoryStorage::new(), |config| config.pre_vote = false);
    bench.tick(300);
    bench.next_sent();
    let answer = Answer::Refused(Refusal::VotedForAnother);
    bench.deliver(3, 1, Body::VoteReply { answer });
    assert!(matches!(why(&bench), NoLeader::VotesMissing(_)));
    assert_eq!(
        sentence(&bench),
        "node 1: candidate in term 1, no leader: asks for votes (5.2): has 1 of 2; node 3 refused, it voted for another; node \
         2 is silent"
    );
}

#[test]
fn its_own_vote_is_not_durable() {
    let (gate, asked, word) = Gate::new();
    let bench = bench_with(3, gate, |config| config.pre_vote = false);
    bench.tick(300);
    asked.recv_timeout(PATIENCE).unwrap();
    assert_eq!(why(&bench), NoLeader::VoteNotDurable);
    assert_eq!(
        sentence(&bench),
        "node 1: candidate in term 1, no leader: its own vote is not yet durable"
    );
    drop(word);
}

#[test]
fn it_lost_its_quorum() {
    let bench = bench_with(3, MemoryStorage::new(), |config| config.pre_vote = false);
    bench.elect();
    let led = bench.node.leadership();
    // Later than the patience with those who do not answer.
    bench.tick(700);
    change(&bench.node, led).unwrap();
    assert!(
        matches!(why(&bench), NoLeader::LostQuorum { .. }),
        "{}",
        sentence(&bench)
    );
    assert!(sentence(&bench).starts_with(
        "node 1: follower in term 1, no leader: stepped down because no majority answered, and campaigns in "
    ));
    // In the next term it is a follower like every other.
    bench.deliver(2, 9, request_vote());
    assert!(
        matches!(why(&bench), NoLeader::Waiting { .. }),
        "{}",
        sentence(&bench)
    );
}

/// Another's campaign passes by: it waits on.
#[test]
fn a_vote_for_another_is_no_leader_yet() {
    let bench = bench(3);
    bench.deliver(2, 1, request_vote());
    assert!(matches!(why(&bench), NoLeader::Waiting { .. }));
}

/// A status is one look: it says the same as what it was made of, and it is plain data.
#[test]
fn a_status_is_plain_data() {
    let bench = bench(3);
    bench.deliver(2, 3, heartbeat());
    let status: Status = bench.node.status();
    assert_eq!(status.leadership(), bench.node.leadership());
    assert_eq!(
        (status.id, status.members.len(), status.commit),
        (NodeId(1), 3, 0)
    );
}
