//! Changes of the members, learners, and transfer of the leadership, among faults.

use std::time::Duration;

use biglock::rules::{Change, Members, Role, Settings};
use biglock::{NodeId, Undecided};

use super::cluster::{BUDGET, Cluster};
use super::kv::{anything, check, stop_clients};
use crate::sim::{DiskHabits, Outcome, Sim, Weather, lab_settings};

fn add_learner(id: NodeId) -> Change {
    let address = String::new();
    Change::AddLearner { id, address }
}

/// One more machine, which waits to be added.
fn new_machine(cluster: &mut Cluster) -> NodeId {
    let id = NodeId(cluster.ids().len() as u64 + 1);
    let settings = Settings {
        snapshot_every: 2000,
        keep_entries: 5,
        ..lab_settings(id, Members::default())
    };
    cluster.sim.add_machine(settings, DiskHabits::default());
    cluster.sim.start(id);
    cluster.connect(id);
    id
}

fn busy(seed: u64, nodes: u64) -> Cluster {
    let mut cluster = Cluster::with(seed, nodes, |settings| {
        settings.snapshot_every = 2000;
        settings.keep_entries = 5;
    });
    for _ in 0..3 {
        let mut plan = anything();
        plan.nodes = cluster.ids();
        cluster.sim.add_client(plan);
    }
    cluster
}

/// Tries a change at whoever leads until it is committed; what happens meanwhile is the caller's.
fn change(cluster: &mut Cluster, change: &Change) {
    for _ in 0..200 {
        let leader = cluster.leader();
        let done = |cluster: &Cluster| {
            let leader = cluster.leader();
            let raft = leader.and_then(|id| cluster.sim.raft(id));
            raft.is_some_and(|raft| {
                raft.members_since() <= raft.commit() && is_so(raft.members(), change)
            })
        };
        if done(cluster) {
            return;
        }
        if let Some(leader) = leader
            && let Ok(ticket) = cluster.sim.change_members(leader, change)
        {
            let limit = 10 * BUDGET;
            let ended = cluster
                .sim
                .run_until(limit, |sim| sim.has_ended(ticket) || !sim.is_up(leader));
            assert!(ended, "a change of the members never ended");
            if let Some(Outcome::Decided(Ok(_))) = cluster.sim.take_outcome(ticket) {
                return;
            }
        }
        cluster.sleep(BUDGET / 20);
    }
    panic!("{change:?} is not done");
}

fn is_so(members: &Members, change: &Change) -> bool {
    match change {
        Change::AddLearner { id, .. } => members.contains(*id),
        Change::Promote(id) => members.votes(*id),
        Change::Demote(id) => members.contains(*id) && !members.votes(*id),
        Change::Remove(id) => !members.contains(*id),
    }
}

fn conclude(mut cluster: Cluster) {
    cluster.sim.network().weather = Weather::fair();
    cluster.connect_all();
    cluster.sim.start_all();
    for client in cluster.sim.clients() {
        let all = cluster.ids();
        cluster.sim.set_nodes(client, all);
    }
    stop_clients(&mut cluster);
    check(&mut cluster.sim);
    let voters = cluster
        .leader()
        .and_then(|id| cluster.sim.raft(id))
        .map_or(1, |raft| raft.members().len());
    cluster.agree(voters, true);
}

/// A cluster grows from one to five and shrinks again to other three, under load.
pub fn grow_and_shrink(seed: u64) {
    let mut cluster = busy(seed, 1);
    for _ in 0..4 {
        let id = new_machine(&mut cluster);
        change(&mut cluster, &add_learner(id));
        change(&mut cluster, &Change::Promote(id));
        cluster.sleep(BUDGET);
    }
    cluster.check_one_leader();
    for id in [1, 2] {
        change(&mut cluster, &Change::Remove(NodeId(id)));
        cluster.sleep(BUDGET);
        cluster.check_one_leader();
    }
    let leader = cluster.check_one_leader();
    let raft = cluster.sim.raft(leader).expect("it leads");
    let left: Vec<NodeId> = raft.members().voters().collect();
    assert_eq!(left, [3, 4, 5].map(NodeId));
    // Those who were removed know it or not; they disturb nobody.
    conclude(cluster);
}

