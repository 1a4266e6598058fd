//! The receiving half: one thread, which also does whatever the node has to do about what it receives.

use std::io;
use std::io::ErrorKind::{ConnectionRefused, ConnectionReset, Interrupted, TimedOut, WouldBlock};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use biglock::rules::Body;
use biglock::{Inbox, Message, NodeId, Outside};

use super::Link;
use super::addresses::Addresses;
use super::server::{Batch, Server};
use crate::Report;
use crate::codec::{self, Invalid, MAX_DATAGRAM, Messages, Request, STATUS_DATAGRAM};

/// The most datagrams that are handled before what clients ask is proposed. With 16 clients or more this doubles what they get done.
#[cfg(unix)]
const AT_ONCE: usize = 64;

/// What has arrived, and waits for more of its kind.
struct Taken {
    /// What clients ask, to be proposed together.
    batch: Batch,
    /// Messages with entries, to be handled in one section,
    entries: Vec<Message>,
    /// and the bytes of the datagrams that brought them. No more of them than the longest datagram may have, or twice that: the lock is held
    /// for as long as they take.
    bytes: usize,
}

pub(super) struct Receiver {
    link: Arc<Link>,
    addresses: Arc<Addresses>,
    server: Arc<Server>,
    inbox: Inbox,
}

impl Receiver {
    pub(super) fn new(
        link: Arc<Link>,
        addresses: Arc<Addresses>,
        server: Server,
        inbox: Inbox,
    ) -> Receiver {
        Receiver {
            link,
            addresses,
            server: Arc::new(server),
            inbox,
        }
    }

    /// Receives until the transport is stopped. Nothing is done between the system's answer and the check of the flag, so whatever
    /// wakes this thread after the flag was set ends it; and the system answers at least every [`LOOK_UP`](super::LOOK_UP).
    pub(super) fn run(self) {
        let mut outside = Outside::claim("receiver");
        // One byte more than a datagram may have: the system cuts without a word what does not fit.
        let mut buffer = vec![0; MAX_DATAGRAM + 1];
        let mut taken = Taken {
            batch: Batch::new(),
            entries: Vec::new(),
            bytes: 0,
        };
        let mut failures = 0;
        loop {
            let received = self.link.socket.recv_from(&mut buffer);
            if self.link.stopping() {
                return;
            }
            match received {
                Ok((length, from)) => {
                    failures = 0;
                    self.take(&mut outside, &buffer[..length], from, &mut taken);
                    // The first does not wait for a look whether there are others: mostly there are none.
                    self.deliver_entries(&mut outside, &mut taken);
                    self.drain(&mut outside, &mut buffer, &mut taken);
                    self.deliver_entries(&mut outside, &mut taken);
                    let batch = &mut taken.batch;
                    self.server.propose(&self.inbox, &mut outside, batch);
                    // The datagram that was to wake this thread may have been among those.
                    if self.link.stopping() {
                        return;
                    }
                }
                // It was time to look up, under one of the two names that systems have for it; or a signal came.
                Err(error) if matches!(error.kind(), WouldBlock | TimedOut | Interrupted) => {}
                Err(error) => {
                    self.link.counts.receive_errors.add_one();
                    tracing::debug!(node = self.link.id.0, %error, "can't receive");
                    pause(&error, &mut failures);
                }
            }
        }
    }

    /// Handles what else is there, up to a bound, without waiting for more: clients' requests that came together share a section, a write
    /// and a message; and so do messages with entries that piled up, and their answer.
    #[cfg(unix)]
    fn drain(&self, outside: &mut Outside, buffer: &mut [u8], taken: &mut Taken) {
        use rustix::net::{RecvFlags, recvfrom};
        for _ in 0..AT_ONCE {
            let received = recvfrom(&self.link.socket, &mut *buffer, RecvFlags::DONTWAIT);
            let Ok((length, _, Some(from))) = received else {
                return;
            };
            let Ok(from) = SocketAddr::try_from(from) else {
                return;
            };
            if self.link.stopping() {
                return;
            }
            self.take(outside, &buffer[..length], from, taken);
            if taken.bytes > MAX_DATAGRAM {
                self.deliver_entries(outside, taken);
            }
        }
    }

