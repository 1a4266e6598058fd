//! The transport: the sending half, and how the receiving one starts and ends.

mod receiver;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use biglock::{Inbox, Message, NodeId, Outside, Transport, TransportError};
use socket2::SockRef;

use crate::Counters;
use crate::codec::{self, Buffer, MAX_DATAGRAM};
use crate::counters::Counts;
use receiver::Receiver;

/// What a [`UdpTransport`] is told. Make one with [`UdpConfig::new`] and change what you need.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UdpConfig {
    /// This node.
    pub id: NodeId,
    /// The cluster's id, the same on every node: a number that no other cluster in the network has.
    pub cluster: u64,
    /// The address to listen on, and to send from. Port 0 lets the system choose; see [`UdpTransport::local_addr`].
    pub listen: SocketAddr,
    /// Where the other nodes listen. This node may be among them and is ignored. Default: nobody; can be set
    /// [later](UdpTransport::with_peers).
    pub peers: BTreeMap<NodeId, SocketAddr>,
    /// The size of the system's receive buffer, in bytes (`SO_RCVBUF`): what does not fit is lost. Default: what the system gives,
    /// which holds some hundred messages.
    pub receive_buffer: Option<usize>,
    /// The size of the system's send buffer, in bytes (`SO_SNDBUF`): a sender waits while it is full. Default: what the system gives.
    pub send_buffer: Option<usize>,
}

impl UdpConfig {
    /// A node of this cluster that listens here, knows nobody, and has the defaults above.
    pub fn new(id: NodeId, cluster: u64, listen: SocketAddr) -> UdpConfig {
        UdpConfig {
            id,
            cluster,
            listen,
            peers: BTreeMap::new(),
            receive_buffer: None,
            send_buffer: None,
        }
    }
}

/// One node's end of the network: a UDP socket, on which any thread sends and one thread, "receiver", receives.
///
/// It serves one node, once. A clone is another handle to the same socket: keep one to read the
/// [counters](UdpTransport::counters) after the node has taken the other. It does not stop what it did not start. The address is free
/// again when the last handle is gone.
///
/// Stopping wakes the receiver with a datagram that the socket sends to itself, and so takes no time; where that is lost (a firewall,
/// an address that this machine no longer has) it takes up to a second.
pub struct UdpTransport {
    link: Arc<Link>,
    peers: Arc<BTreeMap<NodeId, SocketAddr>>,
    /// Only with the handle that was started.
    receiver: Mutex<Option<JoinHandle<()>>>,
}

impl Clone for UdpTransport {
    fn clone(&self) -> UdpTransport {
        UdpTransport {
            link: self.link.clone(),
            peers: self.peers.clone(),
            receiver: Mutex::new(None),
        }
    }
}

/// What all handles and the receiver share.
struct Link {
    id: NodeId,
    cluster: u64,
    socket: UdpSocket,
    local: SocketAddr,
    counts: Counts,
    started: AtomicBool,
    stopping: AtomicBool,
}

impl UdpTransport {
    /// Binds the socket. Datagrams that arrive before the node starts wait in the system's buffer.
    ///
    /// # Errors
    /// If the address is taken or not of this machine, or the system does not take the buffers' sizes.
    pub fn bind(config: UdpConfig) -> Result<UdpTransport, TransportError> {
        let listen = config.listen;
        let failed = |what: String| move |e: io::Error| TransportError::new(what, Some(e));
        let socket = UdpSocket::bind(listen).map_err(failed(format!(
            "can't listen on {listen} (is another node using it, and is it an address of this machine?)"
        )))?;
        let local = socket
            .local_addr()
            .map_err(failed(format!("can't tell the port of {listen}")))?;
        socket
            .set_read_timeout(Some(LOOK_UP))
            .map_err(failed(format!("can't bound the wait on {listen}")))?;
        let sizes = SockRef::from(&socket);
        if let Some(bytes) = config.receive_buffer {
            sizes
                .set_recv_buffer_size(bytes)
                .map_err(failed(format!("can't receive into {bytes} bytes")))?;
            // Linux takes any size, and gives at most what its administrator allows.
            if let Ok(got) = sizes.recv_buffer_size()
                && got < bytes
            {
                tracing::warn!(
                    asked = bytes,
                    got,
                    "the receive buffer is smaller than asked for; raise net.core.rmem_max"
                );
            }
        }
        if let Some(bytes) = config.send_buffer {
            sizes
                .set_send_buffer_size(bytes)
                .map_err(failed(format!("can't send from {bytes} bytes")))?;
        }
        let transport = UdpTransport {
            link: Arc::new(Link {
                id: config.id,
                cluster: config.cluster,
                socket,
                local,
                counts: Counts::default(),
                started: AtomicBool::new(false),
                stopping: AtomicBool::new(false),
            }),
            peers: Arc::default(),
            receiver: Mutex::new(None),
        };
        Ok(transport.with_peers(config.peers))
    }

