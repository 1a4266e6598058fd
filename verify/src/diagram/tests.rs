//! What is drawn, and whether it can be read.

use std::collections::BTreeMap;

use biglock::lock::Step;
use biglock::rules::{HardState, RoleKind};
use biglock::{NodeId, Term};
use roxmltree::{Document, Node};

use super::{Act, Cause, Diagram, Hop, Journey, Row, Sent, Story, of_threads};
use crate::record::{Event, View};

fn view(term: u64, granted: u16) -> View {
    View {
        hard_state: HardState {
            term: Term(term),
            voted_for: None,
        },
        role: RoleKind::Candidate,
        leader: None,
        granted,
        refused: 0,
        durable: true,
        stopped: false,
        last: 0,
        commit: 0,
        applied: 0,
    }
}

fn section(thread: &'static str, section: &'static str, step: Step, view: View) -> Event {
    Event::Section {
        node: NodeId(1),
        thread,
        section,
        step,
        view: (step != Step::Wants).then_some(view),
    }
}

/// A candidate sleeps, a vote wakes it, another does not; it sleeps again, for ever.
fn votes(names: [&'static str; 2]) -> Vec<Event> {
    let [candidate, receiver] = names;
    let steps = |thread, name, steps: &[(Step, View)]| {
        let steps = steps.iter();
        let steps = steps.map(|&(step, view)| section(thread, name, step, view));
        steps.collect::<Vec<Event>>()
    };
    let (none, one, two) = (view(1, 0), view(1, 2), view(1, 6));
    [
        steps(
            candidate,
            "count the votes",
            &[
                (Step::Wants, none),
                (Step::Entered, none),
                (Step::Waits("votes"), none),
            ],
        ),
        steps(
            receiver,
            "handle a message",
            &[
                (Step::Wants, none),
                (Step::Entered, none),
                (Step::Wakes(candidate), one),
                (Step::Left(true), one),
            ],
        ),
        vec![Event::Note {
            thread: receiver,
            text: "the last vote is on its way, and nothing else will ever come",
        }],
        steps(
            candidate,
            "count the votes",
            &[(Step::Woke, one), (Step::Waits("votes"), one)],
        ),
        steps(
            receiver,
            "handle a message",
            &[
                (Step::Wants, one),
                (Step::Entered, one),
                (Step::Left(false), two),
            ],
        ),
    ]
    .concat()
}

#[test]
fn threads_as_text() {
    let text = of_threads(&votes(["election", "receiver"]), "it sleeps\n for ever\n").text();
    let expected = "\
election                           receiver
---------------------------------- ----------------------------------
+ node 1: count the votes
+ zz waits for votes
                                   + node 1: handle a message
                                   | granted by {1}
                                   + broadcasts
                                   * the last vote is on its way,
                                       and nothing else will ever
                                       come
+ node 1: wakes
+ zz waits for votes
                                   + node 1: handle a message
                                   | granted by {1,2}
                                   +
? still waits for votes
  X  it sleeps
  X  for ever
";
    assert_eq!(text, expected);
}

/// Two nodes: a message that arrives twice, and one that does not; then nothing fails any more.
fn journey() -> Diagram {
    let hop = |lane, cause, changes: &[&str], sends: &[Sent]| Hop {
        lane,
        cause,
        changes: changes.iter().map(|&text| text.into()).collect(),
        sends: sends.to_vec(),
    };
    let sent = |to, text: &str, arrives: &[usize]| Sent {
        to,
        text: text.into(),
        arrives: arrives.into(),
    };
    let arrives = |from, text: &str, late| Cause::Arrives {
        from,
        text: text.into(),
        late,
    };
    let hops = vec![
        hop(
            0,
            Cause::Happens("its election timeout passes".into()),
            &["term 2"],
            &[
                sent(1, "RequestVote of term 2", &[]),
                sent(2, "RequestVote of term 2", &[1, 2]),
            ],
        ),
        hop(2, arrives(0, "RequestVote of term 2", true), &[], &[]),
        hop(2, arrives(0, "RequestVote of term 2", false), &[], &[]),
        hop(1, Cause::Happens("a client reads".into()), &[], &[]),
    ];
    Diagram {
        lanes: (1..=3).map(|nth| format!("node {nth}")).collect(),
        story: Story::Nodes(Journey {
            begins: vec![(1, "term 1, log [1]".into())],
            hops,
            quiet: Some(3),
        }),
        broken: "two <leaders> & one term".into(),
    }
}

#[test]
fn nodes_as_text() {
    let text = journey().text();
    let lines: Vec<&str> = text.lines().skip(2).collect();
    let expected = [
        "                                            | term 1, log [1]",
        "  1  * its election timeout passes",
        "     | term 2",
        "  2  o-- RequestVote of term 2 --------------------------------------------------->",
        "                                                                                   | having heard no leader for long",
        "  3  o-- RequestVote of term 2 --------------------------------------------------->",
        "     ..... from here on nothing fails, and what was under way is lost .....",
        "  4                                         * a client reads",
        "  X  two <leaders> & one term",
    ];
    assert_eq!(lines, expected);
}

/// All words of a drawing, in order, by class.
fn words<'a>(svg: &'a Document<'_>, class: &str) -> Vec<&'a str> {
    let texts = svg.descendants().filter(|node| node.has_tag_name("text"));
    let texts = texts.filter(|node| node.attribute("class") == Some(class));
    texts.filter_map(|node| node.text()).collect()
}

fn count(svg: &Document<'_>, tag: &str, class: &str) -> usize {
    let shapes = svg.descendants().filter(|node| node.has_tag_name(tag));
    let has = |node: &Node<'_, '_>| node.attribute("class") == Some(class);
    shapes.filter(has).count()
}

fn number(node: &Node<'_, '_>, name: &str) -> f64 {
    node.attribute(name)
        .and_then(|text| text.parse().ok())
        .unwrap()
}

#[test]
fn a_drawing_is_xml_that_names_every_lane_and_what_broke() {
    let names = ["election <1> & \"co\"", "receiver"];
    let broken =
        "locks & <laws> are broken, in a sentence that is much too long for the width of two lanes";
    let diagram = of_threads(&votes(names), broken);
    let file = diagram.svg_file("a<b");
    let svg = Document::parse(&file).unwrap();
    assert_eq!(words(&svg, "lane"), names);
    assert!(words(&svg, "broken").len() > 1, "it is broken into lines");
    assert_eq!(words(&svg, "broken").join(" "), broken);
    let root = svg.root_element();
    assert!(root.has_tag_name(("http://www.w3.org/2000/svg", "svg")));
    let tag = |name: &str| root.children().find(|node| node.has_tag_name(name));
    assert!(tag("title").unwrap().text().unwrap().contains("a<b"));
    let told = tag("desc").unwrap().descendants();
    let told: String = told.filter_map(|node| node.text()).collect();
    assert!(told.contains(broken) && told.contains(names[0]), "{told}");
    let style = tag("style").unwrap().text().unwrap();
    assert!(style.contains("prefers-color-scheme: dark"));
    // One in a page has the page's style.
    let inline = diagram.svg("x").into_string();
    assert!(!inline.contains("<style") && inline.contains("viewBox"));
    assert!(!file.contains("<script") && !file.contains("href"));
}

/// On paper it is cut between two boxes, where the lanes are named again; and nothing is left out.
#[test]
fn a_high_drawing_is_in_sheets_as_well_that_cut_through_no_box() {
    let turn = |nth: usize| {
        let section = || format!("turn {nth}");
        let acts = [
            Act::Wants(1, section()),
            Act::Enters(1, section()),
            Act::Changes(format!("it is {nth}")),
            Act::Leaves(true),
        ];
        acts.map(|act| Row::Did(nth % 2, act))
    };
    let high = |turns: usize| Diagram {
        lanes: vec!["one".into(), "other".into()],
        story: Story::Threads((0..turns).flat_map(turn).collect()),
        broken: "it never ends".into(),
    };
    let page = format!("<main>{}</main>", high(60).svg("x").into_string());
    let page = Document::parse(&page).unwrap();
    let of = |class: &str| {
        let all = page.descendants().filter(|n| n.has_tag_name("svg"));
        let all = all.filter(|n| n.attribute("class") == Some(class));
        all.collect::<Vec<_>>()
    };
    let (whole, sheets) = (of("diagram"), of("sheet"));
    assert!(whole.len() == 1 && sheets.len() > 2, "{}", sheets.len());
    let mut ends = vec![0.0];
    for sheet in &sheets {
        let view = sheet.attribute("viewBox").unwrap().split(' ');
        let view: Vec<f64> = view.map(|number| number.parse().unwrap()).collect();
        assert_eq!(view[1], *ends.last().unwrap(), "one begins where one ends");
        assert_eq!(view[3], number(sheet, "height"));
        ends.push(view[1] + view[3]);
        let shows = sheet.first_element_child().unwrap().attribute("href");
        let drawn = page
            .descendants()
            .find(|n| n.attribute("id") == Some("x-drawing"));
        assert!(shows == Some("#x-drawing") && drawn.is_some());
    }
    assert_eq!(ends.last(), Some(&number(&whole[0], "height")));
    let boxes = page.descendants().filter(|n| n.has_tag_name("rect"));
    let boxes = boxes.filter(|n| {
        n.attribute("class")
            .is_some_and(|class| class.starts_with("box"))
    });
    for shape in boxes {
        let (top, height) = (number(&shape, "y"), number(&shape, "height"));
        let cut = ends.iter().any(|&end| top < end && end < top + height);
        assert!(!cut, "a box at {top} is cut: {ends:?}");
    }
    let alone = high(60).svg_file("x") + &high(2).svg("y").into_string();
    assert!(!alone.contains("sheet"), "a file, and one that is not high");
}

#[test]
fn who_broadcasts_is_seen_to_wake_who_slept() {
    let file = of_threads(&votes(["election", "receiver"]), super::DEADLOCK).svg_file("x");
    let svg = Document::parse(&file).unwrap();
    assert_eq!(count(&svg, "path", "arrow wakes"), 1);
    // It sleeps twice; the second time until the end, which is where it is stuck.
    assert_eq!(count(&svg, "line", "life asleep"), 1);
    assert_eq!(count(&svg, "line", "life stuck"), 1);
    assert_eq!(words(&svg, "stuck"), ["still waits for votes"]);
    // In any other failure it may have been woken, and not have had its turn.
    let file = of_threads(&votes(["election", "receiver"]), "x").svg_file("x");
    let svg = Document::parse(&file).unwrap();
    assert!(words(&svg, "rest").contains(&"last seen waiting for votes"));
    // Only the section that changed nothing is hollow: the first of the candidate, and that in which it woke.
    assert_eq!(count(&svg, "rect", "box n1 idle"), 2);
    assert_eq!(count(&svg, "rect", "box n1"), 2);
}

#[test]
fn a_broadcast_that_finds_it_awake_has_no_arrow() {
    let mut events = votes(["election", "receiver"]);
    // A second broadcast, before it has its turn.
    let again = events[3..7].iter();
    let again = again.filter(|event| {
        !matches!(
            event,
            Event::Section {
                step: Step::Wakes(_),
                ..
            }
        )
    });
    let again: Vec<Event> = again.cloned().collect();
    events.splice(7..7, again);
    let file = of_threads(&events, "x").svg_file("x");
    let svg = Document::parse(&file).unwrap();
    assert_eq!(words(&svg, "wakes"), ["broadcasts", "broadcasts"]);
    assert_eq!(count(&svg, "path", "arrow wakes"), 1);
}

#[test]
fn who_falls_asleep_may_wake_another_before() {
    let did = |lane, act| Row::Did(lane, act);
    let sleeps = |lane, rouses: Option<usize>| {
        let mut rows = vec![did(lane, Act::Enters(1, "count the votes".into()))];
        rows.extend(rouses.map(|other| did(lane, Act::Rouses(other))));
        rows.push(did(lane, Act::Sleeps("votes".into())));
        rows
    };
    let drawn = |rouses, wakes: bool| {
        let mut rows = [sleeps(0, None), sleeps(1, rouses)].concat();
        rows.extend(wakes.then(|| did(0, Act::Wakes(1, "count the votes".into()))));
        let diagram = Diagram {
            lanes: vec!["a".into(), "b".into()],
            story: Story::Threads(rows),
            broken: "x".into(),
        };
        check_layout(&diagram);
        let file = diagram.svg_file("x");
        let svg = Document::parse(&file).unwrap();
        count(&svg, "path", "arrow wakes")
    };
    assert_eq!(drawn(Some(0), true), 1);
    assert_eq!(drawn(None, true), 0);
    // It was told, and never went on: where a bug swallows the broadcast it would be a lie.
    assert_eq!(drawn(Some(0), false), 0);
}

#[test]
fn a_lost_message_ends_in_a_cross_and_a_repeated_one_arrives_again() {
    let file = journey().svg_file("x");
    let svg = Document::parse(&file).unwrap();
    assert_eq!(words(&svg, "lane"), ["node 1", "node 2", "node 3"]);
    assert_eq!(words(&svg, "broken"), ["two <leaders> & one term"]);
    assert_eq!(words(&svg, "step"), ["1", "2", "3", "4"]);
    assert_eq!(count(&svg, "path", "cross lost"), 1);
    assert_eq!(count(&svg, "path", "arrow message"), 1);
    assert_eq!(count(&svg, "path", "arrow repeated"), 1);
    assert_eq!(count(&svg, "rect", "box bad"), 1);
}

#[test]
fn who_polls_does_not_fill_the_picture() {
    let poll = |node| {
        let poll = || "poll".to_string();
        [
            Act::Wants(node, poll()),
            Act::Enters(node, poll()),
            Act::Leaves(false),
        ]
    };
    let drawn = |polls: Vec<[Act; 3]>| {
        let rows = polls.into_iter().flatten().map(|act| Row::Did(0, act));
        let diagram = Diagram {
            lanes: vec!["a".into()],
            story: Story::Threads(rows.collect()),
            broken: "x".into(),
        };
        check_layout(&diagram);
        let file = diagram.svg_file("x");
        let svg = Document::parse(&file).unwrap();
        let more: Vec<String> = words(&svg, "does").iter().map(|&w| w.into()).collect();
        (count(&svg, "rect", "box n1 idle"), more)
    };
    let (boxes, more) = drawn(vec![poll(1); 9]);
    assert_eq!((boxes, more), (1, vec!["and so 8 times more".into()]));
    assert_eq!(drawn(vec![poll(1); 2]), (2, vec![]));
    // Another node's lock is another thing.
    let (boxes, _) = drawn(vec![poll(1), poll(2), poll(1), poll(2)]);
    assert_eq!(boxes, 2);
}

/// Nothing is drawn over anything else, and nothing sticks out.
pub(crate) fn check_layout(diagram: &Diagram) {
    let file = diagram.svg_file("x");
    let svg = Document::parse(&file).unwrap();
    let (width, height) = (
        number(&svg.root_element(), "width"),
        number(&svg.root_element(), "height"),
    );
    let mut texts: Vec<(f64, f64, f64)> = Vec::new();
    let mut boxes: BTreeMap<i64, Vec<(f64, f64)>> = BTreeMap::new();
    for node in svg.descendants() {
        let class = node.attribute("class").unwrap_or_default();
        if node.has_tag_name("text") {
            let (x, y) = (number(&node, "x"), number(&node, "y"));
            let long = node.text().unwrap().chars().count() as f64 * 7.3;
            let proportional = ["broken", "legend", "lane", "step"].contains(&class);
            assert!(proportional || x + long <= width, "{node:?} sticks out");
            assert!(y + 4.0 <= height && x >= 0.0);
            texts.push((y, x, x + long));
        }
        if node.has_tag_name("rect") && class.starts_with("box") {
            let (x, y) = (number(&node, "x"), number(&node, "y"));
            assert!(x + number(&node, "width") <= width);
            let ends = y + number(&node, "height");
            boxes.entry(x as i64).or_default().push((y, ends));
        }
    }
    for (nth, &(y, from, to)) in texts.iter().enumerate() {
        for &(other, begin, end) in &texts[..nth] {
            let beside = to <= begin || end <= from;
            let apart = (y - other).abs() >= 12.0;
            assert!(beside || apart, "words overlap at {y} and {other}, {from}");
        }
    }
    for (x, mut boxes) in boxes {
        boxes.sort_by(|a, b| a.0.total_cmp(&b.0));
        let apart = boxes.windows(2).all(|two| two[0].1 <= two[1].0);
        assert!(apart, "boxes overlap at {x}: {boxes:?}");
    }
}

#[test]
fn nothing_is_drawn_over_anything_else() {
    check_layout(&of_threads(
        &votes(["a thread with a name that is very long indeed", "b"]),
        "x",
    ));
    check_layout(&journey());
    // A box in a box that is never left, while another thread waits for its lock.
    let did = |lane, act| Row::Did(lane, act);
    let rows = vec![
        did(0, Act::Enters(1, "finish a write".into())),
        did(0, Act::Sends(2, "RequestVote of term 1 to node 2".into())),
        did(0, Act::Wants(2, "handle a message".into())),
        did(0, Act::Enters(2, "handle a message".into())),
        did(0, Act::Changes("a change of very many words ".repeat(4))),
        did(0, Act::Leaves(false)),
        did(0, Act::Wants(1, "handle a message".into())),
        Row::LeftOut(4),
        did(1, Act::Wants(1, "campaign".into())),
    ];
    let diagram = Diagram {
        lanes: vec!["one".into(), "two".into()],
        story: Story::Threads(rows),
        broken: super::DEADLOCK.into(),
    };
    check_layout(&diagram);
}
