//! How messages leave and arrive.

mod local;

use std::sync::Arc;

pub use local::{LocalNetwork, LocalTransport};

use super::{Engine, Status, Stopped, TransportError};
use crate::rules::Members;
use crate::{Message, Outside, ThreadActivity};

/// Carries messages between nodes. It may lose, delay, repeat and reorder them; it must not alter or invent any.
///
/// It is never called with the lock held, so it may wait: but while it does, the thread that sends does nothing else, so
/// better drop a message than wait for long.
pub trait Transport: Send + Sync {
    /// Starts to deliver what arrives to `inbox`, from threads of its own. Called once.
    ///
    /// # Errors
    /// If it can't; the node does not start.
    fn start(&self, inbox: Inbox) -> Result<(), TransportError>;

    /// Sends messages, each to the node that it names. From any thread. What can't be sent is dropped: Raft will send again.
    fn send(&self, outside: &Outside, messages: &[Message]);

    /// The most bytes of entries, or of a snapshot, that one message may carry: the sum of [`Entry::size`](crate::rules::Entry::size), or the
    /// length of a piece. At least [`MIN_PAYLOAD`](crate::node::MIN_PAYLOAD).
    fn max_payload(&self) -> usize;

    /// The members of the cluster are these now: whom messages may go to, and where. From any thread; the addresses are those of
    /// [`Change::AddLearner`](crate::rules::Change::AddLearner), and empty for the members with which the cluster began.
    fn members_changed(&self, _: &Outside, _members: &Members) {}

    /// Stops delivering: joins its threads and drops the inbox. Called once, when the node shuts down or could not start.
    fn stop(&self, outside: &Outside);
}

impl<T: Transport + ?Sized> Transport for Arc<T> {
    fn start(&self, inbox: Inbox) -> Result<(), TransportError> {
        (**self).start(inbox)
    }

    fn send(&self, outside: &Outside, messages: &[Message]) {
        (**self).send(outside, messages);
    }

    fn max_payload(&self) -> usize {
        (**self).max_payload()
    }

    fn members_changed(&self, outside: &Outside, members: &Members) {
        (**self).members_changed(outside, members);
    }

    fn stop(&self, outside: &Outside) {
        (**self).stop(outside);
    }
}

/// Where a [`Transport`] puts what arrives. Cheap to clone; each receiving thread has its own.
#[derive(Clone)]
pub struct Inbox {
    engine: Arc<Engine>,
}

impl Drop for Inbox {
    /// A receiving thread that panics takes its inbox along: the node would be deaf, and look alive.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut outside = Outside::caller();
            let thread = "receiver";
            self.engine.stop(&mut outside, Stopped::Panicked { thread });
        }
    }
}

impl Inbox {
    pub(super) fn new(engine: Arc<Engine>) -> Inbox {
        Inbox { engine }
    }

    /// Hands the node a message. The calling thread does all of the node's work for it: decides under the lock, then writes and sends
    /// without it, and so returns after the answer was sent. After the node has stopped it does nothing.
    pub fn deliver(&self, outside: &mut Outside, message: Message) {
        self.engine.receive(outside, message);
    }

    /// The same for several that arrived together. What one proposer after the other made the leader send is written once then, and answered
    /// once. Not too many: nobody else has the lock meanwhile.
    pub fn deliver_all(&self, outside: &mut Outside, messages: Vec<Message>) {
        self.engine.receive_all(outside, messages);
    }

    /// The node's engine, for those who ask something of it over the network: they are [called](crate::node::Tell) when there is an
    /// answer, so the thread that receives waits for none.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// How the node is, for those who ask over the network.
    pub fn status(&self, outside: &mut Outside) -> Status {
        self.engine.status(outside)
    }

    /// What each of the node's threads is doing.
    pub fn threads(&self) -> Vec<ThreadActivity> {
        self.engine.threads()
    }
}
