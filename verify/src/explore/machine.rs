//! One node: the real `Raft`, its disk, and what one input does to both.
//!
//! Whatever is judged here can be seen on this node alone, or on what it says.

use std::fmt;

use biglock::Message;
use biglock::node::{Mark, Recorder, Visible};
use biglock::rules::{
    Answer, Appended, At, Ballot, Body, Change, Entry, HardState, Members, NodeId, Payload,
    Position, Raft, ReadAnswer, Role, Settings, Snapshot, Term, Verdict, Write,
};
use biglock::{Stored, Time};
use bytes::Bytes;

use super::laws;
use super::replica::{self, Replica};
use super::tape::{FIRST_NODE, LATE, NOW};
use super::{First, Order};

/// A node, and the machine that it runs on.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The node.
    pub raft: Raft,
    /// What its disk holds.
    pub disk: Stored,
    /// The write that is under way.
    pub write: Option<Write>,
    /// What its state machine has made of the entries that it applied.
    pub state: Replica,
    /// How many heartbeats it has sent as leader of its term.
    pub beats: u8,
    /// How often it was started, if that matters.
    pub lives: u8,
    /// What it has said and done before, in this life and those before it. It does not know: this is for whoever judges it.
    pub past: Past,
}

/// What a node has said and done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Past {
    /// The latest term in which it spoke.
    pub spoke: Term,
    /// The latest vote that it gave by a message.
    pub vote: Option<(Term, NodeId)>,
    /// The terms in which it led.
    pub led: Vec<Term>,
}

/// What can happen to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// A message arrives.
    Receive {
        /// Which.
        message: &'a Message,
        /// Whether no leader was heard for long.
        late: bool,
    },
    /// Its election timeout passes.
    Campaign,
    /// Its election thread looks at the votes.
    Count,
    /// Heartbeats are due.
    Beat,
    /// Heartbeats are due, and whatever it waited for is late: a majority that answers, the end of a transfer.
    GiveUp,
    /// A client proposes a command.
    Propose,
    /// A client sends its request, perhaps again.
    Call,
    /// The write that is under way is durable.
    Written,
    /// It fails and starts again.
    Crash {
        /// Whether the write that was under way has happened.
        torn: bool,
    },
    /// It takes a snapshot.
    Snapshot,
    /// Its members are to change.
    Change(&'a Change),
    /// It is to hand over.
    Transfer(NodeId),
    /// A client reads.
    Read,
    /// Reads are asked for again.
    Retry,
}

/// What one critical section left behind: what the specification is asked about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Section {
    /// Whether the node has just started.
    pub starts: bool,
    /// What it looks like,
    pub now: Visible,
    /// and the entries that were not in its log before.
    pub entries: Vec<Mark>,
}

/// What an input did.
pub struct Stepped {
    /// The node afterwards.
    pub machine: Machine,
    /// What it said.
    pub sent: Vec<Message>,
    /// The reads that it answered.
    pub answers: Vec<ReadAnswer>,
    /// The read that began.
    pub read: Option<u64>,
    /// What was worth a goal.
    pub reached: Vec<&'static str>,
    /// The sections that it took, of those that changed something visible.
    pub sections: Vec<Section>,
}

fn at(now: Time) -> At {
    At { now, random: 0 }
}

/// The number of every pre-vote. That they repeat lets late answers count: a pre-vote promises nothing, so safety may not depend on it.
const ATTEMPT: u64 = 2000;

/// The members with which this configuration begins.
pub fn founders(order: &Order) -> Members {
    Members::voting((0..order.voters as u64).map(|nth| NodeId(FIRST_NODE + nth)))
}

impl Machine {
    /// A node of this configuration that starts on this disk, which has no snapshot that was never taken.
    pub fn start(order: &Order, nth: usize, disk: Stored, lives: u8) -> Machine {
        let id = NodeId(FIRST_NODE + nth as u64);
        let members = match nth < order.voters {
            true => founders(order),
            false => Members::default(),
        };
        let mut settings = Settings::new(id, members);
        order.settle(&mut settings);
        let begin = At {
            now: NOW,
            random: 1000 * u64::from(lives),
        };
        let raft = Raft::new(begin, settings, disk.clone());
        let restore = |snapshot| Replica::restore(snapshot).expect("the disk has what was saved");
        let state = raft.snapshot().map_or_else(Replica::new, restore);
        Machine {
            raft,
            disk,
            write: None,
            state,
            beats: 0,
            lives,
            past: Past::default(),
        }
    }

