//! What a client was told of its writes, and what must be there because of it.

use bytes::Bytes;

/// How many numbers go to one key, so that its value fits into a datagram.
const PAGE: u64 = 100;

/// What became of a write: acknowledged or not done, or else whether it may have been done.
type Fate = Result<bool, bool>;

/// The appends of one client.
pub struct Ledger {
    client: u64,
    /// How many were begun.
    begun: u64,
    pages: Vec<Page>,
}

/// An append to be made.
pub struct Append {
    /// The key,
    pub key: String,
    /// and what to add.
    pub value: String,
}

/// The numbers of one key.
pub struct Page {
    key: String,
    acknowledged: Vec<u64>,
    in_doubt: Vec<u64>,
}

impl Ledger {
    /// Of a client that has written nothing.
    pub fn new(client: u64) -> Ledger {
        let mut ledger = Ledger {
            client,
            begun: 0,
            pages: Vec::new(),
        };
        ledger.turn_page();
        ledger
    }

    /// The next append.
    pub fn next_append(&mut self) -> Append {
        self.begun += 1;
        if self.begun.is_multiple_of(PAGE) {
            self.turn_page();
        }
        Append {
            key: self.page().key.clone(),
            value: format!("{} ", self.begun),
        }
    }

    /// What became of it.
    pub fn append_was(&mut self, fate: Fate) {
        let number = self.begun;
        let page = self.pages.last_mut().expect("there is always one");
        match fate {
            Ok(true) => page.acknowledged.push(number),
            Err(true) => page.in_doubt.push(number),
            Ok(false) | Err(false) => {}
        }
    }

    fn turn_page(&mut self) {
        self.pages.push(Page {
            key: format!("client-{}-{}", self.client, self.pages.len()),
            acknowledged: Vec::new(),
            in_doubt: Vec::new(),
        });
    }

    /// The one that is written now.
    pub fn page(&self) -> &Page {
        self.pages.last().expect("there is always one")
    }

    /// All of them.
    pub fn pages(&self) -> &[Page] {
        &self.pages
    }
}

impl Page {
    /// Where it is.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How many of its appends were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.len() as u64
    }

    /// Whether a value can be what is there now.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, value: Option<&[u8]>) -> Result<(), String> {
        let key = &self.key;
        let text = String::from_utf8_lossy(value.unwrap_or_default());
        let mut found = Vec::new();
        for word in text.split_whitespace() {
            let number = word.parse::<u64>().ok();
            let number =
                number.filter(|n| self.acknowledged.contains(n) || self.in_doubt.contains(n));
            let Some(number) = number else {
                return Err(format!("{key} holds {word:?}, which nobody wrote to it"));
            };
            if found.contains(&number) {
                return Err(format!("write {number} to {key} was applied twice"));
            }
            found.push(number);
        }
        if let Some(lost) = self.acknowledged.iter().find(|n| !found.contains(n)) {
            return Err(format!(
                "write {lost} to {key} was acknowledged, and is lost"
            ));
        }
        found.retain(|number| self.acknowledged.contains(number));
        match found.is_sorted() {
            true => Ok(()),
            false => Err(format!(
                "the writes to {key} are in another order than they were made: {found:?}"
            )),
        }
    }
}

/// The compare-and-swaps of a key at which several clients count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Those that were acknowledged as done,
    pub acknowledged: u64,
    /// and those that may have been done.
    pub in_doubt: u64,
}

impl Counter {
    /// From a value that is expected, to the next.
    pub fn step(expected: Option<u64>) -> (Option<Bytes>, u64) {
        let old = expected.map(|value| Bytes::from(value.to_string()));
        (old, expected.unwrap_or(0) + 1)
    }

    /// What a value says.
    pub fn read(value: Option<&[u8]>) -> Option<u64> {
        std::str::from_utf8(value?).ok()?.parse().ok()
    }

    /// What became of a swap.
    pub fn swap_was(&mut self, fate: Fate) {
        match fate {
            Ok(true) => self.acknowledged += 1,
            Err(true) => self.in_doubt += 1,
            Ok(false) | Err(false) => {}
        }
    }

