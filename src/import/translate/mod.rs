//! A tree of nginx's as our configuration: one commented file that does the same, and what has to be said
//! of each directive that is not in it as it stood.
//!
//! Nothing is invented: no session policy, no store, no key that the file does not ask for.

mod guards;
mod http;
mod limits;
mod listeners;
mod meaning;
mod notes;
mod routes;
mod scope;
mod scripts;
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

/// Translates a tree that was read with nginx's grammar.
pub fn translate(tree: &Tree, prefix: &str) -> Translation {
    let mut notes = Notes::default();
    let mut file = Map::default();
    for directive in &tree.directives {
        match directive.name.text.as_str() {
            "worker_processes" => match directive.first() {
                Some("auto") | None => {}
                Some(number) => file.add("workers", Yaml::Plain(number.to_owned())),
            },
            "events" => directive.children().iter().for_each(|inner| unknown(inner, &mut notes)),
            "http" => file.extend(http::translate(directive, tree, prefix, &mut notes)),
            _ => unknown(directive, &mut notes),
        }
    }
    let main = tree.files.first().map_or("nginx.conf", |main| main.name.as_str());
    let yaml = format!("# Made from {main}.\n\n{}", file.write());
    Translation { yaml, notes: notes.into_inner() }
}

/// Says why a directive is not in the translation.
fn unknown(directive: &Directive, notes: &mut Notes) {
    let (matter, text) = meaning::of(&directive.name.text);
    notes.say(matter, directive, text);
}

#[cfg(test)]
mod tests;
