//! The picture of a page, below "What happens": as text in the page, and as data beside it, from which the report draws.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::{Bug, Check};
use crate::diagram::Diagram;

/// The heading above a page's picture.
pub(super) const HEADING: &str = "## What happens";

/// How the sentence begins that says which check has drawn, if that is not the cheapest.
const DRAWN: &str = "Drawn by ";

/// What a page shows of its bug, as it was when the page was last blessed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The check that showed it.
    pub by: Check,
    /// As text: drawn, or what a test said, or the compiler.
    pub text: String,
    /// As data, if it is drawn.
    pub drawing: Option<Diagram>,
}

impl Picture {
    /// Reads the part of a page below the heading. What is drawn is elsewhere.
    pub(super) fn parse(page: &str, cheapest: &Check) -> Option<Picture> {
        let (_, below) = page.split_once(HEADING)?;
        let (above, rest) = below.split_once("```text\n")?;
        let (text, _) = rest.rsplit_once("\n```")?;
        let by = above.trim().strip_prefix(DRAWN).and_then(Check::parse);
        Some(Picture {
            by: by.map_or(cheapest.clone(), |(by, _)| by),
            text: text.into(),
            drawing: None,
        })
    }
}

impl Check {
    /// Whether what it finds can be drawn: it is a history of threads or of nodes.
    pub fn is_drawn(&self) -> bool {
        matches!(self, Check::Model(_)) && self.draws()
    }

    /// In the words of a page.
    fn words(&self) -> String {
        match self {
            Check::Model(name) => format!("the model `{name}`"),
            Check::Compiler(code) => format!("the compiler, `error[{code}]`"),
            Check::Test {
                package,
                target,
                name,
            } => format!("the test `{name}` of `{package} --test {target}`"),
        }
    }
}

impl Bug {
    /// The same bug, for the cheapest check of those that draw it; none, if the cheapest of all does.
    pub fn by_who_draws(&self) -> Option<Bug> {
        let mut others = self.by_others().filter(|bug| bug.check.is_drawn());
        others.next().filter(|_| !self.check.is_drawn())
    }

    /// Where its drawing is kept, if it has one.
    pub fn drawing_file(&self) -> PathBuf {
        let file = format!("drawings/{}.json", self.id);
        self.page.with_file_name(file)
    }

    /// Its drawing, if one is kept.
    pub(super) fn read_drawing(&mut self) -> Result<(), String> {
        let file = self.drawing_file();
        let Ok(text) = fs::read_to_string(&file) else {
            return Ok(());
        };
        let drawing = serde_json::from_str(&text);
        let drawing = drawing.map_err(|e| format!("{}: {e}", file.display()))?;
        match &mut self.picture {
            Some(picture) => picture.drawing = Some(drawing),
            None => return Err(self.wrong("there is a drawing of it, and it has no picture")),
        }
        Ok(())
    }

    /// Puts a new picture into the page, and beside it what is drawn.
    ///
    /// # Errors
    /// If the page can't be read or written.
    pub fn bless(&self, new: &Picture) -> io::Result<()> {
        let page = fs::read_to_string(&self.page)?;
        fs::write(&self.page, with_picture(&page, new, &self.check))?;
        let file = self.drawing_file();
        match &new.drawing {
            Some(drawing) => {
                file.parent().map_or(Ok(()), fs::create_dir_all)?;
                fs::write(file, serde_json::to_string(drawing)? + "\n")
            }
            None if file.exists() => fs::remove_file(file),
            None => Ok(()),
        }
    }
}

/// The page with this picture in place of the one that it has.
pub(super) fn with_picture(page: &str, new: &Picture, cheapest: &Check) -> String {
    let above = page.split(HEADING).next().unwrap_or(page).trim_end();
    let by = match new.by == *cheapest {
        true => String::new(),
        false => format!(
            "{DRAWN}{}, which finds it too; the check that needs least has nothing to draw.\n\n",
            new.by.words()
        ),
    };
    let text = new.text.trim_end();
    format!("{above}\n\n{HEADING}\n\n{by}```text\n{text}\n```\n")
}
