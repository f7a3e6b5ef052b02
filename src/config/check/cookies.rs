//! `cookies`: the attributes of every cookie that is not a session's.

use crate::config::schema::{Attributes, File};
use crate::config::value::name::{cookie_pattern, matches};
use crate::config::value::{Flaw, Parsed, choice};
use crate::cookie::enforce::{self, SameSite};

use super::{Checker, at, items};

impl Checker<'_> {
    /// The operator's exceptions, and the built-in ones for what they leave open.
    pub(super) fn cookies(&mut self, file: &File, insecure: bool) -> enforce::CookieSettings {
        let none = Attributes::default();
        let enforce = file.cookies.as_ref().and_then(|cookies| cookies.enforce.as_ref());
        if enforce.is_some_and(|switch| !switch.value) {
            return enforce::CookieSettings::left_alone();
        }
        let given = file.cookies.as_ref().and_then(|cookies| cookies.defaults.as_ref());
        let chosen = self.attributes(given.unwrap_or(&none), "cookies.defaults");
        let defaults = enforce::Attributes {
            // Over plain HTTP a browser would drop whatever is `Secure`.
            secure: Some(chosen.secure.unwrap_or(!insecure)),
            http_only: Some(chosen.http_only.unwrap_or(true)),
            same_site: Some(chosen.same_site.unwrap_or(SameSite::Lax)),
        };
        if let Some(given) = given {
            self.unsendable(given, defaults, "cookies.defaults");
        }
        let mut exceptions = Vec::new();
        let given = file.cookies.as_ref().and_then(|cookies| cookies.exceptions.as_ref());
        for (name, attributes) in given.iter().flat_map(|named| &named.0) {
            let path = format!("cookies.exceptions.{}", name.value);
            if let Err(flaw) = cookie_pattern(&name.value) {
                self.error(at(name), &path, flaw);
            }
            self.vaulted(file, name, &path);
            let exception = self.attributes(&attributes.value, &path);
            let whole = enforce::Attributes {
                secure: exception.secure.or(defaults.secure),
                http_only: exception.http_only.or(defaults.http_only),
                same_site: exception.same_site.or(defaults.same_site),
            };
            self.unsendable(&attributes.value, whole, &path);
            exceptions.push((name.value.clone(), exception));
        }
        enforce::CookieSettings { defaults, exceptions }.with_well_known()
    }

    fn attributes(&mut self, given: &Attributes, path: &str) -> enforce::Attributes {
        enforce::Attributes {
            secure: given.secure.as_ref().map(|switch| switch.value),
            http_only: given.http_only.as_ref().map(|switch| switch.value),
            same_site: self.optional(&given.same_site, &format!("{path}.same_site"), same_site),
        }
    }

    fn unsendable(&mut self, given: &Attributes, whole: enforce::Attributes, path: &str) {
        if whole.same_site == Some(SameSite::None) && whole.secure != Some(true) {
            let place = given
                .same_site
                .as_ref()
                .and_then(at)
                .or_else(|| given.secure.as_ref().and_then(at));
            self.error(
                place,
                &format!("{path}.same_site"),
                Flaw::new(
                    "browsers refuse a cookie with `SameSite=None` that is not `Secure`",
                    "add `secure: true`, or write `same_site: lax`",
                ),
            );
        }
    }

    /// An exception for a cookie that never leaves is a misunderstanding.
    fn vaulted(&mut self, file: &File, name: &serde_saphyr::Spanned<String>, path: &str) {
        for (policy, session) in file.sessions.iter().flat_map(|named| &named.0) {
            if items(&session.value.app_cookies)
                .iter()
                .any(|pattern| matches(&pattern.value, &name.value))
            {
                let message = format!(
                    "has no effect where session `{}` is used: that sees to this cookie",
                    policy.value
                );
                self.warning(
                    at(name),
                    path,
                    Flaw::new(message, "leave it out here or in `app_cookies`"),
                );
            }
        }
    }
}

/// Reads a SameSite value.
pub(super) fn same_site(text: &str) -> Parsed<SameSite> {
    const VALUES: [(&str, SameSite); 3] =
        [("lax", SameSite::Lax), ("strict", SameSite::Strict), ("none", SameSite::None)];
    choice(text, "SameSite value", &VALUES)
}
