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
/// It serves one node, once. A clone is another handle to the same socket: keep one to read the
/// [counters](UdpTransport::counters) after the node has taken the other. It does not stop what it did not start. The address is free
/// again when the last handle is gone.
pub struct UdpTransport {
    link: Arc<Link>,
    peers: Arc<BTreeMap<NodeId, SocketAddr>>,
    /// Only with the handle that was started.
    receiving: Mutex<Option<Receiving>>,
}

impl Clone for UdpTransport {
    fn clone(&self) -> UdpTransport {
        UdpTransport {
            link: self.link.clone(),
            peers: self.peers.clone(),
            receiving: Mutex::new(None),
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
        let failed = |what: String| move |e: io::Error| TransportError::new(what, Some(e));
        let socket = UdpSocket::bind(listen).map_err(failed(format!(
            "can't listen on {listen} (is another node using it, and is it an address of this machine?)"
        )))?;
        let local = socket
            .local_addr()
            .map_err(failed(format!("can't tell the port of {listen}")))?;
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
            receiving: Mutex::new(None),
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

    fn receiving(&self) -> MutexGuard<'_, Option<Receiving>> {
        self.receiving
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
        let (alive, ended) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("receiver".into())
            .spawn(move || {
                receiver.run();
                drop(alive);
            })
            .map_err(|e| TransportError::new("the system gave no thread", Some(e)))?;
        *self.receiving() = Some(Receiving { thread, ended });
        Ok(())
    }

    fn send(&self, _: &Outside, messages: &[Message]) {
        let mut buffer = [0; MAX_DATAGRAM];
        for message in messages {
            self.send_one(&mut buffer, message);
        }
    }

    fn stop(&self, _: &Outside) {
        let Some(Receiving { thread, ended }) = self.receiving().take() else {
            return;
        };
        self.link.stopping.store(true, Ordering::SeqCst);
        // The receiver that stops its own transport must not wait for itself: it sees the flag when it comes back to its loop.
        if thread.thread().id() == thread::current().id() {
            *self.receiving() = Some(Receiving { thread, ended });
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever receives on a socket comes back from there. `wake` comes before or after it waits: both must do.
    fn wakes(listen: &str, wake: fn(&Link)) {
        for _ in 0..20 {
            let config = UdpConfig::new(NodeId(1), 1, listen.parse().unwrap());
            let link = UdpTransport::bind(config).unwrap().link;
            let (awake, woken) = mpsc::channel();
            thread::scope(|threads| {
                let receive = || {
                    let _ = link.socket.recv_from(&mut [0; 9]);
                    let _ = awake.send(());
                };
                thread::Builder::new()
                    .spawn_scoped(threads, receive)
                    .unwrap();
                wake(&link);
                let woken = woken.recv_timeout(Duration::from_secs(20));
                // Else the scope, and the test, would wait for ever.
                link.wake();
                woken.expect("the receiver did not wake");
            });
        }
    }

    /// On Linux a socket whose receiving half is closed fails again and again; `stop` must get through the pauses in between.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_socket_that_fails_is_counted_and_stops() {
        let listen = (Ipv4Addr::LOCALHOST, 0).into();
        let transport = UdpTransport::bind(UdpConfig::new(NodeId(1), 1, listen)).unwrap();
        let link = transport.link.clone();
        let mut config = biglock::Config::new(1, [1, 2]);
        config.clock = biglock::Clock::manual();
        let storage = biglock::MemoryStorage::new();
        let node = biglock::Node::start(config, storage, transport).unwrap();
        link.close();
        while link.counts.snapshot().receive_errors < 4 {
            thread::yield_now();
        }
        node.shutdown().unwrap();
        let counters = link.counts.snapshot();
        assert_eq!(counters.dropped() + counters.delivered, 0, "{counters}");
    }

    #[test]
    fn a_knock_wakes_the_receiver() {
        wakes("127.0.0.1:0", Link::knock);
        wakes("0.0.0.0:0", Link::knock);
        if UdpSocket::bind("[::1]:0").is_ok() {
            wakes("[::1]:0", Link::knock);
            wakes("[::]:0", Link::knock);
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn closing_wakes_the_receiver() {
        wakes("127.0.0.1:0", Link::close);
        wakes("0.0.0.0:0", Link::close);
    }
}
