//! What the rules leave open and a cluster pays for: no message, question, answer or byte more than is needed.

use biglock::rules::{Appended, Body, Change, Conflict, Members, Payload};
use biglock::{NodeId, Term, Time};

use crate::common::{
    Cluster, MIN, append, append_of, appended, as_append, granted, heartbeat, last, matched,
    request_vote_with,
};

/// A follower is asked where its log fits, once; until it answers, new entries wait.
#[test]
fn who_was_asked_where_its_log_fits_is_sent_nothing_more() {
    let mut cluster = Cluster::of(3);
    cluster.time_out(1);
    cluster.deliver_votes(1);
    cluster.wire.clear();
    for _ in 0..3 {
        cluster.propose(1, b"x");
    }
    assert_eq!(cluster.wire, [], "both have been asked");
    let answer = cluster.tell(1, 2, 1, matched(0));
    let sent: Vec<_> = answer.iter().map(append_of).collect();
    assert_eq!(sent, [((0, 0), vec![1; 4], 0)]);
}

/// After a conflict the leader goes to the end of its own entries of that term, not past it and not before (5.3).
#[test]
fn after_a_conflict_the_search_goes_on_where_the_logs_may_meet() {
    // The leader's: 1 1 2 2 2 4. The follower's: 1 1 2 3 3 3 3, or 1 1 2 2 2 2 2.
    for (term, first, next) in [(Some(3), 4, 4), (Some(2), 3, 6), (None, 3, 3)] {
        let terms = vec![1, 1, 2, 2, 2, 4, 4];
        let mut cluster = Cluster::with_logs(3, |_| {}, |_| terms.clone());
        cluster.time_out(1);
        cluster.deliver_votes(1);
        let conflict = Conflict {
            prev: 7,
            term: term.map(Term),
            first,
        };
        let answer = cluster.tell(1, 2, 5, appended(Appended::Conflict(conflict)));
        let ((prev, _), sent, _) = append_of(&answer[0]);
        assert_eq!(prev + 1, next, "{conflict:?}");
        assert_eq!(sent.len() as u64, 9 - next, "all from there on");
    }
}

/// Whom a change adds is asked first about the end of the log as it was.
#[test]
fn a_new_member_is_asked_about_the_end_of_the_log() {
    let mut cluster = Cluster::with(4, |settings| {
        settings.members = match settings.id.0 {
            4 => Members::default(),
            _ => Members::voting((1..=3).map(NodeId)),
        };
    });
    cluster.elect(1);
    for _ in 0..5 {
        cluster.propose(1, b"x");
    }
    cluster.deliver_all();
    let end = cluster.end(1);
    let (id, address) = (NodeId(4), String::new());
    let add = Change::AddLearner { id, address };
    let began = cluster.with_raft(1, |raft, at| raft.change_members(at, &add));
    assert_eq!(began.map(|at| at.index), Ok(end + 1));
    let to = cluster.between(1, 4);
    let asked: Vec<u64> = to.iter().map(|asked| append_of(asked).0.0).collect();
    assert_eq!(asked, [end + 1]);
}

/// New entries are answered once, when they are durable; no later write brings another answer.
#[test]
fn entries_are_answered_once() {
    let mut cluster = Cluster::of(3);
    cluster.tell(1, 2, 1, heartbeat());
    cluster.stuck = Some(1);
    assert_eq!(cluster.tell(1, 2, 1, append(&[], &[1], 0)), []);
    let before = cluster.said.len();
    cluster.finish_one_write(1);
    let said: Vec<_> = cluster.said[before..].iter().map(|m| &m.body).collect();
    assert_eq!(said, [&matched(1)]);
    // A write of something else: its vote, which it still has in this term.
    cluster.stuck = None;
    let other = request_vote_with(last(&[1]));
    let said = cluster.tell(1, 3, 1, other);
    let said: Vec<_> = said.iter().map(|m| &m.body).collect();
    assert_eq!(said, [&granted()]);
}

// ---- Reads ----

/// The numbers of the rounds of heartbeats that were sent since then.
fn rounds(cluster: &Cluster, since: usize) -> Vec<u64> {
    let round = |body: &Body| match body {
        Body::AppendEntries { beat, .. } => Some(beat.round),
        _ => None,
    };
    let said = cluster.said[since..].iter();
    let mut rounds: Vec<u64> = said.filter_map(|m| round(&m.body)).collect();
    rounds.dedup();
    rounds
}

/// Who asks again for what waits already begins no other round; who asks for more is served with the next.
#[test]
fn a_question_that_comes_twice_begins_one_round() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    let before = cluster.said.len();
    for _ in 0..2 {
        cluster.tell(1, 3, 1, Body::ReadIndex { read: 4 });
    }
    cluster.deliver_all();
    let began = rounds(&cluster, before);
    assert_eq!(began.len(), 1, "{began:?}");
    let before = cluster.said.len();
    for read in [5, 5, 6, 6] {
        cluster.tell(1, 3, 1, Body::ReadIndex { read });
    }
    let began = rounds(&cluster, before);
    assert_eq!(began.len(), 1, "{began:?}");
    cluster.lose(|m| m.to.0 == 3);
    cluster.deliver_all();
    let replies = cluster.said[before..].iter();
    let replies: Vec<u64> = replies
        .filter_map(|m| match m.body {
            Body::ReadIndexReply { read, .. } => Some(read),
            _ => None,
        })
        .collect();
    assert_eq!(replies, [5, 6]);
    let began = rounds(&cluster, before);
    assert_eq!(began.len(), 2, "{began:?}");
}

