//! Every interleaving of a tiny program, one step at a time, with no idea of what could be left out. It shares nothing with loom.
//!
//! A state that was met before is not gone through again: it has the same future. That is the only saving. What each thread saw is part of
//! the state, so no two histories that differ in anything visible are taken for one.

use std::collections::{BTreeMap, BTreeSet};

use super::program::{Op, Outcome, Program};

/// By which rules a program is run: the right ones, or with one of them broken, to see that the comparison notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// A mutex excludes; to wait gives up the mutex and sleeps in one step; a broadcast wakes all who sleep, and nothing else wakes anybody.
    Right,
    /// A mutex excludes nobody.
    NoExclusion,
    /// A broadcast wakes one.
    WakesOne,
    /// To wait gives up the mutex in one step and sleeps in the next.
    SleepsLate,
    /// Who sleeps may wake for no reason.
    WakesForNothing,
}

/// What came of running a program in every way.
#[derive(Clone, Debug, Default)]
pub struct Explored {
    /// All ends.
    pub outcomes: BTreeSet<Outcome>,
    /// How many states there are.
    pub states: u64,
    /// How many interleavings, each from the beginning to its end.
    pub interleavings: u128,
}

impl Explored {
    /// Whether some interleaving ends with somebody waiting for ever.
    pub fn can_stick(&self) -> bool {
        self.outcomes.iter().any(Outcome::is_stuck)
    }
}

