//! What a route says in its answers, whoever answers.

use crate::config::schema::key;
use crate::config::value::{Flaw, Parsed, choice};
use crate::files::expires::Expires;
use crate::proxy::nginx_pages::{PageStyle, ServerTokens};
use crate::proxy::settings::AnswerSettings;

use super::Checker;
use super::cursor::RouteAt;

impl Checker<'_> {
    pub(super) fn answers(&mut self, route: &RouteAt<'_>) -> AnswerSettings {
        AnswerSettings {
            expires: self.inherited(route, &key::expires, expires).unwrap_or_default(),
            secure: route.on(&key::security_headers),
            pages: self.page_style(route),
        }
    }

    /// `server_tokens`, `msie_padding`
    fn page_style(&mut self, route: &RouteAt<'_>) -> Option<PageStyle> {
        const TOKENS: [(&str, Option<ServerTokens>); 4] = [
            ("none", None),
            ("on", Some(ServerTokens::On)),
            ("off", Some(ServerTokens::Off)),
            ("build", Some(ServerTokens::Build)),
        ];
        let read = |text: &str| choice(text, "way to be named", &TOKENS);
        let tokens = self.inherited(route, &key::server_tokens, read);
        let padded = route.find(&key::msie_padding).is_none_or(|found| *found.at.value);
        Some(PageStyle { tokens: tokens.flatten()?, padded })
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
