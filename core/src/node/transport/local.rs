//! Nodes of one process, over channels.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Inbox, Transport, TransportError};
use crate::lock::sync::{JoinHandle, spawn};
use crate::{Message, NodeId, Outside};

/// A network between nodes of one process, over channels: for examples, tests and benchmarks. It loses nothing, unless it is told
/// to [`cut`](LocalNetwork::cut) a node off.
#[derive(Clone, Default)]
pub struct LocalNetwork {
    wires: Arc<Mutex<Wires>>,
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
    wire: Sender<Option<Message>>,
}

impl LocalNetwork {
    /// A network without nodes.
    pub fn new() -> LocalNetwork {
        LocalNetwork::default()
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
        self.wires(|wires| wires.cut.insert(NodeId(id)));
    }

    /// Connects a node again.
    pub fn mend(&self, id: u64) {
        self.wires(|wires| wires.cut.remove(&NodeId(id)));
    }

    fn wires<R>(&self, body: impl FnOnce(&mut Wires) -> R) -> R {
        body(&mut self.wires.lock().unwrap_or_else(PoisonError::into_inner))
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

/// One node's end of a [`LocalNetwork`]. One thread of its own receives.
pub struct LocalTransport {
    id: NodeId,
    network: LocalNetwork,
    receiver: Mutex<Option<Receiving>>,
}

struct Receiving {
    thread: JoinHandle,
    number: u64,
    wire: Sender<Option<Message>>,
}

impl LocalTransport {
    fn receive(messages: &Receiver<Option<Message>>, inbox: &Inbox) {
        let mut outside = Outside::claim("receiver");
        while let Ok(Some(message)) = messages.recv() {
            inbox.deliver(&mut outside, message);
        }
    }
}

impl Transport for LocalTransport {
    fn start(&self, inbox: Inbox) -> Result<(), TransportError> {
        let (wire, messages) = channel();
        let thread = spawn("receiver", move || Self::receive(&messages, &inbox))
            .map_err(|e| TransportError::new("the system gave no thread", Some(e)))?;
        let number = self.network.wires(|wires| {
            wires.started += 1;
            let (number, wire) = (wires.started, wire.clone());
            wires.ends.insert(self.id, End { number, wire });
            number
        });
        *self.receiver.lock().unwrap_or_else(PoisonError::into_inner) = Some(Receiving {
            thread,
            number,
            wire,
        });
        Ok(())
    }

    fn send(&self, _: &Outside, messages: &[Message]) {
        self.network.wires(|wires| {
            for message in messages {
                let cut = wires.cut.contains(&self.id) || wires.cut.contains(&message.to);
                if let Some(end) = wires.ends.get(&message.to).filter(|_| !cut) {
                    // A node that has stopped hears nothing.
                    let _ = end.wire.send(Some(message.clone()));
                }
            }
        });
    }

    fn max_payload(&self) -> usize {
        1 << 20
    }

    fn stop(&self, _: &Outside) {
        let receiver = self
            .receiver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(Receiving {
            thread,
            number,
            wire,
        }) = receiver
        else {
            return;
        };
        self.network.wires(|wires| {
            // Not the end of a node that has taken this one's place.
            if wires
                .ends
                .get(&self.id)
                .is_some_and(|end| end.number == number)
            {
                wires.ends.remove(&self.id);
            }
        });
        let _ = wire.send(None);
        if !thread.is_current() {
            thread.join();
        }
    }
}
