//! Entries that are shared: the log's own, what a message carries and what a disk is given are the same ones.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, Range};
use std::sync::Arc;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::Entry;

/// Some entries, one after the other: a slice of them that is cheap to clone. A clone is the same entries in memory, for nobody changes
/// them; so what is proposed together is kept once, however many followers, disks and threads are handed it.
///
/// Make them `from` a vector, or by collecting. What is only a [part](Entries::part) keeps the whole in memory.
#[derive(Clone, Default)]
pub struct Entries {
    /// Nothing for none, so that a heartbeat takes nothing from the heap.
    all: Option<Arc<Vec<Entry>>>,
    /// Which of them.
    part: Range<usize>,
}

impl Entries {
    /// The most entries that are put together one by one. What is together goes together, when a snapshot takes the log's place.
    pub(super) const TOGETHER: usize = 1024;

    /// Those at these places, from 0.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn part(&self, range: Range<usize>) -> Entries {
        assert!(range.end <= self.len(), "a part of what is there");
        let (from, until) = (self.part.start + range.start, self.part.start + range.end);
        match range.is_empty() {
            true => Entries::default(),
            false => Entries {
                all: self.all.clone(),
                part: from..until,
            },
        }
    }

    /// Adds an entry, unless others share these, or they are many: then it is given back.
    pub(super) fn push(&mut self, entry: Entry) -> Option<Entry> {
        match self.all.as_mut().and_then(Arc::get_mut) {
            Some(all) if self.part.end == all.len() && all.len() < Entries::TOGETHER => {
                all.push(entry);
                self.part.end += 1;
                None
            }
            _ => Some(entry),
        }
    }
}

impl Deref for Entries {
    type Target = [Entry];

    fn deref(&self) -> &[Entry] {
        self.all.as_ref().map_or(&[], |all| &all[self.part.clone()])
    }
}

impl From<Vec<Entry>> for Entries {
    fn from(mut all: Vec<Entry>) -> Entries {
        // They may stay for long.
        all.shrink_to_fit();
        let part = 0..all.len();
        let all = Some(all).filter(|all| !all.is_empty()).map(Arc::new);
        Entries { all, part }
    }
}

impl FromIterator<Entry> for Entries {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Entries {
        Vec::from_iter(entries).into()
    }
}

impl<'a> IntoIterator for &'a Entries {
    type Item = &'a Entry;
    type IntoIter = std::slice::Iter<'a, Entry>;

    fn into_iter(self) -> std::slice::Iter<'a, Entry> {
        self.iter()
    }
}

// Who shares them, and what else they are a part of, makes no difference.

impl PartialEq for Entries {
    fn eq(&self, other: &Entries) -> bool {
        **self == **other
    }
}

impl Eq for Entries {}

impl Hash for Entries {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl Serialize for Entries {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(to)
    }
}

/// Reads entries that somebody sent, however many he claims to send: nothing is reserved for those that are not there. (What serde makes
/// for a `Vec` reserves up to 1 MiB.)
impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Entries, D::Error> {
        struct Sent;

        impl<'de> Visitor<'de> for Sent {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("entries")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = all.next_element()? {
                    entries.push(entry);
                }
                Ok(entries.into())
            }
        }

        from.deserialize_seq(Sent)
    }
}
