//! Every proposal ends, and in the way that is true.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use biglock::lock::{Promise, Step, promise};
use biglock::node::Decided;
use biglock::rules::Body;
use biglock::{
    MemoryStorage, Message, Node, NodeId, Outside, Proposal, ProposeError, ReadError, SessionReply,
    SessionRequest, Stopped, Term, Time, Undecided,
};
use bytes::Bytes;

use crate::harness::{
    Bench, Keeper, PATIENCE, append, begin, bench, bench_of, empty_snapshot, ends, granted,
    heartbeat, leader_of_three, matched, request_vote,
};

fn bench_that_leads() -> Bench {
    leader_of_three(MemoryStorage::new(), Keeper::new().0)
}

fn propose(bench: &Bench, command: &[u8]) -> Proposal {
    bench.node.propose(command.to_vec()).expect("it leads")
}

fn end(proposal: Proposal) -> Result<Bytes, Undecided> {
    ends("wait for a reply", move || proposal.wait())
}

#[test]
fn a_committed_command_has_the_state_machines_reply() {
    let bench = bench_that_leads();
    let proposal = propose(&bench, b"x");
    bench.deliver(2, 1, matched(2));
    assert_eq!(end(proposal).unwrap(), b"x".as_slice());
    let status = bench.node.status();
    assert_eq!((status.commit, status.last.index), (2, 2));
}

#[test]
fn it_is_lost_when_another_entry_took_its_place() {
    let bench = bench_that_leads();
    let (one, two) = (propose(&bench, b"1"), propose(&bench, b"2"));
    bench.deliver(2, 2, append(1, 1, &[2], 2));
    assert!(matches!(end(one), Err(Undecided::Lost)));
    // Nor can one of an earlier term ever follow.
    assert!(matches!(end(two), Err(Undecided::Lost)));
}

/// The thread that finds an invariant broken is gone. A receiver's stops the node as it goes; where any other's was, each of the node's own lets those
/// go who wait.
#[test]
fn it_ends_when_the_node_is_broken() {
    let forged = |to: &Bench| to.deliver(3, 1, heartbeat());
    let in_a_section_of_its_own = |to: &Bench| {
        let monitor = to.node.engine().monitor();
        monitor.enter(&mut Outside::claim("vandal"), "break it", |section| {
            let message = Message {
                from: NodeId(3),
                to: NodeId(1),
                term: Term(1),
                body: heartbeat(),
            };
            let now = section.now();
            section.receive(now, message);
        });
    };
    for breaks in [forged, in_a_section_of_its_own] {
        let bench = leader_of_three(MemoryStorage::new(), ());
        // Every thread sleeps: one that is busy would tell whoever waits, when it brings back what it has.
        while bench.events.try_recv().is_ok() {}
        bench.tick(330);
        bench.until("leader", |step| matches!(step, Step::Left(_)));
        bench.until_waits("leader", "the next heartbeat");
        let waiting = begin("wait for a reply", {
            let proposal = propose(&bench, b"x");
            move || proposal.wait()
        });
        let broken = catch_unwind(AssertUnwindSafe(|| breaks(&bench)));
        assert!(broken.is_err(), "there are two leaders of term 1");
        let end = waiting.result();
        let broken = matches!(end, Err(Undecided::Stopped(Stopped::Broken { .. })));
        assert!(broken, "{end:?}");
    }
}

/// Whoever is called hears in the order of the log what has become of its proposals, also of those that no entry decides by itself.
#[test]
fn calls_come_in_the_order_of_the_log() {
    let bench = bench_that_leads();
    let (heard, hears) = std::sync::mpsc::channel();
    for number in [1, 2, 3] {
        let heard = heard.clone();
        let then = move |_: &Outside, what: Decided| {
            let lost = matches!(what, Err(Undecided::Lost));
            heard.send((number, lost)).expect("somebody listens");
        };
        let proposed = bench.node.propose_then(b"x".as_slice(), then);
        proposed.expect("it leads");
    }
    drop(heard);
    bench.deliver(2, 2, append(1, 1, &[2], 2));
    let heard = ends("hear of all", move || hears.iter().collect::<Vec<_>>());
    assert_eq!(
        heard,
        [(1, true), (2, true), (3, true)],
        "whoever is called hears in the order of the log"
    );
}