    /// The same transport, with other peers: for addresses that are known only after everybody is bound. Before the node starts.
    pub fn with_peers(mut self, mut peers: BTreeMap<NodeId, SocketAddr>) -> UdpTransport {
        peers.remove(&self.link.id);
        self.peers = Arc::new(peers);
        self
    }

    /// Where it listens, with the port that the system chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.link.local
    }

    /// What it has seen until now.
    pub fn counters(&self) -> Counters {
        self.link.counts.snapshot()
    }

    fn receiver(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one message, in one datagram.
    fn send_one(&self, buffer: &mut Buffer, message: &Message) {
        let Link {
            id,
            cluster,
            socket,
            counts,
            ..
        } = &*self.link;
        let sent = match self.peers.get(&message.to) {
            None => Err(io::Error::new(
                io::ErrorKind::NotFound,
                "its receiver is no peer",
            )),
            Some(peer) => codec::encode_message(buffer, *cluster, message)
                .map_err(io::Error::other)
                .and_then(|datagram| socket.send_to(datagram, peer)),
        };
        match sent {
            Ok(_) => {
                counts.sent.add_one();
                tracing::trace!(node = id.0, %message, "sent");
            }
            Err(error) => {
                counts.not_sent.add_one();
                tracing::debug!(node = id.0, %message, %error, "not sent");
            }
        }
    }
}

impl Transport for UdpTransport {
    fn start(&self, inbox: Inbox) -> Result<(), TransportError> {
        if self.link.started.swap(true, Ordering::SeqCst) {
            return Err(TransportError::new(
                "it was started before: bind one transport per node",
                None,
            ));
        }
        let receiver = Receiver::new(self.link.clone(), self.peers.clone(), inbox);
        let thread = thread::Builder::new()
            .name("receiver".into())
            .spawn(|| receiver.run())
            .map_err(|e| TransportError::new("the system gave no thread", Some(e)))?;
        *self.receiver() = Some(thread);
        Ok(())
    }

    fn send(&self, _: &Outside, messages: &[Message]) {
        let mut buffer = [0; MAX_DATAGRAM];
        for message in messages {
            self.send_one(&mut buffer, message);
        }
    }

    fn stop(&self, _: &Outside) {
        let Some(receiver) = self.receiver().take() else {
            return;
        };
        self.link.stopping.store(true, Ordering::SeqCst);
        // The receiver that stops its own transport must not wait for itself: it sees the flag when it comes back to its loop.
        if receiver.thread().id() == thread::current().id() {
            *self.receiver() = Some(receiver);
            return;
        }
        // It waits for a datagram, or pauses after an error; and if neither wakes it, it looks up by itself. Each comes after the flag.
        self.link.knock();
        receiver.thread().unpark();
        // An error is a panic, which the thread itself has reported, and the node has seen.
        let _ = receiver.join();
    }
}

/// How long the receiver waits for a datagram before it looks whether it should stop: so long does a stop take whose knock is lost.
/// (Closing the socket's receiving half would wake it at once, but on Linux alone, and std's `recv_from` may then panic: it gets a
/// datagram from nobody, and finds in the sender's place what was there before.)
const LOOK_UP: Duration = Duration::from_secs(1);

