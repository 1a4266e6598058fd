//! Log replication (5.3, 5.4.2): AppendEntries, its answers, what is committed, and the heartbeat.

use std::ops::Bound;

use thiserror::Error;

use super::raft::{GaveUp, Leading};
use super::{
    Appended, At, Beat, Body, Conflict, Entries, Entry, Follower, MAX_MEMBERS, NodeId, Payload,
    Position, Raft, Role, Sending, majority,
};
use crate::Time;

/// Why a leader does not take a proposal. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProposalRefused {
    /// This node does not lead.
    #[error("this node does not lead")]
    NotLeader,
    /// The leader is handing over to another node.
    #[error("the leader is handing over to another node")]
    Transferring,
    /// Too much is waiting to be committed and applied.
    #[error("too much is waiting to be committed and applied")]
    Busy,
    /// It does not fit into the largest message.
    #[error("{size} bytes are too many: at most {limit} fit into a message")]
    TooLarge {
        /// Its size, in bytes.
        size: usize,
        /// The most there may be, in bytes.
        limit: usize,
    },
}

impl Raft {
    /// "If command received from client: append entry to local log" (figure 2), and send it on: before it is durable here, for the leader
    /// counts itself only then (dissertation, 10.2.1). Returns where it stands.
    ///
    /// # Errors
    /// If this node does not take it; nothing was changed.
    pub fn propose(&mut self, at: At, payload: Payload) -> Result<Position, ProposalRefused> {
        let position = self.push(at, payload).map_err(|(why, _)| why)?;
        self.send_entries();
        Ok(position)
    }

    /// The same without sending it: for several at once. Afterwards call [`send_entries`](Raft::send_entries).
    ///
    /// # Errors
    /// If this node does not take it; nothing was changed. The payload comes back, so that who holds a lock need not drop it there.
    pub fn push(
        &mut self,
        at: At,
        payload: Payload,
    ) -> Result<Position, (ProposalRefused, Payload)> {
        match self.check_proposal(at, &payload) {
            Ok(()) => Ok(self.append_own(at, payload)),
            Err(why) => Err((why, payload)),
        }
    }

    fn check_proposal(&mut self, at: At, payload: &Payload) -> Result<(), ProposalRefused> {
        let Role::Leader(leading) = &mut self.role else {
            return Err(ProposalRefused::NotLeader);
        };
        leading.now = at.now;
        if leading.transfer.is_some() {
            return Err(ProposalRefused::Transferring);
        }
        let (size, limit) = (payload.command_len(), self.settings.max_command());
        if size > limit {
            return Err(ProposalRefused::TooLarge { size, limit });
        }
        let size_as_entry = Entry::OVERHEAD + payload.size();
        if self.unapplied + size_as_entry > self.settings.max_unapplied && self.unapplied > 0 {
            return Err(ProposalRefused::Busy);
        }
        Ok(())
    }

    /// Sends whatever may be sent.
    pub fn send_entries(&mut self) {
        self.for_each_follower(Raft::send_to);
        self.count_own_entries();
    }

    /// Appends an entry of the current term.
    pub(super) fn append_own(&mut self, at: At, payload: Payload) -> Position {
        let term = self.term();
        let time = self.log_time(at);
        self.log.push(Entry {
            term,
            time,
            payload,
        });
        let position = self.log.last();
        self.appended(position.index);
        position
    }

    /// The log's clock: it goes on from the last entry of the leader before (dissertation, 6.3).
    fn log_time(&self, at: At) -> Time {
        let since = match &self.role {
            Role::Leader(leading) => {
                let (time, begin) = leading.log_clock;
                time + at.now.since(begin)
            }
            _ => self.log.last_time(),
        };
        since.max(self.log.last_time())
    }

    fn for_each_follower(&mut self, act: impl Fn(&mut Raft, NodeId)) {
        let mut after = Bound::Unbounded;
        while let Some(leading) = self.role.leading()
            && let Some((&id, _)) = leading.followers.range((after, Bound::Unbounded)).next()
        {
            act(self, id);
            after = Bound::Excluded(id);
        }
    }

    /// When the next heartbeats are due; nothing unless this node leads.
    pub fn heartbeat_due(&self) -> Option<Time> {
        Some(self.role.leading()?.next_heartbeat)
    }

    /// A leader's periodic work: steps down if no majority answers or its disk is stuck; else sends heartbeats "to prevent election
    /// timeouts" (figure 2) and sends again what was lost. Does nothing unless this node leads.
    pub fn heartbeat(&mut self, at: At) {
        if self.settings.check_quorum && !self.hears_a_majority(at.now) {
            return self.step_down(at, GaveUp::NoQuorum);
        }
        if self.disk_is_stuck(at.now) {
            return self.step_down(at, GaveUp::StuckDisk);
        }
        let heartbeat = self.settings.heartbeat;
        let Role::Leader(leading) = &mut self.role else {
            return;
        };
        leading.next_heartbeat = at.now + heartbeat;
        self.give_up_transfer(at);
        self.give_up_reads(at);
        self.resend_snapshots();
        self.send_heartbeats(at);
        self.advance_reads(at);
    }

