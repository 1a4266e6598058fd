//! A run of the program that no failing test leaves behind.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// Longer than anything here takes on a machine that does something else too; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running program.
pub struct Program {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

/// How a program ended, and what it wrote that nobody had read before.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// The program, to be told more.
pub fn biglock(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_biglock"));
    command.args(args).env_remove("RUST_LOG");
    command
}

impl Program {
    pub fn start(command: &mut Command) -> Program {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stdout = lines_of(child.stdout.take().expect("piped"));
        let stderr = lines_of(child.stderr.take().expect("piped"));
        Program {
            child,
            stdout,
            stderr,
        }
    }

    /// The next line of standard output that contains all of this.
    pub fn line(&self, words: &[&str]) -> String {
        find(&self.stdout, words)
    }

    /// The next line of standard error that contains all of this.
    pub fn error_line(&self, words: &[&str]) -> String {
        find(&self.stderr, words)
    }

    /// What standard error says before the next line that contains all of this.
    pub fn error_lines_until(&self, words: &[&str]) -> Vec<String> {
        find_after(&self.stderr, words).0
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.child.id(), signal);
    }

    pub fn close_stdin(&mut self) {
        self.child.stdin = None;
    }

    /// Waits until it ends by itself.
    pub fn ended(mut self) -> Ended {
        // Both pipes end when the process does, so waiting for it afterwards takes no time.
        let stdout = rest(&self.stdout);
        let stderr = rest(&self.stderr);
        let status = self.child.wait().expect("it can be waited for");
        Ended {
            status,
            stdout,
            stderr,
        }
    }
}

impl Ended {
    /// It must have failed, with the status of an error, and said so in these words.
    pub fn failed_with(&self, words: &[&str]) {
        assert_eq!(self.status.code(), Some(1), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in {self:?}");
        }
    }

    /// It must have refused its arguments, in these words.
    pub fn misused(&self, words: &[&str]) {
        assert_eq!(self.status.code(), Some(2), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in {self:?}");
        }
    }

    /// It must have ended well.
    pub fn succeeded(&self) {
        assert!(self.status.success(), "{self:?}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the program to its end.
pub fn run(args: &[&str]) -> Ended {
    Program::start(&mut biglock(args)).ended()
}

pub fn kill(pid: u32, signal: Signal) {
    kill_process(name(pid), signal).expect("the process is there");
}

/// Waits until none of these processes runs any more.
pub fn all_gone(pids: &[u32]) {
    until(|| !pids.iter().any(|&pid| runs(pid)));
}

/// Asks again and again until it is so: for what nobody tells.
#[track_caller]
pub fn until(mut so: impl FnMut() -> bool) {
    let tick = crossbeam_channel::tick(Duration::from_millis(10));
    let late = crossbeam_channel::after(PATIENCE);
    while !so() {
        let tired = crossbeam_channel::select! {
            recv(tick) -> _ => false,
            recv(late) -> _ => true,
        };
        assert!(!tired, "it was not so within {PATIENCE:?}");
    }
}

/// Whether it runs: what has ended but was not yet reaped by whoever inherited it does not.
fn runs(pid: u32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => !stat.contains(") Z "),
        Err(_) => test_kill_process(name(pid)).is_ok(),
    }
}

fn name(pid: u32) -> Pid {
    let pid = i32::try_from(pid).ok();
    pid.and_then(Pid::from_raw).expect("a process number")
}

fn lines_of(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (send, lines): (Sender<String>, _) = crossbeam_channel::unbounded();
    thread::Builder::new()
        .spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        })
        .expect("the system gives threads");
    lines
}

fn find(lines: &Receiver<String>, words: &[&str]) -> String {
    find_after(lines, words).1
}

/// The next line that contains all of this, and those that come before it.
fn find_after(lines: &Receiver<String>, words: &[&str]) -> (Vec<String>, String) {
    let late = crossbeam_channel::after(PATIENCE);
    let mut before = Vec::new();
    loop {
        crossbeam_channel::select! {
            recv(lines) -> line => match line {
                Ok(line) if words.iter().all(|word| line.contains(word)) => return (before, line),
                Ok(line) => before.push(line),
                Err(_) => panic!("it ended without {words:?}, after {before:#?}"),
            },
            recv(late) -> _ => panic!("waited for {words:?}, in vain, after {before:#?}"),
        }
    }
}

fn rest(lines: &Receiver<String>) -> String {
    let mut text = String::new();
    loop {
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => text += &(line + "\n"),
            Err(RecvTimeoutError::Disconnected) => return text,
            Err(RecvTimeoutError::Timeout) => panic!("it does not end; it wrote {text}"),
        }
    }
}