    /// Adds another client's.
    pub fn add(&mut self, other: &Counter) {
        self.acknowledged += other.acknowledged;
        self.in_doubt += other.in_doubt;
    }

    /// Whether it can stand at this value.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, value: Option<&[u8]>) -> Result<(), String> {
        let (least, most) = (self.acknowledged, self.acknowledged + self.in_doubt);
        let value = Counter::read(value).unwrap_or(0);
        if value < least {
            return Err(format!(
                "{least} swaps were acknowledged, and the counter is at {value}: some are lost"
            ));
        }
        if value > most {
            return Err(format!(
                "at most {most} swaps were made, and the counter is at {value}: some were applied twice"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client whose appends met these fates.
    fn ledger(fates: &[Fate]) -> Ledger {
        let mut ledger = Ledger::new(7);
        for &fate in fates {
            assert_eq!(ledger.next_append().key, "client-7-0");
            ledger.append_was(fate);
        }
        ledger
    }

    fn judged(fates: &[Fate], value: &str) -> Result<(), String> {
        ledger(fates).page().check(Some(value.as_bytes()))
    }

    const DONE: Fate = Ok(true);
    const IN_DOUBT: Fate = Err(true);
    const NOT_DONE: Fate = Err(false);

    #[test]
    fn every_acknowledged_write_must_be_there_once_and_in_order() {
        let all = [DONE, DONE, DONE];
        assert_eq!(judged(&all, "1 2 3 "), Ok(()));
        for (value, words) in [
            (
                "1 3 ",
                "write 2 to client-7-0 was acknowledged, and is lost",
            ),
            ("1 2 2 3 ", "write 2 to client-7-0 was applied twice"),
            ("1 3 2 ", "another order"),
            ("1 2 3 4 ", "holds \"4\", which nobody wrote"),
            ("", "is lost"),
        ] {
            let error = judged(&all, value).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        assert!(ledger(&all).page().check(None).is_err());
    }

    #[test]
    fn a_write_in_doubt_may_be_there_once_and_late_or_not_at_all() {
        let fates = [DONE, IN_DOUBT, DONE];
        for value in ["1 3 ", "1 2 3 ", "1 3 2 "] {
            assert_eq!(judged(&fates, value), Ok(()));
        }
        assert!(judged(&fates, "1 2 3 2 ").unwrap_err().contains("twice"));
        assert!(
            judged(&[DONE, NOT_DONE], "1 2 ")
                .unwrap_err()
                .contains("nobody wrote")
        );
    }

    #[test]
    fn a_value_stays_short() {
        let mut ledger = Ledger::new(u64::MAX);
        let mut lengths = std::collections::BTreeMap::new();
        for _ in 0..10_000 {
            let Append { key, value } = ledger.next_append();
            *lengths.entry(key).or_insert(0) += value.len();
            ledger.append_was(DONE);
        }
        assert_eq!(lengths.len(), ledger.pages().len());
        assert!(lengths.values().all(|&length| length < 1000));
        let all: u64 = ledger.pages().iter().map(Page::acknowledged).sum();
        assert_eq!(all, 10_000);
    }

    #[test]
    fn the_counter_stands_at_what_was_acknowledged_or_in_doubt() {
        let mut counter = Counter::default();
        for fate in [DONE, DONE, IN_DOUBT, Ok(false), NOT_DONE] {
            counter.swap_was(fate);
        }
        let check = |value: &str| counter.check(Some(value.as_bytes()));
        assert_eq!([check("2"), check("3")], [Ok(()), Ok(())]);
        assert!(check("1").unwrap_err().contains("some are lost"));
        assert!(check("4").unwrap_err().contains("applied twice"));
        assert!(counter.check(None).is_err());
        assert_eq!(Counter::default().check(None), Ok(()));
        assert_eq!(Counter::step(None), (None, 1));
        assert_eq!(Counter::step(Some(9)), (Some("9".into()), 10));
    }
}
