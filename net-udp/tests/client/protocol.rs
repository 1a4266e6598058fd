//! The node's side, datagram by datagram.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::time::Duration;

use biglock::kv::Command;
use biglock::rules::Change;
use biglock::{Clock, Config, NodeId, RoleKind, SessionReply, SessionRequest};
use biglock_udp::codec::{self, Ask, ClientReply, ClientRequest, Outcome, Refused, SAFE_DATAGRAM};

use crate::cluster::{CLUSTER, Cluster, PATIENCE, Server, bind, loopback};

struct Raw {
    socket: UdpSocket,
    xid: u64,
}

impl Raw {
    fn to(server: &Server) -> Raw {
        let socket = UdpSocket::bind(loopback()).unwrap();
        socket.connect(server.transport.local_addr()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Raw { socket, xid: 0 }
    }

    fn send(&self, ask: Ask) {
        let (client, xid) = (77, self.xid);
        let request = ClientRequest { client, xid, ask };
        let mut buffer = [0; 4000];
        let datagram = codec::encode_client_request(&mut buffer, CLUSTER, &request).unwrap();
        self.socket.send(datagram).unwrap();
    }

    fn hear(&self) -> Outcome {
        let (xid, outcome) = self.hear_any();
        assert_eq!(xid, self.xid);
        outcome
    }

    /// The next reply, and to which request.
    fn hear_any(&self) -> (u64, Outcome) {
        let mut buffer = [0; SAFE_DATAGRAM];
        let length = self.socket.recv(&mut buffer).unwrap();
        let (_, reply) = codec::decode_client_reply(&buffer[..length], CLUSTER).unwrap();
        let ClientReply {
            client,
            xid,
            outcome,
        } = reply;
        assert_eq!(client, 77);
        (xid, outcome)
    }

    fn ask(&mut self, ask: Ask) -> Outcome {
        self.xid += 1;
        self.send(ask);
        self.hear()
    }
}

/// A leader whose followers are gone, so that nothing is decided any more; and it does not mind.
fn lonely_leader() -> (Cluster, u64) {
    let mut cluster = Cluster::start_with(3, SAFE_DATAGRAM, |config| config.check_quorum = false);
    let leader = cluster.leader();
    for id in (1..=3).filter(|&id| id != leader) {
        cluster.stop(id);
    }
    (cluster, leader)
}

/// Lecture 2: a request that arrives again while the first is still being executed.
#[test]
fn a_pending_duplicate_is_not_proposed_again() {
    let (mut cluster, leader) = lonely_leader();
    let server = &cluster.nodes[&leader];
    let mut raw = Raw::to(server);
    let open = || {
        let patience = Duration::from_secs(60);
        Ask::Session(SessionRequest::Open { patience })
    };
    let before = server.node.status().last.index;
    raw.xid += 1;
    for _ in 0..20 {
        raw.send(open());
    }
    let addr = server.transport.local_addr();
    let look = || biglock_udp::query_status(addr, CLUSTER, PATIENCE).unwrap();
    // Until all have been handled, and what was to be proposed has been: that comes a moment later.
    let proposed = (0..100_000)
        .map(|_| look())
        .find(|report| report.counters.client_requests == 20 && report.status.last.index > before);
    let last = proposed.expect("one is proposed").status.last.index;
    assert_eq!(last, before + 1);
    assert_eq!(look().status.last.index, last);

    // One was proposed, so one is answered.
    cluster.stop(leader);
    assert_eq!(raw.hear(), Outcome::Undecided);
    raw.socket.set_nonblocking(true).unwrap();
    assert!(raw.socket.recv(&mut [0; 9]).is_err());
}

/// Requests that come together are proposed together; one that is refused for itself takes no other along.
#[test]
fn each_of_several_requests_at_once_has_its_own_answer() {
    let cluster = Cluster::start(1);
    let server = &cluster.nodes[&1];
    server.node.wait_for_leader(PATIENCE).unwrap();
    let mut raw = Raw::to(server);
    let patience = Duration::from_secs(60);
    let opened = raw.ask(Ask::Session(SessionRequest::Open { patience }));
    let Outcome::Session(SessionReply::Opened { session }) = opened else {
        panic!("{opened:?}");
    };
    // As often as it takes for some of them to be there when the receiver looks.
    for round in 0..50 {
        let first = raw.xid + 1;
        for sequence in first..first + 9 {
            raw.xid = sequence;
            let length = if sequence % 3 == 2 { 2000 } else { 20 };
            let value = vec![b'x'; length];
            raw.send(Ask::Session(SessionRequest::Call {
                session,
                sequence,
                seen: 1,
                command: Command::put(format!("{round}"), value).into(),
            }));
        }
        let answers: BTreeMap<u64, Outcome> = (0..9).map(|_| raw.hear_any()).collect();
        assert_eq!(answers.len(), 9, "each has one");
        for (sequence, outcome) in answers {
            match outcome {
                Outcome::TooLarge { size, limit } => assert!(sequence % 3 == 2 && size > limit),
                Outcome::Session(SessionReply::Done(_)) => assert_ne!(sequence % 3, 2),
                other => panic!("{sequence}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_follower_names_the_leader_and_its_address() {
    let cluster = Cluster::start(3);
    let leader = cluster.leader();
    for (id, server) in &cluster.nodes {
        // All know by now, or will in a moment.
        server.node.wait_for_leader(PATIENCE).unwrap();
        let close = Ask::Session(SessionRequest::Close { session: 9 });
        match Raw::to(server).ask(close) {
            Outcome::NotLeader {
                leader: Some((named, address)),
            } => {
                assert_ne!(*id, leader);
                assert_eq!(address, cluster.addresses.get(&named).copied());
            }
            // A session that never was.
            outcome => assert_eq!(outcome, Outcome::Session(SessionReply::Expired)),
        }
    }
}

#[test]
fn who_can_not_answer_says_why() {
    // Its time stands still, so it never leads.
    let mut config = Config::new(1, [1, 2]);
    config.clock = Clock::manual();
    let server = Server::start(config, bind(1, loopback()));
    let mut raw = Raw::to(&server);
    assert_ne!(server.node.status().role, RoleKind::Leader);
    let nobody = Outcome::NotLeader { leader: None };
    for ask in [
        Ask::Session(SessionRequest::Close { session: 1 }),
        Ask::Change(Change::Remove(NodeId(2))),
        Ask::Transfer(NodeId(2)),
    ] {
        assert_eq!(raw.ask(ask), nobody);
    }
    // Of its own state it can, though nothing is in it.
    assert!(matches!(raw.ask(Ask::Snapshot), Outcome::Snapshot(_)));

    let transport = bind(1, loopback());
    let storage = biglock::MemoryStorage::new();
    let node = biglock::Node::start(Config::new(1, [1]), storage, transport.clone(), ()).unwrap();
    let server = Server {
        node,
        transport,
        store: biglock::kv::KvStore::new(),
    };
    server.node.wait_for_leader(PATIENCE).unwrap();
    let mut raw = Raw::to(&server);
    let outcome = raw.ask(Ask::Read(b"a".as_slice().into()));
    assert_eq!(outcome, Outcome::Refused(Refused::NoReads));
    assert_eq!(raw.ask(Ask::Transfer(NodeId(1))), Outcome::Leads(NodeId(1)));
    let outcome = raw.ask(Ask::Transfer(NodeId(9)));
    assert_eq!(outcome, Outcome::Refused(Refused::NotAVoter(NodeId(9))));
}
