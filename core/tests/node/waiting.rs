//! Nobody waits for ever: the node ends, and with it every wait, in every state.

use std::sync::Arc;

use biglock::rules::{Appended, Beat, Body, Change, ChangeRefused};
use biglock::{
    ChangeError, MemoryStorage, NoLeader, NodeId, Position, ReadError, Stopped, Term,
    TransferError, Undecided,
};

use crate::harness::{
    Bench, Gate, Keeper, PATIENCE, Word, begin, bench, bench_of, bench_with, empty_snapshot, ends,
    heartbeat, leader_of_three, matched,
};

fn add(id: u64) -> Change {
    let (id, address) = (NodeId(id), String::new());
    Change::AddLearner { id, address }
}

fn shut_down(bench: &Bench) {
    let node = bench.node.clone();
    ends("shutdown", move || node.shutdown()).unwrap();
}

#[test]
fn whoever_proposed() {
    let bench = leader_of_three(MemoryStorage::new(), ());
    let node = bench.node.clone();
    let waiting = begin("propose", move || {
        node.propose(b"x".as_slice()).unwrap().wait()
    });
    bench.until_left("propose");
    shut_down(&bench);
    assert!(matches!(
        waiting.result(),
        Err(Undecided::Stopped(Stopped::Shutdown))
    ));
}

/// While it waits for a round, and while what it may read is not yet applied.
#[test]
fn whoever_reads() {
    let bench = leader_of_three(MemoryStorage::new(), ());
    let node = bench.node.clone();
    let waiting = begin("read", move || node.read());
    bench.until_left("read");
    shut_down(&bench);
    assert!(matches!(
        waiting.result(),
        Err(ReadError::Stopped(Stopped::Shutdown))
    ));

    let (keeper, _, asked, word) = Keeper::gated();
    let bench = leader_of_three(MemoryStorage::new(), keeper);
    let slow = bench.node.propose(b"slow".as_slice()).unwrap();
    bench.deliver(2, 1, matched(2));
    asked.recv_timeout(PATIENCE).unwrap();
    let node = bench.node.clone();
    let waiting = begin("read", move || node.read());
    bench.until_left("read");
    let beat = Beat {
        round: 9,
        ..Beat::default()
    };
    let answer = Appended::Matched(2);
    bench.deliver(2, 1, Body::AppendReply { beat, answer });
    assert!(!waiting.has_ended());
    let node = bench.node.clone();
    let stopping = begin("shutdown", move || node.shutdown());
    assert!(matches!(
        waiting.result(),
        Err(ReadError::Stopped(Stopped::Shutdown))
    ));
    assert!(slow.wait().is_err());
    drop(word);
    stopping.result().unwrap();
}

/// A follower learns how far its state must be, and a snapshot brings it there at once; nothing follows that would be applied one by one.
#[test]
fn whoever_reads_what_a_snapshot_brings() {
    let bench = bench_of(3, MemoryStorage::new(), Keeper::new().0, |_| {});
    bench.deliver(2, 1, heartbeat());
    let node = bench.node.clone();
    let waiting = begin("read", move || node.read());
    let read = loop {
        if let Body::ReadIndex { read } = bench.next_sent().body {
            break read;
        }
    };
    let index = Some(5);
    bench.deliver(2, 1, Body::ReadIndexReply { read, index });
    assert!(!waiting.has_ended());
    bench.deliver(2, 1, empty_snapshot(5, 1));
    let served = waiting.result();
    assert!(served.is_ok(), "{served:?}");
}

/// A follower is told of an index, and then never that it is committed: whoever leads is out of reach. Each is given up in its own time, also if
/// somebody else reads at the same index meanwhile.
#[test]
fn whoever_reads_what_is_never_heard_to_be_committed() {
    let bench = bench(3);
    bench.deliver(2, 1, heartbeat());
    let mut latest = None;
    let mut read = |what: &str| {
        let node = bench.node.clone();
        let reading = begin(what, move || node.read());
        let read = loop {
            if let Body::ReadIndex { read } = bench.next_sent().body
                && latest < Some(read)
            {
                break read;
            }
        };
        latest = Some(read);
        let index = Some(7);
        bench.deliver(2, 1, Body::ReadIndexReply { read, index });
        reading
    };
    let pass = |millis: std::ops::Range<u64>| {
        for now in millis.step_by(100) {
            bench.tick(now);
            bench.deliver(2, 1, heartbeat());
        }
    };
    let first = read("the first read");
    pass(100..500);
    let second = read("the second read");
    pass(500..1000);
    assert!(matches!(first.result(), Err(ReadError::NoLeader)));
    assert!(!second.has_ended(), "it has time left");
    pass(1000..1400);
    assert!(matches!(second.result(), Err(ReadError::NoLeader)));
}

