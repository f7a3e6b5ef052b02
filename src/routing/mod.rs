//! Matching: request targets are normalised before anything is matched; then host name, then path.

mod fold;
pub mod host;
pub mod location;
mod names;
mod normalise;
pub mod path;
pub mod pattern;
pub mod percent;
mod reference;
pub mod table;
pub mod target;
mod text;
mod tree;
