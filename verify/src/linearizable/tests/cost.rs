//! Thousands of operations of twenty clients: the number of states is bounded, and a wrong reply among them is found.

use super::*;

/// What the clients do.
#[derive(Clone, Copy)]
struct Load {
    operations: usize,
    clients: usize,
    keys: usize,
    /// How many of a thousand operations time out; half of them take effect all the same, later.
    unknown: u32,
    /// Whether every value is its own, or one of three.
    distinct: bool,
    /// What to choose from.
    mix: &'static [Kind],
}

#[derive(Clone, Copy)]
enum Kind {
    Put,
    Append,
    Delete,
    Swap,
    Get,
}
use Kind::*;

const ALL: &[Kind] = &[Put, Put, Append, Append, Delete, Swap, Get, Get, Get];

const LOAD: Load = Load {
    operations: 5_000,
    clients: 20,
    keys: 4,
    unknown: 0,
    distinct: true,
    mix: ALL,
};

/// A client's operation on its way.
enum Stage {
    Invoked(OperationId, Command),
    /// With the reply that it will get.
    Applied(OperationId, Reply),
}

/// The history of a correct store under this load: every operation is invoked, takes effect, and returns, and between any two of these
/// the other clients do what they like.
fn history(load: Load, seed: u64) -> History {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut history = History::new();
    let mut store: BTreeMap<String, Option<Bytes>> = BTreeMap::new();
    let mut clients: Vec<Option<Stage>> = (0..load.clients).map(|_| None).collect();
    let mut late: Vec<Command> = Vec::new();
    let mut clock = 0;
    while history.len() < load.operations || clients.iter().any(Option::is_some) {
        clock += 1;
        let now = Time::from_nanos(clock * 1_000);
        if !late.is_empty() && random.u8(..100) == 0 {
            let command = late.swap_remove(random.usize(..late.len()));
            command.run(store.entry(command.key().into()).or_default());
        }
        let client = random.usize(..clients.len());
        clients[client] = match clients[client].take() {
            None if history.len() < load.operations => {
                let key = format!("key {}", random.usize(..load.keys));
                let value = match load.distinct {
                    true => format!("<{}>", history.len()),
                    false => random.u8(..3).to_string(),
                };
                let command = match load.mix[random.usize(..load.mix.len())] {
                    Put => Command::put(key, value),
                    Append => Command::append(key, value),
                    Delete => Command::delete(key),
                    Swap => {
                        let expected = store.get(&key).cloned().flatten();
                        Command::compare_and_swap(key, expected, value)
                    }
                    Get => Command::get(key),
                };
                let id = history.invoke(now, client as u64, command.clone());
                Some(Stage::Invoked(id, command))
            }
            None => None,
            Some(Stage::Invoked(id, command)) if random.u32(..1_000) < load.unknown => {
                history.unknown(id);
                if random.bool() {
                    late.push(command);
                }
                None
            }
            Some(Stage::Invoked(id, command)) => {
                let reply = command.run(store.entry(command.key().into()).or_default());
                Some(Stage::Applied(id, reply))
            }
            Some(Stage::Applied(id, reply)) => {
                history.complete(now, id, reply);
                None
            }
        };
    }
    history
}

/// The states that the search took, over all keys.
fn states(history: &History) -> u64 {
    let mut keys: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for record in &history.records {
        keys.entry(record.command.key()).or_default().push(record);
    }
    let states = keys
        .iter()
        .map(|(key, records)| match verdict(records, STATES) {
            Verdict::Linearizable { states } => states,
            verdict => panic!("{key}: {verdict:?}"),
        });
    states.sum()
}

/// Three seeds of each load: at most so many states for each operation.
fn costs_at_most(load: Load, states_per_operation: u64) {
    for seed in 0..3 {
        let states = states(&history(load, seed));
        let bound = load.operations as u64 * states_per_operation;
        assert!(states <= bound, "seed {seed} took {states} states");
    }
}

#[test]
fn five_thousand_operations_of_twenty_clients_take_few_states() {
    costs_at_most(LOAD, 2);
}

#[test]
fn values_that_come_again_take_few_states() {
    let distinct = false;
    costs_at_most(Load { distinct, ..LOAD }, 3);
}

#[test]
fn appends_take_few_states() {
    let mix = &[Append, Append, Append, Get];
    costs_at_most(Load { mix, ..LOAD }, 1);
}

#[test]
fn one_register_for_all_takes_few_states() {
    let (mix, keys, unknown): (&[Kind], _, _) = (&[Put, Get], 1, 20);
    costs_at_most(
        Load {
            mix,
            keys,
            unknown,
            ..LOAD
        },
        1,
    );
}

#[test]
fn one_key_for_all_takes_more_but_ends() {
    let (keys, operations) = (1, 1_000);
    costs_at_most(
        Load {
            keys,
            operations,
            ..LOAD
        },
        50,
    );
}

/// One operation in fifty.
#[test]
fn unknown_outcomes_take_few_states() {
    let unknown = 20;
    costs_at_most(Load { unknown, ..LOAD }, 2);
    let mix = &[Append, Append, Append, Get];
    costs_at_most(
        Load {
            unknown,
            mix,
            ..LOAD
        },
        1,
    );
    let distinct = false;
    costs_at_most(
        Load {
            unknown,
            distinct,
            ..LOAD
        },
        10,
    );
}

/// The reply of one read in the middle becomes that of another, a hundred operations earlier.
#[test]
fn one_stale_read_among_thousands_is_found() {
    for seed in 0..3 {
        let mut history = history(LOAD, seed);
        let reads: Vec<usize> = (0..history.len())
            .filter(|&at| history.records[at].is_read())
            .filter(|&at| history.records[at].command.key() == "key 0")
            .collect();
        let value = |at: usize| match &history.records[at].outcome {
            Outcome::Completed(_, Reply::Value(Some(value))) => Some(value.clone()),
            _ => None,
        };
        let late = reads[reads.len() / 2..].iter().copied();
        let late = late.clone().find(|&at| value(at).is_some()).unwrap();
        let old = reads[..reads.len() / 2 - 100].iter().rev();
        let old = old.copied().find_map(value).unwrap();
        let Outcome::Completed(_, reply) = &mut history.records[late].outcome else {
            unreachable!("it is a read that returned");
        };
        *reply = Reply::Value(Some(old));
        let violation = check(&history).unwrap_err();
        assert_eq!(
            (violation.key.as_str(), violation.why),
            ("key 0", Why::NoOrder)
        );
        let marked = violation.picture.lines().find(|line| line.ends_with("<-"));
        assert!(
            marked.is_some_and(|line| line.contains(": \"")),
            "{violation}"
        );
    }
}

#[test]
fn a_search_that_reaches_its_bound_is_a_failure() {
    let history = history(LOAD, 0);
    let violation = check_within(&history, 100).unwrap_err();
    assert_eq!(violation.why, Why::Exhausted { states: 100 });
    assert!(
        violation
            .to_string()
            .starts_with("key \"key 0\": no order was found in 100 states")
    );
    assert_eq!(
        violation,
        check_within(&history, 100).unwrap_err(),
        "and always the same one"
    );
}
