//! What a translation has to say of the file that it was made from.

use crate::import::tree::{Directive, Place, Tree};

/// Why a directive is not in the translation as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matter {
    /// It has no meaning here; nothing is lost.
    Meaningless,
    /// It is in force, but not in each point as in nginx.
    Different,
    /// It is not in force.
    Left,
}

/// What is said of one directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub place: Place,
    pub directive: String,
    pub matter: Matter,
    /// Why, and what to do.
    pub text: String,
}

/// All that is said, in the order of the file.
#[derive(Debug, Default)]
pub struct Notes(Vec<Note>);

impl Notes {
    pub fn say(&mut self, matter: Matter, directive: &Directive, text: impl Into<String>) {
        let note = Note {
            place: directive.place,
            directive: directive.name.text.clone(),
            matter,
            text: text.into(),
        };
        if !self.0.contains(&note) {
            self.0.push(note);
        }
    }

    pub fn into_inner(self) -> Vec<Note> {
        self.0
    }
}

impl Note {
    /// `FILE:LINE: "name" is not taken: why`.
    pub fn line(&self, tree: &Tree) -> String {
        let said = match self.matter {
            Matter::Meaningless => "means nothing here",
            Matter::Different => "is taken, but differs",
            Matter::Left => "is not taken",
        };
        format!("{}: \"{}\" {said}: {}", tree.at(self.place), self.directive, self.text)
    }
}
