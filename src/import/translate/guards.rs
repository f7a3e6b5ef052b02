//! What keeps visitors out in nginx and is not taken yet: where it is in force, nobody is let in.

use super::notes::{Matter, Notes};
use super::scope::Scope;
use crate::import::tree::Directive;

const CLOSED: &str = "nothing like it is here yet, and without it everybody would get in: this is \
                      answered with 403 until you guard it by other means";

/// Directives that count where nothing nearer says otherwise; `off` takes them back.
const INHERITED: [&str; 6] =
    ["deny", "auth_basic", "auth_request", "auth_jwt", "ssl_verify_client", "secure_link"];

/// Whether visitors are kept out of a place by what is not taken. It is said of the directive.
pub fn keeps_out(block: &[Directive], scope: &Scope<'_>, notes: &mut Notes) -> bool {
    let inherited = INHERITED.iter().filter_map(|name| scope.find(name));
    let inherited = inherited.filter(|directive| directive.first() != Some("off"));
    let own = block.iter().filter(|directive| directive.name.text == "limit_except");
    let mut found = false;
    for directive in inherited.chain(own) {
        notes.say(Matter::Left, directive, CLOSED);
        found = true;
    }
    found
}
