//! Three nodes and more over the local network, each with a clock of its own.

use std::sync::Arc;

use biglock::rules::{Change, ChangeRefused, RoleKind};
use biglock::{ChangeError, Config, LocalNetwork, MemoryStorage, NoLeader, Node, NodeId, Storage};

use crate::harness::{Disk, Keeper, Kept, begin, change, config, ends, leader, tick};

struct Cluster {
    network: LocalNetwork,
    nodes: Vec<(Arc<Node>, Kept)>,
}

fn start(
    network: &LocalNetwork,
    config: Config,
    storage: impl Storage + 'static,
) -> (Arc<Node>, Kept) {
    let (keeper, kept) = Keeper::new();
    let transport = network.transport(config.id.0);
    let node = Node::start(config, storage, transport, keeper).expect("it starts");
    (Arc::new(node), kept)
}

/// Nodes 1 to 3, led by node 1, without check-quorum: their clocks stand still.
fn cluster(set: impl Fn(&mut Config)) -> Cluster {
    let network = LocalNetwork::new();
    let one = |id| {
        let mut config = config(id, 3);
        config.check_quorum = false;
        set(&mut config);
        start(&network, config, MemoryStorage::new())
    };
    let nodes = (1..=3).map(one).collect();
    let cluster = Cluster { network, nodes };
    tick(cluster.node(1), 300);
    for id in 1..=3 {
        assert_eq!(leader(cluster.node(id)).unwrap().leader, Some(NodeId(1)));
    }
    cluster
}

impl Cluster {
    fn node(&self, id: usize) -> &Arc<Node> {
        &self.nodes[id - 1].0
    }

    /// What this node has applied, once it has applied everything that is committed now.
    fn kept(&self, id: usize) -> Vec<Vec<u8>> {
        let node = self.node(id).clone();
        ends("read", move || node.read()).expect("somebody leads");
        self.nodes[id - 1].1.all()
    }

    fn propose(&self, id: usize, command: &[u8]) {
        let proposal = self.node(id).propose(command.to_vec()).expect("it leads");
        let reply = ends("wait", move || proposal.wait());
        assert_eq!(reply.expect("it is committed"), command);
    }

    fn change_members(&self, id: usize, change: Change) -> Result<(), ChangeError> {
        let node = self.node(id).clone();
        ends("change the members", move || node.change_members(&change))
    }
}

fn number(i: usize) -> Vec<u8> {
    i.to_be_bytes().to_vec()
}

/// A thousand in flight from one thread: each has its own reply, and every node the same commands in that order.
#[test]
fn a_thousand_in_flight_from_one_thread() {
    let cluster = cluster(|_| {});
    let node = cluster.node(1).clone();
    ends("propose", move || {
        let proposals: Vec<_> = (0..1000)
            .map(|i| node.propose(number(i)).expect("it leads"))
            .collect();
        for (i, proposal) in proposals.into_iter().enumerate() {
            assert_eq!(proposal.wait().unwrap(), number(i));
        }
    });
    let all: Vec<Vec<u8>> = (0..1000).map(number).collect();
    for id in 1..=3 {
        assert!(cluster.kept(id) == all, "node {id}");
    }
}

/// One in flight from each of 64 threads.
#[test]
fn one_in_flight_from_each_of_64_threads() {
    let cluster = cluster(|_| {});
    let one = |thread: usize| {
        let node = cluster.node(1).clone();
        begin("propose", move || {
            for i in 0..10 {
                let command = number(thread * 10 + i);
                let proposal = node.propose(command.clone()).expect("it leads");
                assert_eq!(proposal.wait().unwrap(), command);
            }
        })
    };
    let threads: Vec<_> = (0..64).map(one).collect();
    threads.into_iter().for_each(|thread| thread.result());
    let mut kept = cluster.kept(1);
    assert!(cluster.kept(2) == kept && cluster.kept(3) == kept);
    // Each thread's own, in its order.
    for thread in 0..64 {
        let own = kept
            .iter()
            .filter(|c| (thread * 10..thread * 10 + 10).any(|i| **c == number(i)));
        assert!(own.is_sorted());
    }
    kept.sort();
    assert!(kept == (0..640).map(number).collect::<Vec<_>>());
}

/// A read on any node sees what was acknowledged before it.
#[test]
fn a_read_on_any_node_sees_what_was_acknowledged() {
    let cluster = cluster(|_| {});
    for i in 0..30 {
        cluster.propose(1, &number(i));
        assert_eq!(cluster.kept(i % 3 + 1).last(), Some(&number(i)));
    }
}

#[test]
fn the_leadership_is_handed_over() {
    let cluster = cluster(|_| {});
    cluster.propose(1, b"before");
    let node = cluster.node(1).clone();
    let now = ends("transfer", move || node.transfer_leadership(3)).unwrap();
    assert_eq!((now.leader, now.term.0), (Some(NodeId(3)), 2));
    cluster.propose(3, b"after");
    assert_eq!(cluster.kept(2), [b"before".to_vec(), b"after".to_vec()]);
    assert_eq!(cluster.node(1).status().role, RoleKind::Follower);
}

