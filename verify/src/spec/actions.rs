//! Which actions explain a section: at most a few, in the order in which a section does them.

use biglock::node::{Mark, Visible};
use biglock::{NodeId, RoleKind, Term};

use super::{Action, Cluster, Log, Node, Refused, refused};

/// Explains what has become of `node` in one section.
pub(super) fn explain(
    cluster: &mut Cluster,
    id: NodeId,
    node: Node,
    now: &Visible,
    entries: &[Mark],
) -> Result<Vec<Action>, Refused> {
    let mut step = Step {
        cluster,
        id,
        since: node.term,
        node,
        entries,
        done: Vec::new(),
    };
    if step.node.stopped {
        // Nothing that it does is seen by anyone.
        return Ok(step.done);
    }
    // In the order in which a section does them: the term, the role, the log, the disk, and what that commits.
    let (term, vote) = (now.hard_state.term, now.hard_state.voted_for);
    let role = match now.role {
        // To ask for pre-votes changes nothing that the paper speaks of. A candidate that does so is one whose votes come too late.
        RoleKind::PreCandidate if term == step.node.term => step.node.role,
        RoleKind::PreCandidate => RoleKind::Follower,
        role => role,
    };
    if term < step.node.term {
        return step.refuse(format!(
            "goes back from {} to {term}: terms only grow (5.1)",
            step.node.term
        ));
    }
    let stands = matches!(role, RoleKind::Candidate | RoleKind::Leader);
    if term > step.node.term {
        match stands && vote == Some(id) {
            true => step.timeout(term)?,
            false => step.update_term(term)?,
        }
    }
    if vote != step.node.vote {
        step.grant_vote(vote)?;
    }
    if role == RoleKind::Leader && step.node.role != RoleKind::Leader {
        step.become_leader()?;
    }
    let log = Log::of(now);
    let moved = log.before != step.node.log.before;
    if step.node.role == RoleKind::Leader {
        step.client_requests(&log)?;
    } else if log.last() != step.node.log.last()
        || log.differs_at(&step.node.log) <= log.last().index
        || role == RoleKind::Follower && step.node.role == RoleKind::Candidate
    {
        step.accept_entries(&log, now)?;
    }
    step.persist(now)?;
    if now.commit > step.node.commit {
        match step.node.role {
            RoleKind::Leader => step.advance_commit(now.commit)?,
            _ => step.learn_commit(now.commit)?,
        }
    } else if now.commit < step.node.commit {
        return step.refuse(format!(
            "knows entries up to {} to be committed, and then only up to {}: what is committed stays (5.3)",
            step.node.commit, now.commit
        ));
    }
    if step.node.role == RoleKind::Leader && role == RoleKind::Follower {
        step.step_down();
    }
    if moved {
        step.compact(&log)?;
    }
    step.settle(role, now)
}

/// A section that is being explained: what it has done so far.
pub(super) struct Step<'a> {
    pub(super) cluster: &'a mut Cluster,
    pub(super) id: NodeId,
    /// The term in which the section began.
    pub(super) since: Term,
    pub(super) node: Node,
    pub(super) entries: &'a [Mark],
    pub(super) done: Vec<Action>,
}

impl Step<'_> {
    pub(super) fn refuse<T>(&self, why: String) -> Result<T, Refused> {
        Err(refused(self.id, why))
    }

    /// The same, unless what is missing comes later.
    pub(super) fn lacks<T>(&self, why: String) -> Result<T, Refused> {
        let missing = true;
        let node = self.id;
        Err(Refused { node, why, missing })
    }

    pub(super) fn voters(&self) -> &[NodeId] {
        self.node.members.last().map_or(&[], |(_, voters)| voters)
    }

    /// Nothing else has changed.
    fn settle(mut self, role: RoleKind, now: &Visible) -> Result<Vec<Action>, Refused> {
        if self.node.role != role {
            return self.refuse(format!(
                "becomes a {role} in {}, in which it is a {}: figure 4 has no such step",
                self.node.term, self.node.role
            ));
        }
        if self.voters().is_empty() {
            // A node that waits to be added knows none, and one that was just heard of has not said who they were before.
            self.node.members = vec![(now.before.index, now.voters.clone())];
        }
        if self.voters() != now.voters {
            return self.refuse(format!(
                "counts {:?} as voters, and its log names {:?} (section 6)",
                now.voters,
                self.voters()
            ));
        }
        self.node.stopped = now.stopped;
        self.cluster.nodes.insert(self.id, self.node);
        Ok(self.done)
    }
}
