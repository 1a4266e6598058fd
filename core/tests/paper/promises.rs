//! What a voter has promised by answering a leader (dissertation, 4.2.3 and 6.4.1), what ends with a term, and who may count: schedules that
//! a hostile reader of the rules found.

use std::time::Duration;

use biglock::rules::{
    Answer, Body, Change, ChangeRefused, MAX_REPLY_BYTES, Refusal, SessionReply, SessionRequest,
    Sessions, Snapshot,
};
use biglock::{NodeId, Position, Time, codec};
use bytes::Bytes;

use crate::common::{Cluster, HEARTBEAT, MIN, heartbeat, pre_vote, request_vote};

fn protected(n: u64) -> Cluster {
    Cluster::with(n, |settings| {
        settings.check_quorum = true;
        settings.pre_vote = true;
    })
}

fn answer(cluster: &mut Cluster, from: u64, term: u64, body: Body) -> Option<Answer> {
    let said = cluster.tell(2, from, term, body);
    said.iter().find_map(|message| match message.body {
        Body::VoteReply { answer } => Some(answer),
        _ => None,
    })
}

fn handed_over() -> Body {
    Body::RequestVote {
        last: Position::default(),
        handed_over: true,
    }
}

/// "If a server receives a RequestVote request within the minimum election timeout of hearing from a current leader, it does not ... grant
/// its vote": nor if some other message has brought it to the candidate's term before.
#[test]
fn a_vote_is_refused_in_the_voters_own_term_too_while_a_leader_is_heard() {
    let mut cluster = protected(5);
    cluster.tell(2, 1, 1, heartbeat());
    cluster.tell(2, 5, 2, pre_vote(9));
    assert_eq!(cluster.term(2), 2, "a pre-vote of term 2 was here");
    let refused = Some(Answer::Refused(Refusal::LeaderAlive));
    let answered = answer(&mut cluster, 4, 2, request_vote());
    assert_eq!(answered, refused, "who hears a leader gives no vote");
    assert_eq!(cluster.vote(2), None);
    cluster.pass(MIN);
    let granted = Some(Answer::Granted);
    assert_eq!(answer(&mut cluster, 4, 2, request_vote()), granted);
}

/// "It is acceptable ... for these servers to vote for a leadership transfer target": the leader itself asked for it.
#[test]
fn the_leaders_own_choice_is_not_refused() {
    let mut cluster = protected(5);
    cluster.tell(2, 1, 1, heartbeat());
    let granted = Some(Answer::Granted);
    assert_eq!(answer(&mut cluster, 4, 2, handed_over()), granted);
}

/// TimeoutNow belongs to the term of the leader that sent it: in a later one nobody's lease is void.
#[test]
fn what_a_leader_asked_for_ends_with_its_term() {
    let mut cluster = protected(5);
    cluster.tell(2, 1, 1, heartbeat());
    cluster.tell(2, 1, 1, Body::TimeoutNow);
    cluster.tell(2, 5, 2, pre_vote(9));
    cluster.time_out(2);
    let asks = |message: &&biglock::Message| matches!(message.body, Body::RequestVote { .. });
    assert_eq!(cluster.said.iter().find(asks), None, "it asks like anybody");
}

/// "The leader must ... wait until the new server has caught up" (4.2.1), and nobody knows that of one that was never heard: the cluster could
/// not commit the change that lets it vote, nor any after it.
#[test]
fn a_learner_that_was_never_heard_does_not_vote() {
    let mut cluster = Cluster::of(1);
    cluster.elect(1);
    let add = Change::AddLearner {
        id: NodeId(2),
        address: String::new(),
    };
    cluster
        .with_raft(1, |raft, at| raft.change_members(at, &add))
        .expect("it leads");
    let promote = Change::Promote(NodeId(2));
    let promoted = cluster.with_raft(1, |raft, at| raft.change_members(at, &promote));
    let catching_up = matches!(promoted, Err(ChangeRefused::CatchingUp { .. }));
    assert!(
        catching_up,
        "who was never heard does not vote: {promoted:?}"
    );
}

/// Replies are kept "until the client says what it has seen"; a client that never does must not make a table that no snapshot can hold.
#[test]
fn replies_that_nobody_has_seen_are_bounded() {
    let mut sessions = Sessions::default();
    let patience = Duration::from_secs(3600);
    let mut time = Time::ZERO;
    for index in 1..=2 {
        sessions.handle(index, time, &SessionRequest::Open { patience }, |_| {
            unreachable!("nothing to run")
        });
    }
    let reply = Bytes::from(vec![7; 1 << 20]);
    let mut call = |session, sequence, time| {
        let command = Bytes::new();
        let request = SessionRequest::Call {
            session,
            sequence,
            seen: 1,
            command,
        };
        sessions.handle(10 + sequence, time, &request, |_| reply.clone())
    };
    let idle = call(1, 1, time);
    assert!(matches!(idle, SessionReply::Done(_)));
    for sequence in 1..=2 * MAX_REPLY_BYTES / (1 << 20) {
        time = time + HEARTBEAT;
        let done = call(2, sequence, time);
        if matches!(done, SessionReply::Expired) {
            break;
        }
    }
    // The idle one went first, and the greedy one in the end.
    let idle = call(1, 2, time);
    assert!(
        matches!(idle, SessionReply::Expired),
        "what the replies of all sessions take is bounded"
    );
    let bytes = codec::encode(&sessions).len() as u64;
    assert!(bytes <= MAX_REPLY_BYTES + (1 << 20), "{bytes}");
    let back: Sessions = codec::decode(&codec::encode(&sessions)).expect("it comes back");
    assert_eq!(back, sessions);
}

/// "The leader retries ... indefinitely" (5.3), but a dead follower that needs a snapshot gets one piece at a time, and not a window of them
/// with every heartbeat.
#[test]
fn a_dead_follower_gets_one_piece_of_a_snapshot_at_a_time() {
    let mut cluster = Cluster::with(3, |settings| {
        settings.max_payload = 1024;
        settings.keep_entries = 0;
    });
    cluster.time_out(1);
    cluster.deliver_without(&[3]);
    for _ in 0..4 {
        cluster.propose(1, b"x");
    }
    cluster.deliver_without(&[3]);
    cluster.with_raft(1, |raft, _| {
        raft.set_applied(raft.commit());
        let head = raft.snapshot_head(raft.commit());
        let (last, time, members) = head.expect("it is applied");
        raft.compact(Snapshot {
            last,
            time,
            members,
            data: Bytes::from(vec![7; 100_000]),
        });
    });
    let mut pieces = Vec::new();
    for _ in 0..8 {
        let before = cluster.said.len();
        cluster.heartbeat(1);
        let to_dead = |m: &&biglock::Message| {
            m.to == NodeId(3)
                && matches!(&m.body, Body::InstallSnapshot { chunk, .. } if !chunk.bytes.is_empty())
        };
        pieces.push(cluster.said[before..].iter().filter(to_dead).count());
        cluster.deliver_without(&[3]);
    }
    let leading = cluster.raft(1).role().leading().expect("it leads");
    assert!(leading.sends_snapshots(), "{pieces:?}");
    assert!(pieces[3..].iter().all(|&many| many <= 1), "{pieces:?}");
}
