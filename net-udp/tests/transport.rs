//! Nodes over loopback: they elect a leader, answer who asks, and drop and count what is not for them.

mod common;

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use biglock::rules::{Answer, Body, Position};
use biglock::{Clock, Config, MemoryStorage, Message, Node, NodeId, StartError, Term, Transport};
use biglock_udp::codec::{self, Invalid, MAX_DATAGRAM, Request, SAFE_DATAGRAM};
use biglock_udp::{QueryError, Report, UdpConfig, UdpTransport, query_status};
use common::{CLUSTER, messages};
use fastrand::Rng;

/// Nothing here takes long; this only ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOPBACK: &str = "127.0.0.1:0";

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind(LOOPBACK).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn bind(id: u64) -> UdpTransport {
    let config = UdpConfig::new(NodeId(id), CLUSTER, LOOPBACK.parse().unwrap());
    UdpTransport::bind(config).unwrap()
}

fn ask(addr: SocketAddr) -> Report {
    query_status(addr, CLUSTER, PATIENCE).unwrap()
}

/// Node 2 of a cluster of three. Its time stands still, so it does nothing on its own; the others are sockets of the test.
struct Lone {
    _node: Node,
    transport: UdpTransport,
    one: UdpSocket,
}

fn lone() -> Lone {
    let (one, three) = (socket(), socket());
    let peers = BTreeMap::from([
        (NodeId(1), one.local_addr().unwrap()),
        (NodeId(3), three.local_addr().unwrap()),
    ]);
    let transport = bind(2).with_peers(peers);
    let mut config = Config::new(2, [1, 2, 3]);
    config.clock = Clock::manual();
    let node = Node::start(config, MemoryStorage::new(), transport.clone(), ()).unwrap();
    one.connect(transport.local_addr()).unwrap();
    Lone {
        _node: node,
        transport,
        one,
    }
}

impl Lone {
    fn send(&self, bytes: &[u8]) {
        self.one.send(bytes).unwrap();
    }

    /// Asks for the status. What was sent before has been handled then: one socket, one thread.
    fn report(&self) -> Report {
        ask(self.transport.local_addr())
    }
}

fn encode(message: &Message) -> Vec<u8> {
    let mut buffer = [0; SAFE_DATAGRAM];
    codec::encode_message(&mut buffer, CLUSTER, message)
        .unwrap()
        .into()
}

/// The messages of a datagram.
fn decode(bytes: &[u8]) -> Result<Vec<Message>, Invalid> {
    match codec::decode_request(bytes, CLUSTER)? {
        Request::Messages(messages) => messages.collect(),
        other => panic!("{other:?}"),
    }
}

fn vote_request() -> Message {
    Message {
        from: NodeId(1),
        to: NodeId(2),
        term: Term(9),
        body: Body::RequestVote {
            last: Position::default(),
            handed_over: false,
        },
    }
}

#[test]
fn three_nodes_elect_a_leader_and_then_another() {
    let bound: Vec<UdpTransport> = (1..=3).map(bind).collect();
    let addresses: BTreeMap<NodeId, SocketAddr> = (1..)
        .map(NodeId)
        .zip(bound.iter().map(UdpTransport::local_addr))
        .collect();
    let transports: Vec<UdpTransport> = bound
        .into_iter()
        .map(|transport| transport.with_peers(addresses.clone()))
        .collect();
    let mut nodes: Vec<Node> = (1..)
        .zip(&transports)
        .map(|(id, transport)| {
            let config = Config::new(id, [1, 2, 3]);
            Node::start(config, MemoryStorage::new(), transport.clone(), ()).unwrap()
        })
        .collect();

    let first = agree(&nodes, Term(0));
    for address in addresses.values() {
        let report = ask(*address);
        assert_eq!(addresses[&report.status.id], *address);
        assert!(report.status.term >= first.0);
        // It is the one that asks.
        assert!(report.threads.contains("receiver "), "{report}");
    }

    let gone = nodes.remove(first.1.0 as usize - 1);
    gone.shutdown().unwrap();
    let second = agree(&nodes, first.0);
    assert_ne!(second.1, first.1);

    for transport in &transports {
        let counters = transport.counters();
        assert!(counters.sent > 0 && counters.delivered > 0, "{counters}");
        assert_eq!(
            counters.dropped() + counters.receive_errors,
            0,
            "{counters}"
        );
    }
    for node in nodes {
        node.shutdown().unwrap();
    }
}