/// Members come and go while nodes crash and the network is unreliable.
pub fn changes_among_faults(seed: u64) {
    let mut cluster = busy(seed, 3);
    cluster.check_one_leader();
    for id in [4, 5] {
        assert_eq!(new_machine(&mut cluster), NodeId(id));
    }
    cluster.sim.network().weather = Weather::unreliable();
    for _ in 0..30 {
        let ids = cluster.ids();
        let id = ids[cluster.sim.random().usize(..ids.len())];
        let what = match cluster.sim.random().u8(..4) {
            0 => add_learner(id),
            1 => Change::Promote(id),
            2 => Change::Demote(id),
            _ => Change::Remove(id),
        };
        if let Some(leader) = cluster.leader() {
            let members = cluster.sim.raft(leader).map(|raft| raft.members().clone());
            let enough = members.is_some_and(|members| {
                let shrinks = matches!(what, Change::Demote(_) | Change::Remove(_));
                !shrinks || members.voters().count() > 2
            });
            if enough {
                // Whether it is taken or refused, and what becomes of it, is not the question here.
                let _ = cluster.sim.change_members(leader, &what);
            }
        }
        cluster.sleep_up_to(600);
        if cluster.sim.random().u8(..3) == 0 {
            cluster.restart(id);
        }
        if cluster.sim.random().u8(..5) == 0 {
            cluster.disconnect(id);
            cluster.sleep_up_to(1000);
            cluster.connect_all();
        }
    }
    cluster.sim.network().weather = Weather::fair();
    // Whoever is out comes back, so that clients find the leader wherever it is.
    for id in cluster.ids() {
        change(&mut cluster, &add_learner(id));
        change(&mut cluster, &Change::Promote(id));
    }
    conclude(cluster);
}

/// A leader that removes itself leads until that is committed, and then gives way.
pub fn the_leader_removes_itself(seed: u64) {
    let mut cluster = Cluster::new(seed, 3);
    let leader = cluster.check_one_leader();
    change(&mut cluster, &Change::Remove(leader));
    let replaced = |sim: &Sim| sim.leader().is_some_and(|id| id != leader);
    assert!(cluster.sim.run_until(5 * BUDGET, replaced));
    let new = cluster.check_one_leader();
    let raft = cluster.sim.raft(new).expect("it leads");
    assert!(!raft.members().contains(leader));
    cluster.agree(2, true);
}

/// A server that was removed and does not know it disturbs nobody.
pub fn a_removed_server_disturbs_nobody(seed: u64) {
    let mut cluster = Cluster::new(seed, 4);
    let leader = cluster.check_one_leader();
    let removed = cluster.after(leader, 1);
    // It never hears that it is removed.
    cluster.disconnect(removed);
    change(&mut cluster, &Change::Remove(removed));
    cluster.connect(removed);
    cluster.agree(3, true);
    let (leader, term) = {
        let leader = cluster.check_one_leader();
        (leader, cluster.sim.term(leader))
    };
    cluster.sleep(10 * BUDGET);
    assert_eq!(cluster.leader(), Some(leader));
    assert_eq!(cluster.sim.term(leader), term);
}

