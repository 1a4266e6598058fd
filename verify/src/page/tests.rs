//! What the pages say, and whether they are whole.

use std::collections::BTreeMap;
use std::path::Path;

use roxmltree::{Document, Node};

use super::{Report, Scope, bugs, of_models, unfinished};
use crate::catalogue::{Bug, Check, Picture};
use crate::diagram::{Act, Diagram, Row, Story};
use crate::report::{BugRow, Failure, ModelRow, Searched};

fn row(name: &str, exhausted: bool) -> ModelRow {
    let property = "a < b & \"c\" holds";
    let mut row = ModelRow {
        searched: Searched::Executions { executions: 12_345 },
        exhausted,
        goals: [("votes <all>".to_string(), 1_234)].into(),
        seconds: 0.25,
        ..ModelRow::new(name, "threads", property, "2 threads".into())
    };
    row.judge();
    row
}

fn order(name: &str, exhausted: bool) -> ModelRow {
    ModelRow {
        sizes: "3 nodes".into(),
        bounds: [("crashes".to_string(), 2)].into(),
        searched: Searched::States {
            states: 999_999,
            depth: 17,
        },
        ..row(name, exhausted)
    }
}

fn drawing() -> Diagram {
    let did = |lane, act| Row::Did(lane, act);
    Diagram {
        lanes: vec!["one <1>".into(), "two & 2".into()],
        story: Story::Threads(vec![
            did(0, Act::Wants(1, "propose".into())),
            did(0, Act::Enters(1, "propose".into())),
            did(0, Act::Leaves(true)),
            did(1, Act::Notes("</text> is no end".into())),
        ]),
        broken: "two <leaders>".into(),
    }
}

fn broken(name: &str) -> ModelRow {
    let failure = Failure {
        message: "execution 7: two <leaders>".into(),
        diagram: Some(drawing().text()),
        drawing: Some(drawing()),
    };
    ModelRow {
        failure: Some(failure),
        ..row(name, false)
    }
}

/// The part of a page that is seen, which is XML as well; and all its text.
fn seen(page: &str) -> &str {
    let from = page.find("<main>").unwrap();
    let to = page.find("</main>").unwrap() + "</main>".len();
    &page[from..to]
}

fn text(node: Node<'_, '_>) -> String {
    let texts = node.descendants().filter(Node::is_text);
    texts.filter_map(|node| node.text()).collect()
}

/// How many pictures there are in it, each once and whole.
fn pictures(node: Node<'_, '_>) -> usize {
    let whole = |n: &Node<'_, '_>| n.has_tag_name("svg") && n.attribute("class") == Some("diagram");
    node.descendants().filter(whole).count()
}

fn lead(main: &Document<'_>) -> String {
    let mut all = main.descendants();
    let lead = all.find(|node| {
        node.attribute("class")
            .is_some_and(|c| c.starts_with("lead"))
    });
    text(lead.unwrap())
}

/// A page that asks for nothing but itself.
fn check_whole(page: &str) {
    for asks in ["<script", "<link", "src=", "@import", "url(", "https:"] {
        assert!(!page.contains(asks), "{asks}");
    }
    let elsewhere = page.replace("http://www.w3.org/2000/svg", "");
    assert!(!elsewhere.contains("http:"));
    let main = Document::parse(seen(page)).unwrap();
    let mut ids: Vec<_> = main
        .descendants()
        .filter_map(|n| n.attribute("id"))
        .collect();
    ids.sort_unstable();
    let many = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), many, "each id is there once: {ids:?}");
    let links = main.descendants().filter_map(|n| n.attribute("href"));
    for link in links.filter_map(|link| link.strip_prefix('#')) {
        assert!(ids.contains(&link), "{link} leads nowhere");
    }
}

#[test]
fn the_page_has_a_row_for_each_model_with_all_that_is_known() {
    let rows = [
        row("votes-3", true),
        row("b<d&", true),
        order("orders-x", true),
    ];
    let page = of_models(&rows, &Scope::default());
    check_whole(&page);
    let main = Document::parse(seen(&page)).unwrap();
    let found: Vec<_> = main
        .descendants()
        .filter(|n| n.has_tag_name("tr"))
        .collect();
    let found: Vec<String> = found.into_iter().map(text).collect();
    assert_eq!(found.len(), 2 + rows.len(), "two of them are headings");
    let has = |row: usize, parts: &[&str]| {
        for part in parts {
            assert!(found[row].contains(part), "{part} is not in {}", found[row]);
        }
    };
    has(
        1,
        &[
            "votes-3",
            "a < b & \"c\" holds",
            "12,345",
            "yes",
            "0.2",
            "votes <all>\u{a0}1,234",
        ],
    );
    has(2, &["b<d&"]);
    has(4, &["orders-x", "at most: crashes 2", "999,999", "17"]);
}

