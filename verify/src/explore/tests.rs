//! The explorer on clusters that are small enough for the tests of every day, and on ones that are broken on purpose.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::Hash;

use biglock::rules::{Beat, Follower, Members, Position, Raft, Role, Sending, Snapshot};
use biglock::{NodeId, RoleKind, Time};

use super::known::name_of;
use super::machine::{Input, Machine, Section};
use super::search::{Found, search, search_without_renaming};
use super::tape::{self, FIRST_NODE, IDENTITY, Renaming};
use super::{Bounds, First, Order, orders};
use crate::diagram::tests::check_layout;
use crate::diagram::{Cause, Story};
use crate::spec::{Action, Cluster};

static SMALL: Order = Order {
    name: "small",
    property: "",
    bounds: Bounds {
        terms: 2,
        campaigns: 2,
        crashes: 1,
        ..Order::of(0).bounds
    },
    goals: &["a leader", "a leader of a later term"],
    ..Order::of(3)
};

fn counts(found: &Found) -> (u64, u64, u64) {
    assert!(found.exhausted && found.broken.is_none(), "{found:?}");
    (found.states, found.steps, found.depth)
}

#[test]
fn the_counts_do_not_depend_on_the_number_of_threads() {
    let (one, three) = (search(&SMALL, 1, |_| ()), search(&SMALL, 3, |_| ()));
    assert_eq!(counts(&one), counts(&three));
    assert_eq!(one.goals, three.goals);
    assert!(one.goals.values().all(|&times| times > 0), "{one:?}");
}

#[test]
fn renaming_makes_nearly_six_states_of_three_nodes_one() {
    let renamed = search(&SMALL, 2, |_| ());
    let plain = search_without_renaming(&SMALL, 2, |_| ());
    let ((states, _, depth), (all, _, same)) = (counts(&renamed), counts(&plain));
    assert_eq!(depth, same);
    // Each of ours stands for at most six.
    assert!(all <= 6 * states, "{states} cannot stand for {all}");
    assert!(all >= 5 * states, "{states} stand for only {all}");
}

/// What only the first node has is said to be committed, so a leader that the others elect breaks the law that leaders have it.
static LOSES_AN_ENTRY: Order = Order {
    name: "loses",
    start: &[&[First::Noop(1)], &[], &[]],
    committed: 1,
    ..SMALL
};

#[test]
fn the_way_to_a_broken_law_is_drawn_with_every_message_on_it() {
    let broken = search(&LOSES_AN_ENTRY, 1, |_| ())
        .broken
        .expect("it breaks");
    let diagram = &broken.diagram;
    let Story::Nodes(journey) = &diagram.story else {
        panic!("lanes are nodes: {diagram:?}");
    };
    assert_eq!(diagram.lanes, ["node 1", "node 2", "node 3"]);
    assert_eq!(diagram.broken, broken.message);
    assert_eq!(journey.begins, [(0, "term 1, log [1]".into())]);
    assert_eq!(journey.hops.len() as u64, broken.steps);
    // What arrives was sent, to whom it arrives at, by whom it comes from, and before.
    let mut arrived = 0;
    for (step, hop) in journey.hops.iter().enumerate() {
        let Cause::Arrives { from, text, .. } = &hop.cause else {
            continue;
        };
        let before = journey.hops[..step].iter();
        let sent = before.filter(|sender| sender.lane == *from);
        let mut sent = sent.flat_map(|sender| &sender.sends);
        let it = sent.find(|sent| sent.arrives.contains(&step));
        let it = it.expect("somebody sent it");
        assert!(it.to == hop.lane && it.text == *text, "{it:?} is {hop:?}");
        arrived += 1;
    }
    // A request and a vote, at least; and the request to the third, or the one to the first, is lost.
    assert!(arrived >= 2, "{diagram:?}");
    let all = journey.hops.iter().flat_map(|hop| &hop.sends);
    assert!(all.filter(|sent| sent.arrives.is_empty()).count() > 0);
    check_layout(diagram);
    let text = diagram.text();
    assert!(text.contains("o-- RequestVote of term") || text.contains("<-- RequestVote of term"));
    assert!(
        text.ends_with(&format!("  X  {}\n", broken.message)),
        "{text}"
    );
}

