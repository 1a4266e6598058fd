//! The state machine: slow, broken, restored, and its snapshots.

use std::sync::mpsc::channel;

use biglock::node::{Applier, Done, Job, Reply};
use biglock::rules::{Entry, Members, Payload, SessionReply, SessionRequest, Snapshot};
use biglock::{
    Batch, Config, HardState, MemoryStorage, NodeId, Outside, Position, Stopped, Storage, Term,
    Time, Undecided,
};

use crate::harness::{
    Disk, Gate, Keeper, PATIENCE, Word, append, begin, bench_of, ends, leader_of_three, matched,
    request_vote, snapshot_of,
};

/// A state machine that takes its time holds up those who wait for its replies, and nobody else.
#[test]
fn a_slow_state_machine_holds_up_nothing_else() {
    let (keeper, kept, asked, word) = Keeper::gated();
    let bench = leader_of_three(MemoryStorage::new(), keeper);
    let slow = bench.node.propose(b"slow".as_slice()).unwrap();
    bench.deliver(2, 1, matched(2));
    assert_eq!(asked.recv_timeout(PATIENCE).unwrap(), b"slow");

    // Proposals are taken, sent and committed,
    let next = bench.node.propose(b"next".as_slice()).unwrap();
    bench.deliver(2, 1, matched(3));
    let status = bench.node.status();
    assert!(status.commit == 3 && status.applied < 2, "{status:?}");
    // heartbeats leave,
    while bench.sent.try_recv().is_ok() {}
    bench.tick(330);
    assert_eq!(bench.next_sent().body.name(), "AppendEntries");
    // and an election goes on.
    bench.deliver(3, 2, append(3, 1, &[2], 3));
    assert_eq!(bench.node.status().leader, Some(NodeId(3)));
    assert!(kept.all().is_empty());

    drop(word);
    assert_eq!(
        ends("wait", move || slow.wait()).unwrap(),
        b"slow".as_slice()
    );
    assert_eq!(
        ends("wait", move || next.wait()).unwrap(),
        b"next".as_slice()
    );
    assert_eq!(kept.all(), [b"slow", b"next"]);
}

#[test]
fn a_state_machine_that_panics_stops_the_node() {
    let (keeper, _, _asked, word) = Keeper::gated();
    let bench = leader_of_three(MemoryStorage::new(), keeper);
    let one = bench.node.propose(b"x".as_slice()).unwrap();
    let two = bench.node.propose(b"y".as_slice()).unwrap();
    word.send(Word::Panic).unwrap();
    bench.deliver(2, 1, matched(2));
    for proposal in [one, two] {
        let ended = ends("wait", move || proposal.wait());
        let Err(Undecided::Stopped(why)) = ended else {
            panic!("{ended:?}");
        };
        assert!(
            matches!(why, Stopped::Panicked { thread: "apply" }),
            "{why}"
        );
    }
    let before = bench.node.status().term;
    bench.deliver(3, 9, request_vote());
    assert_eq!(
        bench.node.status().term,
        before,
        "nothing is decided any more"
    );
    assert!(matches!(bench.shutdown(), Err(Stopped::Panicked { .. })));
}

/// A disk with a snapshot of this state up to entry 3, and an entry after it.
fn disk_with(state: &[u8]) -> Disk {
    let mut disk = Disk::default();
    let last = Position {
        index: 3,
        term: Term(1),
    };
    let snapshot = Snapshot {
        last,
        time: Time::ZERO,
        members: Members::voting((1..=3).map(NodeId)),
        data: snapshot_of(state),
    };
    let hard_state = HardState {
        term: Term(1),
        voted_for: None,
    };
    let entry = biglock::Entry {
        term: Term(1),
        time: Time::ZERO,
        payload: biglock::Payload::Command(b"after".to_vec().into()),
    };
    let batch = Batch::new(hard_state).with_snapshot(snapshot);
    let batch = batch.with_log(4, vec![entry]);
    disk.write(&Outside::claim("test"), batch).unwrap();
    disk
}

#[test]
fn a_snapshot_that_makes_no_sense_stops_the_node() {
    let bench = bench_of(3, disk_with(b"nonsense"), Keeper::new().0, |_| {});
    let node = bench.node.clone();
    let why = ends("wait for the end", move || node.wait_until_stopped());
    assert!(matches!(why, Stopped::StateMachine(_)));
    let sentence = why.to_string();
    assert!(sentence.contains("these are no commands"), "{sentence}");
}