impl Link {
    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Sends a datagram to itself, so that the receiver comes back from the system. It can be lost: if the buffer is full, in which
    /// case there is a datagram to wake the receiver anyway; and if a firewall or a change of addresses is in the way.
    fn knock(&self) {
        let mut to = self.local;
        // "Any address" is nobody's; but who listens on it hears what comes to the loopback address.
        match to.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => to.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => to.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        let _ = self.socket.send_to(&[], to);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use biglock::{Clock, Config, MemoryStorage, Node};

    use super::*;

    /// Longer than anything here takes; it only ends a test that hangs.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn bind(listen: &str) -> UdpTransport {
        let config = UdpConfig::new(NodeId(1), 1, listen.parse().unwrap());
        UdpTransport::bind(config).unwrap()
    }

    /// Node 1 of two, whose time stands still: its receiver waits for datagrams and for nothing else.
    fn start(transport: UdpTransport) -> Node {
        let mut config = Config::new(1, [1, 2]);
        config.clock = Clock::manual();
        Node::start(config, MemoryStorage::new(), transport).unwrap()
    }

    fn must_stop(node: Node) {
        let (stopped, stops) = mpsc::channel();
        let stop = move || stopped.send(node.shutdown()).unwrap();
        thread::Builder::new().spawn(stop).unwrap();
        stops.recv_timeout(PATIENCE).expect("it hangs").unwrap();
    }

    /// The knock comes before or after it waits: both must do.
    fn knock_wakes(listen: &str) {
        for _ in 0..20 {
            let link = bind(listen).link;
            // So that nothing else wakes it in time.
            link.socket.set_read_timeout(Some(2 * PATIENCE)).unwrap();
            let (awake, woken) = mpsc::channel();
            let socket = link.socket.try_clone().unwrap();
            let receive = move || awake.send(socket.recv_from(&mut [0; 9])).unwrap();
            thread::Builder::new().spawn(receive).unwrap();
            link.knock();
            let woken = woken.recv_timeout(PATIENCE);
            let (length, _) = woken.expect("the receiver did not wake").unwrap();
            assert_eq!(length, 0);
        }
    }

    #[test]
    fn a_knock_wakes_the_receiver() {
        knock_wakes("127.0.0.1:0");
        knock_wakes("0.0.0.0:0");
        if UdpSocket::bind("[::1]:0").is_ok() {
            knock_wakes("[::1]:0");
            knock_wakes("[::]:0");
        }
    }

    #[test]
    fn it_stops_when_the_knock_is_lost() {
        let elsewhere = UdpSocket::bind("127.0.0.1:0").unwrap();
        elsewhere.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut transport = bind("127.0.0.1:0");
        // As if the address had changed meanwhile, and were somebody else's.
        Arc::get_mut(&mut transport.link).unwrap().local = elsewhere.local_addr().unwrap();
        let link = transport.link.clone();
        must_stop(start(transport));
        let (length, _) = elsewhere.recv_from(&mut [0; 9]).unwrap();
        assert_eq!(length, 0, "the knock");
        assert_eq!(link.counts.snapshot(), Counters::default());
    }

    /// A socket that fails again and again, and can't even be knocked at: `stop` must get through the pauses in between.
    #[test]
    #[cfg(unix)]
    fn a_socket_that_fails_is_counted_and_stops() {
        let mut transport = bind("127.0.0.1:0");
        let no_socket = std::fs::File::open("/dev/null").unwrap();
        Arc::get_mut(&mut transport.link).unwrap().socket =
            std::os::fd::OwnedFd::from(no_socket).into();
        let link = transport.link.clone();
        let node = start(transport);
        while link.counts.snapshot().receive_errors < 4 {
            thread::yield_now();
        }
        must_stop(node);
        let counters = link.counts.snapshot();
        assert_eq!(counters.dropped() + counters.delivered, 0, "{counters}");
    }
}
