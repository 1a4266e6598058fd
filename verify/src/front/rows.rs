//! A row for each search: what it is, and what became of it.

use biglock_verify::course::{self, Lesson};
use biglock_verify::differential::{CHECKS, Check};
use biglock_verify::explore::orders;
use biglock_verify::harness::Model;
use biglock_verify::jobs::Ended;
use biglock_verify::models;
use biglock_verify::report::ModelRow;
use biglock_verify::rows::{row_of, row_of_model};

/// What runs in a process of its own, on one core.
pub enum Job {
    Model(&'static Model),
    Lesson(&'static Lesson),
    Check(&'static Check),
    Stacks,
}

impl Job {
    /// All there are, in the order of the table.
    pub fn all() -> impl Iterator<Item = Job> {
        let models = models::all().map(Job::Model);
        let lessons = course::all().map(Job::Lesson);
        let checks = CHECKS.iter().map(Job::Check);
        models.chain(lessons).chain(checks).chain([Job::Stacks])
    }

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

    /// What must be found in it, if it is broken on purpose.
    fn finds(&self) -> Option<&'static str> {
        match self {
            Job::Model(_) | Job::Stacks => None,
            Job::Lesson(lesson) => lesson.finds,
            Job::Check(check) => check.finds,
        }
    }

    /// Its row, as long as it has not run.
    pub fn row(&self) -> ModelRow {
        match self {
            Job::Model(model) => row_of_model("threads", model),
            Job::Lesson(lesson) => row_of_model("course", &lesson.model),
            Job::Check(check) => row_of_check(check),
            Job::Stacks => {
                let sizes = format!("{} models, twice", STACKS.models.len());
                ModelRow::new(STACKS.name, "checker", STACKS.property, sizes)
            }
        }
    }

    /// Its row, once its process has ended.
    pub fn ended(&self, ended: std::io::Result<Ended>) -> ModelRow {
        let mut row = row_of(self.row(), ended);
        if let Some(says) = self.finds() {
            row.expect(says);
        }
        if let Job::Check(_) = self {
            // Its only picture is the message once more.
            for failure in [&mut row.failure, &mut row.found].into_iter().flatten() {
                (failure.diagram, failure.drawing) = (None, None);
            }
        }
        row
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

fn row_of_check(check: &Check) -> ModelRow {
    let sizes = "3 to 4 threads".into();
    let bound = check.bound.into_iter();
    ModelRow {
        bounds: bound
            .map(|most| ("preemptions".into(), most as u64))
            .collect(),
        ..ModelRow::new(check.name, "checker", check.property, sizes)
    }
}
