//! A row for each search: what it is, and what became of it.

use biglock_verify::course::{self, Lesson};
use biglock_verify::differential::{CHECKS, Check};
use biglock_verify::explore::orders;
use biglock_verify::harness::{GATED, Model};
use biglock_verify::jobs::Ended;
use biglock_verify::models;
use biglock_verify::proof;
use biglock_verify::report::{ModelRow, many};
use biglock_verify::rows::{row_of, row_of_model};
use biglock_verify::world::{NodeSpec, World};

use crate::stacks;

/// What runs in a process of its own, on one core.
pub enum Job {
    Model(&'static Model),
    Lesson(&'static Lesson),
    Check(&'static Check),
    Stacks(&'static Stacks),
}

impl Job {
    /// All there are, in the order of the table.
    pub fn all() -> impl Iterator<Item = Job> {
        let models = models::all().map(Job::Model);
        let lessons = course::all().map(Job::Lesson);
        let checks = CHECKS.iter().map(Job::Check);
        let stacks = STACKS.iter().map(Job::Stacks);
        models.chain(lessons).chain(checks).chain(stacks)
    }

    pub fn name(&self) -> &'static str {
        match self {
            Job::Model(model) => model.name,
            Job::Lesson(lesson) => lesson.model.name,
            Job::Check(check) => check.name,
            Job::Stacks(stacks) => stacks.name,
        }
    }

    pub fn property(&self) -> &'static str {
        match self {
            Job::Model(model) => model.property,
            Job::Lesson(lesson) => lesson.model.property,
            Job::Check(check) => check.property,
            Job::Stacks(stacks) => stacks.property,
        }
    }

    /// What must be found in it, if it is broken on purpose.
    fn finds(&self) -> Option<&'static str> {
        match self {
            Job::Model(_) => None,
            Job::Lesson(lesson) => lesson.finds,
            Job::Check(check) => check.finds,
            Job::Stacks(stacks) => stacks.finds,
        }
    }

    /// Its row, as long as it has not run.
    pub fn row(&self) -> ModelRow {
        match self {
            Job::Model(model) => row_of_model("threads", model),
            Job::Lesson(lesson) => row_of_model("course", &lesson.model),
            Job::Check(check) => row_of_check(check),
            Job::Stacks(stacks) => {
                let sizes = many(stacks.models.len() as u64, "model") + ", twice";
                ModelRow::new(stacks.name, "checker", stacks.property, sizes)
            }
        }
    }

    /// Its row, once its process has ended.
    pub fn ended(&self, ended: std::io::Result<Ended>) -> ModelRow {
        let mut row = row_of(self.row(), ended);
        if let Some(says) = self.finds() {
            row.expect(says);
        }
        if let Job::Check(_) | Job::Stacks(_) = self {
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
    models: &'static [&'static str],
    /// What must be said, if one of them is broken on purpose.
    finds: Option<&'static str>,
}

impl Stacks {
    pub fn models(&self) -> impl Iterator<Item = &'static Model> {
        let all = models::all().chain([&NOTICES]);
        all.filter(|model| self.models.contains(&model.name))
    }

    /// How many there must be.
    pub fn many(&self) -> u64 {
        self.models.len() as u64
    }
}

/// Those that must agree, and one that must not.
pub const STACKS: &[Stacks] = &[
    Stacks {
        name: "checker-stacks",
        property: "models find the same on stacks that are used again as on new ones",
        // Small ones of every kind: held at the gate or free, with crashes, with three nodes, with callers who wait.
        models: &[
            "votes-3",
            "cluster-3-candidates-of-3",
            "durable-vote-crash",
            "proposing-replaced",
            "watching-leadership",
            "promises",
            "shutdown-candidate",
        ],
        finds: None,
    },
    Stacks {
        name: "checker-stacks-notices",
        property: "broken: on stacks that are used again a thread does more, and the comparison sees it",
        models: &[NOTICES.name],
        finds: Some("on used ones"),
    },
];

/// What a mistake in using stacks again would come to: an execution depends on what was there before it.
const NOTICES: Model = Model {
    name: "notices-used-stacks",
    threads: 2,
    body: notices,
    ..GATED
};

fn notices(world: &World) {
    let node = world.node(NodeSpec::new(1, 3));
    for name in ["one", "another"] {
        let node = node.clone();
        world.thread(name, move |outside| {
            node.monitor().disturb(outside);
            if stacks::are_to_be_used_again() {
                node.monitor().disturb(outside);
            }
        });
    }
}

/// The names of what only `--deep` runs.
pub fn deep_names() -> impl Iterator<Item = &'static str> {
    let jobs = Job::all().map(|job| job.name());
    let orders = orders::all().map(|order| order.name);
    jobs.chain(orders).filter(|name| proof::is_deep(name))
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
