//! One small history for each way of being right or wrong.

use super::*;

fn put(text: &'static str) -> Command {
    Command::put("k", text)
}

fn append(text: &'static str) -> Command {
    Command::append("k", text)
}

fn swap(expected: Option<Bytes>, new: &'static str) -> Command {
    Command::compare_and_swap("k", expected, new)
}

#[test]
fn nothing_is_right() {
    Story::default().is_right();
}

#[test]
fn one_after_another_is_right() {
    let mut story = Story::default();
    story.run(Command::get("k"), Reply::Value(None));
    story.run(put("a"), Reply::Done);
    story.run(append("b"), Reply::Done);
    story.get("ab");
    story.run(swap(value("ab"), "c"), Reply::Done);
    story.run(swap(None, "d"), Reply::Mismatch(value("c")));
    story.run(Command::delete("k"), Reply::Done);
    story.run(swap(value("c"), "d"), Reply::Mismatch(None));
    story.run(Command::get("k"), Reply::Value(None));
    story.is_right();
}

#[test]
fn those_that_overlap_may_come_in_either_order() {
    for (first, last) in [("a", "b"), ("b", "a")] {
        let mut story = Story::default();
        let a = story.begin(put("a"));
        let b = story.begin(put("b"));
        let get = story.begin(Command::get("k"));
        story.end(get, Reply::Value(value(first)));
        story.end(a, Reply::Done);
        story.end(b, Reply::Done);
        story.get(last);
        story.is_right();
    }
}

#[test]
fn a_read_during_a_write_sees_before_or_after_but_not_after_and_then_before() {
    let reads = |one: &'static str, two: &'static str| {
        let mut story = Story::default();
        story.run(put("old"), Reply::Done);
        let write = story.begin(put("new"));
        story.get(one);
        story.get(two);
        story.end(write, Reply::Done);
        story
    };
    reads("old", "old").is_right();
    reads("old", "new").is_right();
    reads("new", "new").is_right();
    reads("new", "old").is_wrong();
}

#[test]
fn a_stale_read_is_wrong() {
    let mut story = Story::default();
    story.run(put("a"), Reply::Done);
    story.run(put("b"), Reply::Done);
    story.get("a");
    assert_eq!(
        story.is_wrong(),
        "  client 1   |-|          put \"a\": done (1ms to 2ms)\n\
         \x20 client 3       |-|      put \"b\": done (3ms to 4ms)\n\
         \x20 client 5           |-|  get: \"a\" (5ms to 6ms)  <-\n"
    );
}

#[test]
fn a_lost_write_is_wrong() {
    let mut story = Story::default();
    story.run(append("a"), Reply::Done);
    story.run(append("b"), Reply::Done);
    story.get("a");
    story.is_wrong();

    let mut story = Story::default();
    story.run(put("a"), Reply::Done);
    story.run(Command::get("k"), Reply::Value(None));
    story.is_wrong();
}

#[test]
fn a_value_from_nowhere_is_wrong() {
    let mut story = Story::default();
    story.run(put("a"), Reply::Done);
    story.get("b");
    story.is_wrong();
}

#[test]
fn a_value_that_comes_back_is_wrong() {
    let mut story = Story::default();
    story.run(put("a"), Reply::Done);
    story.run(Command::delete("k"), Reply::Done);
    story.get("a");
    story.is_wrong();
}

#[test]
fn appends_in_an_order_that_time_forbids_are_wrong() {
    let mut story = Story::default();
    story.run(append("a"), Reply::Done);
    story.run(append("b"), Reply::Done);
    story.get("ba");
    story.is_wrong();
}

#[test]
fn a_double_append_is_wrong() {
    let mut story = Story::default();
    story.run(append("a"), Reply::Done);
    story.get("aa");
    story.is_wrong();
}

#[test]
fn a_compare_and_swap_that_succeeded_twice_is_wrong() {
    let swaps = |second: Reply| {
        let mut story = Story::default();
        story.run(put("old"), Reply::Done);
        let one = story.begin(swap(value("old"), "one"));
        let two = story.begin(swap(value("old"), "two"));
        story.end(one, Reply::Done);
        story.end(two, second);
        story
    };
    swaps(Reply::Mismatch(value("one"))).is_right();
    let picture = swaps(Reply::Done).is_wrong();
    assert!(picture.contains("cas \"old\" to \"two\": done (4ms to 6ms)  <-"));
}

#[test]
fn a_compare_and_swap_that_failed_without_a_reason_is_wrong() {
    let mut story = Story::default();
    story.run(put("old"), Reply::Done);
    story.run(swap(value("old"), "new"), Reply::Mismatch(value("old")));
    story.is_wrong();
}

#[test]
fn a_reply_to_another_question_is_wrong() {
    for reply in [Reply::Malformed, Reply::Value(None), Reply::Mismatch(None)] {
        let mut story = Story::default();
        story.run(put("a"), reply);
        story.is_wrong();
    }
}

