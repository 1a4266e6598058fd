//! The web crawler: every page once, although many link to it, by several threads at once.
//!
//! Its three versions in the lecture are a serial one, one with a lock, and one with a channel, in which a coordinator alone knows what was fetched. The serial
//! one has one thread, and so one interleaving; it is here because it is simple enough to be believed: the others must fetch what it fetches.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use biglock::lock::Outside;

use super::channel::Channel;
use super::{Lesson, Lock, State, broken, lock, mended};
use crate::harness::{GATED, Model, Start};
use crate::world::World;

/// The versions.
pub const LESSONS: &[Lesson] = &[
    Lesson {
        model: Model {
            name: "course-crawler-serial",
            property: "one thread, and no lock: each page is fetched once, as by the other versions",
            threads: 1,
            start: Start::Free,
            body: one_by_one,
            ..GATED
        },
        finds: None,
    },
    broken(
        "course-crawler-two-sections",
        "broken: whether a page was fetched is asked in one section and noted in the next: two fetch it",
        2,
        "a page is fetched twice",
        |world| with_lock(world, in_two_sections),
    ),
    mended(
        "course-crawler-mutex",
        "whoever asks whether a page was fetched notes in the same section that it will be",
        2,
        &["the links of 3 by a", "the links of 3 by b"],
        |world| with_lock(world, in_one_section),
    ),
    broken(
        "course-crawler-uncounted",
        "broken: a coordinator takes links until no more come, and nobody knows when that is: it waits for ever",
        4,
        "? still waits for an item",
        |world| with_channels(world, false),
    ),
    mended(
        "course-crawler-channel",
        "a coordinator alone knows what was fetched; it counts what is outstanding, and all end when nothing is",
        4,
        &["an item"],
        |world| with_channels(world, true),
    ),
];

/// A page links to these. Both 1 and 2 link to 3, and 3 back to the beginning.
const LINKS: [&[u8]; 4] = [&[1, 2], &[3], &[3], &[0]];

/// The serial version: one thing after the other.
fn serial(web: &Web, outside: &Outside, page: u8, fetched: &mut BTreeSet<u8>) {
    if fetched.insert(page) {
        for &link in web.fetch(outside, page) {
            serial(web, outside, link, fetched);
        }
    }
}

/// The web, as its servers see it: who asked for what. It is the judge's own, and no part of the program.
#[derive(Clone, Default)]
struct Web(Arc<Mutex<BTreeSet<u8>>>);

impl Web {
    /// Slow, and therefore without any lock.
    fn fetch(&self, _: &Outside, page: u8) -> &'static [u8] {
        let is_new = self.0.lock().expect("nobody panics").insert(page);
        assert!(is_new, "a page is fetched twice: page {page}");
        LINKS[usize::from(page)]
    }

    /// The pages that were fetched.
    fn pages(&self) -> BTreeSet<u8> {
        self.0.lock().expect("nobody panics").clone()
    }

    /// In the end it was asked for what the serial version asks for.
    fn judge(&self, world: &World) {
        let web = self.clone();
        world.finally(move || {
            let all = Web::default();
            serial(&all, &Outside::claim("judge"), 0, &mut BTreeSet::new());
            assert_eq!(web.pages(), all.pages(), "every page is fetched");
        });
    }
}

/// Each page is linked to, so all of them are fetched.
fn one_by_one(_: &World) {
    let web = Web::default();
    serial(&web, &Outside::claim("crawler"), 0, &mut BTreeSet::new());
    let all: Vec<u8> = web.pages().into_iter().collect();
    assert_eq!(all, [0, 1, 2, 3], "every page is fetched");
}

#[derive(Clone, PartialEq)]
struct Fetched {
    pages: BTreeSet<u8>,
}

impl State for Fetched {
    fn show(&self) -> String {
        format!("fetched: {:?}", self.pages)
    }
}

/// Whether this page is still to be fetched: by whoever asks.
type Claim = fn(&Lock<Fetched>, &mut Outside, u8) -> bool;

fn in_two_sections(fetched: &Lock<Fetched>, outside: &mut Outside, page: u8) -> bool {
    let was = fetched.enter(outside, "was it fetched?", |fetched| {
        fetched.pages.contains(&page)
    });
    if !was {
        fetched.enter(outside, "note it", |fetched| fetched.pages.insert(page));
    }
    !was
}

fn in_one_section(fetched: &Lock<Fetched>, outside: &mut Outside, page: u8) -> bool {
    fetched.enter(outside, "claim it", |fetched| fetched.pages.insert(page))
}

/// The first page was fetched, and a thread was started for each of its links.
fn with_lock(world: &World, claim: Claim) {
    let web = Web::default();
    web.judge(world);
    let start = web.fetch(&Outside::claim("start"), 0);
    let fetched = lock(world, Fetched { pages: [0].into() });
    for (name, &page) in ["a", "b"].into_iter().zip(start) {
        let (there, web, fetched) = (world.clone(), web.clone(), fetched.clone());
        world.thread(name, move |outside| {
            let mut left = vec![page];
            while let Some(page) = left.pop() {
                if claim(&fetched, outside, page) {
                    left.extend(web.fetch(outside, page));
                    if page == 3 {
                        there.reached(match name {
                            "a" => "the links of 3 by a",
                            _ => "the links of 3 by b",
                        });
                    }
                }
            }
        });
    }
}

impl State for &'static [u8] {
    fn show(&self) -> String {
        format!("links {self:?}")
    }
}

/// The first page was fetched, and a worker was started for each of its links. A third worker fetches what is found later.
fn with_channels(world: &World, counts: bool) {
    let web = Web::default();
    web.judge(world);
    let start = web.fetch(&Outside::claim("start"), 0);
    // Nobody waits for room.
    let found = Channel::<&'static [u8]>::new(world, 4);
    let later = Channel::<u8>::new(world, 4);
    for (name, &page) in ["a", "b"].into_iter().zip(start) {
        let (web, found) = (web.clone(), found.clone());
        world.thread(name, move |outside| {
            let links = web.fetch(outside, page);
            found.send(outside, links);
        });
    }
    let (to_fetch, links_of) = (later.clone(), found.clone());
    world.thread("c", move |outside| {
        while let Some(page) = to_fetch.receive(outside) {
            let links = web.fetch(outside, page);
            links_of.send(outside, links);
        }
    });
    world.thread("coordinator", move |outside| {
        // Nobody else touches these: no lock is needed.
        let mut fetched = BTreeSet::from([0, 1, 2]);
        let mut outstanding = 2;
        while outstanding > 0 || !counts {
            let links = found.receive(outside).expect("nobody closes it");
            outstanding -= 1;
            for &link in links {
                if fetched.insert(link) {
                    later.send(outside, link);
                    outstanding += 1;
                }
            }
        }
        later.close(outside);
    });
}
