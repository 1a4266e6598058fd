//! What `biglock node` says about settings it can't run with, and which of two wins.

use std::fs;

use tempfile::TempDir;

use crate::process::{Program, biglock, run};

const GOOD: &str = "id = 1\nlisten = \"127.0.0.1:0\"\nmemory = true\n";
const PEERS: &str = "peers = [\"1=127.0.0.1:1\"]\n";

/// A file with this text, which lives as long as the folder.
fn file(text: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("node.toml");
    fs::write(&path, text).expect("a file");
    let path = path.to_str().expect("a plain path").to_string();
    (folder, path)
}

#[test]
fn an_error_in_the_file_names_file_key_and_remedy() {
    let cases: &[(&str, &[&str])] = &[
        (
            "hartbeat-ms = 30",
            &[
                "`hartbeat-ms` is no key",
                "correct its name",
                "heartbeat-ms",
            ],
        ),
        (
            "heartbeat-ms = \"fast\"",
            &["`heartbeat-ms` can't be \"fast\"", "heartbeat-ms = 30"],
        ),
        ("heartbeat-ms = -1", &["`heartbeat-ms` can't be -1"]),
        (
            "heartbeat-ms = 100",
            &["heartbeat every 100ms is too slow", "at most half"],
        ),
        (
            "election-timeout-min-ms = 400",
            &["400ms, is longer than the longest, 300ms"],
        ),
        (
            "peers = [\"2:127.0.0.1:7002\"]",
            &["`peers`", "e.g. 2=127.0.0.1:7002"],
        ),
        (
            "peers = \"2=127.0.0.1:7002\"",
            &["`peers` can't be", "peers = ["],
        ),
        (
            "peers = [\"2=127.0.0.1:1\", \"2=127.0.0.1:2\"]",
            &["`peers`", "node 2 is named twice"],
        ),
        (
            "peers = [\"2=127.0.0.1:1\", \"3=127.0.0.1:1\"]",
            &["node 2 and node 3 can't both listen on 127.0.0.1:1"],
        ),
        ("peers = [\"0=127.0.0.1:1\"]", &["numbered from 1"]),
        (
            "peers = [\"2=127.0.0.1:0\"]",
            &["nobody can send to 127.0.0.1:0"],
        ),
        ("data = \"x\"", &["`data` and `memory` exclude each other"]),
        (
            "pre-vote = 1",
            &["`pre-vote` can't be 1", "pre-vote = true"],
        ),
        ("id 1", &["is not TOML"]),
        ("join = true", &["`peers` is missing", "to join"]),
        ("join = 1", &["`join` can't be 1", "join = true"]),
        (
            "max-datagram = -1",
            &["`max-datagram` can't be -1", "max-datagram = 1200"],
        ),
    ];
    for (line, words) in cases {
        let says_who = line.starts_with("peers") || line.starts_with("join");
        let peers = if says_who { "" } else { PEERS };
        let (_folder, path) = file(&format!("{GOOD}{peers}{line}\n"));
        let ended = run(&["node", "--config", &path]);
        ended.failed_with(&[&path]);
        ended.failed_with(words);
    }
}

#[test]
fn what_is_missing_is_named_with_its_flag() {
    run(&["node"]).failed_with(&["the flags", "`id` is missing", "--id 1"]);
    run(&["node", "--id=1"]).failed_with(&["`listen` is missing", "--listen 127.0.0.1:7001"]);
    run(&["node", "--id=1", "--listen=127.0.0.1:0"]).failed_with(&["`data` is missing", "--data"]);
    let alone = ["node", "--id=1", "--listen=127.0.0.1:0", "--memory"];
    run(&alone).failed_with(&["`peers` is missing", "--peers 1=127.0.0.1:0"]);
    let small = ["--peers=1=127.0.0.1:1", "--max-datagram=100"];
    run(&[&alone[..], &small].concat()).failed_with(&["max_datagram is 100 bytes", "make it 1200"]);
    let twice = ["--listen=127.0.0.1:7", "--peers=2=127.0.0.1:7"];
    run(&[&["node", "--id=1", "--memory"], &twice[..]].concat())
        .failed_with(&["node 2 can't listen on 127.0.0.1:7 too"]);
    let mixed = ["--listen=[::1]:7", "--peers=2=127.0.0.1:7"];
    run(&[&["node", "--id=1", "--memory"], &mixed[..]].concat())
        .failed_with(&["nothing can be sent to node 2", "all of IPv6"]);
    run(&["node", "--config=/nowhere/node.toml"]).failed_with(&["cannot read /nowhere/node.toml"]);
}

#[test]
fn flags_win_over_the_file() {
    let (_folder, path) = file(&format!("{GOOD}heartbeat-ms = 1000\n"));
    let flags = [
        "--id=7",
        "--heartbeat-ms=20",
        "--peers=7=127.0.0.1:1",
        "--events",
    ];
    let node = Program::start(biglock(&["node", "--config", &path]).args(flags));
    node.line(&["started", "\"node\":7"]);
}

#[test]
fn help_fits_the_terminal_and_names_units() {
    assert!(run(&["--version"]).stdout.starts_with("biglock 0"));
    for command in [
        "node", "get", "members", "transfer", "snapshot", "status", "demo",
    ] {
        let help = run(&[command, "--help"]);
        help.succeeded();
        let wide = help.stdout.lines().find(|line| line.chars().count() > 100);
        assert_eq!(wide, None, "{command}");
        let text = help.stdout.to_lowercase();
        for about in text.split("\n      --") {
            for (value, unit) in [("<ms>", "milliseconds"), ("<bytes>", "in bytes")] {
                let told = !about.contains(value) || about.contains(unit);
                assert!(told, "{command}: which unit has {about}");
            }
        }
    }
    let node = run(&["node", "--help"]).stdout;
    let (_, tuning) = node.split_once("Tuning:").expect("a heading");
    assert!(!tuning.contains("--events"), "{tuning}");
}
