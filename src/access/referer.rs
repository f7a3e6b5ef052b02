//! `valid_referers`: from which pages requests are welcome.

use std::collections::HashMap;

use crate::routing::pattern::{BadPattern, Case, Pattern};

/// Which referrers are welcome.
#[derive(Clone, Debug, Default)]
pub struct Referers {
    /// Without the field.
    none: bool,
    /// With a field that names no site: firewalls write those.
    blocked: bool,
    /// Hosts, with the paths' beginning where that matters.
    exact: HashMap<Box<str>, Box<str>>,
    /// `*.example.com` by `.example.com`.
    leading: HashMap<Box<str>, Box<str>>,
    /// `www.example.*` by `www.example.`.
    trailing: HashMap<Box<str>, Box<str>>,
    /// Of the server's names, looked for in the host.
    of_hosts: Vec<Pattern>,
    /// Looked for in all that follows the scheme.
    patterns: Vec<Pattern>,
}

/// Longer hosts are nobody's.
const HOST_BYTES_MAX: usize = 256;

impl Referers {
    /// Adds a word: `none`, `blocked`, a host with or without a path, or `~pattern`.
    ///
    /// # Errors
    /// It is no pattern.
    pub fn add(&mut self, word: &str) -> Result<(), BadPattern> {
        match word {
            "none" => self.none = true,
            "blocked" => self.blocked = true,
            _ => match word.strip_prefix('~') {
                Some(pattern) => {
                    self.patterns.push(Pattern::compile(pattern, Case::Insensitive)?);
                }
                None => {
                    let at = word.find('/').unwrap_or(word.len());
                    let (host, path) = word.split_at(at);
                    self.add_host(host, path);
                }
            },
        }
        Ok(())
    }

    /// Adds a name of the server (`server_names`).
    ///
    /// # Errors
    /// It is no pattern.
    pub fn add_server_name(&mut self, name: &str) -> Result<(), BadPattern> {
        match name.strip_prefix('~') {
            Some(pattern) => self.of_hosts.push(Pattern::compile(pattern, Case::Insensitive)?),
            None if name == "_" => {}
            None => self.add_host(name, ""),
        }
        Ok(())
    }

    fn add_host(&mut self, host: &str, path: &str) {
        let host = host.to_ascii_lowercase();
        let mut put = |map: fn(&mut Self) -> &mut HashMap<Box<str>, Box<str>>, key: &str| {
            map(self).entry(key.into()).or_insert_with(|| path.into());
        };
        if let Some(parent) = host.strip_prefix('.') {
            put(|all| &mut all.exact, parent);
            put(|all| &mut all.leading, &host);
        } else if host.starts_with("*.") {
            put(|all| &mut all.leading, &host[1..]);
        } else if host.ends_with(".*") {
            put(|all| &mut all.trailing, &host[..host.len() - 1]);
        } else {
            put(|all| &mut all.exact, &host);
        }
    }

    /// Whether no site is welcome.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty()
            && self.leading.is_empty()
            && self.trailing.is_empty()
            && self.of_hosts.is_empty()
            && self.patterns.is_empty()
    }

    /// Whether a request with this `Referer` is not welcome.
    pub fn refuse(&self, referer: Option<&[u8]>) -> bool {
        const SHORTEST: usize = "http://i.ru".len();
        let Some(referer) = referer else { return !self.none };
        let site = (referer.len() >= SHORTEST).then(|| without_scheme(referer)).flatten();
        let Some(site) = site else { return !self.blocked };
        let end = site.iter().position(|byte| matches!(byte, b'/' | b':')).unwrap_or(site.len());
        let (host, rest) = site.split_at(end);
        if host.len() > HOST_BYTES_MAX {
            return true;
        }
        let host = host.to_ascii_lowercase();
        if let Some(path) = std::str::from_utf8(&host).ok().and_then(|host| self.by_host(host)) {
            let begin = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
            return !rest.get(begin..).unwrap_or_default().starts_with(path.as_bytes());
        }
        !self.of_hosts.iter().any(|pattern| pattern.is_match(&host))
            && !self.patterns.iter().any(|pattern| pattern.is_match(site))
    }

    /// How the path has to begin on a host that is known.
    fn by_host(&self, host: &str) -> Option<&str> {
        let dots = || host.match_indices('.').map(|(at, _)| at);
        let exact = self.exact.get(host);
        let leading = || dots().find_map(|at| self.leading.get(&host[at..]));
        let trailing = || dots().rev().find_map(|at| self.trailing.get(&host[..=at]));
        exact.or_else(leading).or_else(trailing).map(|path| &**path)
    }
}

fn without_scheme(referer: &[u8]) -> Option<&[u8]> {
    ["http://", "https://"].iter().find_map(|scheme| {
        let (begin, rest) = referer.split_at_checked(scheme.len())?;
        begin.eq_ignore_ascii_case(scheme.as_bytes()).then_some(rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(words: &[&str], referer: Option<&str>, is_refused: bool) {
        let mut referers = Referers::default();
        words.iter().for_each(|word| referers.add(word).expect(word));
        referers.add_server_name("own.example").expect("a name");
        referers.add_server_name("~^re[0-9]+\\.example$").expect("a pattern");
        assert_eq!(
            referers.refuse(referer.map(str::as_bytes)),
            is_refused,
            "{words:?} {referer:?}"
        );
    }

    #[test]
    fn referrers_are_judged_as_nginx_judges_them() {
        let words = &[
            "www.example.org/galleries/",
            "*.a.example",
            "b.example.*",
            ".c.example",
            r"~\.google\.",
        ];
        for (referer, is_refused) in [
            ("http://own.example/x", false),
            ("HTTPS://OWN.example", false),
            ("http://own.example:8080/x", false),
            ("http://re12.example/", false),
            ("http://re.example/", true),
            ("http://www.example.org/galleries/1", false),
            ("http://www.example.org:80/galleries/1", false),
            ("http://www.example.org/", true),
            ("http://www.example.org", true),
            ("http://x.a.example/", false),
            ("http://x.y.a.example/", false),
            ("http://a.example/x", true),
            ("http://b.example.net/", false),
            ("http://c.example/", false),
            ("http://d.c.example/", false),
            ("http://www.google.com/", false),
            ("http://evil.example/?x=.google.", false),
            ("http://evil.example/own.example", true),
            ("http://x/", true),
            ("masked", true),
            ("", true),
        ] {
            check(words, Some(referer), is_refused);
        }
        check(words, None, true);
        check(&["none"], None, false);
        check(&["none"], Some("masked"), true);
        check(&["blocked"], Some("masked"), false);
        check(&["blocked"], Some(""), false);
        check(&["blocked"], Some("http://evil.example/"), true);
    }
}
