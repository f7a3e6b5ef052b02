//! What a route says in its answers, whoever answers.

use serde_saphyr::Spanned;

use crate::config::schema::{AddedField, Key, Named, Several, ShortOr, key};
use crate::config::value::{Flaw, Parsed, choice};
use crate::files::expires::Expires;
use crate::headers::identity;
use crate::proxy::added::{self, AnswerSettings, Freshness};
use crate::proxy::nginx_pages::{PageStyle, ServerTokens};

use super::cursor::{At, RouteAt};
use super::{Checker, on};

/// What frames a message or concerns one connection, and tickets.
const NOT_SAID: [&str; 10] = [
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "upgrade",
    "te",
    "trailer",
    "date",
    "cloakroom-session",
];

impl Checker<'_> {
    pub(super) fn answers(&mut self, route: &RouteAt<'_>) -> AnswerSettings {
        AnswerSettings {
            expires: self.freshness(route),
            headers: self.added(route, &key::response_headers),
            trailers: self.added(route, &key::response_trailers),
            charset: self.charset(route),
            secure: route.on(&key::security_headers),
            pages: self.page_style(route),
        }
    }

    fn freshness(&mut self, route: &RouteAt<'_>) -> Freshness {
        let Some(found) = route.find(&key::expires) else { return Freshness::default() };
        if !found.at.value.contains('$') {
            return Freshness::Fixed(
                self.inherited(route, &key::expires, expires).unwrap_or_default(),
            );
        }
        let words = found.at.value.split_once(char::is_whitespace);
        let (is_modified, time) = match words {
            Some(("modified", time)) => (true, time.trim_start().to_owned()),
            _ => (false, found.at.value.clone()),
        };
        let at = At { value: &time, path: found.at.path.clone(), place: found.at.place };
        match self.template(&at) {
            Some(time) => Freshness::Variable { time, is_modified },
            None => Freshness::default(),
        }
    }

    /// Fields or trailers of the operator's own; the nearest level wins whole.
    fn added(
        &mut self,
        route: &RouteAt<'_>,
        key: &Key<Named<Several<AddedField>>>,
    ) -> Vec<added::AddedField> {
        let Some(found) = route.find(key) else { return Vec::new() };
        let mut all = Vec::new();
        for (name, several) in &found.at.value.0 {
            let at = At::new(found.at.path_of(&name.value), several);
            if !self.may_be_said(&name.value, &at) {
                continue;
            }
            for one in &several.value.0 {
                let always = match one {
                    ShortOr::Short(_) => false,
                    ShortOr::Long(long) => on(&long.always),
                };
                if let Some(value) = self.said(&at, one) {
                    all.push(added::AddedField { name: name.value.clone(), value, always });
                }
            }
        }
        all
    }

    fn said<T>(
        &mut self,
        at: &At<'_, T>,
        one: &ShortOr<AddedField>,
    ) -> Option<crate::variables::template::Template> {
        let (text, place) = match one {
            ShortOr::Short(text) => (text, at.place),
            ShortOr::Long(AddedField { value: Some(Spanned { value, .. }), .. }) => {
                (value, at.place)
            }
            ShortOr::Long(_) => {
                let flaw = Flaw::new("has no value", "add `value: TEXT`");
                self.error_at(at, flaw);
                return None;
            }
        };
        self.template(&At { value: text, path: at.path.clone(), place })
    }

    fn may_be_said<T>(&mut self, name: &str, at: &At<'_, T>) -> bool {
        let lower = name.to_ascii_lowercase();
        if http::HeaderName::from_bytes(lower.as_bytes()).is_err() {
            self.error_at(at, Flaw::new("is no field's name", "write letters, digits and `-`"));
            return false;
        }
        if NOT_SAID.contains(&lower.as_str()) || identity::is_reserved(lower.as_bytes()) {
            let help = "leave it out: it is written by itself, as the message needs it";
            self.error_at(at, Flaw::new("is not the configuration's to say", help));
            return false;
        }
        true
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
