//! The lists of checks.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use biglock::lock::{Guarded, Monitor, promise};
use biglock::{Applied, Outside, RestoreError, StateMachine};
use biglock_verify::check::{Check, Setup, Stage, main as check};
use bytes::Bytes;

pub fn run(list: &str) -> ExitCode {
    let checks = match list {
        "twice" => TWICE,
        "spaced" => SPACED,
        "path" => PATH,
        "nameless" => NAMELESS,
        "option" => OPTION,
        "threadless" => THREADLESS,
        "crowd" => CROWD,
        "missed" => MISSED,
        "sound" => SOUND,
        "judged" => JUDGED,
        _ => panic!("there is no list {list}"),
    };
    check(checks, &std::env::var("GOLDEN").unwrap_or_default())
}

const TWICE: &[Check] = &[
    Check::new("twice", "it holds", 2, |stage| two(stage, true)),
    Check::new("twice", "it is broken, and never ran", 2, |stage| {
        two(stage, false)
    }),
];
const SPACED: &[Check] = &[Check::new("two words", "", 2, |stage| two(stage, true))];
const PATH: &[Check] = &[Check::new("a/b", "", 2, |stage| two(stage, true))];
const NAMELESS: &[Check] = &[Check::new("", "", 2, |stage| two(stage, true))];
const OPTION: &[Check] = &[Check::new("--list", "", 2, |stage| two(stage, true))];
const CROWD: &[Check] = &[Check::new("crowd", "", 5, |stage| two(stage, true))];
const THREADLESS: &[Check] = &[Check::new(
    "threadless",
    "its last check would fail",
    0,
    |stage| {
        stage.finally(|| panic!("it was asked"));
    },
)];
const SOUND: &[Check] = &[Check::new("sound", "it holds", 2, |stage| two(stage, true))];
const MISSED: &[Check] = &[
    Check::new("missed", "nothing breaks", 2, |stage| two(stage, true))
        .reaches(&["paid"])
        .finds("paid"),
];

