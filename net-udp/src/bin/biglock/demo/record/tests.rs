use super::*;

const FIRST: u32 = 1;
const SECOND: u32 = 2;

fn life(node: u64, number: u32) -> Life {
    Life { node, number }
}

fn loaded(node: u64, term: u64, voted_for: Option<u64>) -> Line {
    Line::Loaded {
        node,
        term,
        voted_for,
    }
}

fn durable(node: u64, term: u64, voted_for: Option<u64>) -> Line {
    Line::Durable {
        node,
        term,
        voted_for,
    }
}

fn leader(node: u64, change: u64, term: u64, leader: Option<u64>) -> Line {
    Line::Leadership {
        node,
        change,
        term,
        leader,
    }
}

/// Takes in lines of (life, line), all but the last of which must hold; returns what the last gives.
fn last(lines: &[(u32, Line)]) -> Result<(), Broken> {
    let mut record = Record::default();
    let (end, before) = lines.split_last().expect("at least one line");
    let take_in = |record: &mut Record, (number, line): &(u32, Line)| {
        let (Line::Loaded { node, .. }
        | Line::Started { node, .. }
        | Line::Durable { node, .. }
        | Line::Leadership { node, .. }
        | Line::Stopped { node, .. }) = *line;
        record.take_in(life(node, *number), line)
    };
    for line in before {
        take_in(&mut record, line).expect("the lines before the last hold");
    }
    take_in(&mut record, end)
}

fn broken_by(words: &str, lines: &[(u32, Line)]) {
    let broken = last(lines)
        .expect_err("the last line breaks a rule")
        .to_string();
    assert!(broken.contains(words), "{broken}");
}

/// Three nodes elect node 1, which dies; node 2 follows it in term 2, and node 1 comes back.
fn history() -> Vec<(u32, Line)> {
    vec![
        (FIRST, loaded(1, 0, None)),
        (FIRST, loaded(2, 0, None)),
        (FIRST, loaded(3, 0, None)),
        (FIRST, leader(1, 1, 1, None)),
        (FIRST, durable(1, 1, Some(1))),
        (FIRST, durable(2, 1, Some(1))),
        (FIRST, leader(1, 2, 1, Some(1))),
        (FIRST, leader(2, 1, 1, Some(1))),
        (FIRST, leader(3, 1, 1, Some(1))),
        (FIRST, durable(3, 1, None)),
        (FIRST, leader(2, 2, 1, None)),
        (FIRST, durable(2, 2, Some(2))),
        (FIRST, durable(3, 2, Some(2))),
        (FIRST, leader(2, 4, 2, Some(2))),
        (FIRST, leader(2, 3, 2, None)),
        (FIRST, leader(3, 2, 2, Some(2))),
        (SECOND, loaded(1, 1, Some(1))),
        (SECOND, leader(1, 1, 2, Some(2))),
        (SECOND, durable(1, 2, None)),
    ]
}

#[test]
fn a_true_history_holds_though_changes_overtake_each_other() {
    let mut record = Record::default();
    for (number, line) in history() {
        let (Line::Loaded { node, .. }
        | Line::Durable { node, .. }
        | Line::Leadership { node, .. }) = line
        else {
            unreachable!("no others are in it")
        };
        record
            .take_in(life(node, number), &line)
            .expect("nothing is broken");
    }
    record
        .check_elected(1, 1, 2)
        .expect("nodes 1 and 2 voted for 1");
    record
        .check_elected(2, 2, 2)
        .expect("nodes 2 and 3 voted for 2");
    let expected = Checked {
        lines: 19,
        processes: 4,
        leaders: 2,
        elected: 2,
    };
    assert_eq!(record.checked(), expected);
}

#[test]
fn two_leaders_of_one_term_are_found_in_different_records() {
    broken_by(
        "two leaders of term 1: node 1, says node 2; node 3, says node 3",
        &[
            (FIRST, leader(2, 1, 1, Some(1))),
            (FIRST, durable(3, 1, Some(3))),
            (FIRST, leader(3, 1, 1, Some(3))),
        ],
    );
}

#[test]
fn a_leader_needs_its_own_durable_vote() {
    broken_by(
        "without a durable vote of its own",
        &[
            (FIRST, loaded(1, 0, None)),
            (FIRST, durable(2, 1, Some(1))),
            (FIRST, leader(1, 1, 1, Some(1))),
        ],
    );
}

#[test]
fn a_leader_needs_a_majority_of_durable_votes() {
    let mut record = Record::default();
    for node in [1, 2] {
        record
            .take_in(life(node, FIRST), &durable(node, 1, Some(1)))
            .expect("a vote");
    }
    record
        .take_in(life(3, FIRST), &durable(3, 1, Some(3)))
        .expect("another vote");
    assert_eq!(record.check_elected(1, 1, 2), Ok(()));
    let broken = record
        .check_elected(1, 1, 3)
        .expect_err("two are not three");
    assert!(
        broken
            .to_string()
            .contains("with 2 durable votes; a majority is 3"),
        "{broken}"
    );
}

#[test]
fn a_stored_term_never_goes_back_over_a_crash() {
    broken_by(
        "found in its store term 4, after it had stored term 5",
        &[
            (FIRST, durable(1, 5, Some(2))),
            (SECOND, loaded(1, 4, Some(2))),
        ],
    );
}

#[test]
fn a_stored_vote_is_never_changed_or_lost() {
    for other in [None, Some(3)] {
        broken_by(
            "after it had stored Some(2)",
            &[
                (FIRST, durable(1, 5, Some(2))),
                (SECOND, loaded(1, 5, other)),
            ],
        );
    }
    // A record may have become durable without its line: the process died in between.
    assert_eq!(
        last(&[
            (FIRST, durable(1, 5, None)),
            (SECOND, loaded(1, 6, Some(3)))
        ]),
        Ok(())
    );
}

#[test]
fn a_life_never_goes_back_behind_the_term_it_began_with() {
    broken_by(
        "is in term 3, and had term 4 in its store",
        &[
            (SECOND, loaded(1, 4, None)),
            (SECOND, leader(1, 1, 3, None)),
        ],
    );
}

#[test]
fn the_changes_of_a_life_never_go_back_in_the_order_of_their_numbers() {
    broken_by(
        "went back from term 3 to term 2",
        &[
            (FIRST, leader(1, 1, 3, None)),
            (FIRST, leader(1, 2, 2, None)),
        ],
    );
    // The same, told the other way round.
    broken_by(
        "went back from term 3 to term 2",
        &[
            (FIRST, leader(1, 2, 2, None)),
            (FIRST, leader(1, 1, 3, None)),
        ],
    );
}
