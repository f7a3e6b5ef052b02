//! The arrows between modules point down only, and a few crates have one home each.
//!
//! Reads `src/` as text: comments, strings and `#[cfg]`s aside, what counts is which names a
//! file's paths and `use` trees begin with. ARCHITECTURE.md has the table. Code in `mod tests` is
//! held to the same rules. Macros are read like everything else; a path that a macro puts together
//! from parts is not seen.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A module of the crate's root and the modules it may use directly. What those may use, it may use
/// as well.
const LAYERS: &[(&str, &[&str])] = &[
    ("access", &["routing"]),
    ("acme", &["listen", "store"]),
    ("clock", &[]),
    ("cookie", &["wire"]),
    ("crypto", &[]),
    ("routing", &["cookie"]),
    ("headers", &["cookie", "wire"]),
    ("session", &["cookie", "crypto", "routing", "uniform", "wire"]),
    ("transport", &[]),
    ("uniform", &[]),
    ("variables", &["headers", "routing"]),
    ("rewrite", &["variables"]),
    ("wire", &[]),
    ("upstream", &["transport", "wire"]),
    ("store", &["session"]),
    ("telemetry", &["session", "variables"]),
    ("listen", &["transport"]),
    ("downstream", &["wire", "listen"]),
    ("files", &["wire"]),
    ("admin", &["store", "upstream", "telemetry"]),
    ("proxy", &["access", "acme", "headers", "downstream", "files", "rewrite", "admin"]),
    ("config", &["proxy"]),
    ("import", &["config"]),
    ("app", EVERYTHING),
    ("cli", EVERYTHING),
    ("demo", EVERYTHING),
    ("main", EVERYTHING),
    // It only declares the modules.
    ("lib", &[]),
];
const EVERYTHING: &[&str] = &["config", "import", "app", "cli", "demo"];

/// Crates (a trailing `*` matches any rest) and the only folders or files that may name them.
const HOMES: &[(&str, &[&str])] = &[
    ("hickory_proto", &["upstream/names"]),
    ("instant_acme", &["acme"]),
    ("h2", &["downstream/http2", "upstream/way/http2"]),
    ("httparse", &["wire"]),
    ("redis", &["store/redis"]),
    ("sqlx", &["store/sql"]),
    ("serde_saphyr", &["config"]),
    ("serde_yaml", &["config"]),
];

#[test]
fn arrows_point_down_and_crates_stay_at_home() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&root, &root, &mut files);
    assert!(files.len() > 20, "src/ was read: {} files", files.len());
    let found: Vec<String> = files.iter().flat_map(|(name, text)| violations(name, text)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_module_of_the_crate_has_a_layer() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs"))
        .expect("src/lib.rs is readable");
    let tokens = tokens(&lib);
    let declared = tokens.windows(2).filter(|pair| pair[0] == "mod").map(|pair| pair[1].as_str());
    for module in declared {
        assert!(LAYERS.iter().any(|(name, _)| *name == module), "{module} is missing from LAYERS");
    }
}

/// Every `.rs` file below `folder`, named relative to `root`, with `/`.
fn rust_files(root: &Path, folder: &Path, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("src/ is readable") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(root, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).expect("it is below").to_string_lossy().into_owned();
            files.push((name, fs::read_to_string(&path).expect("a source file is UTF-8")));
        }
    }
}

/// What is wrong with a file, one line for each name that should not be there.
fn violations(file: &str, text: &str) -> Vec<String> {
    let module = module_path(file);
    let layer = module.first().map_or_else(|| file.trim_end_matches(".rs"), String::as_str);
    let allowed = reachable(layer);
    let Some(allowed) = allowed else {
        return vec![format!("{file}: `{layer}` is missing from LAYERS")];
    };
    let mut found = BTreeSet::new();
    let (uses, local) = names(text, &module);
    for used in uses {
        match used {
            Name::Inside(target) => {
                let known = LAYERS.iter().any(|(name, _)| *name == target);
                if known && target != layer && !allowed.contains(target.as_str()) {
                    found.insert(format!("{file}: `{layer}` may not use `{target}`"));
                }
            }
            Name::Outside(name) if !local.contains(&name) => {
                let name = name.trim_start_matches("::");
                for (pattern, homes) in HOMES {
                    let named = match pattern.strip_suffix('*') {
                        Some(prefix) => name.starts_with(prefix),
                        None => name == *pattern,
                    };
                    let at_home = homes.iter().any(|home| {
                        file.starts_with(&format!("{home}/")) || file == format!("{home}.rs")
                    });
                    if named && !at_home {
                        let homes = homes.join(", src/");
                        found.insert(format!("{file}: `{name}` is named outside src/{homes}"));
                    }
                }
            }
            Name::Outside(_) => {}
        }
    }
    found.into_iter().collect()
}

