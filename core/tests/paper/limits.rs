//! Limits, at the very place where they are: what is just within is taken, and one more is not.

use std::time::Duration;

use biglock::rules::{
    BadChange, Body, Change, ChangeRefused, Entry, MAX_ADDRESS, MAX_MEMBERS, MAX_REPLY_BYTES,
    Members, Payload, ProposalRefused, Raft, RoleKind, SessionReply, SessionRequest, Sessions,
};
use biglock::{NodeId, Time};
use bytes::Bytes;

use crate::common::{Cluster, HEARTBEAT, MAX, Server, append, message, settings, stored};

fn payload(len: usize) -> Payload {
    Payload::Command(vec![0; len].into())
}

/// Timeouts without end are odd, and there is nothing wrong with them: nothing is given up then.
#[test]
fn of_endless_timeouts_three_are_endless_too() {
    let mut cluster = Cluster::with(3, |settings| {
        settings.election_timeout_min = Duration::MAX;
        settings.election_timeout_max = Duration::MAX;
    });
    let read = cluster.with_raft(1, |raft, at| raft.read(at));
    assert!(read.is_ok());
    cluster.pass(MAX * 1000);
    cluster.with_raft(1, Raft::retry);
    let answers = cluster.with_raft(1, |raft, _| raft.take_reads());
    assert_eq!(answers, []);
}

#[test]
fn what_just_fills_a_leader_is_taken() {
    let size = |len| Entry::OVERHEAD + payload(len).size();
    let mut cluster = Cluster::with(3, |settings| settings.max_unapplied = 1000);
    cluster.elect(1);
    cluster.deliver_all();
    let propose = |cluster: &mut Cluster, len| {
        let proposed = cluster.with_raft(1, |raft, at| raft.propose(at, payload(len)));
        proposed.map(|_| ())
    };
    assert_eq!(propose(&mut cluster, 1000 - size(100) - size(0)), Ok(()));
    assert_eq!(propose(&mut cluster, 101), Err(ProposalRefused::Busy));
    assert_eq!(propose(&mut cluster, 100), Ok(()), "just full");
    assert_eq!(propose(&mut cluster, 0), Err(ProposalRefused::Busy));
    // What is too long for the limit alone must be taken by who has nothing else to do, or it would never be.
    cluster.deliver_all();
    assert_eq!(propose(&mut cluster, 2000), Ok(()));
}

#[test]
fn a_follower_that_is_just_full_takes_more() {
    let entry = Entry::OVERHEAD + payload(0).size();
    for (room, ends) in [(entry * 2, 3), (entry * 2 - 1, 2)] {
        let mut settings = settings(1, 3);
        settings.max_unapplied = room;
        let mut server = Server::new(settings, Time::ZERO, stored(&[]));
        for body in [append(&[], &[1, 1], 1), append(&[1, 1], &[1], 1)] {
            server.receive(Time::ZERO, message(2, 1, 1, body));
            server.sync();
        }
        assert_eq!(server.raft.log().last().index, ends);
    }
}

/// What a new leader removes from a follower's log fills it no more.
#[test]
fn what_was_removed_fills_nobody() {
    let mut cluster = Cluster::with_logs(
        3,
        |settings| settings.max_unapplied = 1000,
        |id| vec![1; if id == 1 { 20 } else { 0 }],
    );
    cluster.tell(1, 2, 2, append(&[], &[2], 0));
    assert_eq!(cluster.log(1), [2]);
    cluster.elect(1);
    for _ in 0..5 {
        cluster.propose(1, b"x");
    }
}

#[test]
fn a_leader_steps_down_at_the_very_end_of_the_timeout() {
    for (after, role) in [
        (MAX - Duration::from_nanos(1), RoleKind::Leader),
        (MAX, RoleKind::Follower),
    ] {
        let mut cluster = Cluster::with(3, |settings| settings.check_quorum = true);
        cluster.elect(1);
        let elected = cluster.now;
        cluster.wire.clear();
        cluster.now = elected + after;
        cluster.with_raft(1, |raft, at| raft.heartbeat(at));
        assert_eq!(cluster.role(1), role);
    }
}

