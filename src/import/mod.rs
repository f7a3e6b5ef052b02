//! nginx's configuration files: read as nginx reads them.
//!
//! [`nginx`] makes a [`tree::Tree`] of a file and all that it includes, judged as nginx judges it: a
//! [`Mistake`] prints as nginx prints it. Nothing in here has a meaning yet; that is for who walks over the
//! tree, with the readers of [`value`] and [`location`].

pub mod files;
mod glob;
mod grammar;
pub mod known;
mod lex;
mod lines;
mod listens;
pub mod location;
mod lua;
mod mistake;
mod own;
pub mod propose;
mod read;
pub mod text;
pub mod translate;
pub mod tree;
pub mod value;

pub use files::{Disk, Files};
pub use grammar::Nginx;
pub use lex::{End, Lexer, Source, Statement, Token};
pub use mistake::{Mistake, Site};
pub use read::{Grammar, Kind, read};

/// Reads a file of nginx's by the rules of nginx, with what `-g` says.
///
/// # Errors
/// The first mistake, as nginx prints it.
pub fn nginx(files: &impl Files, main: &str, command_line: &str) -> Result<tree::Tree, Mistake> {
    read(files, main, command_line, &mut Nginx::default())
}