#[test]
fn the_first_line_says_what_was_not_exhausted() {
    let said = |rows: &[ModelRow], scope: &Scope| {
        let page = of_models(rows, scope);
        check_whole(&page);
        lead(&Document::parse(seen(&page)).unwrap())
    };
    let none = Scope::default();
    let whole = said(&[row("a", true), order("o", true)], &none);
    assert!(whole.starts_with("Exhausted without a bound: every model of threads that ran."));
    assert!(
        whole.contains("Exhausted only within the bounds"),
        "{whole}"
    );
    assert!(whole.contains("1 of 1 model holds"), "{whole}");

    let short = said(
        &[row("a", true), row("cut", false), order("o", false)],
        &none,
    );
    assert!(short.starts_with("Not exhausted: cut, o."), "{short}");
    assert!(!short.contains("Exhausted without") && !short.contains("Exhausted only"));

    let broke = said(&[broken("a"), order("o", true)], &none);
    assert!(
        broke.starts_with("Broken, and so not exhausted: a."),
        "{broke}"
    );
    assert!(broke.contains("0 of 1 model holds") && !broke.contains("Exhausted"));

    let mut counted = row("count", true);
    counted.fail("12345 executions, and 9 are kept");
    let counted = said(&[counted], &none);
    assert!(counted.starts_with("Failed: count."), "{counted}");

    let gone = Scope {
        gone: vec!["old".into()],
        ..Scope::default()
    };
    let gone = said(&[row("a", true)], &gone);
    assert!(
        gone.starts_with("Counts are kept of models that are gone: old."),
        "{gone}"
    );
}

#[test]
fn the_page_says_what_was_not_run() {
    let scope = |filter: Option<&str>, others, deep: &[&str]| Scope {
        command: "cargo verify <x>".into(),
        filter: filter.map(String::from),
        others,
        deep: deep.iter().map(|&name| name.into()).collect(),
        ..Scope::default()
    };
    let said = |scope: &Scope| {
        let page = of_models(&[row("a", true)], scope);
        text(Document::parse(seen(&page)).unwrap().root())
    };
    let some = said(&scope(Some("vo<"), 61, &[]));
    assert!(
        some.contains("Not run: 61 others, without vo< in the name."),
        "{some}"
    );
    assert!(some.contains("Written by cargo verify <x>."));
    let one = Scope {
        exact: true,
        ..scope(Some("a"), 1, &[])
    };
    assert!(said(&one).contains("Not run: 1 other, not named a."));
    let most = said(&scope(None, 0, &["orders-deep"]));
    assert!(
        most.contains("what --deep adds (orders-deep). All else was run."),
        "{most}"
    );
    assert!(said(&scope(None, 0, &[])).contains("nothing; all there is was run."));
}