    /// One message to every follower, of a new round.
    pub(super) fn send_heartbeats(&mut self, at: At) {
        if let Role::Leader(leading) = &mut self.role {
            leading.round += 1;
            leading.now = at.now;
        }
        self.for_each_follower(Raft::send_heartbeat);
    }

    pub(super) fn send_heartbeat(&mut self, to: NodeId) {
        let Role::Leader(leading) = &mut self.role else {
            return;
        };
        let Some(follower) = leading.followers.get_mut(&to) else {
            return;
        };
        match &mut follower.sending {
            // The answer to the last question may have been lost; if nobody is there, it is not worth all the entries again.
            Sending::Probing { asked } => {
                let empty = *asked;
                self.send_append(to, empty);
            }
            // It proves that everything before has arrived, or shows that something was lost.
            Sending::Streaming { .. } => self.send_append(to, true),
            Sending::Snapshot { .. } => {
                let before = self.durability.outbox.len();
                self.send_chunks(to);
                if self.durability.outbox.len() == before {
                    self.send_empty_chunk(to);
                }
            }
        }
        self.remind_transfer(to);
    }

    /// Sends what this follower may be sent now.
    pub(super) fn send_to(&mut self, to: NodeId) {
        let window = self.settings.max_in_flight;
        loop {
            let last = self.log.last().index;
            let Some(follower) = self.follower(to) else {
                return;
            };
            match &follower.sending {
                Sending::Probing { asked: true } => return,
                Sending::Streaming { in_flight }
                    if in_flight.len() >= window || follower.next > last =>
                {
                    return;
                }
                Sending::Snapshot { .. } => return self.send_chunks(to),
                _ => {}
            }
            let probing = matches!(follower.sending, Sending::Probing { .. });
            self.send_append(to, false);
            if probing {
                return;
            }
        }
    }

    /// Sends one AppendEntries from `next` on; none of the entries if it is `empty`.
    fn send_append(&mut self, to: NodeId, empty: bool) {
        let (beat, commit) = (self.beat(), self.commit);
        let Role::Leader(leading) = &mut self.role else {
            return;
        };
        let Some(follower) = leading.followers.get_mut(&to) else {
            return;
        };
        let index = follower.next - 1;
        let Some(term) = self.log.term_at(index) else {
            let snapshot = self.snapshot.clone();
            let snapshot = snapshot.expect("what is no longer in the log is in the snapshot");
            follower.begin_snapshot(snapshot);
            return self.send_chunks(to);
        };
        let entries = match empty {
            true => Entries::default(),
            false => self.log.share(follower.next, self.settings.max_payload),
        };
        match &mut follower.sending {
            Sending::Probing { asked } => *asked = true,
            Sending::Streaming { in_flight } if !entries.is_empty() => {
                follower.next += entries.len() as u64;
                in_flight.push_back(follower.next - 1);
            }
            _ => {}
        }
        follower.told = commit.min(index + entries.len() as u64);
        let prev = Position { term, index };
        self.send(
            to,
            Body::AppendEntries {
                prev,
                entries,
                commit,
                beat,
            },
        );
    }

    pub(super) fn beat(&self) -> Beat {
        let leading = self.role.leading();
        leading.map_or(Beat::default(), |leading| Beat {
            round: leading.round,
            sent: leading.now,
        })
    }

    pub(super) fn follower(&self, id: NodeId) -> Option<&Follower> {
        self.role.leading()?.followers.get(&id)
    }

    /// The sender's term has passed: "reply false if term < currentTerm" (figure 2). The reply's own term tells it. It brings no round back:
    /// each term counts its own, and the sender may lead again by now.
    pub(super) fn refuse_stale(&mut self, from: NodeId) {
        let (beat, answer) = (Beat::default(), Appended::Stale);
        self.send(from, Body::AppendReply { beat, answer });
    }

    pub(super) fn on_append_entries(
        &mut self,
        at: At,
        from: NodeId,
        prev: Position,
        entries: Entries,
        leader_commit: u64,
        beat: Beat,
    ) {
        self.hear_from_leader(at, from, beat);
        if let Some(conflict) = self.conflict(prev) {
            if self.is_full() {
                // It is here, and takes nothing: to be told what is missing would bring it all.
                return self.acknowledge(from, true);
            }
            let answer = Appended::Conflict(conflict);
            return self.send(from, Body::AppendReply { beat, answer });
        }
        let heartbeat = entries.is_empty();
        if self.is_full() && !heartbeat {
            return;
        }
        let matched = prev.index + entries.len() as u64;
        self.merge(prev, entries);
        self.prove(matched);
        // No further than what this request proved to be equal: beyond it may lie entries that no leader of now has.
        self.commit = self.commit.max(leader_commit.min(matched));
        self.acknowledge(from, heartbeat);
    }

