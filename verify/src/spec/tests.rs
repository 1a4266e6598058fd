use std::path::Path;

use super::*;
use biglock::HardState;

/// A node that has stored nothing.
pub(super) fn blank() -> Visible {
    Visible {
        hard_state: HardState::default(),
        hard_state_durable: true,
        role: RoleKind::Follower,
        before: Position::default(),
        log: Vec::new(),
        log_durable: 0,
        commit: 0,
        voters: (1..=3).map(NodeId).collect(),
        stopped: false,
    }
}

pub(super) fn at(term: u64, index: u64) -> Position {
    Position {
        term: Term(term),
        index,
    }
}

pub(super) fn mark(at: Position) -> Mark {
    let (digest, voters) = (at.index, None);
    Mark { at, digest, voters }
}

/// Three nodes, and how each of them looks.
struct Three {
    cluster: Cluster,
    nodes: BTreeMap<u64, Visible>,
}

impl Three {
    fn new() -> Three {
        let (mut cluster, mut nodes) = (Cluster::new(), BTreeMap::new());
        for id in 1..=3 {
            cluster.start(NodeId(id), &blank(), &[]).expect("it starts");
            nodes.insert(id, blank());
        }
        Three { cluster, nodes }
    }

    /// A section of node `id` changes it so.
    fn try_step(
        &mut self,
        id: u64,
        entries: &[Position],
        change: impl FnOnce(&mut Visible),
    ) -> Result<Vec<Action>, Refused> {
        let mut now = self.nodes[&id].clone();
        change(&mut now);
        let marks: Vec<Mark> = entries.iter().copied().map(mark).collect();
        let actions = self.cluster.step(NodeId(id), &now, &marks)?;
        self.nodes.insert(id, now);
        Ok(actions)
    }

    fn step(
        &mut self,
        id: u64,
        entries: &[Position],
        change: impl FnOnce(&mut Visible),
    ) -> Vec<Action> {
        self.try_step(id, entries, change)
            .unwrap_or_else(|why| panic!("{why}"))
    }

    fn refused(&mut self, id: u64, says: &str, change: impl FnOnce(&mut Visible)) {
        let why = self.try_step(id, &[], change).expect_err(says).to_string();
        assert!(why.contains(says), "{says:?} is not in {why}");
    }

    /// Node 1 stands in term 1, and node 2 votes for it; all of that is durable.
    fn elected(&mut self) {
        self.step(1, &[], stand(1, 1));
        self.step(2, &[], vote(1, Some(1)));
        let leads = self.step(1, &[at(1, 1)], |now| {
            now.role = RoleKind::Leader;
            now.log = vec![at(1, 1)];
        });
        assert_eq!(leads, [Action::BecomeLeader, Action::ClientRequest(1)]);
    }
}

pub(super) fn stand(id: u64, term: u64) -> impl FnOnce(&mut Visible) {
    move |now| {
        now.role = RoleKind::Candidate;
        vote(term, Some(id))(now);
    }
}

pub(super) fn vote(term: u64, voted_for: Option<u64>) -> impl FnOnce(&mut Visible) {
    move |now| {
        now.hard_state = HardState {
            term: Term(term),
            voted_for: voted_for.map(NodeId),
        };
    }
}

#[test]
fn an_election_is_explained_action_by_action() {
    let mut three = Three::new();
    let stands = three.step(1, &[], |now| {
        stand(1, 1)(now);
        now.hard_state_durable = false;
    });
    assert_eq!(stands, [Action::Timeout]);
    assert_eq!(
        three.step(1, &[], |now| now.hard_state_durable = true),
        [Action::Persist]
    );
    assert_eq!(three.step(1, &[], |_| ()), [], "nothing visible");
    let votes = three.step(2, &[], vote(1, Some(1)));
    assert_eq!(
        votes,
        [
            Action::UpdateTerm(Term(1)),
            Action::GrantVote(NodeId(1)),
            Action::Persist
        ]
    );
}

#[test]
fn what_breaks_a_rule_of_elections_is_refused() {
    let mut three = Three::new();
    three.refused(
        2,
        "which nobody who has it on disk could tell (5.1)",
        vote(1, None),
    );
    three.refused(1, "increments its term by one (5.2)", stand(1, 2));
    three.step(1, &[], stand(1, 1));
    three.refused(1, "with 1 of the 2 durable votes", |now| {
        now.role = RoleKind::Leader
    });
    // A vote that is not durable is none.
    three.step(2, &[], |now| {
        vote(1, Some(1))(now);
        now.hard_state_durable = false;
    });
    three.refused(1, "with 1 of the 2 durable votes", |now| {
        now.role = RoleKind::Leader
    });
    three.step(2, &[], |now| now.hard_state_durable = true);
    three.refused(2, "takes back its vote", vote(1, None));
    three.refused(2, "one vote in a term (5.2)", vote(1, Some(3)));
    three.refused(2, "terms only grow (5.1)", vote(0, None));
    three.refused(3, "in which it is no candidate (5.2)", |now| {
        vote(1, None)(now);
        now.role = RoleKind::Leader;
    });
    three.step(1, &[at(1, 1)], |now| {
        now.role = RoleKind::Leader;
        now.log = vec![at(1, 1)];
    });
    three.refused(1, "leads term 1, and stands for election", stand(1, 2));
}

