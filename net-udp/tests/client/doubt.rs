//! What a client makes of loss, repetition and servers that say strange things.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use biglock::{NodeId, SessionReply, SessionRequest};
use biglock_udp::codec::{
    self, Ask, ClientReply, ClientRequest, MAX_DATAGRAM, Outcome, Request, SAFE_DATAGRAM,
};
use biglock_udp::{Client, ClientConfig, ClientError, KvClient};
use bytes::Bytes;

use crate::bytes;
use crate::cluster::{CLUSTER, Cluster, PATIENCE, bind, loopback};

/// Something that answers at an address until it is dropped.
pub struct Fake {
    pub at: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    /// Each datagram goes to `hear`, with the socket to answer from.
    pub fn new(mut hear: impl FnMut(&UdpSocket, &[u8], SocketAddr) + Send + 'static) -> Fake {
        let socket = UdpSocket::bind(loopback()).unwrap();
        let wait = Duration::from_millis(20);
        socket.set_read_timeout(Some(wait)).unwrap();
        let at = socket.local_addr().unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let stop = over.clone();
        let run = move || {
            let mut buffer = vec![0; MAX_DATAGRAM];
            while !stop.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    hear(&socket, &buffer[..length], from);
                }
            }
        };
        let thread = thread::Builder::new().spawn(run).unwrap();
        Fake {
            at,
            over,
            thread: Some(thread),
        }
    }

    fn client(&self) -> KvClient {
        let mut config = ClientConfig::new(CLUSTER, [(NodeId(1), self.at)]);
        config.timeout = PATIENCE;
        KvClient::connect(config).unwrap()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let ended = self.thread.take().unwrap().join();
        if !thread::panicking() {
            ended.unwrap();
        }
    }
}

pub fn request(datagram: &[u8]) -> Option<ClientRequest> {
    match codec::decode_request(datagram, CLUSTER) {
        Ok(Request::Client(request)) => Some(request),
        _ => None,
    }
}

/// Sends a reply as if this node did.
pub fn send(socket: &UdpSocket, id: u64, reply: &ClientReply, to: SocketAddr) {
    let mut buffer = [0; SAFE_DATAGRAM];
    let datagram = codec::encode_client_reply(&mut buffer, CLUSTER, NodeId(id), reply).unwrap();
    socket.send_to(datagram, to).unwrap();
}

/// A network that loses the first reply to everything, and brings every request three times.
#[test]
fn replies_that_are_lost_and_requests_that_come_twice_change_nothing() {
    let cluster = Cluster::start(1);
    let server = cluster.addresses[&NodeId(1)];
    let mut client_at = None;
    let mut replies: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    let network = Fake::new(move |socket, datagram, from| {
        if from != server {
            client_at = Some(from);
            for _ in 0..3 {
                socket.send_to(datagram, server).unwrap();
            }
            return;
        }
        // The client's number and the request's are in front.
        let number = datagram[codec::HEADER..codec::HEADER + 16].to_vec();
        let replies = replies.entry(number).or_default();
        *replies += 1;
        if *replies > 1 {
            socket.send_to(datagram, client_at.unwrap()).unwrap();
        }
    });
    let mut client = network.client();
    for number in 0..8 {
        client.append("log", format!("{number} ")).unwrap();
    }
    let all = client.get("log").unwrap();
    assert_eq!(all, Some(bytes("0 1 2 3 4 5 6 7 ")));
}

/// A call that one leader ran, and whose reply was lost, is answered by the next, who does not run it again.
#[test]
fn what_a_dead_leader_ran_the_next_does_not_run_again() {
    let mut cluster = Cluster::start(3);
    let swallow = Arc::new(AtomicBool::new(false));
    let network = |server: SocketAddr| {
        let swallow = swallow.clone();
        let mut client_at = None;
        Fake::new(move |socket, datagram, from| {
            if from != server {
                client_at = Some(from);
                socket.send_to(datagram, server).unwrap();
            } else if !swallow.load(Ordering::SeqCst) {
                socket.send_to(datagram, client_at.unwrap()).unwrap();
            }
        })
    };
    let networks: BTreeMap<NodeId, Fake> = cluster
        .addresses
        .iter()
        .map(|(&id, &at)| (id, network(at)))
        .collect();
    let mut config = cluster.config();
    config.servers = networks.iter().map(|(&id, it)| (id, it.at)).collect();
    let mut client = KvClient::connect(config).unwrap();
    client.append("log", "0 ").unwrap();

    swallow.store(true, Ordering::SeqCst);
    let append = thread::Builder::new()
        .spawn(move || {
            client.append("log", "1 ").unwrap();
            client
        })
        .unwrap();
    // A client of its own looks, past the network that swallows.
    let mut other = cluster.client();
    while other.get("log").unwrap() != Some(bytes("0 1 ")) {
        assert!(!append.is_finished(), "nobody answered it");
    }
    let leader = cluster.leader();
    cluster.stop(leader);
    // The next leads, before anybody can hear it.
    other.append("log", "2 ").unwrap();
    swallow.store(false, Ordering::SeqCst);
    let mut client = append.join().unwrap();
    client.append("log", "3 ").unwrap();
    assert_eq!(client.get("log").unwrap(), Some(bytes("0 1 2 3 ")));
}

