//! Plants a bug in a copy of the source, builds that, and sees whether the check finds it.

mod measure;

pub use measure::Healthy;

use std::fs;
use std::iter;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use crate::catalogue::{Bug, Check};
use crate::jobs::{Run, Said};
use crate::lab;
use crate::report::{BugRow, ModelRow, PASSES, Searched};
use crate::spec::REFUSED;

/// What a build needs of the tree.
const PARTS: [&str; 5] = ["Cargo.toml", "Cargo.lock", "core", "net-udp", "verify"];

/// What runs the threads of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checker {
    /// Every schedule.
    Loom,
    /// Some, at random.
    Shuttle,
}

impl Checker {
    /// The cargo settings of its build, the same as in `.cargo/config.toml`'s aliases.
    fn flags(self) -> &'static str {
        match self {
            Checker::Loom => "build.rustflags=['--cfg','biglock_loom']",
            Checker::Shuttle => "build.rustflags=['--cfg','biglock_shuttle']",
        }
    }
}

/// A copy of the tree, and a target folder that survives from bug to bug: only what a bug changes is compiled again.
pub struct Nursery {
    tree: PathBuf,
    target: PathBuf,
    root: PathBuf,
    blank: Blank,
}

/// The row of the model or exploration of this name, as long as it has not run.
pub type Blank = fn(&str) -> Option<ModelRow>;

impl Nursery {
    /// The nursery number `slot` below the target folder of the tree at `root`. Its tree is brought up to date. `blank` knows what runs in it.
    ///
    /// # Errors
    /// If the copy can't be made.
    pub fn new(root: &Path, slot: usize, blank: Blank) -> std::io::Result<Nursery> {
        let folder = root.join("target/bugs").join(slot.to_string());
        let nursery = Nursery {
            tree: folder.join("tree"),
            target: folder.join("target"),
            root: root.into(),
            blank,
        };
        nursery.restore()?;
        Ok(nursery)
    }

    /// Makes the copy equal to the original, and touches nothing that already is.
    fn restore(&self) -> std::io::Result<()> {
        for part in PARTS {
            copy(&self.root.join(part), &self.tree.join(part))?;
        }
        // The benches are a member of the workspace and no part of any check: an empty member keeps cargo content.
        let manifest = self.root.join("benches/Cargo.toml");
        if manifest.exists() {
            copy(&self.root.join("benches"), &self.tree.join("benches"))?;
        }
        Ok(())
    }

    /// Plants `bug`, builds, and runs the check that must find it. `progress` hears of its executions.
    pub fn grow(&self, bug: &Bug, progress: impl Fn(u64)) -> BugRow {
        self.row(bug, |row| {
            self.plant(bug)?;
            self.judge(bug, &progress, row).map(drop)
        })
    }

    /// The same; and if that check draws nothing, the cheapest one as well that does, if the page names one.
    pub fn draw(&self, bug: &Bug, progress: impl Fn(u64)) -> Vec<BugRow> {
        let planted = self.plant(bug);
        let other = bug.by_who_draws();
        let checks = iter::once(bug).chain(&other);
        let run = |bug: &Bug| {
            self.row(bug, |row| {
                planted.clone()?;
                self.judge(bug, &progress, row).map(drop)
            })
        };
        checks.map(run).collect()
    }

