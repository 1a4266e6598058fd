//! Whether the ledger leaves nothing out.

use std::path::{Path, PathBuf};

use super::{Rule, ledger, outside, parse, rules, stands_for, summary, tests_in, text};
use crate::report::{Golden, ModelRow, Searched};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The names of all models and explorations: there is a count of each.
fn names() -> Vec<String> {
    let golden = ["verify/models.golden", "verify/orders.golden"];
    let read = |path: &&str| std::fs::read_to_string(root().join(path)).unwrap();
    let kept = golden.iter().map(read).collect::<String>();
    assert!(Golden::parse(&kept) != Golden::default());
    let names = kept.lines().filter_map(|line| line.split(' ').next());
    names.map(String::from).collect()
}

fn row(name: &str) -> ModelRow {
    ModelRow {
        searched: Searched::Executions { executions: 1_234 },
        exhausted: true,
        seconds: 0.5,
        ..ModelRow::new(name, "threads", "it holds", "2 threads".into())
    }
}

#[test]
fn every_rule_has_checks_and_they_exist() {
    let (all, names) = (rules(), names());
    let bugs = crate::catalogue::read(&root()).unwrap();
    let mut ids: Vec<&str> = all.iter().map(|rule| rule.id.as_str()).collect();
    ids.sort_unstable();
    let many = ids.len();
    ids.dedup();
    assert!(many > 20 && ids.len() == many, "each rule once: {ids:?}");
    for rule in &all {
        let Rule { id, says, from, .. } = rule;
        assert!(
            !id.is_empty() && !says.is_empty() && !from.is_empty(),
            "{rule:?}"
        );
        assert!(
            !rule.models.is_empty() || !rule.explorations.is_empty(),
            "nothing stands for {id}"
        );
        assert!(
            !rule.bugs.is_empty() || !rule.tests.is_empty(),
            "nothing else stands for {id}"
        );
        for pattern in rule.models.iter().chain(&rule.explorations) {
            let there = names.iter().any(|name| super::fits(pattern, name));
            assert!(there, "{id} names {pattern}, which is not there");
        }
        for bug in &rule.bugs {
            assert!(
                bugs.iter().any(|known| known.id == *bug),
                "{id} names {bug}, which is not there"
            );
        }
        for file in &rule.tests {
            assert!(
                tests_in(&root(), file) > Some(0),
                "{id} names {file}, in which there is no test"
            );
        }
    }
}

#[test]
fn every_model_and_every_bug_stands_for_a_rule() {
    let all = rules();
    for name in names() {
        assert_ne!(
            stands_for(&all, &name),
            [""; 0],
            "{name} stands for no rule"
        );
    }
    for bug in crate::catalogue::read(&root()).unwrap() {
        let has = |rule: &Rule| rule.bugs.contains(&bug.id);
        assert!(all.iter().any(has), "{} breaks no rule", bug.id);
    }
    let papers = std::fs::read_dir(root().join("core/tests/paper")).unwrap();
    for paper in papers.flatten() {
        let file = format!("core/tests/paper/{}", paper.file_name().to_string_lossy());
        let has = |rule: &Rule| rule.tests.contains(&file);
        assert!(all.iter().any(has), "{file} stands for no rule");
    }
}

#[test]
fn a_rule_is_what_its_part_says() {
    let text = "# Title\n\nProse.\n\n## lock-1: it is locked\n\nFrom here\nand there.\n\n- models: a-*, b\n- bugs: K1\n- tests: x.rs\n";
    let rule = Rule {
        id: "lock-1".into(),
        says: "it is locked".into(),
        from: "From here and there.".into(),
        models: vec!["a-*".into(), "b".into()],
        explorations: Vec::new(),
        bugs: vec!["K1".into()],
        tests: vec!["x.rs".into()],
    };
    assert!(rule.has("a-1") && rule.has("b") && !rule.has("a") && !rule.has("b-1"));
    assert_eq!(parse(text), [rule]);
}

#[test]
fn the_ledger_says_what_this_run_shows_and_what_it_does_not() {
    let all = parse(
        "\n## a: first\n\nx.\n\n- models: m-*\n- bugs: K1\n\n## b: second\n\ny.\n\n- models: n\n",
    );
    let mut rows = [row("m-1"), row("other")];
    let said = text(&all, &rows);
    assert!(said.contains("a: first\n  x. This run: holds."), "{said}");
    assert!(
        said.contains("m-1") && said.contains("1,234  exhausted, 0.5 s"),
        "{said}"
    );
    assert!(said.contains("bugs, not run here: K1"), "{said}");
    assert!(
        said.contains("b: second\n  y. This run: not run."),
        "{said}"
    );
    assert!(!said.contains("other"));
    let told = summary(&ledger(&all, &rows));
    assert_eq!(
        told,
        "No rule is broken: 1 of 2 hold in all that stands for them, 0 in the part of it that ran, and 1 were not asked about"
    );
    rows[0].breaks("two leaders");
    rows[0].expect("two leaders");
    assert!(
        text(&all, &rows).contains("x. This run: not run."),
        "what is broken on purpose shows no rule"
    );
    rows[0] = row("m-1");
    rows[0].exhausted = false;
    rows[0].judge();
    let said = text(&all, &rows);
    assert!(
        said.contains("This run: FAILED.") && said.contains("FAILED, not exhausted"),
        "{said}"
    );
    assert_eq!(
        summary(&ledger(&all, &rows)),
        "1 of 2 rules are broken, or not shown"
    );
}

#[test]
fn a_rule_of_which_not_all_ran_holds_in_part() {
    let all = parse("\n## a: first\n\nx.\n\n- models: votes-3, votes-5\n");
    let rows = [row("votes-3"), row("votes-5")];
    assert_eq!(ledger(&all, &rows)[0].verdict(), "holds");
    assert_eq!(ledger(&all, &rows[1..])[0].verdict(), "holds in part");
}

#[test]
fn what_is_outside_is_what_the_readme_says() {
    let outside = outside();
    assert!(
        outside.contains("**Weak memory.**") && outside.contains("**Liveness**"),
        "{outside}"
    );
    assert!(!outside.contains("\n## "));
}
