//! Section 6 and the dissertation's chapter 4: cluster membership changes, one server at a time.

use biglock::rules::{
    Appended, BadChange, Body, Change, ChangeRefused, Entry, GaveUp, Members, Payload,
    ProposalRefused, Role, RoleKind, Settings,
};
use biglock::{NodeId, Position, Term, Time};

use crate::common::{
    Cluster, HEARTBEAT, MAX, append_of, appended, granted, grants, heartbeat, last, matched,
    request_vote, request_vote_with,
};

fn add(id: u64) -> Change {
    let (id, address) = (NodeId(id), String::new());
    Change::AddLearner { id, address }
}

/// Servers 1 to `n` are the cluster; `more` others wait to be added.
fn cluster(n: u64, more: u64) -> Cluster {
    cluster_with(n, more, |_| {})
}

fn cluster_with(n: u64, more: u64, change: impl Fn(&mut Settings)) -> Cluster {
    Cluster::with(n + more, |settings| {
        settings.members = match settings.id.0 <= n {
            true => Members::voting((1..=n).map(NodeId)),
            false => Members::default(),
        };
        change(settings);
    })
}

fn try_change(cluster: &mut Cluster, id: u64, change: &Change) -> Result<Position, ChangeRefused> {
    cluster.with_raft(id, |raft, at| raft.change_members(at, change))
}

fn change(cluster: &mut Cluster, id: u64, change: &Change) -> u64 {
    let began = try_change(cluster, id, change);
    began
        .unwrap_or_else(|why| panic!("{change:?}: {why}"))
        .index
}

fn voters(cluster: &Cluster, id: u64) -> Vec<u64> {
    cluster.raft(id).members().voters().map(|id| id.0).collect()
}

/// Everything that is said arrives, and what is committed is known to all.
fn settle(cluster: &mut Cluster, leader: u64) {
    cluster.deliver_all();
    if cluster.role(leader) == RoleKind::Leader {
        cluster.heartbeat(leader);
        cluster.deliver_all();
    }
}

/// Section 6: "Cluster configurations are stored and communicated using special entries in the replicated log." Chapter 4.1: "each server adopts Cnew as
/// soon as it is appended to its log."
#[test]
fn a_configuration_counts_as_soon_as_it_is_appended() {
    let mut cluster = cluster(3, 0);
    cluster.elect(1);
    change(&mut cluster, 1, &Change::Remove(NodeId(3)));
    assert_eq!(voters(&cluster, 1), [1, 2]);
    assert_eq!(voters(&cluster, 2), [1, 2, 3]);
    cluster.deliver(1, 2);
    assert_eq!(voters(&cluster, 2), [1, 2], "not committed, but appended");
    assert_eq!(cluster.raft(2).members_since(), 2);
    assert_eq!(cluster.commit(2), 1);
}

/// 4.1: "This means that a log entry for a configuration change can be removed (if leadership changes); in this case, a server must be prepared to fall
/// back to the previous configuration in its log."
#[test]
fn a_configuration_that_is_removed_from_the_log_falls_back() {
    let mut cluster = cluster(3, 0);
    cluster.elect(1);
    cluster.propose(1, b"x");
    settle(&mut cluster, 1);
    change(&mut cluster, 1, &Change::Demote(NodeId(3)));
    cluster.deliver(1, 2);
    assert_eq!(voters(&cluster, 2), [1, 2]);
    let other = Entry {
        term: Term(2),
        time: Time::ZERO,
        payload: Payload::Noop,
    };
    let body = Body::AppendEntries {
        prev: last(&[1, 1]),
        entries: vec![other].into(),
        commit: 2,
        beat: Default::default(),
    };
    cluster.tell(2, 3, 2, body);
    assert_eq!(voters(&cluster, 2), [1, 2, 3]);
    cluster.restart(2);
    cluster.tell(2, 3, 2, heartbeat());
    assert_eq!(voters(&cluster, 2), [1, 2, 3], "after a restart too");
}

