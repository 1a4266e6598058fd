//! Measures how hard a planted bug is to find: by searches with a bound, and by tries at random.

use std::fs;
use std::iter;
use std::path::Path;

use super::{Checker, Nursery};
use crate::catalogue::{Bug, Check};
use crate::explore::orders;
use crate::jobs::{Run, Said};
use crate::measured::{BOUNDS, Bounded, Measured};
use crate::report::{BugRow, Golden, PASSES, Searched};
use crate::tries::{SEEDS, TRIES, Tries};

/// So many seeds see nothing, where a page says that a simulated test does not.
const BLIND: u64 = 100;

/// What was tried of the source as it is: nothing of it may break.
#[derive(Clone, Debug)]
pub struct Healthy {
    /// The check.
    pub check: String,
    /// What came of it; or why nothing did.
    pub tried: Result<Tries, String>,
}

impl Healthy {
    /// What is wrong with it: if a try broke, or if something that must be reached was not, a count of tries says nothing of a bug.
    pub fn wrong(&self) -> Option<String> {
        let check = &self.check;
        match &self.tried {
            Err(wrong) => Some(format!("{check}: {wrong}")),
            Ok(tried) if tried.broke > 0 => Some(format!(
                "{check}: {tried} tries break, and nothing is planted"
            )),
            // Walks miss what is rare: that is what they are measured for. The search has reached it.
            Ok(tried) if !tried.missed.is_empty() && !is_order(check) => {
                let missed = tried.missed.join(", ");
                Some(format!("{check}: no try ever reached: {missed}"))
            }
            Ok(_) => None,
        }
    }
}

impl Nursery {
    /// Plants `bug` and runs each check that its page names.
    pub fn by_all(&self, bug: &Bug, progress: impl Fn(u64)) -> Vec<BugRow> {
        self.each(
            bug,
            |bug, row| self.judge(bug, &progress, row).map(drop),
            &progress,
        )
    }

    /// Plants `bug` once, and fills a row for each check that finds it. Then come those that don't.
    fn each(
        &self,
        bug: &Bug,
        fill: impl Fn(&Bug, &mut BugRow) -> Result<(), String>,
        progress: impl Fn(u64),
    ) -> Vec<BugRow> {
        let planted = self.plant(bug);
        let others: Vec<Bug> = bug.by_others().collect();
        let find = iter::once(bug).chain(&others).map(|bug| {
            self.row(bug, |row| {
                planted.clone()?;
                fill(bug, row)
            })
        });
        let blind: Vec<Bug> = bug.by_blind().collect();
        let find_not = blind.iter().map(|bug| {
            self.row(bug, |row| {
                row.finds = false;
                planted.clone()?;
                match &bug.check {
                    Check::Test { name, .. } if bug.check.draws() => {
                        self.seeds(name, &progress, row)
                    }
                    _ => self.judge(bug, &progress, row).map(drop),
                }
            })
        });
        find.chain(find_not).collect()
    }

    /// Plants `bug` and runs each check that its page names, and measures how hard it is for those that find it.
    pub fn measure(&self, bug: &Bug, progress: impl Fn(u64)) -> Vec<BugRow> {
        let measure = |bug: &Bug, row: &mut BugRow| {
            row.measured = None;
            let refined = self.judge(bug, &progress, row)?;
            if row.found {
                row.measured = Some(self.measured(bug, row, refined, &progress)?);
            }
            Ok(())
        };
        self.each(bug, measure, &progress)
    }

    /// Runs a simulated test that should see nothing with more seeds than it has.
    fn seeds(&self, name: &str, progress: impl Fn(u64), row: &mut BugRow) -> Result<(), String> {
        self.built(Checker::Loom)?;
        let program = self.program(Checker::Loom);
        let tried = tries(&program, name, "", true, BLIND, progress)?;
        row.bounds = [("seeds".into(), BLIND)].into();
        row.searched = Searched::of(tried.of, None);
        row.found = tried.broke > 0;
        row.message = match row.found {
            true => format!("{name} fails with {tried} seeds"),
            false => format!("{name}, with each of {BLIND} seeds,{PASSES}"),
        };
        Ok(())
    }

    fn measured(
        &self,
        bug: &Bug,
        row: &BugRow,
        refined: bool,
        progress: impl Fn(u64),
    ) -> Result<Measured, String> {
        let execution = row.searched.count();
        Ok(match &bug.check {
            Check::Compiler(_) => Measured::Compiler,
            Check::Test { target, .. } if target != "lab" => {
                Measured::of_test(row.diagram.as_deref().unwrap_or_default())
            }
            Check::Test { name, .. } => {
                self.built(Checker::Loom)?;
                Measured::Seeds {
                    seeds: self.tries(name, &bug.says, refined, progress)?,
                }
            }
            Check::Model(name) if bug.check.level() == "messages" => Measured::Messages {
                state: execution,
                of: self.whole(name)?,
                walks: self.tries(name, &bug.says, refined, progress)?,
            },
            Check::Model(name) if !bug.check.draws() => Measured::Programs {
                execution,
                of: self.whole(name)?,
            },
            Check::Model(name) => Measured::Threads {
                execution,
                of: self.whole(name)?,
                bounded: BOUNDS
                    .iter()
                    .map(|&most| self.bounded(name, most, refined, &progress))
                    .collect::<Result<_, _>>()?,
                schedules: {
                    self.built(Checker::Shuttle)?;
                    self.tries(name, &bug.says, refined, progress)?
                },
            },
        })
    }

