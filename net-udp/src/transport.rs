//! The transport: the sending half, and how the receiving one starts and ends.

mod receiver;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
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
/// A clone is another handle to the same socket: keep one to read the [counters](UdpTransport::counters) after the node has taken the
/// other. The address is free again when the last one is gone.
#[derive(Clone)]
pub struct UdpTransport {
    link: Arc<Link>,
    peers: Arc<BTreeMap<NodeId, SocketAddr>>,
}

/// What all handles and the receiver share.
struct Link {
    id: NodeId,
    cluster: u64,
    socket: UdpSocket,
    local: SocketAddr,
    counts: Counts,
    stopping: AtomicBool,
    receiving: Mutex<Option<Receiving>>,
}

/// The receiver, from outside.
struct Receiving {
    thread: JoinHandle<()>,
    /// Nothing ever comes; it is disconnected when the receiver has ended.
    ended: mpsc::Receiver<Infallible>,
}

impl UdpTransport {
    /// Binds the socket. Datagrams that arrive before the node starts wait in the system's buffer.
    ///
    /// # Errors
    /// If the address is taken or not of this machine, or the system does not take the buffers' sizes.
    pub fn bind(config: UdpConfig) -> Result<UdpTransport, TransportError> {
        let listen = config.listen;
        let failed =
            |what: String| move |e: io::Error| TransportError::new(format!("{what}: {e}"), Some(e));
        let socket = UdpSocket::bind(listen).map_err(failed(format!(
            "can't listen on {listen} (is another node using it, and is it an address of this machine?)"
        )))?;
        let local = socket
            .local_addr()
            .map_err(failed(format!("{listen} has no name")))?;
        if let Some(bytes) = config.receive_buffer {
            SockRef::from(&socket)
                .set_recv_buffer_size(bytes)
                .map_err(failed(format!("can't receive into {bytes} bytes")))?;
        }
        if let Some(bytes) = config.send_buffer {
            SockRef::from(&socket)
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
                stopping: AtomicBool::new(false),
                receiving: Mutex::new(None),
            }),
            peers: Arc::default(),
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
        let mut receiving = self.link.receiving();
        if receiving.is_some() || self.link.stopping() {
            return Err(TransportError::new(
                "it was started before: bind one transport per node",
                None,
            ));
        }
        let receiver = Receiver::new(self.link.clone(), self.peers.clone(), inbox);
        let (alive, ended) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("receiver".into())
            .spawn(move || {
                receiver.run();
                drop(alive);
            })
            .map_err(|e| TransportError::new("the system gave no thread", Some(e)))?;
        *receiving = Some(Receiving { thread, ended });
        Ok(())
    }

    fn send(&self, _: &Outside, messages: &[Message]) {
        let mut buffer = [0; MAX_DATAGRAM];
        for message in messages {
            self.send_one(&mut buffer, message);
        }
    }

    fn stop(&self, _: &Outside) {
        let receiving = {
            let mut receiving = self.link.receiving();
            self.link.stopping.store(true, Ordering::SeqCst);
            receiving.take()
        };
        let Some(Receiving { thread, ended }) = receiving else {
            return;
        };
        // The receiver that stops its own transport sees the flag when it comes back to its loop, and must not wait for itself.
        if thread.thread().id() == thread::current().id() {
            return;
        }
        // Once it is woken it ends, but it may be busy with a message, and the wake-up may be lost.
        loop {
            self.link.wake();
            thread.thread().unpark();
            match ended.recv_timeout(WAKE_AGAIN) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(_) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        // An error is a panic, which the thread itself has reported, and the node has seen.
        let _ = thread.join();
    }
}

/// How long after a wake-up the receiver is woken once more, if it has not ended.
const WAKE_AGAIN: Duration = Duration::from_millis(50);

impl Link {
    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    fn receiving(&self) -> MutexGuard<'_, Option<Receiving>> {
        self.receiving
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the receiver come back from the system, after the flag was set; either way alone would do on Linux.
    fn wake(&self) {
        self.close();
        self.knock();
    }

    /// Closes the receiving half. On Linux this wakes whoever receives, now and later, and nothing can lose it; it is so even though
    /// the call says "not connected", which for UDP is always true. Other systems stop at that error.
    fn close(&self) {
        let _ = SockRef::from(&self.socket).shutdown(Shutdown::Read);
    }

    /// Sends a datagram to itself. It can be lost: if the buffer is full, in which case there is a datagram to wake the receiver
    /// anyway; and if a firewall or a change of addresses is in the way.
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
