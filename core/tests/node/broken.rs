//! A broken invariant stops the node, and everyone hears of it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use biglock::lock::Monitor;
use biglock::node::{Activity, Shared};
use biglock::rules::{At, Entry, Payload, Raft};
use biglock::{
    Clock, Leadership, MemoryStorage, NoLeader, Outside, Stopped, Stored, Term, Time, WaitError,
};

use crate::harness::{begin, bench, config, heartbeat, leader, request_vote};

/// Two leaders of one term: somebody forges messages, or Raft is broken. Nothing goes on from there.
#[test]
fn two_leaders_of_one_term_stop_the_node() {
    let bench = bench(3);
    bench.deliver(2, 1, heartbeat());
    let seen = leader(&bench.node).unwrap();
    let node = bench.node.clone();
    let waiting = begin("wait", move || node.wait_for_change(seen, None));
    bench.until_waits("caller", "a change of leadership");
    bench.next_sent();

    let forged = catch_unwind(AssertUnwindSafe(|| bench.deliver(3, 1, heartbeat())));
    assert!(forged.is_err(), "the thread that saw it does not go on");
    let section = "handle a message";
    let ended = waiting.result();
    assert!(
        matches!(ended, Err(WaitError::Stopped(Stopped::Broken { section: s })) if s == section),
        "{ended:?}"
    );
    let late = leader(&bench.node);
    assert!(
        matches!(late, Err(WaitError::Stopped(Stopped::Broken { .. }))),
        "{late:?}"
    );
    bench.deliver(2, 9, request_vote());
    let status = bench.node.status();
    assert_eq!(
        (status.term.0, status.leader),
        (1, None),
        "nothing is decided any more"
    );
    let Some(NoLeader::Stopped { why }) = status.no_leader else {
        panic!("{status}");
    };
    assert!(why.contains(section), "{why}");
    assert!(bench.sent.try_recv().is_err(), "nothing was said since");
    assert!(matches!(bench.shutdown(), Err(Stopped::Broken { .. })));
}

/// The same without a node around it, which would break with it.
#[test]
fn who_comes_to_hear_of_what_broke_does_not_break_too() {
    let settings = config(1, 3).validate().expect("a valid configuration");
    let raft = Raft::new(at(Time::ZERO), settings, Stored::default());
    let storage = Box::new(MemoryStorage::new());
    let shared = Shared::new(raft, storage, Box::new(()), 7);
    let monitor = Monitor::with_clock(shared, Clock::manual());
    let enter = |body: fn(&mut Shared)| {
        catch_unwind(AssertUnwindSafe(|| {
            let mut outside = Outside::claim("test");
            monitor.enter(&mut outside, "look", |section| {
                body(section);
                section.stopped().cloned()
            })
        }))
    };
    assert!(enter(forget_the_term).is_err());
    let heard = enter(|_| {});
    assert!(
        matches!(heard, Ok(Some(Stopped::Broken { .. }))),
        "whoever comes now comes to hear that it is broken"
    );
}

fn at(now: Time) -> At {
    At { now, random: 0 }
}

/// No later section can mend it.
fn forget_the_term(shared: &mut Shared) {
    let entry = Entry {
        term: Term(5),
        time: Time::ZERO,
        payload: Payload::Noop,
    };
    let stored = Stored::default().with_entries([entry]);
    let settings = shared.raft.settings().clone();
    shared.raft = Raft::new(at(Time::ZERO), settings, stored);
}

/// What is broken stays broken: the state fails every later check too. That must not bring down whoever comes to hear of it.
#[test]
fn a_state_that_stays_broken_is_told_and_not_found_again() {
    let bench = bench(3);
    let node = bench.node.clone();
    let waiting = begin("wait", move || {
        node.wait_for_change(Leadership::default(), None)
    });
    bench.until_waits("caller", "a change of leadership");
    let monitor = bench.node.engine().monitor();
    let broken = catch_unwind(AssertUnwindSafe(|| {
        let mut outside = Outside::claim("vandal");
        monitor.enter(&mut outside, "forget the term", |section| {
            forget_the_term(section);
        });
    }));
    assert!(broken.is_err());
    let ended = waiting.result();
    assert!(
        matches!(ended, Err(WaitError::Stopped(Stopped::Broken { .. }))),
        "{ended:?}"
    );
    assert!(matches!(
        bench.node.status().no_leader,
        Some(NoLeader::Stopped { .. })
    ));
    let late = leader(&bench.node);
    assert!(
        matches!(late, Err(WaitError::Stopped(Stopped::Broken { .. }))),
        "{late:?}"
    );
    let inside = |activity| matches!(activity, Activity::Inside(_));
    let threads = bench.node.threads();
    assert!(
        !threads
            .iter()
            .any(|t| t.thread == "vandal" && inside(t.activity)),
        "{threads:?}"
    );
    assert!(matches!(
        bench.shutdown(),
        Err(Stopped::Broken {
            section: "forget the term"
        })
    ));
}
