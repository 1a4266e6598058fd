//! A checker that is too simple to be wrong tries every order; on small histories the two must agree.

use super::*;

/// Whether any order of these operations explains their replies. Tries all.
fn slow(records: &[&Record], value: &Option<Bytes>) -> bool {
    let deadline = records.iter().map(|record| record.returned()).min();
    let Some(deadline) = deadline.filter(|&order| order < usize::MAX) else {
        return true;
    };
    (0..records.len()).any(|at| {
        let record = records[at];
        let mut value = value.clone();
        let answer = record.command.run(&mut value);
        let fits = match &record.outcome {
            Outcome::Completed(_, reply) => *reply == answer,
            _ => true,
        };
        let mut rest = records.to_vec();
        rest.remove(at);
        record.invoked.order < deadline && fits && slow(&rest, &value)
    })
}

/// Up to seven operations of up to four clients on one key with few values, with replies that are often right.
fn any_history(random: &mut fastrand::Rng) -> History {
    const VALUES: [&str; 5] = ["", "a", "b", "ab", "aa"];
    let text = |random: &mut fastrand::Rng| VALUES[random.usize(..VALUES.len())];
    let maybe = |random: &mut fastrand::Rng| VALUES.get(random.usize(..=VALUES.len()));
    let any = |random: &mut fastrand::Rng| maybe(random).map(|&text| Bytes::from(text));
    let mut history = History::new();
    let mut running: Vec<(OperationId, Reply)> = Vec::new();
    // A store that runs each command when it is invoked.
    let mut store = None;
    let operations = random.usize(2..=7);
    while history.len() < operations || !running.is_empty() {
        let begins = running.is_empty() || (running.len() < 4 && random.u8(..3) > 0);
        if history.len() < operations && begins {
            let command = match random.u8(..8) {
                0 | 1 => Command::put("k", text(random)),
                2 => Command::append("k", text(random)),
                3 => Command::delete("k"),
                4 => Command::compare_and_swap("k", any(random), text(random)),
                _ => Command::get("k"),
            };
            let mut reply = command.run(&mut store);
            if random.u8(..4) == 0 {
                reply = match command {
                    Command::Get { .. } => Reply::Value(any(random)),
                    Command::CompareAndSwap { .. } if random.bool() => Reply::Mismatch(any(random)),
                    _ => Reply::Done,
                };
            }
            let id = history.invoke(Time::ZERO, 0, command);
            running.push((id, reply));
        } else {
            let (id, reply) = running.swap_remove(random.usize(..running.len()));
            match random.u8(..4) {
                0 => history.unknown(id),
                _ => history.complete(Time::ZERO, id, reply),
            }
        }
    }
    history
}

#[test]
fn the_fast_checker_agrees_with_the_slow_one() {
    let mut random = fastrand::Rng::with_seed(1);
    let (mut right, mut wrong) = (0, 0);
    for _ in 0..20_000 {
        let history = any_history(&mut random);
        let records: Vec<&Record> = history.records.iter().collect();
        let verdict = check(&history);
        assert_eq!(verdict.is_ok(), slow(&records, &None), "{history:#?}");
        match verdict {
            Ok(()) => right += 1,
            Err(_) => wrong += 1,
        }
    }
    assert!(
        right > 2_000 && wrong > 2_000,
        "{right} right, {wrong} wrong"
    );
}