/// A node starts from its snapshot, and gets the entries after it again once they are known to be committed.
#[test]
fn a_node_starts_with_snapshot_and_log() {
    let before = vec![b"1".to_vec(), b"2".to_vec()];
    let (keeper, kept, asked, word) = Keeper::gated();
    let disk = disk_with(&biglock::codec::encode(&before));
    let bench = bench_of(3, disk, keeper, |_| {});
    let status = bench.node.status();
    assert_eq!((status.snapshot.index, status.last.index), (3, 4));
    bench.deliver(2, 2, append(4, 1, &[], 4));
    assert_eq!(asked.recv_timeout(PATIENCE).unwrap(), b"after");
    assert_eq!(kept.all(), before, "restored before the rest is applied");
    drop(word);
}

#[test]
fn a_snapshot_is_taken_on_call() {
    let (keeper, _) = Keeper::new();
    let disk = Disk::default();
    let bench = bench_of(3, disk.clone(), keeper, |config| {
        config.pre_vote = false;
        config.check_quorum = false;
        config.keep_entries = 0;
    });
    bench.elect();
    bench.deliver(2, 1, matched(1));
    let proposal = bench.node.propose(b"x".as_slice()).unwrap();
    bench.deliver(2, 1, matched(2));
    ends("wait", move || proposal.wait()).unwrap();
    let node = bench.node.clone();
    let taken = ends("snapshot", move || node.snapshot()).unwrap();
    assert_eq!((taken.index, taken.term), (2, Term(1)));
    // Again, of a state that has not changed: the same, at once.
    let node = bench.node.clone();
    assert_eq!(ends("snapshot", move || node.snapshot()).unwrap(), taken);
    assert_eq!(bench.node.status().snapshot, taken);

    bench.shutdown().unwrap();
    let (keeper, kept) = Keeper::new();
    let bench = bench_of(3, disk, keeper, |_| {});
    assert_eq!(bench.node.status().snapshot.index, 2);
    let node = bench.node.clone();
    let same = ends("snapshot", move || node.snapshot()).unwrap();
    assert_eq!(
        (same.index, kept.all()),
        (2, vec![b"x".to_vec()]),
        "after it was restored"
    );
}

/// A snapshot has the sessions beside the user's state: a request that was run before it is not run again by who starts from it.
#[test]
fn a_snapshot_has_the_sessions() {
    let outside = Outside::claim("test");
    let entry = |request| Entry {
        term: Term(1),
        time: Time::ZERO,
        payload: Payload::Session(Box::new(request)),
    };
    let open = SessionRequest::Open {
        patience: std::time::Duration::from_secs(60),
    };
    let call = SessionRequest::Call {
        session: 1,
        sequence: 1,
        seen: 1,
        command: b"x".to_vec().into(),
    };
    let mut before = Applier::new(Box::new(Keeper::new().0));
    let (first, entries) = (1, vec![entry(open), entry(call.clone())].into());
    before.run(&outside, Job::Apply { first, entries });
    let (term, index) = (Term(1), 2);
    let job = Job::Snapshot {
        last: Position { term, index },
        time: Time::ZERO,
        members: Members::voting([NodeId(1)]),
    };
    let Done::Taken(snapshot) = before.run(&outside, job) else {
        panic!("no snapshot");
    };

    // The client heard nothing and sends it again, to a node that starts from there.
    let (keeper, kept) = Keeper::new();
    let mut after = Applier::new(Box::new(keeper));
    after.run(&outside, Job::Restore(snapshot));
    let (first, entries) = (3, vec![entry(call)].into());
    let Done::Applied { replies, .. } = after.run(&outside, Job::Apply { first, entries }) else {
        panic!("not applied");
    };
    let once = Reply::Session(SessionReply::Done(b"x".to_vec().into()));
    assert_eq!(
        replies,
        [(Term(1), once)],
        "a snapshot has the sessions: who starts from it knows what was run, and its reply"
    );
    assert_eq!(kept.all(), [b"x"], "and runs nothing twice");
}