/// 4.1: the configuration is on the disk like every entry.
#[test]
fn a_configuration_survives_a_restart() {
    let mut cluster = cluster(3, 1);
    cluster.elect(1);
    change(&mut cluster, 1, &add(4));
    settle(&mut cluster, 1);
    for id in 1..=4 {
        let before = cluster.raft(id).members().clone();
        assert!(before.contains(NodeId(4)) && !before.votes(NodeId(4)));
        cluster.restart(id);
        assert_eq!(cluster.raft(id).members(), &before, "{id}");
    }
}

/// 4.1: "only one server can be added or removed from the cluster at a time": "a leader ... must not begin another until the first commits".
#[test]
fn one_change_at_a_time() {
    let mut cluster = cluster(4, 1);
    cluster.elect(1);
    change(&mut cluster, 1, &Change::Remove(NodeId(4)));
    let refused = try_change(&mut cluster, 1, &add(5));
    assert_eq!(refused, Err(ChangeRefused::Pending));
    settle(&mut cluster, 1);
    change(&mut cluster, 1, &add(5));
}

/// 4.1: "any majority of the old cluster overlaps with any majority of the new cluster", for every single change of every size.
#[test]
fn majorities_overlap_across_every_single_change() {
    for n in 1..=8_u64 {
        let old = Members::voting((1..=n).map(NodeId));
        let mut learning = old.clone();
        learning = learning.with(&add(9)).expect("there is room");
        let grown = learning
            .with(&Change::Promote(NodeId(9)))
            .expect("it learns");
        assert!(
            learning.majority() + grown.majority() > grown.voters().count(),
            "{n}"
        );
        if n > 1 {
            let shrunk = old.with(&Change::Remove(NodeId(n))).expect("one is left");
            assert!(
                old.majority() + shrunk.majority() > old.voters().count(),
                "{n}"
            );
        }
    }
}

/// Changes that make no sense are refused, and change nothing.
#[test]
fn changes_that_make_no_sense_are_refused() {
    let mut cluster = cluster(2, 1);
    cluster.elect(1);
    cluster.deliver_all();
    let cases = [
        (add(1), BadChange::AlreadyAMember(NodeId(1))),
        (
            Change::Promote(NodeId(1)),
            BadChange::NoDifference(NodeId(1)),
        ),
        (Change::Promote(NodeId(3)), BadChange::NotAMember(NodeId(3))),
        (Change::Remove(NodeId(9)), BadChange::NotAMember(NodeId(9))),
    ];
    let before = cluster.raft(1).log().clone();
    for (change, why) in cases {
        assert_eq!(try_change(&mut cluster, 1, &change), Err(why.into()));
    }
    let follower = try_change(&mut cluster, 2, &add(3));
    assert_eq!(follower, Err(ProposalRefused::NotLeader.into()));
    assert_eq!(cluster.raft(1).log(), &before);

    let mut alone = self::cluster(1, 0);
    alone.elect(1);
    for change in [Change::Remove(NodeId(1)), Change::Demote(NodeId(1))] {
        assert_eq!(
            try_change(&mut alone, 1, &change),
            Err(BadChange::NoVoters.into())
        );
    }
}

/// The correction of 2015: "a leader may not append a new configuration entry until it has committed an entry from its current term" (Ongaro, raft-dev,
/// 10 July 2015).
#[test]
fn no_change_before_an_entry_of_the_own_term_is_committed() {
    let mut cluster = cluster(3, 1);
    cluster.time_out(1);
    cluster.deliver_votes(1);
    assert_eq!(
        try_change(&mut cluster, 1, &add(4)),
        Err(ChangeRefused::TooEarly)
    );
    cluster.deliver_all();
    change(&mut cluster, 1, &add(4));
}