/// It was replaced in the log, but what replaced it is not committed: it may come back.
#[test]
fn it_is_not_lost_before_that_is_certain() {
    let bench = bench_that_leads();
    let proposal = propose(&bench, b"x");
    bench.deliver(2, 2, append(1, 1, &[2], 1));
    assert_eq!(bench.node.status().last.term, Term(2));
    // Server 3 had it, and is elected in term 3 (5.4.2, figure 8).
    bench.deliver(3, 3, append(1, 1, &[1, 3], 3));
    // What is committed at its place is of its own term: its own entry.
    assert!(end(proposal).is_ok());
}

/// Two of one caller's proposals were for the same index, in different terms: the later is committed, and only the earlier has lost.
#[test]
fn the_winner_of_an_index_is_told_so_whoever_lost_it() {
    let bench = bench_that_leads();
    let old: Vec<Proposal> = (0..3).map(|_| propose(&bench, b"old")).collect();
    // Another leader in between, whose entry is not committed.
    bench.deliver(2, 2, append(1, 1, &[2], 1));
    bench.tick(1000);
    loop {
        let asked = bench.next_sent();
        if asked.body.name() == "RequestVote" {
            assert_eq!(asked.term, Term(3));
            break;
        }
    }
    bench.deliver(2, 3, granted());
    loop {
        let called = bench.next_sent();
        if called.body.name() == "AppendEntries" && called.term == Term(3) {
            break;
        }
    }
    let new = propose(&bench, b"new");
    assert_eq!(bench.node.status().last.index, 4);
    bench.deliver(2, 3, matched(4));
    let won = end(new).expect("whoever has won an index is told so");
    assert_eq!(won, b"new".as_slice());
    for old in old {
        assert!(matches!(end(old), Err(Undecided::Lost)));
    }
}

/// A snapshot took its place: whether it is in there, nobody here can tell.
#[test]
fn it_is_unknown_when_a_snapshot_took_its_place() {
    let bench = bench_that_leads();
    let (one, two) = (propose(&bench, b"x"), propose(&bench, b"y"));
    bench.deliver(2, 2, empty_snapshot(2, 2));
    assert!(matches!(end(one), Err(Undecided::Unknown)));
    // What comes after it is decided by what is committed there.
    bench.deliver(2, 2, append(2, 2, &[2], 3));
    assert!(matches!(end(two), Err(Undecided::Lost)));
}

/// Nobody leads, or whoever does is out of reach: after a while it ends.
#[test]
fn it_is_unknown_after_a_while_without_a_leader() {
    let bench = bench_that_leads();
    let proposal = propose(&bench, b"x");
    // Somebody is in a later term, and is not heard of again.
    bench.deliver(2, 5, Body::ReadIndex { read: 1 });
    let waiting = begin("wait for a reply", move || proposal.wait());
    bench.tick(1300);
    assert!(matches!(waiting.result(), Err(Undecided::Unknown)));
}

/// Nor does a leader help that can't commit: its followers may be stuck, or too few.
#[test]
fn it_is_unknown_after_a_while_in_which_its_leader_commits_nothing() {
    let bench = bench_that_leads();
    let proposal = propose(&bench, b"x");
    let waiting = begin("wait for a reply", move || proposal.wait());
    bench.tick(1300);
    assert!(matches!(waiting.result(), Err(Undecided::Unknown)));
    let leader = bench.node.status().leader;
    assert_eq!(leader, Some(NodeId(1)), "it leads on");
}