/// A new node has nothing to take a snapshot of, and says so instead of waiting for it.
#[test]
fn a_snapshot_of_nothing_is_nothing() {
    let bench = bench_of(3, MemoryStorage::new(), Keeper::new().0, |_| {});
    let node = bench.node.clone();
    assert_eq!(
        ends("snapshot", move || node.snapshot()).unwrap(),
        Position::default()
    );
}

/// Nobody is told of a snapshot that a crash could take back.
#[test]
fn a_snapshot_is_told_when_it_is_durable() {
    let (gate, asked, word) = Gate::new();
    // The vote and the no-op.
    word.send(Word::Done).unwrap();
    word.send(Word::Done).unwrap();
    let bench = leader_of_three(gate, Keeper::new().0);
    bench.until_left("finish applying");
    for _ in 0..2 {
        asked.recv_timeout(PATIENCE).unwrap();
    }
    let node = bench.node.clone();
    let taking = begin("snapshot", move || node.snapshot());
    asked.recv_timeout(PATIENCE).expect("it is written");
    assert_eq!(bench.node.status().snapshot.index, 1, "it is taken");
    assert!(!taking.has_ended(), "and not yet durable");
    word.send(Word::Done).unwrap();
    assert_eq!(taking.result().unwrap().index, 1);
}

/// Nor does a node that was not yet added take one: its members would not be in it.
#[test]
fn a_node_that_joins_takes_no_snapshot_before_it_knows_the_members() {
    let bench = bench_of(3, MemoryStorage::new(), Keeper::new().0, |config| {
        let clock = config.clock.clone();
        *config = Config::joining(1);
        config.clock = clock;
    });
    // The log from its beginning, which the cluster's first members are not in.
    bench.deliver(2, 1, append(0, 0, &[1, 1], 2));
    bench.until_left("finish applying");
    let node = bench.node.clone();
    let taken = ends("snapshot", move || node.snapshot()).unwrap();
    let status = bench.node.status();
    assert_eq!(
        (taken, status.snapshot, status.applied),
        (Position::default(), Position::default(), 2),
        "it takes none before it knows the members"
    );
}

#[test]
fn a_snapshot_is_taken_by_policy() {
    let (mut keeper, _) = Keeper::new();
    let (told, snapshots) = channel();
    keeper.snapshots = Some(told);
    let bench = bench_of(1, MemoryStorage::new(), keeper, |config| {
        config.snapshot_every = 1000;
        config.keep_entries = 2;
    });
    bench.tick(300);
    let node = bench.node.clone();
    ends("wait for a leader", move || node.wait_for_leader(PATIENCE)).unwrap();
    for round in 1..=3 {
        for _ in 0..11 {
            let proposal = bench.node.propose(vec![7; 68]).unwrap();
            ends("wait", move || proposal.wait()).unwrap();
        }
        let many = snapshots.recv_timeout(PATIENCE).expect("one is due");
        assert!(many > (round - 1) * 9, "{many}");
    }
    // What is applied after a snapshot is applied when that has taken the log's place.
    let last = bench.node.propose(b"last".as_slice()).unwrap();
    ends("wait", move || last.wait()).unwrap();
    assert!(bench.node.status().snapshot.index >= 20);
}

/// The apply thread is in the middle of a command when somebody wants a snapshot: it comes after it.
#[test]
fn a_snapshot_waits_for_the_command_that_is_applied() {
    let (keeper, _, asked, word) = Keeper::gated();
    let bench = leader_of_three(MemoryStorage::new(), keeper);
    let first = bench.node.propose(b"first".as_slice()).unwrap();
    bench.deliver(2, 1, matched(2));
    word.send(Word::Done).unwrap();
    ends("wait", move || first.wait()).unwrap();
    asked.recv_timeout(PATIENCE).unwrap();
    let proposal = bench.node.propose(b"x".as_slice()).unwrap();
    bench.deliver(2, 1, matched(3));
    asked.recv_timeout(PATIENCE).unwrap();
    let node = bench.node.clone();
    let taking = begin("snapshot", move || node.snapshot());
    bench.until_left("ask for a snapshot");
    assert!(!taking.has_ended());
    drop(word);
    assert_eq!(taking.result().unwrap().index, 3);
    ends("wait", move || proposal.wait()).unwrap();
}
