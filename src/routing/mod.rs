//! Matching: request targets are normalised before anything is matched; then host name, then path.

pub mod path;
pub mod table;
