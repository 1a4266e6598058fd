//! A bank account on a replicated log: a service of a few lines around a [`Node`], whose threads are checked in every interleaving.
//!
//! Clients call from threads of their own. The [`Vault`] is replicated and decides; what this process has learnt of it is kept under a [`Monitor`], so
//! that a look at the balance costs no round, and who waits for money sleeps until it is there. `tests/interleave.rs` has the checks, and [`broken`] what
//! they find if the service is written as one would write it first.

pub mod broken;
mod vault;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use biglock::lock::{Guarded, Look, Monitor, Outside};
use biglock::{Node, ProposeError, SessionReply, SessionRequest, Undecided};

pub use vault::{Command, Receipt, Vault};

/// What this process knows of the vault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The balance in the latest receipt.
    pub balance: u64,
    /// The number of that receipt.
    pub number: u64,
    /// Nobody waits any longer.
    pub closed: bool,
}

impl Known {
    /// Of two receipts the one with the higher number is the later one, whichever arrives first.
    fn learn(&mut self, receipt: Receipt) {
        if receipt.number > self.number {
            self.number = receipt.number;
            self.balance = receipt.balance;
        }
    }
}

impl Guarded for Known {
    type Digest = Known;
    type Audience = ();
    const AUDIENCES: &'static [()] = &[()];

    fn digest(&self) -> Known {
        *self
    }

    fn check(&self, before: &Known) -> Result<(), String> {
        match self.number < before.number {
            true => Err("what is known of the balance went back".into()),
            false => Ok(()),
        }
    }

    fn give_up(&mut self, _: &'static str) {
        self.closed = true;
    }
}

/// The account, as its clients hold it. It can be shared between threads.
pub struct Account {
    node: Arc<Node>,
    known: Arc<Monitor<Known>>,
}

/// Why there is no receipt.
#[derive(Debug)]
pub enum Failed {
    /// It was not done: ask another node, or later.
    Refused(ProposeError),
    /// It is lost, or nobody here can tell: what it was, is inside.
    Undecided(Undecided),
}

impl Account {
    /// An account on this node. `known` is `Monitor::new(Known::default())`, and in a check one that is watched.
    pub fn new(node: Arc<Node>, known: Arc<Monitor<Known>>) -> Account {
        Account { node, known }
    }

    /// Puts so much into the account.
    ///
    /// # Errors
    /// If it is not known to be done.
    pub fn deposit(&self, outside: &mut Outside, amount: u64) -> Result<Receipt, Failed> {
        self.run(outside, Command::Deposit(amount))
    }

    /// Takes so much out of the account, if it is there: the vault decides. Only if the receipt says so it was done.
    ///
    /// # Errors
    /// If it is not known to be done.
    pub fn withdraw(&self, outside: &mut Outside, amount: u64) -> Result<Receipt, Failed> {
        self.run(outside, Command::Withdraw(amount))
    }

    /// Opens a session, in which a command that is sent again is done once.
    ///
    /// # Errors
    /// If it is not known to be open.
    pub fn open_session(&self, _: &Outside) -> Result<u64, Failed> {
        let patience = Duration::from_secs(3600);
        match self.ask(SessionRequest::Open { patience })? {
            SessionReply::Opened { session } => Ok(session),
            other => unreachable!("a session is opened, not {other:?}"),
        }
    }

    /// Puts so much into the account, once: the first deposit of this session. If nobody can tell what became of it, it is sent again with its number.
    ///
    /// # Errors
    /// If it is not known to be done, although it was sent twice.
    pub fn deposit_once(
        &self,
        outside: &mut Outside,
        session: u64,
        amount: u64,
    ) -> Result<Receipt, Failed> {
        let call = SessionRequest::Call {
            session,
            sequence: 1,
            seen: 1,
            command: Command::Deposit(amount).encode(),
        };
        let reply = match self.ask(call.clone()) {
            Err(Failed::Undecided(Undecided::Unknown)) => self.ask(call),
            known => known,
        };
        let receipt = match reply? {
            SessionReply::Done(reply) => Receipt::decode(&reply),
            _ => None,
        };
        let receipt = receipt.ok_or(Failed::Undecided(Undecided::Unknown))?;
        self.note(outside, receipt);
        Ok(receipt)
    }

    fn ask(&self, request: SessionRequest) -> Result<SessionReply, Failed> {
        let call = self.node.call(request).map_err(Failed::Refused)?;
        call.wait().map_err(Failed::Undecided)
    }

    fn run(&self, outside: &mut Outside, command: Command) -> Result<Receipt, Failed> {
        let receipt = self.propose(outside, command)?;
        self.note(outside, receipt);
        Ok(receipt)
    }

    fn note(&self, outside: &mut Outside, receipt: Receipt) {
        self.known
            .enter(outside, "note the receipt", |known| known.learn(receipt));
    }

    /// Has the vault decide. This waits: so it asks for the permission, and while the monitor is held there is none to give (it does not compile).
    fn propose(&self, _: &Outside, command: Command) -> Result<Receipt, Failed> {
        let proposal = self
            .node
            .propose(command.encode())
            .map_err(Failed::Refused)?;
        let reply = proposal.wait().map_err(Failed::Undecided)?;
        Receipt::decode(&reply).ok_or(Failed::Undecided(Undecided::Unknown))
    }

    /// The balance, as far as it is known here. It never goes back to an earlier one.
    pub fn balance(&self, outside: &mut Outside) -> u64 {
        self.known
            .enter(outside, "look at the balance", |known| known.balance)
    }

    /// Waits until at least so much is known to be there. False if the account was closed before.
    pub fn wait_for(&self, outside: &mut Outside, amount: u64) -> bool {
        self.known.enter(outside, "wait for money", |section| {
            section.wait_until((), "money", |known, _| match known.balance >= amount {
                true => Look::Ready(true),
                false if known.closed => Look::Ready(false),
                false => Look::NotBefore(None),
            })
        })
    }

    /// Lets everyone go who waits.
    pub fn close(&self, outside: &mut Outside) {
        self.known
            .enter(outside, "close", |known| known.closed = true);
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Refused(why) => write!(f, "it was not proposed: {why}"),
            Failed::Undecided(why) => write!(f, "{why}"),
        }
    }
}

impl std::error::Error for Failed {}