/// Drives a cluster with pre-votes, votes, entries and answers in it, its nodes called as `to` says, and lists the names of all that it met under
/// the renaming `back`.
fn story(to: &Renaming, back: &Renaming) -> Vec<u128> {
    let order = Order {
        pre_vote: true,
        check_quorum: true,
        ..SMALL
    };
    let place = |nth: usize| usize::from(to[nth]);
    let mut machines: Vec<Machine> = (0..3)
        .map(|nth| Machine::start(&order, nth, Default::default(), 0))
        .collect();
    let mut names = Vec::new();
    let mut wire = VecDeque::new();
    let act = |machines: &mut Vec<Machine>, nth: usize, input: Input<'_>| {
        let stepped = machines[nth].step(&order, input).expect("it holds");
        let mut all = super::known::names_of(&stepped.machine, &[*back], true);
        // The others' order is not ours.
        let mut sent: Vec<u128> = stepped
            .sent
            .iter()
            .map(|message| tape::names(message, &[*back])[0])
            .collect();
        sent.sort_unstable();
        all.extend(sent);
        machines[nth] = stepped.machine;
        (stepped.sent, all)
    };
    for (nth, input) in [
        (0, Input::Campaign),
        (0, Input::Propose),
        (1, Input::Campaign),
        (1, Input::Propose),
        (1, Input::Beat),
        (2, Input::Campaign),
    ] {
        let (sent, all) = act(&mut machines, place(nth), input);
        names.extend(all);
        wire.extend(sent);
        // Whom a node answers first depends on names: so all messages to the first node come first, and so on.
        while !wire.is_empty() {
            let first = |nth: usize| {
                let id = FIRST_NODE + place(nth) as u64;
                wire.iter()
                    .position(|message: &biglock::Message| message.to.0 == id)
            };
            let at = (0..3).find_map(first).expect("it is for one of them");
            let message = wire.remove(at).expect("it is there");
            let nth = (message.to.0 - FIRST_NODE) as usize;
            let message = &message;
            let late = true;
            let (sent, all) = act(&mut machines, nth, Input::Receive { message, late });
            names.extend(all);
            wire.extend(sent);
        }
    }
    let leads = |machine: &Machine| matches!(machine.raft.role(), Role::Leader(_));
    assert!(machines.iter().any(leads) && names.len() > 50);
    names
}

/// Whatever the nodes are called, the names are the same once they are called back: leaders with followers, candidates with votes, members.
#[test]
fn names_do_not_depend_on_what_the_nodes_are_called() {
    let plain = story(&IDENTITY, &IDENTITY);
    for (to, back) in [
        ([1, 0, 2, 3, 4], [1, 0, 2, 3, 4]),
        ([2, 1, 0, 3, 4], [2, 1, 0, 3, 4]),
        ([1, 2, 0, 3, 4], [2, 0, 1, 3, 4]),
    ] {
        assert_eq!(story(&to, &back), plain, "{to:?}");
    }
    assert_ne!(story(&[1, 0, 2, 3, 4], &IDENTITY), plain);
}

/// What a leader knows of two followers and a learner, of whom one is sent a snapshot that has members in it.
fn followers(to: &Renaming, acked: u64) -> (BTreeMap<NodeId, Follower>, u64) {
    let id = |nth: usize| NodeId(FIRST_NODE + u64::from(to[nth]));
    let follower = |sending| Follower {
        next: 4,
        matched: 3,
        heard: tape::NOW,
        beat: Beat::default(),
        told: 2,
        sending,
    };
    let snapshot = Snapshot {
        last: Position::default(),
        time: Time::ZERO,
        members: Members::voting((0..3).map(id)),
        data: vec![7; 11].into(),
    };
    let sending = Sending::Snapshot {
        snapshot,
        acked,
        sent: Some(9),
        silent: false,
        repeated: 1,
    };
    let in_flight = [5, 6].into();
    let all = [
        (id(0), follower(sending)),
        (id(1), follower(Sending::Streaming { in_flight })),
        (id(2), follower(Sending::Probing { asked: true })),
    ];
    (BTreeMap::from(all), 8)
}

#[test]
fn names_of_followers_do_not_depend_on_what_the_nodes_are_called() {
    let name = |to: &Renaming, back, acked| tape::names(&followers(to, acked), &[back])[0];
    let plain = name(&IDENTITY, IDENTITY, 3);
    for (to, back) in [
        ([1, 0, 2, 3, 4], [1, 0, 2, 3, 4]),
        ([2, 1, 0, 3, 4], [2, 1, 0, 3, 4]),
        ([1, 2, 0, 3, 4], [2, 0, 1, 3, 4]),
    ] {
        assert_eq!(name(&to, back, 3), plain, "{to:?}");
        assert_ne!(name(&to, IDENTITY, 3), plain, "{to:?}");
    }
    assert_ne!(name(&IDENTITY, IDENTITY, 4), plain);
}

