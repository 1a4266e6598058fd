//! A wait group: to wait until all threads that were started are done.

use biglock::lock::Outside;

use super::{Lesson, Lock, State, Wait, broken, lock, mended};
use crate::world::World;

/// The versions.
pub const LESSONS: &[Lesson] = &[
    broken(
        "course-group-counts-late",
        "broken: each thread adds itself when it runs, and who waits finds nobody to wait for",
        3,
        "it waited for nobody",
        |world| wait_for_two(world, false),
    ),
    mended(
        "course-group",
        "threads are added before they are started, and who waits goes on when both are done",
        3,
        &["the others"],
        |world| wait_for_two(world, true),
    ),
];

#[derive(Clone, PartialEq, Default)]
struct Group {
    running: u8,
    results: u8,
}

impl State for Group {
    fn show(&self) -> String {
        format!("{} running, {} results", self.running, self.results)
    }
}

fn add(group: &Lock<Group>, outside: &mut Outside, many: u8) {
    group.enter(outside, "add", |group| group.running += many);
}

fn done(group: &Lock<Group>, outside: &mut Outside) {
    group.enter(outside, "done", |group| {
        group.results += 1;
        group.running -= 1;
    });
}

fn wait_for_two(world: &World, added_before: bool) {
    let group = lock(world, Group::default());
    if added_before {
        // By who starts them, before it does.
        add(&group, &mut Outside::claim("start"), 2);
    }
    for name in ["a", "b"] {
        let group = group.clone();
        world.thread(name, move |outside| {
            if !added_before {
                add(&group, outside, 1);
            }
            done(&group, outside);
        });
    }
    world.thread("waiter", move |outside| {
        group.enter(outside, "wait for all", |group| {
            group.wait("the others", |group| group.running == 0);
            assert_eq!(group.results, 2, "it waited for nobody, or not for all");
        });
    });
}