    /// The row that `fill` fills, with the time that it took.
    #[allow(
        clippy::disallowed_methods,
        reason = "how long it took until the bug was found is measured here"
    )]
    fn row(&self, bug: &Bug, fill: impl FnOnce(&mut BugRow) -> Result<(), String>) -> BugRow {
        let start = Instant::now();
        let mut row = row_of(bug, self.blank);
        if let Err(wrong) = fill(&mut row) {
            row.found = false;
            row.message = wrong;
        }
        row.seconds = start.elapsed().as_secs_f64();
        row
    }

    /// Makes the copy the original with the bug in it.
    fn plant(&self, bug: &Bug) -> Result<(), String> {
        self.restore()
            .map_err(|e| format!("the copy of the source: {e}"))?;
        for (path, planted) in bug.plant(&self.tree)? {
            fs::write(&path, planted).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        Ok(())
    }

    /// Builds what is planted and runs the check that must find it. Returns whether each step was held against the specification meanwhile.
    fn judge(&self, bug: &Bug, progress: impl Fn(u64), row: &mut BugRow) -> Result<bool, String> {
        if let Check::Test {
            package,
            target,
            name,
        } = &bug.check
        {
            self.test(bug, [package, target, name], row)?;
            return Ok(true);
        }
        let errors = self.build(Checker::Loom)?;
        match (&bug.check, errors) {
            (Check::Compiler(code), Some(errors)) => {
                let expected = format!("error[{code}]");
                row.found = errors.contains(&expected) && errors.contains(&bug.says);
                row.message = match row.found {
                    true => format!("{expected}: {}", bug.says),
                    false => format!("it does not compile, but not for {expected}:\n{errors}"),
                };
                row.diagram = row.found.then_some(errors);
            }
            (Check::Compiler(_), None) => row.message = format!("the compiler{PASSES}"),
            (Check::Model(_), Some(errors)) => {
                row.message = format!("the planted source does not compile:\n{errors}");
            }
            (Check::Model(model), None) => return self.run(bug, model, progress, row),
            (Check::Test { .. }, _) => unreachable!("it is run above"),
        }
        Ok(true)
    }

    /// Runs one ordinary test, without the checker.
    fn test(
        &self,
        bug: &Bug,
        [package, target, name]: [&str; 3],
        row: &mut BugRow,
    ) -> Result<(), String> {
        // A test target may be there with a feature alone.
        let of = [
            "test",
            "--quiet",
            "-p",
            package,
            "--all-features",
            "--test",
            target,
        ];
        let built = self.cargo(&of, &["--no-run"])?;
        if !built.status.success() {
            let errors = String::from_utf8_lossy(&built.stderr);
            return Err(format!("the planted source does not compile:\n{errors}"));
        }
        let ended = self.cargo(&of, &["--", "--exact", name])?;
        let said = String::from_utf8_lossy(&ended.stdout);
        let failure = failure(&said, name);
        row.searched = Searched::of(1, None);
        row.found = failure
            .as_ref()
            .is_some_and(|text| text.contains(&bug.says));
        row.message = match &failure {
            Some(_) if row.found => format!("{name} fails"),
            Some(text) => format!("{name} fails for another reason: {text}"),
            None if said.contains("1 passed") => format!("{name}{PASSES}"),
            None => format!("{name} was not run:\n{said}"),
        };
        row.diagram = failure;
        Ok(())
    }

    /// Cargo in the copy, in a target folder of its own: a build without the checker would undo the one with it.
    fn cargo(&self, command: &[&str], more: &[&str]) -> Result<Output, String> {
        Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
            .current_dir(&self.tree)
            .args(command)
            .arg("--target-dir")
            .arg(self.target.with_file_name("tests"))
            .args(more)
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("RUST_BACKTRACE", "0")
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .output()
            .map_err(|e| format!("cargo can't be started: {e}"))
    }

    fn run(
        &self,
        bug: &Bug,
        model: &str,
        progress: impl Fn(u64),
        row: &mut BugRow,
    ) -> Result<bool, String> {
        let program = self.program(Checker::Loom);
        let run = |refined| Run::of(&program, model).refined(refined).start(&progress);
        let mut ended = run(true).map_err(|e| e.to_string())?;
        let mut refined = true;
        // The specification speaks first, of whatever rule a bug breaks on its way. What the page says must be found without it as well.
        if let Some(Said::Broke {
            message, diagram, ..
        }) = &ended.said
            && message.starts_with(REFUSED)
            && !diagram.text().contains(&bug.says)
        {
            ended = run(false).map_err(|e| e.to_string())?;
            refined = false;
        }
        match ended.said {
            Some(Said::Broke {
                executions,
                depth,
                goals,
                message,
                diagram,
            }) => {
                row.searched = Searched::of(executions, depth);
                row.goals = goals;
                let text = diagram.text();
                // The picture ends with the message, and with who waits for what.
                row.found = text.contains(&bug.says);
                row.message = match row.found {
                    true => format!("{model}: {}", first_line(&message)),
                    false => format!("{model} fails for another reason: {message}"),
                };
                row.diagram = Some(text);
                // What compares programs tells nothing but its message.
                row.drawing = Some(diagram).filter(|drawing| !drawing.lanes.is_empty());
            }
            Some(Said::Found {
                executions,
                depth,
                exhausted,
                goals,
            }) => {
                row.searched = Searched::of(executions, depth);
                row.exhausted = Some(exhausted);
                row.goals = goals;
                row.message = format!("{model}{PASSES}");
            }
            Some(Said::Progress(_) | Said::Tried(_)) | None => {
                row.message = format!("{model} ended without a word:\n{}", ended.stderr);
            }
        }
        Ok(refined)
    }

    fn target(&self, checker: Checker) -> PathBuf {
        match checker {
            Checker::Loom => self.target.clone(),
            Checker::Shuttle => self.target.with_file_name("schedules"),
        }
    }

    /// The program that was built under this checker.
    fn program(&self, checker: Checker) -> PathBuf {
        self.target(checker).join("planted/biglock-verify")
    }

    /// Builds the copy. Returns the compiler's errors, if it has any.
    ///
    /// A build that was interrupted may leave half of its incremental state behind, and a later one then fails to link: it is made
    /// once more, from nothing.
    fn build(&self, checker: Checker) -> Result<Option<String>, String> {
        let errors = self.build_once(checker)?;
        if errors
            .as_ref()
            .is_some_and(|errors| errors.contains("error: linking with"))
        {
            fs::remove_dir_all(self.target(checker)).map_err(|e| e.to_string())?;
            return self.build_once(checker);
        }
        Ok(errors)
    }

    fn build_once(&self, checker: Checker) -> Result<Option<String>, String> {
        let output = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
            .current_dir(&self.tree)
            .args([
                "build",
                "--quiet",
                "--profile",
                "planted",
                "-p",
                "biglock-verify",
            ])
            .args(["--config", checker.flags(), "--target-dir"])
            .arg(self.target(checker))
            // Cargo's own settings for this run must not reach into the copy.
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .output()
            .map_err(|e| format!("cargo can't be started: {e}"))?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok((!output.status.success()).then_some(errors))
    }
}