/// The bug that it corrects, played out: two leaders who would each begin a change of the same four members (raft-dev, 10 July 2015). The second is
/// refused until it knows of, or has overwritten, the first.
#[test]
fn the_bug_of_2015_does_not_happen() {
    let mut cluster = cluster(4, 1);
    cluster.elect(1);
    // Server 1 adds 5, which nobody else hears of.
    change(&mut cluster, 1, &add(5));
    cluster.wire.clear();
    // Server 2 is elected by 3 and 4, and would remove 1.
    cluster.time_out(2);
    cluster.lose(|m| m.to.0 == 1);
    cluster.deliver_votes(2);
    let remove = Change::Remove(NodeId(1));
    assert_eq!(
        try_change(&mut cluster, 2, &remove),
        Err(ChangeRefused::TooEarly),
        "no change begins before an entry of the leader's own term is committed"
    );
    // Its no-op reaches a majority of the four, and none of them can now help server 1 to commit.
    cluster.deliver_without(&[1]);
    change(&mut cluster, 2, &remove);
    cluster.deliver_without(&[1]);
    assert_eq!(cluster.commit(2), cluster.end(2));
    cluster.restart(1);
    cluster.time_out(1);
    cluster.deliver_all();
    assert_ne!(cluster.role(1), RoleKind::Leader);
}

/// 4.2.1: "Raft introduces an additional phase before the configuration change, in which a new server joins the cluster as a non-voting member. The
/// leader replicates log entries to it, but it is not yet counted towards majorities for voting or commitment purposes."
#[test]
fn a_learner_gets_the_log_and_counts_for_nothing() {
    let mut cluster = cluster(1, 3);
    cluster.elect(1);
    for _ in 0..5 {
        cluster.propose(1, b"x");
    }
    for id in 2..=4 {
        change(&mut cluster, 1, &add(id));
        // The one voter commits alone, whoever else is out of reach.
        assert_eq!(cluster.commit(1), cluster.end(1));
    }
    settle(&mut cluster, 1);
    for id in 2..=4 {
        assert_eq!(cluster.log(id), cluster.log(1));
        assert_eq!(
            cluster.raft(id).election_deadline(),
            None,
            "it does not campaign"
        );
        assert_eq!(cluster.commit(id), cluster.commit(1));
    }
    // In a cluster of three voters, learners' answers commit nothing.
    let mut cluster = self::cluster(3, 2);
    cluster.elect(1);
    for id in [4, 5] {
        change(&mut cluster, 1, &add(id));
        settle(&mut cluster, 1);
    }
    let index = cluster.propose(1, b"x").index;
    cluster.deliver_without(&[2, 3]);
    assert_eq!((cluster.end(4), cluster.end(5)), (index, index));
    assert!(cluster.commit(1) < index);
    cluster.time_out(2);
    cluster.lose(|m| [1, 3].contains(&m.to.0));
    assert!(cluster.wire.is_empty(), "and nobody asks them for votes");
}

/// 4.2.1: "the leader ... determine[s] when a new server is sufficiently caught up to continue with the configuration change."
#[test]
fn a_learner_is_promoted_only_when_it_has_caught_up() {
    let mut cluster = cluster(1, 1);
    cluster.elect(1);
    for _ in 0..1500 {
        cluster.propose(1, b"x");
    }
    change(&mut cluster, 1, &add(2));
    let refused = try_change(&mut cluster, 1, &Change::Promote(NodeId(2)));
    assert!(
        matches!(refused, Err(ChangeRefused::CatchingUp { entries: 1502 })),
        "{refused:?}"
    );
    settle(&mut cluster, 1);
    change(&mut cluster, 1, &Change::Promote(NodeId(2)));
    assert!(cluster.commit(1) < cluster.end(1), "now two are needed");
    settle(&mut cluster, 1);
    assert_eq!(voters(&cluster, 2), [1, 2]);
    assert_eq!(cluster.commit(2), cluster.end(1));
}

/// 4.1 and 4.2.1 together: a cluster of one grows to five, and shrinks to one, and loses nothing.
#[test]
fn a_cluster_grows_and_shrinks() {
    let mut cluster = cluster(1, 4);
    cluster.elect(1);
    for id in 2..=5 {
        change(&mut cluster, 1, &add(id));
        settle(&mut cluster, 1);
        change(&mut cluster, 1, &Change::Promote(NodeId(id)));
        settle(&mut cluster, 1);
        cluster.propose(1, b"x");
    }
    settle(&mut cluster, 1);
    assert_eq!(voters(&cluster, 5), [1, 2, 3, 4, 5]);
    cluster.time_out(5);
    cluster.deliver_all();
    assert_eq!(cluster.role(5), RoleKind::Leader);
    for id in 1..=4 {
        change(&mut cluster, 5, &Change::Remove(NodeId(id)));
        settle(&mut cluster, 5);
    }
    assert_eq!(voters(&cluster, 5), [5]);
    cluster.propose(5, b"x");
    assert_eq!(cluster.commit(5), cluster.end(5));
}

