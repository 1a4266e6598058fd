//! Pages: real ones, and ones that are wrong.

use super::*;
use crate::report::Golden;
use crate::tries::{SEEDS, TRIES, Tries};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn every_page_can_be_read_and_every_change_applies() {
    let bugs = read(&root()).unwrap();
    assert!(bugs.len() >= 20, "the catalogue has {} pages", bugs.len());
    for bug in bugs {
        let planted = bug.plant(&root()).unwrap();
        assert!(!planted.is_empty());
    }
}

/// A page with another picture than its drawing, or without the drawing that its check makes, was not blessed as a whole.
#[test]
fn every_page_has_a_picture_and_what_is_drawn_is_kept_beside_it() {
    let bugs = read(&root()).unwrap();
    let mut kept = Vec::new();
    for bug in &bugs {
        let again = format!("`cargo verify --bugs {} --exact --bless`", bug.id);
        let picture = bug.picture.as_ref().expect("a picture");
        let mut drawn = bug.checks().filter(|check| check.is_drawn());
        let by = drawn.next().unwrap_or(&bug.check);
        assert_eq!(picture.by, *by, "{}: {again}", bug.id);
        let says = match *by == bug.check {
            true => &bug.says,
            false => &bug.also.iter().find(|(check, _)| check == by).unwrap().1,
        };
        let says_so = picture.text.contains(says);
        assert!(says_so, "{}: {says:?} is not in its picture", bug.id);
        let text = picture.drawing.as_ref().map(|drawing| drawing.text());
        let text = text.as_ref().map(|text| text.trim_end());
        let wanted = by.is_drawn().then_some(&picture.text[..]);
        assert_eq!(text, wanted, "{}: {again}", bug.id);
        kept.extend(by.is_drawn().then(|| bug.drawing_file()));
    }
    let folder = fs::read_dir(root().join("verify/bugs/drawings")).unwrap();
    let mut files: Vec<PathBuf> = folder.map(|file| file.unwrap().path()).collect();
    files.sort();
    kept.sort();
    assert_eq!(files, kept, "a drawing of no page");
}

#[test]
fn what_another_check_has_drawn_is_said_to_be_its() {
    let page =
        "# X1: x\n\n| found by | the test `a::b` of `p --test q` |\n| says | s |\n\n```diff\n```\n";
    let bug = |page: &str| Bug::parse(Path::new("x.md"), page).unwrap();
    assert_eq!(bug(page).picture, None);
    let by = |by: Check| Picture {
        by,
        text: "one\n```\ntwo".into(),
        drawing: None,
    };
    let cheapest = bug(page).check;
    let mut blessed = page.to_string();
    for by in [
        by(cheapest.clone()),
        by(Check::Model("orders-x".into())),
        by(Check::Compiler("E0502".into())),
    ] {
        blessed = picture::with_picture(&blessed, &by, &cheapest);
        let sentence = blessed.contains("Drawn by ");
        assert_eq!(sentence, by.by != cheapest, "{blessed}");
        assert_eq!(bug(&blessed).picture, Some(by));
    }
}

#[test]
fn a_blessed_drawing_is_kept_beside_the_page_and_one_that_is_no_more_goes() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("X1-x.md");
    let text = "# X1: x\n\n| found by | the model `m` |\n| says | s |\n\n```diff\n```\n";
    fs::write(&page, text).unwrap();
    let read = || {
        let mut bug = Bug::parse(&page, &fs::read_to_string(&page).unwrap()).unwrap();
        bug.read_drawing().unwrap();
        bug
    };
    let drawing = crate::diagram::of_threads(&[], "s");
    let mut new = Picture {
        by: Check::Model("m".into()),
        text: "X s".into(),
        drawing: Some(drawing),
    };
    for _ in 0..2 {
        read().bless(&new).unwrap();
        assert_eq!(read().picture.as_ref(), Some(&new));
        assert_eq!(read().drawing_file().exists(), new.drawing.is_some());
        new.drawing = None;
    }
}

#[test]
fn the_picture_is_of_the_cheapest_check_that_draws() {
    let bug = |found_by: &str| {
        let rows = "| also found by | the test `c` of `p --test q`, which says `t` |\n\
                    | also found by | the model `checker-x`, which says `u` |\n\
                    | also found by | the model `n`, which says `v` |\n\
                    | also found by | the model `o`, which says `w` |\n";
        let page =
            format!("# X1: x\n\n| found by | {found_by} |\n| says | s |\n{rows}\n```diff\n```\n");
        Bug::parse(Path::new("x.md"), &page).unwrap()
    };
    let other = bug("the test `a::b` of `p --test q`").by_who_draws();
    let other = other.map(|bug| (bug.check, bug.says));
    assert_eq!(other, Some((Check::Model("n".into()), "v".into())));
    assert_eq!(bug("the model `m`").by_who_draws(), None);
}