/// The row of a bug that is not planted yet, with what is known of the check that is to find it.
fn row_of(bug: &Bug, blank: Blank) -> BugRow {
    let check = bug.check.to_string();
    let searched = match &bug.check {
        Check::Model(name) => blank(name),
        Check::Compiler(_) | Check::Test { .. } => None,
    };
    let property = match &bug.check {
        Check::Model(name) => format!("there is no model {name}"),
        Check::Compiler(_) => "such a change does not compile".into(),
        // Its name is a sentence, behind that of its module.
        Check::Test { name, .. } => name.rsplit("::").next().unwrap_or(name).replace('_', " "),
    };
    let seeds = lab::find(&check).map(|test| ("seeds".into(), test.seeds));
    let exhausted = searched.is_some().then_some(false);
    let run = searched.unwrap_or_else(|| ModelRow {
        bounds: seeds.into_iter().collect(),
        ..ModelRow::new(&check, "", &property, String::new())
    });
    BugRow {
        name: bug.id.clone(),
        title: bug.title.clone(),
        breaks: bug.breaks.clone(),
        diff: bug.diff.clone(),
        level: bug.check.level().into(),
        check,
        property: run.property,
        sizes: exhausted.map(|_| run.sizes),
        bounds: run.bounds,
        searched: run.searched,
        exhausted,
        goals: run.goals,
        says: bug.says.clone(),
        finds: true,
        measured: bug.measured(&bug.check).cloned(),
        found: false,
        seconds: 0.0,
        message: String::new(),
        diagram: None,
        drawing: None,
    }
}

/// What a test that failed said, without what changes from run to run. Nothing if it is not among those that failed.
fn failure(said: &str, test: &str) -> Option<String> {
    let heading = format!("---- {test} stdout ----\n");
    let (_, after) = said.split_once(&heading)?;
    let (text, _) = after.split_once("\nfailures:\n").unwrap_or((after, ""));
    let lines = text.trim().lines();
    let lines = lines.filter(|line| !line.starts_with("note: run with"));
    // "thread 'name' (4711) panicked at ...": the number is the system's.
    let lines = lines.map(|line| match (line.find(" ("), line.find(") panicked at")) {
        (Some(from), Some(to)) if from < to => format!("{}{}", &line[..from], &line[to + 1..]),
        _ => line.to_string(),
    });
    // A panic in std's own code is at a place on this machine.
    let lines = lines.map(|line| match line.split_once(" panicked at /") {
        Some((who, place)) => match place.split_once("/rust/library/") {
            Some((_, place)) => format!("{who} panicked at library/{place}"),
            None => line,
        },
        None => line,
    });
    Some(lines.collect::<Vec<_>>().join("\n"))
}

