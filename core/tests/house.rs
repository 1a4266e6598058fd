//! The architecture as a test: which room of `core/src` may name what, each rule with its reason. Only code counts: comments and strings are
//! blanked first. Every rule is also run on a snippet that breaks it, so that none of them is a check that cannot fail.

use std::fs;
use std::path::{Path, PathBuf};

/// One rule of the house.
struct Rule {
    /// What may not be named, as whole words; `a::b` is a path.
    words: &'static [&'static str],
    /// Where, as the beginning of a path in `core/src`.
    within: &'static str,
    /// Where all the same.
    except: &'static [&'static str],
    why: &'static str,
    /// Code that breaks it, and the file in which it would.
    bad: (&'static str, &'static str),
}

const RULES: &[Rule] = &[
    Rule {
        words: &[
            "Mutex", "RwLock", "Condvar", "OnceLock", "LazyLock", "atomic",
        ],
        within: "rules",
        except: &[],
        why: "the rules are plain data: who shares it, and under which lock, is the business of others",
        bad: ("rules/raft.rs", "use std::sync::Mutex;"),
    },
    Rule {
        words: &["sync", "Arc", "Rc"],
        within: "rules",
        except: &["rules/entries.rs"],
        why: "the rules are plain data: of all that, entries alone are shared, because nobody ever changes one",
        bad: ("rules/raft.rs", "use std::sync::Arc;"),
    },
    Rule {
        words: &["thread", "spawn", "mpsc", "async", "await"],
        within: "rules",
        except: &[],
        why: "the same rules run under the lock, in the explorer and in the simulator: none of them may start or wait",
        bad: ("rules/election.rs", "std::thread::yield_now();"),
    },
    Rule {
        words: &["Instant", "SystemTime", "Clock", "now()"],
        within: "rules",
        except: &[],
        why: "time comes in from outside, so that a test can make it up",
        bad: ("rules/election.rs", "let at = clock.now();"),
    },
    Rule {
        words: &[
            "net",
            "fs",
            "io",
            "env",
            "process",
            "UdpSocket",
            "File",
            "println",
            "eprintln",
            "tracing",
        ],
        within: "rules",
        except: &[],
        why: "whatever touches the outside world may wait",
        bad: ("rules/raft.rs", "use std::{fs, fmt};"),
    },
    Rule {
        words: &[
            "fastrand",
            "rand",
            "getrandom",
            "RandomState",
            "HashMap",
            "HashSet",
        ],
        within: "rules",
        except: &[],
        why: "randomness comes in from outside, or no seed would replay",
        bad: ("rules/raft.rs", "let extra = fastrand::u64(..);"),
    },
    Rule {
        words: &[
            "crate::lock",
            "crate::node",
            "Outside",
            "Monitor",
            "Engine",
            "Node",
        ],
        within: "rules",
        except: &[],
        why: "the rules stand on the ground floor: what may happen, not when or by whom",
        bad: ("rules/raft.rs", "use crate::lock::Section;"),
    },
    Rule {
        words: &[
            "rules", "node", "Raft", "Term", "NodeId", "Message", "Node", "Engine", "Shared",
        ],
        within: "lock",
        except: &[],
        why: "the lock knows nothing about Raft: whatever it guards, it guards by the same rules",
        bad: ("lock/monitor.rs", "use crate::rules::Raft;"),
    },
    Rule {
        words: &[
            "parking_lot",
            "loom",
            "biglock_loom",
            "shuttle",
            "biglock_shuttle",
        ],
        within: "",
        except: &["lock/sync.rs"],
        why: "what ships is what is checked: one facade switches them, and no product logic knows",
        bad: ("node/engine.rs", "#[cfg(biglock_loom)] use loom::thread;"),
    },
    Rule {
        words: &["notify_one"],
        within: "",
        except: &[],
        why: "broadcast, never signal: the wrong waiter may eat the wake-up",
        bad: ("lock/sync.rs", "self.0.notify_one();"),
    },
    Rule {
        words: &["unsafe"],
        within: "",
        except: &[],
        why: "nothing here needs it",
        bad: ("lock/sync.rs", "unsafe { std::mem::zeroed() }"),
    },
    Rule {
        words: &["sleep", "sleep_ms", "park", "park_timeout", "yield_now"],
        within: "",
        except: &[],
        why: "threads wait for an event or a deadline, on a condvar of the one lock",
        bad: ("node/engine.rs", "std::thread::sleep(tick);"),
    },
    Rule {
        words: &["try_lock"],
        within: "",
        // The lock of a folder, against a second process: nobody waits for it.
        except: &["node/storage/redb/folder.rs"],
        why: "whoever tries a lock has a second way through, which nobody checks",
        bad: (
            "lock/monitor.rs",
            "if let Some(state) = self.state.try_lock() {}",
        ),
    },
    Rule {
        words: &["Instant", "SystemTime"],
        within: "",
        except: &["lock/clock.rs"],
        why: "the clock is read in one place",
        bad: ("node/engine.rs", "let start = std::time::Instant::now();"),
    },
    Rule {
        words: &["bincode"],
        within: "",
        except: &["codec.rs"],
        why: "what is stored and sent is defined in one place, which can be written by hand should bincode have to go",
        bad: ("node/applier.rs", "use bincode::serde::encode_to_vec;"),
    },
    Rule {
        words: &["async", "await", "todo", "unimplemented"],
        within: "",
        except: &[],
        why: "threads, and finished ones",
        bad: ("node/engine.rs", "async fn receive() { todo!() }"),
    },
];

