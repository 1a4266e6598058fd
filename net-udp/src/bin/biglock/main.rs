//! The program `biglock`.
#![forbid(unsafe_code)]

fn main() {}
