//! Between a decision and the disk: slow, stuck, failing and panicking storages.

use std::sync::Arc;
use std::time::Duration;

use biglock::rules::RoleKind;
use biglock::{Batch, LocalNetwork, Node};
use biglock::{
    HardState, MemoryStorage, Message, NoLeader, NodeId, Outside, Stopped, Storage, Term, WaitError,
};

use crate::harness::{
    Gate, PATIENCE, Word, append, begin, bench_with, change, config, deliver, ends, heartbeat,
    leader, matched, request_vote, tick,
};

const SOON: Duration = Duration::from_secs(1);

fn vote(term: u64, id: u64) -> HardState {
    HardState {
        term: Term(term),
        voted_for: Some(NodeId(id)),
    }
}

#[test]
fn a_vote_leaves_only_when_it_is_durable() {
    let (gate, asked, word) = Gate::new();
    let bench = bench_with(3, gate, |_| {});
    let inbox = bench.wire.inbox();
    let voting = begin("vote", move || deliver(&inbox, 2, 1, request_vote()));
    assert_eq!(asked.recv_timeout(PATIENCE).unwrap(), vote(1, 2));
    assert!(bench.sent.try_recv().is_err(), "nothing is said before");
    word.send(Word::Done).unwrap();
    voting.result();
    let reply = bench.next_sent();
    assert_eq!((reply.to, reply.body.name()), (NodeId(2), "VoteReply"));
    assert!(bench.node.status().durable);
}

/// What arrived together is written together and answered once; and in order: what follows in the same section sees what was before.
#[test]
fn messages_that_arrive_together_share_a_write_and_an_answer() {
    let (gate, asked, word) = Gate::new();
    let bench = bench_with(3, gate, |_| {});
    let inbox = bench.wire.inbox();
    let message = |body| Message {
        from: NodeId(2),
        to: NodeId(1),
        term: Term(1),
        body,
    };
    let news = [append(0, 0, &[1, 1], 0), append(2, 1, &[1], 2)].map(message);
    let receiving = begin("receive", move || {
        inbox.deliver_all(&mut Outside::claim("test"), news.into());
    });
    // The term and all three entries, and no other write after it.
    asked.recv_timeout(PATIENCE).unwrap();
    word.send(Word::Done).unwrap();
    receiving.result();
    let answer = bench.next_sent();
    assert_eq!(answer.body, matched(3), "{answer:?}");
    assert!(bench.sent.try_recv().is_err(), "one answer");
    assert!(asked.try_recv().is_err(), "one write");
    assert_eq!(bench.node.status().commit, 2);
}

/// One thread is stuck in the disk; the others go on, as far as nothing has to be durable for it.
#[test]
fn a_stuck_disk_holds_up_one_thread_and_no_other() {
    let (gate, asked, word) = Gate::new();
    let bench = bench_with(3, gate, |_| {});
    let inbox = bench.wire.inbox();
    let voting = begin("vote", move || deliver(&inbox, 2, 1, request_vote()));
    asked.recv_timeout(PATIENCE).unwrap();

    let node = bench.node.clone();
    let status = ends("status", move || node.status());
    assert!(!status.durable && status.voted_for == Some(NodeId(2)));
    let inbox = bench.wire.inbox();
    ends("hear a heartbeat", move || {
        deliver(&inbox, 2, 1, heartbeat())
    });
    assert_eq!(leader(&bench.node).unwrap().leader, Some(NodeId(2)));
    assert!(bench.sent.try_recv().is_err(), "but no answer leaves");

    word.send(Word::Done).unwrap();
    voting.result();
    let names = [bench.next_sent().body.name(), bench.next_sent().body.name()];
    assert_eq!(names, ["VoteReply", "AppendReply"], "in order");
}

/// Whoever comes while the disk writes leaves its record to the flusher: one writer, in order, and the latest stands for all.
#[test]
fn there_is_one_writer_and_it_writes_the_latest() {
    let (gate, asked, word) = Gate::new();
    let bench = bench_with(3, gate, |_| {});
    let inbox = bench.wire.inbox();
    let voting = begin("vote", move || deliver(&inbox, 2, 1, request_vote()));
    assert_eq!(asked.recv_timeout(PATIENCE).unwrap(), vote(1, 2));
    for term in 2..=5 {
        let inbox = bench.wire.inbox();
        ends("vote", move || deliver(&inbox, 3, term, request_vote()));
    }
    assert!(asked.try_recv().is_err(), "one at a time");
    word.send(Word::Done).unwrap();
    assert_eq!(asked.recv_timeout(PATIENCE).unwrap(), vote(5, 3));
    assert!(bench.sent.try_recv().is_err(), "the latest is not durable");
    word.send(Word::Done).unwrap();
    voting.result();
    let reply = bench.next_sent();
    assert_eq!((reply.to, reply.term), (NodeId(3), Term(5)));
    assert!(
        bench.sent.try_recv().is_err() && asked.try_recv().is_err(),
        "and no more"
    );
}

