//! Section 8, client interaction, and the dissertation's chapter 6: sessions, and reads off the log (6.4).

use std::time::Duration;

use biglock::rules::{
    Appended, Beat, Body, MAX_SESSIONS, Payload, ReadAnswer, ReadRefused, RoleKind, SessionReply,
    SessionRequest, Sessions,
};
use biglock::{Message, NodeId, Term, Time, codec};
use bytes::Bytes;

use crate::common::{
    Cluster, HEARTBEAT, MAX, MIN, append_of, granted, heartbeat, pre_vote, request_vote,
    request_vote_with,
};

/// "Each leader commit[s] a blank no-op entry into the log at the start of its term."
#[test]
fn a_leader_begins_with_a_no_op() {
    let mut cluster = Cluster::of(3);
    for term in 1..4 {
        let id = term % 3 + 1;
        cluster.elect(id);
        let end = cluster.end(id);
        let entry = cluster.raft(id).log().get(end).expect("it is there");
        assert_eq!((entry.term, &entry.payload), (Term(term), &Payload::Noop));
        assert_eq!(cluster.commit(id), end, "and commits it");
    }
}

/// "A leader must ... have the latest information on which entries are committed": "at the start of its term, it may not know which those are."
#[test]
fn the_no_op_tells_what_is_committed() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    cluster.propose(1, b"x");
    cluster.deliver_all();
    assert_eq!((cluster.commit(1), cluster.commit(2)), (2, 1));
    cluster.time_out(2);
    cluster.deliver_votes(2);
    assert_eq!(cluster.commit(2), 1, "it does not know");
    cluster.deliver_all();
    assert_eq!(cluster.commit(2), 3);
}

// ---- Sessions (section 8; dissertation, 6.3) ----

/// A table of sessions, and what it has run.
#[derive(Default)]
struct Table {
    sessions: Sessions,
    ran: Vec<Vec<u8>>,
    index: u64,
    now: Time,
}

impl Table {
    fn handle(&mut self, request: &SessionRequest) -> SessionReply {
        self.index += 1;
        let ran = &mut self.ran;
        self.sessions
            .handle(self.index, self.now, request, |command| {
                ran.push(command.to_vec());
                Bytes::from(vec![ran.len() as u8])
            })
    }

    fn open(&mut self, patience: u64) -> u64 {
        let patience = Duration::from_secs(patience);
        match self.handle(&SessionRequest::Open { patience }) {
            SessionReply::Opened { session } => session,
            other => panic!("{other:?}"),
        }
    }

    fn call(&mut self, session: u64, sequence: u64, seen: u64) -> SessionReply {
        self.handle(&SessionRequest::Call {
            session,
            sequence,
            seen,
            command: Bytes::from(vec![sequence as u8]),
        })
    }
}

fn done(number: u8) -> SessionReply {
    SessionReply::Done(Bytes::from(vec![number]))
}

/// "If it receives a command whose serial number has already been executed, it responds immediately without re-executing the request."
#[test]
fn a_command_with_a_known_serial_number_is_not_run_again() {
    let mut table = Table::default();
    let session = table.open(60);
    assert_eq!(table.call(session, 1, 1), done(1));
    for _ in 0..3 {
        assert_eq!(
            table.call(session, 1, 1),
            done(1),
            "a command with a known serial number is not run again: it has its first reply"
        );
    }
    assert_eq!(table.call(session, 2, 1), done(2));
    assert_eq!(table.call(session, 1, 1), done(1), "the one before too");
    assert_eq!(table.ran, [[1], [2]]);
}

/// "Clients ... assign unique serial numbers to every command": each client its own.
#[test]
fn serial_numbers_belong_to_a_session() {
    let mut table = Table::default();
    let (one, two) = (table.open(60), table.open(60));
    assert_ne!(one, two);
    assert_eq!(table.call(one, 1, 1), done(1));
    assert_eq!(table.call(two, 1, 1), done(2));
    assert_eq!(table.sessions.len(), 2);
}

