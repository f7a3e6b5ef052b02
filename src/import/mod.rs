//! nginx's configuration files: read as nginx reads them.
//!
//! [`read`] makes a [`tree::Tree`] of a file and all that it includes, judged by a [`Grammar`]. Nothing in
//! here has a meaning yet; that is for who walks over the tree.

pub mod files;
mod glob;
mod lex;
mod lua;
mod mistake;
mod read;
pub mod text;
pub mod tree;

pub use files::{Disk, Files};
pub use lex::{End, Lexer, Source, Statement, Token};
pub use mistake::Mistake;
pub use read::{Grammar, Kind, read};
