//! Tables that grow, of names alone and of numbers by number: open addressing, never iterated.

/// A set of 128-bit names.
#[derive(Default)]
pub struct Seen {
    slots: Vec<u128>,
    many: usize,
}

impl Seen {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.many
    }

    /// Whether this name is there.
    pub fn contains(&self, name: u128) -> bool {
        !self.slots.is_empty() && self.slots[self.slot(name)] == keep(name)
    }

    /// Adds it; false if it was there.
    pub fn insert(&mut self, name: u128) -> bool {
        // At most three quarters full.
        if self.many * 4 >= self.slots.len() * 3 {
            self.grow();
        }
        let slot = self.slot(name);
        let new = self.slots[slot] == 0;
        if new {
            self.slots[slot] = keep(name);
            self.many += 1;
        }
        new
    }

    fn slot(&self, name: u128) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = name as usize & mask;
        while self.slots[at] != 0 && self.slots[at] != keep(name) {
            at = (at + 1) & mask;
        }
        at
    }

    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(64);
        let old = std::mem::replace(&mut self.slots, vec![0; size]);
        for name in old.into_iter().filter(|&name| name != 0) {
            let slot = self.slot(name);
            self.slots[slot] = name;
        }
    }
}

/// Zero is an empty slot.
fn keep(name: u128) -> u128 {
    name.max(1)
}

/// Numbers by number.
#[derive(Default)]
pub struct Index {
    slots: Vec<(u64, u32)>,
    many: usize,
}

impl Index {
    /// What stands under this number.
    pub fn get(&self, key: u64) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let (kept, value) = self.slots[self.slot(key)];
        (kept != 0).then_some(value)
    }

    /// Puts it there.
    pub fn insert(&mut self, key: u64, value: u32) {
        if self.many * 4 >= self.slots.len() * 3 {
            let size = (self.slots.len() * 2).max(64);
            let old = std::mem::replace(&mut self.slots, vec![(0, 0); size]);
            for (kept, value) in old.into_iter().filter(|&(kept, _)| kept != 0) {
                let slot = self.slot(kept - 1);
                self.slots[slot] = (kept, value);
            }
        }
        let slot = self.slot(key);
        self.many += usize::from(self.slots[slot].0 == 0);
        self.slots[slot] = (key + 1, value);
    }

    fn slot(&self, key: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mixed = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut at = (mixed ^ (mixed >> 32)) as usize & mask;
        while self.slots[at].0 != 0 && self.slots[at].0 != key + 1 {
            at = (at + 1) & mask;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_new_once() {
        let mut seen = Seen::default();
        let names = (0..10_000_u128).map(|n| n * n * 977);
        assert!(names.clone().skip(2).all(|name| seen.insert(name)));
        assert!(
            names
                .clone()
                .skip(2)
                .all(|name| seen.contains(name) && !seen.insert(name))
        );
        assert_eq!(seen.len(), 9_998);
        assert!(!seen.contains(5));
    }

    #[test]
    fn a_number_stands_where_it_was_put() {
        let mut index = Index::default();
        assert_eq!(index.get(0), None);
        (0..10_000).for_each(|n| index.insert(n * 31, n as u32));
        assert!((0..10_000).all(|n| index.get(n * 31) == Some(n as u32)));
        assert_eq!(index.get(5), None);
    }
}
