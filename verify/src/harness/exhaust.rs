//! The search by loom: every interleaving, and loom's own word that there are no more.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;

use super::{Model, Search, execute, locked};

/// More thread switches than any execution has; loom panics beyond it, so it bounds no search.
const MAX_BRANCHES: usize = 20_000;

/// What a search found.
#[derive(Clone, Debug)]
pub struct Found {
    /// How many executions it ran.
    pub executions: u64,
    /// Whether each search ended by exhaustion, by loom's own word.
    pub exhausted: bool,
    /// How often each goal was reached; if there is none, whatever was.
    pub goals: BTreeMap<String, u64>,
}

/// Searches every interleaving of every combination of choices; or, to see what that would hide, those with so many preemptions at most. `progress` hears the number of executions now and then.
///
/// # Panics
/// If an execution breaks a law, blocks for ever, or leaves a thread behind: in the middle of that execution, so that a panic hook can
/// ask [`current`].
pub fn check(
    model: &'static Model,
    preemption_bound: Option<usize>,
    progress: impl Fn(u64) + Send + Sync + 'static,
) -> Found {
    let search = Arc::new(Search::default());
    let progress = Arc::new(progress);
    let mut exhausted = true;
    loop {
        let before = search.executions.load(Ordering::Relaxed);
        let completed = complete(model, preemption_bound, &search, &progress);
        let ran = search.executions.load(Ordering::Relaxed) - before;
        exhausted &= completed == Some(ran);
        if !locked(&search.choices).advance() {
            break;
        }
    }
    Found {
        executions: search.executions.load(Ordering::Relaxed),
        exhausted,
        goals: model.told(&locked(&search.goals)),
    }
}

/// One search. Returns in how many iterations loom says that it completed, if it says so.
fn complete(
    model: &'static Model,
    preemption_bound: Option<usize>,
    search: &Arc<Search>,
    progress: &Arc<impl Fn(u64) + Send + Sync + 'static>,
) -> Option<u64> {
    let (search, progress) = (search.clone(), progress.clone());
    exhaust(preemption_bound, move || {
        let execution = search.executions.fetch_add(1, Ordering::Relaxed) + 1;
        if execution.is_multiple_of(2048) {
            progress(execution);
        }
        execute(model, &search);
    })
}

/// Runs `body` in every interleaving: no bound, unless one is asked for to see what it would hide. Returns in how many iterations loom says that it
/// completed, if it says so.
pub fn exhaust(
    preemption_bound: Option<usize>,
    body: impl Fn() + Send + Sync + 'static,
) -> Option<u64> {
    let mut builder = loom::model::Builder::new();
    builder.max_threads = loom::MAX_THREADS;
    builder.max_branches = MAX_BRANCHES;
    builder.max_permutations = None;
    builder.max_duration = None;
    builder.preemption_bound = preemption_bound;
    builder.checkpoint_file = None;
    builder.expect_explicit_explore = false;
    builder.location = false;
    builder.log = false;
    let witness = Witness::default();
    let completed = witness.completed.clone();
    tracing::subscriber::with_default(witness, || builder.check(body));
    *locked(&completed)
}

/// Hears loom say that it completed, and nothing else.
#[derive(Default)]
struct Witness {
    completed: Arc<Mutex<Option<u64>>>,
}

impl tracing::Subscriber for Witness {
    fn register_callsite(&self, metadata: &'static tracing::Metadata<'static>) -> Interest {
        if self.enabled(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target() == "loom::model"
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::INFO)
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Message(String);
        impl Visit for Message {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        let said = message
            .0
            .strip_prefix("Completed in ")
            .and_then(|rest| rest.strip_suffix(" iterations"))
            .and_then(|count| count.parse().ok());
        if said.is_some() {
            *locked(&self.completed) = said;
        }
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}
