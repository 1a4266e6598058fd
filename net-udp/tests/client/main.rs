//! Clients and clusters over loopback: every command runs once, whatever gets lost.

mod again;
mod cluster;
mod doubt;
mod members;
mod protocol;
mod refused;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use biglock::{Config, NodeId};
use biglock_udp::codec::{MAX_DATAGRAM, SAFE_DATAGRAM};
use biglock_udp::{ClientConfig, ClientError, Heard, KvClient, Swapped, UdpTransport};
use bytes::Bytes;
use cluster::{CLUSTER, Cluster, PATIENCE, Server, bind_with, loopback};

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

#[test]
fn what_is_written_is_read_at_every_node() {
    let cluster = Cluster::start(3);
    let mut client = cluster.client();
    assert_eq!(client.get("a").unwrap(), None);
    client.put("a", "1").unwrap();
    client.append("a", "2").unwrap();
    for id in 1..=3 {
        // Whoever knows one node knows the cluster.
        let mut one = cluster.client_of([id]);
        assert_eq!(one.get("a").unwrap(), Some(bytes("12")));
        one.append("b", format!("{id}")).unwrap();
    }
    assert_eq!(client.get("b").unwrap(), Some(bytes("123")));

    let swap = |client: &mut KvClient, expected, new: &'static str| {
        client.compare_and_swap("a", expected, new).unwrap()
    };
    assert_eq!(swap(&mut client, Some(bytes("12")), "x"), Swapped::Done);
    let found = Swapped::Found(Some(bytes("x")));
    assert_eq!(swap(&mut client, Some(bytes("12")), "y"), found);
    client.delete("a").unwrap();
    assert_eq!(
        swap(&mut client, Some(bytes("x")), "y"),
        Swapped::Found(None)
    );
    assert_eq!(swap(&mut client, None, "z"), Swapped::Done);
    assert_eq!(client.get("a").unwrap(), Some(bytes("z")));
}

#[test]
fn clients_go_on_when_the_leader_dies() {
    let mut cluster = Cluster::start(3);
    let mut clients: Vec<KvClient> = (0..3).map(|_| cluster.client()).collect();
    for round in 0..3 {
        if round == 1 {
            let leader = cluster.leader();
            cluster.stop(leader);
        }
        for (i, client) in clients.iter_mut().enumerate() {
            client.append("log", format!("{round}{i} ")).unwrap();
        }
    }
    let all = clients[0].get("log").unwrap();
    assert_eq!(all, Some(bytes("00 01 02 10 11 12 20 21 22 ")));
}

#[test]
fn without_a_majority_it_says_so_in_time_and_that_it_may_run_yet() {
    let mut cluster = Cluster::start(3);
    let mut config = cluster.config();
    config.timeout = Duration::from_millis(700);
    let mut client = KvClient::connect(config).unwrap();
    client.put("a", "1").unwrap();
    for id in 1..=2 {
        cluster.stop(id);
    }
    let error = client.put("a", "2").unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
    assert!(error.may_have_run(), "{error}");
    // A read changes nothing, whatever became of it.
    let error = client.get("a").unwrap_err();
    assert!(!error.may_have_run(), "{error}");

    cluster.stop(3);
    let error = client.put("a", "3").unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("or may run yet: nothing was heard; do the nodes run, are these their addresses, and is this their cluster?"),
        "{error}"
    );
    let ClientError::TimedOut { heard, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(heard, Heard::Nothing);
    assert!(error.to_string().contains("do the nodes run"), "{error}");
}