/// As verify/bugs/README.md says.
#[test]
fn no_bug_that_was_measured_is_missed_by_two_preemptions() {
    let mut threads = 0;
    for bug in read(&root()).unwrap() {
        for (check, measured) in &bug.measured {
            if let Measured::Threads { bounded, .. } = measured {
                let two = bounded.iter().find(|bound| bound.preemptions == 2);
                let found = two.is_some_and(|bound| bound.execution.is_some());
                assert!(found, "{}: {check} with two preemptions", bug.id);
                threads += 1;
            }
        }
    }
    assert!(threads >= 20, "{threads} measured");
}

/// Whether the tree has this check. A page that names one that is gone says nothing.
fn exists(check: &Check) -> bool {
    match check {
        Check::Compiler(_) => true,
        Check::Model(name) => {
            let golden = ["verify/models.golden", "verify/orders.golden"];
            let golden = golden.map(|file| fs::read_to_string(root().join(file)).unwrap());
            let mut kept = golden.iter().flat_map(|golden| golden.lines());
            kept.any(|line| line.split_whitespace().next() == Some(name))
        }
        Check::Test { target, name, .. } if target == "lab" => crate::lab::find(name).is_some(),
        Check::Test {
            package,
            target,
            name,
        } => {
            let tests = match &package[..] {
                "biglock" => root().join("core/tests"),
                "biglock-udp" => root().join("net-udp/tests"),
                _ => return false,
            };
            let file = [format!("{target}.rs"), format!("{target}/main.rs")]
                .map(|file| tests.join(file))
                .into_iter()
                .find(|file| file.exists());
            let main = fs::read_to_string(file.expect("a test target")).unwrap();
            let has = |source: &str, function: &str| {
                source.contains(&format!("#[test]\nfn {function}() {{"))
            };
            let Some((module, function)) = name.split_once("::") else {
                return has(&main, name);
            };
            let Some((before, _)) = main.split_once(&format!("mod {module};")) else {
                return false;
            };
            let path = before.trim_end().lines().next_back().unwrap_or_default();
            let path = path
                .strip_prefix("#[path = \"")
                .and_then(|path| path.strip_suffix("\"]"));
            let path = path.map_or(format!("{target}/{module}.rs"), str::to_owned);
            let source = fs::read_to_string(tests.join(path)).unwrap();
            has(&source, function)
        }
    }
}

#[test]
fn every_check_that_a_page_names_exists() {
    for bug in read(&root()).unwrap() {
        for check in bug.checks().chain(&bug.unseen) {
            assert!(
                exists(check),
                "{}: there is no {check:?}",
                bug.page.display()
            );
        }
    }
    let test = |package: &str, target: &str, name: &str| {
        exists(&Check::Test {
            package: package.into(),
            target: target.into(),
            name: name.into(),
        })
    };
    assert!(test("biglock", "node", "waiting::whoever_hands_over"));
    assert!(!test("biglock", "node", "waiting::whoever_dances"));
    assert!(!test("biglock", "node", "dancing::whoever_hands_over"));
    assert!(test("biglock", "monitor", "all_waiters_wake"));
    assert!(!test("biglock", "monitor", "all_waiters_dance"));
    assert!(!test("biglock-verify", "lab", "holes::dance"));
    assert!(!exists(&Check::Model("dance".into())));
}

#[test]
fn a_change_that_no_longer_applies_is_an_error() {
    let page = "# X1: x\n\n| found by | the model `m` |\n| says | s |\n\n```diff\n--- a/core/src/lib.rs\n+++ b/core/src/lib.rs\n\
                @@ -1,1 +1,1 @@\n-no such line\n+another\n```\n";
    let bug = Bug::parse(Path::new("x.md"), page).unwrap();
    assert!(
        bug.plant(&root())
            .unwrap_err()
            .contains("no longer applies")
    );
}

#[test]
fn a_page_names_what_finds_its_bug() {
    let check = |found_by: &str| {
        let page = format!("# X1: x\n\n| found by | {found_by} |\n| says | s |\n\n```diff\n```\n");
        Bug::parse(Path::new("x.md"), &page).map(|bug| bug.check)
    };
    assert_eq!(check("the model `m`"), Ok(Check::Model("m".into())));
    assert_eq!(
        check("the compiler, `error[E0502]`"),
        Ok(Check::Compiler("E0502".into()))
    );
    let test = Check::Test {
        package: "p".into(),
        target: "t".into(),
        name: "a::b".into(),
    };
    assert_eq!(check("the test `a::b` of `p --test t`"), Ok(test));
    assert!(check("the test `a::b` of `p`").is_err());
}

