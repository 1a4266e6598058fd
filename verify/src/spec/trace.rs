//! Records of a real cluster, as `biglock node --trace FILE` writes them: a file a node, a line a critical section.
//!
//! The files have no clock in common. What a file says is in order; between files there is only cause and effect: a vote that is counted was
//! given before, an entry that a follower has was made by the leader before, and so on. So the check looks for *one* order of all records
//! that keeps the order of each file and in which every record is a step that the specification allows. Since ghosts only
//! grow, taking whichever record can be taken finds such an order if there is one. If there is none, the cluster broke a rule, in whatever
//! order things happened. If there is one, no more is concluded than that: what happened may have been another.
//!
//! A node that was killed wrote nothing about its last moments, a node without a file nothing at all, and one whose file begins late, with a store that
//! is not empty, nothing about what it did before. What only such a node can have done is assumed, when nothing else explains a record, and counted.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use biglock::node::{Record, START};
use biglock::{HardState, NodeId, Position};

use super::{Action, Cluster, Refused};
use crate::report::many;

/// What was found in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many records there were.
    pub records: u64,
    /// How many of them are visible in the specification.
    pub steps: u64,
    /// How often each action was taken, by its name.
    pub actions: BTreeMap<String, u64>,
    /// How many lives of nodes end without a last word.
    pub cut_short: u64,
    /// How many records are explained only by what a node did of which there is no record.
    pub assumed: u64,
    /// Each file that begins when its node had already run, and with what.
    pub late: Vec<String>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}, {} of which change something that the specification sees:",
            many(self.records, "record"),
            self.steps
        )?;
        for (action, times) in &self.actions {
            writeln!(f, "  {times:>8}  {action}")?;
        }
        write!(
            f,
            "Every record is a step that the specification allows. {} ended without a last word; {} needed something from them, \
             or from nodes without a file.",
            match self.cut_short {
                1 => "1 life".into(),
                lives => format!("{lives} lives"),
            },
            many(self.assumed, "record")
        )?;
        for late in &self.late {
            write!(
                f,
                "\n{late} What it did before is assumed, where something needs it. {EACH_RUN}"
            )?;
        }
        Ok(())
    }
}

/// What to do if not all is there.
const EACH_RUN: &str = "To have all of it checked, start every node with `--trace` each time, from its empty store on.";

/// What is wrong with the traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// A file is no trace, or not a whole one: nothing was checked.
    File(String),
    /// A rule was broken: which, and where.
    Rule(String),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Wrong::File(why) | Wrong::Rule(why)) = self;
        f.write_str(why)
    }
}

/// One node's records that were not yet taken.
struct Stream {
    file: PathBuf,
    records: VecDeque<(usize, Record)>,
    /// Whether its last record says that the node stopped.
    stopped: bool,
    silent: bool,
}

impl Stream {
    /// If its first record finds something on the disk, the node had run before: in a sentence.
    fn late(&self) -> Option<String> {
        let (_, Record { node, now, .. }) = self.records.front()?;
        let (term, last) = (now.hard_state.term, now.last());
        let is_new = now.hard_state == HardState::default() && last == Position::default();
        (!is_new).then(|| {
            format!(
                "{} does not begin with the first start of {node}, which comes back there in {term}, with entries up to {}.",
                self.file.display(),
                last.index
            )
        })
    }
}

/// Checks the files of one cluster, one of each node.
///
/// # Errors
/// What is wrong with a file, or which rule is broken and where.
pub fn check_files(paths: &[PathBuf]) -> Result<Summary, Wrong> {
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).map_err(|e| match e.kind() {
            ErrorKind::InvalidData => no_trace(path, "it is no text"),
            _ => format!("{}: {e}", path.display()),
        })?;
        Ok((path.clone(), text))
    };
    let files: Vec<(PathBuf, String)> = paths
        .iter()
        .map(read)
        .collect::<Result<_, String>>()
        .map_err(Wrong::File)?;
    check(&files)
}