/// 6.3, concurrent requests of one client: any number may be under way, in any order; "the server includes the lowest sequence number for which it has not yet received a
/// response, and the state machine then discards all responses before it".
#[test]
fn replies_are_kept_until_the_client_has_seen_them() {
    let mut table = Table::default();
    let session = table.open(60);
    for sequence in [3, 1, 2] {
        table.call(session, sequence, 1);
    }
    assert_eq!(table.ran, [[3], [1], [2]]);
    assert_eq!(table.call(session, 2, 1), done(3));
    assert_eq!(table.call(session, 4, 3), done(4));
    for old in [1, 2] {
        assert_eq!(
            table.call(session, old, 1),
            SessionReply::Forgotten,
            "late, and not run again"
        );
    }
    assert_eq!(table.call(session, 3, 3), done(1), "not yet seen");
    assert_eq!(table.ran.len(), 4);
}

/// 6.3: "a server ... must agree on when to expire a client's session": by log time, which is the same everywhere; and what comes after is not run.
#[test]
fn a_session_expires_by_log_time() {
    let mut table = Table::default();
    let session = table.open(10);
    for second in [10, 20, 30] {
        table.now = Time::ZERO + Duration::from_secs(second);
        assert!(
            matches!(table.call(session, second, 1), SessionReply::Done(_)),
            "it is used"
        );
    }
    table.now = Time::from_nanos((Time::ZERO + Duration::from_secs(40)).as_nanos() + 1);
    assert_eq!(table.call(session, 40, 1), SessionReply::Expired);
    assert_eq!(table.call(session, 30, 1), SessionReply::Expired);
    assert_eq!((table.ran.len(), table.sessions.is_empty()), (3, true));
}

/// "Returns an error" for a client without a session: nothing is run for it.
#[test]
fn without_a_session_nothing_is_run() {
    let mut table = Table::default();
    assert_eq!(table.call(7, 1, 1), SessionReply::Expired);
    let session = table.open(60);
    table.call(session, 1, 1);
    let close = SessionRequest::Close { session };
    assert_eq!(table.handle(&close), SessionReply::Closed);
    assert_eq!(table.handle(&close), SessionReply::Expired);
    assert_eq!(table.call(session, 1, 1), SessionReply::Expired);
    assert_eq!(table.ran, [[1]]);
}

/// "The state machine tracks the latest serial number processed for each client": it is a part of the state, so of every snapshot.
#[test]
fn the_table_survives_a_snapshot() {
    let mut table = Table::default();
    let session = table.open(60);
    table.call(session, 1, 1);
    table.call(session, 2, 2);
    let bytes = codec::encode(&table.sessions);
    let restored: Sessions = codec::decode(&bytes).expect("it is whole");
    assert_eq!(restored, table.sessions);
    table.sessions = restored;
    assert_eq!(table.call(session, 2, 2), done(2));
    assert_eq!(table.call(session, 1, 1), SessionReply::Forgotten);
    assert_eq!(table.ran.len(), 2);
}

/// The number of sessions is bounded: "one more ends the one that was idle for longest", the same on every node.
#[test]
fn one_session_too_many_ends_the_idlest() {
    let mut table = Table::default();
    let first = table.open(3600);
    table.now = Time::from_millis(1);
    let second = table.open(3600);
    for _ in 2..MAX_SESSIONS {
        table.now = table.now + Duration::from_nanos(1);
        table.open(3600);
    }
    assert_eq!(table.sessions.len(), MAX_SESSIONS);
    table.call(first, 1, 1);
    let last = table.open(3600);
    assert_eq!(table.sessions.len(), MAX_SESSIONS);
    assert_eq!(table.call(second, 1, 1), SessionReply::Expired);
    assert!(matches!(table.call(first, 2, 1), SessionReply::Done(_)));
    assert!(matches!(table.call(last, 1, 1), SessionReply::Done(_)));
}

