//! `biglock demo`, and what it leaves behind.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Program, all_gone, biglock, kill, run};

/// A demo of three nodes in a temporary folder of its own, told more.
fn demo(args: &[&str]) -> (Program, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = biglock(&["demo", "--nodes=3", "--seed=1"]);
    let demo = Program::start(command.args(args).env("TMPDIR", folder.path()));
    (demo, folder)
}

/// The processes of its nodes, by number, once all run.
fn processes(demo: &Program) -> Vec<u32> {
    let started = |node: u32| {
        let line = demo.line(&[&format!("node {node}"), "started: process"]);
        let number = line
            .split("process ")
            .nth(1)
            .and_then(|it| it.split(',').next());
        number
            .expect("it names its process")
            .parse()
            .expect("a number")
    };
    (1..=3).map(started).collect()
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).expect("it is there").next().is_none()
}

#[test]
fn two_leaders_are_killed_and_two_others_follow() {
    let json = tempfile::NamedTempFile::new().expect("a file");
    let path = json.path().to_str().expect("a plain path");
    let (demo, folder) = demo(&["--rounds=2", "--json", path]);
    let pids = processes(&demo);
    let ended = demo.ended();
    ended.succeeded();
    for words in [
        "kill -9",
        "LEADS term",
        "restarted on its old store",
        "failover",
        "✓",
    ] {
        assert!(
            ended.stdout.contains(words),
            "{words:?} is not in {ended:?}"
        );
    }
    assert!(
        !ended.stdout.contains('\u{1b}'),
        "no colours where no terminal is: {ended:?}"
    );
    all_gone(&pids);
    assert!(is_empty(folder.path()));

    let text = fs::read_to_string(path).expect("it was written");
    let summary: Value = serde_json::from_str(&text).expect("JSON");
    let failovers = summary["failovers"].as_array().expect("a list");
    assert_eq!(failovers.len(), 2);
    let mut term = 0;
    for (round, failover) in (1..).zip(failovers) {
        let number = |key: &str| failover[key].as_u64().expect("a number");
        assert_eq!(number("round"), round);
        assert!(
            number("old_term") > term,
            "each round begins with a later leader: {text}"
        );
        assert!(number("new_term") > number("old_term"), "{text}");
        assert_ne!(number("new_leader"), number("old_leader"), "{text}");
        assert!(failover["ms"].as_f64() > Some(0.0), "{text}");
        term = number("old_term");
    }
    assert!(summary["failover_ms"]["p50"].as_f64() > Some(0.0), "{text}");
    let checked = &summary["checked"];
    assert_eq!(
        checked["processes"], 5,
        "three, and two that were started again: {text}"
    );
    assert!(checked["elected"].as_u64() >= Some(3), "{text}");
    assert_eq!(summary["ended_by"], Value::Null);
    let writes = &summary["writes"];
    assert_eq!(writes["clients"], 3, "{text}");
    for what in ["appends", "swaps", "reads"] {
        assert!(writes[what].as_u64() > Some(0), "{what}: {text}");
    }
    assert!(
        ended
            .stdout
            .contains("none was lost, and none applied twice"),
        "{ended:?}"
    );
}

#[test]
fn ctrl_c_leaves_no_process_and_no_file() {
    for signal in [Signal::INT, Signal::TERM] {
        let (demo, folder) = demo(&["--rounds=1000"]);
        let pids = processes(&demo);
        demo.line(&["round 1", "kill -9"]);
        demo.signal(signal);
        let ended = demo.ended();
        assert_eq!(
            ended.status.code(),
            Some(128 + signal.as_raw()),
            "{ended:?}"
        );
        all_gone(&pids);
        assert!(is_empty(folder.path()));
    }
}

#[test]
fn sigkill_leaves_no_process_and_no_file() {
    // While all nodes run, and while one is killed and its store is nobody's.
    let slow = [
        "--pause-ms=0",
        "--election-timeout-min-ms=1500",
        "--election-timeout-max-ms=2000",
    ];
    for (args, line) in [
        (&["--pause-ms=60000"][..], "LEADS term"),
        (&slow, "kill -9 node"),
    ] {
        let (demo, folder) = demo(&[&["--rounds=1000"], args].concat());
        let pids = processes(&demo);
        demo.line(&[line]);
        demo.signal(Signal::KILL);
        assert_eq!(
            demo.ended().status.code(),
            None,
            "nothing can be done about SIGKILL"
        );
        all_gone(&pids);
        assert!(is_empty(folder.path()));
    }
}

#[test]
fn a_node_that_dies_by_itself_ends_the_demo() {
    let (demo, folder) = demo(&["--rounds=1000", "--pause-ms=60000"]);
    let pids = processes(&demo);
    demo.line(&["LEADS term"]);
    kill(pids[1], Signal::KILL);
    demo.ended()
        .failed_with(&["node 2 ended by itself", "signal: 9"]);
    all_gone(&pids);
    assert!(is_empty(folder.path()));
}

#[test]
fn a_node_whose_address_is_taken_is_started_again() {
    // The address is free from the kill until the next leader is known, which takes as long as an election timeout.
    let slow = [
        "--election-timeout-min-ms=1500",
        "--election-timeout-max-ms=2000",
    ];
    let (demo, folder) = demo(&[&["--rounds=1", "--pause-ms=0"], &slow[..]].concat());
    let started = |node: u64| demo.line(&[&format!("node {node}"), "started: process"]);
    let lines: Vec<String> = (1..=3).map(started).collect();
    let killed = demo.line(&["round 1", "kill -9 node"]);
    let node = killed
        .split("kill -9 node ")
        .nth(1)
        .and_then(|it| it.split(',').next());
    let node: usize = node.expect("it names the node").parse().expect("a number");
    let addr = lines[node - 1].split(", ").nth(1).expect("an address");

    let mut ticks = crossbeam_channel::tick(Duration::from_millis(1)).into_iter();
    let taken = ticks.find_map(|_| UdpSocket::bind(addr).ok());
    demo.line(&["ended by itself", "can't listen", "trying again"]);
    drop(taken);
    demo.line(&["all 3 nodes follow one leader again"]);
    demo.ended().succeeded();
    assert!(is_empty(folder.path()));
}

#[test]
fn sigquit_makes_every_node_tell_its_threads() {
    let (demo, _folder) = demo(&["--rounds=1000", "--pause-ms=60000"]);
    processes(&demo);
    demo.line(&["LEADS term"]);
    demo.signal(Signal::QUIT);
    for _ in 1..=3 {
        demo.line(&["says:", "the node's threads"]);
    }
    demo.signal(Signal::INT);
    assert_eq!(demo.ended().status.code(), Some(130));
}

#[test]
fn what_no_demo_can_run_with_is_said_at_once() {
    run(&["demo", "--heartbeat-ms=200"]).failed_with(&["heartbeat every 200ms is too slow"]);
    let nowhere = run(&["demo", "--json=/nowhere/demo.json"]);
    nowhere.failed_with(&["cannot write /nowhere/demo.json", "a folder that exists"]);
    assert_eq!(nowhere.stdout, "", "it was not begun");
    let two = run(&["demo", "--nodes=2"]);
    assert_eq!(two.status.code(), Some(2), "{two:?}");
    assert!(two.stderr.contains("3..=9"), "{two:?}");
}