/// Checks the contents of such files.
///
/// # Errors
/// As [`check_files`].
pub fn check(files: &[(PathBuf, String)]) -> Result<Summary, Wrong> {
    let mut streams = BTreeMap::new();
    for (path, text) in files {
        let (node, stream) = parse(path, text).map_err(Wrong::File)?;
        if streams.insert(node, stream).is_some() {
            let why = format!("{}: there is another file of {node}", path.display());
            return Err(Wrong::File(why));
        }
    }
    let voters = streams.values().flat_map(|s| &s.records);
    let mut voters = voters.flat_map(|(_, record)| &record.now.voters);
    let mut cluster = Cluster::new();
    if voters.any(|voter| !streams.contains_key(voter)) {
        cluster.has_strangers();
    }
    Merge {
        cluster,
        streams,
        summary: Summary::default(),
    }
    .run()
    .map_err(Wrong::Rule)
}

fn no_trace(path: &Path, why: &str) -> String {
    format!(
        "{} is no trace, as `biglock node --trace` writes it: {why}",
        path.display()
    )
}

fn parse(path: &Path, text: &str) -> Result<(NodeId, Stream), String> {
    let wrong = |line: usize, what: String| format!("{}:{line}: {what}", path.display());
    let mut records: VecDeque<(usize, Record)> = VecDeque::new();
    // A line that was cut short, by a kill.
    let mut broken = None;
    let lines = (1..).zip(text.lines());
    for (line, text) in lines.filter(|(_, text)| !text.trim().is_empty()) {
        match serde_json::from_str::<Record>(text) {
            Ok(record) => {
                if let Some((line, what)) = broken.take()
                    && record.section != START
                {
                    return Err(wrong(line, what));
                }
                records.push_back((line, record));
            }
            Err(e) if broken.is_none() => broken = Some((line, format!("is no record: {e}"))),
            Err(_) if records.is_empty() => break,
            Err(e) => return Err(wrong(line, format!("is no record: {e}"))),
        }
    }
    let Some((line, first)) = records.front() else {
        let why = broken.map(|(line, what)| format!("line {line} {what}"));
        return Err(no_trace(path, why.as_deref().unwrap_or("it is empty")));
    };
    let node = first.node;
    if first.section != START {
        return Err(wrong(
            *line,
            "does not begin with the start of a node: give the file as the node wrote it".into(),
        ));
    }
    if let Some((line, other)) = records.iter().find(|(_, record)| record.node != node) {
        return Err(wrong(
            *line,
            format!("is of {}, and the file of {node}", other.node),
        ));
    }
    let stream = Stream {
        file: path.into(),
        records,
        stopped: false,
        silent: false,
    };
    Ok((node, stream))
}

struct Merge {
    cluster: Cluster,
    streams: BTreeMap<NodeId, Stream>,
    summary: Summary,
}

/// How it is with the next record of a file.
enum Next {
    Taken,
    None,
    Refused(Refused),
}

impl Merge {
    fn run(mut self) -> Result<Summary, String> {
        let nodes: Vec<NodeId> = self.streams.keys().copied().collect();
        // Everyone starts once before anything else: it takes nothing from the others.
        for &node in &nodes {
            let late = self.streams[&node].late();
            self.take(node)?;
            if late.is_some() {
                self.cluster.had_run_before(node);
                self.summary.late.extend(late);
            }
        }
        loop {
            let mut waiting = Vec::new();
            let mut moved = false;
            for &node in &nodes {
                loop {
                    match self.take(node)? {
                        Next::Taken => moved = true,
                        Next::None => break,
                        Next::Refused(why) => {
                            waiting.push((node, why));
                            break;
                        }
                    }
                }
            }
            if moved {
                continue;
            }
            if waiting.is_empty() {
                return Ok(self.summary);
            }
            if !self.assume(&waiting)? {
                return Err(self.stuck(&waiting));
            }
        }
    }

