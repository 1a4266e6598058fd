//! The catalogue of known bugs: `verify/bugs/`, a page each.
//!
//! A page is for people: who made the mistake, what it breaks, and a picture. It is also what the machine needs: the change, as a diff
//! against the real source, and the check that must find it.

use std::fmt;
use std::fs;
use std::iter;
use std::path::{Path, PathBuf};

use diffy::Patch;

use crate::measured::Measured;

mod change;
mod picture;
#[cfg(test)]
mod tests;

pub use picture::Picture;

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
    /// How hard it is to find, by each of those checks, under its name.
    pub measured: Vec<(String, Measured)>,
    /// What does not find it, although one might think so: as the page says it.
    pub not_seen_by: Vec<String>,
    /// Those of them that are checks.
    pub unseen: Vec<Check>,
    /// The story, in Markdown.
    pub story: String,
    /// The change, as a unified diff.
    pub diff: String,
    /// What happens.
    pub picture: Option<Picture>,
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

    /// Whether it can be tried at random.
    pub fn draws(&self) -> bool {
        match self {
            // What checks the checker draws programs already.
            Check::Model(name) => !name.starts_with("checker-"),
            Check::Compiler(_) => false,
            Check::Test { target, .. } => target == "lab",
        }
    }

    /// The level, as the table names it.
    pub fn level(&self) -> &'static str {
        match self {
            Check::Model(name) if name.starts_with("orders-") => "messages",
            Check::Model(_) => "threads",
            Check::Compiler(_) => "compiler",
            Check::Test { target, .. } if target == "lab" => "simulation",
            Check::Test { .. } => "test",
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
        let mut measured = Vec::new();
        for words in rows("measured") {
            let named = words
                .strip_prefix('`')
                .and_then(|rest| rest.split_once("`: "));
            let (check, words) =
                named.ok_or_else(|| wrong("`measured` must begin with the name of a check"))?;
            measured.push((check.into(), words.parse().map_err(|e: String| wrong(&e))?));
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
            picture: Picture::parse(text, &check),
            check,
            says: row("says")?.trim_matches('`').into(),
            also,
            measured,
            not_seen_by: rows("not seen by").map(String::from).collect(),
            unseen: rows("not seen by")
                .filter_map(|words| Some(Check::parse(words)?.0))
                .collect(),
            story,
            diff,
        })
    }

    /// What its page says of how hard it is to find by this check.
    pub fn measured(&self, check: &Check) -> Option<&Measured> {
        let name = check.to_string();
        let kept = self.measured.iter().find(|(check, _)| *check == name);
        kept.map(|(_, measured)| measured)
    }

    /// The checks that find it, the cheapest first.
    pub fn checks(&self) -> impl Iterator<Item = &Check> {
        iter::once(&self.check).chain(self.also.iter().map(|(check, _)| check))
    }

    /// The same bug, for each of the other checks that find it.
    pub fn by_others(&self) -> impl Iterator<Item = Bug> + '_ {
        self.also.iter().map(|(check, says)| Bug {
            check: check.clone(),
            says: says.clone(),
            ..self.clone()
        })
    }

    /// The same bug, for each of the checks that do not find it, whatever they would say.
    pub fn by_blind(&self) -> impl Iterator<Item = Bug> + '_ {
        self.unseen.iter().map(|check| Bug {
            check: check.clone(),
            says: String::new(),
            ..self.clone()
        })
    }

    /// The files that the change touches, and what becomes of each.
    ///
    /// # Errors
    /// If the change no longer applies to the source under `root`.
    pub fn plant(&self, root: &Path) -> Result<Vec<(PathBuf, String)>, String> {
        let mut changed = Vec::new();
        self.each_file(root, |path, source, patch| {
            let of = path.strip_prefix(root).unwrap_or(&path).display();
            let planted = change::apply(source, patch);
            let planted = planted.map_err(|e| format!("no longer applies to {of}: {e}"))?;
            if planted == source {
                return Err(format!("changes nothing in {of}"));
            }
            changed.push((path, planted));
            Ok(())
        })?;
        match changed.is_empty() {
            true => Err(self.wrong("the ```diff block changes no file")),
            false => Ok(changed),
        }
    }

    fn wrong(&self, what: impl fmt::Display) -> String {
        format!("{}: {what}", self.page.display())
    }

    /// Calls `with` for each file that the change touches: where it is, what is in it, and what is to become of it.
    fn each_file(
        &self,
        root: &Path,
        mut with: impl FnMut(PathBuf, &str, &Patch<'_, str>) -> Result<(), String>,
    ) -> Result<(), String> {
        let options = diffy::patch_set::ParseOptions::unidiff();
        for file in diffy::patch_set::PatchSet::parse(&self.diff, options) {
            let file = file.map_err(|e| self.wrong(e))?;
            let diffy::patch_set::FileOperation::Modify { modified, .. } =
                file.operation().strip_prefix(1)
            else {
                return Err(self.wrong("a planted bug only changes files"));
            };
            let path = root.join(&*modified);
            let source = fs::read_to_string(&path)
                .map_err(|e| self.wrong(format!("{}: {e}", path.display())))?;
            let patch = file.patch().as_text();
            let patch = patch.ok_or_else(|| self.wrong("it is no text"))?;
            with(path, &source, patch).map_err(|e| self.wrong(e))?;
        }
        Ok(())
    }

    /// Puts the line numbers of today into the page's change, and into this.
    ///
    /// # Errors
    /// If a part of the change has no place any more, or several; or if the page can't be read or written.
    pub fn rebase(&mut self, root: &Path) -> Result<(), String> {
        let mut headers = Vec::new();
        self.each_file(root, |_, source, patch| {
            headers.extend(change::rebased(source, patch)?);
            Ok(())
        })?;
        let mut headers = headers.into_iter();
        let line = |line: &str| match line.starts_with("@@ -") {
            true => headers.next().unwrap_or_default() + "\n",
            false => format!("{line}\n"),
        };
        let diff: String = self.diff.lines().map(line).collect();
        if diff != self.diff {
            let page = fs::read_to_string(&self.page).map_err(|e| self.wrong(e))?;
            let page = page.replacen(&self.diff, &diff, 1);
            fs::write(&self.page, page).map_err(|e| self.wrong(e))?;
            self.diff = diff;
        }
        Ok(())
    }
}