fn first_line(text: &str) -> &str {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.next().unwrap_or_default().trim()
}

/// Makes `to` equal to `from`: writes what differs, removes what is too much, and leaves alone, with its time stamp, what is equal.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    if !from.is_dir() {
        let new = fs::read(from)?;
        if fs::read(to).ok().as_ref() != Some(&new) {
            if let Some(folder) = to.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(to, new)?;
        }
        return Ok(());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        if !from.join(entry.file_name()).exists() {
            match entry.file_type()?.is_dir() {
                true => fs::remove_dir_all(entry.path())?,
                false => fs::remove_file(entry.path())?,
            }
        }
    }
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        if name != "target" {
            copy(&from.join(&name), &to.join(&name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::explore::{Order, orders};
    use crate::report::ROW;

    #[test]
    fn what_a_test_said_is_the_same_on_each_machine() {
        let said = "\nrunning 1 test\n---- a::b stdout ----\n\nthread 'a::b' (4711) panicked at /somewhere/lib/rust/library/core/src/time.rs:1:2:\n\
                    overflow\nnote: run with `RUST_BACKTRACE=1`\n\nthread 'a::b' (4711) panicked at core/tests/a.rs:3:4:\nworse\n\nfailures:\n    a::b\n";
        let text = "thread 'a::b' panicked at library/core/src/time.rs:1:2:\noverflow\n\n\
                    thread 'a::b' panicked at core/tests/a.rs:3:4:\nworse";
        assert_eq!(failure(said, "a::b").as_deref(), Some(text));
        assert_eq!(failure(said, "a::c"), None);
    }

    /// By each check of each page: a model, an exploration, a test, a simulated one, the compiler, and those that see nothing.
    #[test]
    fn a_row_of_json_has_all_of_its_fields_whatever_the_check_is() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let blank = |name: &str| {
            let order = orders::all().find(|order| order.name == name);
            let model = ModelRow::new(name, "threads", "it holds", "3 threads".into());
            Some(order.map_or(model, Order::row))
        };
        let mut kinds = BTreeSet::new();
        for page in crate::catalogue::read(&root).unwrap() {
            let others: Vec<Bug> = page.by_others().chain(page.by_blind()).collect();
            for bug in iter::once(&page).chain(&others) {
                let row = serde_json::to_value(row_of(bug, blank)).unwrap();
                let has = |field: &str| row.get(field).is_some();
                for field in ROW.split(' ').chain(["found", "finds", "check", "says"]) {
                    assert!(has(field), "{}: no {field} in {row}", bug.id);
                }
                let kind = row["level"].as_str().unwrap().to_string();
                let searches = matches!(bug.check, Check::Model(_));
                assert_eq!(has("states"), searches && kind == "messages", "{row}");
                assert_ne!(has("states"), has("executions"), "{row}");
                assert_ne!(row["property"], "", "{row}");
                // What is no search has no size, and nothing of it can be exhausted.
                assert_eq!(row["sizes"].is_string(), searches, "{row}");
                assert_eq!(row["exhausted"].is_boolean(), searches, "{row}");
                let bounded = kind == "simulation" || has("states");
                assert_eq!(row["bounds"] != serde_json::json!({}), bounded, "{row}");
                kinds.insert((kind, searches));
            }
        }
        let kinds: Vec<_> = kinds.iter().map(|(kind, by)| (&kind[..], *by)).collect();
        let all = [
            ("compiler", false),
            ("messages", true),
            ("simulation", false),
            ("test", false),
            ("threads", true),
        ];
        assert_eq!(kinds, all);
    }

    #[test]
    fn what_a_test_said_is_found_and_its_thread_has_no_number() {
        let said = "\nrunning 1 test\nF\nfailures:\n\n---- a::b stdout ----\n\nthread 'a::b' (4711) panicked at x.rs:1:2:\n\
                    two (and more)\nnote: run with `RUST_BACKTRACE=1`\n\n\nfailures:\n    a::b\n";
        let text = "thread 'a::b' panicked at x.rs:1:2:\ntwo (and more)";
        assert_eq!(failure(said, "a::b").as_deref().map(str::trim), Some(text));
        assert_eq!(failure(said, "b"), None);
    }
}
