//! The proof: models of the shipped node under loom, and the catalogue of known bugs.
//!
//! `cargo verify` builds this package with `--cfg biglock_loom`, in a target folder of its own. Without that cfg there is no checker and
//! no model: only the catalogue's pages, the pictures and the report, which the ordinary tests cover.
//!
//! | module | what it has |
//! |---|---|
//! | `check` | checks of a program of your own around a `Node`: begin here if you link Biglock |
//! | `harness` | runs one model: every interleaving, no bound, exhaustion witnessed |
//! | `world` | what a model is made of: nodes, disks, network, threads, and the laws that hold in each execution |
//! | `models` | the models |
//! | `course` | the programs of the course, broken and mended, as models |
//! | [`differential`] | loom, checked by a brute force, on random programs over the facade |
//! | [`record`] | what happened in one execution |
//! | [`diagram`] | one history as a picture: of threads or of nodes, as text or as SVG |
//! | [`catalogue`] | known bugs: a page and a patch each |
//! | [`measured`], [`tries`] | how hard a known bug is to find: by a bounded search, and at random |
//! | [`plant`] | plants a bug in a copy of the source, builds it, and sees whether a check finds it |
//! | [`linearizable`] | judges what the clients of a key-value store saw |
//! | [`explore`] | every order of the messages of several nodes, within bounds |
//! | [`sim`] | whole clusters in virtual time, on machines that fail in every way we could think of |
//! | [`spec`] | the specification of Raft, and whether a step of a node is in it |
//! | `schedules` | whole clusters with all their threads, under random schedules |
//! | [`lab`] | the lab suite of the course, and more of its kind, on the simulator |
//! | [`report`] | rows, tables, JSON, the golden counts |
//! | [`proof`] | the same by rule: which checks stand for which |
//! | [`options`], [`near`] | what is asked on the command line, and what was meant |
//! | [`output`] | tries at the beginning what is written at the end |
//! | [`page`] | the same as a page, with the pictures |
//! | [`jobs`] | runs models as processes, over the cores, with progress |
//! | `here`, `rows` | one model in a process of its own; its row |
//!
//! The program has one file more, `stacks`, with the only unsafe code that takes part in a check: it is what makes executions cheap. This library has none.

#![forbid(unsafe_code)]

pub mod catalogue;
#[cfg(biglock_loom)]
pub mod check;
#[cfg(any(biglock_loom, biglock_shuttle))]
mod checker;
#[cfg(any(biglock_loom, biglock_shuttle))]
pub mod course;
pub mod diagram;
pub mod differential;
pub mod explore;
#[cfg(any(biglock_loom, biglock_shuttle))]
pub mod harness;
#[cfg(biglock_loom)]
pub mod here;
pub mod jobs;
pub mod lab;
pub mod linearizable;
pub mod measured;
#[cfg(any(biglock_loom, biglock_shuttle))]
pub mod models;
pub mod near;
pub mod options;
pub mod output;
pub mod page;
pub mod plant;
pub mod proof;
pub mod record;
pub mod report;
#[cfg(biglock_loom)]
pub mod rows;
#[cfg(biglock_shuttle)]
pub mod schedules;
pub mod sim;
pub mod spec;
pub mod tries;
#[cfg(any(biglock_loom, biglock_shuttle))]
pub mod world;
