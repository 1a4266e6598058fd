use std::thread;
use std::time::Duration;

use biglock::Outside;
use biglock::lock::{Guarded, Monitor, find_deadlocks};

struct Nothing;

impl Guarded for Nothing {
    type Digest = ();
    type Audience = ();
    const AUDIENCES: &'static [()] = &[()];

    fn digest(&self) {}
    fn check(&self, (): &()) -> Result<(), String> {
        Ok(())
    }
    fn give_up(&mut self, _: &'static str) {}
}

/// The one hole in the rule of permissions: a thread that claims a second one can enter twice, and then waits for itself.
#[test]
fn the_detector_finds_a_thread_that_waits_for_itself() {
    let stuck = || {
        let monitor = Monitor::new(Nothing);
        let (mut one, mut another) = (Outside::claim("one"), Outside::claim("another"));
        monitor.enter(&mut one, "enter once", |_| {
            monitor.enter(&mut another, "enter twice", |_| {});
        });
    };
    thread::Builder::new()
        .spawn(stuck)
        .expect("the system gives threads");
    let ticks = crossbeam_channel::tick(Duration::from_millis(10));
    let found = ticks.iter().take(3000).find_map(|_| find_deadlocks().pop());
    let text = found.expect("it is found");
    assert!(
        text.contains("waits for a lock at") && text.contains("enter"),
        "{text}"
    );
}
