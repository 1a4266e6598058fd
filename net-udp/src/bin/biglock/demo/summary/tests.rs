use super::*;

fn failovers(times: &[u64]) -> Vec<Failover> {
    let lead = |term, leader| Leadership { term, leader };
    let took = |ms: &u64| {
        let (took, noticed) = (Duration::from_millis(*ms), Duration::from_millis(ms - 5));
        Failover::new(1, lead(1, 1), lead(2, 2), took, noticed)
    };
    times.iter().map(took).collect()
}

fn summary(times: &[u64]) -> Summary {
    let failovers = failovers(times);
    Summary {
        nodes: 3,
        rounds: 1,
        seed: 1,
        election_timeout_min_ms: 150.0,
        election_timeout_max_ms: 300.0,
        heartbeat_ms: 30.0,
        pre_vote: true,
        check_quorum: true,
        failover_ms: Statistics::of(failovers.iter().map(|it| it.ms)),
        noticed_ms: Statistics::of(failovers.iter().map(|it| it.noticed_ms)),
        elected_ms: Statistics::of(failovers.iter().map(|it| it.elected_ms)),
        failovers,
        checked: Checked::default(),
        writes: None,
        ended_by: None,
    }
}

#[test]
fn statistics_are_exact_and_by_nearest_rank() {
    let times: Vec<u64> = (1..=20).map(|n| 100 + n * 10).collect();
    let expected = Statistics {
        min: 110.0,
        p50: 200.0,
        mean: 205.0,
        p90: 280.0,
        max: 300.0,
    };
    assert_eq!(summary(&times).failover_ms, Some(expected));
    assert_eq!(summary(&[]).failover_ms, None);
}

#[test]
fn a_failover_is_the_sum_of_its_parts() {
    let (took, noticed) = (
        Duration::from_micros(200_160),
        Duration::from_micros(150_040),
    );
    let lead = Leadership { term: 1, leader: 1 };
    let failover = Failover::new(1, lead, lead, took, noticed);
    assert_eq!(
        (failover.ms, failover.noticed_ms, failover.elected_ms),
        (200.2, 150.0, 50.2)
    );
}

#[test]
fn the_histogram_counts_every_failover_in_its_range() {
    let lines = summary(&[150, 154, 155, 199, 163]).histogram(80);
    let ends: Vec<&str> = lines.iter().map(|line| line.trim_start()).collect();
    assert!(
        ends[0].starts_with("150-155 ms") && ends[0].ends_with(" 2"),
        "{lines:#?}"
    );
    assert!(
        ends[1].starts_with("155-160 ms") && ends[1].ends_with(" 1"),
        "{lines:#?}"
    );
    assert!(
        ends[3].starts_with("165-170 ms") && ends[3].ends_with('·'),
        "{lines:#?}"
    );
    assert!(
        ends[9].starts_with("195-200 ms") && ends[9].ends_with(" 1"),
        "{lines:#?}"
    );
    assert_eq!(lines.len(), 10);
    assert!(
        lines.iter().all(|line| line.chars().count() <= 80),
        "{lines:#?}"
    );
}

#[test]
fn ranges_are_round_and_about_ten() {
    for (spread, expected) in [
        (0, 10),
        (99, 10),
        (100, 20),
        (450, 50),
        (999, 100),
        (1000, 200),
        (123_456, 20_000),
    ] {
        assert_eq!(step(spread), expected, "a spread of {spread} tenths");
    }
}

#[test]
fn one_is_not_said_in_the_plural() {
    let mut summary = summary(&[150]);
    summary.writes = Some(Found {
        clients: 1,
        appends: 2,
        reads: 1,
        unanswered: 1,
        ..Found::default()
    });
    let verdict = summary.verdict().join("\n");
    for words in [
        "over 1 kill:",
        "2 writes of 1 client were",
        "1 read meanwhile",
        "1 request had",
    ] {
        assert!(verdict.contains(words), "{words:?} is not in {verdict}");
    }
}