#[test]
fn the_page_has_a_ledger_by_rule_and_what_was_not_checked() {
    let rules = crate::proof::rules();
    let scope = Scope {
        rules: rules.clone(),
        ..Scope::default()
    };
    let rows = [
        row("votes-3", true),
        broken("votes-stale"),
        order("orders-reads", true),
    ];
    let page = of_models(&rows, &scope);
    check_whole(&page);
    let main = Document::parse(seen(&page)).unwrap();
    let of = |id: &str| {
        let mut all = main.descendants();
        text(
            all.find(|n| n.attribute("id") == Some(&format!("rule-{id}")[..]))
                .unwrap(),
        )
    };
    let reads = of("section-8-reads");
    for part in ["holds in part", "orders-reads", "999,999", "yes", "R1, R2"] {
        assert!(reads.contains(part), "{part} is not in {reads}");
    }
    let assumed = of("lock-5");
    assert!(
        assumed.contains("FAILED, not exhausted") && !assumed.contains("votes-3"),
        "{assumed}"
    );
    assert!(of("section-7").contains("not run"));
    assert!(of("section-5-1").contains("tests in core/tests/paper/terms.rs"));
    for rule in &rules {
        assert!(of(&rule.id).contains(&rule.says), "{}", rule.id);
    }
    let said = text(main.root());
    for part in [
        "What was not checked, and why",
        "Begun, and not exhausted: votes-stale.",
        "Exhausted within bounds alone",
        "Weak memory.",
        "Panics in a user's storage or transport",
        "it wakes who has waited longest, and no other choice is tried",
        "loom has room for five, the main thread included",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    // What of loom was not validated is a table, and its first cells are names.
    let cells = main.descendants().filter(|n| n.has_tag_name("td"));
    let cells: Vec<String> = cells.map(text).collect();
    for name in ["notify_one", "try_lock", "wait_timeout"] {
        assert!(
            cells.contains(&name.to_string()),
            "{name} is not in {cells:?}"
        );
    }
    // Of other people's checks it has no rules to tell of.
    let theirs = of_models(&rows, &Scope::default());
    check_whole(&theirs);
    assert!(!theirs.contains("The ledger, by rule") && !theirs.contains("Weak memory."));
}

#[test]
fn what_was_found_on_purpose_is_no_failure_and_is_drawn() {
    let mut found = broken("course-bank-two-sections");
    found.bounds = [("preemptions".to_string(), 2)].into();
    found.expect("two <leaders>");
    let page = of_models(&[row("good", true), found], &Scope::default());
    let text = seen(&page);
    assert!(text.contains("Broken on purpose") && !text.contains("within bounds alone"));
    assert!(!text.contains("Not exhausted") && !text.contains("What is wrong"));
    assert!(text.contains("1 of 1 model holds"));
    assert!(text.contains("<svg"));
}

#[test]
fn a_failure_is_drawn_in_the_page_and_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("a/report");
    let report = Report::begin(&inner, "cargo verify").unwrap();
    let begun = std::fs::read_to_string(report.page()).unwrap();
    assert!(begun.contains("This run has not ended"));
    let rows = [row("b", true), broken("a")];
    report.models(&rows, &Scope::default()).unwrap();
    let page = std::fs::read_to_string(report.page()).unwrap();
    assert!(!page.contains("This run has not ended"));
    check_whole(&page);
    let main = Document::parse(seen(&page)).unwrap();
    let drawn: Vec<_> = main
        .descendants()
        .filter(|n| n.has_tag_name("text"))
        .collect();
    let drawn: Vec<String> = drawn.into_iter().map(text).collect();
    for word in [
        "one <1>",
        "two & 2",
        "propose",
        "</text> is no end",
        "two <leaders>",
    ] {
        assert!(
            drawn.iter().any(|text| text == word),
            "{word} is not in {drawn:?}"
        );
    }
    let said = text(main.root());
    assert!(said.contains("execution 7: two <leaders>") && said.contains("  X  two <leaders>"));
    let file = std::fs::read_to_string(report.file("a")).unwrap();
    Document::parse(&file).unwrap();
    assert!(!report.file("b").exists());
}

#[test]
fn a_folder_that_cannot_be_written_to_is_an_error_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    assert!(Report::begin(&file, "").unwrap_err().contains("file"));
    assert!(Report::begin(&file.join("below"), "").is_err());
    // A page that can't be replaced: here it is a folder.
    std::fs::create_dir_all(folder.path().join("index.html")).unwrap();
    let wrong = Report::begin(folder.path(), "").unwrap_err();
    assert!(wrong.contains("index.html"), "{wrong}");
    check_whole(&unfinished("cargo verify"));
}

#[test]
fn only_what_an_earlier_run_has_written_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let logo = "<svg xmlns='http://www.w3.org/2000/svg'/>";
    std::fs::write(at("logo.svg"), logo).unwrap();
    std::fs::write(at("index.html"), "<h1>my own page</h1>").unwrap();
    let wrong = Report::begin(folder.path(), "").unwrap_err();
    assert!(wrong.contains("name another folder"), "{wrong}");
    let page = std::fs::read_to_string(at("index.html")).unwrap();
    assert_eq!(page, "<h1>my own page</h1>");

    std::fs::remove_file(at("index.html")).unwrap();
    for broke in [true, false] {
        let report = Report::begin(folder.path(), "").unwrap();
        assert!(!report.file("a").exists(), "the picture of an earlier run");
        if broke {
            report.models(&[broken("a")], &Scope::default()).unwrap();
            assert!(report.file("a").exists());
        }
    }
    assert_eq!(std::fs::read_to_string(at("logo.svg")).unwrap(), logo);
}

