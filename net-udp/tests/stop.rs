//! `stop` ends the receiver whatever it is doing, and leaves nothing behind.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use biglock::rules::{Body, Members, Position};
use biglock::{
    Batch, Clock, Config, Inbox, MemoryStorage, Message, Node, NodeId, Outside, Storage,
    StorageError, Stored, Term, Transport, TransportError,
};
use biglock_udp::codec::{self, SAFE_DATAGRAM};
use biglock_udp::{UdpConfig, UdpTransport, query_status};

/// Only ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(30);
const CLUSTER: u64 = 1;
const LOOPBACK: &str = "127.0.0.1:0";

fn bind(listen: &str) -> UdpTransport {
    let mut config = UdpConfig::new(NodeId(1), CLUSTER, listen.parse().unwrap());
    let peer = "127.0.0.1:9".parse().unwrap();
    config.peers = BTreeMap::from([(NodeId(2), peer)]);
    UdpTransport::bind(config).unwrap()
}

/// Node 1 of two, whose time stands still: its receiver waits for datagrams and for nothing else.
fn start(storage: impl Storage + 'static, transport: impl Transport + 'static) -> Node {
    let mut config = Config::new(1, [1, 2]);
    config.clock = Clock::manual();
    Node::start(config, storage, transport, ()).unwrap()
}

/// Node 2 asks for a vote, which node 1 must write before it answers.
fn ask_for_vote(to: SocketAddr) {
    let message = Message {
        from: NodeId(2),
        to: NodeId(1),
        term: Term(1),
        body: Body::RequestVote {
            last: Position::default(),
            handed_over: false,
        },
    };
    let mut buffer = [0; SAFE_DATAGRAM];
    let datagram = codec::encode_message(&mut buffer, CLUSTER, &message).unwrap();
    let socket = UdpSocket::bind(LOOPBACK).unwrap();
    socket.send_to(datagram, to).unwrap();
}

/// Runs `body` in a thread, and fails if it does not come to its end.
fn must_end<R: Send + 'static>(body: impl FnOnce() -> R + Send + 'static) -> R {
    begin(body).recv_timeout(PATIENCE).expect("it hangs")
}

/// Runs `body` in a thread, which tells its result.
fn begin<R: Send + 'static>(body: impl FnOnce() -> R + Send + 'static) -> Receiver<R> {
    let (done, ended) = channel();
    let run = move || done.send(body()).unwrap();
    thread::Builder::new().spawn(run).unwrap();
    ended
}

/// The address can be used again, so no thread has the socket any more.
fn must_be_free(address: SocketAddr) {
    UdpSocket::bind(address).unwrap();
}

#[test]
fn before_it_was_started() {
    let transport = bind(LOOPBACK);
    let address = transport.local_addr();
    let transport = must_end(move || {
        transport.stop(&Outside::claim("test"));
        transport
    });
    drop(transport);
    must_be_free(address);
}

#[test]
fn while_it_waits() {
    let mut listen = vec![LOOPBACK, "0.0.0.0:0"];
    if UdpSocket::bind("[::1]:0").is_ok() {
        listen.extend(["[::1]:0", "[::]:0"]);
    }
    for listen in listen {
        // The receiver may not even have begun to wait.
        for _ in 0..20 {
            let transport = bind(listen);
            let address = transport.local_addr();
            let node = start(MemoryStorage::new(), transport);
            must_end(move || node.shutdown()).unwrap();
            must_be_free(address);
        }
    }
}

#[test]
fn while_it_is_flooded() {
    let transport = bind(LOOPBACK);
    let address = transport.local_addr();
    let node = start(MemoryStorage::new(), transport);
    let over = Arc::new(AtomicBool::new(false));
    let (began, begun) = channel();
    let flood = {
        let over = over.clone();
        move || {
            let socket = UdpSocket::bind(LOOPBACK).unwrap();
            let mut sent = 0;
            while !over.load(Ordering::Relaxed) {
                // Refused once nobody listens.
                let _ = socket.send_to(&[0; 100], address);
                sent += 1;
                if sent == 1000 {
                    began.send(()).unwrap();
                }
            }
        }
    };
    let flood = thread::Builder::new().spawn(flood).unwrap();
    begun.recv_timeout(PATIENCE).unwrap();
    let stopped = must_end(move || node.shutdown());
    over.store(true, Ordering::Relaxed);
    flood.join().unwrap();
    stopped.unwrap();
    must_be_free(address);
}

