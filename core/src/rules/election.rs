//! Leader election (5.2, 5.4.1), with pre-vote (dissertation, 9.6).
//!
//! A campaign spans several sections, and between them the lock is free. What the candidate assumed when it let go is a [`Ballot`]; the
//! section that counts the votes spends it and checks again (rule 5 of the course).

use std::collections::{BTreeMap, BTreeSet};

use super::raft::Leading;
use super::{
    Answer, At, Body, Follower, HardState, Message, NodeId, Payload, Position, Raft, Refusal, Role,
    Term,
};
use crate::Time;

/// Those who answered, as a set and never as a counter: the network may repeat a vote.
pub type Voters = BTreeSet<NodeId>;

/// The answers to a campaign.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tally {
    /// Who said yes.
    pub granted: Voters,
    /// Who said no, and why.
    pub refused: BTreeMap<NodeId, Refusal>,
    /// When the request is repeated to those who have not answered.
    pub ask_again: Time,
}

/// What a campaign assumes while the lock is free: that this is still the term, and the attempt, in which it began.
///
/// It cannot be copied. [`Raft::count_votes`] spends it.
#[derive(Debug)]
#[must_use = "a campaign whose ballot is dropped is never counted"]
pub struct Ballot {
    term: Term,
    /// Which attempt, if it is a pre-vote; the term alone names a candidacy.
    attempt: Option<u64>,
}

impl Ballot {
    /// The term in which the campaign began.
    pub fn term(&self) -> Term {
        self.term
    }

    /// Whether it only asks whether it would be elected.
    pub fn is_pre_vote(&self) -> bool {
        self.attempt.is_some()
    }
}

/// How a campaign stands, once there is something to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// A majority granted.
    Won,
    /// So many refused that no majority is left.
    Refused,
    /// The term or the role is no longer the one in which it began.
    Superseded,
    /// The election timeout passed: "each candidate will time out and start a new election" (5.2).
    TimedOut,
    /// Some have not answered for a while: ask them again ("servers retry RPCs", 5.1).
    AskAgain,
}

impl Raft {
    /// The election timeout passed: begins a campaign, by a pre-vote if that is set.
    ///
    /// # Panics
    /// If this node leads.
    pub fn campaign(&mut self, at: At) -> Ballot {
        assert!(
            !matches!(self.role, Role::Leader(_)),
            "a leader does not campaign"
        );
        if self.handed_over || !self.settings.pre_vote {
            return self.start_election(at);
        }
        self.reset_deadline(at);
        // Its own answer needs nothing durable: a pre-vote promises nothing.
        self.role = Role::PreCandidate {
            attempt: at.random,
            tally: Tally::new([self.id()].into(), at.now + self.settings.heartbeat),
        };
        self.leader_heard = None;
        self.ask_for_votes();
        Ballot {
            term: self.term(),
            attempt: Some(at.random),
        }
    }

    /// "To begin an election, a follower increments its current term and transitions to candidate state. It then votes for itself
    /// and issues RequestVote RPCs" (5.2): all in one section, so that nobody sees one without the others.
    fn start_election(&mut self, at: At) -> Ballot {
        let term = Term(self.term().0.checked_add(1).expect("terms do not run out"));
        self.set_hard_state(HardState {
            term,
            voted_for: Some(self.id()),
        });
        let handed_over = self.handed_over;
        self.reset_deadline(at);
        // The own vote counts when it is durable: see `count_own_vote`.
        self.role = Role::Candidate {
            tally: Tally::new(Voters::new(), at.now + self.settings.heartbeat),
            handed_over,
        };
        self.leader_heard = None;
        self.ask_for_votes();
        Ballot {
            term,
            attempt: None,
        }
    }

    /// Whether the campaign of this ballot calls for something at `now`; nothing while its answers are awaited.
    pub fn verdict(&self, ballot: &Ballot, now: Time) -> Option<Verdict> {
        if self.campaign_running() != Some((ballot.term, ballot.attempt)) {
            return Some(Verdict::Superseded);
        }
        self.standing()
            .or_else(|| (now >= self.deadline()).then_some(Verdict::TimedOut))
            .or_else(|| (now >= self.ask_again_at()).then_some(Verdict::AskAgain))
    }

    /// How the votes stand, whatever the time: a majority, or none possible any more.
    pub fn standing(&self) -> Option<Verdict> {
        let tally = self.role.tally()?;
        let members = self.members();
        if members.are_majority(&tally.granted) {
            return Some(Verdict::Won);
        }
        let lost = members.voters().filter(|&id| tally.has_refused(id)).count();
        let may_lose = members.voters().count().saturating_sub(members.majority());
        (lost > may_lose).then_some(Verdict::Refused)
    }