/// `session/jar.rs` is `["session", "jar"]`; `lib.rs` and `main.rs` are the root itself.
fn module_path(file: &str) -> Vec<String> {
    let mut path: Vec<String> =
        file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if path.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
        path.pop();
    }
    path
}

/// The layers that `layer` may use, those of those included.
fn reachable(layer: &str) -> Option<BTreeSet<&'static str>> {
    let (_, direct) = LAYERS.iter().find(|(name, _)| *name == layer)?;
    let mut all = BTreeSet::new();
    let mut open = direct.to_vec();
    while let Some(next) = open.pop() {
        if all.insert(next) {
            let (_, below) = LAYERS.iter().find(|(name, _)| *name == next)?;
            open.extend(*below);
        }
    }
    // Everybody may handle a point in time.
    all.insert("clock");
    Some(all)
}

/// The beginning of a path.
#[derive(Debug, PartialEq)]
enum Name {
    /// A module of the crate's root.
    Inside(String),
    /// Anything else: a crate, or a name that is local to the file.
    Outside(String),
}

/// What the paths of a file begin with, and the names that the file itself declares or imports
/// from somewhere, which are no crates.
fn names(text: &str, module: &[String]) -> (Vec<Name>, BTreeSet<String>) {
    let tokens = tokens(text);
    let at = |index: usize| tokens.get(index).map_or("", String::as_str);
    let mut found = Vec::new();
    let mut local = BTreeSet::new();
    // Inline modules that are open, each with the depth of braces at which it ends.
    let mut inline: Vec<usize> = Vec::new();
    let mut depth = 0;
    let mut index = 0;
    while index < tokens.len() {
        match at(index) {
            "{" => depth += 1,
            "}" => {
                depth = usize::saturating_sub(depth, 1);
                inline.pop_if(|end| *end == depth);
            }
            "mod" if is_identifier(at(index + 1)) => {
                local.insert(at(index + 1).to_owned());
                if at(index + 2) == "{" {
                    inline.push(depth);
                }
                index += 1;
            }
            "use" => {
                let mut imports = Vec::new();
                let end = use_tree(&tokens, index + 1, &[], &mut imports);
                for (path, name) in imports {
                    if path.len() > 1 || path.first() != Some(&name) {
                        local.insert(name);
                    }
                    let path: Vec<&str> = path.iter().map(String::as_str).collect();
                    found.extend(resolve(&path, module, inline.len()));
                }
                index = end;
                continue;
            }
            "extern" if at(index + 1) == "crate" => {
                found.push(Name::Outside(at(index + 2).to_owned()));
                index += 2;
            }
            // The first segment of a path that has at least two. A generic argument's `::<` does not
            // lead anywhere, and `a.b::<C>()` is a method.
            name if is_identifier(name) && at(index + 1) == "::" => {
                let before = if index == 0 { "" } else { at(index - 1) };
                let absolute = before == "::"
                    && !(index >= 2 && (is_identifier(at(index - 2)) || at(index - 2) == ">"));
                if absolute || !matches!(before, "::" | ".") {
                    let mut path = vec![name];
                    let mut next = index + 1;
                    while at(next) == "::" && is_identifier(at(next + 1)) {
                        path.push(at(next + 1));
                        next += 2;
                    }
                    if absolute {
                        path.insert(0, "::");
                    }
                    found.extend(resolve(&path, module, inline.len()));
                }
            }
            _ => {}
        }
        index += 1;
    }
    (found, local)
}

/// Reads a `use` tree that begins at `index`; collects each path with the name it is bound to.
/// Returns the place after the tree.
fn use_tree(
    tokens: &[String],
    mut index: usize,
    prefix: &[String],
    imports: &mut Vec<(Vec<String>, String)>,
) -> usize {
    let at = |index: usize| tokens.get(index).map_or("", String::as_str);
    let mut path = prefix.to_vec();
    loop {
        match at(index) {
            "{" => {
                index += 1;
                while !matches!(at(index), "}" | "") {
                    let end = use_tree(tokens, index, &path, imports);
                    // After a comma; and past anything that is no tree, such as a macro's `$`.
                    index = end + usize::from(end == index || at(end) == ",");
                }
                return index + 1;
            }
            "::" => {
                if path.is_empty() {
                    path.push("::".to_owned());
                }
                index += 1;
            }
            "as" => {
                imports.push((path, at(index + 1).to_owned()));
                return index + 2;
            }
            segment if is_identifier(segment) || segment == "*" => {
                path.push(segment.to_owned());
                index += 1;
            }
            // `,`, `}` or `;`, which the caller reads.
            _ => {
                let mut bound = path.last().cloned().unwrap_or_default();
                if bound == "self" {
                    bound = path[path.len().saturating_sub(2)].clone();
                }
                imports.push((path, bound));
                return index;
            }
        }
    }
}

