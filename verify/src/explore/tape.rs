//! Names for states: 128 bits for a value, the same however its nodes are called.
//!
//! `Raft` keeps its fields to itself, but it says all of them to a `Hasher`. So a hasher of ours listens, and knows three kinds of
//! number by where they lie: nodes are called [`FIRST_NODE`] and up, moments are later than [`NOW`] less an hour, and everything else is
//! small. It can then fold the same value for every renaming of the nodes.
//!
//! Maps and sets whose keys are nodes are said in the order of their keys, which a renaming changes. They are known by their length,
//! followed by a node, and their elements are summed, so that their order plays no part. Nothing is lost by that: the elements name
//! their keys, and the keys' order is theirs. Where an element ends is read from what it is; should that be read wrong, two values that are
//! alike get different names, which costs states and hides none.

use std::hash::{Hash, Hasher};
use std::ops::Range;

use biglock::Time;

/// What the first node is called. Small numbers are terms and indexes.
pub const FIRST_NODE: u64 = 101;
/// How many nodes there may be.
pub const MAX_NODES: usize = 5;

const BEGINNING: u64 = 1 << 60;
/// When almost everything happens.
pub const NOW: Time = Time::from_nanos(BEGINNING + 3_600_000_000_000);
/// The shortest and the longest election timeout, in milliseconds.
pub const TIMEOUT: (u64, u64) = (150, 300);
/// A moment when whatever was stamped at [`NOW`] is long ago: no leader is heard any more, no majority, and a transfer is given up.
pub const LATE: Time = Time::from_nanos(NOW.as_nanos() + TIMEOUT.1 * 1_000_000);

/// A renaming: the n-th node is called like the `self[n]`-th.
pub type Renaming = [u8; MAX_NODES];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    /// A `u64`: a term, an index, a node, a moment.
    Number(u64),
    /// A `usize`: mostly a length.
    Length(u64),
    /// An `isize`: which variant of an enum.
    Variant(u64),
    /// Anything else.
    Other(u64),
}

/// What a value says to a hasher.
#[derive(Default)]
pub struct Tape(Vec<Token>);

impl Hasher for Tape {
    fn write(&mut self, bytes: &[u8]) {
        for eight in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..eight.len()].copy_from_slice(eight);
            self.0.push(Token::Other(u64::from_le_bytes(word)));
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.0.push(Token::Other(n.into()));
    }

    fn write_u16(&mut self, n: u16) {
        self.0.push(Token::Other(n.into()));
    }

    fn write_u32(&mut self, n: u32) {
        self.0.push(Token::Other(n.into()));
    }

    fn write_u64(&mut self, n: u64) {
        self.0.push(Token::Number(n));
    }

    fn write_usize(&mut self, n: usize) {
        self.0.push(Token::Length(n as u64));
    }

    fn write_isize(&mut self, n: isize) {
        self.0.push(Token::Variant(n.cast_unsigned() as u64));
    }

    fn finish(&self) -> u64 {
        self.name(&IDENTITY) as u64
    }
}

/// Everybody keeps his name.
pub const IDENTITY: Renaming = [0, 1, 2, 3, 4];

/// The value's names under all of these renamings.
pub fn names(value: &impl Hash, renamings: &[Renaming]) -> Vec<u128> {
    let mut tape = Tape::default();
    value.hash(&mut tape);
    tape.names(renamings)
}

impl Tape {
    /// What was said last was a `Raft` with nothing left to write and nothing to send. Writes are numbered, and the numbers are only compared
    /// with each other: if the last of `latest` writes is durable, and none is under way, the next history is the same as after none.
    pub fn forget_writes(&mut self, latest: u64) {
        let begin = self.0.len().saturating_sub(9);
        if let [
            Token::Number(all),
            hard @ Token::Number(_),
            Token::Number(durable),
            Token::Variant(0),
            Token::Variant(0),
            snapshot @ Token::Number(_),
            Token::Other(0),
            Token::Number(_),
            Token::Length(0),
        ] = &mut self.0[begin..]
            && *all == latest
            && *durable == latest
        {
            (*all, *durable) = (0, 0);
            (*hard, *snapshot) = (Token::Number(0), Token::Number(0));
        }
    }

    /// The names of what was said, under all of these renamings.
    pub fn names(&self, renamings: &[Renaming]) -> Vec<u128> {
        renamings.iter().map(|to| self.name(to)).collect()
    }

    fn name(&self, to: &Renaming) -> u128 {
        finish(self.fold(0..self.0.len(), to))
    }

