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
    /// Where it can be read.
    pub page: PathBuf,
    /// What finds it.
    pub check: Check,
    /// What the check says when it does: part of its message.
    pub says: String,
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
        let row = |name: &str| {
            text.lines()
                .filter_map(|line| {
                    line.strip_prefix("| ")?
                        .strip_suffix(" |")?
                        .split_once(" | ")
                })
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.trim().to_string())
                .ok_or_else(|| wrong(&format!("its table has no row `{name}`")))
        };
        let found_by = row("found by")?;
        let quoted: Vec<&str> = found_by.split('`').collect();
        let check = match quoted[..] {
            ["the model ", model, ..] => Check::Model(model.into()),
            ["the compiler, ", error, ..] => {
                let code = error
                    .strip_prefix("error[")
                    .and_then(|e| e.strip_suffix(']'));
                Check::Compiler(
                    code.ok_or_else(|| wrong("`error[E0000]` is expected"))?
                        .into(),
                )
            }
            ["the test ", name, " of ", place, ..] => {
                let (package, target) = place
                    .split_once(" --test ")
                    .ok_or_else(|| wrong("`package --test target` is expected"))?;
                Check::Test {
                    package: package.into(),
                    target: target.into(),
                    name: name.into(),
                }
            }
            _ => {
                return Err(wrong(
                    "`found by` must be \"the model `name`\", \"the compiler, `error[E0000]`\" or \"the test `name` of `package --test target`\"",
                ));
            }
        };
        let diff = text
            .split_once("```diff\n")
            .and_then(|(_, rest)| rest.split_once("```"))
            .map(|(diff, _)| diff.to_string())
            .ok_or_else(|| wrong("it has no ```diff block"))?;
        Ok(Bug {
            id: id.into(),
            title: title.into(),
            page: page.into(),
            check,
            says: row("says")?.trim_matches('`').into(),
            diff,
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
            assert!(page.contains(PICTURE), "{} has no picture", bug.id);
        }
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
