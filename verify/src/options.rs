//! What `cargo verify` and the checks of somebody else's program are both asked.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::jobs;
use crate::near::nothing_is_called;
use crate::page::Report;

/// What runs, and what is told of it.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Only what has this in its name.
    pub filter: Option<String>,
    /// Only the one whose whole name this is.
    #[arg(long, requires = "filter")]
    pub exact: bool,
    /// List the names of all that there is, and run none.
    #[arg(long, conflicts_with_all = ["show", "json", "report", "bless", "jobs"])]
    pub list: bool,
    /// Print the picture of what was found, also where it had to be: in what is broken on purpose.
    #[arg(long)]
    pub show: bool,
    /// Write an array with a row for each to this file.
    #[arg(long, value_name = "PATH")]
    pub json: Option<PathBuf>,
    /// Write a page with the tables and the pictures to this folder: DIR/index.html.
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Keep what this run has counted as what to compare with.
    #[arg(long)]
    pub bless: bool,
    /// How many run at a time. Default: the number of cores.
    #[arg(long, value_name = "N", value_parser = at_once)]
    pub jobs: Option<usize>,
}

impl Options {
    /// Whether what has this name was asked for.
    pub fn want(&self, name: &str) -> bool {
        match &self.filter {
            Some(whole) if self.exact => name == whole,
            Some(part) => name.contains(part.as_str()),
            None => true,
        }
    }

    /// Whether the bug of this name was asked for. Its letter may be small.
    pub fn want_bug(&self, id: &str, title: &str) -> bool {
        let name = format!("{id}: {title}").to_lowercase();
        match &self.filter {
            Some(whole) if self.exact => id.eq_ignore_ascii_case(whole),
            Some(part) => name.contains(&part.to_lowercase()),
            None => true,
        }
    }

    /// What to say if nothing was wanted of all that there is: behind "no model", or whatever it is.
    pub fn nothing(&self, names: &[&str]) -> String {
        let filter = self.filter.as_deref().unwrap_or_default();
        nothing_is_called(filter, self.exact, names)
    }

    /// A word to whoever asked for a part of a name that is a whole one as well, if he gets more than that: perhaps it was not meant.
    pub fn say_exact(&self, names: &[&str]) {
        let many = names.len();
        if let Some(filter) = self.filter.as_deref().filter(|_| !self.exact && many > 1)
            && let Some(name) = names.iter().find(|name| name.eq_ignore_ascii_case(filter))
        {
            eprintln!("{many} have {filter:?} in their names; for {name} alone, add --exact");
        }
    }

    /// How many run at a time.
    pub fn at_once(&self) -> usize {
        self.jobs.unwrap_or_else(jobs::cores)
    }

    /// The folder of the report, if one is wanted: a run whose report could not be written is not begun.
    ///
    /// # Errors
    /// If it can't be written to.
    pub fn begin_report(&self, command: &str) -> Result<Option<Report>, String> {
        let folder = self.report.as_deref();
        folder.map(|at| Report::begin(at, command)).transpose()
    }

    /// Writes the rows, if they are wanted.
    ///
    /// # Errors
    /// If they can't be written.
    pub fn write_json(&self, rows: &[impl Serialize]) -> Result<(), String> {
        match &self.json {
            Some(path) => write_rows(path, rows),
            None => Ok(()),
        }
    }
}

/// Writes rows as an array.
///
/// # Errors
/// If they can't be written.
pub fn write_rows(path: &Path, rows: &[impl Serialize]) -> Result<(), String> {
    let text = serde_json::to_string_pretty(rows).map_err(|e| e.to_string())?;
    fs::write(path, text + "\n").map_err(|e| format!("{}: {e}", path.display()))
}

fn at_once(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => {
            Err("with none at a time nothing would run: write 1 or more, or leave it out".into())
        }
        Ok(jobs) => Ok(jobs),
        Err(_) => Err("write how many run at a time, e.g. 2".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Args {
        #[command(flatten)]
        options: Options,
    }

    fn parse(args: &[&str]) -> Result<Options, String> {
        let args = Args::try_parse_from([&["x"], args].concat());
        args.map(|args| args.options).map_err(|e| e.to_string())
    }

    #[test]
    fn the_options_fit_together() {
        Args::command().debug_assert();
        assert!(parse(&["--exact"]).is_err(), "the whole of which name?");
        assert!(parse(&["--list", "--report", "x"]).is_err());
    }

    #[test]
    fn no_job_at_a_time_is_refused_with_a_word_on_what_to_write() {
        for (jobs, says) in [("0", "write 1 or more"), ("-1", ""), ("few", "e.g. 2")] {
            let said = parse(&["--jobs", jobs]).unwrap_err();
            assert!(said.contains(says), "{said}");
        }
        assert_eq!(parse(&["--jobs", "3"]).unwrap().at_once(), 3);
        assert_eq!(parse(&[]).unwrap().at_once(), jobs::cores());
    }

    #[test]
    fn a_filter_is_a_part_of_a_name_or_all_of_it() {
        let part = parse(&["votes"]).unwrap();
        assert!(part.want("votes-3") && part.want("votes") && !part.want("reading"));
        let whole = parse(&["votes", "--exact"]).unwrap();
        assert!(whole.want("votes") && !whole.want("votes-3"));
    }

    #[test]
    fn a_bug_is_asked_for_by_its_id_in_any_letters_or_by_its_title() {
        let wanted = |args: &[&str]| {
            let options = parse(args).unwrap();
            [("K1", "a call"), ("K10", "a wake-up"), ("C1", "Figure 8")]
                .map(|(id, title)| options.want_bug(id, title))
        };
        assert_eq!(wanted(&[]), [true; 3]);
        assert_eq!(wanted(&["k1"]), [true, true, false]);
        assert_eq!(wanted(&["k1", "--exact"]), [true, false, false]);
        assert_eq!(wanted(&["K1", "--exact"]), [true, false, false]);
        assert_eq!(wanted(&["figure"]), [false, false, true]);
        assert_eq!(wanted(&["figure", "--exact"]), [false; 3]);
    }
}