    /// Which node it is.
    pub fn nth(&self) -> usize {
        (self.raft.id().0 - FIRST_NODE) as usize
    }

    /// Whether it leads.
    pub fn leads(&self) -> bool {
        matches!(self.raft.role(), Role::Leader(_))
    }

    /// Whether the votes call for its election thread.
    pub fn has_won(&self) -> bool {
        self.raft.standing() == Some(Verdict::Won)
    }

    /// The number of the entry after which a snapshot would be taken now.
    pub fn could_snapshot(&self) -> bool {
        let held = self.raft.snapshot().map_or(0, |s| s.last.index);
        self.raft.applied() > held
            && self.raft.knows_members()
            && self.raft.snapshot_head(self.raft.applied()).is_some()
    }

    /// What happens to it if this happens to it.
    ///
    /// # Errors
    /// The law that it broke.
    pub fn step(&self, order: &Order, input: Input<'_>) -> Result<Stepped, String> {
        if let Input::Crash { torn } = input {
            return self.crash(order, torn);
        }
        let mut step = Step {
            order,
            machine: self.clone(),
            reached: Vec::new(),
            watched: Watched::of(&self.raft),
        };
        let read = step.input(input)?;
        step.settle()?;
        step.compare(self, input)?;
        let Step {
            mut machine,
            reached,
            watched,
            ..
        } = step;
        if !machine.leads() {
            machine.beats = 0;
        }
        let sent = machine.raft.take_messages();
        sent.iter().try_for_each(|message| machine.says(message))?;
        let term = machine.raft.term();
        if machine.leads() && !machine.past.led.contains(&term) {
            machine.past.led.push(term);
        }
        let answers = machine.raft.take_reads();
        Ok(Stepped {
            machine,
            sent,
            answers,
            read,
            reached,
            sections: watched.sections,
        })
    }

    fn crash(&self, order: &Order, torn: bool) -> Result<Stepped, String> {
        let mut disk = self.disk.clone();
        if let Some(write) = self.write.as_ref().filter(|_| torn) {
            disk.apply(write.batch.clone());
        }
        // Reads of different lives must differ; nothing else depends on how often a node was started.
        let lives = self.lives + u8::from(order.bounds.reads > 0);
        let mut machine = Machine::start(order, self.nth(), disk, lives);
        machine.past = self.past.clone();
        let sections = vec![machine.beginning()];
        machine.apply()?;
        let (id, spoke, term) = (machine.raft.id(), self.past.spoke, machine.raft.term());
        if spoke > term {
            return Err(format!("{id} starts again in {term}, and spoke in {spoke}"));
        }
        let uncommitted = machine.raft.log().last().index > self.raft.commit();
        let mut reached = vec!["a crash"];
        if self.leads() && uncommitted {
            reached.push("a leader crashes with an uncommitted tail");
        }
        if torn {
            reached.push("a write happens that nobody was told of");
        }
        Ok(Stepped {
            machine,
            sent: Vec::new(),
            answers: Vec::new(),
            read: None,
            reached,
            sections,
        })
    }

    /// What it finds when it starts.
    pub fn beginning(&self) -> Section {
        let note = Recorder::default().note("", "", &self.raft, false);
        Section {
            starts: true,
            entries: note.marks(),
            now: note.now,
        }
    }

    /// The state machine applies what is committed. True if a request was not run, because it had been.
    fn apply(&mut self) -> Result<bool, String> {
        let (raft, state) = (&mut self.raft, &mut self.state);
        let mut from = raft.applied() + 1;
        if let Some(snapshot) = raft.snapshot()
            && raft.applied() < snapshot.last.index
        {
            *state = Replica::restore(snapshot)?;
            from = snapshot.last.index + 1;
        }
        let mut known = false;
        if from <= raft.commit() {
            known = state.apply(raft.log(), from, raft.commit())?;
        }
        raft.set_applied(raft.commit());
        Ok(known)
    }

