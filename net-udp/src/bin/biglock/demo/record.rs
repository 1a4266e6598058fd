//! What the nodes told, and whether it can be true: the demo's part in the safety of elections.
//!
//! The lines of one process arrive in the order in which it wrote them; those of different processes in any order. Every rule below holds
//! under these two alone, so a line that breaks one is a proof, never a matter of timing.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use thiserror::Error;

use super::process::Life;
use crate::line::Line;

/// A rule was broken: what the nodes told can't be true in a correct Raft.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("SAFETY IS BROKEN: {0}")]
pub struct Broken(String);

impl Broken {
    /// This rule was broken.
    pub fn new(what: String) -> Broken {
        Broken(what)
    }
}

/// What was told, and checked.
#[derive(Debug, Default)]
pub struct Record {
    lines: u64,
    lives: BTreeMap<(u64, u32), Told>,
    stored: BTreeMap<u64, Stored>,
    /// The leader of each term, and who told of it first.
    leaders: BTreeMap<u64, (u64, u64)>,
    /// Who voted durably for whom, by term.
    votes: BTreeMap<u64, BTreeMap<u64, u64>>,
    elected: BTreeSet<u64>,
}

/// What one life of a node told.
#[derive(Debug, Default)]
struct Told {
    loaded: Option<u64>,
    /// The latest change of leadership, by its number, and its term.
    latest: (u64, u64),
}

/// Term and vote of a node, as it told that they are durable.
#[derive(Clone, Copy, Debug, Default)]
struct Stored {
    term: u64,
    voted_for: Option<u64>,
}

/// How much was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Lines that processes told.
    pub lines: u64,
    /// Processes that told them.
    pub processes: usize,
    /// Terms that had a leader.
    pub leaders: usize,
    /// Of these, those whose majority of durable votes was counted.
    pub elected: usize,
}

macro_rules! require {
    ($holds:expr, $($broken:tt)*) => {
        if !$holds {
            return Err(Broken(format!($($broken)*)));
        }
    };
}

impl Record {
    /// Takes in a line.
    ///
    /// # Errors
    /// If it breaks a rule.
    pub fn take_in(&mut self, life: Life, line: &Line) -> Result<(), Broken> {
        self.lines += 1;
        let me = life.node;
        let told = self.lives.entry((me, life.number)).or_default();
        match *line {
            Line::Loaded {
                term, voted_for, ..
            } => {
                told.loaded = Some(term);
                self.store(me, "found in its store", Stored { term, voted_for })
            }
            Line::Durable {
                term, voted_for, ..
            } => self.store(me, "stored", Stored { term, voted_for }),
            Line::Leadership {
                change,
                term,
                leader,
                ..
            } => {
                // Two changes that are close together may be told in the other order: their numbers tell which came first.
                let (latest, its_term) = told.latest;
                let in_order = if change > latest {
                    term >= its_term
                } else {
                    term <= its_term
                };
                require!(
                    in_order,
                    "node {me} went back from term {} to term {} in one life",
                    its_term.max(term),
                    its_term.min(term)
                );
                told.latest = told.latest.max((change, term));
                let loaded = told.loaded.unwrap_or(0);
                require!(
                    term >= loaded,
                    "node {me} is in term {term}, and had term {loaded} in its store when it started"
                );
                leader.map_or(Ok(()), |leader| self.lead(me, term, leader))
            }
            Line::Started { .. } | Line::Stopped { .. } => Ok(()),
        }
    }

    /// Term and vote of `me` are durable: neither may ever be taken back, not even by a crash.
    fn store(&mut self, me: u64, how: &str, now: Stored) -> Result<(), Broken> {
        let before = self.stored.insert(me, now).unwrap_or_default();
        require!(
            now.term >= before.term,
            "node {me} {how} term {}, after it had stored term {}",
            now.term,
            before.term
        );
        require!(
            now.term > before.term
                || before.voted_for.is_none()
                || now.voted_for == before.voted_for,
            "node {me} {how} in term {} the vote {:?}, after it had stored {:?}",
            now.term,
            now.voted_for,
            before.voted_for
        );
        if let Some(candidate) = now.voted_for {
            self.votes
                .entry(now.term)
                .or_default()
                .insert(me, candidate);
        }
        Ok(())
    }

    /// `me` says who leads a term: everybody must say the same (election safety, 5.2), and who says it of itself must have stored its
    /// own vote before.
    fn lead(&mut self, me: u64, term: u64, leader: u64) -> Result<(), Broken> {
        let (first, teller) = *self.leaders.entry(term).or_insert((leader, me));
        require!(
            first == leader,
            "two leaders of term {term}: node {first}, says node {teller}; node {leader}, says node {me}"
        );
        let own_vote = self.votes.get(&term).and_then(|votes| votes.get(&me));
        require!(
            leader != me || own_vote == Some(&me),
            "node {me} leads term {term} without a durable vote of its own"
        );
        Ok(())
    }

    /// Checks that the leader of a term has a majority of durable votes. To be asked when all nodes have told that they know it: each told
    /// of its vote before that.
    ///
    /// # Errors
    /// If it has not.
    pub fn check_elected(&mut self, term: u64, leader: u64, majority: usize) -> Result<(), Broken> {
        let votes = self.votes.get(&term).into_iter().flat_map(BTreeMap::values);
        let votes = votes.filter(|&&candidate| candidate == leader).count();
        require!(
            votes >= majority,
            "node {leader} leads term {term} with {votes} durable votes; a majority is {majority}"
        );
        self.elected.insert(term);
        Ok(())
    }

    /// How much was checked.
    pub fn checked(&self) -> Checked {
        Checked {
            lines: self.lines,
            processes: self.lives.len(),
            leaders: self.leaders.len(),
            elected: self.elected.len(),
        }
    }
}

#[cfg(test)]
mod tests;
