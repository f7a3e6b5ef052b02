//! PROTOCOL.md and the code that follows it: every rule is named where it is carried out, and the
//! code that decides has neither I/O nor clock.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What code that only decides has no business with. Addresses are values: `std::net::IpAddr`.
const FORBIDDEN: &[&str] = &[
    "tokio",
    "std::fs",
    "std::io",
    "std::env",
    "std::thread",
    "TcpStream",
    "UnixStream",
    "Instant",
    "SystemTime",
    "Clock",
    "rand::",
    "getrandom",
    "async fn",
    ".await",
];

#[test]
fn every_rule_is_named_where_it_is_carried_out() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let protocol = read(&root.join("PROTOCOL.md"));
    let rules: BTreeSet<u32> = protocol.lines().filter_map(number_of_rule).collect();
    assert_eq!(rules.len(), 34, "the rules were read");
    let mut cited: BTreeSet<u32> =
        sources(&root.join("src")).iter().flat_map(|(_, text)| citations(text)).collect();
    // What remains is nobody's to carry out, but to be said.
    cited.extend(citations(&read(&root.join("docs/security.md"))).filter(|rule| *rule == 34));
    let missing: Vec<&u32> = rules.difference(&cited).collect();
    assert!(missing.is_empty(), "nothing cites the rules {missing:?}");
}

#[test]
fn what_decides_has_neither_io_nor_clock() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/session");
    let files = sources(&folder);
    assert!(files.len() > 10, "src/session was read: {} files", files.len());
    for (path, text) in files {
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            let line = line.split("//").next().unwrap_or_default();
            for word in FORBIDDEN {
                assert!(!line.contains(word), "{}:{}: {word}", path.display(), number + 1);
            }
        }
    }
}

#[test]
fn citations_are_read() {
    let check = |text: &str, expected: &[u32]| {
        assert_eq!(citations(text).collect::<Vec<_>>(), expected, "{text}");
    };
    check("(PROTOCOL.md 7-9, 17, 25 and 26).", &[7, 8, 9, 17, 25, 26]);
    check("/// PROTOCOL 18: a login", &[18]);
    check("as rules 13 to 15 say, and rule 9", &[13, 14, 15, 9]);
    check("a rule of 3 words, 12 rules", &[]);
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = read(&path);
            found.push((path, text));
        }
    }
    found
}

fn number_of_rule(line: &str) -> Option<u32> {
    line.split_once(". ")?.0.parse().ok()
}

/// The numbers behind `PROTOCOL` and `rule`, lists and ranges included.
fn citations(text: &str) -> impl Iterator<Item = u32> {
    const WORDS: [&str; 6] = ["PROTOCOL.md ", "PROTOCOL ", "rules ", "Rules ", "rule ", "Rule "];
    let mut found = Vec::new();
    for word in WORDS {
        for (at, _) in text.match_indices(word) {
            let mut rest = &text[at + word.len()..];
            let mut first = None;
            while let Some((number, after)) = leading_number(rest) {
                found.extend(first.map_or(number, |first| first + 1)..=number);
                let (is_range, next) = joint(after);
                first = is_range.then_some(number);
                rest = next;
            }
        }
    }
    found.into_iter()
}

fn leading_number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// What joins two numbers: whether it makes a range, and the text behind it.
fn joint(text: &str) -> (bool, &str) {
    const JOINTS: [(&str, bool); 4] =
        [("-", true), (" to ", true), (", ", false), (" and ", false)];
    JOINTS
        .iter()
        .find_map(|(joint, is_range)| Some((*is_range, text.strip_prefix(joint)?)))
        .unwrap_or((false, ""))
}
