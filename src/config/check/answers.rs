//! What a route says in its answers, whoever answers.

use crate::config::schema::key;
use crate::config::value::{Flaw, Parsed};
use crate::files::expires::Expires;
use crate::proxy::settings::AnswerSettings;

use super::Checker;
use super::cursor::RouteAt;

impl Checker<'_> {
    pub(super) fn answers(&mut self, route: &RouteAt<'_>) -> AnswerSettings {
        AnswerSettings {
            expires: self.inherited(route, &key::expires, expires).unwrap_or_default(),
            secure: route.on(&key::security_headers),
        }
    }
}

fn expires(text: &str) -> Parsed<Expires> {
    Expires::read(text).map_err(|not| {
        Flaw::new(
            format!("`{text}` {not}"),
            "write a time such as `30d` or `-1`, `modified 24h`, `@15h30m`, `epoch`, `max` or `off`",
        )
    })
}
