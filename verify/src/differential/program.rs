//! Tiny programs over the facade: threads that lock, read, write, wait, broadcast, spawn and join. Plain data.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One step of a thread. A mutex guards one small number; a condvar belongs to one mutex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Takes this mutex.
    Lock(u8),
    /// Gives it up.
    Unlock(u8),
    /// Notes what the mutex guards: that is what a thread sees.
    Read(u8),
    /// Sets what the mutex guards.
    Write(u8, u8),
    /// Adds one to it.
    Add(u8),
    /// Sets it to what this thread read last, plus one: in another section that loses updates.
    Put(u8),
    /// Waits on this condvar, whatever is the case.
    Wait(u8),
    /// Waits on it if what its mutex guards is this.
    WaitIf(u8, u8),
    /// Waits on it, again and again, while what its mutex guards is this.
    WaitWhile(u8, u8),
    /// Wakes all who wait on this condvar; with or without its mutex.
    Broadcast(u8),
    /// Starts this thread.
    Spawn(u8),
    /// Waits for the end of this thread.
    Join(u8),
}

/// A program. Thread 0 is there from the beginning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// How many mutexes there are.
    pub mutexes: u8,
    /// For each condvar, the mutex that it belongs to.
    pub condvars: Vec<u8>,
    /// What each thread does.
    pub threads: Vec<Vec<Op>>,
}

/// How one execution ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Outcome {
    /// What the mutexes guard.
    pub values: Vec<u8>,
    /// What each thread saw.
    pub seen: Vec<Vec<u8>>,
    /// At which step each thread stays for ever. Nothing for those that ended.
    pub stuck: Vec<Option<u8>>,
}

impl Outcome {
    /// Whether somebody waits for ever.
    pub fn is_stuck(&self) -> bool {
        self.stuck.iter().any(Option::is_some)
    }
}

/// The largest number of orders of the visible steps that a program may have, were there nothing to wait for: what keeps a search short.
const MAX_ORDERS: u64 = 600;

impl Program {
    /// Program number `which` of this seed.
    pub fn draw(seed: u64, which: u64) -> Program {
        let mut rng = fastrand::Rng::with_seed(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ which);
        loop {
            let program = Program::attempt(&mut rng);
            if program.orders() <= MAX_ORDERS {
                return program;
            }
        }
    }

    fn attempt(rng: &mut fastrand::Rng) -> Program {
        match rng.u8(..3) {
            0 => Program::of_waiters(rng),
            _ => Program::of_anything(rng),
        }
    }

    /// Some wait on the same condvar, and somebody wakes them: what seldom comes of chance alone.
    fn of_waiters(rng: &mut fastrand::Rng) -> Program {
        let mutexes = 1 + rng.u8(..2);
        let program = Program {
            mutexes,
            condvars: vec![0; [1, 1, 2][rng.usize(..3)]],
            threads: Vec::new(),
        };
        let workers = [2, 3, 3][rng.usize(..3)];
        let mut threads = vec![(1..=workers).map(Op::Spawn).collect::<Vec<_>>()];
        for worker in 1..=workers {
            let condvar = program.any_condvar(rng);
            let mut ops = Vec::new();
            if worker < workers && rng.u8(..4) > 0 {
                let outer = (mutexes > 1 && rng.u8(..4) == 0).then_some(1);
                ops.extend(outer.map(Op::Lock));
                ops.push(Op::Lock(0));
                ops.push(match rng.u8(..4) {
                    0 => Op::Wait(condvar),
                    1 => Op::WaitIf(condvar, 0),
                    _ => Op::WaitWhile(condvar, rng.u8(..2)),
                });
                ops.push([Op::Read(0), Op::Add(0)][rng.usize(..2)]);
                ops.push(Op::Unlock(0));
                ops.extend(outer.map(Op::Unlock));
            } else {
                ops.extend([Op::Lock(0), [Op::Write(0, 1), Op::Add(0)][rng.usize(..2)]]);
                let last = match rng.u8(..3) {
                    0 => [Op::Unlock(0), Op::Broadcast(condvar)],
                    _ => [Op::Broadcast(condvar), Op::Unlock(0)],
                };
                ops.extend(last);
                if rng.u8(..3) == 0 {
                    ops.extend(program.section(rng));
                }
            }
            threads.push(ops);
        }
        Program { threads, ..program }
    }