#[test]
fn a_vote_needs_a_log_that_is_up_to_date() {
    let mut three = Three::new();
    three.elected();
    three.step(2, &[], |now| now.log = vec![at(1, 1)]);
    three.step(3, &[], stand(3, 1));
    three.step(3, &[], stand(3, 2));
    three.refused(2, "at least as up-to-date (5.4.1)", vote(2, Some(3)));
}

/// Figure 8: node 1 has an entry of term 1 that nobody else has, leads again, and a majority has it.
#[test]
fn an_entry_of_an_earlier_term_is_not_committed_by_counting() {
    let mut three = Three::new();
    three.elected();
    three.step(1, &[], |now| now.log_durable = 1);
    three.step(3, &[], vote(1, None));
    three.step(3, &[], stand(3, 2));
    three.step(1, &[], |now| {
        vote(2, None)(now);
        now.role = RoleKind::Follower;
    });
    three.step(1, &[], stand(1, 3));
    three.step(2, &[], vote(3, Some(1)));
    let leads = three.step(1, &[], |now| now.role = RoleKind::Leader);
    assert_eq!(leads, [Action::BecomeLeader]);
    three.step(2, &[at(1, 1)], |now| {
        now.log = vec![at(1, 1)];
        now.log_durable = 1;
    });
    three.refused(1, "by counting: only entries of its own term", |now| {
        now.commit = 1
    });
}

/// Entries that a stale request does not conflict with stay; those that conflict go.
#[test]
fn only_entries_that_conflict_are_deleted() {
    let mut three = Three::new();
    three.elected();
    three.step(1, &[at(1, 2)], |now| now.log = vec![at(1, 2)]);
    three.step(2, &[at(1, 1), at(1, 2)], |now| now.log = vec![at(1, 2)]);
    three.refused(2, "only those that conflict are deleted (5.3)", |now| {
        now.log = vec![at(1, 1)]
    });
    // A leader of term 2 that has neither.
    three.step(3, &[], vote(1, None));
    three.step(3, &[], stand(3, 2));
    three.cluster.assume_vote(Term(2), NodeId(2), NodeId(3));
    three.step(3, &[at(2, 1)], |now| {
        now.role = RoleKind::Leader;
        now.log = vec![at(2, 1)];
    });
    let accepts = three.step(2, &[at(2, 1)], |now| {
        vote(2, None)(now);
        now.hard_state_durable = false;
        now.log = vec![at(2, 1)];
    });
    assert_eq!(
        accepts,
        [Action::UpdateTerm(Term(2)), Action::AcceptEntries(1)]
    );
}

/// A follower takes no more for committed than what it is known to have from the leader (bug C7).
#[test]
fn a_commit_is_learned_no_further_than_proved() {
    let mut three = Three::new();
    three.elected();
    // Node 3 led term 2, and made an entry that nobody else has.
    three.step(3, &[], vote(1, None));
    three.step(3, &[], stand(3, 2));
    three.cluster.assume_vote(Term(2), NodeId(2), NodeId(3));
    three.step(3, &[at(2, 1)], |now| {
        now.role = RoleKind::Leader;
        now.log = vec![at(2, 1)];
    });
    // Node 1 leads term 3, and commits.
    three.step(1, &[], |now| {
        vote(2, None)(now);
        now.role = RoleKind::Follower;
    });
    three.step(1, &[], stand(1, 3));
    three.step(2, &[], vote(3, Some(1)));
    three.step(1, &[at(3, 2)], |now| {
        now.role = RoleKind::Leader;
        now.log = vec![at(1, 1), at(3, 2)];
        now.log_durable = 2;
    });
    three.step(2, &[at(1, 1), at(3, 2)], |now| {
        now.log = vec![at(1, 1), at(3, 2)];
        now.log_durable = 2;
    });
    three.step(1, &[], |now| now.commit = 2);
    let hears = "no further than the last new entry (figure 2, 5.3)";
    three.refused(3, hears, |now| {
        vote(3, None)(now);
        now.role = RoleKind::Follower;
        now.commit = 1;
    });
}

#[test]
fn what_is_committed_is_on_a_majority_of_disks_and_stays() {
    let mut three = Three::new();
    three.elected();
    three.step(1, &[], |now| now.log_durable = 1);
    three.refused(1, "on 1 of the 2 disks", |now| now.commit = 1);
    three.refused(2, "which the leader of term 1 does not have", |now| {
        now.log = vec![at(1, 2)]
    });
    let accepts = three.step(2, &[at(1, 1)], |now| now.log = vec![at(1, 1)]);
    assert_eq!(accepts, [Action::AcceptEntries(1)]);
    three.refused(2, "has committed up to 0", |now| now.commit = 1);
    three.refused(1, "on 1 of the 2 disks", |now| now.commit = 1);
    three.step(2, &[], |now| now.log_durable = 1);
    assert_eq!(
        three.step(1, &[], |now| now.commit = 1),
        [Action::AdvanceCommit(1)]
    );
    assert_eq!(
        three.step(2, &[], |now| now.commit = 1),
        [Action::LearnCommit(1)]
    );
    three.refused(2, "what is committed stays", |now| now.commit = 0);
    three.refused(2, "are committed (5.4, state machine safety)", |now| {
        now.log.clear();
        now.log_durable = 0;
    });
    three.refused(1, "leader append-only", |now| now.log.clear());
    // A node that comes back without what was on its disk.
    let lost = three.cluster.start(NodeId(2), &blank(), &[]);
    assert!(
        lost.expect_err("it lost its term")
            .why
            .contains("terms survive a crash")
    );
}

