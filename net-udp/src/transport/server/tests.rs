use std::net::UdpSocket;
use std::time::Duration;

use biglock::{Clock, Config, MemoryStorage, Message, Node, Transport, TransportError};

use super::*;
use crate::{UdpConfig, UdpTransport};

/// A transport that carries nothing, and gives its inbox away.
struct Nowhere(Arc<Mutex<Option<Inbox>>>);

impl Transport for Nowhere {
    fn start(&self, inbox: Inbox) -> Result<(), TransportError> {
        *self.0.lock().unwrap() = Some(inbox);
        Ok(())
    }

    fn send(&self, _: &Outside, _: &[Message]) {}

    fn max_payload(&self) -> usize {
        2000
    }

    fn stop(&self, _: &Outside) {
        *self.0.lock().unwrap() = None;
    }
}

#[test]
fn requests_that_are_pending_are_bounded_and_each_is_answered_once() {
    let mut config = Config::new(1, [1, 2]);
    config.clock = Clock::manual();
    let slot = Arc::new(Mutex::new(None));
    let nowhere = Nowhere(slot.clone());
    let node = Node::start(config, MemoryStorage::new(), nowhere, ()).unwrap();
    let inbox = slot.lock().unwrap().clone().unwrap();

    let loopback = || "127.0.0.1:0".parse().unwrap();
    let transport = UdpTransport::bind(UdpConfig::new(NodeId(1), 1, loopback())).unwrap();
    let UdpTransport {
        link, addresses, ..
    } = &transport;
    let server = Arc::new(Server::new(link.clone(), addresses.clone(), None));
    let client = UdpSocket::bind(loopback()).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let at = client.local_addr().unwrap();
    let mut outside = Outside::claim("test");
    let mut handle = |client, xid| {
        let ask = Ask::Transfer(NodeId(2));
        let request = ClientRequest { client, xid, ask };
        let mut batch = Batch::new();
        server.handle(&inbox, &mut outside, request, at, &mut batch);
        assert!(batch.is_empty(), "a transfer is no entry");
    };
    let hear = || {
        let mut buffer = [0; 2000];
        let length = client.recv(&mut buffer).unwrap();
        let (_, reply) = codec::decode_client_reply(&buffer[..length], 1).unwrap();
        (reply.xid, reply.outcome)
    };
    // What is pending is not begun again, and not answered either.
    server.pending().insert((7, 1));
    handle(7, 1);
    // Another client's is another request; this one is answered at once, and then not pending.
    handle(8, 1);
    handle(8, 2);
    let nobody = || Outcome::NotLeader { leader: None };
    assert_eq!([hear(), hear()], [(1, nobody()), (2, nobody())]);
    assert_eq!(server.pending().len(), 1);

    server
        .pending()
        .extend((0..MAX_PENDING as u64).map(|xid| (9, xid)));
    handle(8, 3);
    assert_eq!(hear(), (3, Outcome::Busy));
    server.pending().retain(|(client, _)| *client != 9);
    handle(8, 4);
    assert_eq!(hear(), (4, nobody()));
    node.shutdown().unwrap();
}