/// 6.3: "the leader augments each command with its current time", which "new leaders" carry on: log time never goes back along the log, whoever's clock it is.
#[test]
fn log_time_never_goes_back() {
    let mut cluster = Cluster::of(3);
    let (mut log, mut seen) = (Vec::new(), 0);
    for (leader, ahead) in [(1, 500), (2, 0), (3, 100), (1, 0)] {
        cluster.elect(leader);
        for _ in 0..3 {
            cluster.pass(Duration::from_millis(ahead));
            cluster.propose(leader, b"x");
            cluster.deliver_all();
        }
        log = cluster
            .raft(leader)
            .log()
            .iter()
            .map(|(_, e)| e.time)
            .collect::<Vec<Time>>();
        assert!(log.is_sorted() && log.len() > seen, "{log:?}");
        seen = log.len();
    }
    assert!(
        log[seen - 1].since(log[0]) >= Duration::from_millis(1800),
        "{log:?}"
    );
}

// ---- Reads (section 8; dissertation, 6.4) ----

fn answered(index: u64, id: biglock::rules::ReadId) -> Vec<ReadAnswer> {
    let index = Some(index);
    vec![ReadAnswer { id, index }]
}

/// 6.4: "The leader saves its current commit index ... issues a new round of heartbeats and waits for their acknowledgments from a majority of the cluster."
#[test]
fn a_read_waits_for_a_round_of_heartbeats() {
    let mut cluster = Cluster::of(5);
    cluster.elect(1);
    let end = cluster.end(1);
    let before = cluster.said.len();
    let read = cluster.read(1);
    assert_eq!(cluster.said[before..].len(), 4);
    assert!(cluster.wire.iter().all(|m| append_of(m).1.is_empty()));
    assert_eq!(cluster.served(1), []);
    for id in [2, 3] {
        assert_eq!(cluster.served(1), []);
        cluster.deliver(1, id);
        cluster.deliver(id, 1);
    }
    assert_eq!(cluster.served(1), answered(end, read));
    assert_eq!(cluster.end(1), end, "nothing is written to the log");
}

/// "Read-only operations ... would run the risk of returning stale data, since the leader responding to the request might have been superseded by a newer
/// leader of which it is unaware."
#[test]
fn a_leader_that_was_superseded_answers_no_read() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    cluster.time_out(2);
    cluster.lose(|m| m.to.0 == 1);
    cluster.deliver_without(&[1]);
    cluster.propose(2, b"new");
    cluster.deliver_without(&[1]);
    assert_eq!(cluster.leaders(), [1, 2]);
    cluster.read(1);
    cluster.deliver_all();
    assert_eq!(
        (cluster.served(1), cluster.role(1)),
        (vec![], RoleKind::Follower)
    );
}

/// 6.4: "If the leader has not yet marked an entry from its current term committed, it waits until it has done so."
#[test]
fn a_read_waits_for_an_entry_of_the_own_term() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    cluster.propose(1, b"x");
    cluster.deliver_all();
    cluster.time_out(2);
    cluster.deliver_votes(2);
    cluster.wire.clear();
    let read = cluster.read(2);
    // Answers to heartbeats, but the no-op reaches nobody.
    let beat = Beat {
        round: 9,
        sent: cluster.now,
    };
    let answer = Appended::Matched(2);
    for id in [1, 3] {
        cluster.tell(2, id, 2, Body::AppendReply { beat, answer });
    }
    cluster.wire.clear();
    assert_eq!(
        (cluster.served(2), cluster.commit(2)),
        (vec![], 1),
        "no read is served before an entry of the leader's own term is committed"
    );
    cluster.heartbeat(2);
    cluster.deliver_all();
    assert_eq!(cluster.served(2), answered(3, read));
}

/// An answer to an earlier round proves nothing about a read that came after it.
#[test]
fn an_earlier_round_serves_no_later_read() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    cluster.heartbeat(1);
    cluster.deliver(1, 2);
    let old = cluster.between(2, 1);
    assert_eq!(old.len(), 1);
    cluster.lose(|m| m.from.0 == 1);
    cluster.read(1);
    cluster.lose(|m| m.from.0 == 1);
    cluster.deliver(2, 1);
    assert_eq!(
        cluster.served(1),
        [],
        "the answer to an earlier round serves no read that came after it"
    );
}