/// What waits for a slow state machine waits here all the same.
#[test]
fn whoever_reads_more_than_may_wait() {
    let bench = bench_with(3, MemoryStorage::new(), |config| config.max_reads = 2);
    bench.deliver(2, 1, heartbeat());
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let node = bench.node.clone();
        waiting.push(begin("read", move || node.read()));
        let read = loop {
            if let Body::ReadIndex { read } = bench.next_sent().body {
                break read;
            }
        };
        let index = Some(7);
        bench.deliver(2, 1, Body::ReadIndexReply { read, index });
    }
    let node = bench.node.clone();
    let refused = ends("one read too many", move || node.read());
    assert!(matches!(refused, Err(ReadError::Busy)), "{refused:?}");
    shut_down(&bench);
    for read in waiting {
        assert!(read.result().is_err());
    }
}

#[test]
fn whoever_wants_a_snapshot() {
    let (keeper, _, asked, word) = Keeper::gated();
    let bench = leader_of_three(MemoryStorage::new(), keeper);
    let first = bench.node.propose(b"first".as_slice()).unwrap();
    bench.deliver(2, 1, matched(2));
    word.send(Word::Done).unwrap();
    ends("wait", move || first.wait()).unwrap();
    asked.recv_timeout(PATIENCE).unwrap();
    drop(bench.node.propose(b"slow".as_slice()).unwrap());
    bench.deliver(2, 1, matched(3));
    asked.recv_timeout(PATIENCE).unwrap();
    let node = bench.node.clone();
    let waiting = begin("snapshot", move || node.snapshot());
    bench.until_left("ask for a snapshot");
    let node = bench.node.clone();
    let stopping = begin("shutdown", move || node.shutdown());
    assert!(matches!(waiting.result(), Err(Stopped::Shutdown)));
    drop(word);
    stopping.result().unwrap();
}

#[test]
fn whoever_hands_over() {
    let bench = leader_of_three(MemoryStorage::new(), ());
    let node = bench.node.clone();
    let waiting = begin("transfer", move || node.transfer_leadership(3));
    bench.until_waits("caller", "the transfer");
    shut_down(&bench);
    assert!(matches!(
        waiting.result(),
        Err(TransferError::Stopped(Stopped::Shutdown))
    ));
    let node = bench.node.clone();
    let late = ends("transfer", move || node.transfer_leadership(3));
    assert!(matches!(
        late,
        Err(TransferError::Stopped(Stopped::Shutdown))
    ));
}

#[test]
fn whoever_changes_the_members() {
    let bench = leader_of_three(MemoryStorage::new(), ());
    let node = bench.node.clone();
    let waiting = begin("change", move || node.change_members(&add(4)));
    bench.until_left("change the members");
    shut_down(&bench);
    let ended = waiting.result();
    assert!(
        matches!(ended, Err(ChangeError::Undecided(Undecided::Stopped(_)))),
        "{ended:?}"
    );
}

