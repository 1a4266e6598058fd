//! `biglock node --trace`: what a real cluster of processes did is checked against the specification; and traces that somebody has
//! tampered with are refused.

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;

use biglock_verify::spec::trace::{Summary, check, check_files};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::process::{Program, biglock, run};

/// Three nodes, each on a store and with a trace of its own.
struct Cluster {
    folder: tempfile::TempDir,
    addrs: Vec<String>,
}

impl Cluster {
    fn new() -> Cluster {
        // Their ports are free now, and nobody else looks for one by number.
        let sockets: Vec<UdpSocket> = (0..3)
            .map(|_| UdpSocket::bind("127.0.0.1:0").expect("a port"))
            .collect();
        let addr = |socket: &UdpSocket| socket.local_addr().expect("bound").to_string();
        Cluster {
            folder: tempfile::tempdir().expect("a folder"),
            addrs: sockets.iter().map(addr).collect(),
        }
    }

    fn servers(&self) -> String {
        let named = (1..)
            .zip(&self.addrs)
            .map(|(id, addr)| format!("{id}={addr}"));
        named.collect::<Vec<_>>().join(",")
    }

    fn start(&self, id: usize) -> Program {
        let trace = self.trace(id);
        Program::start(self.command(id).arg("--trace").arg(trace))
    }

    fn command(&self, id: usize) -> Command {
        let (id_flag, listen) = (
            format!("--id={id}"),
            format!("--listen={}", self.addrs[id - 1]),
        );
        let mut command = biglock(&["node", &id_flag, &listen, "--events"]);
        command.arg("--peers").arg(self.servers());
        command
            .arg("--data")
            .arg(self.folder.path().join(format!("data-{id}")));
        command
    }

    fn trace(&self, id: usize) -> PathBuf {
        self.folder.path().join(format!("{id}.trace"))
    }

    fn traces(&self) -> Vec<PathBuf> {
        (1..=3).map(|id| self.trace(id)).collect()
    }

    fn put(&self, value: &str) {
        run(&["put", "--servers", &self.servers(), "fruit", value]).succeeded();
    }
}

fn stop(nodes: impl IntoIterator<Item = Program>) {
    for node in nodes {
        node.signal(Signal::TERM);
        node.ended().succeeded();
    }
}

fn times(summary: &Summary, action: &str) -> u64 {
    summary.actions.get(action).copied().unwrap_or(0)
}

#[test]
fn what_a_real_cluster_did_is_in_the_specification() {
    let cluster = Cluster::new();
    let mut nodes: Vec<Program> = (1..=3).map(|id| cluster.start(id)).collect();
    cluster.put("apple");
    // Whoever it is, leader or not, it is killed and comes back.
    let killed = nodes.remove(0);
    killed.signal(Signal::KILL);
    assert!(!killed.ended().status.success());
    cluster.put("pear");
    nodes.push(cluster.start(1));
    cluster.put("plum");
    stop(nodes);
    let summary = check_files(&cluster.traces()).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(times(&summary, "Restart"), 1, "{summary}");
    assert_eq!(summary.cut_short, 1, "the one that was killed: {summary}");
    for action in [
        "Timeout",
        "GrantVote",
        "BecomeLeader",
        "ClientRequest",
        "AcceptEntries",
    ] {
        assert!(times(&summary, action) > 0, "{action}: {summary}");
    }
    for action in ["AdvanceCommit", "LearnCommit", "Persist"] {
        assert!(times(&summary, action) > 0, "{action}: {summary}");
    }
    // Without the file of one node, what that one did is assumed, and no more is refused. Of who led, something must be.
    let assumed = (0..3).map(|left_out| {
        let mut traces = cluster.traces();
        traces.remove(left_out);
        let two = check_files(&traces).unwrap_or_else(|why| panic!("{why}"));
        two.assumed
    });
    let assumed: Vec<u64> = assumed.collect();
    assert!(assumed.iter().any(|&many| many > 0), "{assumed:?}");
}

/// Node 1 runs without a trace at first, and of three nodes two are there: so it led, or it voted. If it voted, what it comes back with tells that, and
/// nothing has to be assumed.
#[test]
fn a_node_that_ran_without_a_trace_is_named_and_no_rule_is_broken() {
    let cluster = Cluster::new();
    let untraced = Program::start(&mut cluster.command(1));
    let second = cluster.start(2);
    cluster.put("apple");
    stop([untraced]);
    let nodes = [cluster.start(1), second, cluster.start(3)];
    cluster.put("pear");
    stop(nodes);
    let summary = check_files(&cluster.traces()).unwrap_or_else(|why| panic!("{why}"));
    let said = summary.to_string();
    says(
        &said,
        "1.trace does not begin with the first start of node 1",
    );
    says(&said, "start every node with `--trace` each time");
    assert_eq!(summary.late.len(), 1, "{said}");
}