const JUDGED: &[Check] = &[
    Check::new(
        "node-only",
        "no thread but the node's own: nothing ends it, and nothing is checked",
        1,
        |stage| {
            stage.leader(Setup::default().upkeep(), ());
        },
    )
    .finds("the check makes no thread of its own"),
    Check::new(
        "one-too-many",
        "there are more threads than it says",
        2,
        |stage| {
            stage.leader(Setup::default().upkeep(), ());
            two(stage, true);
        },
    )
    .finds("so many threads run: 2, and has 3"),
    Check::new(
        "late-thread",
        "a thread that a thread makes",
        2,
        late_thread,
    )
    .finds("no thread adds a thread to it"),
    Check::new("late-choice", "a choice that a thread makes", 2, |stage| {
        let there = stage.clone();
        one_does(stage, move |_| _ = there.choose([1, 2]));
    })
    .finds("no thread adds a choice to it"),
    Check::new("late-leader", "a node that a thread makes", 2, |stage| {
        let there = stage.clone();
        one_does(stage, move |_| _ = there.leader(Setup::default(), ()));
    })
    .finds("no thread adds a leader to it"),
    Check::new(
        "called-gate",
        "a thread called as the harness's",
        2,
        |stage| called(stage, ["gate", "bob"]),
    )
    .finds("can't be called \"gate\""),
    Check::new(
        "called-setup",
        "a thread called as the lane of the setup",
        2,
        |stage| called(stage, ["setup", "bob"]),
    )
    .finds("can't be called \"setup\""),
    Check::new(
        "called-caller",
        "a thread called as who calls a node",
        2,
        |stage| called(stage, ["ann", "caller"]),
    )
    .finds("can't be called \"caller\""),
    Check::new(
        "called-disk",
        "a thread called as one of the node's own",
        2,
        |stage| called(stage, ["ann", "disk"]),
    )
    .finds("can't be called \"disk\""),
    Check::new("called-nothing", "a thread without a name", 2, |stage| {
        called(stage, ["ann", ""])
    })
    .finds("can't be called \"\""),
    Check::new("called-alike", "two threads of one name", 2, |stage| {
        called(stage, ["ann", "ann"])
    })
    .finds("two threads are called \"ann\""),
    Check::new(
        "claims-the-gate",
        "a thread that claims to be the harness's is watched all the same",
        2,
        claims_the_gate,
    )
    .finds("the law was asked in between"),
    Check::new(
        "lock-before-the-gate",
        "an update is always lost, if who comes first goes on first",
        2,
        |stage| {
            let plain = Arc::new(Monitor::new(Sum(0)));
            before_the_gate(stage, move |outside| {
                plain.enter(outside, "read", |sum| sum.0)
            });
        },
    )
    .finds("ann takes a lock that the gate does not hold"),
    Check::new(
        "cell-before-the-gate",
        "who waits for a reply takes the lock of its cell",
        2,
        |stage| {
            before_the_gate(stage, |outside| {
                let (promise, awaited) = promise();
                promise.keep(outside, 0);
                awaited.wait(outside).expect("it is kept")
            });
        },
    )
    .finds("ann takes a lock that the gate does not hold"),
    Check::new(
        "late-monitor",
        "a monitor that a thread begins with, and has made itself",
        2,
        |stage| {
            let there = stage.clone();
            before_the_gate(stage, move |outside| {
                let mine = there.monitor(Sum(0), |sum| sum.0.to_string());
                mine.enter(outside, "read", |sum| sum.0)
            });
        },
    )
    .finds("ann takes a lock that the gate does not hold"),
    Check::new(
        "no-lock-at-all",
        "a thread that asks for nothing",
        2,
        |stage| {
            let sum = stage.monitor(Sum(0), |sum| sum.0.to_string());
            stage.thread("ann", move |outside| {
                sum.enter(outside, "add", |sum| sum.0 += 1)
            });
            stage.thread("bob", |_| ());
        },
    )
    .finds("bob does not begin by asking"),
    Check::new(
        "lock-behind-the-gate",
        "the same lost update in every order: also in the one where it is not lost",
        2,
        |stage| {
            let plain = Arc::new(Monitor::new(Sum(0)));
            let sum = stage.monitor(Sum(0), |sum| sum.0.to_string());
            let last = plain.clone();
            for name in ["ann", "bob"] {
                let (plain, sum) = (plain.clone(), sum.clone());
                stage.thread(name, move |outside| {
                    sum.enter(outside, "begin", |_| ());
                    let seen = plain.enter(outside, "read", |sum| sum.0);
                    plain.enter(outside, "write", |sum| sum.0 = seen + 1);
                });
            }
            stage.finally(move || {
                let sum = last.enter(&mut Outside::claim("the end"), "look", |sum| sum.0);
                assert!(sum == 1, "no update was lost");
            });
        },
    )
    .finds("no update was lost"),
    Check::new(
        "snapshot-by-nobody",
        "a snapshot, and no thread that takes it",
        1,
        |stage| {
            snapshot(stage, Setup::default(), ());
        },
    )
    .finds("takes part with `Setup::snapshots`"),
    Check::new(
        "snapshot",
        "the apply thread takes it, although the state machine needs none",
        2,
        |stage| {
            snapshot(stage, Setup::default().snapshots(), ());
        },
    )
    .reaches(&["committed entries", "a snapshot"]),
    Check::new(
        "snapshot-and-proposal",
        "what is proposed meanwhile is committed and applied, before the snapshot or after it",
        3,
        |stage| {
            let node = stage.leader(Setup::default().snapshots(), ());
            let (there, proposes) = (stage.clone(), node.clone());
            stage.thread("ann", move |_| {
                let last = node.snapshot().expect("it runs");
                there.reached(if last.index == 1 {
                    "taken before"
                } else {
                    "taken after"
                });
            });
            stage.thread("bob", move |_| {
                let proposal = proposes.propose(b"x".as_slice()).expect("it leads");
                proposal.wait().expect("it leads");
            });
        },
    )
    .reaches(&["taken before", "taken after"]),
    Check::new(
        "snapshot-of-a-slow-state",
        "the apply thread is there, and takes it",
        2,
        |stage| {
            snapshot(stage, Setup::default(), Slow);
        },
    )
    .reaches(&["a snapshot"]),
    Check::new(
        "two-leaders",
        "both would be node 1 of one cluster",
        2,
        |stage| {
            let nodes = [0, 1].map(|_| stage.leader(Setup::default(), ()));
            for (name, node) in ["ann", "bob"].into_iter().zip(nodes) {
                stage.thread(name, move |_| _ = node.status());
            }
        },
    )
    .finds("a check has one leader"),
    Check::new(
        "a-law-that-enters",
        "a law takes a lock under a lock",
        2,
        |stage| {
            let sum = stage.monitor(Sum(0), |sum| sum.0.to_string());
            let asked = sum.clone();
            stage.law(move || {
                asked.enter(&mut Outside::claim("law"), "judge", |sum| {
                    assert!(sum.0 < 3)
                })
            });
            for name in ["ann", "bob"] {
                let sum = sum.clone();
                stage.thread(name, move |outside| {
                    sum.enter(outside, "add", |sum| sum.0 += 1)
                });
            }
        },
    )
    .finds("a law enters a node or a monitor"),
];

