//! Links between the project's own pages lead to files and headings that are there.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The pages at the top, in docs/ and beside the benchmarks.
fn pages() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let folders = ["", "docs", "docs/adr", "docs/operations", "benches/load", "tests/apps"];
    for folder in folders {
        let entries = std::fs::read_dir(root().join(folder)).expect("the folder is there");
        found.extend(
            entries
                .map(|entry| entry.expect("it can be read").path())
                .filter(|path| path.extension().is_some_and(|extension| extension == "md")),
        );
    }
    found
}

/// The text outside of code.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let mut kept = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            // Every second piece is between backquotes.
            line.split('`').step_by(2).for_each(|piece| kept.push_str(piece));
            kept.push('\n');
        }
    }
    kept
}

/// The names that a page's headings have in links, as Git hosts make them.
fn anchors(text: &str) -> Vec<String> {
    let mut fenced = false;
    let headings = text.lines().filter(|line| {
        if line.starts_with("```") {
            fenced = !fenced;
        }
        !fenced && line.starts_with('#')
    });
    headings
        .map(|heading| {
            let title = heading.trim_start_matches('#').trim().to_lowercase();
            title
                .chars()
                .filter(|char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_'))
                .map(|char| if char == ' ' { '-' } else { char })
                .collect()
        })
        .collect()
}

/// Where the links of a text lead, those to other hosts left out.
fn links(text: &str) -> Vec<String> {
    prose(text)
        .split("](")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()))
        .filter(|target| !target.contains("://") && !target.contains(' '))
        .collect()
}

#[test]
fn links_between_pages_lead_to_what_is_there() {
    let texts: HashMap<PathBuf, String> = pages()
        .into_iter()
        .map(|page| (page.clone(), std::fs::read_to_string(page).expect("it can be read")))
        .collect();
    let (mut dead, mut alive) = (Vec::new(), 0);
    for (page, text) in &texts {
        for link in links(text) {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => page.clone(),
                file => page.parent().expect("a folder").join(file),
            };
            let is_alive = target.canonicalize().is_ok_and(|target| {
                anchor.is_empty()
                    || texts
                        .get(&target)
                        .is_some_and(|text| anchors(text).iter().any(|a| a == anchor))
            });
            if is_alive {
                alive += 1;
            } else {
                dead.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(dead.is_empty(), "links that lead nowhere:\n{}", dead.join("\n"));
    assert!(alive > 50, "only {alive} links were found");
}
