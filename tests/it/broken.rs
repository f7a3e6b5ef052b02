//! What `check` prints of configurations that are broken: each file in tests/broken stands beside what is
//! printed of it, and every error there has its place and a remedy.
//!
//! `CLOAKROOM_WRITE_BROKEN=1` writes the texts anew, to be read before they are committed.

use std::path::{Path, PathBuf};
use std::process::Command;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken")
}

/// The names of the files, sorted.
fn names() -> Vec<String> {
    let files = std::fs::read_dir(folder()).expect("the folder is there");
    let mut names: Vec<String> = files
        .filter_map(|file| file.expect("it can be read").file_name().into_string().ok())
        .filter(|name| name.ends_with(".yaml"))
        .collect();
    names.sort();
    names
}

/// Exit code and what is printed.
fn check(name: &str) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_cloakroom"))
        .args(["check", "-c", name])
        .current_dir(folder())
        .env_remove("STATE_DIRECTORY")
        .env_remove("CREDENTIALS_DIRECTORY")
        .output()
        .expect("it can be run");
    assert_eq!(output.stdout, b"", "{name}: errors go to standard error");
    (output.status.code(), String::from_utf8(output.stderr).expect("text"))
}

#[test]
fn thirty_broken_configurations_are_told_as_the_snapshots_have_it() {
    let names = names();
    assert!(names.len() >= 30, "only {} files", names.len());
    let writes = std::env::var_os("CLOAKROOM_WRITE_BROKEN").is_some();
    let mut different = Vec::new();
    for name in &names {
        let (code, told) = check(name);
        assert_eq!(code, Some(1), "{name} is not refused:\n{told}");
        let snapshot = folder().join(name.replace(".yaml", ".txt"));
        if writes {
            std::fs::write(&snapshot, &told).expect("it can be written");
        }
        let expected = std::fs::read_to_string(&snapshot).unwrap_or_default();
        if told != expected {
            different.push(format!("{name}: expected\n{expected}\ngot\n{told}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// `file:line:column: error: key: message`, a snippet, and `= help:`.
#[test]
fn each_error_names_place_and_remedy() {
    for name in names() {
        let (_, told) = check(&name);
        let begin = format!("{name}:");
        let mut findings: Vec<Vec<&str>> = Vec::new();
        for line in told.lines() {
            match findings.last_mut() {
                Some(finding) if !line.starts_with(&begin) => finding.push(line),
                _ => findings.push(vec![line]),
            }
        }
        let errors: Vec<_> =
            findings.iter().filter(|finding| finding[0].contains(": error: ")).collect();
        assert!(!errors.is_empty(), "{name}: no error\n{told}");
        for error in errors {
            let place = error[0].strip_prefix(&begin).and_then(|rest| rest.split_once(" error: "));
            let (place, what) = place.expect("a place");
            let numbers: Vec<_> = place.trim_end_matches(':').split(':').collect();
            let is_placed = numbers.len() == 2 && numbers.iter().all(|n| n.parse::<u32>().is_ok());
            // What is missing altogether has no line.
            let is_missing = place.is_empty() && what.ends_with(": there is none");
            assert!(is_placed || is_missing, "{name}: no place in {error:?}");
            assert!(
                error.iter().any(|line| line.trim_start().starts_with("= help: ")),
                "{name}: no remedy in\n{}",
                error.join("\n")
            );
        }
    }
}