/// What is wrong with this source, if this is the file's path in `core/src`: a sentence each.
fn broken(path: &str, source: &str) -> Vec<String> {
    let code = code_of(source);
    let mut sentences = Vec::new();
    for rule in RULES {
        let inside = path.starts_with(rule.within) && !rule.except.contains(&path);
        for word in rule.words.iter().filter(|_| inside) {
            if let Some(line) = code.lines().position(|line| names(line, word)) {
                sentences.push(format!(
                    "core/src/{path}:{} names {word}: {}",
                    line + 1,
                    rule.why
                ));
            }
        }
    }
    if source.len() > LARGEST {
        sentences.push(format!(
            "core/src/{path} has {} bytes: nobody reads that at one go",
            source.len()
        ));
    }
    sentences
}

/// The largest file, in bytes.
const LARGEST: usize = 24_000;

/// Whether this line has the word, and not only as a part of another.
fn names(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let goes_on = word.ends_with(part) && after.is_some_and(part);
        !goes_on && !before.is_some_and(part)
    })
}

/// The source with comments and the insides of strings blanked; lines stay lines.
fn code_of(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let starts = |at: usize, with: &str| chars[at..].starts_with(&with.chars().collect::<Vec<_>>());
    let (mut code, mut at) = (String::new(), 0);
    while at < chars.len() {
        let end = if starts(at, "//") {
            find(&chars, at, "\n")
        } else if starts(at, "/*") {
            find(&chars, at + 2, "*/") + 2
        } else if starts(at, "r#\"") {
            find(&chars, at + 3, "\"#") + 2
        } else if starts(at, "r\"") {
            find(&chars, at + 2, "\"") + 1
        } else if starts(at, "\"") {
            string_end(&chars, at + 1)
        } else if starts(at, "'\"'") {
            at + 3
        } else {
            code.push(chars[at]);
            at += 1;
            continue;
        };
        let end = end.min(chars.len());
        code.extend(
            chars[at..end]
                .iter()
                .map(|&c| if c == '\n' { c } else { ' ' }),
        );
        at = end;
    }
    code
}

fn find(chars: &[char], from: usize, what: &str) -> usize {
    let what: Vec<char> = what.chars().collect();
    let found = (from..chars.len()).find(|&at| chars[at..].starts_with(&what));
    found.unwrap_or(chars.len())
}

fn string_end(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// Every file under `core/src`, by its path there.
fn sources() -> Vec<(String, String)> {
    sources_of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

/// Every source under this folder, by its path there; but for what was built.
fn sources_of(root: &Path) -> Vec<(String, String)> {
    fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                walk(&path, files);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                files.push(path);
            }
        }
    }
    let mut files = Vec::new();
    walk(root, &mut files);
    let name = |file: &Path| {
        let parts = file.strip_prefix(root).expect("under the root").iter();
        parts
            .map(|part| part.to_string_lossy())
            .collect::<Vec<_>>()
            .join("/")
    };
    let read = |file: &PathBuf| (name(file), fs::read_to_string(file).expect("a source"));
    files.iter().map(read).collect()
}

#[test]
fn the_house_is_tidy() {
    let sources = sources();
    assert!(sources.len() > 10 && sources.iter().any(|(path, _)| path == "rules/raft.rs"));
    let broken: Vec<String> = sources
        .iter()
        .flat_map(|(path, source)| broken(path, source))
        .collect();
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

/// The compiler denies unsafe code to every package; who asks to be excepted can be counted.
#[test]
fn one_file_of_the_workspace_has_unsafe_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut unsafe_files = Vec::new();
    for package in ["core", "net-udp", "verify", "benches"] {
        for folder in ["src", "tests", "benches", "examples"] {
            let folder = format!("{package}/{folder}");
            if !root.join(&folder).is_dir() {
                continue;
            }
            for (path, source) in sources_of(&root.join(&folder)) {
                if code_of(&source).lines().any(|line| names(line, "unsafe")) {
                    unsafe_files.push(format!("{folder}/{path}"));
                }
            }
        }
    }
    assert_eq!(unsafe_files, ["verify/src/stacks.rs"]);
}

