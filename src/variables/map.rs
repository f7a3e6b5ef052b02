//! `map`: a variable whose value is chosen by another's (nginx 21).

use std::collections::BTreeMap;

use bytes::Bytes;

use super::evaluation::Evaluation;
use super::matcher::Matcher;
use super::template::Template;

/// A `map`.
#[derive(Clone, Debug)]
pub struct Map {
    of: Template,
    keys: Keys,
    default: Template,
    is_volatile: bool,
}

/// Finds values. Exact texts first, then wildcards, then patterns in their order.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// In lower case.
    exact: BTreeMap<Box<[u8]>, Template>,
    /// `*.example.com` by `.example.com`.
    leading: BTreeMap<Box<[u8]>, Template>,
    /// `www.example.*` by `www.example.`.
    trailing: BTreeMap<Box<[u8]>, Template>,
    patterns: Vec<(Matcher, Template)>,
    takes_hostnames: bool,
}

/// Why a key was refused.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadKey {
    #[error("invalid hostname or wildcard")]
    Wildcard,
    #[error("conflicting parameter")]
    Conflict,
}

impl Map {
    pub fn new(of: Template, keys: Keys, default: Template) -> Self {
        Self { of, keys, default, is_volatile: false }
    }

    /// Has it computed each time that somebody asks (`volatile`).
    pub fn volatile(mut self) -> Self {
        self.is_volatile = true;
        self
    }

    /// What it is made of.
    pub(super) fn texts(&self) -> impl Iterator<Item = &Template> {
        let Keys { exact, leading, trailing, patterns, .. } = &self.keys;
        let texts = exact.values().chain(leading.values()).chain(trailing.values());
        let patterns = patterns.iter().map(|(_, text)| text);
        texts.chain(patterns).chain([&self.of, &self.default])
    }

    pub(super) fn is_volatile(&self) -> bool {
        self.is_volatile
    }

    pub(super) fn value(&self, evaluation: &mut Evaluation<'_>) -> Bytes {
        let of = self.of.value(evaluation);
        let found = self.keys.find(&of, evaluation).unwrap_or(&self.default);
        match found.constant() {
            Some(constant) => constant.clone(),
            None => {
                let mut out = Vec::new();
                found.append(evaluation, &mut out);
                out.into()
            }
        }
    }
}

impl Keys {
    /// No keys; `takes_hostnames` says whether there may be wildcards (`hostnames`).
    pub fn new(takes_hostnames: bool) -> Self {
        Self { takes_hostnames, ..Self::default() }
    }

    /// Adds a text that is compared without regard to case, or a wildcard.
    ///
    /// # Errors
    /// It is there already, or no wildcard.
    pub fn insert(&mut self, key: &str, value: Template) -> Result<(), BadKey> {
        let key = key.to_ascii_lowercase();
        if !self.takes_hostnames {
            return put(&mut self.exact, &key, value);
        }
        if key.matches('*').count() > 1 || key.contains("..") || key.contains('\0') {
            return Err(BadKey::Wildcard);
        }
        if key.len() > 1 && key.starts_with('.') {
            put(&mut self.exact, &key[1..], value.clone())?;
            return put(&mut self.leading, &key, value);
        }
        if key.len() > 2 && key.starts_with("*.") {
            return put(&mut self.leading, &key[1..], value);
        }
        if key.len() > 2 && key.ends_with(".*") {
            return put(&mut self.trailing, &key[..key.len() - 1], value);
        }
        if key.contains('*') {
            return Err(BadKey::Wildcard);
        }
        put(&mut self.exact, &key, value)
    }

    /// Adds a pattern behind the others.
    pub fn push(&mut self, pattern: Matcher, value: Template) {
        self.patterns.push((pattern, value));
    }

    fn find(&self, of: &[u8], evaluation: &mut Evaluation<'_>) -> Option<&Template> {
        let text = match of.strip_suffix(b".") {
            Some(host) if self.takes_hostnames => host,
            _ => of,
        };
        if let Some(value) = self.find_text(&text.to_ascii_lowercase()) {
            return Some(value);
        }
        let matching = |(pattern, _): &&(Matcher, Template)| pattern.run(text, evaluation.values);
        // An empty text is compared with texts alone, as in nginx.
        let mut patterns = self.patterns.iter().filter(|_| !text.is_empty());
        patterns.find(matching).map(|(_, value)| value)
    }

    fn find_text(&self, text: &[u8]) -> Option<&Template> {
        if let Some(value) = self.exact.get(text) {
            return Some(value);
        }
        let dots = || text.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at);
        let leading = || dots().find_map(|at| self.leading.get(&text[at..]));
        let trailing = || dots().rev().find_map(|at| self.trailing.get(&text[..=at]));
        if self.leading.is_empty() && self.trailing.is_empty() {
            return None;
        }
        leading().or_else(trailing)
    }
}

fn put(map: &mut BTreeMap<Box<[u8]>, Template>, key: &str, value: Template) -> Result<(), BadKey> {
    match map.insert(key.as_bytes().into(), value) {
        Some(_) => Err(BadKey::Conflict),
        None => Ok(()),
    }
}
