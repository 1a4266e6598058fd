//! The program `biglock`, from outside: real processes, signals, files.
