//! Every directive of nginx's own modules, and the names of those of others.
//!
//! The tables are those of nginx 1.22 as Debian builds it, with all its modules, and what newer ones
//! have had up to 1.29 ([`Known::since`]). `tests/it/nginx_conf_reader.rs` asks the real nginx about each of
//! them.

mod content;
mod core;
pub mod foreign;
mod mail;
mod proxy;
pub mod rows;
mod server;
mod stream;
mod upstreams;

use std::collections::HashMap;
use std::sync::LazyLock;

pub use rows::{Known, Module};

/// All modules, in an order in which nginx looks through them.
pub const MODULES: [&[Module]; 7] = [
    self::core::MODULES,
    server::MODULES,
    upstreams::MODULES,
    proxy::MODULES,
    content::MODULES,
    stream::MODULES,
    mail::MODULES,
];

/// A directive, and the name of its module.
pub type Entry = (&'static str, &'static Known);

static BY_NAME: LazyLock<HashMap<&'static str, Vec<Entry>>> = LazyLock::new(|| {
    let mut by_name: HashMap<_, Vec<Entry>> = HashMap::new();
    for (module, known) in all() {
        by_name.entry(known.name).or_default().push((module, known));
    }
    by_name
});

/// All directives.
pub fn all() -> impl Iterator<Item = Entry> {
    let modules = MODULES.into_iter().flatten();
    modules.flat_map(|module| module.directives.iter().map(|known| (module.name, known)))
}

/// The directives of that name: several, where modules for different places have it.
pub fn named(name: &str) -> &'static [Entry] {
    BY_NAME.get(name).map_or(&[], Vec::as_slice)
}