/// A command's bytes may have an owner whose drop does anything, also ask the node: so it runs without the lock, as all that is the user's.
#[test]
fn what_is_refused_is_dropped_without_the_lock() {
    struct Owner(Arc<Node>);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            b"x"
        }
    }
    impl Drop for Owner {
        fn drop(&mut self) {
            self.0.status();
        }
    }
    let bench = bench(3);
    let node = bench.node.clone();
    let refused = ends("propose where nobody leads", move || {
        node.propose(Bytes::from_owner(Owner(node.clone())))
    });
    assert!(matches!(refused, Err(ProposeError::NotLeader { .. })));
}

/// A leader that commits is no leader that can't: as long as it does, what waits is not given up, though something always waits.
#[test]
fn it_is_not_given_up_while_others_are_committed() {
    let bench = bench_that_leads();
    let mut waiting = propose(&bench, b"0");
    for round in 1..5 {
        // Less than the patience for one, and in all much more.
        let now = 300 + 500 * round;
        bench.tick(now);
        // Whoever sends heartbeats then has also given up what there was to give up.
        let sent = Time::from_millis(now);
        while !matches!(bench.next_sent().body, Body::AppendEntries { beat, .. } if beat.sent == sent)
        {
        }
        let next = propose(&bench, round.to_string().as_bytes());
        bench.deliver(2, 1, matched(1 + round));
        let ended = end(std::mem::replace(&mut waiting, next));
        assert!(
            ended.is_ok(),
            "a proposal of a leader that commits is not given up: {ended:?}"
        );
    }
}

#[test]
fn it_ends_with_the_node() {
    let bench = bench_that_leads();
    let proposal = propose(&bench, b"x");
    let node = bench.node.clone();
    ends("shutdown", move || node.shutdown()).unwrap();
    let ended = end(proposal);
    assert!(
        matches!(ended, Err(Undecided::Stopped(Stopped::Shutdown))),
        "{ended:?}"
    );
    let late = bench.node.propose(b"y".as_slice());
    assert!(matches!(
        late,
        Err(ProposeError::Stopped(Stopped::Shutdown))
    ));
}

/// Whoever does not wait for it any more may come back to it.
#[test]
fn a_wait_that_times_out_gives_the_proposal_back() {
    let bench = bench_that_leads();
    let proposal = propose(&bench, b"x");
    let proposal = proposal
        .wait_for(std::time::Duration::ZERO)
        .expect_err("no answer came");
    bench.deliver(2, 1, matched(2));
    assert!(end(proposal).is_ok());
}

#[test]
fn a_proposal_that_nobody_waits_for_goes_on() {
    let (keeper, kept) = Keeper::new();
    let bench = leader_of_three(MemoryStorage::new(), keeper);
    drop(propose(&bench, b"x"));
    let next = propose(&bench, b"y");
    bench.deliver(2, 1, matched(3));
    end(next).unwrap();
    assert_eq!(kept.all(), [b"x", b"y"]);
}

#[test]
fn whoever_does_not_lead_says_who_does() {
    let bench = bench(3);
    let error = bench.node.propose(b"x".as_slice()).unwrap_err();
    assert!(matches!(error, ProposeError::NotLeader { leader: None }));
    assert_eq!(error.to_string(), "this node does not lead");
    bench.deliver(2, 1, heartbeat());
    let error = bench.node.propose(b"x".as_slice()).unwrap_err();
    assert!(matches!(
        error,
        ProposeError::NotLeader {
            leader: Some(NodeId(2))
        }
    ));
    assert_eq!(error.to_string(), "this node does not lead; node 2 does");
}

#[test]
fn a_full_node_is_busy_at_once() {
    let bench = bench_of(3, MemoryStorage::new(), Keeper::new().0, |config| {
        config.pre_vote = false;
        config.check_quorum = false;
        config.max_unapplied = 1000;
        config.max_reads = 2;
    });
    bench.elect();
    bench.deliver(2, 1, matched(1));
    let mut taken = Vec::new();
    let error = loop {
        match bench.node.propose(vec![0; 68]) {
            Ok(proposal) => taken.push(proposal),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ProposeError::Busy), "{error}");
    assert!((9..=10).contains(&taken.len()));
    let reading = |_| {
        let node = bench.node.clone();
        let reading = begin("read", move || node.read());
        bench.until_left("read");
        reading
    };
    let reads: Vec<_> = (0..2).map(reading).collect();
    let node = bench.node.clone();
    assert!(matches!(
        ends("read", move || node.read()),
        Err(ReadError::Busy)
    ));
    bench.deliver(2, 1, matched(1 + taken.len() as u64));
    taken.into_iter().for_each(|one| drop(end(one).unwrap()));
    let _ = propose(&bench, b"there is room again");
    let node = bench.node.clone();
    ends("shutdown", move || node.shutdown()).unwrap();
    reads.into_iter().for_each(|read| drop(read.result()));
}