/// Entries of two leaders that come together are handled in one section.
#[test]
fn a_section_may_hear_leaders_of_two_terms() {
    let mut three = Three::new();
    three.elected();
    three.step(1, &[], |now| now.log_durable = 1);
    // Node 3, without the entry, is elected in term 2.
    three.step(3, &[], vote(1, None));
    three.step(3, &[], stand(3, 2));
    three.cluster.assume_vote(Term(2), NodeId(1), NodeId(3));
    three.step(3, &[], |now| now.role = RoleKind::Leader);
    let hears = |now: &mut Visible| {
        vote(2, None)(now);
        now.log = vec![at(1, 1)];
    };
    let accepts = three.step(2, &[at(1, 1)], hears);
    let expected = [
        Action::UpdateTerm(Term(2)),
        Action::AcceptEntries(1),
        Action::Persist,
    ];
    assert_eq!(accepts, expected);
    // But nobody led with an entry of term 1 at index 2.
    three.refused(2, "which the leader of term 2 does not have", |now| {
        now.log = vec![at(1, 2)]
    });
}

#[test]
fn two_payloads_at_one_place_are_refused() {
    let mut three = Three::new();
    three.elected();
    let mut now = three.nodes[&2].clone();
    now.log = vec![at(1, 1)];
    let other = Mark {
        digest: 99,
        ..mark(at(1, 1))
    };
    let why = three
        .cluster
        .step(NodeId(2), &now, &[other])
        .expect_err("another payload");
    assert!(why.why.contains("identical up to it (5.3)"), "{why}");
}

#[test]
fn a_record_that_is_refused_leaves_nothing_behind() {
    let mut three = Three::new();
    let before = three.cluster.clone();
    let mut now = blank();
    stand(1, 1)(&mut now);
    now.role = RoleKind::Leader;
    now.log = vec![at(1, 1)];
    let record = Record {
        node: NodeId(1),
        thread: "election".into(),
        section: "count the votes".into(),
        now,
        entries: vec![mark(at(1, 1))],
    };
    assert!(three.cluster.record(&record).expect_err("no votes").missing);
    assert_eq!(three.cluster, before);
}

#[test]
fn logs_are_compared_by_their_terms() {
    let log = |ends: &[Position]| Log {
        before: Position::default(),
        ends: ends.to_vec(),
    };
    let long = log(&[at(1, 3), at(2, 5), at(4, 9)]);
    for (other, differs) in [
        (log(&[]), 1),
        (log(&[at(1, 3)]), 4),
        (log(&[at(1, 2), at(2, 5)]), 3),
        (log(&[at(1, 4)]), 4),
        (log(&[at(1, 3), at(2, 5), at(4, 9)]), 10),
        (log(&[at(1, 3), at(2, 6)]), 6),
    ] {
        // By the definition.
        let same = |index: &u64| long.term_at(*index) == other.term_at(*index);
        let by_hand = (1..=9.min(other.last().index)).find(|index| !same(index));
        assert_eq!(by_hand.unwrap_or(other.last().index + 1), differs);
        assert_eq!(long.differs_at(&other), differs, "{other:?}");
        assert_eq!(other.differs_at(&long), differs, "{other:?}");
    }
    assert_eq!(long.up_to(4).ends, [at(1, 3), at(2, 4)]);
    assert_eq!(
        (long.first_of(Term(2)), long.last_of(Term(2))),
        (Some(4), Some(5))
    );
}

/// Whoever lays the two forms side by side finds the same names, and each action cites its place.
#[test]
fn both_forms_have_the_same_actions() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("spec/Raft.tla");
    let text = std::fs::read_to_string(path).expect("the TLA+");
    let next = text.split("Next ==").nth(1).expect("the actions");
    let next = next.split("Spec ==").next().expect("their end");
    for action in [
        Action::Timeout,
        Action::UpdateTerm(Term(1)),
        Action::GrantVote(NodeId(1)),
        Action::BecomeLeader,
        Action::ClientRequest(1),
        Action::AcceptEntries(1),
        Action::AdvanceCommit(1),
        Action::LearnCommit(1),
        Action::StepDown,
        Action::Persist,
        Action::Restart,
    ] {
        let name = trace::name(action);
        assert!(
            next.contains(&format!("{name}(n")),
            "{name} is no action of the TLA+"
        );
    }
}