fn bug(id: &str, story: &str) -> Bug {
    Bug {
        id: id.into(),
        title: "a <b> & `c`".into(),
        made_by: Some("[somebody](../x.md)".into()),
        breaks: "the `rule`".into(),
        page: "x.md".into(),
        check: Check::Model("votes-3".into()),
        says: "two <leaders>".into(),
        also: Vec::new(),
        measured: Vec::new(),
        not_seen_by: vec!["the model `votes-5`".into()],
        unseen: vec![Check::Model("votes-5".into())],
        story: story.into(),
        picture: None,
        diff: "--- a/x\n+++ b/x\n@@ -1 +1 @@\n same\n-old < new\n+new\n".into(),
    }
}

fn planted(bug: &Bug, found: bool) -> BugRow {
    BugRow {
        name: bug.id.clone(),
        title: bug.title.clone(),
        breaks: bug.breaks.clone(),
        diff: bug.diff.clone(),
        level: "threads".into(),
        check: "votes-3".into(),
        property: "it holds".into(),
        sizes: Some("3 threads".into()),
        bounds: BTreeMap::new(),
        searched: Searched::of(1_234, None),
        exhausted: Some(false),
        goals: BTreeMap::new(),
        says: bug.says.clone(),
        finds: true,
        measured: None,
        found,
        seconds: 40.0,
        message: "votes-3 fails <for another reason>".into(),
        diagram: Some(drawing().text()),
        drawing: Some(drawing()),
    }
}

#[test]
fn the_page_of_bugs_has_each_with_its_story_its_change_and_its_picture() {
    let all = [
        bug(
            "K2",
            "Two *lines*, and <script>alert(1)</script>.\n\nSee [K1](K1.md).",
        ),
        bug("K2", "x"),
        bug("L1", "y"),
    ];
    let rows = [
        planted(&all[0], true),
        planted(&all[1], true),
        planted(&all[2], false),
    ];
    let page = bugs::page(&all, &rows, &Scope::default());
    check_whole(&page);
    let main = Document::parse(seen(&page)).unwrap();
    let articles: Vec<_> = main
        .descendants()
        .filter(|n| n.attribute("class") == Some("bug"))
        .collect();
    let ids: Vec<_> = articles.iter().filter_map(|n| n.attribute("id")).collect();
    assert_eq!(ids, ["K2", "K2-2", "L1"]);
    for article in &articles {
        assert_eq!(pictures(*article), 1);
    }
    let first = text(articles[0]);
    for part in [
        "a <b> & c",
        "somebody",
        "the rule",
        "by a model of threads, in execution 1,234",
        "Two lines, and <script>alert(1)</script>.",
        "See K1.",
        "-old < new",
    ] {
        assert!(first.contains(part), "{part} is not in {first}");
    }
    let added = main
        .descendants()
        .filter(|n| n.attribute("class") == Some("plus"));
    assert_eq!(added.map(text).collect::<Vec<_>>(), ["+new\n"; 3]);
    let said = lead(&main);
    assert!(
        said.starts_with("Not found: L1. 2 of 3 planted bugs were found."),
        "{said}"
    );
    assert!(text(articles[2]).contains("It was not found: votes-3 fails <for another reason>"));
}

#[test]
fn the_stories_of_the_catalogue_become_pages() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let all = crate::catalogue::read(&root).unwrap();
    for bug in &all {
        assert!(
            bug.story.len() > 40 && !bug.breaks.is_empty(),
            "{}: {:?}",
            bug.id,
            bug.story
        );
        assert!(
            !bug.story.contains("```") && !bug.story.contains("| "),
            "{}",
            bug.id
        );
    }
    let rows: Vec<BugRow> = all.iter().map(|bug| planted(bug, true)).collect();
    let page = bugs::page(&all, &rows, &Scope::default());
    check_whole(&page);
}