#[test]
fn a_command_that_is_too_large_is_refused_with_the_limit() {
    let bench = bench_that_leads();
    let limit = bench.node.max_command();
    let proposal = propose(&bench, &vec![7; limit]);
    bench.deliver(2, 1, matched(2));
    assert_eq!(end(proposal).unwrap().len(), limit);
    let size = limit + 100;
    let error = bench.node.propose(vec![7; size]).unwrap_err();
    assert!(
        matches!(error, ProposeError::TooLarge { size: s, limit: l } if (s, l) == (size, limit))
    );
    assert!(error.to_string().contains(&limit.to_string()), "{error}");
}

#[test]
fn a_leader_that_hands_over_refuses() {
    let bench = bench_that_leads();
    let node = bench.node.clone();
    let handing = begin("transfer", move || node.transfer_leadership(2));
    bench.until_left("hand over");
    let error = bench.node.propose(b"x".as_slice()).unwrap_err();
    assert!(matches!(error, ProposeError::Transferring), "{error}");
    bench.deliver(2, 2, request_vote());
    bench.deliver(2, 2, append(1, 1, &[2], 1));
    assert_eq!(handing.result().unwrap().leader, Some(NodeId(2)));
}

/// A session's command that is sent twice is run once, and both are told the same.
#[test]
fn a_command_of_a_session_is_run_once() {
    let (keeper, kept) = Keeper::new();
    let bench = leader_of_three(MemoryStorage::new(), keeper);
    let patience = std::time::Duration::from_secs(60);
    let opening = bench.node.call(SessionRequest::Open { patience }).unwrap();
    bench.deliver(2, 1, matched(2));
    let opened = ends("open", move || opening.wait()).unwrap();
    let SessionReply::Opened { session } = opened else {
        panic!("{opened:?}");
    };
    let request = SessionRequest::Call {
        session,
        sequence: 1,
        seen: 1,
        command: b"x".to_vec().into(),
    };
    let calls: Vec<_> = (0..3)
        .map(|_| bench.node.call(request.clone()).unwrap())
        .collect();
    bench.deliver(2, 1, matched(5));
    for call in calls {
        let reply = ends("call", move || call.wait()).unwrap();
        assert_eq!(reply, SessionReply::Done(b"x".to_vec().into()));
    }
    assert_eq!(kept.all(), [b"x"]);
}

/// A reply that comes in the moment in which the wait for it ends is found there, or by the next wait. Real time and two threads, many times, for
/// under the checkers nobody waits with a timeout.
#[test]
fn a_reply_at_the_last_moment_is_not_lost() {
    let (cells, to_fill) = channel::<Promise<u64>>();
    let (filled, done) = channel();
    let keeper = begin("keep", move || {
        for cell in to_fill {
            cell.keep(&Outside::claim("keeper"), 7);
            filled.send(()).unwrap();
        }
    });
    let outside = Outside::claim("caller");
    for round in 0..2000 {
        let (cell, awaited) = promise();
        cells.send(cell).unwrap();
        // From at once to longer than it takes.
        let first = awaited.wait_for(&outside, Duration::from_micros(round % 200));
        done.recv_timeout(PATIENCE).unwrap();
        let found = first.or_else(|later| later.wait_for(&outside, Duration::ZERO));
        let found =
            found.unwrap_or_else(|_| panic!("a reply that came is found, in round {round}"));
        assert_eq!(found, Some(7));
    }
    drop(cells);
    keeper.result();
}