    /// The checks that `bugs` name and that draw something, tried on the source as it is.
    pub fn healthy(&self, check: &Check, progress: impl Fn(u64)) -> Healthy {
        let tried = || {
            self.restore()
                .map_err(|e| format!("the copy of the source: {e}"))?;
            self.built(checker_of(check))?;
            self.tries(&check.to_string(), "", true, progress)
        };
        Healthy {
            check: check.to_string(),
            tried: tried(),
        }
    }

    /// Builds, where whatever is planted compiles.
    fn built(&self, checker: Checker) -> Result<(), String> {
        match self.build(checker)? {
            None => Ok(()),
            Some(errors) => Err(format!("it does not compile:\n{errors}")),
        }
    }

    /// How many executions, or states, there are if nothing is broken.
    fn whole(&self, name: &str) -> Result<u64, String> {
        let of = |file: &str| {
            let path = self.root.join("verify").join(file);
            let kept = Golden::parse(&fs::read_to_string(path).ok()?);
            kept.count(name)
        };
        of("models.golden")
            .or_else(|| of("orders.golden"))
            .ok_or_else(|| format!("no count is kept of {name}"))
    }

    /// What a search with at most so many preemptions finds.
    fn bounded(
        &self,
        model: &str,
        preemptions: usize,
        refined: bool,
        progress: impl Fn(u64),
    ) -> Result<Bounded, String> {
        let run = Run::of(&self.program(Checker::Loom), model).refined(refined);
        let ended = run.preemptions(preemptions).start(progress);
        let ended = ended.map_err(|e| e.to_string())?;
        let execution = match ended.said {
            Some(Said::Broke { executions, .. }) => Some(executions),
            Some(Said::Found { .. }) => None,
            _ => {
                return Err(format!(
                    "{model}, bounded, ended without a word:\n{}",
                    ended.stderr
                ));
            }
        };
        Ok(Bounded {
            preemptions,
            execution,
        })
    }

    /// Tries this check as often as its kind is.
    fn tries(
        &self,
        name: &str,
        says: &str,
        refined: bool,
        progress: impl Fn(u64),
    ) -> Result<Tries, String> {
        let (checker, wanted) = match name {
            _ if name.contains("::") => (Checker::Loom, SEEDS),
            _ if is_order(name) => (Checker::Loom, TRIES),
            _ => (Checker::Shuttle, TRIES),
        };
        tries(
            &self.program(checker),
            name,
            says,
            refined,
            wanted,
            progress,
        )
    }
}

fn is_order(name: &str) -> bool {
    orders::all().any(|order| order.name == name)
}

/// Which checker draws for this check.
fn checker_of(check: &Check) -> Checker {
    match check {
        Check::Model(_) if check.level() == "threads" => Checker::Shuttle,
        _ => Checker::Loom,
    }
}

/// Process after process, each as far as it comes.
fn tries(
    program: &Path,
    name: &str,
    says: &str,
    refined: bool,
    wanted: u64,
    progress: impl Fn(u64),
) -> Result<Tries, String> {
    let mut all = Tries::default();
    while all.of < wanted {
        let run = Run::of(program, name).refined(refined);
        let ended = run.tries(all.of..wanted, says).start(&progress);
        let ended = ended.map_err(|e| e.to_string())?;
        match ended.said {
            Some(Said::Tried(some)) if some.of > 0 => all.add(&some),
            _ => {
                return Err(format!(
                    "{name}, tried, ended without a word:\n{}",
                    ended.stderr
                ));
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_try_that_breaks_though_nothing_is_planted_is_wrong_and_so_is_a_goal_that_none_reaches() {
        let wrong_of = |check: &str, tried| {
            let check = check.into();
            Healthy { check, tried }.wrong()
        };
        let wrong = |tried| wrong_of("votes-3", tried);
        let tries = |broke, missed: &[&str]| {
            Ok(Tries {
                broke,
                otherwise: 0,
                of: TRIES,
                missed: missed.iter().map(|goal| goal.to_string()).collect(),
            })
        };
        assert_eq!(wrong(tries(0, &[])), None);
        assert!(
            wrong(tries(1, &[]))
                .unwrap()
                .contains("1 of 10,000 tries break")
        );
        assert!(wrong(tries(0, &["waited"])).unwrap().ends_with("waited"));
        assert_eq!(wrong_of("orders-reads", tries(0, &["a crash"])), None);
        assert!(wrong_of("orders-reads", tries(1, &[])).is_some());
        assert!(wrong(Err("it does not compile".into())).is_some());
    }
}