/// Waits until all nodes know the same leader of the same term after `after`.
fn agree(nodes: &[Node], after: Term) -> (Term, NodeId) {
    let mut seen: BTreeMap<Term, NodeId> = BTreeMap::new();
    loop {
        let mut last = Vec::new();
        for node in nodes {
            let mut leadership = node.leadership();
            while leadership.leader.is_none() || leadership.term <= after {
                leadership = node.wait_for_change(leadership, Some(PATIENCE)).unwrap();
            }
            let leader = leadership.leader.unwrap();
            let known = *seen.entry(leadership.term).or_insert(leader);
            assert_eq!(known, leader, "two leaders in {}", leadership.term);
            last.push((leadership.term, leader));
        }
        if last.iter().all(|leadership| *leadership == last[0]) {
            return last[0];
        }
    }
}

#[test]
fn a_vote_is_answered_to_the_peers_address() {
    let lone = lone();
    lone.send(&encode(&vote_request()));
    let mut buffer = [0; SAFE_DATAGRAM];
    let length = lone.one.recv(&mut buffer).unwrap();
    let answer = Message {
        from: NodeId(2),
        to: NodeId(1),
        term: Term(9),
        body: Body::VoteReply {
            answer: Answer::Granted,
        },
    };
    assert_eq!(decode(&buffer[..length]), Ok(vec![answer]));
    let report = lone.report();
    assert_eq!(report.status.voted_for, Some(NodeId(1)));
    assert_eq!((report.counters.delivered, report.counters.sent), (1, 1));
}

/// "Servers process incoming RPC requests without consulting their current configurations" (section 6): one that was added by entries
/// which this node does not have yet must be able to win its vote.
#[test]
fn a_node_that_nobody_named_is_answered_where_it_was_heard() {
    let lone = lone();
    let stranger = socket();
    let mut request = vote_request();
    request.from = NodeId(9);
    let to = lone.transport.local_addr();
    stranger.send_to(&encode(&request), to).unwrap();
    let mut buffer = [0; SAFE_DATAGRAM];
    let length = stranger.recv(&mut buffer).unwrap();
    let messages = decode(&buffer[..length]).unwrap();
    assert_eq!((messages.len(), messages[0].to), (1, NodeId(9)));

    // But nobody can take a peer's place by saying that he is it.
    let mut request = vote_request();
    request.term = Term(10);
    stranger.send_to(&encode(&request), to).unwrap();
    let length = lone.one.recv(&mut buffer).unwrap();
    assert_eq!(decode(&buffer[..length]).unwrap()[0].to, NodeId(1));
}

#[test]
fn messages_for_one_receiver_share_a_datagram_in_their_order() {
    let (one, three) = (socket(), socket());
    let peers = BTreeMap::from([
        (NodeId(1), one.local_addr().unwrap()),
        (NodeId(3), three.local_addr().unwrap()),
    ]);
    let transport = bind(2).with_peers(peers);
    let number = |read| Message {
        from: NodeId(2),
        to: NodeId(if read % 3 == 0 { 3 } else { 1 }),
        term: Term(1),
        body: Body::ReadIndex { read },
    };
    let all: Vec<Message> = (0..100).map(number).collect();
    transport.send(&biglock::Outside::claim("test"), &all);
    let mut buffer = [0; SAFE_DATAGRAM + 1];
    for (socket, id) in [(one, NodeId(1)), (three, NodeId(3))] {
        let expected: Vec<&Message> = all.iter().filter(|message| message.to == id).collect();
        let (mut got, mut datagrams) = (Vec::new(), 0);
        while got.len() < expected.len() {
            let length = socket.recv(&mut buffer).unwrap();
            assert!(length <= SAFE_DATAGRAM);
            got.extend(decode(&buffer[..length]).unwrap());
            datagrams += 1;
        }
        assert_eq!(got.iter().collect::<Vec<_>>(), expected);
        assert_eq!(datagrams, expected.len().div_ceil(51), "51 fit into one");
    }
    let counters = transport.counters();
    assert_eq!((counters.sent, counters.not_sent), (100, 0));
}

