//! A network that loses the answer to a request, and brings the request again: the client has sent it but once, and of what the first
//! copy did the answer to the second says nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use biglock::rules::{Change, MAX_REPLY_BYTES};
use biglock::{
    Applied, Config, MemoryStorage, Node, NodeId, RestoreError, SessionRequest, StateMachine,
};
use biglock_udp::codec::{self, Ask, ClientRequest, Outcome};
use biglock_udp::{Client, ClientConfig, ClientError};
use bytes::Bytes;

use crate::cluster::{CLUSTER, Cluster, PATIENCE, bind, loopback};
use crate::doubt::{Fake, request};

/// Such a network before a server: the first answer to each request of this kind is lost, and then the request comes again.
fn network(server: SocketAddr, kind: fn(&Ask) -> bool) -> Fake {
    let mut client_at = None;
    // Their datagrams, until an answer was lost.
    let mut requests: BTreeMap<u64, Option<Vec<u8>>> = BTreeMap::new();
    Fake::new(move |socket, datagram, from| {
        if from != server {
            client_at = Some(from);
            let ClientRequest { xid, ask, .. } = request(datagram).unwrap();
            if kind(&ask) {
                requests
                    .entry(xid)
                    .or_insert_with(|| Some(datagram.to_vec()));
            }
            socket.send_to(datagram, server).unwrap();
            return;
        }
        let (_, reply) = codec::decode_client_reply(datagram, CLUSTER).unwrap();
        let first = requests.get_mut(&reply.xid).and_then(Option::take);
        match (first, reply.outcome) {
            // Nothing came of that one.
            (Some(request), Outcome::NotLeader { .. } | Outcome::Busy) => {
                requests.insert(reply.xid, Some(request));
                socket.send_to(datagram, client_at.unwrap()).unwrap();
            }
            (Some(request), _) => drop(socket.send_to(&request, server).unwrap()),
            (None, _) => drop(socket.send_to(datagram, client_at.unwrap()).unwrap()),
        }
    })
}

fn client(network: &Fake) -> Client {
    let mut config = ClientConfig::new(CLUSTER, [(NodeId(1), network.at)]);
    config.timeout = PATIENCE;
    Client::connect(config).unwrap()
}

/// Counts its commands, and makes replies that are too long for a session to keep.
struct Verbose(Arc<AtomicU32>);

impl StateMachine for Verbose {
    fn apply(&mut self, _: Applied, _: &[u8]) -> Bytes {
        self.0.fetch_add(1, Ordering::SeqCst);
        vec![0; MAX_REPLY_BYTES as usize].into()
    }

    fn snapshot(&mut self) -> Bytes {
        Bytes::new()
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
}

/// A session may end because it was run: what its reply takes is too much.
#[test]
fn a_command_that_ended_its_session_is_not_run_again() {
    let runs = Arc::new(AtomicU32::new(0));
    let transport = bind(1, loopback());
    let server = transport.local_addr();
    let verbose = Verbose(runs.clone());
    let node = Node::start(
        Config::new(1, [1]),
        MemoryStorage::new(),
        transport,
        verbose,
    )
    .unwrap();
    node.wait_for_leader(PATIENCE).unwrap();
    let network = network(server, |ask| {
        matches!(ask, Ask::Session(SessionRequest::Call { .. }))
    });
    let error = client(&network).call("once").unwrap_err();
    assert_eq!(runs.load(Ordering::SeqCst), 1, "it is run once");
    assert!(matches!(error, ClientError::SessionExpired), "{error}");
    assert!(error.may_have_run());
}

/// The second copy is refused, since the first has made it.
#[test]
fn a_change_that_comes_again_was_made() {
    let cluster = Cluster::start(1);
    let network = network(cluster.addresses[&NodeId(1)], |ask| {
        matches!(ask, Ask::Change(_))
    });
    let (id, address) = (NodeId(4), "127.0.0.1:4".to_string());
    let mut client = client(&network);
    client
        .change_members(Change::AddLearner { id, address })
        .unwrap();
    let (members, _) = client.members().unwrap();
    assert!(members.contains_key(&id));
    client.change_members(Change::Remove(id)).unwrap();
    let (members, _) = client.members().unwrap();
    assert!(!members.contains_key(&id));
}
