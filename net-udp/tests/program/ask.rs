//! `biglock put|get|append|delete|cas|members|transfer|snapshot` against processes.

use std::fs;
use std::net::UdpSocket;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::{Ended, Program, biglock, run};

/// Processes, durable, in a folder that goes with them.
struct Cluster {
    nodes: Vec<Program>,
    addresses: Vec<String>,
    folder: TempDir,
}

impl Cluster {
    /// So many nodes; the addresses are for one more.
    fn start(many: usize) -> Cluster {
        let sockets: Vec<UdpSocket> = (0..=many)
            .map(|_| UdpSocket::bind("127.0.0.1:0").expect("a socket"))
            .collect();
        let address = |socket: &UdpSocket| socket.local_addr().expect("an address").to_string();
        let addresses = sockets.iter().map(address).collect();
        drop(sockets);
        let mut cluster = Cluster {
            nodes: Vec::new(),
            addresses,
            folder: tempfile::tempdir().expect("a folder"),
        };
        for id in 1..=many {
            let node = cluster.node(id, many, &[]);
            cluster.nodes.push(node);
        }
        cluster
    }

    /// Starts a node that knows the first so many.
    fn node(&self, id: usize, many: usize, args: &[&str]) -> Program {
        let mut command = biglock(&["node", "--events"]);
        command
            .arg(format!("--id={id}"))
            .arg(format!("--listen={}", self.addresses[id - 1]))
            .arg(format!("--peers={}", self.servers(many)))
            .arg("--data")
            .arg(self.folder.path().join(id.to_string()))
            .args(args);
        let node = Program::start(&mut command);
        node.line(&["started"]);
        node
    }

    fn servers(&self, many: usize) -> String {
        let named = (1..).zip(&self.addresses[..many]);
        let named: Vec<String> = named.map(|(id, at)| format!("{id}={at}")).collect();
        named.join(",")
    }

    fn ask(&self, args: &[&str]) -> Ended {
        let servers = format!("--servers={}", self.servers(self.nodes.len()));
        run(&[args, &[&servers, "--timeout-ms=30000"]].concat())
    }

    fn tell(&self, args: &[&str], expected: &str) {
        let ended = self.ask(args);
        ended.succeeded();
        assert_eq!(ended.stdout, expected, "{args:?}");
        assert_eq!(ended.stderr, "", "{args:?}");
    }
}

#[test]
fn keys_survive_the_death_of_every_process() {
    let mut cluster = Cluster::start(3);
    cluster.tell(&["put", "a", "1"], "");
    cluster.tell(&["append", "a", "2"], "");
    cluster.tell(&["cas", "b", "new"], "");
    cluster.tell(&["get", "a"], "12\n");
    let wrong = cluster.ask(&["cas", "a", "3", "--expect=1"]);
    wrong.failed_with(&["nothing was changed", "\"12\""]);
    let wrong = cluster.ask(&["cas", "a", "3"]);
    wrong.failed_with(&["nothing was changed", "without --expect"]);
    cluster.tell(&["cas", "a", "3", "--expect=12"], "");
    cluster.tell(&["delete", "b"], "");
    cluster.ask(&["get", "b"]).failed_with(&["no key \"b\""]);
    // The log of one node is a snapshot from here on.
    let taken = cluster.ask(&["snapshot", "2"]);
    taken.succeeded();
    assert!(taken.stdout.contains("node 2: to entry"), "{taken:?}");
    let one = format!("--servers=1={}", cluster.addresses[0]);
    let taken = run(&["snapshot", "3", &one]);
    taken.succeeded();
    assert!(taken.stdout.contains("node 3: to entry"), "{taken:?}");
    run(&["snapshot", "9", &one]).failed_with(&["node 9 is no member", "its members are 1, 2, 3"]);

    for node in cluster.nodes.drain(..) {
        node.signal(Signal::KILL);
        node.ended();
    }
    for id in 1..=3 {
        let node = cluster.node(id, 3, &[]);
        cluster.nodes.push(node);
    }
    cluster.tell(&["get", "a"], "3\n");
}