impl Bug {
    /// Puts what was measured into the page's table, in place of what was there.
    ///
    /// # Errors
    /// If the page can't be read or written.
    pub fn bless_measured(&self, measured: &[(String, Measured)]) -> std::io::Result<()> {
        let text = fs::read_to_string(&self.page)?;
        fs::write(&self.page, with_measured(&text, measured))
    }
}

/// The page with these rows, behind those that name its checks.
fn with_measured(page: &str, measured: &[(String, Measured)]) -> String {
    let of = |line: &&str, names: &[&str]| {
        let key = line
            .strip_prefix("| ")
            .and_then(|row| row.split_once(" | "));
        key.is_some_and(|(key, _)| names.contains(&key))
    };
    let lines: Vec<&str> = page
        .lines()
        .filter(|line| !of(line, &["measured"]))
        .collect();
    let checks = ["found by", "says", "also found by"];
    let last = lines.iter().rposition(|line| of(line, &checks));
    let mut out = String::new();
    for (nth, line) in lines.iter().enumerate() {
        out.push_str(line);
        out.push('\n');
        if Some(nth) == last {
            for (check, measured) in measured {
                out.push_str(&format!("| measured | `{check}`: {measured} |\n"));
            }
        }
    }
    out
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
            let mut bug = Bug::parse(page, &text)?;
            bug.read_drawing()?;
            Ok(bug)
        })
        .collect()
}