/// Rounds are counted anew in each term: an answer to a message of an earlier one proves nothing, however high its round.
#[test]
fn a_round_of_an_earlier_term_serves_no_read() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    for _ in 0..5 {
        cluster.heartbeat(1);
    }
    let late = cluster.between(1, 2).pop().expect("it is under way");
    cluster.lose(|_| true);
    cluster.elect(3);
    cluster.elect(1);
    cluster.arrive(late);
    cluster.deliver_all();
    let read = cluster.read(1);
    let asks = |m: &Message| m.from == NodeId(1);
    let held: Vec<_> = cluster.wire.iter().filter(|m| asks(m)).cloned().collect();
    cluster.lose(asks);
    assert_eq!(
        cluster.served(1),
        [],
        "the answer to a round of an earlier term serves no read"
    );
    cluster.wire.extend(held);
    cluster.deliver_all();
    assert_eq!(cluster.served(1), answered(cluster.commit(1), read));
}

/// 6.4: "This approach is more efficient than committing read-only queries as new entries": many share one round.
#[test]
fn reads_share_a_round() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    let before = cluster.said.len();
    let reads: Vec<_> = (0..100).map(|_| cluster.read(1)).collect();
    cluster.deliver_all();
    let served = cluster.served(1);
    assert_eq!(served.iter().map(|a| a.id).collect::<Vec<_>>(), reads);
    assert!(
        cluster.said.len() - before <= 8,
        "two rounds and their answers"
    );
}

/// The number of reads that wait is bounded.
#[test]
fn too_many_reads_are_refused_at_once() {
    let mut cluster = Cluster::with(3, |settings| settings.max_reads = 10);
    cluster.elect(1);
    for _ in 0..10 {
        cluster.read(1);
    }
    let refused = cluster.with_raft(1, |raft, at| raft.read(at));
    assert_eq!(refused, Err(ReadRefused::Busy));
    cluster.deliver_all();
    assert_eq!(cluster.served(1).len(), 10);
    cluster.read(1);
}

/// 6.4: "followers ... could also serve ... read-only queries": "the follower would issue a request to the leader that just asked for a current readIndex."
#[test]
fn a_follower_asks_the_leader_for_the_index() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    let index = cluster.propose(1, b"x").index;
    cluster.deliver_without(&[3]);
    let read = cluster.read(3);
    assert!(matches!(
        cluster.between(3, 1)[0].body,
        Body::ReadIndex { .. }
    ));
    cluster.deliver_all();
    assert_eq!(cluster.served(3), answered(index, read));
    assert_eq!(
        (cluster.commit(3), cluster.raft(3).applied()),
        (index, index),
        "and gets what it lacks"
    );
}

/// However many read on a follower at once, it asks for all of them together: the index for the latest is recent enough for those before.
#[test]
fn reads_on_a_follower_share_a_question() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    let before = cluster.said.len();
    let reads: Vec<_> = (0..100).map(|_| cluster.read(3)).collect();
    cluster.deliver_all();
    let served = cluster.served(3);
    assert_eq!(served.iter().map(|a| a.id).collect::<Vec<_>>(), reads);
    let said = &cluster.said[before..];
    let questions = said
        .iter()
        .filter(|m| matches!(m.body, Body::ReadIndex { .. }));
    assert_eq!(
        questions.count(),
        2,
        "the first, and all that came meanwhile"
    );
    // The same when they are asked for again.
    let reads: Vec<_> = (0..100).map(|_| cluster.read(3)).collect();
    cluster.wire.clear();
    let before = cluster.said.len();
    let end = cluster.now + HEARTBEAT * 2;
    cluster.run(HEARTBEAT / 10, end, &[]);
    assert_eq!(cluster.served(3).len(), reads.len());
    let said = cluster.said[before..].iter();
    let questions = said.filter(|m| matches!(m.body, Body::ReadIndex { .. }));
    assert_eq!(questions.count(), 1);
}

