//! A tree of nginx's as our configuration: one commented file that does the same, and what has to be said
//! of each directive that is not in it as it stood.
//!
//! Nothing is invented: no session policy, no store, no key that the file does not ask for.

mod answers;
mod guards;
mod http;
mod keys;
mod limits;
mod listeners;
mod meaning;
mod notes;
#[cfg(test)]
mod page;
mod routes;
mod scope;
mod scripts;
mod tls;
mod upstreams;

pub use notes::{Matter, Note};

use self::notes::Notes;
use super::tree::{Directive, Tree};
use crate::config::write::{Map, Yaml};

/// What a file becomes.
#[derive(Debug)]
pub struct Translation {
    /// Our configuration.
    pub yaml: String,
    /// In the order in which they were met.
    pub notes: Vec<Note>,
}

impl Translation {
    /// Whether anything of the file is not in force.
    pub fn leaves_anything(&self) -> bool {
        self.notes.iter().any(|note| note.matter == Matter::Left)
    }
}

/// Where relative paths begin, and what a translation is for.
#[derive(Clone, Copy, Debug)]
pub struct Folders<'a> {
    /// For most.
    pub prefix: &'a str,
    /// The main file's own: for certificates and lists of users.
    pub conf: &'a str,
    /// What nginx does without being asked is done too: it is served at once, in nginx's place.
    pub as_nginx: bool,
}

/// Translates a tree that was read with nginx's grammar.
pub fn translate(tree: &Tree, folders: &Folders<'_>) -> Translation {
    let mut notes = Notes::default();
    let mut file = Map::default();
    for directive in &tree.directives {
        match directive.name.text.as_str() {
            "worker_processes" => match directive.first() {
                Some("auto") | None => {}
                Some(number) => file.add("workers", Yaml::Plain(number.to_owned())),
            },
            "events" => directive.children().iter().for_each(|inner| unknown(inner, &mut notes)),
            "http" => file.extend(http::translate(directive, tree, folders, &mut notes)),
            "error_log" => {}
            "worker_shutdown_timeout" => {
                let time = directive.first().and_then(scope::time).unwrap_or_default();
                file.add("drain_timeout", Yaml::text(time));
            }
            _ => unknown(directive, &mut notes),
        }
    }
    let logs = error_logs(&tree.directives, folders);
    if !logs.is_empty() {
        file.add("error_log", Yaml::List(logs));
    }
    let main = tree.files.first().map_or("nginx.conf", |main| main.name.as_str());
    let yaml = format!("# Made from {main}.\n\n{}", file.write());
    Translation { yaml, notes: notes.into_inner() }
}

/// All logs of a file, each once. Here all servers write to all of them.
fn error_logs(block: &[Directive], folders: &Folders<'_>) -> Vec<Yaml> {
    fn find<'a>(block: &'a [Directive], found: &mut Vec<(&'a str, &'a str)>) {
        for directive in block {
            match directive.name.text.as_str() {
                "error_log" => {
                    let path = directive.first().unwrap_or_default();
                    let log = (path, directive.arg(1).unwrap_or("error"));
                    if !found.contains(&log) {
                        found.push(log);
                    }
                }
                "http" | "server" | "location" => find(directive.children(), found),
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    find(block, &mut found);
    let log = |(path, level): (&str, &str)| {
        let is_file = path != "stderr" && !path.starts_with("syslog:");
        let mut log = Map::default();
        let path = if is_file { listeners::within(folders.prefix, path) } else { path.into() };
        log.add("path", Yaml::text(path));
        log.add("level", Yaml::text(level));
        Yaml::Map(log)
    };
    found.into_iter().map(log).collect()
}

/// Says why a directive is not in the translation.
fn unknown(directive: &Directive, notes: &mut Notes) {
    let (matter, text) = meaning::of(&directive.name.text);
    notes.say(matter, directive, text);
}

#[cfg(test)]
mod tests;
