//! What `biglock_verify::check` makes of checks that are not as they should be: each is refused, in words that say what to do, and none passes unseen.
//!
//! Only in the checked build: `.ci/run` says how to call it. This program is also the one that has the checks: with `MISUSED` set to the name of a list
//! it runs that list, as a user's would.

#[cfg(biglock_loom)]
mod misused;

#[cfg(not(biglock_loom))]
fn main() {}

#[cfg(biglock_loom)]
fn main() -> std::process::ExitCode {
    match std::env::var("MISUSED") {
        Ok(list) => misused::run(&list),
        Err(_) => trials::run(),
    }
}

#[cfg(biglock_loom)]
mod trials {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;
    use std::process::{Command, ExitCode};

    use libtest_mimic::{Arguments, Failed, Trial};

    type Tried = Result<(), Failed>;

    pub fn run() -> ExitCode {
        let args = Arguments::from_args();
        let trial = |name: &str, run: fn() -> Tried| Trial::test(name, run);
        let mut trials = vec![
            trial("two checks of one name are refused", || {
                refused(
                    "twice",
                    "two checks are called twice: give each a name of its own",
                )
            }),
            trial("a name with a space is refused", || {
                refused("spaced", "can't be called \"two words\": write letters")
            }),
            trial("a name that is a path is refused", || {
                refused("path", "can't be called \"a/b\": write letters")
            }),
            trial("no name is refused", || {
                refused("nameless", "can't be called \"\": write letters")
            }),
            trial("a name that is an option is refused", || {
                refused("option", "can't be called \"--list\": write letters")
            }),
            trial("no thread is refused", || {
                refused(
                    "threadless",
                    "threadless can't have 0 threads: write how many run",
                )
            }),
            trial("five threads are refused", || {
                refused("crowd", "crowd can't have 5 threads: write how many run")
            }),
            trial(
                "counts of checks that are gone fail, and the rows are written",
                gone,
            ),
            trial("a goal that was missed is not what had to be found", missed),
            trial(
                "no two models, lessons or explorations have one name",
                models,
            ),
        ];
        let (status, judged, wrong) = ran("judged", Path::new(""), &["--list"]);
        assert_eq!(status, Some(0), "the list itself is refused: {wrong}");
        for name in names(&judged) {
            trials.push(Trial::test(name.clone(), move || is_judged(&name)));
        }
        libtest_mimic::run(&args, trials).exit_code()
    }

    /// The first word of each line.
    fn names(list: &str) -> Vec<String> {
        let names = list.lines().filter_map(|line| line.split(' ').next());
        names.map(String::from).collect()
    }

    /// How the list ended, and what it printed: of itself, and of what was wrong.
    fn ran(list: &str, golden: &Path, args: &[&str]) -> (Option<i32>, String, String) {
        let program = std::env::current_exe().expect("it runs");
        let mut command = Command::new(program);
        command
            .args(args)
            .env("MISUSED", list)
            .env("GOLDEN", golden);
        let output = command.output().expect("it can be started");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    /// Nothing is run or listed, and this is said.
    fn refused(list: &str, says: &str) -> Tried {
        for args in [&[][..], &["--list"]] {
            let (code, out, err) = ran(list, Path::new(""), args);
            if code != Some(2) || !err.contains(says) || !out.is_empty() {
                return Err(format!("{code:?}\n{out}{err}").into());
            }
        }
        Ok(())
    }

    /// It is as its list says: it holds, or breaks with the words that it must say.
    fn is_judged(name: &str) -> Tried {
        let folder = tempfile::tempdir()?;
        let golden = folder.path().join("golden");
        match ran("judged", &golden, &[name, "--exact", "--bless"]) {
            (Some(0), ..) => Ok(()),
            (code, out, err) => Err(format!("{code:?}\n{out}{err}").into()),
        }
    }

    fn missed() -> Tried {
        let folder = tempfile::tempdir()?;
        let golden = folder.path().join("golden");
        let (code, out, _) = ran("missed", &golden, &["--bless"]);
        match code == Some(1) && out.contains("never reached: paid") {
            true => Ok(()),
            false => Err(format!("{code:?}\n{out}").into()),
        }
    }

    fn gone() -> Tried {
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name);
        fs::write(at("golden"), "gone 3\n")?;
        // Of one that is run alone the count is kept, and the others stay.
        ran("sound", &at("golden"), &["sound", "--bless"]);
        let (json, report) = (at("rows.json"), at("report"));
        let args = [
            "--json",
            json.to_str().expect("UTF-8"),
            "--report",
            report.to_str().expect("UTF-8"),
        ];
        let (code, out, err) = ran("sound", &at("golden"), &args);
        let rows = fs::read_to_string(json).unwrap_or_default();
        let page = fs::read_to_string(report.join("index.html")).unwrap_or_default();
        let told = err.contains("counts are kept of checks that are gone")
            && err.contains("gone; `--bless` drops them");
        match code == Some(2) && told && rows.contains("\"sound\"") && page.contains("gone: gone.")
        {
            true => Ok(()),
            false => Err(format!("{code:?}\n{out}{err}{rows}{page}").into()),
        }
    }

    /// Their names are what they are run by, and what their counts are kept by.
    fn models() -> Tried {
        let list = Command::new(env!("CARGO_BIN_EXE_biglock-verify"))
            .args(["--list", "--deep"])
            .output()?;
        let names = names(&String::from_utf8_lossy(&list.stdout));
        let mut seen = BTreeSet::new();
        let twice = names.iter().find(|name| !seen.insert(*name));
        match twice {
            Some(name) => Err(format!("two are called {name}").into()),
            None if names.len() < 50 => Err(format!("these are not all: {names:?}").into()),
            None => Ok(()),
        }
    }
}