/// A server that opens any session, and answers calls with this.
fn server(mut answer: impl FnMut(u32) -> Vec<Outcome> + Send + 'static) -> Fake {
    let mut calls = 0;
    Fake::new(move |socket, datagram, from| {
        let ClientRequest { client, xid, ask } = request(datagram).unwrap();
        let outcomes = match ask {
            Ask::Session(SessionRequest::Open { .. }) => {
                vec![Outcome::Session(SessionReply::Opened { session: 1 })]
            }
            Ask::Session(SessionRequest::Call { .. }) => {
                calls += 1;
                answer(calls)
            }
            _ => vec![],
        };
        for outcome in outcomes {
            let reply = ClientReply {
                client,
                xid,
                outcome,
            };
            send(socket, 1, &reply, from);
        }
    })
}

#[test]
fn a_session_that_expired_while_it_was_in_doubt_is_told() {
    // The first may have been run, and its reply lost.
    let server = server(|call| match call {
        1 => vec![],
        _ => vec![Outcome::Session(SessionReply::Expired)],
    });
    let error = server.client().put("a", "1").unwrap_err();
    assert!(matches!(error, ClientError::SessionExpired), "{error}");
    assert!(error.may_have_run());
    assert!(error.to_string().contains("may have run"), "{error}");
}

/// The same, when node 1 has lost the lead meanwhile, and says so in a datagram that the network brings twice: of the first sending that says
/// nothing.
#[test]
fn a_refusal_to_lead_that_comes_twice_takes_no_doubt_from_a_call() {
    let nobody = Outcome::NotLeader { leader: None };
    let expired = Outcome::Session(SessionReply::Expired);
    let server = server(move |call| match call {
        1 => vec![],
        2 => vec![nobody.clone(), nobody.clone()],
        _ => vec![expired.clone()],
    });
    let error = server.client().put("a", "1").unwrap_err();
    assert!(matches!(error, ClientError::SessionExpired), "{error}");
}

/// Even of what was sent but once: the network may have brought it twice.
#[test]
fn a_session_that_ended_is_told_once() {
    let server = server(|call| {
        vec![Outcome::Session(match call {
            1 => SessionReply::Expired,
            _ => SessionReply::Done(done()),
        })]
    });
    let mut client = server.client();
    let error = client.put("a", "1").unwrap_err();
    assert!(matches!(error, ClientError::SessionExpired), "{error}");
    client.put("a", "1").unwrap();
}

fn done() -> Bytes {
    biglock::codec::encode(&biglock::kv::Reply::Done).into()
}