#[test]
fn a_write_that_fails_stops_the_node_and_is_not_tried_again() {
    let (gate, asked, word) = Gate::new();
    let bench = bench_with(3, gate, |_| {});
    let node = bench.node.clone();
    let waiting = begin("wait", move || node.wait_for_leader(SOON));
    bench.until_waits("caller", "a change of leadership");
    word.send(Word::Fail).unwrap();
    bench.deliver(2, 1, request_vote());
    let Err(WaitError::Stopped(Stopped::Storage(error))) = waiting.result() else {
        panic!("the waiter is told");
    };
    assert_eq!(error.to_string(), "storage: the disk is on fire");
    let Some(NoLeader::Stopped { why }) = bench.node.status().no_leader else {
        panic!("the status tells");
    };
    assert!(why.contains("the disk is on fire"), "{why}");

    asked.recv_timeout(PATIENCE).unwrap();
    bench.deliver(3, 9, request_vote());
    bench.deliver(3, 9, heartbeat());
    bench.tick(10_000);
    assert_eq!(
        bench.node.status().term,
        Term(1),
        "nothing is decided any more"
    );
    assert!(asked.try_recv().is_err(), "nothing is written again");
    assert!(bench.sent.try_recv().is_err(), "and nothing was ever said");
    assert!(matches!(bench.shutdown(), Err(Stopped::Storage(_))));
}

/// A candidate whose own vote cannot be written asks nobody.
#[test]
fn a_candidate_whose_write_fails_asks_nobody() {
    let (gate, _asked, word) = Gate::new();
    let bench = bench_with(3, gate, |config| config.pre_vote = false);
    word.send(Word::Fail).unwrap();
    bench.tick(300);
    let stopped = leader(&bench.node);
    assert!(
        matches!(stopped, Err(WaitError::Stopped(Stopped::Storage(_)))),
        "{stopped:?}"
    );
    assert!(bench.sent.try_recv().is_err());
}

/// However long it is stuck, the node neither leads nor speaks, and what it has to say does not pile up.
#[test]
fn a_candidate_with_a_stuck_disk_neither_leads_nor_speaks() {
    let (gate, asked, word) = Gate::new();
    let bench = bench_with(1, gate, |_| {});
    bench.tick(300);
    assert_eq!(asked.recv_timeout(PATIENCE).unwrap(), vote(1, 1));
    for round in 1..=100 {
        bench.tick(300 + round * 300);
    }
    let status = bench.node.status();
    assert_eq!(
        (status.role, status.no_leader),
        (RoleKind::Candidate, Some(NoLeader::VoteNotDurable))
    );
    word.send(Word::Done).unwrap();
    assert_eq!(leader(&bench.node).unwrap().term, Term(1));
    // The no-op with which its term begins may be written too.
    drop(word);
}

#[test]
fn a_storage_that_panics_stops_the_node() {
    let (gate, _asked, word) = Gate::new();
    let bench = bench_with(1, gate, |_| {});
    let node = bench.node.clone();
    let waiting = begin("wait", move || {
        node.wait_for_change(Default::default(), None)
    });
    bench.until_waits("caller", "a change of leadership");
    word.send(Word::Panic).unwrap();
    // The candidacy begins a term, which is a change; the waiter may see that first.
    bench.tick(300);
    let mut seen = waiting.result();
    while let Ok(leadership) = seen {
        seen = change(&bench.node, leadership);
    }
    let stopped = seen.unwrap_err();
    assert!(
        matches!(
            stopped,
            WaitError::Stopped(Stopped::Panicked { thread: "election" })
        ),
        "{stopped:?}"
    );
    assert!(matches!(bench.shutdown(), Err(Stopped::Panicked { .. })));
}

#[test]
fn a_transport_that_panics_stops_the_node() {
    let bench = bench_with(3, MemoryStorage::new(), |config| config.pre_vote = false);
    bench.elect();
    let leading = bench.node.leadership();
    bench.until_waits("leader", "the next heartbeat");
    *bench.wire.on_send.lock().unwrap() =
        Some(Box::new(|| panic!("the network's own code is broken")));
    bench.tick(330);
    let stopped = change(&bench.node, leading).unwrap_err();
    assert!(
        matches!(
            stopped,
            WaitError::Stopped(Stopped::Panicked { thread: "leader" })
        ),
        "{stopped:?}"
    );
    assert_eq!(
        bench.node.status().leader,
        None,
        "a node that is dead does not look alive"
    );
}

/// A vote that went to one who is a member no more is spent all the same, and harms nobody.
#[test]
fn a_stored_vote_for_a_stranger_is_no_reason_to_stop() {
    let mut storage = MemoryStorage::new();
    storage
        .write(&Outside::claim("test"), Batch::new(vote(4, 99)))
        .unwrap();
    let node = Node::start(config(1, 1), storage, LocalNetwork::new().transport(1), ()).unwrap();
    let node = Arc::new(node);
    assert_eq!(node.status().voted_for, Some(NodeId(99)));
    tick(&node, 300);
    assert_eq!(leader(&node).unwrap().term, Term(5));
}

/// What was durable when a node stopped is what it starts with.
#[test]
fn a_node_starts_with_what_its_storage_holds() {
    let mut storage = MemoryStorage::new();
    storage
        .write(&Outside::claim("test"), Batch::new(vote(7, 2)))
        .unwrap();
    let node = Node::start(config(1, 3), storage, LocalNetwork::new().transport(1), ()).unwrap();
    let status = node.status();
    assert_eq!(
        (status.term, status.voted_for, status.durable),
        (Term(7), Some(NodeId(2)), true)
    );
    assert_eq!(status.role, RoleKind::Follower);
}