#[test]
fn a_page_may_name_others_that_find_its_bug() {
    let bug = |rows: &str| {
        let page = format!(
            "# X1: x\n\n| found by | the model `m` |\n| says | s |\n{rows}\n```diff\n```\n"
        );
        Bug::parse(Path::new("x.md"), &page)
    };
    let two = bug("| also found by | the model `n`, which says `t` |\n\
         | also found by | the test `a::b` of `p --test q`, which says `u v` |\n");
    let others: Vec<Bug> = two.unwrap().by_others().collect();
    let found: Vec<_> = others
        .iter()
        .map(|bug| (bug.check.to_string(), &bug.says[..]))
        .collect();
    assert_eq!(found, [("n".into(), "t"), ("a::b".into(), "u v")]);
    assert!(bug("| also found by | the model `n` |\n").is_err());
    assert!(bug("| also found by | luck, which says `t` |\n").is_err());
    assert_eq!(bug("").unwrap().also, []);
}

#[test]
fn a_page_without_its_parts_is_an_error() {
    for page in [
        "",
        "# X1: x\n",
        "# X1: x\n\n| found by | luck |\n| says | s |\n",
    ] {
        assert!(Bug::parse(Path::new("x.md"), page).is_err(), "{page:?}");
    }
}

#[test]
fn every_page_says_how_hard_its_bug_is_to_find() {
    let kept = ["verify/models.golden", "verify/orders.golden"];
    let kept = kept.map(|file| Golden::parse(&fs::read_to_string(root().join(file)).unwrap()));
    for bug in read(&root()).unwrap() {
        let names: Vec<&str> = bug.measured.iter().map(|(check, _)| &check[..]).collect();
        let checks: Vec<String> = bug.checks().map(Check::to_string).collect();
        assert_eq!(
            names, checks,
            "{}: `cargo verify --bugs {} --exact --measure --bless`",
            bug.id, bug.id
        );
        for (check, (_, measured)) in bug.checks().zip(&bug.measured) {
            let fits = match measured {
                Measured::Compiler => matches!(check, Check::Compiler(_)),
                Measured::Test | Measured::Fixed { .. } | Measured::Programs { .. } => {
                    !check.draws()
                }
                Measured::Threads { schedules, .. } => schedules.of == TRIES,
                Measured::Messages { walks, .. } => walks.of == TRIES,
                Measured::Seeds { seeds } => seeds.of == SEEDS,
            };
            assert!(fits, "{}: {check} and {measured}", bug.id);
            // These draw, from seeds of their own.
            let seeds = matches!(check, Check::Test { target, .. } if target == "properties");
            let fixed = matches!(measured, Measured::Fixed { .. });
            assert_eq!(seeds, fixed, "{}: {check} and {measured}", bug.id);
            if let Some(of) = measured.without_the_bug() {
                let kept = kept.iter().find_map(|kept| kept.count(&check.to_string()));
                let again = format!("cargo verify --bugs {} --exact --measure --bless", bug.id);
                assert_eq!(Some(of), kept, "{}: {check}: `{again}`", bug.id);
            }
        }
    }
}

#[test]
fn every_page_names_a_check_that_does_not_see_its_bug() {
    for bug in read(&root()).unwrap() {
        assert!(!bug.not_seen_by.is_empty(), "{}", bug.id);
        let compiles = !matches!(bug.check, Check::Compiler(_));
        assert_eq!(
            !bug.unseen.is_empty(),
            compiles,
            "{}: {:?}",
            bug.id,
            bug.not_seen_by
        );
        assert!(
            !bug.checks().any(|check| bug.unseen.contains(check)),
            "{}",
            bug.id
        );
    }
}

#[test]
fn what_was_measured_replaces_what_was_there() {
    let page = "# X1: x\n\n| found by | the model `m` |\n| says | s |\n| also found by | the test `a::b` of `p --test q`, which says `t` |\n\
                | not seen by | luck |\n\n```diff\n```\n";
    let measured = |page: &str| Bug::parse(Path::new("x.md"), page).unwrap().measured;
    assert_eq!(measured(page), []);
    let seeds = |broke| Measured::Seeds {
        seeds: Tries {
            broke,
            of: 10,
            ..Tries::default()
        },
    };
    let once = with_measured(page, &[("a::b".into(), seeds(1))]);
    assert_eq!(measured(&once), [("a::b".to_string(), seeds(1))]);
    let rows = [("m".into(), Measured::Test), ("a::b".into(), seeds(2))];
    let twice = with_measured(&once, &rows);
    assert_eq!(measured(&twice), rows);
    assert_eq!(with_measured(&twice, &[]), page);
    let rows: Vec<&str> = twice.lines().skip(4).take(3).collect();
    assert!(rows[0].starts_with("| also found by"), "{rows:?}");
    assert!(
        rows[2].starts_with("| measured | `a::b`: 2 of 10 seeds"),
        "{rows:?}"
    );
    let wrong = page.replace("luck |", "luck |\n| measured | often |");
    assert!(Bug::parse(Path::new("x.md"), &wrong).is_err());
}