/// An index for a read serves those before it, and none that came later: that one may miss what was acknowledged in between.
#[test]
fn an_index_serves_no_read_that_came_later() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    let (first, second) = (cluster.read(3), cluster.read(3));
    cluster.wire.clear();
    let (read, index) = (first.0, Some(1));
    cluster.tell(3, 1, 1, Body::ReadIndexReply { read, index });
    assert_eq!(cluster.served(3), answered(1, first));
    // Nor does the answer to a read of an earlier life of this node.
    for read in [first.0.wrapping_sub(1), second.0 + 1, u64::MAX] {
        cluster.tell(3, 1, 1, Body::ReadIndexReply { read, index });
        assert_eq!(cluster.served(3), []);
    }
    let read = second.0;
    cluster.tell(3, 1, 1, Body::ReadIndexReply { read, index });
    assert_eq!(cluster.served(3), answered(1, second));
}

/// A question or an answer that is lost is asked again.
#[test]
fn a_read_is_asked_again() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    let read = cluster.read(3);
    cluster.wire.clear();
    cluster.deliver_all();
    assert_eq!(cluster.served(3), []);
    let end = cluster.now + HEARTBEAT * 2;
    cluster.run(HEARTBEAT / 10, end, &[]);
    assert_eq!(cluster.served(3), answered(cluster.end(1), read));
}

/// A read that came when nobody led is asked as soon as somebody is heard, and does not wait for the time of the next question.
#[test]
fn a_read_is_asked_as_soon_as_a_leader_is_heard() {
    let mut cluster = Cluster::of(3);
    let early = cluster.read(3);
    cluster.time_out(1);
    cluster.deliver_all();
    assert_eq!(cluster.served(3), answered(1, early));
    // Nor for an answer of the leader before.
    let lost = cluster.read(3);
    cluster.wire.clear();
    cluster.time_out(2);
    cluster.deliver_all();
    assert_eq!(cluster.served(3), answered(2, lost));
}

/// A read on a leader that is deposed goes to the next leader.
#[test]
fn a_read_outlives_its_leader() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    let read = cluster.read(1);
    cluster.lose(|m| m.from.0 == 1);
    cluster.time_out(2);
    cluster.deliver_votes(2);
    assert_eq!(cluster.served(1), []);
    cluster.deliver_all();
    assert_eq!(cluster.served(1), answered(cluster.end(2), read));
}

/// A read never waits for ever: if nobody leads for several timeouts, it ends.
#[test]
fn a_read_is_given_up_when_nobody_leads() {
    let mut cluster = Cluster::of(3);
    let id = cluster.read(1);
    let end = cluster.now + MAX * 4;
    cluster.run(HEARTBEAT, end, &[2, 3]);
    let index = None;
    assert_eq!(cluster.served(1), [ReadAnswer { id, index }]);
    assert_eq!(cluster.raft(1).retry_due(), None);
}

/// Who does not lead can't tell, and does not pretend to.
#[test]
fn only_the_leader_gives_an_index() {
    let mut cluster = Cluster::of(3);
    cluster.elect(1);
    let reply = cluster.tell(2, 3, 1, Body::ReadIndex { read: 7 });
    let (read, index) = (7, None);
    assert_eq!(reply[0].body, Body::ReadIndexReply { read, index });
    // Nor is one believed that does not lead.
    let id = cluster.read(3);
    let (read, index) = (id.0, Some(0));
    cluster.tell(3, 2, 1, Body::ReadIndexReply { read, index });
    assert_eq!(cluster.served(3), []);
}

fn leased(n: u64) -> Cluster {
    Cluster::with(n, |settings| {
        settings.check_quorum = true;
        settings.lease = Some(MIN / 2);
    })
}