/// A disk that says when a write begins, does something, and says that it ended.
struct Disk<F> {
    meanwhile: F,
    begins: Sender<()>,
    ended: Arc<AtomicBool>,
}

impl<F: Fn(&Outside) + Send> Storage for Disk<F> {
    fn load(&mut self, _: &Outside) -> Result<Stored, StorageError> {
        // It has begun before, so starting writes nothing.
        let founders = Members::voting([NodeId(1), NodeId(2)]);
        Ok(Stored::default().with_founders(Some(founders)))
    }

    fn write(&mut self, outside: &Outside, _: Batch) -> Result<(), StorageError> {
        assert_eq!(thread::current().name(), Some("receiver"));
        self.begins.send(()).unwrap();
        (self.meanwhile)(outside);
        self.ended.store(true, Ordering::SeqCst);
        Ok(())
    }
}

#[test]
fn while_it_writes() {
    let transport = bind(LOOPBACK);
    let address = transport.local_addr();
    let ((begins, begun), (go, wait)) = (channel(), channel::<()>());
    let ended = Arc::new(AtomicBool::new(false));
    let disk = Disk {
        meanwhile: move |_: &Outside| wait.recv_timeout(PATIENCE).unwrap(),
        begins,
        ended: ended.clone(),
    };
    let node = start(disk, transport);
    ask_for_vote(address);
    begun.recv_timeout(PATIENCE).unwrap();
    let (stops, stopping) = channel();
    let stop = begin(move || {
        stops.send(()).unwrap();
        node.shutdown()
    });
    stopping.recv_timeout(PATIENCE).unwrap();
    go.send(()).unwrap();
    stop.recv_timeout(PATIENCE).expect("it hangs").unwrap();
    assert!(
        ended.load(Ordering::SeqCst),
        "stopped in the middle of a write"
    );
    must_be_free(address);
}

/// A transport that two can hold: the node, and the disk that stops it.
#[derive(Clone)]
struct Both(Arc<UdpTransport>);

impl Transport for Both {
    fn start(&self, inbox: Inbox) -> Result<(), TransportError> {
        self.0.start(inbox)
    }

    fn send(&self, outside: &Outside, messages: &[Message]) {
        self.0.send(outside, messages);
    }

    fn max_payload(&self) -> usize {
        self.0.max_payload()
    }

    fn stop(&self, outside: &Outside) {
        self.0.stop(outside);
    }
}

#[test]
fn by_the_receiver_itself() {
    let transport = Both(Arc::new(bind(LOOPBACK)));
    let address = transport.0.local_addr();
    let (begins, begun) = channel();
    let ended = Arc::new(AtomicBool::new(false));
    let for_the_disk = Mutex::new(Some(transport.clone()));
    let disk = Disk {
        meanwhile: move |outside: &Outside| {
            let transport = for_the_disk.lock().unwrap().take();
            transport.unwrap().stop(outside);
        },
        begins,
        ended: ended.clone(),
    };
    let node = start(disk, transport);
    ask_for_vote(address);
    begun.recv_timeout(PATIENCE).unwrap();
    must_end(move || node.shutdown()).unwrap();
    assert!(ended.load(Ordering::SeqCst), "stop waited for the receiver");
    must_be_free(address);
}

#[test]
fn twice() {
    let transport = Both(Arc::new(bind(LOOPBACK)));
    let address = transport.0.local_addr();
    let node = start(MemoryStorage::new(), transport.clone());
    must_end(move || node.shutdown()).unwrap();
    let transport = must_end(move || {
        transport.stop(&Outside::claim("test"));
        transport
    });
    drop(transport);
    must_be_free(address);
}

#[test]
fn a_handle_that_was_not_started_stops_nothing() {
    let transport = bind(LOOPBACK);
    let handle = transport.clone();
    let address = transport.local_addr();
    let node = start(MemoryStorage::new(), transport);
    must_end(move || handle.stop(&Outside::claim("test")));
    query_status(address, CLUSTER, PATIENCE).expect("it still answers");
    must_end(move || node.shutdown()).unwrap();
}