/// Who reads where nobody needs to be asked (6.4.1) is told as well that the index is committed, if it does not know it.
#[test]
fn who_reads_is_told_what_is_committed_if_it_does_not_know() {
    let mut cluster = Cluster::with(3, |settings| {
        settings.check_quorum = true;
        settings.lease = Some(MIN / 2);
    });
    cluster.elect(1);
    cluster.heartbeat(1);
    cluster.deliver_all();
    let asks = |read, cluster: &mut Cluster| {
        let said = cluster.tell(1, 3, 1, Body::ReadIndex { read });
        cluster.wire.clear();
        let names: Vec<_> = said.iter().map(|m| m.body.name()).collect();
        (names, said.last().and_then(as_append))
    };
    assert_eq!(asks(1, &mut cluster), (vec!["ReadIndexReply"], None));
    let index = cluster.propose(1, b"x").index;
    cluster.deliver(1, 3);
    cluster.deliver(3, 1);
    assert_eq!((cluster.commit(1), cluster.commit(3)), (index, index - 1));
    let (names, told) = asks(2, &mut cluster);
    assert_eq!(names, ["ReadIndexReply", "AppendEntries"]);
    assert_eq!(told, Some(((index, 1), vec![], index)));
    assert_eq!(asks(3, &mut cluster), (vec!["ReadIndexReply"], None));
}

/// A node that is elected with readers of its own serves them as soon as it may, without waiting for the time to ask again.
#[test]
fn a_new_leader_serves_its_own_readers() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    cluster.deliver_all();
    let read = cluster.read(2);
    cluster.wire.clear();
    cluster.elect(2);
    cluster.deliver_all();
    let served = cluster.served(2);
    assert_eq!(served.iter().map(|a| a.id).collect::<Vec<_>>(), [read]);
}

/// The numbers of reads begin anywhere and never come to an end.
#[test]
fn the_numbers_of_reads_rise_from_wherever_they_begin() {
    for random in [0, 1, u64::MAX / 2, u64::MAX] {
        let mut cluster = Cluster::of(1);
        cluster.elect(1);
        cluster.with_raft(1, |raft, _| raft.number_reads_from(random));
        let reads: Vec<u64> = (0..5).map(|_| cluster.read(1).0).collect();
        assert!(reads.is_sorted_by(|a, b| *b == *a + 1), "{reads:?}");
        assert_eq!(cluster.served(1).len(), 5);
    }
    // Two lives have different ones: an answer to the first must fit nothing of the second.
    let mut cluster = Cluster::of(1);
    let number = |cluster: &mut Cluster, random| {
        cluster.with_raft(1, |raft, _| raft.number_reads_from(random));
        cluster.read(1).0
    };
    let (one, two) = (number(&mut cluster, 1 << 20), number(&mut cluster, 1 << 40));
    assert!(one.abs_diff(two) > 1 << 20, "{one} and {two}");
}

// ---- What a log and its entries take ----

/// What an entry is said to take is what limits are about, so it may not be less than it takes.
#[test]
fn nothing_takes_more_than_it_says() {
    use biglock::rules::{Member, SessionRequest};
    use biglock::{Entry, codec};
    use std::time::Duration;
    let long = |len: usize| vec![7; len].into();
    let call = |len| SessionRequest::Call {
        session: u64::MAX,
        sequence: u64::MAX,
        seen: u64::MAX,
        command: long(len),
    };
    let patience = Duration::MAX;
    for (request, len) in [
        (call(0), 0),
        (call(1), 1),
        (call(1000), 1000),
        (SessionRequest::Open { patience }, 0),
        (SessionRequest::Close { session: u64::MAX }, 0),
    ] {
        assert_eq!(request.command_len(), len);
        let takes = codec::encode(&request).len();
        let says = request.size();
        assert!(
            (takes..takes + 48).contains(&says),
            "{request:?} says {says}, takes {takes}"
        );
    }
    let member = |address: usize| Member {
        voter: true,
        address: "x".repeat(address),
    };
    for (many, address) in [(0, 0), (1, 0), (1, 64), (9, 64)] {
        let ids = (0..many).map(|n| NodeId(u64::MAX - n));
        let members: Members = ids.map(|id| (id, member(address))).collect();
        assert_eq!(members.len() as u64, many);
        let takes = codec::encode(&members).len();
        let says = members.size();
        assert!(
            (takes..=takes + 8 + 24 * 9).contains(&says),
            "{members} says {says}, takes {takes}"
        );
        let entry = Entry {
            term: Term(u64::MAX),
            time: Time::NEVER,
            payload: Payload::Members(members),
        };
        let takes = codec::encode(&entry).len();
        assert!(takes <= entry.size(), "{takes}");
    }
}
