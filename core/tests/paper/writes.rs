//! What goes to the disk, in one write and under which number, and what may leave before it is there.

use biglock::rules::{Body, RoleKind, Snapshot, WriteId};
use biglock::{Position, Stored, Term, Time};

use crate::common::{
    Cluster, Server, append, append_of, last, message, request_vote, request_vote_with, settings,
    stored,
};

fn server(disk: Stored) -> Server {
    Server::new(settings(1, 3), Time::ZERO, disk)
}

/// Three entries of term 1 from node 2, of which so many are committed.
fn receives(server: &mut Server, commit: u64) {
    let body = append(&[], &[1, 1, 1], commit);
    server.receive(Time::ZERO, message(2, 1, 1, body));
}

#[test]
fn a_write_is_under_way_until_it_is_durable() {
    let mut server = server(Stored::default());
    receives(&mut server, 0);
    let latest = server.raft.latest_write();
    assert!(latest > WriteId(0));
    assert!(!server.raft.is_writing());
    server.begin_write();
    assert!(server.raft.is_writing());
    assert_eq!(server.raft.durable_write(), WriteId(0));
    server.finish_write();
    assert!(!server.raft.is_writing());
    assert_eq!(server.raft.durable_write(), latest);
}

/// While the disk was busy entries came and a snapshot was taken of some: those need no place of their own.
#[test]
fn entries_that_the_snapshot_holds_are_not_written() {
    let mut server = server(Stored::default());
    receives(&mut server, 2);
    server.raft.set_applied(2);
    let (last, time, members) = server.raft.snapshot_head(2).expect("it is here");
    server.raft.compact(Snapshot {
        last,
        time,
        members,
        data: vec![7].into(),
    });
    assert_eq!(server.raft.snapshot_write(), server.raft.latest_write());
    let write = server.raft.take_write().expect("there is something");
    assert_eq!(write.id, server.raft.snapshot_write());
    assert_eq!(write.batch.snapshot.map(|taken| taken.last), Some(last));
    let log = write.batch.log.expect("there is one more entry");
    assert_eq!((log.first, log.entries.len()), (3, 1));
}

/// A vote changes what is durable, and voids nothing of its own term that waits for the disk.
#[test]
fn a_vote_does_not_silence_a_refusal() {
    let mut server = server(stored(&[1]));
    server.receive(Time::ZERO, message(2, 1, 2, request_vote()));
    let better = request_vote_with(last(&[1]));
    server.receive(Time::ZERO, message(3, 1, 2, better));
    assert!(server.raft.take_messages().is_empty(), "nothing is durable");
    server.sync();
    let said = server.raft.take_messages();
    let to: Vec<u64> = said.iter().map(|message| message.to.0).collect();
    assert_eq!(to, [2, 3]);
}

/// Only what waits for the disk is replaced by the latest of its kind. What may leave at once leaves, all of it.
#[test]
fn several_messages_of_a_kind_leave_at_once() {
    let mut cluster = Cluster::with(3, |settings| settings.max_payload = 2000);
    cluster.time_out(1);
    cluster.deliver(1, 2);
    // Its vote is durable, and nothing that comes after it.
    cluster.stuck = Some(1);
    cluster.deliver(2, 1);
    assert_eq!(cluster.role(1), RoleKind::Leader);
    cluster.deliver(1, 2);
    cluster.deliver(2, 1);
    cluster.wire.clear();
    let command = vec![7; 1000];
    let position = cluster.with_raft(1, |raft, at| {
        let payload = biglock::Payload::Command(command.into());
        let first = raft.push(at, payload.clone());
        assert!(first.is_ok());
        let second = raft.push(at, payload);
        raft.send_entries();
        second.expect("there is room")
    });
    assert_eq!((position.term, position.index), (Term(1), 3));
    let sent = cluster.between(1, 2);
    let firsts: Vec<u64> = sent.iter().map(|sent| append_of(sent).0.0).collect();
    assert_eq!(firsts, [1, 2]);
}

/// A ballot says in which term its campaign began: the others of the term before are void by that.
#[test]
fn a_ballot_names_its_term() {
    let mut server = server(Stored::default());
    server.campaign(Time::ZERO);
    let ballot = server.ballot.as_ref().expect("it campaigns");
    assert_eq!((ballot.term(), ballot.is_pre_vote()), (Term(1), false));
    let mut settings = settings(1, 3);
    settings.pre_vote = true;
    let mut server = Server::new(settings, Time::ZERO, Stored::default());
    server.campaign(Time::ZERO);
    let ballot = server.ballot.as_ref().expect("it campaigns");
    assert_eq!((ballot.term(), ballot.is_pre_vote()), (Term(0), true));
    let asked: Vec<Body> = server
        .raft
        .take_messages()
        .into_iter()
        .map(|m| m.body)
        .collect();
    assert!(
        !asked.is_empty()
            && asked
                .iter()
                .all(|body| matches!(body, Body::PreVote { .. }))
    );
}

#[test]
fn what_a_section_finds_is_what_the_one_before_left() {
    let mut server = server(Stored::default());
    receives(&mut server, 2);
    server.sync();
    server.raft.set_applied(1);
    let before = server.raft.before();
    assert_eq!(before.hard_state.term, Term(1));
    assert_eq!((before.commit, before.applied), (2, 1));
    assert_eq!(
        server.raft.log().last(),
        Position {
            index: 3,
            term: Term(1)
        }
    );
}
