//! What a caller holds while its proposal is under way.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use super::Undecided;
use super::applier::Reply;
use super::callers::Decided;
use crate::Outside;
use crate::lock::Awaited;
use crate::rules::SessionReply;

/// A command that was proposed. It goes on whether or not somebody waits for it.
#[must_use = "what becomes of a proposal is known only by waiting for it"]
pub struct Proposal(pub(super) Awaited<Decided>);

/// A request to a session that was proposed. It goes on whether or not somebody waits for it.
#[must_use = "what becomes of a request is known only by waiting for it"]
pub struct SessionCall(pub(super) Awaited<Decided>);

impl Proposal {
    /// Waits until it is decided, and returns the state machine's reply: then it is committed, and applied on this node. It always ends:
    /// if this node no longer leads and can't learn what became of it, or leads and can commit nothing, after a few election timeouts as
    /// [unknown](Undecided::Unknown).
    ///
    /// # Errors
    /// If there is no reply: which of the reasons makes all the difference, see [`Undecided`].
    pub fn wait(self) -> Result<Bytes, Undecided> {
        command(self.0.wait(&Outside::caller()))
    }

    /// The same for at most `timeout` of the machine's time.
    ///
    /// # Errors
    /// The proposal itself, if the time was up: it goes on, and can be waited for again.
    pub fn wait_for(self, timeout: Duration) -> Result<Result<Bytes, Undecided>, Proposal> {
        let end = self.0.wait_for(&Outside::caller(), timeout);
        end.map(command).map_err(Proposal)
    }
}

impl SessionCall {
    /// Waits until it is decided.
    ///
    /// # Errors
    /// If there is no reply. **Send it again with the same number**, here or to another node: it is run once.
    pub fn wait(self) -> Result<SessionReply, Undecided> {
        session(self.0.wait(&Outside::caller()))
    }

    /// The same for at most `timeout` of the machine's time.
    ///
    /// # Errors
    /// The call itself, if the time was up: it goes on, and can be waited for again.
    pub fn wait_for(
        self,
        timeout: Duration,
    ) -> Result<Result<SessionReply, Undecided>, SessionCall> {
        let end = self.0.wait_for(&Outside::caller(), timeout);
        end.map(session).map_err(SessionCall)
    }
}

fn command(end: Option<Decided>) -> Result<Bytes, Undecided> {
    match end {
        Some(Ok(Reply::Command(reply))) => Ok(reply),
        Some(Ok(_)) => Ok(Bytes::new()),
        Some(Err(why)) => Err(why),
        // The thread that had the answer is gone, and the node with it.
        None => Err(Undecided::Unknown),
    }
}

fn session(end: Option<Decided>) -> Result<SessionReply, Undecided> {
    match end {
        Some(Ok(Reply::Session(reply))) => Ok(reply),
        Some(Err(why)) => Err(why),
        Some(Ok(_)) | None => Err(Undecided::Unknown),
    }
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proposal").finish_non_exhaustive()
    }
}

impl fmt::Debug for SessionCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionCall").finish_non_exhaustive()
    }
}