    /// Whether the state machine is so far behind that this follower takes no more entries for now, as if they were lost: they are sent
    /// again when it has caught up. What is not committed fills nobody: it may take one more entry to commit it.
    fn is_full(&self) -> bool {
        self.unapplied > self.settings.max_unapplied && self.applied < self.commit
    }

    /// "Reply false if log doesn't contain an entry at prevLogIndex whose term matches prevLogTerm" (figure 2), and say where to look.
    fn conflict(&self, prev: Position) -> Option<Conflict> {
        // What a snapshot holds is committed, and so is in the leader's log too.
        if prev.index <= self.log.before().index || self.log.contains(prev) {
            return None;
        }
        let term = self.log.term_at(prev.index);
        let first = match term {
            Some(term) => self.log.first_of(term),
            None => self.log.last().index + 1,
        };
        Some(Conflict {
            prev: prev.index,
            term,
            first,
        })
    }

    /// "If an existing entry conflicts with a new one (same index but different terms), delete the existing entry and all that follow it";
    /// "append any new entries not already in the log" (figure 2). What is equal stays: the request may be an old one.
    fn merge(&mut self, prev: Position, entries: Entries) {
        let first = prev.index + 1;
        // What a snapshot holds is committed, and so is what the leader has.
        let same = |(entry, index): &(&Entry, u64)| {
            *index <= self.log.before().index || self.log.term_at(*index) == Some(entry.term)
        };
        let same = entries.iter().zip(first..).take_while(same).count();
        let new = first + same as u64;
        if same < entries.len() && new <= self.log.last().index {
            self.truncate(new);
        }
        if same < entries.len() {
            self.log.append(entries.part(same..entries.len()));
            self.appended(new);
        }
    }

    /// The log is known to equal the leader's up to here.
    pub(super) fn prove(&mut self, index: u64) {
        if let Role::Follower(following) = &mut self.role {
            following.matched = following.matched.max(index);
        }
    }

    /// Answers with what is durable. If there is something that is not, a second answer follows when it is; nobody waits for the
    /// disk to hear that this node is there.
    pub(super) fn acknowledge(&mut self, leader: NodeId, heartbeat: bool) {
        let durable = self.durability.log;
        let Role::Follower(following) = &mut self.role else {
            return;
        };
        let (beat, matched) = (following.beat, following.matched.min(durable));
        following.owes = following.matched > durable;
        // New entries are answered once, when they are durable; a heartbeat is answered at once.
        if following.owes && !heartbeat {
            return;
        }
        let answer = Appended::Matched(matched);
        self.send(leader, Body::AppendReply { beat, answer });
    }

    /// A write has ended: the answer that waited for it.
    pub(super) fn acknowledge_written(&mut self) {
        let durable = self.durability.log;
        if let Role::Follower(following) = &mut self.role
            && following.owes
            && let Some(leader) = following.leader
        {
            following.owes = following.matched > durable;
            let (beat, matched) = (following.beat, following.matched.min(durable));
            let answer = Appended::Matched(matched);
            self.send(leader, Body::AppendReply { beat, answer });
        }
    }

    /// "If AppendEntries RPC received from new leader: convert to follower" (figure 2). That no second leader of the term may exist is
    /// election safety (5.2), and to see one is to see it broken.
    pub(super) fn hear_from_leader(&mut self, at: At, from: NodeId, beat: Beat) {
        let known = self.leader();
        assert!(
            known.is_none_or(|leader| leader == from),
            "two leaders in {}: {from} and {known:?}",
            self.term()
        );
        self.follow(at, Some(from));
        if let Role::Follower(following) = &mut self.role {
            following.beat = following.beat.max(beat);
        }
        self.leader_heard = Some(at.now);
        self.reset_deadline(at);
        if known.is_none() {
            // Nobody was there to ask, or whoever was asked leads no more.
            self.ask(at);
        }
    }

    /// A follower answered; nothing if it is none, or this node does not lead.
    pub(super) fn hear_from_follower(
        &mut self,
        at: At,
        from: NodeId,
        beat: Beat,
    ) -> Option<&mut Follower> {
        let Role::Leader(leading) = &mut self.role else {
            return None;
        };
        leading.now = at.now;
        let follower = leading.followers.get_mut(&from)?;
        follower.heard = at.now;
        follower.beat = follower.beat.max(beat);
        Some(follower)
    }

