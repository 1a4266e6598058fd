//! The catalogue of known bugs: `verify/bugs/`, a page each.
//!
//! A page is for people: who made the mistake, what it breaks, and a picture. It is also what the machine needs: the change, as a diff
//! against the real source, and the check that must find it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// One page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bug {
    /// Its name: K2.
    pub id: String,
    /// In a few words.
    pub title: String,
    /// Who made it, if the page tells.
    pub made_by: Option<String>,
    /// What goes wrong.
    pub breaks: String,
    /// Where it can be read.
    pub page: PathBuf,
    /// What finds it.
    pub check: Check,
    /// What the check says when it does: part of its message.
    pub says: String,
    /// Other checks that find it, and what they say.
    pub also: Vec<(Check, String)>,
    /// The story, in Markdown.
    pub story: String,
    /// The change, as a unified diff.
    pub diff: String,
}

/// What finds a bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// A model of this name: every interleaving.
    Model(String),
    /// The compiler: it is an error of this code.
    Compiler(String),
    /// An ordinary test, which fails.
    Test {
        /// Its package.
        package: String,
        /// Its test target.
        target: String,
        /// Its name there.
        name: String,
    },
}

impl Check {
    /// Reads the words with which a page names it. With them comes what it says, if they tell.
    fn parse(words: &str) -> Option<(Check, Option<&str>)> {
        let quoted: Vec<&str> = words.split('`').collect();
        let (check, rest) = match quoted[..] {
            ["the model ", model, ref rest @ ..] => (Check::Model(model.into()), rest),
            ["the compiler, ", error, ref rest @ ..] => {
                let code = error.strip_prefix("error[")?.strip_suffix(']')?;
                (Check::Compiler(code.into()), rest)
            }
            ["the test ", name, " of ", place, ref rest @ ..] => {
                let (package, target) = place.split_once(" --test ")?;
                let test = Check::Test {
                    package: package.into(),
                    target: target.into(),
                    name: name.into(),
                };
                (test, rest)
            }
            _ => return None,
        };
        match rest {
            [", which says ", says, ..] => Some((check, Some(says))),
            _ => Some((check, None)),
        }
    }

    /// The level, as the table names it.
    pub fn level(&self) -> &'static str {
        match self {
            Check::Model(_) => "threads",
            Check::Compiler(_) => "compiler",
            Check::Test { target, .. } if target == "lab" => "simulation",
            Check::Test { .. } => "messages",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Check::Model(model) => write!(f, "{model}"),
            Check::Compiler(code) => write!(f, "error[{code}]"),
            Check::Test { name, .. } => write!(f, "{name}"),
        }
    }
}

/// The heading above a page's diff.
const CHANGE: &str = "## The change";

/// The heading above a page's picture.
const PICTURE: &str = "## What happens";