    /// A message leaves: what it says is durable, and fits what was said before.
    fn says(&mut self, message: &Message) -> Result<(), String> {
        let hard = self.disk.hard_state;
        let (id, term) = (self.raft.id(), message.term);
        if message.from != id {
            return Err(format!(
                "{message} leaves {id}, and says that it is of {}",
                message.from
            ));
        }
        if term < self.past.spoke {
            return Err(format!(
                "{id} sends {message}, and spoke in {}",
                self.past.spoke
            ));
        }
        self.past.spoke = term;
        if hard.term < message.term {
            return Err(format!("{message} leaves, and the disk has {hard:?}"));
        }
        if let Some(vote) = vote(message) {
            if let Some((of, first)) = self.past.vote
                && of == term
                && first != vote
            {
                return Err(format!(
                    "{id} votes twice in {term}: for {first}, then for {vote}"
                ));
            }
            self.past.vote = Some((term, vote));
            if hard.term == term && hard.voted_for != Some(vote) {
                return Err(format!("{message} leaves, and the disk has {hard:?}"));
            }
        }
        if let Body::AppendReply {
            answer: Appended::Matched(index),
            ..
        } = message.body
        {
            let end = self.disk.log.last().index;
            if end < index {
                return Err(format!("{message} leaves, and the disk ends at {end}"));
            }
        }
        Ok(())
    }
}

/// Whom this message gives a vote to.
pub fn vote(message: &Message) -> Option<NodeId> {
    match message.body {
        Body::RequestVote { .. } => Some(message.from),
        Body::VoteReply {
            answer: Answer::Granted,
        } => Some(message.to),
        _ => None,
    }
}

struct Step<'a> {
    order: &'a Order,
    machine: Machine,
    reached: Vec<&'static str>,
    watched: Watched,
}

/// Keeps what sections leave behind.
struct Watched {
    recorder: Recorder,
    last: Visible,
    sections: Vec<Section>,
}

impl Watched {
    fn of(raft: &Raft) -> Watched {
        let mut recorder = Recorder::default();
        let last = recorder.note("", "", raft, false).now;
        Watched {
            recorder,
            last,
            sections: Vec::new(),
        }
    }

    fn look(&mut self, raft: &Raft) {
        let note = self.recorder.note("", "", raft, false);
        if note.now != self.last {
            self.last = note.now.clone();
            self.sections.push(Section {
                starts: false,
                entries: note.marks(),
                now: note.now,
            });
        }
    }
}