/// A learner catches up by a snapshot, does not vote, and does not count.
pub fn learners_decide_nothing(seed: u64) {
    let mut cluster = busy(seed, 3);
    cluster.sleep(3 * BUDGET);
    let learner = new_machine(&mut cluster);
    change(&mut cluster, &add_learner(learner));
    let committed = cluster.sim.last_committed();
    let caught_up = |sim: &Sim| sim.applied(learner) >= committed;
    assert!(cluster.sim.run_until(5 * BUDGET, caught_up));
    // Two of three voters are gone: a learner takes nobody's place.
    let leader = cluster.check_one_leader();
    let voters = [1, 2, 3].map(NodeId);
    for id in voters.into_iter().filter(|&id| id != leader) {
        cluster.sim.crash(id);
    }
    cluster.sleep(BUDGET / 10);
    let committed = cluster.sim.last_committed();
    cluster.sleep(3 * BUDGET);
    assert_eq!(cluster.sim.last_committed(), committed);
    cluster.check_no_leader();
    assert!(!cluster.sim.is_campaigning(learner));
    conclude(cluster);
}

/// The leadership goes where it is sent, in far less than an election timeout, and comes back.
pub fn transfer(seed: u64) {
    let mut cluster = busy(seed, 5);
    for _ in 0..10 {
        let leader = cluster.check_one_leader();
        let to = cluster.after(leader, 1 + seed as usize % 4);
        let start = cluster.sim.now();
        assert!(cluster.sim.transfer(leader, to).is_ok());
        assert!(
            cluster
                .sim
                .run_until(BUDGET, |sim| sim.leader() == Some(to))
        );
        let took = cluster.sim.now().since(start);
        assert!(took < Duration::from_millis(100), "{took:?}");
        cluster.sleep_up_to(500);
    }
    conclude(cluster);
}

/// Transfers to nodes that are down, cut off or late, while others crash: the cluster always comes to lead again and to take commands.
pub fn transfer_among_faults(seed: u64) {
    let mut cluster = busy(seed, 5);
    cluster.sim.network().weather = Weather::unreliable();
    for _ in 0..20 {
        let ids = cluster.ids();
        let to = ids[cluster.sim.random().usize(..ids.len())];
        let fault = cluster.sim.random().u8(..4);
        match fault {
            0 => cluster.sim.crash(to),
            1 => cluster.disconnect(to),
            _ => {}
        }
        if let Some(leader) = cluster.leader() {
            let _ = cluster.sim.transfer(leader, to);
            if fault == 2 {
                cluster.sleep_up_to(40);
                cluster.restart(leader);
            }
        }
        cluster.sleep_up_to(1000);
        cluster.sim.start_all();
        cluster.connect_all();
        let committed = cluster.sim.last_committed();
        let go_on = |sim: &Sim| sim.last_committed() > committed;
        assert!(
            cluster.sim.run_until(10 * BUDGET, go_on),
            "nothing is committed after a transfer"
        );
    }
    conclude(cluster);
}

/// A proposal during a transfer is refused, and none that was taken before it is lost.
pub fn proposals_around_a_transfer(seed: u64) {
    let mut cluster = Cluster::new(seed, 3);
    for _ in 0..5 {
        let leader = cluster.check_one_leader();
        let to = cluster.after(leader, 1);
        let command = cluster.new_command();
        let before: Vec<_> = (0..20)
            .filter_map(|_| cluster.start(leader, &command))
            .collect();
        assert_eq!(before.len(), 20);
        assert!(cluster.sim.transfer(leader, to).is_ok());
        assert!(cluster.start(leader, &command).is_none(), "it hands over");
        assert!(
            cluster
                .sim
                .run_until(BUDGET, |sim| sim.leader() == Some(to))
        );
        cluster.sleep(BUDGET);
        for (_, ticket) in before {
            match cluster.sim.take_outcome(ticket) {
                Some(Outcome::Decided(Ok(_))) => {}
                Some(Outcome::Decided(Err(Undecided::Lost))) => {
                    panic!("the target had everything, and something is lost")
                }
                other => panic!("{other:?}"),
            }
        }
        let raft = cluster.sim.raft(leader).expect("it is up");
        assert!(!matches!(raft.role(), Role::Leader(_)));
    }
    cluster.finish();
}