/// Who waits for what is told section by section, so a section that is not told of may hide a wake-up.
#[test]
fn every_section_of_the_lock_is_told_of_in_its_page() {
    let core = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(core.join("LOCKING.md")).expect("a page");
    let engine = fs::read_to_string(core.join("src/node/engine.rs")).expect("a source");
    let sections = engine.split(".enter(").skip(1);
    let sections: Vec<&str> = sections.filter_map(|call| call.split('"').nth(1)).collect();
    assert!(sections.len() > 15 && sections.contains(&"campaign"));
    for section in sections {
        assert!(page.contains(&format!("\"{section}\"")), "{section}");
    }
}

/// Each rule can fail, and stays silent where it does not apply.
#[test]
fn every_rule_finds_what_breaks_it() {
    for rule in RULES {
        let (path, source) = rule.bad;
        let found = broken(path, source);
        assert!(
            found.iter().any(|sentence| sentence.ends_with(rule.why)),
            "{source}: {found:?}"
        );
        for path in rule.except {
            let found = broken(path, source);
            assert!(
                !found.iter().any(|sentence| sentence.ends_with(rule.why)),
                "{path}: {found:?}"
            );
        }
        let comment = format!("//! {source}\nlet text = \"{source}\";");
        assert_eq!(
            broken(path, &comment),
            [""; 0],
            "a comment and a string are no code"
        );
    }
}

#[test]
fn every_word_of_every_rule_is_found() {
    for rule in RULES {
        for word in rule.words {
            let (path, source) = (rule.bad.0, format!("fn f() {{}}\nuse x::{word};"));
            let found = broken(path, &source);
            let place = format!("core/src/{path}:2 names {word}: ");
            assert!(
                found.iter().any(|sentence| sentence.starts_with(&place)),
                "{word}: {found:?}"
            );
        }
    }
}

#[test]
fn a_file_that_is_too_large_is_found() {
    assert_eq!(broken("lib.rs", &"\n".repeat(LARGEST)), [""; 0]);
    let found = broken("lib.rs", &"\n".repeat(LARGEST + 1));
    assert_eq!(
        found,
        ["core/src/lib.rs has 24001 bytes: nobody reads that at one go"]
    );
}

#[test]
fn a_word_is_a_whole_word() {
    assert!(names("use std::{fs, fmt};", "fs") && names("loom::thread", "loom"));
    assert!(names("use crate::node::X;", "crate::node") && names("clock.now()", "now()"));
    assert!(!names("#![forbid(unsafe_code)]", "unsafe") && !names("blooming", "loom"));
    assert!(!names("let offs = 1;", "fs") && !names("NodeId(1)", "Node"));
}

#[test]
fn only_code_counts() {
    let source = "a /* b\n// b */ c // d\n\"e \\\" f\" g r#\"h\" i\"# 'x' '\"' j";
    let code = code_of(source);
    let words: Vec<&str> = code.split_whitespace().collect();
    assert_eq!(words, ["a", "c", "g", "'x'", "j"]);
    assert_eq!(code.lines().count(), source.lines().count());
}

/// The README is the first page of the documentation too, from where its relative links lead nowhere. It names them at its end, and
/// `links.md`, which comes first there, says where they are: sources on the pages that rustdoc makes, the rest in the repository.
#[test]
fn every_link_of_the_readme_leads_somewhere_from_the_documentation_too() {
    let core = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(core.join(name)).expect("a page");
    let readme = read("README.md");
    let mut inline = readme.match_indices("](");
    assert!(
        inline.all(|(at, _)| readme[at..].starts_with("](https://")),
        "write [text] in place of [text](path), and name the path at the end"
    );
    let mut expected = String::new();
    for line in readme.lines() {
        let Some((text, target)) = line
            .strip_prefix('[')
            .and_then(|line| line.split_once("]: "))
        else {
            continue;
        };
        assert!(
            core.join("..").join(target).exists(),
            "{target} is not there"
        );
        let from_there = match target.strip_prefix("core/src/") {
            Some(source) => format!("../src/biglock/{source}.html"),
            None if target == "core/LOCKING.md" => "crate::locking".into(),
            None => format!("{}/blob/main/{target}", env!("CARGO_PKG_REPOSITORY")),
        };
        expected += &format!("[{text}]: {from_there}\n");
    }
    assert!(expected.lines().count() > 10, "{expected}");
    assert_eq!(
        read("links.md"),
        expected,
        "core/links.md should be\n{expected}"
    );
}