/// 4.2.2: "a leader that is removed from the configuration steps down once the Cnew entry is committed." "While the leader is managing a cluster
/// that does not include itself, it replicates log entries but does not count itself in majorities."
#[test]
fn a_leader_that_removes_itself_leads_until_that_is_committed() {
    let mut cluster = cluster(3, 0);
    cluster.elect(1);
    let index = change(&mut cluster, 1, &Change::Remove(NodeId(1)));
    let after = cluster.propose(1, b"x").index;
    cluster.lose(|m| m.to.0 == 3);
    cluster.deliver_all();
    // Two of the three old members have it; but of the new ones, one.
    assert_eq!((cluster.role(1), cluster.commit(1)), (RoleKind::Leader, 1));
    cluster.heartbeat(1);
    cluster.deliver_all();
    assert!(index < after && cluster.commit(1) >= index);
    let Role::Follower(following) = cluster.raft(1).role() else {
        panic!("it still leads");
    };
    assert_eq!(following.gave_up, Some(GaveUp::Removed));
    assert_eq!(
        cluster.raft(1).election_deadline(),
        None,
        "it does not campaign"
    );
    cluster.run(HEARTBEAT / 4, cluster.now + MAX * 20, &[]);
    assert_eq!(cluster.leaders().len(), 1);
    assert_eq!(voters(&cluster, cluster.leaders()[0]), [2, 3]);
}

/// 4.2.2: "a server that is not part of its own latest configuration should still start new elections, as it might still be needed until the Cnew entry is
/// committed."
#[test]
fn a_server_that_is_being_removed_may_still_be_needed() {
    let mut cluster = cluster(2, 0);
    cluster.elect(1);
    change(&mut cluster, 1, &Change::Remove(NodeId(1)));
    cluster.restart(1);
    cluster.wire.clear();
    assert_eq!(voters(&cluster, 1), [2]);
    // Server 2 lacks the entry, so it can't be elected: its log is behind. Server 1 can, with 2's vote alone.
    assert!(cluster.raft(1).election_deadline().is_some());
    cluster.time_out(2);
    cluster.deliver_all();
    assert_ne!(cluster.role(2), RoleKind::Leader);
    cluster.time_out(1);
    cluster.deliver_votes(1);
    cluster.deliver_all();
    settle(&mut cluster, 1);
    assert_eq!(
        cluster.role(1),
        RoleKind::Follower,
        "it did what was left to do"
    );
    assert_eq!(voters(&cluster, 2), [2]);
    cluster.elect(2);
}

/// 4.2.3: "servers ... ignore RequestVote RPCs when they believe a current leader exists": "if a server receives a RequestVote request within the minimum
/// election timeout of hearing from a current leader, it does not update its term or grant its vote."
#[test]
fn a_removed_server_disturbs_nobody() {
    let mut cluster = cluster_with(4, 0, |settings| settings.check_quorum = true);
    cluster.elect(1);
    change(&mut cluster, 1, &Change::Remove(NodeId(4)));
    // It never hears that it was removed.
    cluster.deliver_without(&[4]);
    cluster.heartbeat(1);
    cluster.deliver_without(&[4]);
    let end = cluster.now + MAX * 30;
    cluster.run(HEARTBEAT / 4, end, &[]);
    assert!(cluster.term(4) > 1, "it campaigned");
    assert_eq!((cluster.leaders(), cluster.term(1)), (vec![1], 1));
}