    /// When time alone calls for something: the deadline, or before it the moment to ask again. Nothing while this node leads.
    pub fn next_look(&self) -> Option<Time> {
        let deadline = self.election_deadline()?;
        let again = self.standing().is_none().then(|| self.ask_again_at());
        Some(again.map_or(deadline, |again| deadline.min(again)))
    }

    /// Spends the ballot: checks again everything it assumed, and acts on what it finds. Returns the ballot of what follows: the
    /// election after a pre-vote that was won, or the same campaign if it goes on.
    pub fn count_votes(&mut self, at: At, ballot: Ballot) -> Option<Ballot> {
        match self.verdict(&ballot, at.now) {
            None => Some(ballot),
            Some(Verdict::Won) if ballot.is_pre_vote() => Some(self.start_election(at)),
            Some(Verdict::Won) => {
                self.become_leader(at);
                None
            }
            Some(Verdict::AskAgain) => {
                self.ask_again(at);
                Some(ballot)
            }
            // Refused: nothing to gain in this term, so the candidate waits for its deadline, or for whoever won.
            // Superseded: a later section took the node elsewhere, and what was assumed is void.
            // TimedOut: the deadline has passed, which starts the next campaign.
            Some(Verdict::Refused | Verdict::Superseded | Verdict::TimedOut) => None,
        }
    }

    pub(super) fn on_pre_vote(
        &mut self,
        at: At,
        from: NodeId,
        term: Term,
        attempt: u64,
        last: Position,
    ) {
        // Nothing changes here: above all not this node's own deadline (etcd#8243).
        let answer = self.judge(
            term,
            last,
            self.hears_a_leader(at.now),
            Refusal::LeaderAlive,
        );
        self.send(from, Body::PreVoteReply { attempt, answer });
    }

    pub(super) fn on_request_vote(
        &mut self,
        at: At,
        from: NodeId,
        term: Term,
        last: Position,
        handed_over: bool,
    ) {
        let voted_for = self.hard_state().voted_for;
        let (not_free, why) = match voted_for {
            Some(other) => (other != from, Refusal::VotedForAnother),
            // The request may be of this node's own term and still come too early: another message of the term was here before.
            None => {
                let protected = self.settings.check_quorum && !handed_over;
                (
                    protected && self.hears_a_leader(at.now),
                    Refusal::LeaderAlive,
                )
            }
        };
        let answer = self.judge(term, last, not_free, why);
        // A repeated request gets the same answer again, and changes nothing again.
        if answer == Answer::Granted && voted_for.is_none() {
            self.set_hard_state(HardState {
                term,
                voted_for: Some(from),
            });
            self.follow(at, self.leader());
            self.reset_deadline(at);
        }
        self.send(from, Body::VoteReply { answer });
    }

    /// The rules that vote and pre-vote share, around the one in which they differ.
    fn judge(&self, term: Term, last: Position, not_free: bool, why: Refusal) -> Answer {
        if term < self.term() {
            Answer::Refused(Refusal::StaleTerm)
        } else if not_free {
            Answer::Refused(why)
        } else if last < self.log.last() {
            // "The voter denies its vote if its own log is more up-to-date than that of the candidate" (5.4.1).
            Answer::Refused(Refusal::LogBehind)
        } else {
            Answer::Granted
        }
    }

    /// "If a server receives a RequestVote request within the minimum election timeout of hearing from a current leader, it does not update
    /// its term or grant its vote" (dissertation, 4.2.3): so a server that was removed, or was cut off, disturbs nobody. Not if the leader
    /// itself asked for the election.
    pub(super) fn protects_its_leader(&self, at: At, message: &Message) -> bool {
        let request = matches!(
            message.body,
            Body::RequestVote {
                handed_over: false,
                ..
            }
        );
        request
            && self.settings.check_quorum
            && message.term > self.term()
            && self.hears_a_leader(at.now)
    }

    /// Whether a leader was heard "within the minimum election timeout" (dissertation, 4.2.3): then none is needed.
    fn hears_a_leader(&self, now: Time) -> bool {
        let heard = |at: Time| now < at + self.settings.election_timeout_min;
        matches!(self.role, Role::Leader(_)) || self.leader_heard.is_some_and(heard)
    }

