//! Messages between nodes: those for one receiver share a datagram, as many as fit.

use biglock::codec::{TooLong, encode_into};
use biglock::node::MIN_PAYLOAD;
use biglock::rules::Body;
use biglock::{Message, NodeId, Term};

use super::{HEADER, Invalid, MAX_DATAGRAM, MESSAGES, decode, decode_together, write_header};

/// What precedes the first message, in bytes: the header and the receiver.
const BEFORE: usize = HEADER + 8;

/// What precedes each message, in bytes: its length.
const LENGTH: usize = 2;

/// What a message takes beside its entries or its piece of a snapshot, in bytes, at most.
const AROUND: usize = 8 + 64;

/// A message of so many bytes has several commands, if it has any: then they are copied together, and not one by one.
const MANY: usize = 192;

/// The most bytes of entries, or of a snapshot, in a datagram of this length.
pub(crate) const fn max_payload(max_datagram: usize) -> usize {
    max_datagram.saturating_sub(BEFORE + LENGTH + AROUND)
}

/// Whether datagrams may be so long at most: those of UDP can be, and carry what every node must be able to send.
pub(crate) fn is_max_datagram(bytes: usize) -> bool {
    bytes <= MAX_DATAGRAM && max_payload(bytes) >= MIN_PAYLOAD
}

/// A datagram that is being filled with messages of one node to another.
#[derive(Debug)]
pub struct Frame<'a> {
    buffer: &'a mut [u8],
    length: usize,
    messages: usize,
}

impl<'a> Frame<'a> {
    /// An empty one, which may grow as long as the buffer.
    ///
    /// # Errors
    /// If the buffer is too short even for what is in front of the first message.
    pub fn new(
        buffer: &'a mut [u8],
        cluster: u64,
        from: NodeId,
        to: NodeId,
    ) -> Result<Frame<'a>, TooLong> {
        if buffer.len() < BEFORE {
            return Err(TooLong);
        }
        write_header(buffer, cluster, from, MESSAGES);
        buffer[HEADER..BEFORE].copy_from_slice(&to.0.to_be_bytes());
        Ok(Frame {
            buffer,
            length: BEFORE,
            messages: 0,
        })
    }

    /// Adds a message. Sender and receiver are the frame's.
    ///
    /// # Errors
    /// If it does not fit any more; then nothing was added.
    pub fn push(&mut self, message: &Message) -> Result<(), TooLong> {
        let room = &mut self.buffer[self.length..];
        let (length, room) = room.split_first_chunk_mut::<LENGTH>().ok_or(TooLong)?;
        let written = encode_into(&(message.term, &message.body), room)?;
        *length = u16::try_from(written).map_err(|_| TooLong)?.to_be_bytes();
        self.length += LENGTH + written;
        self.messages += 1;
        Ok(())
    }

    /// How many messages are in it.
    pub fn messages(&self) -> usize {
        self.messages
    }

    /// The datagram.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    /// Takes all messages out again.
    pub fn clear(&mut self) {
        self.length = BEFORE;
        self.messages = 0;
    }
}

/// Writes one message as a datagram.
///
/// # Errors
/// If it does not fit into the buffer.
pub fn encode_message<'a>(
    buffer: &'a mut [u8],
    cluster: u64,
    message: &Message,
) -> Result<&'a [u8], TooLong> {
    let mut frame = Frame::new(buffer, cluster, message.from, message.to)?;
    frame.push(message)?;
    let length = frame.length;
    Ok(&buffer[..length])
}

/// The messages of a datagram, each of which is read when it is taken. One that can't be read is the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Messages<'a> {
    /// Who sends them.
    pub from: NodeId,
    /// Whom they are for.
    pub to: NodeId,
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    pub(super) fn of(from: NodeId, payload: &'a [u8]) -> Result<Messages<'a>, Invalid> {
        let (to, rest) = payload.split_first_chunk().ok_or(Invalid::Truncated)?;
        // A datagram without a message says nothing, and is not sent.
        if rest.is_empty() {
            return Err(Invalid::Truncated);
        }
        let to = NodeId(u64::from_be_bytes(*to));
        Ok(Messages { from, to, rest })
    }

    fn read(&mut self) -> Result<Message, Invalid> {
        let rest = std::mem::take(&mut self.rest);
        let (length, rest) = rest.split_first_chunk().ok_or(Invalid::Truncated)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (bytes, rest) = rest.split_at_checked(length).ok_or(Invalid::Truncated)?;
        let (term, body): (Term, Body) = match length {
            ..MANY => decode(bytes)?,
            _ => decode_together(bytes)?,
        };
        self.rest = rest;
        let (from, to) = (self.from, self.to);
        Ok(Message {
            from,
            to,
            term,
            body,
        })
    }
}

impl Iterator for Messages<'_> {
    type Item = Result<Message, Invalid>;

    fn next(&mut self) -> Option<Result<Message, Invalid>> {
        (!self.rest.is_empty()).then(|| self.read())
    }
}