/// A follower that was away for longer than the log reaches back gets the snapshot, and what came after it.
#[test]
fn a_follower_that_was_away_gets_the_snapshot() {
    let cluster = cluster(|config| config.keep_entries = 0);
    cluster.network.cut(3);
    let state = vec![7; 300_000];
    for _ in 0..10 {
        cluster.propose(1, &state);
    }
    let node = cluster.node(1).clone();
    let taken = ends("snapshot", move || node.snapshot()).unwrap();
    cluster.propose(1, b"after it");
    cluster.network.mend(3);
    let (one, three) = (cluster.node(1).clone(), cluster.node(3).clone());
    let reading = begin("read", move || three.read());
    tick(&one, 330);
    tick(cluster.node(3), 40);
    reading.result().unwrap();
    let status = cluster.node(3).status();
    assert_eq!(
        (status.snapshot, status.last.index),
        (taken, taken.index + 1)
    );
    assert!(cluster.kept(3) == cluster.kept(1));
}

/// A node joins and votes, and the leader leaves.
#[test]
fn a_node_joins_and_the_leader_leaves() {
    let mut cluster = cluster(|_| {});
    for i in 0..20 {
        cluster.propose(1, &number(i));
    }
    let mut joining = Config::joining(4);
    joining.clock = biglock::Clock::manual();
    joining.check_quorum = false;
    cluster
        .nodes
        .push(start(&cluster.network, joining, MemoryStorage::new()));
    assert_eq!(
        cluster.node(4).status().no_leader,
        Some(NoLeader::NotAVoter)
    );
    tick(cluster.node(4), 10_000);
    assert_eq!(
        cluster.node(4).status().role,
        RoleKind::Follower,
        "it never campaigns"
    );

    let (id, address) = (NodeId(4), String::from("somewhere"));
    cluster
        .change_members(1, Change::AddLearner { id, address })
        .unwrap();
    assert_eq!(leader(cluster.node(4)).unwrap().leader, Some(NodeId(1)));
    cluster.change_members(1, Change::Promote(id)).unwrap();
    cluster.propose(1, b"with four");
    let status = cluster.node(1).status();
    assert_eq!(status.members, (1..=4).map(NodeId).collect());
    assert!(status.learners.is_empty() && status.members_committed);

    let led = cluster.node(1).leadership();
    cluster
        .change_members(1, Change::Remove(NodeId(1)))
        .unwrap();
    change(cluster.node(1), led).unwrap();
    let status = cluster.node(1).status();
    assert_eq!(status.no_leader, Some(NoLeader::NotAVoter));
}

/// Who changes the members is told why not.
#[test]
fn a_change_that_makes_no_sense_is_refused() {
    let cluster = cluster(|_| {});
    cluster.propose(1, b"its term has begun");
    let refused = cluster.change_members(1, Change::Promote(NodeId(9)));
    assert!(
        matches!(refused, Err(ChangeError::Refused(ChangeRefused::Bad(_)))),
        "{refused:?}"
    );
    let refused = cluster.change_members(2, Change::Remove(NodeId(3)));
    assert!(matches!(
        refused,
        Err(ChangeError::Refused(ChangeRefused::Proposal(_)))
    ));
}

/// A whole cluster stops and starts again with its disks, snapshot and log: nothing that was acknowledged is lost.
#[test]
fn a_cluster_restarts_with_what_was_acknowledged() {
    let disks: Vec<Disk> = (0..3).map(|_| Disk::default()).collect();
    let mut expected = Vec::new();
    for life in 0..3 {
        let network = LocalNetwork::new();
        let one = |id: u64| {
            let mut config = config(id, 3);
            config.check_quorum = false;
            config.keep_entries = 2;
            start(&network, config, disks[id as usize - 1].clone())
        };
        let nodes = (1..=3).map(one).collect();
        let cluster = Cluster {
            network: network.clone(),
            nodes,
        };
        // The one with the longest log: the leader before may have stopped when its own disk held less than those of the others.
        let longest = (1..=3).max_by_key(|&id| cluster.node(id).status().last);
        let led = longest.expect("there are three");
        tick(cluster.node(led), 300);
        let seen = leader(cluster.node(led)).unwrap();
        assert_eq!(seen.leader, Some(NodeId(led as u64)));
        for i in 0..10 {
            let command = number(life * 100 + i);
            cluster.propose(led, &command);
            expected.push(command);
            if i == 5 {
                let node = cluster.node(led).clone();
                ends("snapshot", move || node.snapshot()).unwrap();
            }
        }
        for id in 1..=3 {
            assert!(cluster.kept(id) == expected, "node {id} in life {life}");
        }
        for (node, _) in cluster.nodes {
            ends("shutdown", move || node.shutdown()).unwrap();
        }
    }
}
