//! What the extended Raft paper (Ongaro and Ousterhout, 2014) and the dissertation (Ongaro, 2014) say: one test per
//! sentence. A test's comment quotes the sentence, its name says it again, and its body runs it on the pure rules in virtual time.

mod common;

#[path = "paper/dissertation.rs"]
mod dissertation;
#[path = "paper/writes.rs"]
mod durability;
#[path = "paper/economy.rs"]
mod economy;
#[path = "paper/figure_2.rs"]
mod figure_2;
#[path = "paper/limits.rs"]
mod limits;
#[path = "paper/pieces.rs"]
mod pieces;
#[path = "paper/promises.rs"]
mod promises;
#[path = "paper/terms.rs"]
mod section_5_1_terms;
#[path = "paper/elections.rs"]
mod section_5_2_elections;
#[path = "paper/replication.rs"]
mod section_5_3_replication;
#[path = "paper/restriction.rs"]
mod section_5_4_1_restriction;
#[path = "paper/commitment.rs"]
mod section_5_4_2_commitment;
#[path = "paper/timing.rs"]
mod section_5_5_and_5_6_crashes_and_timing;
#[path = "paper/membership.rs"]
mod section_6_membership;
#[path = "paper/snapshots.rs"]
mod section_7_snapshots;
#[path = "paper/clients.rs"]
mod section_8_clients;
#[path = "paper/transfer.rs"]
mod transfer;