    fn of_anything(rng: &mut fastrand::Rng) -> Program {
        let mutexes = [1, 1, 1, 2, 2, 2, 2, 3][rng.usize(..8)];
        let condvars = (0..[0, 1, 1, 1, 2, 2][rng.usize(..6)])
            .map(|_| rng.u8(..mutexes))
            .collect();
        let workers = [2, 2, 2, 3, 3][rng.usize(..5)];
        let mut program = Program {
            mutexes,
            condvars,
            threads: vec![Vec::new()],
        };
        for _ in 0..workers {
            let sections = 1 + rng.usize(..3);
            let worker = (0..sections).flat_map(|_| program.section(rng)).collect();
            program.threads.push(worker);
        }
        // Who spawns, and when: mostly the first thread, at its beginning; perhaps with a lock held, perhaps one worker the next.
        let mut main: Vec<Op> = (1..=workers).map(Op::Spawn).collect();
        if rng.u8(..6) == 0 {
            main.pop();
            program.threads[1].insert(0, Op::Spawn(workers));
        }
        if rng.u8(..5) == 0 {
            let held = rng.u8(..mutexes);
            main.insert(0, Op::Lock(held));
            main.push(Op::Unlock(held));
        }
        if rng.u8(..4) == 0 {
            main.extend(program.section(rng));
        }
        if rng.u8(..3) == 0 {
            let joined = main.clone().into_iter().filter_map(|op| match op {
                Op::Spawn(thread) => Some(Op::Join(thread)),
                _ => None,
            });
            main.extend(joined.take(1 + rng.usize(..2)));
            if rng.bool() {
                let read = |m| [Op::Lock(m), Op::Read(m), Op::Unlock(m)];
                main.extend((0..mutexes).flat_map(read));
            }
        }
        program.threads[0] = main;
        program
    }

    /// A critical section, perhaps with another one in it; perhaps a broadcast after it.
    fn section(&self, rng: &mut fastrand::Rng) -> Vec<Op> {
        let outer = rng.u8(..self.mutexes);
        let mut ops = vec![Op::Lock(outer)];
        for _ in 0..1 + rng.usize(..2) {
            ops.push(self.inner(rng, outer));
        }
        let another = (0..self.mutexes)
            .filter(|&m| m != outer)
            .collect::<Vec<_>>();
        if !another.is_empty() && rng.bool() {
            let inner = another[rng.usize(..another.len())];
            ops.push(Op::Lock(inner));
            ops.push(self.inner(rng, inner));
            // Hand over hand, now and then.
            let (first, second) = match rng.u8(..4) {
                0 => (outer, inner),
                _ => (inner, outer),
            };
            ops.extend([Op::Unlock(first), Op::Unlock(second)]);
        } else {
            ops.push(Op::Unlock(outer));
        }
        if !self.condvars.is_empty() && rng.u8(..6) == 0 {
            ops.push(Op::Broadcast(self.any_condvar(rng)));
        }
        ops
    }

    /// Something that is done while this mutex is held.
    fn inner(&self, rng: &mut fastrand::Rng, held: u8) -> Op {
        let mut own = (0..self.condvars.len() as u8).collect::<Vec<_>>();
        own.retain(|&condvar| self.condvars[usize::from(condvar)] == held);
        if !own.is_empty() && rng.u8(..3) == 0 {
            let condvar = own[rng.usize(..own.len())];
            return match rng.u8(..6) {
                0 => Op::Wait(condvar),
                1 | 2 => Op::WaitIf(condvar, rng.u8(..2)),
                _ => Op::WaitWhile(condvar, rng.u8(..2)),
            };
        }
        if !self.condvars.is_empty() && rng.u8(..4) == 0 {
            return Op::Broadcast(self.any_condvar(rng));
        }
        match rng.u8(..6) {
            0 | 1 => Op::Read(held),
            2 => Op::Write(held, rng.u8(..3)),
            3 | 4 => Op::Add(held),
            _ => Op::Put(held),
        }
    }

    fn any_condvar(&self, rng: &mut fastrand::Rng) -> u8 {
        rng.u8(..self.condvars.len() as u8)
    }

    /// In how many orders the steps could come that one thread can see of another, if none of them waited.
    fn orders(&self) -> u64 {
        let visible = |op: &Op| match op {
            Op::Lock(_) | Op::Broadcast(_) | Op::Join(_) => 1,
            Op::Wait(_) | Op::WaitIf(..) | Op::WaitWhile(..) => 2,
            _ => 0,
        };
        let mut orders: u64 = 1;
        let mut all = 0;
        for thread in &self.threads {
            for own in 1..=thread.iter().map(visible).sum::<u64>() {
                all += 1;
                // A product of binomials, so each division is exact.
                orders = orders.saturating_mul(all) / own;
            }
        }
        orders
    }

