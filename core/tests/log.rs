//! The log is the plain list that it looks like, however its entries came together; and what is handed out is shared.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use biglock::rules::Log;
use biglock::{Entries, Entry, Payload, Position, Term, Time, codec};
use bytes::Bytes;

fn entry(term: u64, number: u64) -> Entry {
    Entry {
        term: Term(term),
        time: Time::from_nanos(number),
        payload: Payload::Command(vec![7; number as usize % 5].into()),
    }
}

fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// What these take, in bytes.
fn size(entries: &[Entry]) -> usize {
    entries.iter().map(Entry::size).sum()
}

/// What a log is by definition.
#[derive(Default)]
struct Plain {
    before: Position,
    before_time: Time,
    entries: Vec<Entry>,
}

impl Plain {
    fn first(&self) -> u64 {
        self.before.index + 1
    }

    fn next(&self) -> u64 {
        self.first() + self.entries.len() as u64
    }

    fn at(&self, index: u64) -> Position {
        let at = index.checked_sub(self.first());
        let term = at.map_or(self.before.term, |at| self.entries[at as usize].term);
        Position { term, index }
    }

    /// The index after the last entry of which this holds.
    fn end_of(&self, holds: impl Fn(Term) -> bool) -> u64 {
        let many = self.entries.iter().take_while(|entry| holds(entry.term));
        self.first() + many.count() as u64
    }

    fn compare(&self, log: &Log, random: &mut fastrand::Rng) {
        assert_eq!(log.before(), self.before);
        assert_eq!(
            (log.first(), log.last()),
            (self.first(), self.at(self.next() - 1))
        );
        let all: Vec<(u64, &Entry)> = (self.first()..).zip(&self.entries).collect();
        assert_eq!(Vec::from_iter(log.iter()), all);
        assert_eq!(log.bytes(), size(&self.entries));
        for index in self.first().saturating_sub(2)..=self.next() + 1 {
            let here = all
                .iter()
                .find(|(i, _)| *i == index)
                .map(|(_, entry)| *entry);
            assert_eq!(log.get(index), here);
        }
        let term = Term(random.u64(..12));
        assert_eq!(log.first_of(term), self.end_of(|of| of < term));
        assert_eq!(log.last_of(term), self.at(self.end_of(|of| of <= term) - 1));

        let first = random.u64(self.first()..=self.next());
        let last = random.u64(first - 1..=self.next());
        let bytes = random.usize(..400);
        let mut expected = Vec::new();
        for (_, entry) in all
            .iter()
            .filter(|(index, _)| (first..=last).contains(index))
        {
            if !expected.is_empty() && size(&expected) + entry.size() > bytes {
                break;
            }
            expected.push((*entry).clone());
        }
        assert_eq!(*log.share_until(first, last, bytes), *expected);

        // Put together in another way, and yet the same.
        let mut other = Log::after(self.before, self.before_time);
        self.entries
            .iter()
            .for_each(|entry| other.push(entry.clone()));
        assert_eq!((&other, hash(&other)), (log, hash(log)));
        other.push(entry(99, 0));
        assert_ne!((&other, hash(&other)), (log, hash(log)));
    }
}

#[test]
fn a_log_is_a_list() {
    for seed in 0..100 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut log, mut plain, mut term) = (Log::new(), Plain::default(), 0);
        // Somebody who shares what is in it, now and then.
        let mut shared = Vec::new();
        for number in 0..60 {
            match random.u8(..7) {
                0 => shared.clear(),
                1 => shared.push((
                    log.clone(),
                    Vec::from_iter(log.iter().map(|(_, e)| e.clone())),
                )),
                2 => {
                    let index = random.u64(plain.first()..=plain.next());
                    log.truncate_from(index);
                    plain.entries.truncate((index - plain.first()) as usize);
                }
                3 => {
                    let index = random.u64(plain.before.index..plain.next());
                    log.compact_to(index);
                    plain
                        .entries
                        .drain(..(index - plain.before.index) as usize)
                        .for_each(|gone| {
                            plain.before = Position {
                                term: gone.term,
                                index: plain.before.index + 1,
                            };
                            plain.before_time = gone.time;
                        });
                }
                kind => {
                    term += random.u64(..2);
                    let many = random.u64(1..=20);
                    let new = Vec::from_iter((0..many).map(|i| entry(term, number + i)));
                    plain.entries.extend(new.clone());
                    match kind {
                        4 => new.into_iter().for_each(|entry| log.push(entry)),
                        _ => log.append(new.into()),
                    }
                }
            }
            plain.compare(&log, &mut random);
        }
        // Nobody's share has changed.
        for (log, then) in shared {
            assert_eq!(Vec::from_iter(log.iter().map(|(_, e)| e.clone())), then);
        }
    }
}

