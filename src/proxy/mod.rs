//! The adapter to Pingora: the only module that names `pingora*`. One file per hook.

pub mod settings;