/// What a path means: `crate`, `super` and the crate's own name lead to a module of its root.
fn resolve(path: &[&str], module: &[String], inline: usize) -> Option<Name> {
    let inside = |name: Option<&&str>| name.map(|name| Name::Inside((*name).to_owned()));
    match *path.first()? {
        "crate" | "cloakroom" => inside(path.get(1)),
        "self" | "Self" => None,
        "super" => {
            let ups = path.iter().take_while(|segment| **segment == "super").count();
            let here = module.len() + inline;
            let kept = here.saturating_sub(ups).min(module.len());
            match module.first() {
                // Still below the root's module that the file belongs to.
                Some(top) if kept > 0 => Some(Name::Inside(top.clone())),
                _ => inside(path.get(ups)),
            }
        }
        // A leading `::` always means a crate. It is kept, so that no local name hides it.
        "::" => path.get(1).map(|name| Name::Outside(format!("::{name}"))),
        name => Some(Name::Outside(name.to_owned())),
    }
}

fn is_identifier(token: &str) -> bool {
    token.starts_with(|first: char| first == '_' || first.is_alphabetic())
}

/// Identifiers and punctuation, `::` in one piece. Comments, literals and lifetimes are left out.
fn tokens(text: &str) -> Vec<String> {
    let mut rest = text;
    let mut tokens = Vec::new();
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = string(rest) {
            length
        } else if first == '\'' {
            quote(rest)
        } else if rest.starts_with("::") {
            tokens.push("::".to_owned());
            2
        } else if is_identifier(rest) {
            let raw = rest.strip_prefix("r#").filter(|after| is_identifier(after));
            let name = raw.unwrap_or(rest);
            let end = name
                .find(|next: char| next != '_' && !next.is_alphanumeric())
                .unwrap_or(name.len());
            tokens.push(name[..end].to_owned());
            end + (rest.len() - name.len())
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

/// The length of the block comment that `text` begins with; they nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut index = 0;
    while index < text.len() {
        let rest = &text.as_bytes()[index..];
        if rest.starts_with(b"/*") {
            depth += 1;
            index += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            index += 2;
            if depth == 0 {
                return index;
            }
        } else {
            index += 1;
        }
    }
    text.len()
}

/// The length of the string literal that `text` begins with, of whatever kind.
fn string(text: &str) -> Option<usize> {
    let after = text.trim_start_matches(['b', 'c']);
    if text.len() - after.len() > 1 {
        return None;
    }
    let prefix = text.len() - after.len();
    if let Some(raw) = after.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let body = raw[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        let length = body.find(&end).map_or(body.len(), |at| at + end.len());
        return Some(prefix + 1 + hashes + 1 + length);
    }
    let body = after.strip_prefix('"')?;
    let mut escaped = false;
    for (at, next) in body.char_indices() {
        match next {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(prefix + 1 + at + 1),
            _ => {}
        }
    }
    Some(text.len())
}

/// The length of the character literal or lifetime that `text` begins with.
fn quote(text: &str) -> usize {
    let mut after = text.char_indices().skip(1);
    match (after.next(), after.next()) {
        (Some((_, '\\')), Some((escaped, _))) => {
            // The escaped character itself may be a quote.
            let rest = &text[escaped + 1..];
            rest.find('\'').map_or(text.len(), |end| escaped + 1 + end + 1)
        }
        (Some(_), Some((end, '\''))) => end + 1,
        _ => {
            let name = &text[1..];
            let end = name.find(|next: char| next != '_' && !next.is_alphanumeric());
            1 + end.unwrap_or(name.len())
        }
    }
}

mod snippets {
    use super::violations;

    #[track_caller]
    fn check(file: &str, text: &str, expected: &[&str]) {
        assert_eq!(violations(file, text), expected, "{file}: {text}");
    }

    #[test]
    fn an_arrow_that_points_up_is_reported_in_every_spelling() {
        let up = &["session/jar.rs: `session` may not use `proxy`"];
        for text in [
            "use crate::proxy;",
            "use crate::proxy::settings::Route;",
            "use crate::{cookie::date, proxy::{self, settings}};",
            "use crate::{\n    cookie,\n    proxy as p,\n};",
            "pub(crate) use crate::proxy::settings::*;",
            "fn f() { crate::proxy::run() }",
            "fn f(route: &crate::proxy::settings::Route) {}",
            "fn f() -> Vec<crate::proxy::Route> { x::<crate::proxy::Route>() }",
            "use super::super::proxy;",
            "use super::super::{proxy};",
            "fn f() { super::super::proxy::run() }",
            "mod tests { use super::super::super::proxy::settings; }",
            "use cloakroom::proxy;",
            "macro_rules! m { () => { $crate::proxy::run() } }",
            "const S: &str = r#\"\"#; use crate::proxy;",
            "const C: char = '\"'; use crate::proxy; const D: char = '\\'';",
            "/* a /* nested */ comment */ use crate::proxy;",
            "impl<'a> F<'a> { fn f() { crate::proxy::run() } }",
        ] {
            check("session/jar.rs", text, up);
        }
    }

    #[test]
    fn what_does_not_count_is_not_reported() {
        for text in [
            "// use crate::proxy;",
            "/// [`Proxy`](crate::proxy::Proxy)\nfn f() {}",
            "//! crate::proxy",
            "/* use crate::proxy; */",
            "const S: &str = \"crate::proxy::run()\";",
            "const S: &str = r##\"use crate::proxy; \"# redis::cmd\"##;",
            "const S: &[u8] = b\"h2::x\";",
            "use crate::{cookie, crypto::seal, routing::path::PathRule, clock::UnixMillis};",
            "use super::proxy;",
            "mod tests { use super::super::proxy; use super::*; }",
            "fn f(proxy: u8) { proxy.len(); self::proxy::x() }",
        ] {
            check("session/jar.rs", text, &[]);
        }
    }

    #[test]
    fn layers_are_as_the_design_has_them() {
        check("cookie/date.rs", "use crate::clock::UnixMillis;", &[]);
        check("store/records.rs", "use crate::{crypto, session::record, clock};", &[]);
        check("proxy/logging.rs", "use crate::{telemetry, store, listen, headers};", &[]);
        check("config/mod.rs", "use crate::{admin, proxy, store};", &[]);
        check("main.rs", "use cloakroom::cli;", &[]);
        check(
            "listen/tls.rs",
            "use crate::telemetry::metrics;",
            &["listen/tls.rs: `listen` may not use `telemetry`"],
        );
        check(
            "store/memory.rs",
            "use crate::config::Config; use crate::telemetry;",
            &[
                "store/memory.rs: `store` may not use `config`",
                "store/memory.rs: `store` may not use `telemetry`",
            ],
        );
        check(
            "headers/x.rs",
            "use crate::session;",
            &["headers/x.rs: `headers` may not use `session`"],
        );
        check(
            "proxy/mod.rs",
            "use crate::config;",
            &["proxy/mod.rs: `proxy` may not use `config`"],
        );
        check("novel/mod.rs", "", &["novel/mod.rs: `novel` is missing from LAYERS"]);
    }

    #[test]
    fn a_crate_named_away_from_home_is_reported() {
        let away = |file: &str, text, name: &str, home: &str| {
            check(file, text, &[&format!("{file}: `{name}` is named outside src/{home}")]);
        };
        away("app.rs", "use h2::Reason;", "h2", "downstream/http2, src/upstream/way/http2");
        away(
            "listen/conn.rs",
            "impl h2::X for Y {}",
            "h2",
            "downstream/http2, src/upstream/way/http2",
        );
        away("app.rs", "use {std::io, h2::Y};", "h2", "downstream/http2, src/upstream/way/http2");
        away("app.rs", "extern crate h2;", "h2", "downstream/http2, src/upstream/way/http2");
        away("store/mod.rs", "use ::redis::Client;", "redis", "store/redis");
        away("app.rs", "fn f() { redis::cmd(\"GET\") }", "redis", "store/redis");
        away("app.rs", "use redis;", "redis", "store/redis");
        away("store/redis/mod.rs", "fn f() { sqlx::query(x) }", "sqlx", "store/sql");
        away("cli.rs", "serde_saphyr::from_str(x)", "serde_saphyr", "config");
        away("cli.rs", "use serde_yaml as y;", "serde_yaml", "config");
    }

    #[test]
    fn a_module_of_the_same_name_is_no_crate() {
        check("store/mod.rs", "pub mod redis; enum E { Redis(redis::RedisSettings) }", &[]);
        check("config/mod.rs", "use crate::store::redis; fn f(s: redis::RedisSettings) {}", &[]);
        check("config/mod.rs", "use crate::store::{redis::{self}}; type T = redis::Url;", &[]);
        check("config/mod.rs", "fn f(s: crate::store::redis::RedisSettings) {}", &[]);
        check("store/redis/link.rs", "use redis::Client; use super::Settings;", &[]);
        check("downstream/http2/mod.rs", "use h2::Reason;", &[]);
        check("config/schema.rs", "use serde_saphyr::Spanned;", &[]);
    }
}