    /// Whether it is one that the facade would let anybody write: each thread holds what it uses, gives up what it holds, and is spawned once and
    /// joined by who spawned it.
    pub fn is_sound(&self) -> bool {
        let mut spawned = vec![0; self.threads.len()];
        for thread in &self.threads {
            let mut held = Vec::new();
            let mut own = Vec::new();
            for &op in thread {
                let fits = match op {
                    Op::Lock(m) => !held.contains(&m) && m < self.mutexes,
                    Op::Unlock(m) | Op::Read(m) | Op::Write(m, _) | Op::Add(m) | Op::Put(m) => {
                        held.contains(&m)
                    }
                    Op::Wait(c) | Op::WaitIf(c, _) | Op::WaitWhile(c, _) => {
                        let of = self.condvars.get(usize::from(c));
                        of.is_some_and(|m| held.contains(m))
                    }
                    Op::Broadcast(c) => usize::from(c) < self.condvars.len(),
                    Op::Spawn(t) => t > 0 && usize::from(t) < self.threads.len(),
                    Op::Join(t) => own.contains(&t),
                };
                if !fits {
                    return false;
                }
                match op {
                    Op::Lock(m) => held.push(m),
                    Op::Unlock(m) => held.retain(|&other| other != m),
                    Op::Spawn(t) => {
                        spawned[usize::from(t)] += 1;
                        own.push(t);
                    }
                    Op::Join(t) => own.retain(|&other| other != t),
                    _ => {}
                }
            }
            if !held.is_empty() {
                return false;
            }
        }
        spawned
            .iter()
            .enumerate()
            .all(|(t, &times)| times == u32::from(t > 0))
    }

    /// Whether it could be a model: one thread spawns the others and does nothing else, and each of those begins with a lock.
    pub fn fits_the_gate(&self) -> bool {
        let (first, others) = self.threads.split_first().expect("there is a first thread");
        let spawns = first.iter().all(|op| matches!(op, Op::Spawn(_)));
        let mut begins = others.iter().map(|thread| thread.first());
        spawns && first.len() == others.len() && begins.all(|op| matches!(op, Some(Op::Lock(_))))
    }

    /// Programs that are a little smaller: without one step, or without one pair of lock and unlock, or without one thread.
    pub fn smaller(&self) -> Vec<Program> {
        let mut all = Vec::new();
        for t in 1..self.threads.len() {
            let mut program = self.clone();
            program.threads.remove(t);
            let t = t as u8;
            for thread in &mut program.threads {
                thread.retain(|op| !matches!(op, Op::Spawn(s) | Op::Join(s) if *s == t));
                for op in thread {
                    if let Op::Spawn(s) | Op::Join(s) = op {
                        *s -= u8::from(*s > t);
                    }
                }
            }
            all.push(program);
        }
        for (t, thread) in self.threads.iter().enumerate() {
            for (at, op) in thread.iter().enumerate() {
                let mut program = self.clone();
                program.threads[t].remove(at);
                if let Op::Lock(m) = op {
                    let mut rest = program.threads[t][at..].iter();
                    let unlock = rest.position(|op| *op == Op::Unlock(*m));
                    let Some(unlock) = unlock else { continue };
                    program.threads[t].remove(at + unlock);
                }
                all.push(program);
            }
        }
        all.retain(Program::is_sound);
        all
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mutex = |m: u8| char::from(b'a' + m);
        match *self {
            Op::Lock(m) => write!(f, "lock {}", mutex(m)),
            Op::Unlock(m) => write!(f, "unlock {}", mutex(m)),
            Op::Read(m) => write!(f, "read {}", mutex(m)),
            Op::Write(m, value) => write!(f, "{} = {value}", mutex(m)),
            Op::Add(m) => write!(f, "{} += 1", mutex(m)),
            Op::Put(m) => write!(f, "{} = read + 1", mutex(m)),
            Op::Wait(c) => write!(f, "wait c{c}"),
            Op::WaitIf(c, value) => write!(f, "wait c{c} if {value}"),
            Op::WaitWhile(c, value) => write!(f, "wait c{c} while {value}"),
            Op::Broadcast(c) => write!(f, "broadcast c{c}"),
            Op::Spawn(t) => write!(f, "spawn {t}"),
            Op::Join(t) => write!(f, "join {t}"),
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (c, &m) in self.condvars.iter().enumerate() {
            writeln!(f, "c{c} belongs to {}", char::from(b'a' + m))?;
        }
        for (t, thread) in self.threads.iter().enumerate() {
            let ops: Vec<String> = thread.iter().map(Op::to_string).collect();
            writeln!(f, "thread {t}: {}", ops.join("; "))?;
        }
        Ok(())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "values {:?}, seen {:?}", self.values, self.seen)?;
        for (t, at) in self.stuck.iter().enumerate() {
            if let Some(at) = at {
                write!(f, ", thread {t} stays at step {at}")?;
            }
        }
        Ok(())
    }
}
