//! Where the files of a request lie: what `root` and `alias` come to for it.

use std::borrow::Cow;

use crate::downstream::{Client, Request};
use crate::files::place::Place;
use crate::proxy::context::Context;
use crate::proxy::error::RequestError;
use crate::proxy::file_settings::Lies;
use crate::proxy::returned;
use crate::proxy::shared::Shared;
use crate::routing::location;

/// The directory that a route names.
///
/// # Errors
/// Variables have made something of it that is no directory of the operator's.
pub fn directory<'r>(
    shared: &Shared,
    request: &Request,
    client: &Client<'_>,
    ctx: &mut Context,
    lies: &'r Lies,
) -> Result<Cow<'r, [u8]>, RequestError> {
    let directory = returned::value(shared, request, client, ctx, lies.directory());
    match &directory {
        Cow::Owned(made) if !is_safe(made) => {
            tracing::error!("variables have made no absolute path of `root` or `alias`");
            Err(RequestError::NotFound)
        }
        _ => Ok(directory),
    }
}

/// Whether a path that variables have made leads where its text does: a client may have a say in them.
pub fn is_safe(made: &[u8]) -> bool {
    let is_dots = |segment: &[u8]| matches!(segment, b"." | b"..");
    made.starts_with(b"/") && !made.contains(&0) && !made.split(|b| *b == b'/').any(is_dots)
}

/// What entries of `try_files` count from: of a pattern an alias is the directory that they lie in.
///
/// # Errors
/// As [`place`].
pub fn place_of_entries<'a>(
    path: &[u8],
    lies: &Lies,
    directory: &'a [u8],
) -> Result<Place<'a>, RequestError> {
    match lies {
        Lies::InPlace { of, .. } if of.starts_with('~') => Ok(Place::Exactly(directory)),
        _ => place(path, lies, directory, false),
    }
}

/// What the path of a request counts from; `is_below`: it was found in the directory that an alias of a
/// pattern is.
///
/// # Errors
/// The path is not the route's, in whatever spelling.
pub fn place<'a>(
    path: &[u8],
    lies: &Lies,
    directory: &'a [u8],
    is_below: bool,
) -> Result<Place<'a>, RequestError> {
    let Lies::InPlace { of, .. } = lies else { return Ok(Place::Root(directory)) };
    let (modifier, route) = location::split(of);
    // Of a pattern the whole path is in the route's place, until a file was found below it.
    if modifier.starts_with('~') {
        return Ok(Place::Alias(directory, if is_below { 0 } else { path.len() }));
    }
    let route = route.as_bytes();
    // A route may have been found by another reading of the path.
    let begins =
        |prefix: &[u8]| path.get(..prefix.len()).is_some_and(|it| it.eq_ignore_ascii_case(prefix));
    match route.strip_suffix(b"/") {
        _ if begins(route) => Ok(Place::Alias(directory, route.len())),
        Some(short) if path.len() == short.len() && begins(short) => {
            Ok(Place::Alias(directory, short.len()))
        }
        _ => Err(RequestError::NotFound),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_variables_make_leads_nowhere_else() {
        for (made, expected) in [
            ("/srv/a.example", true),
            ("/srv//", true),
            ("/srv/..a", true),
            ("/srv/../etc", false),
            ("/srv/./a", false),
            ("/srv/..", false),
            ("/srv/a\0", false),
            ("srv", false),
            ("", false),
        ] {
            assert_eq!(is_safe(made.as_bytes()), expected, "{made}");
        }
    }
}