#[test]
fn the_page_of_models_has_the_catalogue_with_its_pictures() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let scope = Scope {
        bugs: crate::catalogue::read(&root).unwrap(),
        rules: crate::proof::rules(),
        ..Scope::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let report = Report::begin(folder.path(), "").unwrap();
    report.models(&[row("votes-3", true)], &scope).unwrap();
    let page = std::fs::read_to_string(report.page()).unwrap();
    check_whole(&page);
    let main = Document::parse(seen(&page)).unwrap();
    let plain = |markdown: &str| {
        let cell = format!("<dd>{}</dd>", bugs::markdown(markdown, true).into_string());
        text(Document::parse(&cell).unwrap().root())
    };
    let mut drawn = 0;
    for bug in &scope.bugs {
        let mut all = main.descendants();
        let article = all.find(|n| n.attribute("id") == Some(&bug.id));
        let article = article.unwrap_or_else(|| panic!("{} is not in the page", bug.id));
        let said = text(article);
        let told = [Some(&bug.title), bug.made_by.as_ref(), Some(&bug.breaks)];
        let told = told.into_iter().flatten().chain(&bug.not_seen_by);
        let checks = bug.checks().map(|check| check.to_string());
        let says = bug.also.iter().map(|(_, says)| says).chain([&bug.says]);
        let measured = bug.measured.iter().map(|(_, how)| how.to_string());
        let parts = told.map(|part| plain(part)).chain(checks);
        let parts = parts.chain(says.cloned()).chain(measured);
        let picture = bug.picture.as_ref().unwrap();
        let lines = bug.diff.lines().chain(picture.text.lines());
        for part in parts.chain(lines.map(String::from)) {
            assert!(said.contains(&part), "{}: {part} is not in {said}", bug.id);
        }
        let svg = pictures(article);
        assert_eq!(svg, usize::from(picture.drawing.is_some()), "{}", bug.id);
        assert_eq!(svg == 1, report.file(&bug.id).exists());
        drawn += svg;
    }
    assert!(drawn >= 40, "{drawn} pictures");
    let said = text(main.root());
    assert!(said.contains("when each page of the catalogue was last blessed"));
    assert!(!said.contains("are runs of their own"));
    // A check and a rule's bug lead to where they are.
    let leads = |to: &str| main.descendants().any(|n| n.attribute("href") == Some(to));
    assert!(leads("#votes-3") && leads("#catalogue") && leads("#K2"));
}

#[test]
fn a_bug_whose_test_draws_nothing_has_the_picture_that_is_kept() {
    let mut all = [bug("K2", "x")];
    all[0].picture = Some(Picture {
        by: Check::Model("orders-x".into()),
        text: drawing().text(),
        drawing: Some(drawing()),
    });
    let mut row = planted(&all[0], true);
    row.level = "test".into();
    row.drawing = None;
    let page = bugs::page(&all, &[row], &Scope::default());
    check_whole(&page);
    assert!(page.contains("<svg") && page.contains("Drawn by <code>orders-x</code>"));
}

#[test]
fn the_page_says_whose_threads_ran() {
    let said = |levels: &[&str]| {
        let rows: Vec<ModelRow> = levels
            .iter()
            .map(|level| ModelRow {
                level: level.to_string(),
                ..row(level, true)
            })
            .collect();
        of_models(&rows, &Scope::default())
    };
    let (node, course) = ("threads of the real node", "of the course");
    let has = |page: &str| (page.contains(node), page.contains(course));
    assert_eq!(has(&said(&["threads"])), (true, false));
    assert_eq!(has(&said(&["course"])), (false, true));
    assert_eq!(has(&said(&["threads", "course"])), (true, true));
}

/// Chromium prints what a closed part holds only if it is told so; and what scrolls on a screen is cut off on paper.
#[test]
fn on_paper_nothing_is_folded_cut_off_or_dark() {
    let page = unfinished("");
    let (_, print) = page.split_once("@media print {").expect("rules for paper");
    for rule in [
        "details::details-content { content-visibility: visible;",
        ".scroll, pre { overflow: visible; }",
        ".scroll svg { max-width: 100%; max-height: 150mm;",
        ":root { color-scheme: light;",
    ] {
        assert!(print.contains(rule), "{rule}");
    }
    for dark in page
        .split("@media ")
        .filter(|part| part.contains("scheme: dark)"))
    {
        assert!(dark.starts_with("screen and "), "{dark}");
    }
}