/// A message that is longer than the node's datagrams has one of its own. What no datagram carries is left out, and does not take along others
/// that are on their way to the same node.
#[test]
fn what_no_datagram_carries_is_left_out_and_counted() {
    let one = socket();
    let peers = BTreeMap::from([(NodeId(1), one.local_addr().unwrap())]);
    let transport = bind(2).with_peers(peers);
    let message = |body| Message {
        from: NodeId(2),
        to: NodeId(1),
        term: Term(1),
        body,
    };
    let longer_than = |bytes| {
        let noop = biglock::Entry {
            term: Term(1),
            time: biglock::Time::ZERO,
            payload: biglock::Payload::Noop,
        };
        message(Body::AppendEntries {
            prev: Position::default(),
            entries: vec![noop; bytes / 20].into(),
            commit: 0,
            beat: Default::default(),
        })
    };
    let (long, too_long) = (longer_than(SAFE_DATAGRAM), longer_than(MAX_DATAGRAM));
    let read = |read| message(Body::ReadIndex { read });
    let all = [read(1), read(2), long.clone(), read(3), too_long, read(4)];
    transport.send(&biglock::Outside::claim("test"), &all);
    let mut got = Vec::new();
    let mut buffer = vec![0; MAX_DATAGRAM];
    while got
        .last()
        .is_none_or(|last: &Vec<Message>| last.last() != Some(&read(4)))
    {
        let length = one.recv(&mut buffer).unwrap();
        got.push(decode(&buffer[..length]).unwrap());
    }
    assert_eq!(
        got,
        [
            vec![read(1), read(2)],
            vec![long],
            vec![read(3)],
            vec![read(4)]
        ]
    );
    let counters = transport.counters();
    assert_eq!((counters.sent, counters.not_sent), (5, 1));
}

#[test]
fn what_is_not_for_the_node_is_dropped_and_counted_by_reason() {
    let lone = lone();
    let good = encode(&vote_request());
    let changed = |change: fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        bytes
    };
    let told = |change: fn(&mut Message)| {
        let mut message = vote_request();
        change(&mut message);
        encode(&message)
    };
    for (times, bytes) in [
        (1, Vec::new()),
        (1, changed(|bytes| bytes.truncate(5))),
        (1, changed(|bytes| bytes.truncate(bytes.len() - 1))),
        (
            4,
            changed(|bytes| {
                bytes.push(0);
                bytes[27] += 1;
            }),
        ),
        (5, changed(|bytes| bytes[36] = 1)),
        (6, changed(|bytes| bytes[0] += 1)),
        (7, changed(|bytes| bytes[1] += 1)),
        (8, changed(|bytes| bytes[17] = 7)),
        // Nobody, and itself.
        (9, told(|message| message.from = NodeId(0))),
        (1, told(|message| message.from = NodeId(2))),
        (11, told(|message| message.to = NodeId(3))),
    ] {
        for _ in 0..times {
            lone.send(&bytes);
        }
    }
    let report = lone.report();
    let counters = report.counters;
    let by_reason = [
        counters.truncated,
        counters.trailing,
        counters.malformed,
        counters.version,
        counters.cluster,
        counters.kind,
        counters.stranger,
        counters.misaddressed,
    ];
    assert_eq!(by_reason, [3, 4, 5, 6, 7, 8, 10, 11], "{counters}");
    assert_eq!(counters.dropped(), by_reason.iter().sum::<u64>());
    assert_eq!((counters.delivered, counters.receive_errors), (0, 0));
    assert_eq!(report.status.term, Term(0), "none of it had an effect");
}