#[test]
fn a_command_that_does_not_fit_is_refused_with_the_limit() {
    let cluster = Cluster::start(1);
    let mut client = cluster.client();
    // What the user wrote, key and values together, and how much of it there may be.
    let told = |error: &ClientError| match error {
        ClientError::TooLarge { size, limit, .. } => (*size, *limit),
        other => panic!("{other}"),
    };
    let large = vec![7; 2000];
    let error = client.put("a", large.clone()).unwrap_err();
    // By the client itself.
    assert_eq!(told(&error), (2001, 1000));
    assert!(!error.may_have_run());
    client.put("a", vec![7; 999]).unwrap();
    let error = client.put("a", vec![7; 1000]).unwrap_err();
    assert_eq!(told(&error), (1001, 1000));
    let (old, new) = (vec![7; 700], vec![7; 800]);
    let swap = client.compare_and_swap("a", Some(old.into()), new);
    assert_eq!(told(&swap.unwrap_err()).0, 1501);
    let error = client.get("k".repeat(1155)).unwrap_err();
    assert_eq!(told(&error), (1155, 1154));
    assert_eq!(client.get("k".repeat(1154)).unwrap(), None);

    // By the node, whose datagrams are shorter than the client's.
    let mut config = cluster.config();
    config.max_datagram = 9000;
    let mut client = KvClient::connect(config).unwrap();
    let error = client.put("a", large).unwrap_err();
    assert_eq!(told(&error), (2001, 1000));
    assert!(!error.may_have_run());
    client.put("a", vec![7; 900]).unwrap();

    // What grew too long can be written, and is too long to be told.
    client.append("a", vec![7; 900]).unwrap();
    let error = client.get("a").unwrap_err();
    let ClientError::AnswerTooLarge { size } = error else {
        panic!("{error}");
    };
    assert!(size > 1800, "{error}");
    let swapped = client.compare_and_swap("a", None, "b").unwrap_err();
    assert!(swapped.may_have_run(), "{swapped}");
}

#[test]
fn long_datagrams_carry_long_values() {
    let cluster = Cluster::start_with(3, MAX_DATAGRAM, |_| {});
    let mut config = cluster.config();
    config.max_datagram = MAX_DATAGRAM;
    let mut client = KvClient::connect(config).unwrap();
    for length in [60_000, 65_000] {
        let value = Bytes::from(vec![b'x'; length]);
        client.put("a", value.clone()).unwrap();
        assert_eq!(client.get("a").unwrap(), Some(value));
    }
    let error = client.put("a", vec![b'x'; 65_500]).unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { .. }), "{error}");
}

/// The nodes send datagrams of different lengths. What one leader took the next one sends on, to whoever lacks it, as long as it is.
#[test]
fn what_is_too_long_for_the_next_leader_reaches_everybody() {
    let bound: Vec<UdpTransport> = (1..)
        .zip([SAFE_DATAGRAM, 9000, 9000])
        .map(|(id, size)| bind_with(id, loopback(), size))
        .collect();
    let mut bound: BTreeMap<NodeId, UdpTransport> = (1..).map(NodeId).zip(bound).collect();
    let addresses: BTreeMap<NodeId, SocketAddr> = bound
        .iter()
        .map(|(&id, transport)| (id, transport.local_addr()))
        .collect();
    let mut start = |id| {
        let transport = bound.remove(&NodeId(id)).unwrap();
        Server::start(
            Config::new(id, 1..=3),
            transport.with_peers(addresses.clone()),
        )
    };
    let mut config = ClientConfig::new(CLUSTER, addresses.clone());
    config.timeout = PATIENCE;
    config.max_datagram = 9000;
    let mut client = KvClient::connect(config.clone()).unwrap();

    let _both = [start(1), start(2)];
    let long = Bytes::from(vec![b'x'; 5000]);
    client.client().transfer_leadership(2).unwrap();
    client.put("a", long.clone()).unwrap();
    client.client().transfer_leadership(1).unwrap();
    let error = client.put("b", long.clone()).unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { .. }), "{error}");
    let _third = start(3);
    config.servers.retain(|&id, _| id == NodeId(3));
    let mut at_three = KvClient::connect(config).unwrap();
    let got = at_three.get("a");
    let got = got.expect("what one leader took the next one sends on");
    assert_eq!(got, Some(long));
}

#[test]
fn what_can_not_work_is_said_at_once() {
    let none = ClientConfig::new(CLUSTER, []);
    let error = KvClient::connect(none).unwrap_err().to_string();
    assert!(error.contains("name at least one node"), "{error}");

    let cluster = Cluster::start(1);
    let mut config = cluster.config();
    config.patience = config.timeout;
    let error = KvClient::connect(config).unwrap_err().to_string();
    assert!(error.contains("longer than the timeout"), "{error}");

    let mut config = cluster.config();
    let six = "[::1]:4000".parse().unwrap();
    config.servers.insert(biglock::NodeId(2), six);
    let error = KvClient::connect(config).unwrap_err().to_string();
    assert!(error.contains("IPv4 and of IPv6"), "{error}");
}
