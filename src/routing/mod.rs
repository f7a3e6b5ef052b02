//! Matching: request targets are normalised before anything is matched; then host name, then path.

pub mod escape;
mod fold;
pub mod host;
mod names;
mod normalise;
pub mod path;
pub mod pattern;
mod reference;
pub mod table;
pub mod target;
mod text;
