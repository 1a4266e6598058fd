//! Dead ends: whether a state can go on at all.
//!
//! From a state, everything that is under way is lost, and then nothing more is: no node fails, every message arrives once and in order, and the
//! nodes stand for election in turn, as often as it takes. A leader must be found that commits all that it has and a command more. That is
//! one continuation of very many, and it shows what it shows: from here, one of them leads on. That a cluster finds it in time is for the
//! simulator to say.
//!
//! What is under way is lost, so this depends on the nodes alone: every combination of them is tried once.

use std::collections::VecDeque;
use std::sync::Mutex;

use super::known::{Action, Event, Library};
use super::search::{locked, part};
use super::seen::Seen;
use super::tape::MAX_NODES;

/// More than any recovery takes: two nodes that answer each other for ever would never be done.
const MOST: usize = 5_000;

/// The nodes of one state, and what is under way between them from now on.
struct Cluster<'a, 'l> {
    library: &'a mut Library<'l>,
    nodes: [u32; MAX_NODES],
    many: usize,
    wire: VecDeque<u32>,
    steps: Vec<Action>,
}

/// Whether these nodes can go on, with nothing under way between them. `settled` has the combinations of which that is known.
///
/// # Errors
/// What is wrong: they can't, or a law was broken on the way. And the steps to that.
pub fn recovers(
    library: &mut Library<'_>,
    nodes: [u32; MAX_NODES],
    settled: &[Mutex<Seen>],
) -> Result<(), (String, Vec<Action>)> {
    let many = library.known.order.nodes;
    let mut cluster = Cluster {
        library,
        nodes,
        many,
        wire: VecDeque::new(),
        steps: Vec::new(),
    };
    let gone_on = cluster.go_on(settled);
    gone_on.map_err(|wrong| (wrong, cluster.steps))
}

impl Cluster<'_, '_> {
    fn go_on(&mut self, settled: &[Mutex<Seen>]) -> Result<(), String> {
        let known = |name: u128| locked(&settled[part(name)]).contains(name);
        let mut passed = vec![self.name()];
        if known(passed[0]) {
            return Ok(());
        }
        (0..self.many).try_for_each(|nth| self.settle(nth))?;
        self.wire.clear();
        let mut turn = 0;
        while !self.has_gone_on()? {
            let nth = turn % self.many;
            if turn == 3 * self.many {
                return Err(
                    "a dead end: nothing fails any more, and nobody can lead and commit".into(),
                );
            }
            if self.library.node(self.nodes[nth]).thing.campaigns {
                self.act(nth, Event::Campaign)?;
                self.deliver()?;
                let name = self.name();
                if known(name) {
                    break;
                }
                passed.push(name);
            }
            turn += 1;
        }
        for name in passed {
            locked(&settled[part(name)]).insert(name);
        }
        Ok(())
    }

    fn name(&self) -> u128 {
        self.library.name_of_nodes(&self.nodes[..self.many])
    }

    fn act(&mut self, nth: usize, event: Event) -> Result<(), String> {
        let node = nth as u8;
        self.steps.push(Action { node, event });
        if self.steps.len() > MOST {
            return Err("a dead end: nothing fails any more, and it never becomes quiet".into());
        }
        let number = self.library.step(self.nodes[nth], event);
        let outcome = self.library.outcome(number);
        if let Some(broken) = &outcome.broken {
            return Err(broken.clone());
        }
        self.nodes[nth] = outcome.next;
        self.wire.extend(&outcome.sent);
        Ok(())
    }

    /// Disks and election threads are not slow any more.
    fn settle(&mut self, nth: usize) -> Result<(), String> {
        loop {
            let node = &self.library.node(self.nodes[nth]).thing;
            if node.writes {
                self.act(nth, Event::Written)?;
            } else if node.has_won {
                self.act(nth, Event::Count)?;
            } else {
                return Ok(());
            }
        }
    }

    fn deliver(&mut self) -> Result<(), String> {
        (0..self.many).try_for_each(|nth| self.settle(nth))?;
        while let Some(message) = self.wire.pop_front() {
            let nth = self.library.message(message).thing.to;
            // Who heard a leader heard it long ago.
            self.act(nth, Event::Receive(message, true))?;
            self.settle(nth)?;
        }
        Ok(())
    }

    /// Whether somebody leads and can commit.
    fn has_gone_on(&mut self) -> Result<bool, String> {
        let node = |nth: usize| &self.library.node(self.nodes[nth]).thing;
        let leaders = (0..self.many).filter(|&nth| node(nth).leads);
        let Some(nth) = leaders.max_by_key(|&nth| node(nth).term) else {
            return Ok(false);
        };
        // A transfer that went nowhere is given up.
        let transfers = node(nth).transfers;
        let beat = match transfers && !self.library.known.order.check_quorum {
            true => Event::GiveUp,
            false => Event::Beat,
        };
        for event in [beat, Event::Propose, Event::Beat] {
            self.act(nth, event)?;
            self.deliver()?;
        }
        let leader = &self.library.node(self.nodes[nth]).thing;
        let end = leader.machine.raft.log().last();
        Ok(leader.leads && leader.commit == end.index && end.term == leader.term)
    }
}
