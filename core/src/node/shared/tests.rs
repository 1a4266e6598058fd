//! What needs a state that no message leads to.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::lock::Monitor;
use crate::{Config, MemoryStorage, Outside, Stored};

/// A state that stays broken is found once. Whoever comes after that comes to hear of it, and must not panic in turn.
#[test]
fn a_broken_state_is_found_once() {
    let settings = Config::new(1, [1]).validate().unwrap();
    let at = At {
        now: Time::ZERO,
        random: 0,
    };
    let raft = Raft::new(at, settings, Stored::default());
    let storage = Box::new(MemoryStorage::new());
    let monitor = Monitor::new(Shared::new(raft, storage, Box::new(()), 0));
    let mut outside = Outside::claim("test");
    let broken = catch_unwind(AssertUnwindSafe(|| {
        let mut outside = Outside::claim("vandal");
        monitor.enter(&mut outside, "break it", |shared| {
            shared.raft.break_for_good();
        });
    }));
    assert!(broken.is_err());
    let why = monitor.enter(&mut outside, "look", |shared| shared.stopped().cloned());
    assert!(matches!(
        why,
        Some(Stopped::Broken {
            section: "break it"
        })
    ));
}