/// What came together is handed out without a copy, and what did not is copied.
#[test]
fn what_came_together_is_shared() {
    let run = |many| Entries::from_iter((0..many).map(|number| entry(1, number)));
    let mut log = Log::new();
    log.append(run(20));
    log.append(run(20));
    let place = |index| std::ptr::from_ref(log.get(index).unwrap());
    assert_eq!(log.share(1, usize::MAX).len(), 40);
    assert_eq!(log.share_until(3, 20, usize::MAX).as_ptr(), place(3));
    assert_eq!(log.share(25, usize::MAX).as_ptr(), place(25));
    assert_ne!(log.share_until(20, 21, usize::MAX).as_ptr(), place(20));
}

/// What a snapshot has replaced does not stay in memory because of what followed it.
#[test]
fn what_has_gone_is_freed() {
    struct Owner(Arc<()>);

    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            let Owner(_alive) = self;
            b"command"
        }
    }

    let alive = Arc::new(());
    // Also what a disk brought all at once.
    let loaded = (0..10_000).map(|_| Entry {
        payload: Payload::Command(Bytes::from_owner(Owner(alive.clone()))),
        ..entry(1, 0)
    });
    let mut log = Log::from_iter(loaded);
    log.compact_to(9_990);
    let kept = Arc::strong_count(&alive);
    assert!(kept < 2_000, "what has gone is freed, and {kept} are kept");
    drop(log);

    let mut log = Log::new();
    for index in 1_u64..5_000 {
        log.push(Entry {
            payload: Payload::Command(Bytes::from_owner(Owner(alive.clone()))),
            ..entry(1, 0)
        });
        log.compact_to(index.saturating_sub(10));
        assert!(Arc::strong_count(&alive) < 2_000, "at {index}");
    }
}

/// A message is what it was before entries were shared: a length, and the entries.
#[test]
fn they_are_written_as_a_list() {
    let all = Vec::from_iter((0..9).map(|number| entry(1, number)));
    let shared = Entries::from(all.clone());
    assert_eq!(codec::encode(&shared), codec::encode(&all));
    assert_eq!(
        codec::encode(&shared.part(2..5)),
        codec::encode(&all[2..5].to_vec())
    );
    assert_eq!(codec::decode::<Entries>(&codec::encode(&all)), Ok(shared));
}

/// Who shares entries, and what else they are a part of, makes no difference: what they are does.
#[test]
fn entries_are_compared_by_what_they_are() {
    let all: Entries = (1..=3).map(|number| entry(1, number)).collect();
    let same: Entries = vec![entry(1, 2), entry(1, 3)].into();
    let part = all.part(1..3);
    assert_eq!(part, same);
    assert_eq!(hash(&part), hash(&same));
    assert_ne!(all.part(0..2), same);
    assert_ne!(hash(&all.part(0..2)), hash(&same));
    assert_eq!(format!("{part:?}"), format!("{:?}", &same[..]));
    assert!(format!("{part:?}").contains("Command"));
}

#[test]
fn what_is_no_list_is_no_entries() {
    use serde::Deserialize;
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, U64Deserializer};
    let number: U64Deserializer<Error> = 7_u64.into_deserializer();
    let wrong = Entries::deserialize(number).unwrap_err().to_string();
    assert!(wrong.contains("expected entries"), "{wrong}");
}

/// However its entries came together; but not if one of them is another, or if it begins elsewhere.
#[test]
fn logs_are_compared_by_what_they_are() {
    let log = |numbers: &[u64]| -> Log { numbers.iter().map(|&n| entry(1, n)).collect() };
    let mut one_by_one = Log::new();
    for number in 1..=20 {
        one_by_one.push(entry(1, number));
    }
    let numbers: Vec<u64> = (1..=20).collect();
    let together = log(&numbers);
    assert_eq!(one_by_one, together);
    assert_eq!(hash(&one_by_one), hash(&together));

    let mut other = numbers.clone();
    other[7] = 99;
    let mut compacted = together.clone();
    compacted.compact_to(1);
    let after = |index| {
        let term = Term(1);
        Log::after(Position { term, index }, Time::ZERO)
    };
    for (one, two) in [
        (log(&other), &together),
        (log(&numbers[..19]), &together),
        (compacted, &together),
        (after(7), &after(8)),
        (
            Log::after(after(7).before(), Time::from_nanos(1)),
            &after(7),
        ),
    ] {
        assert_ne!(&one, two);
        assert_ne!(hash(&one), hash(two));
    }
}
