//! The network within one process: by channels and threads, and directly, where whoever sends runs the receiver's handler.

use std::sync::Arc;

use biglock::{Applied, LocalNetwork, Node, NodeId, RestoreError, StateMachine};
use bytes::Bytes;

use crate::harness::{Disk, begin, config, ends, leader, tick};

/// A state machine that holds this for as long as anything holds it.
struct Held {
    _token: Arc<()>,
}

impl StateMachine for Held {
    fn apply(&mut self, _: Applied, command: &[u8]) -> Bytes {
        Bytes::copy_from_slice(command)
    }

    fn is_instant(&self) -> bool {
        true
    }

    fn snapshot(&mut self) -> Bytes {
        Bytes::new()
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
}

fn start(network: &LocalNetwork, id: u64, disk: &Disk) -> (Arc<Node>, Arc<()>) {
    let token = Arc::new(());
    let _token = token.clone();
    let mut config = config(id, 3);
    config.check_quorum = false;
    let transport = network.transport(id);
    let node = Node::start(config, disk.clone(), transport, Held { _token });
    (Arc::new(node.expect("it starts")), token)
}

/// Nodes 1 to 3, led by node 1, and this is the disk of the last.
fn cluster(network: &LocalNetwork, last: &Disk) -> Vec<(Arc<Node>, Arc<()>)> {
    let disks = [&Disk::default(), &Disk::default(), last];
    let nodes = (1..).zip(disks).map(|(id, disk)| start(network, id, disk));
    let nodes: Vec<_> = nodes.collect();
    tick(&nodes[0].0, 300);
    for (node, _) in &nodes {
        assert_eq!(leader(node).unwrap().leader, Some(NodeId(1)));
    }
    nodes
}

fn propose(node: &Arc<Node>) {
    let proposal = node.propose(b"x".as_slice()).expect("it leads");
    let reply = ends("wait", move || proposal.wait());
    assert_eq!(reply.expect("it is committed"), b"x".as_slice());
}

/// Has all that is committed now, as the leader's time goes on: what is lost, or comes before a follower is known to be there, comes with a heartbeat.
fn read(node: &Arc<Node>, leader: &Arc<Node>) {
    let node = node.clone();
    let reading = begin("read", move || node.read());
    let mut millis = 400;
    let end = reading.result_while(|| {
        tick(leader, millis);
        millis += 30;
    });
    end.expect("it is connected");
}

#[test]
fn whoever_is_cut_off_hears_nothing_and_says_nothing() {
    for network in [LocalNetwork::new(), LocalNetwork::direct()] {
        let nodes = cluster(&network, &Disk::default());
        propose(&nodes[0].0);
        read(&nodes[2].0, &nodes[0].0);
        network.cut(3);
        propose(&nodes[0].0);
        let end = |at: usize| nodes[at].0.status().last.index;
        assert_eq!((end(0), end(2)), (3, 2));
        network.mend(3);
        propose(&nodes[0].0);
        read(&nodes[2].0, &nodes[0].0);
        assert_eq!(end(2), 4);
        for (node, _) in nodes {
            ends("shutdown", move || node.shutdown()).unwrap();
        }
    }
}

/// A node that has ended leaves nothing behind in the network; and not even its name, if another has that by then.
#[test]
fn a_node_that_has_ended_is_gone() {
    for network in [LocalNetwork::new(), LocalNetwork::direct()] {
        let disk = Disk::default();
        let mut nodes = cluster(&network, &disk);
        let (node, token) = nodes.pop().expect("there are three");
        let ended = node.clone();
        ends("shutdown", move || ended.shutdown()).unwrap();
        drop(node);
        assert_eq!(
            Arc::strong_count(&token),
            1,
            "somebody still holds the node"
        );
        propose(&nodes[0].0);

        let (old, _token) = start(&network, 3, &disk);
        let (new, _token) = start(&network, 3, &disk);
        let ended = old.clone();
        ends("shutdown", move || ended.shutdown()).unwrap();
        propose(&nodes[0].0);
        read(&new, &nodes[0].0);
        assert_eq!(new.status().last.index, 3);
        for node in [new]
            .into_iter()
            .chain(nodes.into_iter().map(|(node, _)| node))
        {
            ends("shutdown", move || node.shutdown()).unwrap();
        }
    }
}