    /// What is said here, folded: maps and sets of nodes as sums, also those within the elements of others.
    fn fold(&self, said: Range<usize>, to: &Renaming) -> u128 {
        let (mut name, mut at) = (SEED, said.start);
        while at < said.end {
            let token = self.0[at];
            name = stir(name, token, to);
            at += 1;
            if let Token::Length(many @ 1..) = token
                && self.is_node(at)
            {
                // A set's elements are nodes alone, whatever follows the last of them.
                let set = many > 1 && self.is_node(at + 1);
                let mut sum = 0_u128;
                for nth in 1..=many {
                    let end = match self.end_of(at) {
                        _ if set => at + 1,
                        end if nth == many || self.is_node(end) => end.min(said.end),
                        _ => self.next_node(at),
                    };
                    sum = sum.wrapping_add(finish(self.fold(at..end, to)));
                    at = end;
                }
                name = mix(name, sum);
            }
        }
        name
    }

    fn is_node(&self, at: usize) -> bool {
        matches!(self.0.get(at), Some(&Token::Number(n)) if is_node(n))
    }

    fn next_node(&self, at: usize) -> usize {
        let later = at + 1..self.0.len();
        later.into_iter().find(|&at| self.is_node(at)).unwrap_or(at)
    }

    /// Where the element ends whose key is at `at`: it is a node alone, a refusal, a member or a follower.
    fn end_of(&self, at: usize) -> usize {
        let tokens = self.0.get(at + 1..).unwrap_or_default();
        let after = match tokens {
            [Token::Variant(_), ..] => 1,
            // A member: whether it votes, and an address that is empty.
            [Token::Other(_), ..] => 2,
            // A follower: what it has, when it was heard, a round and when that was sent, what it was told, and how entries are sent to it.
            [next, matched, heard, _, _, _, sending @ ..]
                if is_small(*next) && is_small(*matched) && is_moment(*heard) =>
            {
                6 + match sending {
                    [Token::Variant(0), ..] => 2,
                    [Token::Variant(1), Token::Length(in_flight), ..] => 2 + *in_flight as usize,
                    _ => 1 + self.snapshot_sent(at + 8),
                }
            }
            _ => 0,
        };
        (at + 1 + after).min(self.0.len())
    }

    /// How much is said of a snapshot that is sent, and of how far that came: its last entry, a moment, the members, bytes; then how much has
    /// arrived, how much was sent, if any, and two more.
    fn snapshot_sent(&self, begin: usize) -> usize {
        let mut at = begin + 4;
        while self.is_node(at) {
            at = self.end_of(at);
        }
        if let Some(&Token::Length(bytes)) = self.0.get(at) {
            at += 1 + (bytes as usize).div_ceil(8);
        }
        let sent = match self.0.get(at + 1) {
            Some(Token::Variant(1)) => 2,
            _ => 1,
        };
        at + 1 + sent + 2 - begin
    }
}

fn is_node(n: u64) -> bool {
    (FIRST_NODE..FIRST_NODE + MAX_NODES as u64).contains(&n)
}

fn is_small(token: Token) -> bool {
    matches!(token, Token::Number(n) if !is_node(n) && n < BEGINNING)
}

fn is_moment(token: Token) -> bool {
    matches!(token, Token::Number(n) if n >= BEGINNING)
}

const SEED: u128 = 0x6a09_e667_f3bc_c908_bb67_ae85_84ca_a73b;
const ODD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

fn mix(name: u128, word: u128) -> u128 {
    let name = (name ^ word).wrapping_mul(ODD);
    (name ^ (name >> 67)).rotate_left(41)
}

/// The last stirring. Names are summed, so what two values have almost in common must not show in the difference of their names.
fn finish(name: u128) -> u128 {
    (0..3).fold(name, |name, round| {
        let name = mix(name ^ (name >> 64), SEED >> round);
        name ^ (name >> 59)
    })
}

fn stir(name: u128, token: Token, to: &Renaming) -> u128 {
    let (kind, word) = match token {
        Token::Number(n) if is_node(n) => {
            let nth = (n - FIRST_NODE) as usize;
            (1, FIRST_NODE + u64::from(to[nth]))
        }
        Token::Number(n) if n >= BEGINNING => (1, moment(n)),
        Token::Number(n) => (1, n),
        Token::Length(n) => (2, n),
        Token::Variant(n) => (3, n),
        Token::Other(n) => (4, n),
    };
    mix(name, u128::from(word) | kind << 64)
}

/// When a node campaigns unless it hears something: it may at any moment, so all such moments are one.
fn moment(n: u64) -> u64 {
    let deadline = |since: Time| {
        let from = since.as_nanos() + TIMEOUT.0 * 1_000_000;
        (from..from + 1_000_000).contains(&n)
    };
    if deadline(NOW) || deadline(LATE) {
        return BEGINNING;
    }
    n
}