    pub(super) fn on_append_reply(&mut self, at: At, from: NodeId, beat: Beat, answer: Appended) {
        let last = self.log.last().index;
        let Some(follower) = self.hear_from_follower(at, from, beat) else {
            return;
        };
        match answer {
            Appended::Stale => return,
            Appended::Matched(matched) => {
                assert!(
                    matched <= last,
                    "{from} says that it has entry {matched}, and the log ends at {last}"
                );
                follower.matches(matched);
            }
            Appended::Conflict(conflict) => {
                if !follower.expects(conflict) {
                    return self.advance_reads(at);
                }
                let next = self.next_after(conflict);
                if let Role::Leader(leading) = &mut self.role
                    && let Some(follower) = leading.followers.get_mut(&from)
                {
                    follower.next = next.clamp(follower.matched + 1, last + 1);
                    follower.sending = Sending::Probing { asked: false };
                }
            }
        }
        if self.follower(from).is_some_and(|f| f.matched > self.commit) {
            self.advance_commit(at);
        }
        self.hand_over_if_ready(from);
        self.send_to(from);
        self.advance_reads(at);
    }

    /// Where to go on after a conflict. The follower's entries are of the conflicting term from `first` to where it was asked. If the leader
    /// has entries of that term before that place, their logs may meet at the last of them; if not, not before `first`.
    fn next_after(&self, conflict: Conflict) -> u64 {
        let Some(term) = conflict.term else {
            return conflict.first;
        };
        let ours = self.log.last_of(term);
        match ours.term == term && ours.index < conflict.prev {
            true => ours.index + 1,
            false => conflict.first,
        }
    }

    /// What has just become durable here may be what a majority lacked.
    pub(super) fn count_own_entries(&mut self) {
        if let Role::Leader(leading) = &self.role
            && self.durability.log > self.commit
        {
            let at = At {
                now: leading.now,
                random: 0,
            };
            self.advance_commit(at);
        }
    }

    /// "If there exists an N such that N > commitIndex, a majority of matchIndex[i] >= N, and log[N].term == currentTerm: set commitIndex
    /// = N" (figure 2). An entry of an earlier term is never committed by counting (5.4.2).
    fn advance_commit(&mut self, at: At) {
        let own = self.durability.log;
        let Some(leading) = self.role.leading() else {
            return;
        };
        let matched = |follower: &Follower| follower.matched;
        let Some(majority) = self.reached_by_majority(leading, own, matched) else {
            return;
        };
        if majority > self.commit && self.log.term_at(majority) == Some(self.term()) {
            self.commit = majority;
            self.settle_members(at);
            self.advance_reads(at);
        }
    }

    /// The highest value that a majority of the voters has reached; `own` is this node's.
    pub(super) fn reached_by_majority<T: Ord + Copy>(
        &self,
        leading: &Leading,
        own: T,
        value: impl Fn(&Follower) -> T,
    ) -> Option<T> {
        let me = self.id();
        let members = self.members();
        // Called for every answer, so it takes nothing from the heap.
        let mut values = [own; MAX_MEMBERS];
        let mut many = 0;
        for id in members.voters() {
            let value = match id == me {
                true => own,
                false => value(leading.followers.get(&id)?),
            };
            *values.get_mut(many)? = value;
            many += 1;
        }
        let values = &mut values[..many];
        values.sort_unstable_by(|a, b| b.cmp(a));
        values.get(majority(many) - 1).copied()
    }

    /// "A leader in Raft steps down if an election timeout elapses without a successful round of heartbeats to a majority of its
    /// cluster" (dissertation, 6.2). The same term goes on, and so does the vote that was given in it.
    pub(super) fn step_down(&mut self, at: At, why: GaveUp) {
        self.follow(at, None);
        if let Role::Follower(following) = &mut self.role {
            following.gave_up = Some(why);
        }
    }

    fn hears_a_majority(&self, now: Time) -> bool {
        let Some(leading) = self.role.leading() else {
            return true;
        };
        let heard = |follower: &Follower| follower.heard;
        let since = self.reached_by_majority(leading, now, heard);
        since.is_none_or(|since| now < since + self.settings.election_timeout_max)
    }

    /// Whether one write has taken so long that others should lead: heartbeats go on without the disk, so nobody else would notice.
    fn disk_is_stuck(&mut self, now: Time) -> bool {
        let (writing, patience) = (self.durability.writing, self.settings.patience());
        let Role::Leader(leading) = &mut self.role else {
            return false;
        };
        leading.disk = writing.map(|writing| match leading.disk {
            Some((id, since)) if id == writing.id => (id, since),
            _ => (writing.id, now),
        });
        leading
            .disk
            .is_some_and(|(_, since)| now >= since + patience)
    }
}
