//! Nodes of one process.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Inbox, Transport, TransportError};
use crate::lock::sync::{JoinHandle, spawn};
use crate::{Message, NodeId, Outside};

/// A network between nodes of one process: for examples, tests and benchmarks. It loses nothing, unless it is told
/// to [`cut`](LocalNetwork::cut) a node off.
#[derive(Clone, Default)]
pub struct LocalNetwork {
    wires: Arc<Mutex<Wires>>,
    direct: bool,
}

#[derive(Default)]
struct Wires {
    ends: BTreeMap<NodeId, End>,
    cut: BTreeSet<NodeId>,
    /// How many transports have started: tells a node from the one that took its place.
    started: u64,
}

struct End {
    number: u64,
    wire: Wire,
}

/// How messages get to a node.
#[derive(Clone)]
enum Wire {
    /// A thread of its own takes them out of this.
    Channel(Sender<Option<Message>>),
    /// Whoever sends takes them out.
    Direct(Arc<Mailbox>),
}

impl LocalNetwork {
    /// A network without nodes, on which each node has a thread of its own to receive.
    pub fn new() -> LocalNetwork {
        LocalNetwork::default()
    }

    /// A network without nodes and without threads: whoever sends a message runs the receiver's handler, as in a local procedure
    /// call. Where a thread that wakes costs more than all the work of a message, this is ten times faster; but who proposes
    /// waits for what the others do with it.
    pub fn direct() -> LocalNetwork {
        LocalNetwork {
            direct: true,
            ..LocalNetwork::default()
        }
    }

    /// The transport of one node. Taking it again replaces the node: what is sent to it goes to the new one.
    pub fn transport(&self, id: u64) -> LocalTransport {
        LocalTransport {
            id: NodeId(id),
            network: self.clone(),
            receiver: Mutex::new(None),
        }
    }

    /// Cuts a node off: whatever it sends or should receive is lost until it is [mended](LocalNetwork::mend).
    pub fn cut(&self, id: u64) {
        self.wires().cut.insert(NodeId(id));
    }

    /// Connects a node again.
    pub fn mend(&self, id: u64) {
        self.wires().cut.remove(&NodeId(id));
    }

    fn wires(&self) -> MutexGuard<'_, Wires> {
        self.wires.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for LocalNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalNetwork").finish_non_exhaustive()
    }
}

impl fmt::Debug for LocalTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.id;
        f.debug_struct("LocalTransport")
            .field("id", &id)
            .finish_non_exhaustive()
    }
}

/// One node's end of a [`LocalNetwork`].
pub struct LocalTransport {
    id: NodeId,
    network: LocalNetwork,
    receiver: Mutex<Option<Receiving>>,
}

struct Receiving {
    number: u64,
    wire: Wire,
    thread: Option<JoinHandle>,
}

/// What waits to be handled by one node. Whoever finds the inbox takes it, and handles what there is until there is nothing: so the
/// messages keep their order, nobody waits, and a chain of calls is no longer than there are nodes.
struct Mailbox(Mutex<Mail>);

#[derive(Default)]
struct Mail {
    waiting: VecDeque<Message>,
    inbox: Option<Inbox>,
    closed: bool,
}

impl Mailbox {
    fn mail(&self) -> MutexGuard<'_, Mail> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, message: Message) {
        let mut mail = self.mail();
        if !mail.closed {
            mail.waiting.push_back(message);
        }
    }

    /// Handles what there is, unless somebody does already.
    fn empty(&self, outside: &Outside) {
        let Some(inbox) = self.mail().inbox.take() else {
            return;
        };
        // If the receiver breaks, it stops, and not whoever sent to it: the inbox says so when it is dropped here.
        let handled = catch_unwind(AssertUnwindSafe(move || {
            let mut outside = outside.again();
            loop {
                let mut mail = self.mail();
                let Some(message) = mail.waiting.pop_front() else {
                    if !mail.closed {
                        mail.inbox = Some(inbox);
                    }
                    return;
                };
                drop(mail);
                inbox.deliver(&mut outside, message);
            }
        }));
        if handled.is_err() {
            self.close();
        }
    }

    fn close(&self) {
        let mut mail = self.mail();
        mail.closed = true;
        let inbox = mail.inbox.take();
        mail.waiting.clear();
        drop(mail);
        drop(inbox);
    }
}

fn receive(messages: &Receiver<Option<Message>>, inbox: &Inbox) {
    let mut outside = Outside::claim("receiver");
    while let Ok(Some(message)) = messages.recv() {
        inbox.deliver(&mut outside, message);
    }
}

impl Transport for LocalTransport {
    fn start(&self, inbox: Inbox) -> Result<(), TransportError> {
        let (wire, thread) = if self.network.direct {
            let mail = Mail {
                inbox: Some(inbox),
                ..Mail::default()
            };
            (Wire::Direct(Arc::new(Mailbox(Mutex::new(mail)))), None)
        } else {
            let (wire, messages) = channel();
            let thread = spawn("receiver", move || receive(&messages, &inbox))
                .map_err(|e| TransportError::new("the system gave no thread", Some(e)))?;
            (Wire::Channel(wire), Some(thread))
        };
        let number = {
            let mut wires = self.network.wires();
            wires.started += 1;
            let number = wires.started;
            let wire = wire.clone();
            wires.ends.insert(self.id, End { number, wire });
            number
        };
        *self.receiving() = Some(Receiving {
            number,
            wire,
            thread,
        });
        Ok(())
    }

    fn send(&self, outside: &Outside, messages: &[Message]) {
        let mut mailboxes: Vec<Arc<Mailbox>> = Vec::new();
        let wires = self.network.wires();
        for message in messages {
            let cut = wires.cut.contains(&self.id) || wires.cut.contains(&message.to);
            match wires.ends.get(&message.to).map(|end| &end.wire) {
                Some(Wire::Channel(wire)) if !cut => {
                    // A node that has stopped hears nothing.
                    let _ = wire.send(Some(message.clone()));
                }
                Some(Wire::Direct(mailbox)) if !cut => {
                    mailbox.put(message.clone());
                    if !mailboxes.iter().any(|other| Arc::ptr_eq(other, mailbox)) {
                        mailboxes.push(mailbox.clone());
                    }
                }
                _ => {}
            }
        }
        drop(wires);
        for mailbox in mailboxes {
            mailbox.empty(outside);
        }
    }

    fn max_payload(&self) -> usize {
        1 << 20
    }

    fn stop(&self, _: &Outside) {
        let Some(receiving) = self.receiving().take() else {
            return;
        };
        let mut wires = self.network.wires();
        // Not the end of a node that has taken this one's place.
        let own = |end: &End| end.number == receiving.number;
        if wires.ends.get(&self.id).is_some_and(own) {
            wires.ends.remove(&self.id);
        }
        drop(wires);
        match receiving.wire {
            Wire::Channel(wire) => drop(wire.send(None)),
            Wire::Direct(mailbox) => mailbox.close(),
        }
        if let Some(thread) = receiving.thread
            && !thread.is_current()
        {
            thread.join();
        }
    }
}

impl LocalTransport {
    fn receiving(&self) -> MutexGuard<'_, Option<Receiving>> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
