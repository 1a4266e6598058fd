//! The same questions where still more comes together: too large for every day, so `cargo verify --deep` runs them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use biglock::node::{Reply, Tell};
use biglock::{NodeId, Outside, Payload, SessionReply, SessionRequest, Stopped, Time};
use bytes::Bytes;

use super::leading::leader;
use super::votes::{pass_time_and_stop, see_through};
use super::wider::{disk_and_apply, settled};
use crate::harness::{GATED, Model};
use crate::world::{DEADLINE, NodeSpec, Wire, World, heartbeat, request};

pub const MODELS: &[Model] = &[
    Model {
        name: "callers-deep",
        property: "of two callers that propose at once each hears of its own entry, while disk and state machine have threads of their own",
        goals: &["committed", "something to write", "committed entries"],
        body: callers,
        ..GATED
    },
    Model {
        name: "sessions-deep",
        property: "two requests that two threads send at once, each with its number, are run once each and in order, and all have the replies",
        threads: 3,
        goals: &["all had the replies", "committed entries"],
        body: sessions,
        ..GATED
    },
    Model {
        name: "rival-deep",
        property: "of three real nodes one leads and one, cut off from it, stands: what is told to be committed is in the next leader's log, and no read misses it",
        threads: 3,
        goals: &[
            "committed",
            "stopped while it waited",
            "a leader of term 2",
            "served",
            "not served",
        ],
        body: rival,
        ..GATED
    },
    Model {
        name: "reads-deep",
        property: "who reads after its own proposal was committed, and who reads meanwhile, misses nothing, whoever leads next",
        goals: &[
            "committed",
            "read its own",
            "served before the next leader",
            "not served",
        ],
        body: reads,
        ..GATED
    },
    Model {
        name: "spurious-deep",
        property: "every wait bears being woken for no reason, again and again",
        goals: &[
            "the election deadline",
            "the next heartbeat",
            "a change of leadership",
        ],
        body: spurious,
        ..GATED
    },
    Model {
        name: "candidate-crash-deep",
        property: "a candidate that crashes at any point of its election led its term, or leaves it to the rival, and never both",
        threads: 3,
        goals: &[
            "node 1 led",
            "the rival has node 1",
            "the rival has node 2",
            "the rival has nobody",
            "nobody has a majority",
        ],
        crashes: true,
        body: candidate_crash,
        ..GATED
    },
];

fn callers(world: &World) {
    let node = settled(world);
    let [proposed, ended] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    for (name, what) in [("caller a", "a"), ("caller b", "b")] {
        let (there, node) = (world.clone(), node.clone());
        let (proposed, ended) = (proposed.clone(), ended.clone());
        let has = world.acknowledged(2, 1, 1, 3);
        world.thread(name, move |outside| {
            let (who, awaited) = Tell::promise();
            assert!(there.propose_then(&node, outside, what, who).is_ok());
            // The follower has both as soon as both are proposed.
            if proposed.fetch_add(1, Ordering::Relaxed) == 1 {
                node.receive(outside, has);
            }
            let end = awaited.wait(outside).expect("every proposal is decided");
            there.decided(what, &end);
            if ended.fetch_add(1, Ordering::Relaxed) == 1 {
                node.stop(outside, Stopped::Shutdown);
            }
        });
    }
    disk_and_apply(world, node);
    let there = world.clone();
    world.finally(move || there.all_told());
}