impl Step<'_> {
    /// One critical section, and what must hold when it ends.
    fn section<R>(&mut self, section: impl FnOnce(&mut Raft) -> R) -> Result<R, String> {
        let raft = &mut self.machine.raft;
        let before = raft.before();
        let result = section(raft);
        raft.check_transition(&before)?;
        raft.check_invariants()?;
        self.watched.look(raft);
        Ok(result)
    }

    fn input(&mut self, input: Input<'_>) -> Result<Option<u64>, String> {
        match input {
            Input::Receive { message, late } => {
                let now = if late { LATE } else { NOW };
                self.reached
                    .extend(laws::late_answer(message, &self.machine.raft));
                self.section(|raft| raft.receive(at(now), message.clone()))?;
            }
            Input::Campaign => {
                let begin = At {
                    now: NOW,
                    random: ATTEMPT,
                };
                // What the ballot says is what the node itself remembers: see `Step::count`.
                let _ = self.section(|raft| raft.campaign(begin))?;
            }
            Input::Count => self.count()?,
            Input::Beat => {
                self.section(|raft| raft.heartbeat(at(NOW)))?;
                self.machine.beats += 1;
            }
            Input::GiveUp => self.section(|raft| raft.heartbeat(at(LATE)))?,
            Input::Propose => {
                // Empty, so that it fits into the smallest message.
                let command = Payload::Command(Bytes::new());
                if self.section(|raft| raft.propose(at(NOW), command))?.is_ok() {
                    self.reached.push("a command is proposed");
                }
            }
            Input::Call => {
                let sent = |entry: &Entry| entry.payload == replica::call();
                let again = self.machine.raft.log().iter().any(|(_, entry)| sent(entry));
                if self
                    .section(|raft| raft.propose(at(NOW), replica::call()))?
                    .is_ok()
                    && again
                {
                    self.reached.push("a request is sent again");
                }
            }
            Input::Written => {
                let write = self.machine.write.take().expect("one is under way");
                self.machine.disk.apply(write.batch);
                self.section(|raft| raft.written(write.id))?;
            }
            Input::Crash { .. } => unreachable!("it ends what this is about"),
            Input::Snapshot => {
                let raft = &self.machine.raft;
                let (last, time, members) = raft
                    .snapshot_head(raft.applied())
                    .expect("it was asked before");
                let data = Bytes::new();
                let head = Snapshot {
                    last,
                    time,
                    members,
                    data,
                };
                let snapshot = self.machine.state.save(head);
                self.section(|raft| raft.compact(snapshot))?;
                self.reached.push("a snapshot is taken");
            }
            Input::Change(change) => {
                if self
                    .section(|raft| raft.change_members(at(NOW), change))?
                    .is_ok()
                {
                    self.reached.push("the members change");
                }
            }
            Input::Transfer(to) => {
                if self.section(|raft| raft.transfer(at(NOW), to))?.is_ok() {
                    self.reached.push("a transfer begins");
                }
            }
            Input::Read => {
                let read = self.section(|raft| raft.read(at(NOW)))?;
                return Ok(read.ok().map(|read| read.0));
            }
            // Some may have been taken back at a late moment.
            Input::Retry => self.section(|raft| raft.retry(at(LATE)))?,
        }
        Ok(None)
    }

    /// What happens without waiting for anybody.
    fn settle(&mut self) -> Result<(), String> {
        loop {
            if self.machine.has_won() && !self.order.slow_count {
                self.count()?;
                continue;
            }
            if self.machine.write.is_none() {
                self.machine.write = self.section(Raft::take_write)?;
                if let Some(write) = &self.machine.write
                    && !self.order.slow_disk
                {
                    let id = write.id;
                    self.machine.disk.apply(write.batch.clone());
                    self.machine.write = None;
                    self.section(|raft| raft.written(id))?;
                    continue;
                }
            }
            break;
        }
        let before = self.machine.raft.before();
        if self.machine.apply()? {
            self.reached.push("a request is not run again");
        }
        self.machine.raft.check_transition(&before)
    }

    /// The election thread spends its ballot. Only a campaign gives ballots, and a state can be copied and they can't: so a node that stands
    /// alone, and is in the same term and the same attempt, campaigns for one.
    fn count(&mut self) -> Result<(), String> {
        let Some((term, attempt)) = self.machine.raft.campaign_running() else {
            return Ok(());
        };
        let ballot = ballot(term, attempt);
        let begin = At {
            now: NOW,
            random: ATTEMPT,
        };
        let _ = self.section(|raft| raft.count_votes(begin, ballot))?;
        Ok(())
    }

    /// What one node must do, by what it was before and what it is now.
    fn compare(&mut self, old: &Machine, input: Input<'_>) -> Result<(), String> {
        let new = &self.machine;
        let (was, is) = (&old.raft, &new.raft);
        let received = match input {
            Input::Receive { message, .. } => Some(&message.body),
            _ => None,
        };
        let end = was.log().last();
        let kept = end.index <= is.log().before().index || is.log().contains(end);
        if old.leads() && new.leads() && was.term() == is.term() {
            // Leader append-only (figure 3).
            if !kept || is.log().last().index < end.index {
                return Err(format!("{} leads and has removed {end:?}", is.id()));
            }
        }
        let reached = &mut self.reached;
        if new.leads() && !old.leads() {
            reached.push("a leader");
            if is.term().0 > 1 {
                reached.push("a leader of a later term");
            }
        }
        let uncommitted = end.index > was.commit();
        if old.leads() && !new.leads() {
            reached.push("a leader is deposed");
            if uncommitted {
                reached.push("a leader is deposed with an uncommitted tail");
            }
        }
        if !kept && matches!(received, Some(Body::AppendEntries { .. })) {
            reached.push("an uncommitted entry is truncated");
            if was.members_since() > is.log().last().index
                || was.members() != is.members() && was.members_since() > was.commit()
            {
                reached.push("a change of the members is rolled back");
            }
        }
        let head = |raft: &Raft| raft.snapshot().map(|s| s.last);
        if head(was) != head(is)
            && let (Some(last), Some(Body::InstallSnapshot { .. })) = (head(is), received)
        {
            reached.push("a snapshot is installed");
            if uncommitted && !was.log().contains(last) {
                reached.push("a snapshot is installed over a conflicting log");
            }
            if was.log().contains(last) && end.index > last.index {
                reached.push("a snapshot is installed and a tail stays");
            }
        }
        let gave_up = |raft: &Raft| match raft.role() {
            Role::Follower(following) => following.gave_up,
            _ => None,
        };
        if old.leads() && gave_up(is).is_some() {
            reached.push("a leader gives up");
        }
        if is.commit() > was.commit() && old.leads() {
            reached.push("an entry is committed");
        }
        Ok(())
    }
}

