//! The bank: Alice and Bob move money to and fro, and an auditor looks at both accounts.
//!
//! Every access is under the lock, in both versions. It is not accesses that a lock protects, but invariants: "together they have two". In the first
//! version that is not true whenever the lock is free between a withdrawal and its deposit.

use biglock::lock::Outside;

use super::{Lesson, Lock, State, broken, lock, mended};
use crate::world::World;

/// The versions.
pub const LESSONS: &[Lesson] = &[
    broken(
        "course-bank-two-sections",
        "broken: a transfer is two sections, and the auditor sees money missing",
        3,
        "money is missing",
        |world| open(world, in_two_sections),
    ),
    mended(
        "course-bank",
        "a transfer is one section, and no audit sees money missing",
        3,
        &["before any transfer", "between two transfers"],
        |world| open(world, in_one_section),
    ),
];

#[derive(Clone, PartialEq)]
struct Bank {
    alice: u8,
    bob: u8,
}

impl State for Bank {
    fn show(&self) -> String {
        format!("alice {}, bob {}", self.alice, self.bob)
    }
}

/// Moves one from Alice to Bob, or back.
type Transfer = fn(&Lock<Bank>, &mut Outside, to_bob: bool);

fn in_two_sections(bank: &Lock<Bank>, outside: &mut Outside, to_bob: bool) {
    bank.enter(outside, "withdraw", |bank| match to_bob {
        true => bank.alice -= 1,
        false => bank.bob -= 1,
    });
    bank.enter(outside, "deposit", |bank| match to_bob {
        true => bank.bob += 1,
        false => bank.alice += 1,
    });
}

fn in_one_section(bank: &Lock<Bank>, outside: &mut Outside, to_bob: bool) {
    bank.enter(outside, "transfer", |bank| match to_bob {
        true => {
            bank.alice -= 1;
            bank.bob += 1;
        }
        false => {
            bank.bob -= 1;
            bank.alice += 1;
        }
    });
}

fn open(world: &World, transfer: Transfer) {
    let bank = lock(world, Bank { alice: 2, bob: 2 });
    for (name, to_bob) in [("alice", true), ("bob", false)] {
        let bank = bank.clone();
        world.thread(name, move |outside| {
            transfer(&bank, outside, to_bob);
            transfer(&bank, outside, to_bob);
        });
    }
    let there = world.clone();
    world.thread("auditor", move |outside| {
        for _ in 0..2 {
            bank.enter(outside, "audit", |bank| {
                let both = bank.alice + bank.bob;
                assert_eq!(both, 4, "money is missing, or there is too much");
                there.reached(match bank.alice {
                    2 => "before any transfer",
                    _ => "between two transfers",
                });
            });
        }
    });
}
