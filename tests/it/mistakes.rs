//! The deliberate mistakes of `tests/mistakes/` still fit the sources. `scripts/mistakes` makes
//! them, and shows that the model of the session protocol finds each.

use std::path::Path;
use std::process::Command;

#[test]
fn every_mistake_can_still_be_made() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let patches = std::fs::read_dir(root.join("tests/mistakes")).expect("the folder is there");
    let patches: Vec<_> = patches.map(|entry| entry.expect("an entry").path()).collect();
    assert_eq!(patches.len(), 7);
    for patch in patches {
        let mut git = Command::new("git");
        git.current_dir(root).args(["apply", "--check"]).arg(&patch);
        let output = git.output().expect("git is installed");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} no longer applies: {said}", patch.display());
    }
}