    /// Elsewhere they come one by one.
    #[cfg(not(unix))]
    fn drain(&self, _: &mut Outside, _: &mut [u8], _: &mut Taken) {}

    /// Handles one datagram: checks it, and lets the node do its work for it.
    fn take(&self, outside: &mut Outside, datagram: &[u8], from: SocketAddr, taken: &mut Taken) {
        let handled = match codec::decode_request(datagram, self.link.cluster) {
            Ok(Request::Messages(messages)) => {
                taken.bytes += datagram.len();
                self.deliver(outside, messages, from, taken)
            }
            Ok(Request::Status) => {
                self.link.counts.status_requests.add_one();
                self.report(outside, from);
                Ok(())
            }
            Ok(Request::Client(request)) => {
                self.link.counts.client_requests.add_one();
                // It may call the user's code, which no answer to a leader waits for.
                self.deliver_entries(outside, taken);
                self.server
                    .handle(&self.inbox, outside, request, from, &mut taken.batch);
                Ok(())
            }
            Err(why) => Err(why),
        };
        if let Err(why) = handled {
            self.link.counts.dropped(why);
            tracing::debug!(node = self.link.id.0, %from, %why, "dropped a datagram");
        }
    }

    /// Hands the node the messages of a datagram, up to the first that can't be read, in their order. Those with entries wait for
    /// [`deliver_entries`](Receiver::deliver_entries), or for one without.
    fn deliver(
        &self,
        outside: &mut Outside,
        messages: Messages<'_>,
        from: SocketAddr,
        taken: &mut Taken,
    ) -> Result<(), Invalid> {
        let (me, sender) = (self.link.id, messages.from);
        // "Servers process incoming RPC requests without consulting their current configurations" (section 6): so anybody may send, but
        // for those that nobody can be.
        if sender == me || sender == NodeId(0) {
            return Err(Invalid::Stranger);
        }
        if messages.to != me {
            return Err(Invalid::Misaddressed);
        }
        for message in messages {
            let message = message?;
            // Only whoever can write a message is remembered.
            self.addresses.heard(sender, from);
            self.link.counts.delivered.add_one();
            tracing::trace!(node = me.0, from = sender.0, %message, "received");
            match &message.body {
                Body::AppendEntries { entries, .. } if !entries.is_empty() => {
                    taken.entries.push(message);
                }
                _ => {
                    self.deliver_entries(outside, taken);
                    self.inbox.deliver(outside, message);
                }
            }
        }
        Ok(())
    }

    fn deliver_entries(&self, outside: &mut Outside, taken: &mut Taken) {
        taken.bytes = 0;
        if !taken.entries.is_empty() {
            let entries = std::mem::take(&mut taken.entries);
            self.inbox.deliver_all(outside, entries);
        }
    }

    /// Tells `asker` how the node is. The answer is not longer than the question.
    fn report(&self, outside: &mut Outside, asker: SocketAddr) {
        let status = self.inbox.status(outside);
        let threads = self.inbox.threads();
        let threads = threads
            .iter()
            .map(|of| format!("{} {}", of.thread, of.activity));
        let report = Report::new(status, self.link.counts.snapshot(), threads);
        let mut buffer = [0; STATUS_DATAGRAM];
        let sent = codec::encode_report(&mut buffer, self.link.cluster, &report)
            .map_err(io::Error::other)
            .and_then(|datagram| self.link.socket.send_to(datagram, asker));
        if let Err(error) = sent {
            tracing::debug!(node = self.link.id.0, %asker, %error, "status not sent");
        }
    }
}

/// Keeps a socket that fails again and again from taking a whole core: waits for ever longer, until the transport is stopped.
fn pause(error: &io::Error, failures: &mut u32) {
    // Says on some systems that an earlier datagram of ours found nobody; on the next call it is gone.
    if matches!(error.kind(), ConnectionRefused | ConnectionReset) {
        return;
    }
    *failures = (*failures + 1).min(10);
    thread::park_timeout(Duration::from_millis(1 << *failures));
}
