//! The program `biglock`, from outside: real processes, signals and files, all on loopback and in temporary folders.

mod ask;
mod config;
mod demo;
mod node;
mod process;
mod trace;
