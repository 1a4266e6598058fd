//! Where an election's time goes: the one path, through all threads, on which a majority came to know the leader.

use std::path::Path;
use std::time::Duration;

use biglock::rules::{RoleKind, majority};

use crate::cluster::{Cluster, Setup};
use crate::stopwatch::Moment;
use crate::trace::{Event, Note, Trace};

/// The hops, in order. Each ends where the next begins.
pub const HOPS: [&str; 11] = [
    "deadline fires -> election thread has the lock",
    "it campaigns",
    "own vote: write, report -> requests leave",
    "wire: request -> the deciding voter has it",
    "voter decides",
    "voter's vote: write, report -> answer leaves",
    "wire: answer -> candidate has it",
    "candidate counts it: a majority",
    "broadcast -> election thread has the lock",
    "it becomes leader: (a)",
    "wire: announcement -> a majority knows: (b)",
];

/// Runs elections (without pre-vote) and gives the times of the hops, one row per election.
///
/// # Panics
/// If most of them can't be followed.
pub fn measure(setup: Setup, scratch: &Path, elections: usize) -> Vec<Vec<Duration>> {
    assert!(!setup.pre_vote, "the path has one round");
    let trace = Trace::default();
    let mut cluster = Cluster::traced(setup, scratch, &trace);
    let mut rows = Vec::with_capacity(elections);
    // What is unclean is left out: the medians are measured elsewhere.
    for _ in 0..elections {
        trace.take();
        match cluster.fire() {
            Ok((_, (candidate, fired))) => {
                let notes = trace.take();
                let path = path(&notes, setup.nodes, candidate, fired);
                rows.extend(path.map(|moments| gaps(fired, &moments)));
            }
            Err(_) => cluster = Cluster::traced(setup, scratch, &trace),
        }
    }
    assert!(
        rows.len() * 2 > elections,
        "the path of {} of {elections} elections was found: does a section or thread have another name now?",
        rows.len()
    );
    rows
}

fn gaps(mut from: Moment, moments: &[Moment]) -> Vec<Duration> {
    let mut gap = |&to: &Moment| {
        let gap = to.since(from);
        from = to;
        gap
    };
    moments.iter().map(&mut gap).collect()
}

/// The ends of the hops; nothing if the notes do not show them.
fn path(notes: &[Note], nodes: usize, candidate: usize, fired: Moment) -> Option<Vec<Moment>> {
    let first = |node: usize, after: Moment, is: &dyn Fn(&Event) -> bool| {
        notes
            .iter()
            .find(|note| note.node == node && note.at >= after && is(&note.event))
            .map(|note| note.at)
    };
    let last = |node: usize, before: Moment, event: Event| {
        let mut notes = notes.iter().rev();
        notes
            .find(|note| note.node == node && note.at < before && note.event == event)
            .map(|note| note.at)
    };
    let handles = "handle a message";

    let campaigns = first(
        candidate,
        fired,
        &|event| matches!(event, Event::Left(section, left) if *section == "campaign" && left.role == RoleKind::Candidate),
    )?;
    // It slept and woke, or came so late that it did not have to sleep.
    let woke = last(candidate, campaigns, Event::Has("campaign"))?;
    let requests = first(candidate, campaigns, &|event| {
        *event == Event::Sends("RequestVote")
    })?;
    let (counted, voter) = deciding(notes, candidate, requests)?;
    let answered = last(candidate, counted, Event::Wants(handles))?;
    let decided = first(
        voter,
        requests,
        &|event| matches!(event, Event::Left(section, _) if *section == handles),
    )?;
    let asked_voter = last(voter, decided, Event::Wants(handles))?;
    let answers = first(voter, decided, &|event| *event == Event::Sends("VoteReply"))?;
    let leads = first(
        candidate,
        counted,
        &|event| matches!(event, Event::Left(section, left) if *section == "count the votes" && left.role == RoleKind::Leader),
    )?;
    let wakes = last(candidate, leads, Event::Has("count the votes"))?;
    let mut known: Vec<Moment> = (0..nodes)
        .filter(|&node| node != candidate)
        .filter_map(|node| {
            first(node, leads, &|event| matches!(event, Event::Left(section, left) if *section == handles && left.led))
        })
        .collect();
    known.sort_unstable();
    let known = *known.get(majority(nodes) - 2)?;
    Some(vec![
        woke,
        campaigns,
        requests,
        asked_voter,
        decided,
        answers,
        answered,
        counted,
        wakes,
        leads,
        known,
    ])
}

/// When the candidate had counted a majority, and whose vote made it one.
fn deciding(notes: &[Note], candidate: usize, after: Moment) -> Option<(Moment, usize)> {
    // It counted its own vote before it asked for others.
    let mut before = 1 << candidate;
    for note in notes
        .iter()
        .filter(|note| note.node == candidate && note.at >= after)
    {
        if let Event::Left(_, left) = note.event {
            if left.won {
                let voter = (left.granted & !before).trailing_zeros();
                return Some((note.at, usize::try_from(voter).ok()?));
            }
            before |= left.granted;
        }
    }
    None
}