/// A disk is stuck if one write takes too long, and not if one follows the other for as long.
#[test]
fn a_disk_that_is_busy_is_not_stuck() {
    let patience = MAX * 3;
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    cluster.deliver_all();
    cluster.stuck = Some(1);
    for _ in 0..5 {
        // There is always a next one to write.
        cluster.propose(1, b"x");
        for _ in 0..2 {
            cluster.pass(patience / 3);
            cluster.with_raft(1, |raft, at| raft.heartbeat(at));
        }
        cluster.propose(1, b"y");
        cluster.finish_one_write(1);
        cluster.wire.clear();
        assert_eq!(cluster.role(1), RoleKind::Leader);
    }
    for _ in 0..4 {
        cluster.pass(patience / 3);
        cluster.with_raft(1, |raft, at| raft.heartbeat(at));
    }
    assert_eq!(cluster.role(1), RoleKind::Follower);
}

#[test]
fn a_transfer_ends_at_the_very_end_of_the_timeout() {
    for (after, goes_on) in [(MAX - Duration::from_nanos(1), true), (MAX, false)] {
        let mut cluster = Cluster::of(3);
        cluster.elect(1);
        let began = cluster.now;
        let to = NodeId(2);
        let begun = cluster.with_raft(1, |raft, at| raft.transfer(at, to));
        begun.expect("it leads");
        cluster.wire.clear();
        cluster.now = began + after;
        cluster.with_raft(1, |raft, at| raft.heartbeat(at));
        assert_eq!(cluster.raft(1).transferring_to().is_some(), goes_on);
    }
}

#[test]
fn the_number_of_members_and_the_length_of_an_address_are_bounded() {
    let add = |id: u64, length: usize| Change::AddLearner {
        id: NodeId(id),
        address: "x".repeat(length),
    };
    let many = MAX_MEMBERS as u64;
    let members = Members::voting((2..many + 1).map(NodeId));
    assert_eq!(members.len(), MAX_MEMBERS - 1);
    assert_eq!(
        members.with(&add(1, MAX_ADDRESS + 1)),
        Err(BadChange::AddressTooLong)
    );
    let full = members.with(&add(1, MAX_ADDRESS)).expect("there is room");
    assert_eq!(full.with(&add(20, 0)), Err(BadChange::Full));
    let learners: Vec<u64> = full.learners().map(|id| id.0).collect();
    assert_eq!(learners, [1]);
    assert_eq!(
        full.get(NodeId(1)).map(|m| m.address.len()),
        Some(MAX_ADDRESS)
    );
    assert_eq!(full.get(NodeId(20)), None);
    assert_eq!(full.to_string(), "1 (learner), 2, 3, 4, 5, 6, 7, 8, 9");
}

/// A learner may lack a thousand entries and no more.
#[test]
fn a_learner_that_lacks_a_little_may_vote() {
    for (lacks, may) in [(1000, true), (1001, false)] {
        let mut cluster = Cluster::of(3);
        cluster.elect(1);
        let (id, address) = (NodeId(4), String::new());
        let change = |cluster: &mut Cluster, change: &Change| {
            cluster.with_raft(1, |raft, at| raft.change_members(at, change))
        };
        change(&mut cluster, &Change::AddLearner { id, address }).expect("it leads");
        cluster.deliver_without(&[4]);
        let end = cluster.end(1);
        cluster.tell(1, 4, 1, crate::common::matched(end));
        for _ in 0..lacks {
            cluster.propose(1, b"");
        }
        let led = cluster.raft(1).learners_led();
        assert_eq!(led.into_iter().collect::<Vec<_>>(), [(id, may)]);
        let promoted = change(&mut cluster, &Change::Promote(id));
        match may {
            true => assert!(promoted.is_ok(), "{promoted:?}"),
            false => {
                let entries = lacks;
                assert_eq!(promoted, Err(ChangeRefused::CatchingUp { entries }));
            }
        }
    }
}