impl Bug {
    /// Reads a page.
    ///
    /// # Errors
    /// What is missing from it.
    pub fn parse(page: &Path, text: &str) -> Result<Bug, String> {
        let wrong = |what: &str| format!("{}: {what}", page.display());
        let (id, title) = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("# "))
            .and_then(|line| line.split_once(": "))
            .ok_or_else(|| wrong("its first line must be `# ID: title`"))?;
        let rows = |name: &'static str| {
            let rows = text.lines().filter_map(|line| {
                let row = line.strip_prefix("| ")?.strip_suffix(" |")?;
                row.split_once(" | ")
            });
            rows.filter(move |(key, _)| *key == name)
                .map(|(_, value)| value.trim())
        };
        let row = |name| {
            let missing = || wrong(&format!("its table has no row `{name}`"));
            rows(name).next().ok_or_else(missing)
        };
        let parse = |words| {
            let form = "a check must be \"the model `name`\", \"the compiler, `error[E0000]`\" or \"the test `name` of `package --test target`\"";
            Check::parse(words).ok_or_else(|| wrong(form))
        };
        let (check, _) = parse(row("found by")?)?;
        let mut also = Vec::new();
        for words in rows("also found by") {
            let (check, says) = parse(words)?;
            let says =
                says.ok_or_else(|| wrong("`also found by` must end with \", which says `..`\""))?;
            also.push((check, says.into()));
        }
        let diff = text
            .split_once("```diff\n")
            .and_then(|(_, rest)| rest.split_once("```"))
            .map(|(diff, _)| diff.to_string())
            .ok_or_else(|| wrong("it has no ```diff block"))?;
        // Between the table and the change.
        let above = text.split(CHANGE).next().unwrap_or_default();
        let told = above.lines().skip(1);
        let told: Vec<&str> = told.filter(|line| !line.starts_with('|')).collect();
        let story = told.join("\n").trim().to_string();
        Ok(Bug {
            id: id.into(),
            title: title.into(),
            made_by: rows("made by").next().map(String::from),
            breaks: rows("breaks").next().unwrap_or_default().into(),
            page: page.into(),
            check,
            says: row("says")?.trim_matches('`').into(),
            also,
            story,
            diff,
        })
    }

    /// The same bug, for each of the other checks that find it.
    pub fn by_others(&self) -> impl Iterator<Item = Bug> + '_ {
        self.also.iter().map(|(check, says)| Bug {
            check: check.clone(),
            says: says.clone(),
            ..self.clone()
        })
    }

    /// The files that the change touches, and what becomes of each.
    ///
    /// # Errors
    /// If the change no longer applies to the source under `root`.
    pub fn plant(&self, root: &Path) -> Result<Vec<(PathBuf, String)>, String> {
        let wrong = |what: &dyn fmt::Display| format!("{}: {what}", self.page.display());
        let mut changed = Vec::new();
        let options = diffy::patch_set::ParseOptions::unidiff();
        for file in diffy::patch_set::PatchSet::parse(&self.diff, options) {
            let file = file.map_err(|e| wrong(&e))?;
            let diffy::patch_set::FileOperation::Modify { modified, .. } =
                file.operation().strip_prefix(1)
            else {
                return Err(wrong(&"a planted bug only changes files"));
            };
            let path = root.join(&*modified);
            let source = fs::read_to_string(&path)
                .map_err(|e| wrong(&format!("{}: {e}", path.display())))?;
            let patch = file
                .patch()
                .as_text()
                .ok_or_else(|| wrong(&"it is no text"))?;
            let planted = diffy::apply(&source, patch)
                .map_err(|e| wrong(&format!("no longer applies to {modified}: {e}")))?;
            if planted == source {
                return Err(wrong(&format!("changes nothing in {modified}")));
            }
            changed.push((path, planted));
        }
        match changed.is_empty() {
            true => Err(wrong(&"the ```diff block changes no file")),
            false => Ok(changed),
        }
    }

    /// Puts a new picture into the page.
    ///
    /// # Errors
    /// If the page can't be read or written.
    pub fn bless(&self, picture: &str) -> std::io::Result<()> {
        let text = fs::read_to_string(&self.page)?;
        let above = text.split(PICTURE).next().unwrap_or(&text).trim_end();
        let page = format!(
            "{above}\n\n{PICTURE}\n\n```text\n{}\n```\n",
            picture.trim_end()
        );
        fs::write(&self.page, page)
    }
}

/// All pages of the catalogue in the tree at `root`, in order.
///
/// # Errors
/// What is wrong with which page.
pub fn read(root: &Path) -> Result<Vec<Bug>, String> {
    let folder = root.join("verify/bugs");
    let entries = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut pages: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ext| ext == "md"))
        .filter(|path| path.file_stem().is_some_and(|stem| stem != "README"))
        .collect();
    pages.sort_by_key(|page| {
        let name = page
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let id = name.split('-').next().unwrap_or_default().to_string();
        let (letter, number) = id.split_at(1.min(id.len()));
        (letter.to_string(), number.parse::<u32>().unwrap_or(0), name)
    });
    pages
        .iter()
        .map(|page| {
            let text = fs::read_to_string(page).map_err(|e| format!("{}: {e}", page.display()))?;
            Bug::parse(page, &text)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;

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
            let page = fs::read_to_string(&bug.page).unwrap();
            let (_, picture) = page.split_once(PICTURE).expect("a picture");
            assert!(
                picture.contains(&bug.says),
                "{}: {:?} is not in its picture",
                bug.id,
                bug.says
            );
        }
    }

    /// Whether the tree has this check. A page that names one that is gone says nothing.
    fn exists(check: &Check) -> bool {
        match check {
            Check::Compiler(_) => true,
            Check::Model(name) => {
                let kept = |golden| fs::read_to_string(root().join(golden)).unwrap();
                let kept = ["verify/models.golden", "verify/orders.golden"].map(kept);
                let mut kept = kept.iter().flat_map(|golden| golden.lines());
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
                let main = fs::read_to_string(tests.join(format!("{target}.rs"))).unwrap();
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
            for check in iter::once(&bug.check).chain(bug.also.iter().map(|(check, _)| check)) {
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
            let page =
                format!("# X1: x\n\n| found by | {found_by} |\n| says | s |\n\n```diff\n```\n");
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
}