/// Runs `program` in every way.
pub fn explore(program: &Program, rules: Rules) -> Explored {
    let mut search = Search {
        program,
        rules,
        seen: BTreeMap::new(),
        outcomes: BTreeSet::new(),
    };
    let first = State {
        values: vec![0; program.mutexes.into()],
        owners: vec![None; program.mutexes.into()],
        threads: (0..program.threads.len())
            .map(|t| Thread {
                step: 0,
                is: if t == 0 { Is::Awake } else { Is::Unborn },
                read: 0,
                seen: Vec::new(),
            })
            .collect(),
    };
    let interleavings = search.from(first);
    Explored {
        outcomes: search.outcomes,
        states: search.seen.len() as u64,
        interleavings,
    }
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    values: Vec<u8>,
    owners: Vec<Option<u8>>,
    threads: Vec<Thread>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Thread {
    step: u8,
    is: Is,
    read: u8,
    seen: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Is {
    /// Not spawned yet.
    Unborn,
    /// At its next step.
    Awake,
    /// It gave up the mutex and does not sleep yet: only if that rule is broken.
    Drowsy,
    /// Asleep on the condvar of its step.
    Asleep,
    /// Woken; it needs the mutex again.
    Woken,
}

struct Search<'a> {
    program: &'a Program,
    rules: Rules,
    /// The states, and how many interleavings begin in each.
    seen: BTreeMap<State, u128>,
    outcomes: BTreeSet<Outcome>,
}

impl Search<'_> {
    fn from(&mut self, state: State) -> u128 {
        if let Some(&known) = self.seen.get(&state) {
            return known;
        }
        // For a broken rule by which somebody can go round in circles: the circle is not counted.
        self.seen.insert(state.clone(), 0);
        let mut next = Vec::new();
        for t in 0..state.threads.len() {
            next.extend(self.step(&state, t));
        }
        let interleavings = match next.is_empty() {
            true => {
                self.outcomes.insert(self.outcome(&state));
                1
            }
            false => next.into_iter().map(|state| self.from(state)).sum(),
        };
        self.seen.insert(state, interleavings);
        interleavings
    }

    fn has_ended(&self, state: &State, t: usize) -> bool {
        let thread = &state.threads[t];
        thread.is == Is::Awake && usize::from(thread.step) == self.program.threads[t].len()
    }

    fn outcome(&self, state: &State) -> Outcome {
        let stuck = |t| (!self.has_ended(state, t)).then_some(state.threads[t].step);
        Outcome {
            values: state.values.clone(),
            seen: state.threads.iter().map(|t| t.seen.clone()).collect(),
            stuck: (0..state.threads.len()).map(stuck).collect(),
        }
    }

    /// The state after the next step of thread `t`. Nothing if it has none now.
    fn step(&self, state: &State, t: usize) -> Option<State> {
        let op = *self.program.threads[t].get(usize::from(state.threads[t].step))?;
        let mut next = state.clone();
        let me = &mut next.threads[t];
        match me.is {
            Is::Unborn => return None,
            Is::Drowsy => {
                me.is = Is::Asleep;
                return Some(next);
            }
            Is::Asleep if self.rules == Rules::WakesForNothing => {
                me.is = Is::Woken;
                return Some(next);
            }
            Is::Asleep => return None,
            Is::Woken => {
                let (Op::Wait(c) | Op::WaitIf(c, _) | Op::WaitWhile(c, _)) = op else {
                    unreachable!("only a wait sleeps");
                };
                self.take(&mut next, t, self.program.condvars[usize::from(c)])?;
                next.threads[t].is = Is::Awake;
                // Who waits in a loop looks again.
                let again = matches!(op, Op::WaitWhile(..));
                next.threads[t].step += u8::from(!again);
                return Some(next);
            }
            Is::Awake => {}
        }
        me.step += 1;
        match op {
            Op::Lock(m) => self.take(&mut next, t, m)?,
            Op::Unlock(m) => next.owners[usize::from(m)] = None,
            Op::Read(m) => {
                me.read = next.values[usize::from(m)];
                me.seen.push(me.read);
            }
            Op::Write(m, value) => next.values[usize::from(m)] = value,
            Op::Add(m) => next.values[usize::from(m)] += 1,
            Op::Put(m) => next.values[usize::from(m)] = me.read + 1,
            Op::Wait(c) => self.sleep(&mut next, t, c),
            Op::WaitIf(c, value) | Op::WaitWhile(c, value) => {
                let m = self.program.condvars[usize::from(c)];
                if next.values[usize::from(m)] == value {
                    self.sleep(&mut next, t, c);
                }
            }
            Op::Broadcast(c) => self.wake(&mut next, c),
            Op::Spawn(other) => next.threads[usize::from(other)].is = Is::Awake,
            Op::Join(other) => {
                if !self.has_ended(state, other.into()) {
                    return None;
                }
            }
        }
        Some(next)
    }

    fn take(&self, state: &mut State, t: usize, mutex: u8) -> Option<()> {
        let owner = &mut state.owners[usize::from(mutex)];
        if owner.is_some() && self.rules != Rules::NoExclusion {
            return None;
        }
        *owner = Some(t as u8);
        Some(())
    }

    fn sleep(&self, state: &mut State, t: usize, condvar: u8) {
        state.owners[usize::from(self.program.condvars[usize::from(condvar)])] = None;
        state.threads[t].step -= 1;
        state.threads[t].is = match self.rules {
            Rules::SleepsLate => Is::Drowsy,
            _ => Is::Asleep,
        };
    }

    fn wake(&self, state: &mut State, condvar: u8) {
        for (t, thread) in state.threads.iter_mut().enumerate() {
            let op = self.program.threads[t].get(usize::from(thread.step));
            let on = |c: &u8| *c == condvar;
            let sleeps = thread.is == Is::Asleep
                && matches!(op, Some(Op::Wait(c) | Op::WaitIf(c, _) | Op::WaitWhile(c, _)) if on(c));
            if sleeps {
                thread.is = Is::Woken;
                if self.rules == Rules::WakesOne {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Op::*;
    use super::*;

    fn run(mutexes: u8, condvars: &[u8], threads: &[&[Op]]) -> Explored {
        let program = Program {
            mutexes,
            condvars: condvars.to_vec(),
            threads: threads.iter().map(|ops| ops.to_vec()).collect(),
        };
        assert!(program.is_sound(), "{program}");
        explore(&program, Rules::Right)
    }

    #[test]
    fn two_counters_under_one_lock_lose_nothing_and_in_two_sections_they_do() {
        let add: &[Op] = &[Lock(0), Add(0), Unlock(0)];
        let found = run(1, &[], &[&[Spawn(1), Spawn(2)], add, add]);
        let values = |found: Explored| {
            let all = found.outcomes.into_iter();
            all.map(|end| end.values[0]).collect::<BTreeSet<u8>>()
        };
        assert_eq!(values(found), [2].into());
        let torn: &[Op] = &[Lock(0), Read(0), Unlock(0), Lock(0), Put(0), Unlock(0)];
        let found = run(1, &[], &[&[Spawn(1), Spawn(2)], torn, torn]);
        assert_eq!(values(found), [1, 2].into());
    }

    #[test]
    fn interleavings_are_counted_and_not_only_states() {
        // Each worker has three steps; the second is born before the first can run, or after one to three of its steps.
        let read: &[Op] = &[Lock(0), Unlock(0)];
        let other: &[Op] = &[Lock(1), Unlock(1)];
        let found = run(2, &[], &[&[Spawn(1), Spawn(2)], read, other]);
        // 4! / (2! 2!) = 6 after both spawns; with the second spawn after k steps of the first, one is born in between.
        // Sequences of "spawn 2" followed by two steps, merged with two steps of thread 1: 5! / (3! 2!) = 10.
        assert_eq!(found.interleavings, 10);
    }

    #[test]
    fn locks_in_two_orders_deadlock() {
        let ab: &[Op] = &[Lock(0), Lock(1), Unlock(1), Unlock(0)];
        let ba: &[Op] = &[Lock(1), Lock(0), Unlock(0), Unlock(1)];
        let found = run(2, &[], &[&[Spawn(1), Spawn(2)], ab, ba]);
        let stuck: Vec<_> = found.outcomes.iter().filter(|o| o.is_stuck()).collect();
        assert_eq!(stuck.len(), 1);
        assert_eq!(stuck[0].stuck, [None, Some(1), Some(1)]);
        assert_eq!(found.outcomes.len(), 2);
        let same = run(2, &[], &[&[Spawn(1), Spawn(2)], ab, ab]);
        assert!(!same.can_stick());
    }

    #[test]
    fn a_wake_up_is_lost_if_nobody_looks_before_sleeping() {
        let keeper: &[Op] = &[Lock(0), Write(0, 1), Broadcast(0), Unlock(0)];
        for (wait, lost) in [
            (Wait(0), true),
            (WaitIf(0, 0), false),
            (WaitWhile(0, 0), false),
        ] {
            let waiter: &[Op] = &[Lock(0), wait, Read(0), Unlock(0)];
            let found = run(1, &[0], &[&[Spawn(1), Spawn(2)], waiter, keeper]);
            assert_eq!(found.can_stick(), lost, "{wait}");
        }
    }

    #[test]
    fn an_if_bears_no_unrelated_broadcast_and_a_while_does() {
        let keeper: &[Op] = &[
            Lock(0),
            Broadcast(0),
            Unlock(0),
            Lock(0),
            Write(0, 1),
            Broadcast(0),
            Unlock(0),
        ];
        for (wait, early) in [(WaitIf(0, 0), true), (WaitWhile(0, 0), false)] {
            let waiter: &[Op] = &[Lock(0), wait, Read(0), Unlock(0)];
            let found = run(1, &[0], &[&[Spawn(1), Spawn(2)], waiter, keeper]);
            let too_early = found.outcomes.iter().any(|end| end.seen[1] == [0]);
            assert_eq!(too_early, early, "{wait}");
        }
    }

    #[test]
    fn a_join_waits_for_the_end() {
        let add: &[Op] = &[Lock(0), Add(0), Unlock(0)];
        let main: &[Op] = &[Spawn(1), Join(1), Lock(0), Read(0), Unlock(0)];
        let found = run(1, &[], &[main, add]);
        let seen: Vec<_> = found
            .outcomes
            .iter()
            .map(|end| end.seen[0].clone())
            .collect();
        assert_eq!(seen, [[1]]);
    }

    #[test]
    fn each_broken_rule_shows_in_a_program_made_for_it() {
        let outcomes = |rules, condvars: &[u8], threads: &[&[Op]]| {
            let threads = threads.iter().map(|ops| ops.to_vec()).collect();
            let program = Program {
                mutexes: 1,
                condvars: condvars.to_vec(),
                threads,
            };
            explore(&program, rules).outcomes
        };
        let main: &[Op] = &[Spawn(1), Spawn(2)];
        let three: &[Op] = &[Spawn(1), Spawn(2), Spawn(3)];
        let add: &[Op] = &[Lock(0), Read(0), Add(0), Unlock(0)];
        let waiter: &[Op] = &[Lock(0), WaitWhile(0, 0), Unlock(0)];
        let keeper: &[Op] = &[Lock(0), Write(0, 1), Broadcast(0), Unlock(0)];
        let once: &[Op] = &[Lock(0), Wait(0), Read(0), Unlock(0)];
        let threads = [main, add, add];
        let right = outcomes(Rules::Right, &[], &threads);
        assert_ne!(outcomes(Rules::NoExclusion, &[], &threads), right);
        let threads = [three, waiter, waiter, keeper];
        let right = outcomes(Rules::Right, &[0], &threads);
        assert_ne!(outcomes(Rules::WakesOne, &[0], &threads), right);
        assert_ne!(outcomes(Rules::SleepsLate, &[0], &threads), right);
        let threads = [main, once, keeper];
        let right = outcomes(Rules::Right, &[0], &threads);
        assert_ne!(outcomes(Rules::WakesForNothing, &[0], &threads), right);
    }

    #[test]
    fn every_program_that_is_drawn_is_sound_and_so_are_the_smaller_ones() {
        for which in 0..500 {
            let program = Program::draw(7, which);
            assert!(program.is_sound(), "{program}");
            assert_eq!(program, Program::draw(7, which), "a seed says it all");
            assert!(program.smaller().iter().all(Program::is_sound));
        }
    }
}