    /// Takes the next record of a node, if the specification explains it.
    fn take(&mut self, node: NodeId) -> Result<Next, String> {
        let stream = self.streams.get_mut(&node).expect("a stream of each node");
        let next = stream.records.front();
        let starts = next.is_none_or(|(_, record)| record.section == START);
        let lived = self.cluster.knows(node) && !stream.stopped;
        if starts && lived && !stream.silent {
            // It was killed, or its file ends here.
            stream.silent = true;
            self.cluster.falls_silent(node);
            self.summary.cut_short += 1;
        }
        let Some((line, record)) = next else {
            return Ok(Next::None);
        };
        match self.cluster.record(record) {
            Ok(actions) => {
                self.summary.records += 1;
                self.summary.steps += u64::from(!actions.is_empty());
                for action in actions {
                    *self.summary.actions.entry(name(action)).or_default() += 1;
                }
                stream.stopped = record.now.stopped;
                stream.silent = false;
                stream.records.pop_front();
                Ok(Next::Taken)
            }
            Err(why) if why.missing => Ok(Next::Refused(why)),
            Err(why) => {
                // A life of which there is no record leaves the same behind as a disk that makes something up.
                let or = match record.section == START {
                    true => format!(". Or it ran without a trace in between. {EACH_RUN}"),
                    false => String::new(),
                };
                Err(format!("{}:{line}: {why}{or}", stream.file.display()))
            }
        }
    }

