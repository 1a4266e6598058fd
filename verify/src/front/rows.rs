//! A row for each search: what it is, and what became of it.

use std::collections::BTreeMap;

use biglock_verify::course::Lesson;
use biglock_verify::differential::Check;
use biglock_verify::explore::{Order, orders};
use biglock_verify::harness::Model;
use biglock_verify::jobs::Ended;
use biglock_verify::report::{ModelRow, Searched};
use biglock_verify::rows::{row_of, row_of_model};

/// What runs in a process of its own, on one core.
pub enum Job {
    Model(&'static Model),
    Lesson(&'static Lesson),
    Check(&'static Check),
    Stacks,
}

impl Job {
    pub fn name(&self) -> &'static str {
        match self {
            Job::Model(model) => model.name,
            Job::Lesson(lesson) => lesson.model.name,
            Job::Check(check) => check.name,
            Job::Stacks => STACKS.name,
        }
    }

    pub fn property(&self) -> &'static str {
        match self {
            Job::Model(model) => model.property,
            Job::Lesson(lesson) => lesson.model.property,
            Job::Check(check) => check.property,
            Job::Stacks => STACKS.property,
        }
    }

    pub fn row(&self, ended: std::io::Result<Ended>) -> ModelRow {
        match self {
            Job::Model(model) => row_of_model(model, ended),
            Job::Lesson(lesson) => row_of_lesson(lesson, ended),
            Job::Check(check) => row_of_check(check, ended),
            Job::Stacks => row_of_stacks(ended),
        }
    }
}

/// Models, each run on new stacks and on used ones.
pub struct Stacks {
    pub name: &'static str,
    property: &'static str,
    pub models: &'static [&'static str],
}

/// Small ones of every kind: held at the gate or free, with crashes, with three nodes, with callers who wait.
pub const STACKS: Stacks = Stacks {
    name: "checker-stacks",
    property: "models find the same on stacks that are used again as on new ones",
    models: &[
        "votes-3",
        "cluster-3-candidates-of-3",
        "durable-vote-crash",
        "proposing-replaced",
        "watching-leadership",
        "promises",
        "shutdown-candidate",
    ],
};

/// The names of what only `--deep` runs.
pub fn deep_names() -> impl Iterator<Item = &'static str> {
    let orders = orders::all().filter(|order| order.deep);
    orders.map(|order| order.name)
}

pub fn row_of_order(order: &Order, ended: std::io::Result<Ended>) -> ModelRow {
    let bounds = order.bounds.list().into_iter();
    let row = ModelRow {
        name: order.name.into(),
        level: "messages".into(),
        property: order.property.into(),
        sizes: format!("{} nodes", order.nodes),
        bounds: bounds
            .map(|(name, many)| (name.into(), many.into()))
            .collect(),
        searched: Searched::States {
            states: 0,
            depth: 0,
        },
        exhausted: false,
        goals: BTreeMap::new(),
        seconds: 0.0,
        rules: Vec::new(),
        found: None,
        failure: None,
    };
    row_of(row, ended)
}

fn row_of_lesson(lesson: &Lesson, ended: std::io::Result<Ended>) -> ModelRow {
    let mut row = row_of_model(&lesson.model, ended);
    row.level = "course".into();
    if let Some(says) = lesson.finds {
        row.expect(says);
    }
    row
}

fn row_of_check(check: &Check, ended: std::io::Result<Ended>) -> ModelRow {
    let row = ModelRow {
        name: check.name.into(),
        level: "checker".into(),
        property: check.property.into(),
        sizes: "3 to 4 threads".into(),
        bounds: check
            .bound
            .map(|most| ("preemptions".into(), most as u64))
            .into_iter()
            .collect(),
        searched: Searched::Executions { executions: 0 },
        exhausted: false,
        goals: BTreeMap::new(),
        seconds: 0.0,
        rules: Vec::new(),
        found: None,
        failure: None,
    };
    let mut row = row_of(row, ended);
    // Its only picture is the message once more.
    if let Some(failure) = &mut row.failure {
        (failure.diagram, failure.drawing) = (None, None);
    }
    if let Some(says) = check.finds {
        row.expect(says);
    }
    row
}

fn row_of_stacks(ended: std::io::Result<Ended>) -> ModelRow {
    let row = ModelRow {
        name: STACKS.name.into(),
        level: "checker".into(),
        property: STACKS.property.into(),
        sizes: format!("{} models, twice", STACKS.models.len()),
        bounds: BTreeMap::new(),
        searched: Searched::Executions { executions: 0 },
        exhausted: false,
        goals: BTreeMap::new(),
        seconds: 0.0,
        rules: Vec::new(),
        found: None,
        failure: None,
    };
    row_of(row, ended)
}
