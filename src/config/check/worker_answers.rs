//! What a route changes in answers of workers: fields, redirects, cookies.

use crate::config::schema::{File, Key, Named, ShortOr, Texts, key};
use crate::config::value::{Flaw, did_you_mean};
use crate::cookie::parts::Flags;
use crate::proxy::file_settings::OwnRedirects;
use crate::proxy::worker_answer::{
    AnswerEdits, CookieFlags, HIDDEN, HiddenField, Matched, Rewrite,
};
use crate::routing::location;
use crate::routing::pattern::Case;
use crate::variables::matcher::Matcher;
use crate::variables::template::Template;
use crate::wire::name::Name;

use super::Checker;
use super::cursor::{At, Found, RouteAt};
use super::files::switch;

/// What `ignore_headers` knows; what does not begin with `X-Accel-` concerns nginx's cache.
const IGNORED: [&str; 9] = [
    "X-Accel-Redirect",
    "X-Accel-Expires",
    "X-Accel-Limit-Rate",
    "X-Accel-Buffering",
    "X-Accel-Charset",
    "Expires",
    "Cache-Control",
    "Set-Cookie",
    "Vary",
];

/// How the pattern of a rule is compared, where it has one.
type Patterns = fn(&str) -> Option<(Case, &str)>;

impl Checker<'_> {
    pub(super) fn answer_edits(&mut self, file: &File, route: &RouteAt<'_>) -> AnswerEdits {
        AnswerEdits {
            hidden: self.hidden(route),
            ignored: self.ignored(route),
            redirects: self.redirects(file, route),
            form: OwnRedirects {
                absolute: switch(route, &key::absolute_redirect, true),
                with_port: switch(route, &key::port_in_redirect, true),
                server_name: switch(route, &key::server_name_in_redirect, false),
            },
            cookie_domains: self.rewrites(route, &key::cookie_domain, any_case),
            cookie_paths: self.rewrites(route, &key::cookie_path, either_case),
            cookie_flags: self.cookie_flags(route),
        }
    }

    /// Names that go no further: those of every route and its own, but for those that it passes on.
    fn hidden(&mut self, route: &RouteAt<'_>) -> Vec<HiddenField> {
        let named = |key: &Key<Texts>| {
            let names = route.find(key).map(|found| found.at.value.0.as_slice());
            names.unwrap_or_default().iter().map(String::as_str)
        };
        for key in [&key::hide_headers, &key::pass_headers] {
            let Some(found) = route.find(key) else { continue };
            for name in &found.at.value.0 {
                if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
                    let flaw = Flaw::new(
                        format!("`{name}` is no field's name"),
                        "write letters, digits and `-`",
                    );
                    self.error_at(&found.at, flaw);
                }
            }
        }
        let passes =
            |name: &str| named(&key::pass_headers).any(|passed| passed.eq_ignore_ascii_case(name));
        let hidden = HIDDEN.into_iter().chain(named(&key::hide_headers));
        hidden.filter(|name| !passes(name)).map(HiddenField::new).collect()
    }

    fn ignored(&mut self, route: &RouteAt<'_>) -> Vec<Name> {
        let Some(found) = route.find(&key::ignore_headers) else { return Vec::new() };
        let Texts(names) = found.at.value;
        for name in names {
            if !IGNORED.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                let help = format!("{}one of {}", did_you_mean(name, &IGNORED), IGNORED.join(", "));
                self.error_at(&found.at, Flaw::new(format!("`{name}` cannot be ignored"), help));
            }
        }
        names.iter().map(|name| Name::of(name.as_bytes())).collect()
    }

    /// `default` leads the URL of the upstream back to the route, and counts where nothing is said.
    fn redirects(&mut self, file: &File, route: &RouteAt<'_>) -> Vec<Rewrite> {
        let Some(found) = route.find(&key::proxy_redirect) else {
            return self.default_redirect(file, route).into_iter().collect();
        };
        let rules = match found.at.value {
            ShortOr::Short(word) if word == "default" => {
                return self.default_redirect(file, route).into_iter().collect();
            }
            ShortOr::Short(_) => {
                self.must_be_off(&found, &["off", "default"]);
                return Vec::new();
            }
            ShortOr::Long(rules) => rules,
        };
        let mut all = Vec::new();
        for (from, to) in &rules.0 {
            match from.value.as_str() {
                "default" => all.extend(self.default_redirect(file, route)),
                text => {
                    let at = At::new(found.at.path_of(text), to);
                    all.extend(self.rewrite(text, &at, either_case));
                }
            }
        }
        all
    }

    fn default_redirect(&self, file: &File, route: &RouteAt<'_>) -> Option<Rewrite> {
        let wanted = route.at.value.upstream.as_ref()?;
        let named = file.upstreams.as_ref()?.0.iter();
        let (name, upstream) = named.into_iter().find(|(name, _)| name.value == wanted.value)?;
        let host = upstream.value.host.as_ref().map_or(&name.value, |host| &host.value);
        let scheme = if upstream.value.tls.is_some() { "https" } else { "http" };
        let (uri, path) = match &route.at.value.uri {
            Some(uri) => {
                let path = route.at.value.path.as_ref()?;
                (uri.value.as_str(), location::split(&path.value).1)
            }
            None => ("/", "/"),
        };
        let from = Template::literal(format!("{scheme}://{host}{uri}"));
        let to = Template::literal(path.to_owned());
        Some(Rewrite { from: Matched::Text(from), to })
    }

    fn rewrites(
        &mut self,
        route: &RouteAt<'_>,
        key: &Key<ShortOr<Named<String>>>,
        patterns: Patterns,
    ) -> Vec<Rewrite> {
        let Some(found) = route.find(key) else { return Vec::new() };
        let ShortOr::Long(rules) = found.at.value else {
            self.must_be_off(&found, &["off"]);
            return Vec::new();
        };
        let mut all = Vec::new();
        for (from, to) in &rules.0 {
            let at = At::new(found.at.path_of(&from.value), to);
            let is_domain = key.name == "cookie_domain";
            let text = from.value.as_str();
            let text = if is_domain { text.strip_prefix('.').unwrap_or(text) } else { text };
            let plain = to.value.strip_prefix('.').filter(|_| is_domain && !text.starts_with('~'));
            match plain.map(str::to_owned) {
                Some(plain) => {
                    let at = At { value: &plain, path: at.path.clone(), place: at.place };
                    all.extend(self.rewrite(text, &at, patterns));
                }
                None => all.extend(self.rewrite(text, &at, patterns)),
            }
        }
        all
    }

    fn rewrite(&mut self, from: &str, to: &At<'_, String>, patterns: Patterns) -> Option<Rewrite> {
        let from = self.matched(from, to, patterns)?;
        Some(Rewrite { from, to: self.template(to)? })
    }

    fn matched<T>(&mut self, from: &str, at: &At<'_, T>, patterns: Patterns) -> Option<Matched> {
        let Some((case, pattern)) = patterns(from) else {
            let from = from.to_owned();
            let at = At { value: &from, path: at.path.clone(), place: at.place };
            return self.template(&at).map(Matched::Text);
        };
        match Matcher::compile(pattern, case, &mut self.registry) {
            Ok(matcher) => Some(Matched::Pattern(matcher)),
            Err(bad) => {
                self.error_at(at, Flaw::new(bad.to_string(), ""));
                None
            }
        }
    }

    fn cookie_flags(&mut self, route: &RouteAt<'_>) -> Vec<CookieFlags> {
        let Some(found) = route.find(&key::cookie_flags) else { return Vec::new() };
        let ShortOr::Long(rules) = found.at.value else {
            if !matches!(found.at.value, ShortOr::Short(word) if word == "off") {
                self.error_at(&found.at, Flaw::new("is neither `off` nor cookies by name", ""));
            }
            return Vec::new();
        };
        let mut all = Vec::new();
        for (name, words) in &rules.0 {
            let at = At::new(found.at.path_of(&name.value), words);
            let name = self.matched(&name.value, &at, any_case);
            let mut flags = Vec::new();
            for word in &words.value.0 {
                if !word.contains('$') && Flags::default().add(word.as_bytes()).is_err() {
                    let flaw = Flaw::new(
                        format!("`{word}` is no flag of a cookie"),
                        "write secure, httponly, samesite=strict, samesite=lax or samesite=none; \
                         with `no` in front (nosamesite) they are taken away",
                    );
                    self.error_at(&at, flaw);
                }
                let text = At { value: word, path: at.path.clone(), place: at.place };
                flags.extend(self.template(&text));
            }
            all.extend(name.map(|name| CookieFlags { name, flags }));
        }
        all
    }

    fn must_be_off<T>(&mut self, found: &Found<'_, ShortOr<Named<T>>>, words: &[&str]) {
        if let ShortOr::Short(word) = found.at.value
            && !words.contains(&word.as_str())
        {
            let flaw = Flaw::new(
                format!("`{word}` is not understood"),
                format!(
                    "write `{}`, or what is replaced and by what: `{{ FROM: TO }}`",
                    words.join("` or `")
                ),
            );
            self.error_at(&found.at, flaw);
        }
    }
}

fn either_case(text: &str) -> Option<(Case, &str)> {
    match text.strip_prefix("~*") {
        Some(pattern) => Some((Case::Insensitive, pattern)),
        None => text.strip_prefix('~').map(|pattern| (Case::Sensitive, pattern)),
    }
}

fn any_case(text: &str) -> Option<(Case, &str)> {
    text.strip_prefix('~').map(|pattern| (Case::Insensitive, pattern))
}
