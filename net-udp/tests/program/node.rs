//! One node as a process, and `biglock status`.

use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;

use biglock::rules::{Beat, Body, Position};
use biglock::{Message, NodeId, Term};
use biglock_udp::codec;
use rustix::process::Signal;
use serde_json::Value;

use crate::process::{Program, biglock, run, until};

/// The only node of its cluster, where it keeps what it must is still to be said.
const ALONE: [&str; 4] = [
    "node",
    "--id=1",
    "--listen=127.0.0.1:0",
    "--peers=1=127.0.0.1:1",
];

/// The same, in memory, with events; and where it listens.
fn lonely(args: &[&str]) -> (Program, String) {
    node_with(&[&["--peers=1=127.0.0.1:1"], args].concat())
}

/// Node 1, in memory, with events; and where it listens.
fn node_with(args: &[&str]) -> (Program, String) {
    let basics = [
        "node",
        "--id=1",
        "--listen=127.0.0.1:0",
        "--memory",
        "--events",
    ];
    let node = Program::start(biglock(&basics).args(args));
    let addr = address(&node);
    (node, addr)
}

fn address(node: &Program) -> String {
    let started: Value = serde_json::from_str(&node.line(&["started"])).expect("JSON");
    started["listen"].as_str().expect("an address").to_string()
}

#[test]
fn a_node_tells_every_change_and_finds_its_vote_again() {
    let folder = tempfile::tempdir().expect("a folder");
    for life in 1..=2 {
        let data = folder.path().join("data");
        let node = durable(&data);
        let (before, now) = (life - 1, life);
        let voted = if before == 0 { "null" } else { "1" };
        node.line(&[
            "loaded",
            &format!("\"term\":{before},\"voted_for\":{voted}"),
        ]);
        node.line(&["durable", &format!("\"term\":{now},\"voted_for\":1")]);
        node.line(&["leadership", &format!("\"term\":{now},\"leader\":1")]);
        node.signal(Signal::TERM);
        let ended = node.ended();
        ended.succeeded();
        assert!(ended.stdout.contains("\"event\":\"stopped\""), "{ended:?}");
        assert_eq!(ended.stderr, "", "logging is off by default");
    }
}

fn durable(data: &Path) -> Program {
    Program::start(&mut on(data))
}

/// The only node of its cluster, to be told more.
fn on(data: &Path) -> Command {
    let mut command = biglock(&ALONE);
    command.args(["--events", "--data"]).arg(data);
    command
}

/// Alone, it would acknowledge what the others never see.
#[test]
fn a_folder_remembers_with_whom_it_began() {
    let folder = tempfile::tempdir().expect("a folder");
    let others = "--peers=2=127.0.0.1:1,3=127.0.0.1:2";
    let node = Program::start(
        biglock(&["node", "--id=1", "--listen=127.0.0.1:0", "--events", others])
            .arg("--data")
            .arg(folder.path()),
    );
    node.line(&["started"]);
    node.signal(Signal::TERM);
    node.ended().succeeded();
    durable(folder.path()).ended().failed_with(&[
        "began with the members 1, 2, 3, and it is told 1:",
        "`peers` names them, beside node 1 itself",
    ]);
}

#[test]
fn a_node_says_when_it_runs_and_as_what() {
    let start = |args: &[&str]| {
        let basics = ["node", "--memory", "--listen=127.0.0.1:0"];
        Program::start(biglock(&basics).args(args))
    };
    // Nothing but the port is different each time.
    let said = |args: &[&str]| {
        let node = start(args);
        let line = node.error_line(&[" listens on 127.0.0.1:"]);
        let (who, rest) = line.split_once(" listens on 127.0.0.1:").expect("as above");
        assert!(rest.ends_with("; Ctrl-C stops it"), "{line}");
        let addr = format!("127.0.0.1:{}", rest.split(';').next().expect("a port"));
        let page = run(&["status", &addr]);
        page.succeeded();
        node.signal(Signal::INT);
        let ended = node.ended();
        ended.succeeded();
        assert_eq!(ended.stdout + &ended.stderr, "");
        (who.to_string(), page.stdout)
    };
    let peers = "--peers=1=127.0.0.1:1,2=127.0.0.1:2,3=127.0.0.1:3";
    let (who, page) = said(&["--id=2", peers]);
    assert_eq!(who, "node 2 of 1, 2, 3");
    assert!(page.contains(" 2 of 1, 2, 3\n"), "{page}");
    let (who, page) = said(&["--id=1", "--peers=1=127.0.0.1:1"]);
    assert_eq!(who, "node 1, a cluster of one,");
    assert!(page.contains(" 1, a cluster of one\n"), "{page}");
    let (who, page) = said(&["--id=4", "--join", peers]);
    assert_eq!(who, "node 4, which waits to be added,");
    assert!(page.contains(" 4, which waits to be added\n"), "{page}");
}

/// Whoever has mistyped the folder of a node that ran before can still stop it.
#[test]
fn a_node_says_when_its_folder_was_empty() {
    let folder = tempfile::tempdir().expect("a folder");
    for begins_anew in [true, false] {
        let mut command = biglock(&ALONE);
        let node = Program::start(command.arg("--data").arg(folder.path()));
        node.error_line(&["Ctrl-C stops it"]);
        node.signal(Signal::INT);
        let ended = node.ended();
        ended.succeeded();
        let said = ended.stderr.contains("its folder was empty");
        assert_eq!(said, begins_anew, "{ended:?}");
    }
}