fn sessions(world: &World) {
    let node = leader(world, NodeSpec::new(1, 1).instant_disk(), 1);
    let mut outside = Outside::claim("caller");
    // Its no-op has the index 1, so the session that is opened next is number 2.
    let open = SessionRequest::Open {
        patience: Duration::from_secs(60),
    };
    let (who, awaited) = Tell::promise();
    let (_, opened) = node.propose(&mut outside, [(Payload::Session(open.into()), who)]);
    assert!(opened.is_ok());
    while node.status(&mut outside).applied < 2 {
        node.apply_turn(&mut outside).expect("it runs");
    }
    let session = match awaited.wait(&outside) {
        Some(Ok(Reply::Session(SessionReply::Opened { session }))) => session,
        other => panic!("a session is opened, not {other:?}"),
    };
    let done = Arc::new(AtomicUsize::new(0));
    for name in ["caller a", "caller b"] {
        let (there, node, done) = (world.clone(), node.clone(), done.clone());
        world.thread(name, move |outside| {
            let calls = [(1, "one"), (2, "two")].map(|(sequence, what)| {
                let call = SessionRequest::Call {
                    session,
                    sequence,
                    seen: 1,
                    command: Bytes::from_static(what.as_bytes()),
                };
                let (who, awaited) = Tell::promise();
                ((Payload::Session(call.into()), who), awaited, what)
            });
            let mut proposals = Vec::new();
            let mut waits = Vec::new();
            for (proposal, awaited, what) in calls {
                proposals.push(proposal);
                waits.push((awaited, what));
            }
            for proposal in proposals {
                assert!(node.propose(outside, [proposal]).1.is_ok());
            }
            for (awaited, what) in waits {
                let reply = SessionReply::Done(Bytes::from_static(what.as_bytes()));
                match awaited.wait(outside) {
                    Some(Ok(Reply::Session(said))) => assert_eq!(said, reply),
                    other => panic!("both have the reply, not {other:?}"),
                }
            }
            if done.fetch_add(1, Ordering::Relaxed) == 1 {
                there.reached("all had the replies");
                for what in ["one", "two"] {
                    assert_eq!(there.ran(1, what), 1, "{what} is run once");
                }
                node.stop(outside, Stopped::Shutdown);
            }
        });
    }
    world.thread("apply", move |outside| node.apply_loop(outside));
}

/// Node 1 leads term 1, and all have its no-op; node 3, which can't hear it any more, stands in term 2. Node 2 hears both.
fn rival(world: &World) {
    let spec = |id| NodeSpec::new(id, 3).wire(Wire::Direct).instant();
    world.node(spec(2).hard_state(1, Some(1)));
    let rival = world.node(spec(3).hard_state(1, None));
    let node = leader(world, spec(1), 1);
    let mut outside = Outside::claim("receiver");
    for _ in 0..4 {
        let under_way: Vec<_> = (1..=3).flat_map(|id| world.held(id)).collect();
        for message in under_way {
            world.deliver(&mut outside, message);
        }
    }
    world.cut(1, 3);
    rival.monitor().tick(&mut outside, Time::from_millis(300));
    let ballot = rival.election_turn(&mut outside, None);
    let ballot = ballot.expect("it runs").expect("it campaigns");
    let mut asks = world.held(3);
    asks.retain(|request| request.to == NodeId(2));

    let (there, proposes, waits) = (world.clone(), node.clone(), rival.clone());
    world.thread("caller a", move |outside| {
        if there.propose(&proposes, outside, "a").is_err() {
            there.reached("refused");
        }
        // Whom node 2 refused waits for that.
        waits.monitor().tick(outside, Time::from_millis(500));
    });
    let (there, reads) = (world.clone(), node.clone());
    world.thread("caller b", move |outside| {
        there.reached(match there.read(&reads, outside) {
            Ok(()) if there.leader_of(2).is_some() => "served, and another leads",
            Ok(()) => "served",
            Err(_) => "not served",
        });
    });
    let there = world.clone();
    world.thread("election 3", move |outside| {
        for request in asks {
            there.deliver(outside, request);
        }
        see_through(&rival, outside, ballot);
        if there.leader_of(2).is_some() {
            there.reached("a leader of term 2");
        }
        node.stop(outside, Stopped::Shutdown);
    });
    let there = world.clone();
    world.finally(move || there.all_told());
}