/// A transfer to a node that is down is given up after the longest election timeout, and the leader goes on in its term.
pub fn a_transfer_to_nobody_is_given_up(seed: u64) {
    let mut cluster = Cluster::new(seed, 3);
    let leader = cluster.check_one_leader();
    let term = cluster.sim.term(leader);
    let to = cluster.after(leader, 1);
    let command = cluster.new_command();
    cluster.sim.crash(to);
    for _ in 0..3 {
        assert!(cluster.sim.transfer(leader, to).is_ok());
        assert!(cluster.start(leader, &command).is_none(), "it hands over");
        cluster.sleep(Duration::from_millis(600));
        assert_eq!(cluster.leader(), Some(leader));
        assert_eq!(cluster.sim.term(leader), term);
        cluster.agree(2, false);
    }
    cluster.finish();
}

/// A leader with two learners, cut off with them: if it could promote both before one is committed, they would be a majority of five, and
/// the two others are one of three (dissertation, 4.1: "one server at a time").
pub fn one_change_at_a_time(seed: u64) {
    let mut cluster = Cluster::new(seed, 3);
    let learners = [4, 5].map(NodeId);
    for id in learners {
        assert_eq!(new_machine(&mut cluster), id);
        change(&mut cluster, &add_learner(id));
    }
    cluster.sleep(BUDGET);
    for _ in 0..5 {
        let leader = cluster.check_one_leader();
        let near = [leader, learners[0], learners[1]];
        let ids = cluster.ids().into_iter();
        let far: Vec<NodeId> = ids.filter(|id| !near.contains(id)).collect();
        cluster.sim.partition(&[&near, &far]);
        for id in learners {
            let _ = cluster.sim.change_members(leader, &Change::Promote(id));
        }
        let replaced = |sim: &Sim| far.iter().any(|&id| sim.leads(id));
        assert!(cluster.sim.run_until(5 * BUDGET, replaced));
        cluster.sleep(BUDGET);
        cluster.connect_all();
        cluster.agree(5, true);
    }
    cluster.finish();
}

/// Two leaders, each with a change that the other does not know: the second may begin its own only after it has committed an entry of its
/// term, or the first could come back and be elected without what the second has committed (Ongaro, raft-dev, 10 July 2015).
pub fn two_leaders_begin_a_change(seed: u64) {
    let mut cluster = Cluster::new(seed, 4);
    assert_eq!(new_machine(&mut cluster), NodeId(5));
    change(&mut cluster, &add_learner(NodeId(5)));
    cluster.sleep(BUDGET);
    for _ in 0..5 {
        let first = cluster.check_one_leader();
        // The first promotes the fifth, and only the fifth hears of it.
        let near = [first, NodeId(5)];
        let far: Vec<NodeId> = (1..=4).map(NodeId).filter(|&id| id != first).collect();
        cluster.sim.partition(&[&near, &far]);
        let _ = cluster
            .sim
            .change_members(first, &Change::Promote(NodeId(5)));
        let elected = |sim: &Sim| far.iter().copied().find(|&id| sim.leads(id));
        let replaced = |sim: &Sim| elected(sim).is_some();
        assert!(cluster.sim.run_until(5 * BUDGET, replaced));
        // The second removes the first, and one of its followers hears of it.
        let second = elected(&cluster.sim).expect("it was just elected");
        let third = far.iter().copied().find(|&id| id != second);
        let third = third.expect("there are three");
        let rest: Vec<NodeId> = far
            .iter()
            .copied()
            .filter(|&id| id != second && id != third)
            .chain(near)
            .collect();
        cluster.sim.partition(&[&[second, third], &rest]);
        for _ in 0..40 {
            let _ = cluster.sim.change_members(second, &Change::Remove(first));
            cluster.sleep(Duration::from_millis(5));
        }
        cluster.sleep(2 * BUDGET);
        cluster.connect_all();
        cluster.sleep(BUDGET);
        change(&mut cluster, &add_learner(first));
        change(&mut cluster, &Change::Promote(first));
        change(&mut cluster, &Change::Demote(NodeId(5)));
        cluster.agree(5, true);
    }
    cluster.finish();
}