#[test]
fn an_unknown_write_may_never_happen() {
    let mut story = Story::default();
    story.run(put("a"), Reply::Done);
    let unknown = story.begin(put("b"));
    story.history.unknown(unknown);
    story.get("a");
    story.is_right();
}

/// Long after the client gave up, and also if it never said so.
#[test]
fn an_unknown_write_may_take_effect_late() {
    for gives_up in [true, false] {
        let mut story = Story::default();
        story.run(put("a"), Reply::Done);
        let unknown = story.begin(append("b"));
        if gives_up {
            story.history.unknown(unknown);
        }
        for _ in 0..100 {
            story.get("a");
        }
        story.run(append("c"), Reply::Done);
        story.get("ac");
        story.get("acb");
        story.is_right();
    }
}

#[test]
fn an_unknown_write_may_not_take_effect_before_it_was_asked_for() {
    let mut story = Story::default();
    story.get("a");
    let unknown = story.begin(put("a"));
    story.history.unknown(unknown);
    story.is_wrong();
}

#[test]
fn an_unknown_write_may_not_take_effect_twice() {
    let mut story = Story::default();
    story.run(put("a"), Reply::Done);
    let unknown = story.begin(append("b"));
    story.history.unknown(unknown);
    story.get("abb");
    let picture = story.is_wrong();
    assert!(picture.contains("|----?  append \"b\": unknown (from 3ms)"));

    let mut story = Story::default();
    let unknown = story.begin(put("b"));
    story.history.unknown(unknown);
    story.get("b");
    story.run(put("c"), Reply::Done);
    story.get("c");
    story.get("b");
    story.is_wrong();
}

#[test]
fn unknown_writes_that_are_alike_count_each() {
    let times = |reads: &'static str| {
        let mut story = Story::default();
        for _ in 0..2 {
            let unknown = story.begin(append("x"));
            story.history.unknown(unknown);
        }
        story.get(reads);
        story
    };
    times("x").is_right();
    times("xx").is_right();
    times("xxx").is_wrong();
}

#[test]
fn an_unknown_swap_may_have_swapped() {
    let mut story = Story::default();
    story.run(put("a"), Reply::Done);
    let unknown = story.begin(swap(value("a"), "b"));
    story.history.unknown(unknown);
    story.get("a");
    story.get("b");
    story.is_right();
    story.get("a");
    story.is_wrong();
}

/// One unknown write prepares what another needs, and nobody saw the value between.
#[test]
fn unknown_writes_may_build_on_each_other() {
    let mut story = Story::default();
    for command in [swap(value("ab"), "c"), append("b"), put("a")] {
        let unknown = story.begin(command);
        story.history.unknown(unknown);
    }
    story.get("c");
    story.is_right();
}

#[test]
fn a_lost_write_that_takes_effect_after_all_is_wrong() {
    let mut story = Story::default();
    let lost = story.begin(put("a"));
    story.history.lost(lost);
    story.run(Command::get("k"), Reply::Value(None));
    story.is_right();
    story.get("a");
    story.is_wrong();
}

#[test]
fn the_wrong_key_is_named_and_no_other_is_shown() {
    let mut story = Story::default();
    for key in ["a", "j", "l"] {
        story.run(Command::put(key, "fine"), Reply::Done);
        story.run(Command::get(key), Reply::Value(value("fine")));
    }
    story.get("from nowhere");
    let violation = check(&story.history).unwrap_err();
    assert_eq!(
        violation.to_string(),
        "key \"k\": no order of the operations explains the reply marked with <-\n  \
         client 13  |-|  get: \"from nowhere\" (13ms to 14ms)  <-\n"
    );
}

/// A hundred writes and a thousand reads around it: a dozen rows.
#[test]
fn the_picture_is_small() {
    let mut story = Story::default();
    let long = "a long value of which the beginning and the end must do";
    for round in 0..100 {
        story.run(put(long), Reply::Done);
        for _ in 0..10 {
            story.get(long);
        }
        if round == 50 {
            story.get("from nowhere");
        }
    }
    let picture = story.is_wrong();
    assert!(picture.lines().count() < 12, "{picture}");
    assert!(picture.contains("get: \"from nowhere\""), "{picture}");
    assert!(picture.contains("put \"a long value.. end must do\" (55 bytes): done"));
    assert!(
        picture.ends_with("  43 others are not shown\n"),
        "{picture}"
    );
}

/// However long ago it was.
#[test]
fn the_picture_has_the_write_that_was_seen() {
    let mut story = Story::default();
    story.run(put("old"), Reply::Done);
    for _ in 0..100 {
        story.run(put("new"), Reply::Done);
    }
    story.get("old");
    let picture = story.is_wrong();
    assert!(
        picture.contains("put \"old\": done (1ms to 2ms)"),
        "{picture}"
    );
}

#[test]
#[should_panic(expected = "operation 0 ended twice")]
fn an_operation_ends_once() {
    let mut story = Story::default();
    let id = story.begin(put("a"));
    story.end(id, Reply::Done);
    story.history.unknown(id);
}
