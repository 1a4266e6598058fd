//! Datagrams that nobody should send.

use biglock_udp::codec::{HEADER, SAFE_DATAGRAM};
use fastrand::Rng;

/// Makes up a datagram: noise, noise behind a good header, or a valid one that was damaged in one or several ways.
pub fn invent(rng: &mut Rng, valid: &[Vec<u8>], bytes: &mut Vec<u8>) {
    bytes.clear();
    match rng.u8(..16) {
        0 => noise(rng, 2 * SAFE_DATAGRAM, bytes),
        1 | 2 => noise(rng, 100, bytes),
        3 | 4 => {
            let header = &valid[rng.usize(..valid.len())][..HEADER];
            bytes.extend(header);
            noise(rng, 80, bytes);
        }
        damages => {
            bytes.extend(&valid[rng.usize(..valid.len())]);
            for _ in 0..damages / 4 {
                damage(rng, valid, bytes);
            }
        }
    }
}

fn noise(rng: &mut Rng, longest: usize, bytes: &mut Vec<u8>) {
    for _ in 0..rng.usize(..longest) / 8 {
        bytes.extend(rng.u64(..).to_ne_bytes());
    }
    bytes.truncate(bytes.len() - rng.usize(..8).min(bytes.len()));
}

fn damage(rng: &mut Rng, valid: &[Vec<u8>], bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let at = rng.usize(..bytes.len());
    match rng.u8(..8) {
        0 => bytes[at] ^= 1 << rng.u8(..8),
        1 => bytes[at] = rng.u8(..),
        2 => bytes.truncate(at),
        3 => noise(rng, 40, bytes),
        4 => {
            bytes.remove(at);
        }
        5 => bytes.insert(at, rng.u8(..)),
        6 => {
            let other = &valid[rng.usize(..valid.len())];
            bytes.truncate(at);
            bytes.extend(&other[at.min(other.len())..]);
        }
        _ => {
            // The numbers at which lengths, tags and ids go wrong.
            let number = [0, 1, 2, 5, 255, 1 << 20, 1 << 32, 1 << 60, u64::MAX];
            let number = number[rng.usize(..number.len())].to_be_bytes();
            let end = bytes.len().min(at + 8);
            bytes[at..end].copy_from_slice(&number[..end - at]);
        }
    }
}
