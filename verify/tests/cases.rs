//! Each model and each exploration as a test of its own, so that `cargo nextest` can spread them over any number of machines.
//!
//! Only in the checked build, which replaces the locks; elsewhere there are none. `just cases` says how to call it.

use std::io;
use std::process::{Command, Output};

use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> io::Result<()> {
    let args = Arguments::from_args();
    libtest_mimic::run(&args, cases()?).exit();
}

fn verify(args: &[&str]) -> Command {
    let mut verify = Command::new(env!("CARGO_BIN_EXE_biglock-verify"));
    verify.args(args);
    verify
}

fn cases() -> io::Result<Vec<Trial>> {
    let list = verify(&["--list", "--deep"]).output()?;
    // In a build that has no checker it says so, and there are no cases.
    assert!(
        list.status.success() || !cfg!(biglock_loom),
        "the models can't be listed: {list:?}"
    );
    let ordinary = names(&verify(&["--list"]).output()?);
    let case = |name: &String| {
        let (name, deep) = (name.clone(), !ordinary.contains(name));
        Trial::test(name.clone(), move || check(&name, deep)).with_ignored_flag(deep)
    };
    Ok(names(&list).iter().map(case).collect())
}

/// The first word of each line.
fn names(list: &Output) -> Vec<String> {
    let list = String::from_utf8_lossy(&list.stdout);
    let names = list.lines().filter_map(|line| line.split(' ').next());
    names.map(String::from).collect()
}

/// Runs it as `cargo verify` does, in a process of its own: what a broken execution leaves behind can't be cleaned up.
fn check(name: &str, deep: bool) -> Result<(), Failed> {
    let mut run = verify(&[name, "--exact", "--jobs", "1"]);
    if deep {
        run.arg("--deep");
    }
    let output = run.output()?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let (out, err) = (&output.stdout, &output.stderr);
            let text = String::from_utf8_lossy(out) + String::from_utf8_lossy(err);
            Err(Failed::from(text.into_owned()))
        }
    }
}