/// A session is left before it expires: its end is waited for, so that what was given up in it is never run.
#[test]
fn a_session_that_may_expire_during_a_call_is_closed_before() {
    let asks = |patience| {
        let (tell, told) = mpsc::channel();
        // The requests that open one, and whether one was to be closed.
        let (mut opens, mut closing) = (Vec::new(), false);
        let server = Fake::new(move |socket, datagram, from| {
            let ClientRequest { client, xid, ask } = request(datagram).unwrap();
            let Ask::Session(ask) = ask else {
                panic!("{ask:?}");
            };
            let (what, reply) = match ask {
                SessionRequest::Open { .. } => {
                    if opens.last() != Some(&xid) {
                        opens.push(xid);
                    }
                    let session = opens.len() as u64;
                    (format!("open {session}"), SessionReply::Opened { session })
                }
                SessionRequest::Call {
                    session, sequence, ..
                } => (
                    format!("call {sequence} in {session}"),
                    SessionReply::Done(done()),
                ),
                SessionRequest::Close { session } => {
                    // The first is lost.
                    if !std::mem::replace(&mut closing, true) {
                        return;
                    }
                    (format!("close {session}"), SessionReply::Expired)
                }
            };
            let _ = tell.send(what);
            let outcome = Outcome::Session(reply);
            let reply = ClientReply {
                client,
                xid,
                outcome,
            };
            send(socket, 1, &reply, from);
        });
        let mut config = ClientConfig::new(CLUSTER, [(NodeId(1), server.at)]);
        config.timeout = PATIENCE;
        config.patience = patience;
        let mut client = Client::connect(config).unwrap();
        for _ in 0..2 {
            client.call("once").unwrap();
        }
        // On a busy machine some are asked again.
        let mut asks: Vec<String> = told.try_iter().collect();
        asks.dedup();
        asks
    };
    let lives_on = asks(Duration::from_secs(10_000));
    assert_eq!(lives_on, ["open 1", "call 1 in 1", "call 2 in 1"]);
    let too_short = asks(PATIENCE + Duration::from_nanos(1));
    let each_its_own = ["open 1", "call 1 in 1", "close 1", "open 2", "call 1 in 2"];
    assert_eq!(too_short, each_its_own);
}

/// The same, with a cluster.
#[test]
fn one_session_after_the_other_runs_each_command_once() {
    let cluster = Cluster::start(3);
    let mut config = cluster.config();
    config.patience = config.timeout + Duration::from_nanos(1);
    let mut client = KvClient::connect(config).unwrap();
    for number in 0..8 {
        client.append("log", format!("{number} ")).unwrap();
    }
    let all = client.get("log").unwrap();
    assert_eq!(all, Some(bytes("0 1 2 3 4 5 6 7 ")));
}

/// A node refuses what does not fit into its own datagrams; another one, whose datagrams are longer, may have run it.
#[test]
fn what_is_too_long_for_one_node_may_have_run_at_another() {
    let limit = || Outcome::TooLarge { size: 9, limit: 5 };
    let put = |fake: &Fake, nodes| {
        let servers = (1..=nodes).map(|id| (NodeId(id), fake.at));
        let mut config = ClientConfig::new(CLUSTER, servers);
        config.timeout = PATIENCE;
        let mut client = KvClient::connect(config).unwrap();
        client.put("a", "1").unwrap_err()
    };
    let one = server(move |_| vec![limit()]);
    let error = put(&one, 1);
    assert!(matches!(error, ClientError::TooLarge { .. }), "{error}");
    assert!(!error.may_have_run(), "{error}");
    // The first node is silent, and the second is asked.
    let two = server(move |call| if call == 1 { vec![] } else { vec![limit()] });
    let error = put(&two, 2);
    assert!(matches!(error, ClientError::TooLarge { .. }), "{error}");
    let may = error.may_have_run();
    assert!(may, "the silent one may have run it: {error}");
    assert!(error.to_string().contains("may have run"), "{error}");
}

#[test]
fn a_cluster_that_lost_its_memory_is_a_new_one() {
    let mut cluster = Cluster::start(1);
    let mut client = cluster.client();
    client.put("a", "1").unwrap();
    cluster.stop(1);
    // The address is free when the last handle is gone, and that was in `stop`.
    let transport = bind(1, cluster.addresses[&NodeId(1)]);
    let again = crate::cluster::Server::start(biglock::Config::new(1, [1]), transport);
    cluster.nodes.insert(1, again);
    // Nobody can tell whether it ran before the memory was lost; if so, that was lost too.
    let error = client.append("a", "1").unwrap_err();
    assert!(matches!(error, ClientError::SessionExpired), "{error}");
    client.append("a", "2").unwrap();
    assert_eq!(client.get("a").unwrap(), Some(bytes("2")));
}

#[test]
fn what_is_no_answer_is_said_to_be_none() {
    let server = server(|_| vec![Outcome::Session(SessionReply::Closed)]);
    let error = server.client().put("a", "1").unwrap_err();
    assert!(matches!(error, ClientError::Nonsense(_)), "{error}");

    let garbage = crate::doubt::server(|_| vec![Outcome::Session(SessionReply::Done(bytes("?")))]);
    let error = garbage.client().put("a", "1").unwrap_err();
    assert!(error.to_string().contains("state machine"), "{error}");
    assert!(error.may_have_run());
}