#[test]
fn noise_does_no_harm() {
    let lone = lone();
    let mut rng = Rng::with_seed(5);
    let valid: Vec<Vec<u8>> = messages().iter().map(encode).collect();
    let mut sent = 0;
    for _ in 0..50 {
        // So many fit into the receive buffer of any system.
        for _ in 0..50 {
            let mut bytes = valid[rng.usize(..valid.len())].clone();
            for _ in 0..rng.usize(..3) {
                let at = rng.usize(..bytes.len());
                // But for the sender: two leaders of one term are more than noise, and the node would stop.
                if !(9..17).contains(&at) {
                    bytes[at] = rng.u8(..);
                }
            }
            bytes.resize(bytes.len() - rng.usize(..2), 0);
            lone.send(&bytes);
            sent += 1;
        }
        let counters = lone.report().counters;
        assert_eq!(counters.delivered + counters.dropped(), sent, "{counters}");
    }
    let counters = lone.report().counters;
    assert!(
        counters.delivered > 100 && counters.dropped() > 100,
        "{counters}"
    );
}

#[test]
fn what_cannot_be_sent_is_counted() {
    let transport = bind(2);
    let mut config = Config::new(2, [1, 2, 3]);
    config.clock = Clock::manual();
    let node = Node::start(config, MemoryStorage::new(), transport.clone(), ()).unwrap();
    // It knows nobody's address.
    let engine = node.engine();
    let mut outside = biglock::Outside::claim("test");
    engine.receive(&mut outside, vote_request());
    let counters = transport.counters();
    assert_eq!((counters.sent, counters.not_sent), (0, 1));
}

#[test]
fn a_transport_serves_one_node() {
    let lone = lone();
    let again = Node::start(
        Config::new(2, [1, 2, 3]),
        MemoryStorage::new(),
        lone.transport.clone(),
        (),
    );
    let Err(StartError::Transport(error)) = again else {
        panic!("it started twice");
    };
    assert!(error.to_string().contains("started before"), "{error}");
    // The first is not disturbed.
    assert_eq!(lone.report().status.id, NodeId(2));
}

#[test]
fn an_address_in_use_is_refused() {
    let first = bind(1);
    let mut config = UdpConfig::new(NodeId(2), CLUSTER, first.local_addr());
    config.receive_buffer = Some(1 << 16);
    let error = UdpTransport::bind(config.clone())
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains(&first.local_addr().to_string()), "{error}");
    drop(first);
    UdpTransport::bind(config).unwrap();
}

#[test]
fn a_query_says_why_there_is_no_answer() {
    // Connected to itself, it keeps the port, and is nobody to everybody else.
    let deaf = socket();
    let addr = deaf.local_addr().unwrap();
    deaf.connect(addr).unwrap();
    let error = query_status(addr, CLUSTER, PATIENCE).unwrap_err();
    assert!(matches!(error, QueryError::Refused { .. }), "{error}");

    let lone = lone();
    let short = Duration::from_millis(40);
    let error = query_status(lone.transport.local_addr(), CLUSTER + 1, short).unwrap_err();
    assert!(matches!(error, QueryError::TimedOut { .. }), "{error}");
    assert_eq!(lone.report().counters.cluster, 4, "it asks four times");

    let liar = socket();
    let addr = liar.local_addr().unwrap();
    thread::scope(|threads| {
        let lie = || {
            let mut request = [0; SAFE_DATAGRAM + 1];
            let (length, asker) = liar.recv_from(&mut request).unwrap();
            assert_eq!(length, SAFE_DATAGRAM, "as long as the longest answer");
            liar.send_to(b"\x07?", asker).unwrap();
        };
        thread::Builder::new().spawn_scoped(threads, lie).unwrap();
        let error = query_status(addr, CLUSTER, PATIENCE).unwrap_err();
        assert!(matches!(error, QueryError::Unreadable { .. }), "{error}");
    });
}
