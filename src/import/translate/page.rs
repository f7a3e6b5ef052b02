//! docs/nginx-directives.md: what becomes of each directive of nginx's.
//!
//! `CLOAKROOM_WRITE_DOCS=1 cargo test the_page_says` writes it anew.

use std::fmt::Write;
use std::path::Path;

use super::meaning;
use super::notes::Matter;
use crate::import::known::{MODULES, Module};

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
    let is_http = |module: &&Module| {
        module.name.starts_with("ngx_http_")
            || ["ngx_core_module", "ngx_errlog_module", "ngx_event_core_module"]
                .contains(&module.name)
    };
    for module in MODULES.into_iter().flatten().filter(is_http) {
        let mut names: Vec<&str> = module.directives.iter().map(|known| known.name).collect();
        names.dedup();
        writeln!(page, "\n## {}\n\n| directive | |\n| --- | --- |", module.name).expect("a string");
        for name in names {
            let fate = match sources.contains(&format!("\"{name}\"")) {
                true => "taken".to_owned(),
                false => {
                    let (matter, why) = meaning::of(name);
                    let matter = match matter {
                        Matter::Meaningless => "meaningless here",
                        Matter::Different => "differs",
                        Matter::Left => "not taken",
                    };
                    format!("{matter}: {why}")
                }
            };
            writeln!(page, "| `{name}` | {fate} |").expect("a string");
        }
    }
    page
}