/// What a monitor guards here.
struct Sum(u64);

impl Guarded for Sum {
    type Digest = u64;
    type Audience = ();
    const AUDIENCES: &'static [()] = &[()];

    fn digest(&self) -> u64 {
        self.0
    }

    fn check(&self, _: &u64) -> Result<(), String> {
        Ok(())
    }

    fn give_up(&mut self, _: &'static str) {}
}

/// A state machine that takes time.
struct Slow;

impl StateMachine for Slow {
    fn apply(&mut self, _: Applied, _: &[u8]) -> Bytes {
        Bytes::new()
    }

    fn snapshot(&mut self) -> Bytes {
        Bytes::new()
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
}

fn called(stage: &Stage, names: [&'static str; 2]) {
    let sum = stage.monitor(Sum(0), |sum| sum.0.to_string());
    for name in names {
        let sum = sum.clone();
        stage.thread(name, move |outside| {
            sum.enter(outside, "add", |sum| sum.0 += 1)
        });
    }
}

fn two(stage: &Stage, holds: bool) {
    called(stage, ["ann", "bob"]);
    stage.finally(move || assert!(holds, "broken"));
}

fn one_does(stage: &Stage, what: impl FnOnce(&mut Outside) + Send + 'static) {
    let sum = stage.monitor(Sum(0), |sum| sum.0.to_string());
    let other = sum.clone();
    stage.thread("ann", move |outside| {
        sum.enter(outside, "add", |sum| sum.0 += 1);
        what(outside);
    });
    stage.thread("bob", move |outside| {
        other.enter(outside, "add", |sum| sum.0 += 1)
    });
}

fn late_thread(stage: &Stage) {
    let there = stage.clone();
    one_does(stage, move |_| there.thread("carol", |_| panic!("it ran")));
}

/// Each does this first, and comes to the gate then.
fn before_the_gate(stage: &Stage, first: impl Fn(&mut Outside) -> u64 + Clone + Send + 'static) {
    let sum = stage.monitor(Sum(0), |sum| sum.0.to_string());
    for name in ["ann", "bob"] {
        let (sum, first) = (sum.clone(), first.clone());
        stage.thread(name, move |outside| {
            let seen = first(outside);
            sum.enter(outside, "write", |sum| sum.0 = seen + 1);
        });
    }
}

fn claims_the_gate(stage: &Stage) {
    let sum = stage.monitor(Sum(0), |sum| sum.0.to_string());
    let between = Arc::new(AtomicU64::new(0));
    let asks = between.clone();
    stage.law(move || assert!(asks.load(Relaxed) == 0, "the law was asked in between"));
    one_does(stage, move |_| {
        between.store(1, Relaxed);
        sum.enter(&mut Outside::claim("gate"), "add", |sum| sum.0 += 1);
        between.store(0, Relaxed);
    });
}

fn snapshot(stage: &Stage, setup: Setup, machine: impl StateMachine + 'static) {
    let node = stage.leader(setup, machine);
    let there = stage.clone();
    stage.thread("ann", move |_| {
        let last = node.snapshot().expect("it runs");
        assert!(last.index == 1, "the first entry of the term was applied");
        there.reached("a snapshot");
    });
}