#[test]
fn a_folder_belongs_to_one_process_at_a_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = durable(folder.path());
    first.line(&["started"]);
    let second = durable(folder.path()).ended();
    second.failed_with(&["storage", folder.path().to_str().expect("a plain path")]);
}

#[test]
fn status_asks_a_node_how_it_is() {
    let (node, addr) = lonely(&["--cluster=9"]);
    node.line(&["leadership", "\"leader\":1"]);

    let page = run(&["status", &addr, "--cluster=9"]);
    page.succeeded();
    for words in [
        "role",
        "leader",
        "node 1",
        "voted for",
        "threads",
        "election",
        ", 1 status request\n",
    ] {
        assert!(page.stdout.contains(words), "{words:?} is not in {page:?}");
    }

    let json = run(&["status", &addr, "--cluster=9", "--json"]);
    json.succeeded();
    let report: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(report["status"]["leader"], 1);
    assert_eq!(report["status"]["term"], 1);

    // A node of another cluster does not answer.
    let other = run(&["status", &addr, "--cluster=8", "--timeout-ms=200"]);
    other.failed_with(&[&addr, "no answer", "cluster 8"]);

    // It has heard something by now, and ends without a word all the same.
    node.signal(Signal::INT);
    let ended = node.ended();
    ended.succeeded();
    assert_eq!(ended.stderr, "");
    run(&["status", &addr, "--timeout-ms=200"]).failed_with(&[&addr]);
}

#[test]
fn sigquit_tells_what_every_thread_waits_for_and_changes_nothing() {
    let (node, addr) = lonely(&[]);
    node.line(&["leadership", "\"leader\":1"]);
    // Once it leads, whichever thread came first still writes and applies its first entry. So ask until all is quiet, and once more.
    let quiet = || {
        node.signal(Signal::QUIT);
        node.error_line(&["the node's threads"]);
        let told = node.error_lines_until(&["datagrams"]);
        let says = |words: [&str; 2]| {
            told.iter()
                .any(|line| words.iter().all(|word| line.contains(word)))
        };
        says(["status: node 1", "leader in term 1"])
            && says(["election", "waits for the election deadline"])
            && says(["leader", "waits for the next heartbeat"])
            && says(["disk", "waits for something to write"])
            && says(["apply", "waits for committed entries"])
    };
    until(|| quiet() && quiet());
    run(&["status", &addr]).succeeded();
    node.signal(Signal::TERM);
    node.ended().succeeded();
}

#[test]
fn a_node_can_end_with_its_standard_input() {
    let (mut node, _) = lonely(&["--exit-with-stdin"]);
    node.close_stdin();
    node.ended().succeeded();
}

#[test]
fn only_a_node_whose_supervisor_is_gone_removes_their_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("scratch/node-1");
    let scratch = data.parent().expect("a folder");
    let start = || {
        let mut command = on(&data);
        command
            .args(["--exit-with-stdin", "--scratch"])
            .arg(scratch);
        let node = Program::start(&mut command);
        node.line(&["started"]);
        node
    };
    let node = start();
    node.signal(Signal::TERM);
    node.ended().succeeded();
    assert!(data.exists());

    let mut node = start();
    node.close_stdin();
    node.ended().succeeded();
    assert!(!scratch.exists() && folder.path().exists());
}

#[test]
fn a_node_that_must_stop_says_why_and_fails() {
    let peers = "--peers=2=127.0.0.1:1,3=127.0.0.1:2";
    let (node, addr) = node_with(&["--cluster=5", peers]);
    // What no correct cluster does: two nodes lead one term. Whoever sees it must not go on.
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    for leader in [2, 3] {
        let message = Message {
            from: NodeId(leader),
            to: NodeId(1),
            term: Term(9),
            body: Body::AppendEntries {
                prev: Position::default(),
                entries: Default::default(),
                commit: 0,
                beat: Beat::default(),
            },
        };
        let mut buffer = [0; codec::SAFE_DATAGRAM];
        let datagram = codec::encode_message(&mut buffer, 5, &message).expect("it fits");
        socket.send_to(datagram, &addr).expect("it is sent");
    }
    let ended = node.ended();
    ended.failed_with(&[
        "two leaders in term 9",
        "biglock: node 1: the node stopped because an invariant broke",
    ]);
    let last = ended.stdout.lines().last().unwrap_or_default();
    assert!(
        last.contains("\"event\":\"stopped\"") && last.contains("invariant"),
        "{last}"
    );
}

#[test]
fn rust_log_switches_the_log_on() {
    let logging = |level| {
        let mut command = biglock(&ALONE);
        Program::start(command.arg("--memory").env("RUST_LOG", level))
    };
    let node = logging("biglock=info");
    node.error_line(&["INFO", "leader", "term=1"]);

    let bad = logging("biglock=loud").ended();
    bad.failed_with(&["RUST_LOG is \"biglock=loud\"", "write for example"]);
}

#[test]
fn the_deadlock_detector_is_there_or_says_how_to_get_it() {
    if cfg!(feature = "deadlock-detection") {
        let (node, _) = lonely(&["--deadlock-detection"]);
        node.line(&["leadership", "\"leader\":1"]);
        node.signal(Signal::TERM);
        let ended = node.ended();
        ended.succeeded();
        assert_eq!(ended.stderr, "", "there is no deadlock");
    } else {
        let mut command = biglock(&ALONE);
        let ended = Program::start(command.args(["--memory", "--deadlock-detection"])).ended();
        ended.failed_with(&["--features deadlock-detection"]);
    }
}
