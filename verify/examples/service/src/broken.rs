//! The same service, as one would write it first. Each of these compiles, passes its tests, and is found by a check.

use biglock::{Outside, Undecided};

use crate::{Account, Command, Failed, Known, Receipt};

impl Account {
    /// Looks whether there is enough, and then sets the balance: but what was seen may have changed before the vault hears of it. (A section, a proposal, and
    /// nothing that holds the two together: rule 5.)
    ///
    /// # Errors
    /// If it is not known to be done.
    pub fn withdraw_what_was_seen(
        &self,
        outside: &mut Outside,
        amount: u64,
    ) -> Result<bool, Failed> {
        let seen = self.balance(outside);
        match seen.checked_sub(amount) {
            Some(rest) => Ok(self.run(outside, Command::Set(rest))?.done),
            None => Ok(false),
        }
    }

    /// Notes the balance as it is in the receipt: but the receipt of a later command may have been noted before.
    ///
    /// # Errors
    /// If it is not known to be done.
    pub fn withdraw_and_overwrite(
        &self,
        outside: &mut Outside,
        amount: u64,
    ) -> Result<bool, Failed> {
        let receipt = self.propose(outside, Command::Withdraw(amount))?;
        self.known.enter(outside, "note the receipt", |known| {
            **known = Known {
                balance: receipt.balance,
                number: receipt.number,
                ..**known
            };
        });
        Ok(receipt.done)
    }

    /// Asks again if nobody can tell what became of it: but it may have been done, and then it is done twice.
    ///
    /// # Errors
    /// If it is not known to be done.
    pub fn deposit_again(&self, outside: &mut Outside, amount: u64) -> Result<Receipt, Failed> {
        match self.deposit(outside, amount) {
            Err(Failed::Undecided(Undecided::Unknown)) => self.deposit(outside, amount),
            known => known,
        }
    }

    /// Books it here, answers at once, and tells the cluster: but what was not waited for may never be committed.
    pub fn withdraw_before_it_is_committed(&self, outside: &mut Outside, amount: u64) -> bool {
        let covered = self.known.enter(outside, "book it", |known| {
            let rest = known.balance.checked_sub(amount);
            known.balance = rest.unwrap_or(known.balance);
            rest.is_some()
        });
        covered
            && self
                .node
                .propose(Command::Withdraw(amount).encode())
                .is_ok()
    }
}