/// The same sentence at the voter, to the nanosecond.
#[test]
fn a_vote_is_not_considered_within_the_minimum_timeout() {
    use crate::common::MIN;
    let mut cluster = cluster_with(3, 0, |settings| settings.check_quorum = true);
    cluster.tell(1, 2, 1, heartbeat());
    let heard = cluster.now;
    cluster.now = Time::from_nanos((heard + MIN).as_nanos() - 1);
    assert_eq!(
        cluster.tell(1, 3, 5, request_vote()),
        [],
        "no answer at all"
    );
    assert_eq!((cluster.term(1), cluster.leader(1)), (1, Some(2)));
    cluster.now = heard + MIN;
    assert!(grants(&cluster.tell(1, 3, 5, request_vote())[0].body));
}

/// 4.2.3: "This does not affect normal elections, where each server waits at least a minimum election timeout before starting an election."
#[test]
fn normal_elections_are_not_affected() {
    let mut cluster = cluster_with(3, 0, |settings| settings.check_quorum = true);
    cluster.elect(1);
    let end = cluster.now + MAX * 8;
    cluster.run(HEARTBEAT / 4, end, &[1]);
    let next: Vec<u64> = cluster
        .leaders()
        .into_iter()
        .filter(|&id| id != 1)
        .collect();
    assert_eq!(next.len(), 1);
}

/// 4.2.3: "RequestVote RPCs ... include a special flag" for leadership transfers: then a leader that is heard is no reason to refuse.
#[test]
fn an_election_that_the_leader_asked_for_is_not_ignored() {
    let mut cluster = cluster_with(3, 0, |settings| settings.check_quorum = true);
    cluster.tell(1, 2, 1, heartbeat());
    let asked = Body::RequestVote {
        last: last(&[]),
        handed_over: true,
    };
    assert!(grants(&cluster.tell(1, 3, 2, asked)[0].body));
}

/// Whoever is removed is told what is committed, and is then left alone.
#[test]
fn a_removed_follower_is_told_once() {
    let mut cluster = cluster(3, 0);
    cluster.elect(1);
    let index = change(&mut cluster, 1, &Change::Remove(NodeId(3)));
    cluster.deliver_all();
    assert_eq!(cluster.commit(3), index, "it knows that it is out");
    assert_eq!(cluster.raft(3).election_deadline(), None);
    cluster.heartbeat(1);
    assert!(cluster.between(1, 3).is_empty());
    assert_eq!(cluster.between(1, 2).len(), 1);
}

/// A server that was removed and is added again starts like any other.
#[test]
fn a_removed_server_may_come_back() {
    let mut cluster = cluster(3, 0);
    cluster.elect(1);
    change(&mut cluster, 1, &Change::Remove(NodeId(3)));
    settle(&mut cluster, 1);
    cluster.propose(1, b"x");
    settle(&mut cluster, 1);
    change(&mut cluster, 1, &add(3));
    settle(&mut cluster, 1);
    change(&mut cluster, 1, &Change::Promote(NodeId(3)));
    settle(&mut cluster, 1);
    assert_eq!(cluster.log(3), cluster.log(1));
    assert_eq!(voters(&cluster, 3), [1, 2, 3]);
}

/// Votes are counted by the candidate's latest members, and answers by the leader's: of a server that is no voter there, neither counts.
#[test]
fn the_latest_members_are_the_ones_that_count() {
    let mut cluster = cluster(3, 0);
    cluster.elect(1);
    change(&mut cluster, 1, &Change::Demote(NodeId(3)));
    cluster.wire.clear();
    cluster.tell(1, 3, 1, matched(2));
    assert_eq!(cluster.commit(1), 1, "a learner's answer");
    cluster.tell(1, 2, 1, matched(2));
    assert_eq!(cluster.commit(1), 2);

    cluster.tell(1, 2, 5, appended(Appended::Stale));
    cluster.time_out(1);
    assert!(cluster.between(1, 3).is_empty());
    cluster.tell(1, 3, 6, granted());
    assert_eq!(cluster.role(1), RoleKind::Candidate);
    cluster.tell(1, 2, 6, granted());
    assert_eq!(cluster.role(1), RoleKind::Leader);
    let calls = cluster.between(1, 3);
    assert_eq!(append_of(&calls[0]).1, [6], "it gets the log all the same");
    let vote = request_vote_with(last(&[7, 7, 7, 7]));
    assert!(
        grants(&cluster.tell(1, 3, 9, vote)[0].body),
        "and may be voted for"
    );
}