/// Promoting a learner waits until it has caught up: for a while, and not without hope.
#[test]
fn whoever_promotes_a_learner() {
    let promoted = |id| Change::Promote(NodeId(id));
    let bench = leader_of_three(MemoryStorage::new(), ());
    let stranger = Arc::clone(&bench.node);
    let refused = ends("promote", move || stranger.change_members(&promoted(4)));
    assert!(
        matches!(refused, Err(ChangeError::Refused(ChangeRefused::Bad(_)))),
        "{refused:?}"
    );
    bench.until_left("change the members");
    let node = bench.node.clone();
    let adding = begin("add", move || node.change_members(&add(4)));
    bench.until_left("change the members");
    bench.deliver(2, 1, matched(2));
    adding.result().unwrap();

    let node = bench.node.clone();
    let waiting = begin("promote", move || node.change_members(&promoted(4)));
    bench.until_waits("caller", "a learner");
    // It answers, and lacks nothing.
    bench.deliver(4, 1, matched(2));
    bench.until_left("change the members");
    bench.deliver(2, 1, matched(3));
    bench.deliver(3, 1, matched(3));
    waiting.result().unwrap();

    // One that is silent is given up by the clock, at 300 ms and three of the longest election timeouts,
    let node = bench.node.clone();
    let adding = begin("add", move || node.change_members(&add(5)));
    bench.until_left("change the members");
    for id in [2, 3] {
        bench.deliver(id, 1, matched(4));
    }
    adding.result().unwrap();
    let node = bench.node.clone();
    let waiting = begin("promote", move || node.change_members(&promoted(5)));
    bench.until_waits("caller", "a learner");
    bench.tick(1199);
    bench.until_waits("leader", "the next heartbeat");
    assert!(!waiting.has_ended());
    bench.tick(1200);
    let refused = waiting.result();
    let missing = ChangeRefused::CatchingUp { entries: 4 };
    assert!(
        matches!(&refused, Err(ChangeError::Refused(why)) if *why == missing),
        "{refused:?}"
    );
    // and with the node.
    let node = bench.node.clone();
    let waiting = begin("promote", move || node.change_members(&promoted(5)));
    bench.until_waits("caller", "a learner");
    shut_down(&bench);
    let ended = waiting.result();
    assert!(
        matches!(ended, Err(ChangeError::Stopped(Stopped::Shutdown))),
        "{ended:?}"
    );
}

/// Whoever comes after the end hears of it, whatever it wants.
#[test]
fn whoever_comes_too_late() {
    let (gate, asked, word) = Gate::new();
    word.send(Word::Done).unwrap();
    word.send(Word::Done).unwrap();
    let bench = leader_of_three(gate, ());
    for _ in 0..2 {
        asked.recv_timeout(PATIENCE).unwrap();
    }
    let node = bench.node.clone();
    // Its disk fails, and nobody has shut it down.
    word.send(Word::Fail).unwrap();
    let proposal = node.propose(b"x".as_slice()).unwrap();
    let ended = ends("wait", move || proposal.wait());
    assert!(
        matches!(ended, Err(Undecided::Stopped(Stopped::Storage(_)))),
        "{ended:?}"
    );
    let late = Arc::clone(&bench.node);
    let change = ends("change", move || late.change_members(&add(4)));
    assert!(change.is_err(), "{change:?}");
    let late = Arc::clone(&bench.node);
    assert!(matches!(
        ends("read", move || late.read()),
        Err(ReadError::Stopped(_))
    ));
    let late = Arc::clone(&bench.node);
    assert!(matches!(
        ends("snapshot", move || late.snapshot()),
        Err(Stopped::Storage(_))
    ));
    let late = Arc::clone(&bench.node);
    let transfer = ends("transfer", move || late.transfer_leadership(2));
    assert!(matches!(transfer, Err(TransferError::Stopped(_))));
    assert!(bench.node.propose(b"y".as_slice()).is_err());
}

/// A transfer that nobody helps is given up after an election timeout, and the leader leads on.
#[test]
fn a_transfer_is_given_up_by_the_clock() {
    let bench = leader_of_three(MemoryStorage::new(), ());
    let node = bench.node.clone();
    let waiting = begin("transfer", move || node.transfer_leadership(3));
    bench.until_waits("caller", "the transfer");
    bench.tick(590);
    bench.until_waits("leader", "the next heartbeat");
    assert!(!waiting.has_ended());
    bench.tick(620);
    let ended = waiting.result();
    assert!(
        matches!(ended, Err(TransferError::Failed(seen)) if seen.leader == Some(NodeId(1))),
        "{ended:?}"
    );
    assert!(bench.node.propose(b"x".as_slice()).is_ok());
}

