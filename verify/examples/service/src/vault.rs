//! The replicated state: a balance, and how often it was asked for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use biglock::{Applied, RestoreError, StateMachine};
use bytes::Bytes;

/// What clients propose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Puts so much into the account.
    Deposit(u64),
    /// Takes so much out of it, if it is there.
    Withdraw(u64),
    /// An operator corrects the balance, whatever it was.
    Set(u64),
}

/// What the vault answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Whether it was done.
    pub done: bool,
    /// The balance after it.
    pub balance: u64,
    /// How many commands came before: receipts have an order, whoever gets them first.
    pub number: u64,
}

/// The state machine. A clone is a handle on the same state: the node applies to one, and who reads looks through another.
#[derive(Clone, Debug, Default)]
pub struct Vault(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    balance: u64,
    number: u64,
}

impl Vault {
    /// The balance that this node has applied.
    pub fn balance(&self) -> u64 {
        self.state().balance
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Held for a look or a store, and never while a monitor is entered.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateMachine for Vault {
    fn apply(&mut self, _: Applied, command: &[u8]) -> Bytes {
        let mut state = self.state();
        let after = match Command::decode(command) {
            Some(Command::Deposit(amount)) => state.balance.checked_add(amount),
            Some(Command::Withdraw(amount)) => state.balance.checked_sub(amount),
            Some(Command::Set(balance)) => Some(balance),
            None => None,
        };
        state.balance = after.unwrap_or(state.balance);
        state.number += 1;
        let receipt = Receipt {
            done: after.is_some(),
            balance: state.balance,
            number: state.number,
        };
        receipt.encode()
    }

    fn is_instant(&self) -> bool {
        true
    }

    fn snapshot(&mut self) -> Bytes {
        let State { balance, number } = *self.state();
        numbers(&[balance, number])
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let [balance, number] =
            read(snapshot).ok_or(RestoreError::new("no snapshot of a vault"))?;
        *self.state() = State { balance, number };
        Ok(())
    }
}

impl Command {
    /// As bytes, for [`Node::propose`](biglock::Node::propose).
    pub fn encode(self) -> Bytes {
        match self {
            Command::Deposit(amount) => numbers(&[0, amount]),
            Command::Withdraw(amount) => numbers(&[1, amount]),
            Command::Set(balance) => numbers(&[2, balance]),
        }
    }

    fn decode(bytes: &[u8]) -> Option<Command> {
        match read(bytes)? {
            [0, amount] => Some(Command::Deposit(amount)),
            [1, amount] => Some(Command::Withdraw(amount)),
            [2, balance] => Some(Command::Set(balance)),
            _ => None,
        }
    }
}

impl Receipt {
    fn encode(self) -> Bytes {
        numbers(&[self.done.into(), self.balance, self.number])
    }

    /// What a vault has answered.
    pub fn decode(bytes: &[u8]) -> Option<Receipt> {
        let [done, balance, number] = read(bytes)?;
        Some(Receipt {
            done: done == 1,
            balance,
            number,
        })
    }
}

fn numbers(all: &[u64]) -> Bytes {
    all.iter().flat_map(|number| number.to_be_bytes()).collect()
}

fn read<const N: usize>(bytes: &[u8]) -> Option<[u64; N]> {
    let (chunks, []) = bytes.as_chunks::<8>() else {
        return None;
    };
    let numbers: Vec<u64> = chunks
        .iter()
        .map(|&chunk| u64::from_be_bytes(chunk))
        .collect();
    numbers.try_into().ok()
}