/// A ballot for this term, and this attempt if it is a pre-vote.
fn ballot(term: Term, attempt: Option<u64>) -> Ballot {
    let me = NodeId(FIRST_NODE);
    let mut settings = Settings::new(me, Members::voting([me]));
    settings.pre_vote = attempt.is_some();
    let before = match attempt {
        Some(_) => term,
        None => Term(term.0 - 1),
    };
    let disk = Stored::new(HardState {
        term: before,
        voted_for: None,
    });
    let mut raft = Raft::new(at(NOW), settings, disk);
    raft.campaign(At {
        now: NOW,
        random: attempt.unwrap_or_default(),
    })
}

/// What the disk of the n-th node begins with.
pub fn first_disk(order: &Order, nth: usize) -> Stored {
    let first = order.start.get(nth).copied().unwrap_or_default();
    let entry = |first: &First| {
        let (term, payload) = match *first {
            First::Noop(term) => (term, Payload::Noop),
            First::Session(term) => (term, replica::open()),
            First::Without(term, gone) => {
                let voters = (0..order.voters).filter(|&nth| nth != gone);
                let ids = voters.map(|nth| NodeId(FIRST_NODE + nth as u64));
                (term, Payload::Members(Members::voting(ids)))
            }
        };
        Entry {
            term: Term(term),
            time: Time::ZERO,
            payload,
        }
    };
    let all = order.start.iter().copied().flatten().map(entry);
    let term = all.map(|entry| entry.term).max().unwrap_or_default();
    let hard = HardState {
        term,
        voted_for: None,
    };
    Stored::new(hard).with_entries(Vec::from_iter(first.iter().map(entry)))
}

impl fmt::Display for Input<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Input::Receive { message, late } => {
                let late = if *late {
                    ", having heard no leader for long"
                } else {
                    ""
                };
                write!(f, "{message}{late}")
            }
            Input::Campaign => f.write_str("its election timeout passes"),
            Input::Count => f.write_str("counts the votes"),
            Input::Beat => f.write_str("heartbeats are due"),
            Input::GiveUp => f.write_str("heartbeats are due, and what it waits for is late"),
            Input::Propose => f.write_str("a client proposes a command"),
            Input::Call => f.write_str("a client sends its request"),
            Input::Written => f.write_str("the write is durable"),
            Input::Crash { torn: false } => f.write_str("crashes and starts again"),
            Input::Crash { torn: true } => {
                f.write_str("crashes in a write, which happens, and starts again")
            }
            Input::Snapshot => f.write_str("takes a snapshot"),
            Input::Change(Change::Remove(id)) => write!(f, "is to remove {id}"),
            Input::Change(Change::Promote(id)) => write!(f, "is to let {id} vote"),
            Input::Change(Change::Demote(id)) => write!(f, "is to let {id} vote no more"),
            Input::Change(Change::AddLearner { id, .. }) => write!(f, "is to add {id}"),
            Input::Transfer(to) => write!(f, "is to hand over to {to}"),
            Input::Read => f.write_str("a client reads"),
            Input::Retry => f.write_str("asks again for reads"),
        }
    }
}

/// Where an entry stands, in the words of a law.
pub fn place(position: Position) -> String {
    format!("entry {} of {}", position.index, position.term)
}
