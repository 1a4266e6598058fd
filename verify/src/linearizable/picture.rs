//! The operations around a violation, as a picture.

use std::fmt::Write;

use biglock::kv::{Command, Reply};
use bytes::Bytes;

use super::{Outcome, Record, search};

/// How many operations that were over before, and how many that are still open, are shown.
const BEFORE: usize = 8;

/// The longest value that is printed whole, in characters.
const LONGEST: usize = 24;

/// A row for the operation that can't be explained, for those that overlapped with it, for the last ones before it, and for the last one
/// that wrote what it saw.
pub(super) fn draw(records: &[&Record], culprit: &Record) -> String {
    let (from, to) = (culprit.invoked.order, culprit.returned());
    let mut before: Vec<&Record> = records.to_vec();
    before.retain(|record| record.returned() < from);
    before.sort_by_key(|record| record.returned());
    let open = records.iter().rev();
    let open = open.filter(|r| r.returned() == usize::MAX && r.invoked.order < to);
    let overlapping = |record: &&&Record| {
        (from..usize::MAX).contains(&record.returned()) && record.invoked.order <= to
    };
    let wrote = records.iter().rev().filter(|record| {
        record.invoked.order < to && seen(culprit).is_some_and(|value| writes(record, value))
    });
    let mut rows: Vec<&Record> = before.iter().rev().take(BEFORE).copied().collect();
    rows.extend(open.take(BEFORE));
    rows.extend(records.iter().filter(overlapping));
    rows.extend(wrote.take(1));
    rows.sort_by_key(|record| record.invoked.order);
    rows.dedup_by_key(|record| record.invoked.order);

    // A column for each moment at which one of them begins or ends.
    let mut moments: Vec<usize> = rows
        .iter()
        .flat_map(|record| [record.invoked.order, record.returned()])
        .filter(|&order| order < usize::MAX)
        .collect();
    moments.sort_unstable();
    let column = |order| 2 * moments.partition_point(|&moment| moment < order);
    let open = rows.iter().any(|record| record.returned() == usize::MAX);
    let width = 2 * moments.len() - usize::from(!open);

    let mut picture = String::new();
    for record in &rows {
        let (begin, end) = (column(record.invoked.order), column(record.returned()));
        let bar = match record.outcome {
            Outcome::Completed(..) => format!("|{}|", "-".repeat(end - begin - 1)),
            _ => format!("|{}?", "-".repeat(width - begin - 2)),
        };
        let mark = match record.invoked.order == from {
            true => "  <-",
            false => "",
        };
        let _ = writeln!(
            picture,
            "  client {:<3} {:begin$}{bar:<rest$}  {}{mark}",
            record.client,
            "",
            told(record),
            rest = width - begin,
        );
    }
    let hidden = records.len() - rows.len();
    if hidden > 0 {
        let _ = writeln!(picture, "  {hidden} others are not shown");
    }
    picture
}

/// What the operation tells about the value that it found.
fn seen(record: &Record) -> Option<&Bytes> {
    let Outcome::Completed(_, reply) = &record.outcome else {
        return None;
    };
    match (search::found(&record.command, reply), &record.command) {
        (Some(value), _) => value.as_ref(),
        (None, Command::CompareAndSwap { expected, .. }) => expected.as_ref(),
        _ => None,
    }
}

/// Whether the operation can have left a value that ends like this.
fn writes(record: &Record, value: &Bytes) -> bool {
    match &record.command {
        Command::Put { value: new, .. } | Command::CompareAndSwap { new, .. } => new == value,
        Command::Append { value: end, .. } => value.ends_with(end),
        _ => false,
    }
}

/// What was asked, what was answered, and when.
fn told(record: &Record) -> String {
    let command = match &record.command {
        Command::Put { value, .. } => format!("put {}", quoted(value)),
        Command::Append { value, .. } => format!("append {}", quoted(value)),
        Command::Delete { .. } => "delete".into(),
        Command::CompareAndSwap { expected, new, .. } => {
            format!("cas {} to {}", found(expected), quoted(new))
        }
        Command::Get { .. } => "get".into(),
    };
    let begin = record.invoked.time;
    match &record.outcome {
        Outcome::Completed(end, reply) => {
            let reply = match reply {
                Reply::Done => "done".into(),
                Reply::Value(value) => found(value),
                Reply::Mismatch(value) => format!("mismatch, {}", found(value)),
                Reply::Malformed => "malformed".into(),
            };
            format!("{command}: {reply} ({begin:?} to {:?})", end.time)
        }
        _ => format!("{command}: unknown (from {begin:?})"),
    }
}

fn found(value: &Option<Bytes>) -> String {
    value.as_ref().map_or("nothing".into(), quoted)
}

/// The value in quotes; of a long one the two ends.
fn quoted(value: &Bytes) -> String {
    let text = value.escape_ascii().to_string();
    if text.len() <= LONGEST {
        return format!("\"{text}\"");
    }
    let (begin, end) = (&text[..LONGEST / 2], &text[text.len() - LONGEST / 2..]);
    format!("\"{begin}..{end}\" ({} bytes)", value.len())
}
