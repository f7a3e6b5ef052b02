//! `make faults` (`tests/faults/`): its checker is tested here, and its table is complete. The faults
//! themselves take minutes and are not part of the tests.

use std::path::Path;
use std::process::Command;

/// Runs Python in the package's folder; what it printed.
fn python(arguments: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut python = Command::new("python3");
    let output = python.current_dir(root).arg("-B").args(arguments).output();
    let output = output.expect("python3 is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "python3 {arguments:?}:\n{said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_checker_of_histories_tells_good_from_bad() {
    python(&["-m", "unittest", "discover", "-s", "tests/faults"]);
}

#[test]
fn the_table_of_faults_has_a_row_for_each() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document =
        std::fs::read_to_string(root.join("docs/operations/outages.md")).expect("it is there");
    let (_, rest) = document.split_once("<!-- faults: begin -->").expect("a marker");
    let (table, _) = rest.split_once("<!-- faults: end -->").expect("a marker");
    let name = |row: &str| {
        let mut cells = row.strip_prefix("| ")?.split(" | ");
        Some(format!("{}/{}", cells.next()?, cells.next()?))
    };
    // The first two rows are the heading.
    let shown: Vec<String> = table.lines().filter_map(name).skip(2).collect();
    let listed = python(&["tests/faults/run", "--list"]);
    assert_eq!(shown, listed.lines().collect::<Vec<_>>(), "`make faults ARGS=--write` writes it");
}
