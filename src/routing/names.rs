//! The names of servers. They are chosen as nginx chooses them (`server_name`): the exact name, the longest
//! name with a leading `*`, the longest with a trailing `*`, the first regular expression, the default.

use std::collections::HashMap;

use super::host::{Host, is_name};
use super::pattern::{Case, Pattern};
use super::table::{Chosen, Mistake};

/// The names of all servers on a listener.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    exact: HashMap<Box<str>, usize>,
    /// `*.example.com` by `.example.com`.
    leading: HashMap<Box<str>, usize>,
    /// `www.example.*` by `www.example.`.
    trailing: HashMap<Box<str>, usize>,
    /// `~^re$`, in the order of the file; with the server and the index among its names.
    patterns: Vec<(Pattern, Chosen)>,
    first: Option<usize>,
    explicit: Option<usize>,
    default: Option<usize>,
}

impl Names {
    /// Makes a server the default one, whatever names say.
    pub(super) fn set_default(&mut self, server: usize) {
        self.explicit.get_or_insert(server);
    }

    /// Gives a server a name, the one of this index among its names. The first server of all is the
    /// default one where none says so.
    ///
    /// # Errors
    /// It is no name, or another server's.
    pub(super) fn insert(
        &mut self,
        written: &str,
        server: usize,
        index: usize,
    ) -> Result<(), Mistake> {
        self.first.get_or_insert(server);
        if let Some(pattern) = written.strip_prefix('~') {
            let name = || written.to_owned();
            let pattern = Pattern::compile(pattern, Case::Insensitive)
                .map_err(|error| Mistake::Pattern { server, name: name(), error })?;
            self.patterns.push((pattern, Chosen { server, pattern: Some(index) }));
            return Ok(());
        }
        let bad = || Mistake::Name { server, name: written.to_owned() };
        let taken = |other| Mistake::DuplicateName { server, name: written.to_owned(), other };
        let lower = written.to_ascii_lowercase();
        if lower == "_" {
            return match *self.default.get_or_insert(server) {
                holder if holder == server => Ok(()),
                holder => Err(taken(holder)),
            };
        }
        let mut put =
            |map: fn(&mut Self) -> &mut HashMap<Box<str>, usize>, key: &str| match *map(self)
                .entry(key.into())
                .or_insert(server)
            {
                holder if holder == server => Ok(()),
                holder => Err(taken(holder)),
            };
        if let Some(parent) = lower.strip_prefix('.') {
            put(|names| &mut names.exact, Some(parent).filter(|p| is_name(p)).ok_or_else(bad)?)?;
            return put(|names| &mut names.leading, &lower);
        }
        if let Some(parent) = lower.strip_prefix("*.") {
            return match is_name(parent) {
                true => put(|names| &mut names.leading, &lower[1..]),
                false => Err(bad()),
            };
        }
        if let Some(stem) = lower.strip_suffix(".*") {
            return match is_name(stem) {
                true => put(|names| &mut names.trailing, &lower[..lower.len() - 1]),
                false => Err(bad()),
            };
        }
        match Host::parse(lower.as_bytes()) {
            Ok(host) if host.port().is_none() && !lower.ends_with(':') => {
                put(|names| &mut names.exact, host.as_str())
            }
            _ => Err(bad()),
        }
    }

    /// The server for a host.
    pub(super) fn find(&self, host: &str) -> Chosen {
        self.find_named(host).unwrap_or_else(|| Chosen {
            server: self.explicit.or(self.default).or(self.first).unwrap_or(0),
            pattern: None,
        })
    }

    /// The server that has this name.
    pub(super) fn find_named(&self, host: &str) -> Option<Chosen> {
        if let Some(server) = self.by_text(host) {
            return Some(Chosen { server, pattern: None });
        }
        // nginx asks no pattern about a request without a host.
        let mut patterns = self.patterns.iter();
        let found =
            patterns.find(|(pattern, _)| !host.is_empty() && pattern.is_match(host.as_bytes()));
        found.map(|(_, chosen)| *chosen)
    }

    fn by_text(&self, host: &str) -> Option<usize> {
        if let Some(server) = self.exact.get(host) {
            return Some(*server);
        }
        let dots = || host.match_indices('.').map(|(at, _)| at);
        // From the left, suffixes become shorter; from the right, prefixes do.
        if !self.leading.is_empty()
            && let Some(server) = dots().find_map(|at| self.leading.get(&host[at..]))
        {
            return Some(*server);
        }
        if !self.trailing.is_empty()
            && let Some(server) = dots().rev().find_map(|at| self.trailing.get(&host[..=at]))
        {
            return Some(*server);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_server(servers: &[&[&str]], cases: &[(&str, usize)]) {
        let mut names = Names::default();
        for (server, written) in servers.iter().enumerate() {
            for name in *written {
                names.insert(name, server, 0).expect("a good name");
            }
        }
        for (host, expected) in cases {
            let host = Host::parse(host.as_bytes()).expect("a good host");
            assert_eq!(names.find(host.as_str()).server, *expected, "{}", host.as_str());
        }
    }

    #[test]
    fn servers_are_chosen_in_nginx_order() {
        check_server(
            &[
                &["example.com", "www.example.com"],
                &["*.example.com"],
                &["*.shop.example.com"],
                &["www.example.*"],
                &["www.*"],
                &["_"],
                &[".example.net"],
                &["[::1]", "192.0.2.1"],
                &["UPPER.example.com"],
                &[""],
            ],
            &[
                ("example.com", 0),
                ("WWW.Example.Com:443", 0),
                ("www.example.com.", 0),
                ("a.example.com", 1),
                ("a.b.example.com", 1),
                ("shop.example.com", 1),
                ("a.shop.example.com", 2),
                ("a.b.shop.example.com", 2),
                ("www.example.org", 3),
                ("www.example.co.uk", 3),
                ("www.else.org", 4),
                ("www", 5),
                ("else.org", 5),
                ("notexample.com", 5),
                ("example.net", 6),
                ("a.example.net", 6),
                ("[0:0::1]:8080", 7),
                ("192.0.2.1", 7),
                ("upper.example.com", 8),
                ("", 9),
            ],
        );
    }

    #[test]
    fn regular_expressions_are_asked_last_and_in_order() {
        check_server(
            &[
                &["_"],
                &[r"~^(?<sub>.+)\.a\.example$"],
                &[r"~^X\."],
                &["*.b.a.example"],
                &["x.example"],
            ],
            &[
                ("c.a.example", 1),
                ("x.a.example", 1),
                ("x.b.example", 2),
                ("x.b.a.example", 3),
                ("x.example", 4),
                ("", 0),
            ],
        );
    }

    #[test]
    fn the_first_server_is_the_default_where_none_says_so() {
        check_server(&[&["a.example"], &["b.example"]], &[("c.example", 0), ("", 0)]);
    }
}
