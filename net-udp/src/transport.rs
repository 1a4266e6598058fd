//! The transport: the sending half, and how the receiving one starts and ends.

mod addresses;
mod config;
mod receiver;
mod server;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use biglock::rules::Members;
use biglock::{Inbox, Message, NodeId, Outside, Transport, TransportError};
use bytes::Bytes;

use crate::Counters;
use crate::codec::{self, Frame, MAX_DATAGRAM};
use crate::counters::Counts;
use addresses::Addresses;
pub use config::UdpConfig;
use receiver::Receiver;
use server::Server;

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
    addresses: Arc<Addresses>,
    reader: Option<Reader>,
    /// Only with the handle that was started.
    receiver: Mutex<Option<JoinHandle<()>>>,
}

/// Reads the state for a client; see [`UdpTransport::with_reader`].
type Reader = Arc<dyn Fn(&[u8]) -> Bytes + Send + Sync>;

impl Clone for UdpTransport {
    fn clone(&self) -> UdpTransport {
        UdpTransport {
            link: self.link.clone(),
            addresses: self.addresses.clone(),
            reader: self.reader.clone(),
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
    /// The longest datagram that is sent, in bytes.
    max_datagram: usize,
    counts: Counts,
    /// Whether a longer one had to be sent all the same, and that was logged.
    sent_long: AtomicBool,
    started: AtomicBool,
    stopping: AtomicBool,
}

impl UdpTransport {
    /// Binds the socket. Datagrams that arrive before the node starts wait in the system's buffer.
    ///
    /// # Errors
    /// If the address is taken or not of this machine, the system does not take the buffers' sizes, or the longest datagram is none.
    pub fn bind(config: UdpConfig) -> Result<UdpTransport, TransportError> {
        let socket = config.bind()?;
        let listen = config.listen;
        let failed = |what: String| move |e: io::Error| TransportError::new(what, Some(e));
        let local = socket
            .local_addr()
            .map_err(failed(format!("can't tell the port of {listen}")))?;
        socket
            .set_read_timeout(Some(LOOK_UP))
            .map_err(failed(format!("can't bound the wait on {listen}")))?;
        Ok(UdpTransport {
            addresses: Arc::new(Addresses::new(config.id, config.peers)),
            link: Arc::new(Link {
                id: config.id,
                cluster: config.cluster,
                socket,
                local,
                max_datagram: config.max_datagram,
                counts: Counts::default(),
                sent_long: AtomicBool::new(false),
                started: AtomicBool::new(false),
                stopping: AtomicBool::new(false),
            }),
            reader: None,
            receiver: Mutex::new(None),
        })
    }

    /// The same transport, with other peers: for addresses that are known only after everybody is bound. Before the node starts.
    pub fn with_peers(mut self, peers: BTreeMap<NodeId, SocketAddr>) -> UdpTransport {
        self.addresses = Arc::new(Addresses::new(self.link.id, peers));
        self
    }

    /// The same transport, for a node that serves [clients' reads](crate::Client::read): once a read is linearizable, `reader` gets the
    /// client's question, and what it returns is the answer. It is called from the node's own threads, so it must not take long, nor
    /// wait; and if it panics, the node stops. Before the node starts.
    ///
    /// For a [`KvStore`](biglock::kv::KvStore) this is [`kv_reader`](crate::kv_reader).
    pub fn with_reader(
        mut self,
        reader: impl Fn(&[u8]) -> Bytes + Send + Sync + 'static,
    ) -> UdpTransport {
        self.reader = Some(Arc::new(reader));
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

    /// Sends the messages of `messages` that are for `to`, in as few datagrams as they fit into.
    fn send_to(&self, buffer: &mut [u8], to: NodeId, messages: &[Message]) {
        let link = &*self.link;
        let mine = || messages.iter().filter(|message| message.to == to);
        let Some(address) = self.addresses.find(to) else {
            mine().for_each(|message| link.not_sent(message, &"its receiver has no known address"));
            return;
        };
        let Ok(mut frame) = Frame::new(buffer, link.cluster, link.id, to) else {
            return;
        };
        for message in mine() {
            tracing::trace!(node = link.id.0, %message, "to be sent");
            if frame.push(message).is_ok() {
                continue;
            }
            link.flush(&mut frame, address);
            if frame.push(message).is_err() {
                link.send_long(message, address);
            }
        }
        link.flush(&mut frame, address);
    }
}

thread_local! {
    /// Room for a datagram to send, so that none is made for each.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Transport for UdpTransport {
    fn start(&self, inbox: Inbox) -> Result<(), TransportError> {
        if self.link.started.swap(true, Ordering::SeqCst) {
            return Err(TransportError::new(
                "it was started before: bind one transport per node",
                None,
            ));
        }
        let (link, addresses) = (self.link.clone(), self.addresses.clone());
        let server = Server::new(link.clone(), addresses.clone(), self.reader.clone());
        let receiver = Receiver::new(link, addresses, server, inbox);
        let thread = thread::Builder::new()
            .name("receiver".into())
            .spawn(|| receiver.run())
            .map_err(|e| TransportError::new("the system gave no thread", Some(e)))?;
        *self.receiver() = Some(thread);
        Ok(())
    }

    fn send(&self, outside: &Outside, messages: &[Message]) {
        self.link.with_buffer(outside, |buffer| {
            for (i, Message { to, .. }) in messages.iter().enumerate() {
                // All for one receiver at its first message, in their order.
                if messages[..i].iter().all(|before| before.to != *to) {
                    self.send_to(buffer, *to, &messages[i..]);
                }
            }
        });
    }

    fn max_payload(&self) -> usize {
        codec::max_payload(self.link.max_datagram)
    }

    fn members_changed(&self, outside: &Outside, members: &Members) {
        self.addresses.set_members(outside, members);
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
    /// Lends room for one datagram to send, of the longest that this node sends.
    fn with_buffer<R>(&self, _: &Outside, body: impl FnOnce(&mut [u8]) -> R) -> R {
        BUFFER.with_borrow_mut(|buffer| {
            buffer.resize(self.max_datagram, 0);
            body(buffer)
        })
    }

    /// Sends what is in the frame, and empties it.
    fn flush(&self, frame: &mut Frame<'_>, to: SocketAddr) {
        let messages = frame.messages() as u64;
        if messages == 0 {
            return;
        }
        match self.socket.send_to(frame.bytes(), to) {
            Ok(_) => self.counts.sent.add(messages),
            Err(error) => {
                self.counts.not_sent.add(messages);
                tracing::debug!(node = self.id.0, %to, messages, %error, "not sent");
            }
        }
        frame.clear();
    }

    /// Sends a message that is longer than this node's datagrams: there is an entry in it that a leader took whose datagrams are longer. Whoever
    /// lacks it gets nothing that comes after, as long as this node leads, unless it is sent; and all nodes take what UDP carries.
    fn send_long(&self, message: &Message, to: SocketAddr) {
        let mut buffer = vec![0; MAX_DATAGRAM];
        let Ok(mut frame) = Frame::new(&mut buffer, self.cluster, self.id, message.to) else {
            return;
        };
        if let Err(why) = frame.push(message) {
            return self.not_sent(message, &why);
        }
        if !self.sent_long.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                node = self.id.0,
                bytes = frame.bytes().len(),
                max_datagram = self.max_datagram,
                "an entry that was taken with longer datagrams goes in a longer one than this node's: give all nodes the same max_datagram"
            );
        }
        self.flush(&mut frame, to);
    }

    fn not_sent(&self, message: &Message, why: &dyn std::fmt::Display) {
        self.counts.not_sent.add(1);
        tracing::debug!(node = self.id.0, %message, %why, "not sent");
    }

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
mod tests;