/// The leader keeps so many readers for the next round and no more; who is not kept asks again.
#[test]
fn the_readers_that_wait_at_a_leader_are_bounded() {
    let mut cluster = Cluster::with(5, |settings| settings.max_reads = 2);
    cluster.elect(1);
    cluster.deliver_all();
    let before = cluster.said.len();
    // The first begins a round; of the others, two have room.
    for id in [2, 3, 4, 5] {
        cluster.tell(1, id, 1, Body::ReadIndex { read: 1 });
    }
    // Who waits already may ask for more.
    cluster.tell(1, 3, 1, Body::ReadIndex { read: 2 });
    cluster.deliver_all();
    let replies = cluster.said[before..].iter();
    let replies: Vec<(u64, u64)> = replies
        .filter_map(|m| match m.body {
            Body::ReadIndexReply { read, .. } => Some((m.to.0, read)),
            _ => None,
        })
        .collect();
    assert_eq!(replies, [(2, 1), (3, 2), (4, 1)]);
}

// ---- Sessions ----

struct Table {
    sessions: Sessions,
    index: u64,
    time: Time,
}

impl Table {
    fn new() -> Table {
        Table {
            sessions: Sessions::default(),
            index: 0,
            time: Time::ZERO,
        }
    }

    fn handle(&mut self, request: &SessionRequest, reply: usize) -> SessionReply {
        self.index += 1;
        let (index, time) = (self.index, self.time);
        let run = |_: &[u8]| Bytes::from(vec![7; reply]);
        self.sessions.handle(index, time, request, run)
    }

    fn open(&mut self, patience: Duration) -> u64 {
        match self.handle(&SessionRequest::Open { patience }, 0) {
            SessionReply::Opened { session } => session,
            other => panic!("{other:?}"),
        }
    }

    fn call(&mut self, session: u64, sequence: u64, seen: u64, reply: usize) -> SessionReply {
        let command = Bytes::new();
        let request = SessionRequest::Call {
            session,
            sequence,
            seen,
            command,
        };
        self.handle(&request, reply)
    }

    /// Whether the session is still open, of which all replies before this were seen.
    fn is_open(&mut self, session: u64, seen: u64) -> bool {
        self.call(session, seen, seen, 0) != SessionReply::Expired
    }
}

const HOUR: Duration = Duration::from_secs(3600);
/// What a reply takes in the table beside its bytes.
const BESIDE: usize = 16;

#[test]
fn replies_may_just_fill_the_table() {
    for (more, stays) in [(0, true), (1, false)] {
        let mut table = Table::new();
        let (one, two) = (table.open(HOUR), table.open(HOUR));
        table.time = table.time + HEARTBEAT;
        table.call(one, 1, 1, 1000);
        table.time = table.time + HEARTBEAT;
        let rest = MAX_REPLY_BYTES as usize - 1000 - 2 * BESIDE;
        table.call(two, 1, 1, rest + more);
        assert_eq!(table.is_open(one, 2), stays);
        assert!(table.is_open(two, 2));
    }
}

/// What a client has seen, what expires and what is closed makes room.
#[test]
fn replies_that_are_gone_take_nothing() {
    let half = MAX_REPLY_BYTES as usize / 2;
    let mut table = Table::new();
    let one = table.open(HOUR);
    for sequence in 1..10 {
        let reply = table.call(one, sequence, sequence, half);
        assert!(
            matches!(reply, SessionReply::Done(_)),
            "{sequence}: {reply:?}"
        );
    }
    for _ in 0..5 {
        let short = table.open(HEARTBEAT);
        table.call(one, 11, 11, 0);
        table.call(short, 1, 1, half);
        table.time = table.time + HEARTBEAT;
        assert!(table.is_open(short, 2), "its time is not over");
        table.call(short, 3, 2, half);
        table.time = table.time + HEARTBEAT * 2;
        assert!(!table.is_open(short, 3), "it has expired");
        assert!(table.is_open(one, 11));
    }
    for _ in 0..5 {
        let short = table.open(HOUR);
        table.call(short, 1, 1, half);
        let closed = table.handle(&SessionRequest::Close { session: short }, 0);
        assert_eq!(closed, SessionReply::Closed);
        assert!(table.is_open(one, 11));
    }
    assert_eq!(
        (table.sessions.len(), table.sessions.is_empty()),
        (1, false)
    );
    table.handle(&SessionRequest::Close { session: one }, 0);
    assert_eq!((table.sessions.len(), table.sessions.is_empty()), (0, true));
}