/// 6.4.1: "the leader would use the normal heartbeat mechanism to maintain a lease. Once the leader's heartbeats were acknowledged by a majority of the cluster, it
/// would extend its lease to start + election timeout / clock drift bound."
#[test]
fn a_lease_serves_reads_at_once_and_ends() {
    let mut cluster = leased(3);
    // Whoever has just started refuses its vote for a while.
    cluster.pass(MAX);
    cluster.elect(1);
    cluster.heartbeat(1);
    let sent = cluster.now;
    cluster.pass(MIN / 4);
    cluster.deliver_all();
    let read = cluster.read(1);
    assert_eq!(cluster.served(1), answered(1, read));
    assert!(cluster.wire.is_empty(), "nobody is asked");
    cluster.now = Time::from_nanos((sent + MIN / 2).as_nanos() - 1);
    let read = cluster.read(1);
    assert_eq!(
        cluster.served(1),
        answered(1, read),
        "by when it was sent, not answered"
    );
    cluster.now = sent + MIN / 2;
    cluster.read(1);
    assert_eq!(cluster.served(1), []);
    assert_eq!(cluster.wire.len(), 2, "it asks");
}

/// 6.4.1 rests on 4.2.3: who answered a heartbeat refuses every vote for a minimum election timeout from then; whatever term comes along meanwhile.
#[test]
fn who_answered_a_heartbeat_helps_nobody_else_while_the_lease_may_run() {
    for reminder in [pre_vote(1), granted(), heartbeat(), request_vote()] {
        let mut cluster = leased(3);
        cluster.pass(MAX);
        cluster.elect(1);
        cluster.heartbeat(1);
        cluster.deliver_all();
        let heard = cluster.now;
        cluster.now = Time::from_nanos((heard + MIN).as_nanos() - 1);
        let last = cluster.raft(2).log().last();
        let leads = matches!(reminder, Body::AppendEntries { .. });
        cluster.tell(2, 3, 7, reminder.clone());
        if leads {
            // A leader of a later term was elected by others, so the lease is over anyway.
            continue;
        }
        let asked = Body::PreVote { attempt: 9, last };
        let willing = cluster.tell(2, 3, 7, asked);
        assert!(
            !willing.iter().any(|m| crate::common::grants(&m.body)),
            "a message of a later term ends no promise: {reminder:?}"
        );
        let vote = cluster.tell(2, 3, 8, request_vote_with(last));
        assert!(
            !vote.iter().any(|m| crate::common::grants(&m.body)),
            "a message of a later term ends no promise: {reminder:?}"
        );
        cluster.now = heard + MIN;
        let vote = cluster.tell(2, 3, 8, request_vote_with(last));
        assert!(crate::common::grants(&vote[0].body), "and not for longer");
    }
}

/// The same across a restart, which forgets when a leader was heard: who starts with leases in use, has just heard one for all it knows.
#[test]
fn who_restarts_keeps_its_promise() {
    let mut cluster = leased(3);
    cluster.pass(MAX);
    cluster.elect(1);
    cluster.restart(2);
    let started = cluster.now;
    let last = cluster.raft(2).log().last();
    for body in [pre_vote(1), granted()] {
        cluster.tell(2, 3, 7, body);
    }
    assert_eq!(cluster.tell(2, 3, 8, request_vote_with(last)), []);
    cluster.now = started + MIN;
    assert!(crate::common::grants(
        &cluster.tell(2, 3, 8, request_vote_with(last))[0].body
    ));
}

/// 6.4.1: a lease "must ... expire before a leadership transfer": whoever was told to start an election is elected at once, whatever the lease says.
#[test]
fn a_transfer_voids_the_lease() {
    let mut cluster = leased(3);
    cluster.pass(MAX);
    cluster.elect(1);
    cluster.heartbeat(1);
    cluster.deliver_all();
    cluster
        .with_raft(1, |raft, at| raft.transfer(at, NodeId(2)))
        .expect("it leads");
    cluster.read(1);
    assert_eq!(cluster.served(1), [], "it asks");
    // It was given up, but nobody knows where the message to start is: the lease stays void for the term.
    cluster.wire.clear();
    let end = cluster.now + MAX * 2;
    cluster.cut = vec![2];
    cluster.run(HEARTBEAT / 4, end, &[2]);
    assert_eq!(
        (cluster.role(1), cluster.raft(1).transferring_to()),
        (RoleKind::Leader, None)
    );
    cluster.served(1);
    cluster.wire.clear();
    cluster.read(1);
    assert_eq!(
        cluster.served(1),
        [],
        "a transfer that was given up voids the lease too"
    );
}