/// Between two leaders there is none: that is no end yet, for the one to whom it was handed over may still be elected.
#[test]
fn a_transfer_waits_until_somebody_leads_again() {
    let begin_at = |bench: &Bench| {
        let node = bench.node.clone();
        let waiting = begin("transfer", move || node.transfer_leadership(3));
        bench.until_waits("caller", "the transfer");
        let last = Position {
            index: 1,
            term: Term(1),
        };
        let handed_over = true;
        bench.deliver(3, 2, Body::RequestVote { last, handed_over });
        bench.until_waits("caller", "the transfer");
        assert_eq!(bench.node.leadership().leader, None);
        waiting
    };
    let bench = leader_of_three(MemoryStorage::new(), ());
    let waiting = begin_at(&bench);
    bench.deliver(3, 2, heartbeat());
    let seen = waiting.result().expect("it leads");
    assert_eq!((seen.term, seen.leader), (Term(2), Some(NodeId(3))));

    // But not for ever, if nobody does.
    let bench = leader_of_three(MemoryStorage::new(), ());
    let waiting = begin_at(&bench);
    bench.tick(1200);
    let ended = waiting.result();
    assert!(
        matches!(ended, Err(TransferError::Failed(seen)) if seen.leader.is_none()),
        "{ended:?}"
    );
}

/// A slow disk holds up what must be durable, and no heartbeat. One that is stuck is no leader's: it steps down, and says why.
#[test]
fn a_leader_whose_disk_is_stuck_steps_down() {
    let (gate, asked, word) = Gate::new();
    let bench = bench_with(3, gate, |config| config.pre_vote = false);
    // The vote and the no-op.
    word.send(Word::Done).unwrap();
    word.send(Word::Done).unwrap();
    bench.elect();
    let led = bench.node.leadership();
    bench.deliver(2, 1, matched(1));
    bench.deliver(3, 1, matched(1));
    for _ in 0..2 {
        asked.recv_timeout(PATIENCE).unwrap();
    }

    let proposal = bench.node.propose(b"x".as_slice()).unwrap();
    asked.recv_timeout(PATIENCE).unwrap();
    // It leaves all the same, and the others commit it.
    for to in [2, 3] {
        let sent = bench.next_sent();
        assert_eq!((sent.to.0, sent.body.name()), (to, "AppendEntries"));
    }
    for id in [2, 3] {
        bench.deliver(id, 1, matched(2));
    }
    assert!(ends("wait", move || proposal.wait()).is_ok());
    assert_eq!(bench.node.status().durable_log, 1);

    let mut rounds = 0;
    for millis in (330..1200).step_by(30) {
        bench.tick(millis);
        for _ in [2, 3] {
            rounds += u64::from(bench.next_sent().body.name() == "AppendEntries");
        }
        for id in [2, 3] {
            bench.deliver(id, 1, matched(2));
        }
    }
    assert_eq!(rounds, 58, "heartbeats go on");
    assert_eq!(bench.node.leadership(), led);
    bench.tick(1300);
    let node = bench.node.clone();
    let waiting = "the wait for a leader with a stuck disk to step down";
    ends(waiting, move || node.wait_for_change(led, None)).unwrap();
    let status = bench.node.status();
    assert_eq!(status.no_leader, Some(NoLeader::StuckDisk));
    assert!(status.to_string().contains("its disk is stuck"), "{status}");
    drop(word);
}

/// What waits while the disk is busy shares the next write: one sync for many (group commit).
#[test]
fn those_who_come_while_the_disk_writes_share_the_next_write() {
    let (gate, asked, word) = Gate::new();
    let bench = bench_with(1, gate, |_| {});
    word.send(Word::Done).unwrap();
    word.send(Word::Done).unwrap();
    bench.tick(300);
    let node = bench.node.clone();
    ends("wait for a leader", move || node.wait_for_leader(PATIENCE)).unwrap();
    for _ in 0..2 {
        asked.recv_timeout(PATIENCE).unwrap();
    }
    let first = bench.node.propose(b"first".as_slice()).unwrap();
    asked.recv_timeout(PATIENCE).unwrap();
    let others: Vec<_> = (0..100)
        .map(|_| bench.node.propose(b"x".as_slice()).unwrap())
        .collect();
    word.send(Word::Done).unwrap();
    ends("wait", move || first.wait()).unwrap();
    word.send(Word::Done).unwrap();
    ends("wait", move || {
        others.into_iter().for_each(|p| drop(p.wait().unwrap()))
    });
    assert_eq!(asked.try_iter().count(), 1);
}
