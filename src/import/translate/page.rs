//! docs/nginx-directives.md: what becomes of each directive of nginx's.
//!
//! `CLOAKROOM_WRITE_DOCS=1 cargo test the_page_says` writes it anew.

use std::fmt::Write;
use std::path::Path;

use super::meaning;
use super::notes::Matter;
use crate::import::known::{MODULES, foreign};

const PAGE: &str = "docs/nginx-directives.md";
const HEAD: &str = "\
# What becomes of nginx's directives

What `cloakroom import` does with each of them: *taken* is in the translation, and
[Coming from nginx](migrating-from-nginx.md) says as which key and with what difference; *meaningless here* can be left
out without a loss; *differs* is in force in another way; *not taken* is said by file and line, and `--strict` fails.
This page is made from the translator itself, and a test compares the two.
";

#[test]
fn the_page_says_what_becomes_of_every_directive() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = page(&sources(&root.join("src/import/translate")));
    let file = root.join(PAGE);
    if std::env::var_os("CLOAKROOM_WRITE_DOCS").is_some() {
        std::fs::write(&file, &made).expect("the page can be written");
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == made,
        "{PAGE} is out of date: CLOAKROOM_WRITE_DOCS=1 cargo test the_page_says"
    );
}

/// What the translator is made of, but for what it says of the others.
fn sources(directory: &Path) -> String {
    let entries = std::fs::read_dir(directory).expect("the sources are there");
    let paths = entries.map(|entry| entry.expect("a file").path());
    let is_one = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.ends_with(".rs")
            && !name.contains("test")
            && !["meaning.rs", "page.rs"].contains(&name)
    };
    paths
        .filter(|path| is_one(path))
        .map(|path| std::fs::read_to_string(path).expect("readable"))
        .collect()
}

fn page(sources: &str) -> String {
    let mut page = HEAD.to_owned();
    let is_taken = |name: &str| {
        // That one is the reader's.
        name == "include" || sources.contains(&format!("\"{name}\""))
    };
    let is_ours = |name: &str| !name.starts_with("ngx_mail_") && !name.starts_with("ngx_stream_");
    for module in MODULES.into_iter().flatten() {
        let mut names: Vec<&str> = module.directives.iter().map(|known| known.name).collect();
        names.dedup();
        writeln!(page, "\n## {}\n\n| directive | |\n| --- | --- |", module.name).expect("a string");
        for name in names {
            let fate = match is_taken(name) {
                _ if !is_ours(module.name) => fate("mail"),
                true => "taken".to_owned(),
                false => fate(name),
            };
            writeln!(page, "| `{name}` | {fate} |").expect("a string");
        }
    }
    let others = "Modules that are not nginx's own";
    writeln!(page, "\n## {others}\n\n| directive | |\n| --- | --- |").expect("a string");
    for (module, names) in foreign::MODULES {
        for name in *names {
            let fate = match is_taken(name) {
                true => "taken".to_owned(),
                false => fate(name),
            };
            writeln!(page, "| `{name}` ({module}) | {fate} |").expect("a string");
        }
    }
    page
}

fn fate(name: &str) -> String {
    let (matter, why) = meaning::of(name);
    let matter = match matter {
        Matter::Meaningless => "meaningless here",
        Matter::Different => "differs",
        Matter::Left => "not taken",
    };
    format!("{matter}: {why}")
}

/// Those that public configurations use, with how many of them do.
const IN_USE: &str = include_str!("../../../tests/nginx/directives-in-use.txt");
/// What asks for a cache, or for another protocol than HTTP, goes without.
const OUT_OF_SCOPE: [&str; 3] = ["proxy_cache", "proxy_no_cache", "fastcgi_"];

#[test]
fn what_public_configurations_use_has_its_row_and_is_taken() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = page(&sources(&root.join("src/import/translate")));
    let in_use = IN_USE.lines().filter(|line| !line.starts_with('#'));
    let in_use: Vec<(u32, &str)> = in_use
        .map(|line| {
            let (number, name) = line.split_once(' ').expect("a number and a name");
            (number.parse().expect("a number"), name)
        })
        .collect();
    assert_eq!(in_use.len(), 220);
    for (number, name) in in_use {
        let begin = format!("| `{name}` ");
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with(&begin)).collect();
        assert!(!rows.is_empty(), "{name} has no row");
        let is_out_of_scope = OUT_OF_SCOPE.iter().any(|begin| name.starts_with(begin));
        let is_left = rows.iter().all(|row| row.contains("| not taken"));
        assert!(number < 5 || !is_left || is_out_of_scope, "{name} is used by {number}: {rows:?}");
    }
}