#[test]
fn what_is_too_long_is_refused_with_one_limit_and_a_remedy() {
    let cluster = Cluster::start(1);
    let long = |bytes: usize| "x".repeat(bytes);
    for bytes in [1000, 1060, 3000] {
        let put = cluster.ask(&["put", "k", &long(bytes)]);
        let together = format!("key and value together have {} bytes", bytes + 1);
        put.failed_with(&[&together, "1000 are the most", "--max-datagram"]);
    }
    // A client that could send it can't help.
    let put = cluster.ask(&["put", "k", &long(1000), "--max-datagram=9000"]);
    put.failed_with(&[
        "together have 1001 bytes",
        "1000 are the most",
        "every node",
    ]);
    let expect = format!("--expect={}", long(600));
    let swap = cluster.ask(&["cas", "k", &long(600), &expect]);
    swap.failed_with(&["key, value and --expect together have 1201 bytes"]);
    cluster.tell(&["put", "k", &long(999)], "");
    cluster.tell(&["append", "k", &long(999)], "");
    let get = cluster.ask(&["get", "k"]);
    get.failed_with(&[
        "can't get \"k\"",
        "so long that its node can't send it",
        "--max-datagram",
    ]);
    let get = cluster.ask(&["get", &long(1200)]);
    let shown = format!("can't get \"{}\"...: ", long(40));
    get.failed_with(&[&shown, "the key has 1200 bytes"]);
    let tiny = cluster.ask(&["get", "k", "--max-datagram=100"]);
    tiny.failed_with(&["max_datagram is 100 bytes: make it 1200"]);
}

#[test]
fn a_node_joins_leads_and_another_is_removed() {
    let mut cluster = Cluster::start(3);
    cluster.tell(&["put", "a", "1"], "");
    let four = format!("4={}", cluster.addresses[3]);
    let early = run(&[
        "members",
        "add",
        &four,
        &format!("--servers={}", cluster.servers(3)),
        "--timeout-ms=2000",
    ]);
    early.failed_with(&["can't add node 4", "--join --id 4"]);
    // The address of another: nothing is added that could never catch up.
    let wrong = format!("4={}", cluster.addresses[2]);
    let wrong = cluster.ask(&["members", "add", &wrong]);
    wrong.failed_with(&["node 3 listens there"]);

    // One that belongs elsewhere, where the nodes have the same numbers: it would not listen to this leader.
    let listen = format!("--listen={}", cluster.addresses[3]);
    let elsewhere = [
        "node",
        "--id=4",
        "--memory",
        "--peers=1=127.0.0.1:1,2=127.0.0.1:2",
    ];
    let lonely = Program::start(biglock(&elsewhere).args([&listen, "--events"]));
    lonely.line(&["started"]);
    let foreign = cluster.ask(&["members", "add", &four]);
    foreign.failed_with(&["it has members already, of another cluster", "--join"]);
    lonely.signal(Signal::KILL);
    lonely.ended();

    // Before the node runs: it is waited for.
    let servers = format!("--servers={}", cluster.servers(3));
    let add = ["members", "add", &four, &servers, "--timeout-ms=30000"];
    let added = Program::start(&mut biglock(&add));
    let joined = cluster.node(4, 3, &["--join"]);
    let added = added.ended();
    added.succeeded();
    let line = added.stdout.lines().last().unwrap_or_default();
    assert!(
        line.contains(&cluster.addresses[3]) && line.contains("voter"),
        "{added:?}"
    );
    let again = cluster.ask(&["members", "add", &four]);
    again.succeeded();
    assert!(
        again.stderr.contains("node 4 is a voter already"),
        "{again:?}"
    );
    let moved = cluster.ask(&["members", "add", "4=127.0.0.1:9"]);
    moved.failed_with(&["a member already, at", &cluster.addresses[3]]);
    cluster.nodes.push(joined);

    cluster.tell(&["transfer", "4"], "node 4 leads\n");
    cluster
        .ask(&["transfer", "9"])
        .failed_with(&["node 9 is no member", "its members are 1, 2, 3, 4"]);
    let stranger = cluster.ask(&["members", "remove", "9"]);
    stranger.succeeded();
    assert!(
        stranger.stderr.contains("node 9 is no member: nothing was"),
        "{stranger:?}"
    );
    assert_eq!(stranger.stdout.lines().count(), 4, "{stranger:?}");
    let removed = cluster.ask(&["members", "remove", "1"]);
    removed.succeeded();
    assert!(!removed.stdout.contains("node 1 "), "{removed:?}");
    cluster.tell(&["get", "a"], "1\n");

    // It does not come back with what it knows, but with a folder of its own that is empty.
    let one = cluster.nodes.remove(0);
    one.signal(Signal::KILL);
    one.ended();
    let add = |cluster: &Cluster| {
        let servers = format!("--servers=4={}", cluster.addresses[3]);
        let one = format!("1={}", cluster.addresses[0]);
        run(&["members", "add", &one, &servers, "--timeout-ms=30000"])
    };
    let old = cluster.node(1, 3, &[]);
    let back = add(&cluster);
    back.failed_with(&[
        "before it was removed",
        "--data folder of its own that is empty",
    ]);
    old.signal(Signal::KILL);
    old.ended();
    fs::remove_dir_all(cluster.folder.path().join("1")).expect("nobody uses it");
    let _new = cluster.node(1, 3, &["--join"]);
    let back = add(&cluster);
    back.succeeded();
    assert!(back.stdout.contains("node 1 "), "{back:?}");
}