/// The records of one node.
struct Records {
    path: PathBuf,
    lines: Vec<Value>,
}

impl Records {
    fn read(path: &Path) -> Records {
        let text = fs::read_to_string(path).expect("a trace");
        let line = |line| serde_json::from_str(line).expect("JSON");
        Records {
            path: path.into(),
            lines: text.lines().map(line).collect(),
        }
    }

    /// The first record of which this is true.
    fn first(&self, what: impl Fn(&Value) -> bool) -> Option<usize> {
        self.lines.iter().position(|record| what(&record["now"]))
    }

    fn text(&self) -> (PathBuf, String) {
        let line = |line: &Value| format!("{line}\n");
        (self.path.clone(), self.lines.iter().map(line).collect())
    }
}

/// What is said of these traces after one of them was changed.
fn said_of(all: &[Records], changed: usize, change: impl FnOnce(&mut Vec<Value>)) -> String {
    let mut files: Vec<(PathBuf, String)> = all.iter().map(Records::text).collect();
    let mut lines = all[changed].lines.clone();
    change(&mut lines);
    let path = all[changed].path.clone();
    files[changed] = Records { path, lines }.text();
    check(&files).expect_err("it was tampered with").to_string()
}

fn says(text: &str, sentence: &str) {
    assert!(text.contains(sentence), "{sentence:?} is not in {text}");
}

#[test]
fn traces_that_break_a_rule_are_refused() {
    let cluster = Cluster::new();
    let nodes: Vec<Program> = (1..=3).map(|id| cluster.start(id)).collect();
    for value in ["apple", "pear", "plum"] {
        cluster.put(value);
    }
    stop(nodes);
    let all: Vec<Records> = cluster
        .traces()
        .iter()
        .map(|path| Records::read(path))
        .collect();
    let as_written: Vec<(PathBuf, String)> = all.iter().map(Records::text).collect();
    check(&as_written).unwrap_or_else(|why| panic!("{why}"));
    // Lines without a word are no records, and break none.
    let spaced = |(path, text): &(PathBuf, String)| (path.clone(), text.replace('\n', "\n\n"));
    let spaced: Vec<(PathBuf, String)> = as_written.iter().map(spaced).collect();
    assert_eq!(check(&spaced), check(&as_written));

    let leads = |now: &Value| now["role"] == "Leader";
    let leader = (0..3)
        .find(|&at| all[at].first(leads).is_some())
        .expect("somebody led");
    let elected = all[leader].first(leads).expect("it led");
    let term = &all[leader].lines[elected]["now"]["hard_state"]["term"];
    let voted = |now: &Value| {
        now["hard_state"]["term"] == *term && now["hard_state"]["voted_for"] == json!(leader + 1)
    };
    let voter = (0..3).find(|&at| at != leader && all[at].first(voted).is_some());
    let voter = voter.expect("somebody voted for it");

    // A second vote in a term: right after the first, and for the voter itself.
    let second = said_of(&all, voter, |lines| {
        let at = all[voter].first(voted).expect("it voted");
        lines[at + 1]["now"]["hard_state"]["voted_for"] = json!(voter + 1);
    });
    says(&second, "one vote in a term (5.2)");

    // The first entry of the term is committed in the section that appends it, before any disk has it.
    let early = said_of(&all, leader, |lines| {
        lines[elected]["now"]["commit"] = lines[elected]["now"]["log"][0]["index"].clone();
    });
    says(&early, "disks that make a majority (5.3)");

    // A follower loses an entry that it knew to be committed.
    let knows = |now: &Value| now["commit"].as_u64() >= Some(2);
    // Not every follower must have heard of one, but who was needed for the last has heard of those before.
    let aware = (0..3).find(|&at| at != leader && all[at].first(knows).is_some());
    let aware = aware.expect("somebody heard of a commit");
    let truncated = said_of(&all, aware, |lines| {
        let at = all[aware].first(knows).expect("it heard of a commit");
        let now = &mut lines[at + 1]["now"];
        now["log"] = json!([{ "term": now["hard_state"]["term"], "index": 1 }]);
        now["log_durable"] = json!(1);
    });
    says(&truncated, "are committed (5.4, state machine safety)");

    // A leader that nobody elected.
    let usurper = said_of(&all, voter, |lines| {
        let at = all[voter].first(voted).expect("it voted");
        lines[at + 1]["now"]["role"] = json!("Leader");
    });
    says(&usurper, "in which it is no candidate (5.2)");

    // Half a line is what a kill leaves at the end, and nowhere else.
    let mut files = as_written;
    let half = files[voter].1.len() - 20;
    files[voter].1.truncate(half);
    check(&files).unwrap_or_else(|why| panic!("{why}"));
    files[voter].1.push_str("\n{}\n");
    says(
        &check(&files).expect_err("two broken lines").to_string(),
        "is no record",
    );
}
