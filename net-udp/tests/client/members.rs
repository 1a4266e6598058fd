//! What is not about the state: members, leadership, snapshots.

use std::collections::BTreeMap;

use biglock::rules::{BadChange, Change};
use biglock::{Config, NodeId, Position};
use biglock_udp::codec::{Refused, SAFE_DATAGRAM};
use biglock_udp::{ClientError, KvClient};

use crate::bytes;
use crate::cluster::{Cluster, Server, bind, loopback};

/// A node joins, is heard though nobody configured it, votes, and leads; another is removed.
#[test]
fn a_node_is_added_and_another_removed() {
    let mut cluster = Cluster::start(3);
    let mut kv = cluster.client();
    kv.put("a", "1").unwrap();

    let transport = bind(4, loopback()).with_peers(cluster.addresses.clone());
    let at = transport.local_addr();
    let four = Server::start(Config::joining(4), transport);
    let id = NodeId(4);
    let add = Change::AddLearner {
        id,
        address: at.to_string(),
    };
    kv.client().change_members(add.clone()).unwrap();
    // It is there, as was asked for; and not elsewhere.
    kv.client().change_members(add).unwrap();
    let address = "127.0.0.1:9".into();
    let elsewhere = Change::AddLearner { id, address };
    let elsewhere = kv.client().change_members(elsewhere).unwrap_err();
    let ClientError::Refused(Refused::Change(BadChange::AlreadyAMember(_))) = elsewhere else {
        panic!("{elsewhere}");
    };
    // Not before it was heard, and has what the others have.
    while let Err(error) = kv.client().change_members(Change::Promote(id)) {
        let ClientError::Refused(Refused::CatchingUp { .. }) = error else {
            panic!("{error}");
        };
    }
    // Whoever is asked may be behind, or know no leader for a moment.
    let members = (0..1000).find_map(|_| {
        let (members, leader) = kv.client().members().unwrap();
        let votes = members.get(&id).is_some_and(|member| member.voter);
        (votes && leader.is_some()).then_some(members)
    });
    let members = members.expect("it votes");
    assert_eq!(members.len(), 4);
    assert_eq!(members[&id].address, Some(at));
    for (id, at) in &cluster.addresses {
        assert_eq!(members[id].address, Some(*at));
    }

    // It leads, and so all can reach it.
    kv.client().transfer_leadership(4).unwrap();
    kv.append("a", "2").unwrap();
    cluster.nodes.insert(4, four);
    let gone = NodeId(1);
    kv.client().change_members(Change::Remove(gone)).unwrap();
    cluster.stop(1);
    kv.append("a", "3").unwrap();
    assert_eq!(kv.get("a").unwrap(), Some(bytes("123")));
    let gone = (0..1000).any(|_| {
        let (members, _) = kv.client().members().unwrap();
        members.keys().map(|id| id.0).eq([2, 3, 4])
    });
    assert!(gone, "it was removed");

    let nobody = kv.client().transfer_leadership(9).unwrap_err();
    let ClientError::Refused(Refused::NotAVoter(_)) = nobody else {
        panic!("{nobody}");
    };
}

/// What it lacks is in no log any more: it gets the state, in pieces that fit into datagrams.
#[test]
fn a_node_that_comes_late_gets_a_snapshot_in_pieces() {
    let cluster = Cluster::start_with(3, SAFE_DATAGRAM, |config| config.keep_entries = 0);
    let mut kv = cluster.client();
    for number in 0..100 {
        kv.put(format!("key {number}"), vec![b'x'; 900]).unwrap();
    }
    for id in 1..=3 {
        cluster.client_of([id]).get("key 0").unwrap();
        kv.client().snapshot(id).unwrap();
    }
    kv.put("after", "it").unwrap();

    let transport = bind(4, loopback()).with_peers(cluster.addresses.clone());
    let (id, address) = (NodeId(4), transport.local_addr());
    let four = Server::start(Config::joining(4), transport);
    let change = Change::AddLearner {
        id,
        address: address.to_string(),
    };
    kv.client().change_members(change).unwrap();
    // It has to have everything before it can serve a read.
    let mut config = cluster.config();
    config.servers = BTreeMap::from([(id, address)]);
    let mut at_four = KvClient::connect(config).unwrap();
    assert_eq!(at_four.get("after").unwrap(), Some(bytes("it")));
    assert_eq!(at_four.get("key 99").unwrap(), Some(vec![b'x'; 900].into()));
    let status = four.node.status();
    assert!(status.snapshot.index > 100, "{status:?}");
    let counters = four.transport.counters();
    assert!(
        counters.delivered >= 90,
        "100 KB do not fit into less: {counters}"
    );
}

#[test]
fn every_node_takes_its_own_snapshot() {
    let cluster = Cluster::start(3);
    let mut kv = cluster.client();
    for number in 0..10 {
        kv.put("a", format!("{number}")).unwrap();
    }
    let taken: BTreeMap<u64, Position> = (1..=3)
        .map(|id| {
            // It has applied everything that was answered.
            cluster.client_of([id]).get("a").unwrap();
            (id, kv.client().snapshot(id).unwrap())
        })
        .collect();
    for (id, server) in &cluster.nodes {
        assert!(taken[id].index > 10, "{taken:?}");
        assert!(server.node.status().snapshot >= taken[id]);
        assert_eq!(server.store.get("a"), Some(bytes("9")));
    }
    // Who knows one node finds the others.
    cluster.client_of([1]).client().snapshot(3).unwrap();
    let error = kv.client().snapshot(9).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("node 9 is no member of this cluster; its members are 1, 2, 3"),
        "{error}"
    );
}
