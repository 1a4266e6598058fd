//! What is written at the end of a run that takes minutes.

use std::fs::{self, OpenOptions};
use std::path::Path;

/// Tries whether a file can be written, and leaves it as it was: called at the beginning, so that a run whose end nobody could read is
/// not begun.
///
/// # Errors
/// If it can't, and why.
pub fn try_to_write(path: &Path) -> Result<(), String> {
    let is_new = !path.exists();
    let tried = OpenOptions::new().append(true).create(true).open(path);
    if is_new && tried.is_ok() {
        let _ = fs::remove_file(path);
    }
    match tried {
        Ok(_) => Ok(()),
        Err(e) => Err(format!(
            "can't write {}: {e}; name a file in a folder that exists and may be written to",
            path.display()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_written_is_said_and_what_can_is_left_alone() {
        let name = format!("biglock-verify-output-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        let file = folder.join("rows.json");
        try_to_write(&file).unwrap();
        assert!(!file.exists());
        fs::write(&file, "kept").unwrap();
        try_to_write(&file).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
        for nowhere in [folder.join("no/rows.json"), folder.clone()] {
            let error = try_to_write(&nowhere).unwrap_err();
            assert!(error.contains("can't write"), "{error}");
            assert!(error.contains(nowhere.to_str().unwrap()), "{error}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