    pub(super) fn on_pre_vote_reply(&mut self, from: NodeId, attempt: u64, answer: Answer) {
        if let Role::PreCandidate {
            attempt: mine,
            tally,
        } = &mut self.role
            && *mine == attempt
        {
            tally.count(from, answer);
        }
    }

    pub(super) fn on_vote_reply(&mut self, from: NodeId, answer: Answer) {
        if let Role::Candidate { tally, .. } = &mut self.role {
            tally.count(from, answer);
        }
    }

    /// A candidate's vote for itself counts like any other: when it is durable, so that a crash can't take it back.
    pub(super) fn count_own_vote(&mut self) {
        let (me, durable) = (self.id(), self.is_hard_state_durable());
        if let Role::Candidate { tally, .. } = &mut self.role
            && durable
        {
            tally.granted.insert(me);
        }
    }

    /// "Upon election: send initial empty AppendEntries RPCs (heartbeat) to each server" (figure 2). Here they carry the no-op with which
    /// the term begins: committing it tells the leader what is committed (section 8).
    fn become_leader(&mut self, at: At) {
        let last = self.log.last().index;
        let me = self.id();
        let others = self.members().ids().filter(|&id| id != me);
        let followers = others.map(|id| (id, Follower::new(last + 1, at.now)));
        let leading = Leading {
            first: last + 1,
            next_heartbeat: at.now + self.settings.heartbeat,
            followers: followers.collect(),
            round: 1,
            now: at.now,
            reads: Default::default(),
            transfer: None,
            lease_void: false,
            log_clock: (self.log.last_time(), at.now),
            disk: None,
        };
        self.role = Role::Leader(leading);
        self.append_own(at, Payload::Noop);
        self.take_reads_along(at);
        self.send_entries();
    }

    fn ask_again(&mut self, at: At) {
        let again = at.now + self.settings.heartbeat;
        if let Role::PreCandidate { tally, .. } | Role::Candidate { tally, .. } = &mut self.role {
            tally.ask_again = again;
        }
        self.ask_for_votes();
    }

    /// Asks every voter who has not answered.
    fn ask_for_votes(&mut self) {
        let last = self.log.last();
        let (body, tally) = match &self.role {
            Role::PreCandidate { attempt, tally } => {
                let attempt = *attempt;
                (Body::PreVote { attempt, last }, tally)
            }
            Role::Candidate { tally, handed_over } => {
                let handed_over = *handed_over;
                (Body::RequestVote { last, handed_over }, tally)
            }
            Role::Follower(_) | Role::Leader(_) => return,
        };
        let me = self.id();
        let others = self.members().voters().filter(|&id| id != me);
        let silent: Vec<NodeId> = others.filter(|&id| tally.awaits(id)).collect();
        for peer in silent {
            self.send(peer, body.clone());
        }
    }

    fn ask_again_at(&self) -> Time {
        self.role
            .tally()
            .map_or(Time::NEVER, |tally| tally.ask_again)
    }

    /// The campaign that runs: its term, and which attempt if it is a pre-vote. No two have the same.
    pub fn campaign_running(&self) -> Option<(Term, Option<u64>)> {
        match self.role {
            Role::PreCandidate { attempt, .. } => Some((self.term(), Some(attempt))),
            Role::Candidate { .. } => Some((self.term(), None)),
            Role::Follower(_) | Role::Leader(_) => None,
        }
    }
}

impl Tally {
    fn new(granted: Voters, ask_again: Time) -> Tally {
        Tally {
            granted,
            refused: Default::default(),
            ask_again,
        }
    }

    /// Who granted, granted: an honest voter takes nothing back. A refusal is final too, but for the one that time changes: "I hear
    /// from a leader".
    fn count(&mut self, from: NodeId, answer: Answer) {
        if self.granted.contains(&from) || self.has_refused(from) {
            return;
        }
        match answer {
            Answer::Granted => {
                self.refused.remove(&from);
                self.granted.insert(from);
            }
            Answer::Refused(why) => {
                self.refused.insert(from, why);
            }
        }
    }

    /// Whether this voter refused for good.
    fn has_refused(&self, voter: NodeId) -> bool {
        let why = self.refused.get(&voter);
        why.is_some_and(|&why| why != Refusal::LeaderAlive)
    }

    /// Whether this voter is to be asked again: it has not answered, or only that it hears from a leader.
    fn awaits(&self, voter: NodeId) -> bool {
        !self.granted.contains(&voter) && !self.has_refused(voter)
    }
}