/// Of three nodes one is dead: without another of them nothing would ever be decided again, not even that it is gone.
#[test]
fn the_last_node_that_a_majority_needs_is_not_removed() {
    let mut cluster = Cluster::start(3);
    cluster.tell(&["put", "a", "1"], "");
    let dead = cluster.nodes.remove(2);
    dead.signal(Signal::KILL);
    dead.ended();
    for needed in ["1", "2"] {
        let removed = cluster.ask(&["members", "remove", needed]);
        removed.failed_with(&[
            &format!("can't remove node {needed}"),
            "2 of 2 voters have to agree to everything, and 1 answers: node 3 does not",
            "first start it, or remove what is dead",
        ]);
    }
    cluster.tell(&["put", "a", "2"], "");
    let removed = cluster.ask(&["members", "remove", "3"]);
    removed.succeeded();
    assert_eq!(removed.stdout.lines().count(), 2, "{removed:?}");
    // Both others answer, and one of them is enough.
    cluster.ask(&["members", "remove", "2"]).succeeded();
    cluster.tell(&["get", "a"], "2\n");
    // The last one is the leader's to refuse.
    let last = cluster.ask(&["members", "remove", "1"]);
    last.failed_with(&["can't remove node 1", "nobody would be left to vote"]);
}

#[test]
fn what_can_not_be_asked_is_said() {
    run(&["get", "a"]).failed_with(&["--servers 1=127.0.0.1:7001"]);
    // Connected to itself, it keeps the port, and is nobody to everybody else.
    let deaf = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let addr = deaf.local_addr().expect("an address");
    deaf.connect(addr).expect("it can be connected");
    let servers = format!("--servers=1={addr}");
    let put = run(&["put", "a", "1", &servers, "--timeout-ms=200"]);
    put.failed_with(&["can't put \"a\"", "nothing was heard", "do the nodes run"]);
    assert!(
        !put.stderr.contains("may have run"),
        "no session was opened: {put:?}"
    );
}

#[test]
fn what_is_no_number_address_or_time_is_refused_with_an_example() {
    let servers = "--servers=1=127.0.0.1:7001";
    let get = |servers: &str| run(&["get", "a", servers]);
    get("--servers=1:127.0.0.1:1").misused(&["is no node", "e.g. 2=127.0.0.1:7002"]);
    get("--servers=0=127.0.0.1:1").misused(&["numbered from 1"]);
    get("--servers=one=127.0.0.1:1").misused(&["write a node's number"]);
    get("--servers=1=localhost:1").misused(&["write an IP address with the port"]);
    get("--servers=1=0.0.0.0:1").failed_with(&["nobody can send to 0.0.0.0:1"]);
    let add = ["members", "add", "4=127.0.0.1:0", servers];
    run(&add).misused(&["nobody can send to 127.0.0.1:0"]);
    get("--servers=1=127.0.0.1:1,1=127.0.0.1:2").failed_with(&["node 1 is named twice"]);
    get("--servers=1=127.0.0.1:1,2=127.0.0.1:1").failed_with(&["can't both listen on"]);
    for args in [
        &["status", "foo"][..],
        &["node", "--id=1", "--memory", "--listen=localhost:7001"],
    ] {
        run(args).misused(&["write an IP address with the port, e.g. 127.0.0.1:7001"]);
    }
    for args in [
        &["transfer", "foo", servers][..],
        &["snapshot", "foo", servers],
        &["members", "remove", "foo", servers],
        &["node", "--id=foo"],
    ] {
        run(args).misused(&["write a node's number, e.g. 2"]);
    }
    run(&["transfer", "0", servers]).misused(&["there is no node 0"]);
    for args in [
        &["get", "a", servers, "--timeout-ms=0"][..],
        &["status", "127.0.0.1:7001", "--timeout-ms=0"],
    ] {
        run(args).misused(&["nothing is answered in no time", "1000"]);
    }
    run(&["get", "a", servers, "--timeout-ms=1s"]).misused(&["a number of milliseconds"]);
}
