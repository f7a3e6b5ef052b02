//! nginx's variables: names found at start, texts with `$name` compiled once, values computed when
//! somebody asks for them.
//!
//! Knows no request. What there is to say about one comes through [`Facts`]; what was computed or
//! set for it is kept in its [`Values`](values::Values). Variables of the operator's (`map`, `geo`, `split_clients`,
//! `set`, named captures) have a [`Slot`](registry::Slot) each. One may be used before the place that
//! defines it was read: names are resolved when all of the configuration has been.
//!
//! | file | holds |
//! | --- | --- |
//! | `name` | the names that are built in, and the families (`$http_…`) |
//! | `registry` | who defines which name |
//! | `template` | texts with variables |
//! | `values` | what is kept for one request |
//! | `evaluation` | one request's values, computed on demand |
//! | `matcher` | patterns whose captures become variables |
//! | `map`, `geo`, `ranges`, `split_clients` | variables that are made of others |
//! | `parts` | the pieces of a request that families name: arguments, cookies, fields |

pub mod evaluation;
pub mod geo;
pub mod map;
pub mod matcher;
pub mod name;
pub mod parts;
mod ranges;
pub mod registry;
pub mod split_clients;
pub mod template;
pub mod values;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use name::{Builtin, Family};
use template::Template;

/// What there is to say about a request.
pub trait Facts {
    /// Appends the value of a variable that is built in. Says whether it has one: an empty value is
    /// one, in logs.
    fn builtin(&self, name: Builtin, out: &mut Vec<u8>) -> bool;

    /// Appends the value of a member of a family, such as `user_agent` of `$http_user_agent`: in
    /// lower case, with `_` for `-`.
    fn member(&self, family: Family, name: &[u8], out: &mut Vec<u8>) -> bool;

    /// What `secure_link` and `secure_link_md5` say here.
    fn secure_link(&self) -> Option<(&Template, &Template)> {
        None
    }

    /// Appends what is found of a link that says this, where that should have been hashed.
    fn judge_link(&self, _said: &[u8], _hashed: &[u8], _out: &mut Vec<u8>) -> bool {
        false
    }

    /// Where the request's files lie, if that is said (nginx `root`, `alias`).
    fn directory(&self) -> Option<&Template> {
        None
    }

    /// Appends the value of a variable that goes by what that came to.
    fn of_directory(&self, _name: Builtin, _directory: &[u8], _out: &mut Vec<u8>) -> bool {
        false
    }

    /// Appends the file that a path of the request means in that directory (`$request_filename`).
    fn filename(&self, _directory: &[u8], _path: &[u8], _out: &mut Vec<u8>) -> bool {
        false
    }

    /// Who asks, where that is known by an address: over a unix socket it is not.
    fn client(&self) -> Option<IpAddr>;
}