    /// Explains one of the records that wait by what nobody recorded. Returns whether that was possible.
    fn assume(&mut self, waiting: &[(NodeId, Refused)]) -> Result<bool, String> {
        for (node, _) in waiting {
            self.cluster.assuming = true;
            let taken = self.take(*node);
            self.cluster.assuming = false;
            if let Next::Taken = taken? {
                self.summary.assumed += 1;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn stuck(&self, waiting: &[(NodeId, Refused)]) -> String {
        let mut text = String::from(
            "no order of the records explains them all; of these at least one has no cause in any file:",
        );
        for (node, why) in waiting {
            let stream = &self.streams[node];
            let line = stream.records.front().map_or(0, |(line, _)| *line);
            text += &format!("\n  {}:{line}: {why}", stream.file.display());
        }
        text + "\nOr a node did it while it ran without a trace. " + EACH_RUN
    }
}

pub(super) fn name(action: Action) -> String {
    let text = format!("{action:?}");
    let end = text.find('(').unwrap_or(text.len());
    text[..end].into()
}

#[cfg(test)]
mod tests {
    use biglock::node::Visible;
    use biglock::rules::RoleKind;

    use super::super::tests::{at, blank, mark, stand, vote};
    use super::*;

    fn said(text: &str) -> String {
        match check(&[("1.trace".into(), text.into())]) {
            Err(Wrong::File(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_no_trace_is_said_to_be_none() {
        for (text, why) in [
            ("", "it is empty"),
            ("\n  \n", "it is empty"),
            ("hello\n", "line 1 is no record"),
            ("\n# A page\n\nof text\n", "line 2 is no record"),
            ("{}\n{}\n", "line 1 is no record"),
        ] {
            let said = said(text);
            let words = "1.trace is no trace, as `biglock node --trace` writes it: ";
            assert!(said.starts_with(&(words.to_string() + why)), "{said}");
        }
    }

    /// The file of a node: of each life what it found at its start, and what each section leaves behind, with the entry that is new; then it stops.
    fn file(id: u64, lives: &[&[(Visible, Option<Position>)]]) -> (PathBuf, String) {
        let mut text = String::new();
        let mut write = |section: &str, now: &Visible, new: Option<Position>| {
            let record = Record {
                node: NodeId(id),
                thread: "receiver".into(),
                section: section.into(),
                now: now.clone(),
                entries: new.map(mark).into_iter().collect(),
            };
            text += &(serde_json::to_string(&record).unwrap() + "\n");
        };
        for life in lives {
            for (nth, (now, new)) in life.iter().enumerate() {
                write(if nth == 0 { START } else { "a section" }, now, *new);
            }
            let (last, _) = life.last().unwrap();
            write("stop", &changed(last, |now| now.stopped = true), None);
        }
        (format!("{id}.trace").into(), text)
    }

    fn changed(now: &Visible, change: impl FnOnce(&mut Visible)) -> Visible {
        let mut now = now.clone();
        change(&mut now);
        now
    }

    /// Node 1 leads term 1, and commits its first entry.
    fn leader() -> (PathBuf, String) {
        let entry = at(1, 1);
        let stands = changed(&blank(), stand(1, 1));
        let leads = changed(&stands, |now| {
            (now.role, now.log) = (RoleKind::Leader, vec![entry]);
        });
        let held = changed(&leads, |now| now.log_durable = 1);
        let commits = changed(&held, |now| now.commit = 1);
        let life = [
            (blank(), None),
            (stands, None),
            (leads, Some(entry)),
            (held, None),
            (commits, None),
        ];
        file(1, &[&life])
    }

    /// Node 2 voted for it and has the entry; and now it stands in term 2.
    fn follower() -> Visible {
        changed(&blank(), |now| {
            stand(2, 2)(now);
            (now.role, now.log, now.log_durable) = (RoleKind::Follower, vec![at(1, 1)], 1);
        })
    }

    #[test]
    fn a_file_that_begins_late_is_said_to_and_what_its_node_did_before_is_assumed() {
        let third = file(3, &[&[(blank(), None)]]);
        let late = follower();
        let entry = Some(at(1, 1));
        let second = file(2, &[&[(late.clone(), entry)]]);
        let found = check(&[leader(), second, third.clone()]).unwrap();
        assert_eq!(
            found.assumed, 2,
            "that node 1 leads, and that it commits: {found}"
        );
        let said = found.to_string();
        assert!(
            said.contains("2.trace does not begin with the first start of node 2, which comes back there in term 2, with entries up to 1."),
            "{said}"
        );
        assert!(said.ends_with(EACH_RUN), "{said}");

        // Of a node that was never started before, nothing is assumed.
        let second = file(2, &[&[(blank(), None)]]);
        let Err(Wrong::Rule(why)) = check(&[leader(), second, third]) else {
            panic!("nobody voted for node 1");
        };
        assert!(why.contains("with 1 of the 2 durable votes"), "{why}");
        assert!(why.ends_with(EACH_RUN), "{why}");

        // Nor of what came after the late beginning: node 3 leads term 3, and nobody voted for it.
        let follows = changed(&blank(), vote(2, None));
        let stands = changed(&follows, stand(3, 3));
        let leads = changed(&stands, |now| now.role = RoleKind::Leader);
        let third = file(
            3,
            &[&[
                (blank(), None),
                (follows, None),
                (stands, None),
                (leads, None),
            ]],
        );
        let second = file(2, &[&[(late, entry)]]);
        let Err(Wrong::Rule(why)) = check(&[leader(), second, third]) else {
            panic!("nobody voted for node 3");
        };
        assert!(why.contains("leads term 3 with 1 of the 2"), "{why}");
    }

    /// It stops, runs without a trace, and comes back with one: its disk has what no record tells.
    #[test]
    fn a_life_without_a_trace_is_named_as_a_reason() {
        let first = [(blank(), None)];
        let again = [(follower(), Some(at(1, 1)))];
        let files = [
            leader(),
            file(2, &[&first, &again]),
            file(3, &[&[(blank(), None)]]),
        ];
        let Err(Wrong::Rule(why)) = check(&files) else {
            panic!("it has a vote that it never gave");
        };
        let says = "2.trace:3: refinement: node 2 starts again in term 2 with a vote for";
        assert!(why.contains(says), "{why}");
        assert!(
            why.contains("Or it ran without a trace in between"),
            "{why}"
        );
    }

    #[test]
    fn one_is_not_said_in_the_plural() {
        let told = Summary {
            records: 1,
            cut_short: 1,
            assumed: 1,
            ..Summary::default()
        }
        .to_string();
        assert!(told.starts_with("1 record, 0 of which"), "{told}");
        assert!(told.contains("1 life ended"), "{told}");
        assert!(told.contains("1 record needed"), "{told}");
    }
}