#[test]
fn different_values_have_different_names() {
    fn name(value: &impl Hash) -> u128 {
        tape::names(value, &[IDENTITY])[0]
    }
    let node = |nth: u64| biglock::NodeId(FIRST_NODE + nth);
    assert_ne!(name(&node(0)), name(&node(1)));
    assert_ne!(name(&vec![node(0), node(1)]), name(&vec![node(0), node(2)]));
    assert_ne!(name(&(1_u64, 2_u64)), name(&(2_u64, 1_u64)));
    assert_ne!(name(&[0_u8; 3]), name(&[0_u8; 4]));
    let machine = Machine::start(&SMALL, 0, Default::default(), 0);
    let other = Machine::start(&SMALL, 1, Default::default(), 0);
    assert_ne!(name_of(&machine), name_of(&other));
}

/// Writes are numbered, and a name forgets how many there were once all are durable: as often as `Raft` says its fields in the order that
/// `tape` expects.
#[test]
fn the_number_of_writes_is_forgotten() {
    let machine = Machine::start(&SMALL, 0, Default::default(), 0);
    let campaigned = machine.step(&SMALL, Input::Campaign).expect("it holds");
    let raft: &Raft = &campaigned.machine.raft;
    assert!(raft.latest_write().0 > 0 && raft.is_durable());
    let mut tape = tape::Tape::default();
    raft.hash(&mut tape);
    let with = tape.names(&[IDENTITY]);
    tape.forget_writes(raft.latest_write().0);
    assert_ne!(tape.names(&[IDENTITY]), with);
}

/// What the explorer tells the specification of each section is enough to find a step that it does not allow.
#[test]
fn the_specification_is_told_of_each_section() {
    let mut machines: Vec<Machine> = (0..3)
        .map(|nth| Machine::start(&SMALL, nth, Default::default(), 0))
        .collect();
    let mut cluster = Cluster::new();
    for machine in &machines {
        let Section { now, entries, .. } = machine.beginning();
        cluster
            .start(machine.raft.id(), &now, &entries)
            .expect("it begins");
    }
    let mut wire = VecDeque::new();
    let mut act = |cluster: &mut Cluster, nth: usize, input: Input<'_>| {
        let stepped = machines[nth].step(&SMALL, input).expect("it holds");
        machines[nth] = stepped.machine;
        let id = machines[nth].raft.id();
        let mut actions = Vec::new();
        for Section {
            starts,
            now,
            entries,
        } in &stepped.sections
        {
            let allowed = match starts {
                true => cluster.start(id, now, entries),
                false => {
                    // No candidate leads without a majority, and nobody forgets.
                    let mut usurped = now.clone();
                    usurped.role = RoleKind::Leader;
                    usurped.hard_state.term.0 += 1;
                    let refused = cluster.clone().step(id, &usurped, entries);
                    assert!(refused.is_err(), "{usurped:?}");
                    cluster.step(id, now, entries)
                }
            };
            actions.extend(allowed.expect("it is allowed"));
        }
        (stepped.sent, actions)
    };
    let mut all = Vec::new();
    for input in [
        Input::Campaign,
        Input::Propose,
        Input::Crash { torn: false },
    ] {
        let (sent, actions) = act(&mut cluster, 0, input);
        all.extend(actions);
        wire.extend(sent);
        while let Some(message) = wire.pop_front() {
            let message: biglock::Message = message;
            let nth = (message.to.0 - FIRST_NODE) as usize;
            let late = true;
            let message = &message;
            let (sent, actions) = act(&mut cluster, nth, Input::Receive { message, late });
            all.extend(actions);
            wire.extend(sent);
        }
    }
    for action in [
        Action::Timeout,
        Action::GrantVote(NodeId(FIRST_NODE)),
        Action::BecomeLeader,
        Action::ClientRequest(2),
        Action::AcceptEntries(2),
        Action::AdvanceCommit(2),
        Action::Restart,
    ] {
        assert!(all.contains(&action), "{action:?} is not in {all:?}");
    }
}

#[test]
fn goals_and_bounds_are_what_they_should_be() {
    let names: BTreeSet<_> = orders::all().map(|order| order.name).collect();
    assert_eq!(names.len(), orders::all().count());
    for order in orders::all() {
        assert!(order.name.starts_with("orders-") && order.nodes <= tape::MAX_NODES);
        assert!(!order.goals.is_empty() && order.bounds.terms > 0);
        order
            .goals
            .iter()
            .for_each(|goal| assert!(super::known::bit(goal) > 0));
    }
}
