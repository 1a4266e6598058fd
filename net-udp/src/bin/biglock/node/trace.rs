//! `--trace`: what each critical section leaves behind, as a line of JSON in a file, for `cargo verify --trace`.
//!
//! With the lock held, a note is taken: a few numbers are copied, and new entries counted as shared. A thread of its own makes lines of the
//! notes and writes them. It flushes when no note waits, so a process that is killed loses the last moments alone.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::Context;
use biglock::lock::{Observer, Step};
use biglock::node::{Note, Record, Recorder, Shared};
use crossbeam_channel::{Receiver, Sender};

/// The thread that writes the records, and the way to it. The channel has no bound, so that a slow disk holds up no node.
pub struct Trace {
    notes: Sender<Option<Note>>,
    writer: JoinHandle<io::Result<()>>,
}

impl Trace {
    /// Opens the file, at its end: each start of the node adds to it.
    pub fn start(path: &Path) -> anyhow::Result<Trace> {
        let file =
            open(path).with_context(|| format!("cannot write the trace to {}", path.display()))?;
        let (notes, noted) = crossbeam_channel::unbounded();
        let writer = thread::Builder::new()
            .name("trace".into())
            .spawn(move || write(file, &noted))
            .context("the system gave no thread")?;
        Ok(Trace { notes, writer })
    }

    /// Who is to watch the node's lock.
    pub fn observer(&self) -> Arc<dyn Observer<Shared>> {
        Arc::new(Tap {
            recorder: Mutex::default(),
            notes: self.notes.clone(),
        })
    }

    /// Returns when all is written.
    pub fn finish(self) -> anyhow::Result<()> {
        let _ = self.notes.send(None);
        let written = self
            .writer
            .join()
            .ok()
            .context("the trace's writer panicked")?;
        written.context("the trace could not be written to its end")
    }
}

/// Takes the notes.
struct Tap {
    /// Whoever asks for it holds the big lock, so nobody waits for it.
    recorder: Mutex<Recorder>,
    notes: Sender<Option<Note>>,
}

impl Observer<Shared> for Tap {
    fn observe(
        &self,
        thread: &'static str,
        section: &'static str,
        step: Step,
        state: Option<&Shared>,
    ) {
        let Some(state) = state else {
            return;
        };
        let mut recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        // The first of all finds what was loaded; from then on it counts what a section leaves behind.
        if recorder.is_new() || matches!(step, Step::Waits(_) | Step::Left(_)) {
            let stopped = state.stopped().is_some();
            let note = recorder.note(thread, section, &state.raft, stopped);
            let _ = self.notes.send(Some(note));
        }
    }
}

/// Opens a file to add to it, on a new line: a process that was killed may have left half of one.
fn open(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(path)?;
    if file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

fn write(file: File, noted: &Receiver<Option<Note>>) -> io::Result<()> {
    let mut file = BufWriter::new(file);
    while let Ok(Some(note)) = noted.recv() {
        serde_json::to_writer(&mut file, &Record::from(&note))?;
        file.write_all(b"\n")?;
        if noted.is_empty() {
            file.flush()?;
        }
    }
    file.flush()
}