/// Node 3 is elected in term 2, by node 2, and commits its no-op there. Node 1 hears of it later.
fn reads(world: &World) {
    let node = leader(world, NodeSpec::new(1, 3).wire(Wire::Answered).instant(), 1);
    let (there, hears) = (world.clone(), node.clone());
    world.thread("the other side", move |outside| {
        hears.monitor().disturb(outside);
        there.elected(3, 2, 2);
        let news = there.said(heartbeat(3, 1, 2));
        hears.receive(outside, news);
    });
    let (there, reads) = (world.clone(), node.clone());
    world.thread("caller a", move |outside| {
        reads.monitor().disturb(outside);
        let superseded = there.leader_of(2).is_some();
        match there.read(&reads, outside) {
            Ok(()) if superseded => {
                panic!("who was superseded can't serve it, and node 3 was not heard")
            }
            Ok(()) => there.reached("served before the next leader"),
            Err(_) => there.reached("not served"),
        }
    });
    let (there, reads) = (world.clone(), node.clone());
    world.thread("caller b", move |outside| {
        let (who, awaited) = Tell::promise();
        if there.propose_then(&reads, outside, "a", who).is_err() {
            return;
        }
        let what = awaited.wait(outside).expect("every proposal is decided");
        there.decided("a", &what);
        if what.is_ok() && there.read(&reads, outside).is_ok() {
            there.reached("read its own");
        }
    });
    pass_time_and_stop(world, &node, &[]);
}

fn spurious(world: &World) {
    let node = world.node(NodeSpec::new(1, 3));
    let waiter = node.clone();
    world.thread("caller", move |outside| {
        let end = waiter.await_leadership(outside, None, |seen| seen.leader.is_some());
        assert!(end.is_err(), "nobody leads: only the end ends the wait");
    });
    let leader = node.clone();
    world.thread("leader", move |outside| {
        assert!(leader.leader_turn(outside).is_err(), "nobody leads");
    });
    let waker = node.clone();
    world.thread("waker", move |outside| {
        for _ in 0..2 {
            waker.monitor().disturb(outside);
        }
        waker.stop(outside, Stopped::Shutdown);
    });
    world.thread("election", move |outside| {
        let end = node.election_turn(outside, None);
        assert!(end.is_err(), "the deadline never passes");
    });
}

/// Node 2 is real, and answers both: node 1, and node 3, which asks in the same term or in the next.
fn candidate_crash(world: &World) {
    let node = world.node(NodeSpec::new(1, 3).wire(Wire::Direct));
    node.monitor().tick(&mut Outside::claim("time"), DEADLINE);
    world.node(NodeSpec::new(2, 3).wire(Wire::Direct));
    let election = node.clone();
    world.thread("election", move |outside| {
        if let Ok(Some(ballot)) = election.election_turn(outside, None) {
            see_through(&election, outside, ballot);
        }
    });
    let there = world.clone();
    let term = world.choose([1, 2]);
    let [asks, asks_node_1] = [2, 1].map(|voter| world.said(request(3, voter, term)));
    let again = asks_node_1.clone();
    world.thread("receiver", move |outside| {
        for request in [asks, asks_node_1] {
            there.deliver(outside, request);
        }
    });
    let there = world.clone();
    world.thread("crash", move |outside| {
        there.crash(1);
        there.restart(NodeSpec::new(1, 3)).receive(outside, again);
        node.stop(outside, Stopped::Shutdown);
    });
    let there = world.clone();
    world.finally(move || {
        let led = there.leader_of(1).is_some();
        let has = [1, 2].map(|voter| there.vote_of(voter, term) == Some(NodeId(3)));
        assert!(
            !led || term == 2 || has == [false, false],
            "node 1 led term 1, and node 3 has the votes of it: {has:?}"
        );
        if led {
            there.reached("node 1 led");
        }
        there.reached(match has {
            [true, _] => "the rival has node 1",
            [_, true] => "the rival has node 2",
            _ if led => "the rival has nobody",
            _ => "nobody has a majority",
        });
    });
}
